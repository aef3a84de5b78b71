"""Faces of many photographs, a few photographs at a time; all of them, or those of one person."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from mofa_jax.data.sources.images import PhotographError, read_photograph
from mofa_jax.data.sources.photographs import in_chunks
from mofa_jax.errors import InputError
from mofa_jax.fitting.optimize import fit_person
from mofa_jax.inference import HELD, Predictor, Reconstruction
from mofa_jax.params import FaceParams

PERSON_STEPS = 10  # of the fit of one person's photographs, if nobody says how many
DOUBTFUL = 0.3  # correlation, see `Predictor.correlations`, below which people are told
_MOST_PHOTOGRAPHS = 50  # of a person: the fit solves for 97 unknowns of each at once


class FoundFaces(NamedTuple):
    """The faces of a photograph: its file, what its results are called, uint8 [H, W, 3] RGB."""

    path: Path
    name: str
    photograph: np.ndarray
    faces: list[Reconstruction]


def found_faces(
    predict: Predictor, named: Mapping[Path, str], refine_steps: int
) -> Iterator[list[FoundFaces]]:
    """The faces of photographs, chunk by chunk; one that shows none, or cannot be read and is left
    out, is reported.

    Args:
      predict: a restored encoder.
      named: the files, and what their results are called.
      refine_steps: see `Predictor.faces`.
    """
    bar = tqdm(named.items(), "Reconstructing", unit="photo", disable=not named)
    for chunk in in_chunks(_readable(bar)):
        found = []
        photographs = [photograph for _, photograph in chunk]
        for ((path, name), photograph), faces in zip(
            chunk, predict.faces(photographs, refine_steps), strict=True
        ):
            doubtful = [str(k) for k, face in enumerate(faces) if face.correlation < DOUBTFUL]
            if doubtful:
                bar.write(
                    f"doubtful: {path}: face {', '.join(doubtful)} hardly resembles the picture; "
                    "look at the result: the photograph may not be upright, or the encoder not "
                    "have learned enough",
                    file=sys.stderr,
                )
            if not faces:
                bar.write(f"skipped: {path}: no face found", file=sys.stderr)
            found.append(FoundFaces(path, name, photograph, faces))
        yield found


def faces_of_one_person(
    predict: Predictor, named: Mapping[Path, str], refine_steps: int
) -> Iterator[list[FoundFaces]]:
    """As `found_faces`, the largest face of each photograph; all are one person's, who has one
    shape and reflectance, see `fit_person`: without a step the means of the encoder's.

    Raises:
      InputError: they are too many.
    """
    if len(named) > _MOST_PHOTOGRAPHS:
        raise InputError(
            f"{len(named)} photographs of one person are too many; give up to {_MOST_PHOTOGRAPHS}."
        )
    found = []
    for chunk in found_faces(predict, named, 0):
        found += [(one.path, one.name, one.faces[0]) for one in chunk if one.faces]
        if without := [one for one in chunk if not one.faces]:
            yield without
    if found:
        paths, names, faces = zip(*found, strict=True)
        person = dict(zip(paths, with_one_identity(faces, predict, refine_steps), strict=True))
        for (path, name), photograph in _readable(zip(paths, names, strict=True)):
            yield [FoundFaces(path, name, photograph, [person[path]])]


def with_one_identity(
    faces: Sequence[Reconstruction], predict: Predictor, num_steps: int
) -> list[Reconstruction]:
    """Faces of one person, fitted to their crops with one shape and reflectance.

    The landmarks that the codes draw, if the model has some, hold the faces in place.
    """
    codes = np.stack([np.asarray(face.params.to_code()) for face in faces])
    images = np.stack([face.crop.image for face in faces])
    fitted = fit_person(
        images,
        predict.model,
        predict.cam,
        landmarks=predict.landmarks(codes) if predict.has_landmarks else None,
        init=FaceParams.from_code(codes, predict.model),
        num_steps=num_steps,
        weights=HELD,
    ).params
    return [
        dataclasses.replace(
            face,
            params=fitted.face(k),
            refine_steps=num_steps,
            same_person=True,
        )
        for k, face in enumerate(faces)
    ]


def _readable(
    named: Iterable[tuple[Path, str]],
) -> Iterator[tuple[tuple[Path, str], np.ndarray]]:
    """((path, name of the results), photograph) of those that can be read; others are reported."""
    for path, name in named:
        try:
            yield (path, name), read_photograph(path)
        except PhotographError as error:
            tqdm.write(f"skipped: {error}", file=sys.stderr)
