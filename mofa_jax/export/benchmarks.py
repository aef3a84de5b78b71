"""Reconstructions as the benchmarks of the field read them: which photograph becomes which file.

NoW: Sanyal et al., "Learning to Regress 3D Face Shape and Expression from an Image without 3D
Supervision", CVPR 2019; its evaluation: github.com/soubhiksanyal/now_evaluation.
REALY: Chai et al., "REALY: Rethinking the Evaluation of 3D Face Reconstruction", ECCV 2022; its
evaluation: github.com/czh-98/REALY.
Meshes are OBJ files in millimeters, in world space, of all of the model's vertices, and without
colors, since NoW's loader reads no OBJ with vertex colors.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path, PurePosixPath

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.data.sources.images import list_photographs
from mofa_jax.errors import InputError
from mofa_jax.export.meshes import write_obj
from mofa_jax.face_model import MM_PER_DM, FaceModel
from mofa_jax.face_models.safe_pickle import load_object_npy
from mofa_jax.files.writing import atomic_write
from mofa_jax.params import FaceParams

BENCHMARKS = ("now", "realy")
TEMPLATE = "template/mofa_jax.obj"  # of REALY

# NoW's seven landmarks: the right eye's outer and inner corner, the left one's inner and outer, the
# bottom of the nose, the right and the left corner of the mouth.
NOW_LANDMARKS = np.array([36, 39, 42, 45, 33, 48, 54])


@dataclasses.dataclass(frozen=True)
class Prediction:
    """A photograph of a benchmark and what is to be written of it.

    Attributes:
      photograph: its file.
      box: the file of the face's box, or None if the benchmark gives none.
      mesh: the OBJ file.
      landmarks: the file of the seven landmarks, or None if they are not wanted.
    """

    photograph: Path
    box: Path | None
    mesh: Path
    landmarks: Path | None

    @property
    def is_written(self) -> bool:
        return self.mesh.is_file() and (self.landmarks is None or self.landmarks.is_file())


def now_predictions(
    images: Path, lines: list[str], output: Path, model: FaceModel
) -> list[Prediction]:
    """Of each line `subject/challenge/name.jpg` of NoW's list of images.

    Args:
      images: NoW's folder `final_release_version`, with `iphone_pictures` and `detected_face`.
      lines: of the list.
      output: gets `subject/challenge/name.obj` and `.npy`.
      model: of the meshes.

    Raises:
      InputError: there is no line, one has not three parts, or the model lacks a landmark.
    """
    if not lines:
        raise InputError("NoW's list of images is empty or missing; give --list=FILE.")
    if (np.asarray(model.landmarks)[NOW_LANDMARKS] < 0).any():
        raise InputError(
            f"face model '{model.name}' lacks one of the landmarks {NOW_LANDMARKS.tolist()}, which "
            "NoW aligns meshes by; add them to the model."
        )
    predictions = []
    for line in lines:
        name = PurePosixPath(line)
        if len(name.parts) != 3 or name.is_absolute() or ".." in name.parts:
            raise InputError(
                f"the list has the line {line!r}, expected subject/challenge/name.jpg; give NoW's "
                "imagepathsvalidation.txt or imagepathstest.txt."
            )
        predictions.append(
            Prediction(
                images / "iphone_pictures" / name,
                images / "detected_face" / name.with_suffix(".npy"),
                output / name.with_suffix(".obj"),
                output / name.with_suffix(".npy"),
            )
        )
    return predictions


def realy_predictions(images: Path, lines: list[str], output: Path) -> list[Prediction]:
    """Of REALY's photographs, those of a folder, or of it those that `lines` name.

    Args:
      images: the folder.
      lines: names of files in it; none for all.
      output: gets `prediction/name.obj`.

    Raises:
      InputError: there is none, or two have one name.
    """
    found = [images / line for line in lines] or list_photographs(images)
    meshes = [output / "prediction" / f"{path.stem}.obj" for path in found]
    if len(set(meshes)) < len(meshes):
        raise InputError(
            f"{images}: several photographs have one name; give the folder of one "
            "of REALY's sets of images."
        )
    return [Prediction(path, None, mesh, None) for path, mesh in zip(found, meshes, strict=True)]


def read_box(path: Path) -> np.ndarray:
    """The box (x, y, w, h) [4], px, of a file of NoW's `detected_face`.

    Raises:
      InputError: it cannot be read, or holds something else.
    """
    content = load_object_npy(path)
    try:
        sides = [float(content[key]) for key in ("left", "top", "right", "bottom")]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: holds no box with left, top, right and bottom; get it again from NoW."
        ) from error
    left, top, right, bottom = sides
    return np.array([left, top, right - left, bottom - top])


def write_prediction(prediction: Prediction, params: FaceParams, model: FaceModel) -> None:
    """Writes what a benchmark wants of a face: NoW its neutral mesh, REALY the mesh as it is.

    Args:
      prediction: where to; the folders are made.
      params: one face's code.
      model: the face model.

    Raises:
      MeshError: the code is not finite; nothing was written.
      OSError: the disk is full or refuses to be written.
    """
    is_neutral = prediction.landmarks is not None
    expression = jnp.zeros_like(params.expression) if is_neutral else params.expression
    vertices = np.asarray(_geometry(params.shape, expression, model))
    prediction.mesh.parent.mkdir(parents=True, exist_ok=True)
    write_obj(prediction.mesh, vertices, model.triangles)
    if prediction.landmarks is not None:
        points = vertices[np.asarray(model.landmarks)[NOW_LANDMARKS]] * MM_PER_DM
        with atomic_write(prediction.landmarks) as temporary, open(temporary, "wb") as file:
            np.save(file, points)


def write_template(output: Path, model: FaceModel) -> None:
    """Writes `TEMPLATE`: the average face, whose triangles REALY's meshes share."""
    template = output / TEMPLATE
    template.parent.mkdir(parents=True, exist_ok=True)
    write_obj(template, model.mean_shape, model.triangles)


@jax.jit
def _geometry(shape: jax.Array, expression: jax.Array, model: FaceModel) -> jax.Array:
    return model.geometry(shape, expression)
