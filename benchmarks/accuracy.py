"""How well a trained encoder reconstructs photographs with known landmarks.

    python -m benchmarks.accuracy --photographs=FOLDER [--landmarks=FILE] [--refine=50]
    python -m benchmarks.accuracy --corpus=CORPUS [--group=REGEX]

Of a folder, three rows, each face cut out otherwise: as people get it (`Predictor.faces`), by the
detector's square alone, and about its true landmarks. A face that the detector does not find counts
as missed. Of a prepared corpus, its held-out crops as they are; also by what the expression's first
group finds in their names (`A(\\d?)\\d(?!\\d)` finds the decade of All-Age-Faces' ages). Errors are
those of the paper: landmarks in px of a 240 px crop, colors in [0, 1]; also by the size of the
estimated yaw. The encoder is the one in the box, or that of `--workdir`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

import mofa_jax
from mofa_jax.autoencoder import Decoder, face_errors
from mofa_jax.data.corpora.reader import open_corpus
from mofa_jax.data.faces.crop import Crop, crop_from_box, crop_from_landmarks
from mofa_jax.data.faces.find import cut_face, with_nan
from mofa_jax.data.sources.images import list_photographs, read_photograph
from mofa_jax.data.sources.landmark_files import (
    FaceLandmarks,
    find_landmark_file,
    read_landmark_file,
)
from mofa_jax.inference import Predictor
from mofa_jax.params import FaceParams

_YAWS = (0, 15, 30, 90)  # degrees
_BATCH = 16
_errors_of = jax.jit(face_errors)


class Row:
    """Faces whose errors are reported together."""

    def __init__(self, name: str, decoder: Decoder):
        self.name, self._decoder = name, decoder
        self._waiting: list[tuple] = []
        self._errors: list[dict[str, np.ndarray]] = []

    def add(self, params: FaceParams, image: np.ndarray, points: np.ndarray, confidence) -> None:
        """One face: its code, its crop, and its true landmarks [68, 2] in the crop's px."""
        self._waiting.append((params, image, points, confidence))
        if len(self._waiting) == _BATCH:
            self._measure()

    def text(self) -> str:
        """`name: faces, landmark error mean / median, photometric error, by yaw`."""
        self._measure()
        if not self._errors:
            return f"{self.name}: no face"
        errors = {key: np.concatenate([e[key] for e in self._errors]) for key in self._errors[0]}
        landmark = errors["landmark_error"]
        known = np.isfinite(landmark)
        if not known.any():
            return f"{self.name}: no face with landmarks"
        by_yaw = [
            f"{low}-{high} deg {landmark[chosen].mean():.2f} ({chosen.sum()})"
            for low, high in pairwise(_YAWS)
            if (chosen := known & (errors["yaw"] >= low) & (errors["yaw"] < high)).any()
        ]
        return (
            f"{self.name}: {len(landmark)} faces ({errors['failed'].sum():.0f} failed), "
            f"landmarks {landmark[known].mean():.2f} px, median {np.median(landmark[known]):.2f}; "
            f"photometric {np.nanmean(errors['photometric_error']):.4f}; {', '.join(by_yaw)}"
        )

    def _measure(self) -> None:
        if not self._waiting:
            return
        count = len(self._waiting)
        filled = self._waiting + self._waiting[:1] * (_BATCH - count)
        params, image, points, confidence = zip(*filled, strict=True)
        params = jax.tree.map(lambda *fields: np.stack(fields), *params)
        batch = {"landmarks": np.stack(points), "confidence": np.stack(confidence)}
        images = np.stack(image).astype(np.float32) / 255.0
        errors = _errors_of(params, batch, images, self._decoder)
        errors["yaw"] = np.degrees(np.abs(params.rotation[:, 1]))
        self._errors.append({key: np.asarray(e)[:count] for key, e in errors.items()})
        self._waiting = []


def measure_folder(
    predict: Predictor, folder: Path, landmark_file: Path | None, refine_steps: int
) -> list[str]:
    """The rows of a folder of photographs, one known face each."""
    landmark_file = landmark_file or find_landmark_file(folder)
    if landmark_file is None:
        raise SystemExit(f"{folder}: no landmarks.json or .npz here; name one by --landmarks")
    table = read_landmark_file(landmark_file)
    names = ["as people get it", "detector's square", "about the true landmarks"]
    if refine_steps:
        names.append(f"as people get it, {refine_steps} steps of refinement")
    rows = {name: Row(name, predict.decoder) for name in names}
    missed = 0
    for path in tqdm(list_photographs(folder), unit="photo", leave=False):
        known = table.find(path.relative_to(folder))
        if len(known) != 1:
            continue
        photograph, size = read_photograph(path), predict.cam.image_size[0]
        crop = crop_from_landmarks(photograph, with_nan(known[0]), size)
        _add(rows["about the true landmarks"], known[0], crop, _code(predict, crop.image))
        found = predict.faces([photograph])[0]
        shown = [k for k, face in enumerate(found) if _shows(face.crop, known[0])]
        missed += not shown
        if not shown:
            continue
        face = found[shown[0]]
        _add(rows["as people get it"], known[0], face.crop, face.params)
        square = crop_from_box(photograph, face.crop.box, size)
        _add(rows["detector's square"], known[0], square, _code(predict, square.image))
        if refine_steps:
            face = predict.faces([photograph], refine_steps)[0][shown[0]]
            _add(rows[names[-1]], known[0], face.crop, face.params)
    return [*(row.text() for row in rows.values()), f"{missed} faces missed"]


def measure_corpus(predict: Predictor, corpus: str, group: str) -> list[str]:
    """The row of a prepared corpus's held-out faces, and those of their groups."""
    rows, examples = {"": Row("held-out crops", predict.decoder)}, open_corpus(corpus, "eval")
    for i in tqdm(range(len(examples)), unit="face", leave=False):
        example = examples[i]
        face = (_code(predict, example["image"]), example["image"], example["landmarks"])
        found = re.search(group, example["name"]) if group else None
        for name in {"", f"group '{found.group(1)}'" if found else ""}:
            row = rows.setdefault(name, Row(name, predict.decoder))
            row.add(*face, example["confidence"])
    return [rows[name].text() for name in sorted(rows)]


def _code(predict: Predictor, image: np.ndarray) -> FaceParams:
    return jax.tree.map(lambda field: field[0], predict(image[None]))


def _shows(crop: Crop, known: FaceLandmarks) -> bool:
    """Whether the known face's middle lies in the middle of a crop."""
    points = cut_face(crop, known).landmarks[known.confidence > 0]
    size = crop.image.shape[0]
    return bool((np.abs(points.mean(axis=0) / size - 0.5) < 0.25).all())


def _add(row: Row, known: FaceLandmarks, crop: Crop, params: FaceParams) -> None:
    face = cut_face(crop, known)
    row.add(params, crop.image, face.landmarks, face.confidence)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    measured = parser.add_mutually_exclusive_group(required=True)
    measured.add_argument("--photographs", type=Path, help="a folder")
    measured.add_argument("--corpus", help="a prepared corpus")
    parser.add_argument("--landmarks", type=Path, help="a landmark file, if it is not in there")
    parser.add_argument("--group", default="", help="regular expression on a crop's name")
    parser.add_argument("--workdir", help="of a run, instead of the encoder in the box")
    parser.add_argument("--refine", type=int, default=0, help="steps of refinement")
    arguments = parser.parse_args(argv)
    predict = mofa_jax.load_for_inference(arguments.workdir)
    if arguments.corpus:
        lines = measure_corpus(predict, arguments.corpus, arguments.group)
    else:
        folder, landmarks = arguments.photographs, arguments.landmarks
        lines = measure_folder(predict, folder, landmarks, arguments.refine)
    print(*lines, sep="\n")


if __name__ == "__main__":
    main()
