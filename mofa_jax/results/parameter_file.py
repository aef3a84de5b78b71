"""A reconstructed face as a JSON file: its named parameters, and how to draw it again."""

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.errors import InputError, one_line
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import load_face_model
from mofa_jax.files.writing import file_checksum, write_json
from mofa_jax.params import NUM_BANDS, FaceParams

_logger = logging.getLogger(__name__)
_MAX_BYTES = 10_000_000  # a face has 20 kB
_LARGEST = 1e6  # no number of a face is larger
_UNITS = {
    "shape": "standard deviations",
    "expression": "standard deviations",
    "reflectance": "standard deviations",
    "rotation": "axis-angle, radians",
    "translation": "decimeters",
    "illumination": "[9 spherical-harmonics bands, RGB], without the ambient 0.7",
    "crop_to_photograph": "[2, 3], the crop's pixels (x, y, 1) to the photograph's, continuous",
    "detector_box": "x, y, width, height, pixels of the photograph",
    "camera.focal": "pixels of the crop",
    "camera.principal_point": "x, y, pixels of the crop",
    "camera.image_size": "height, width, pixels of the crop",
    "camera.distance": "decimeters",
}
_FIXED_SHAPES = {"rotation": (3,), "translation": (3,), "illumination": (NUM_BANDS, 3)}


class ParameterFileError(InputError):
    """A file of parameters cannot be used; the message names the file, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class SavedFace:
    """What a file of parameters holds: a code, and all that is needed to draw it where it was.

    Attributes:
      params: one face's code.
      cam: the camera of its crop.
      crop_to_photograph: float64 [2, 3], the crop's continuous pixels to the photograph's.
      box: float64 [4], the detector's (x, y, w, h), px of the photograph.
      photograph: its file, or None if there was none; a relative path is from the folder of the
        file of parameters.
      face_model: what `load_face_model` takes: a path, or "open".
      face_model_name: what the face model is called.
      step: optimizer steps of the encoder's checkpoint.
      face_model_checksum: the face model's `checksum`; None if it is not known.
      refine_steps: of the fit that followed the encoder; None if they are not known.
      encoder_checksum: of the encoder's weights; None if it is not known.
      correlation: see `inference.Reconstruction`; None if it is not known.
      same_person: see `inference.Reconstruction`.
      photograph_checksum: of the photograph's file; None if it is not known.
      edited_from: the file that was edited, if one was.
    """

    params: FaceParams
    cam: Camera
    crop_to_photograph: np.ndarray
    box: np.ndarray
    photograph: str | None
    face_model: str
    face_model_name: str
    step: int
    face_model_checksum: str | None = None
    refine_steps: int | None = None
    encoder_checksum: str | None = None
    correlation: float | None = None
    same_person: bool = False
    photograph_checksum: str | None = None
    edited_from: str | None = None

    def load_face_model(self, name: str | os.PathLike | None = None) -> FaceModel:
        """The face model that the code is of.

        Args:
          name: where it is now; None if it is where it was.

        Raises:
          FaceModelError: there is no face model.
          ParameterFileError: the code is of another one.
        """
        model = load_face_model(name or self.face_model)
        self.check_model(model)
        self.warn_of_changes(model)
        return model

    def check_model(self, model: FaceModel) -> None:
        """Raises ParameterFileError if `model` has another name, or other modes than the code."""
        params = self.params
        sizes = tuple(map(len, (params.shape, params.expression, params.reflectance)))
        if (self.face_model_name, sizes) != (model.name, model.code_sizes):
            raise ParameterFileError(
                f"the parameters are of face model '{self.face_model_name}' with {sizes} shape, "
                f"expression and reflectance modes, not of '{model.name}' with {model.code_sizes}; "
                "give that face model (--face_model), faces of one model, and with photographs an "
                "encoder of that model (--workdir)."
            )

    def shows_content_of(self, photograph: str | os.PathLike) -> bool:
        """Whether a file has the content of the photograph that the face was reconstructed from;
        not if that is not known, or the file cannot be read."""
        try:
            return self.photograph_checksum == file_checksum(photograph)
        except OSError:
            return False

    def warn_of_changes(self, model: FaceModel) -> None:
        """Warns if the arrays of the code's face model are not what they were."""
        if self.face_model_checksum not in (None, model.checksum()):
            _logger.warning(
                "The arrays of face model '%s' have changed since the face was reconstructed; it "
                "may look otherwise.",
                model.name,
            )


def save_parameters(path: str | os.PathLike, face: SavedFace) -> None:
    """Writes a face's parameters as JSON, with their units.

    Raises:
      OSError: as `atomic_write`.
    """
    parameters = {
        field.name: np.asarray(getattr(face.params, field.name)).tolist()
        for field in dataclasses.fields(face.params)
    }
    camera = dataclasses.asdict(face.cam)
    write_json(
        path,
        {
            "parameters": parameters,
            "units": _UNITS,
            "crop_to_photograph": np.asarray(face.crop_to_photograph).tolist(),
            "detector_box": np.asarray(face.box).tolist(),
            "photograph": face.photograph,
            "photograph_checksum": face.photograph_checksum,
            "edited_from": face.edited_from,
            "camera": {name: np.asarray(value).tolist() for name, value in camera.items()},
            "face_model": face.face_model_name,
            "face_model_file": face.face_model,
            "face_model_checksum": face.face_model_checksum,
            "checkpoint_step": face.step,
            "encoder_checksum": face.encoder_checksum,
            "refine_steps": face.refine_steps,
            "correlation": face.correlation,
            "same_person": face.same_person,
        },
    )


def load_parameters(path: str | os.PathLike) -> SavedFace:
    """Reads what `save_parameters` wrote: every number is the same to the last bit.

    Raises:
      ParameterFileError: there is no such file, or it is damaged or something else.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has {path.stat().st_size / 1e6:.0f} MB")
        return _face(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ParameterFileError(
            f"{path}: cannot be read ({error.strerror}); check the path."
        ) from error
    except Exception as error:  # JSON and what may stand in it fail with a dozen types
        raise ParameterFileError(
            f"{path}: these are no parameters of a face ({one_line(error)}); give a .json file of "
            "`python -m mofa_jax.reconstruct`."
        ) from error


def _face(content: Mapping[str, Any]) -> SavedFace:
    parameters, camera = content["parameters"], content["camera"]
    cam = Camera(
        focal=float(_numbers(camera, "focal", ())),
        principal_point=tuple(_numbers(camera, "principal_point", (2,)).tolist()),
        image_size=tuple(int(side) for side in _numbers(camera, "image_size", (2,))),
        distance=float(_numbers(camera, "distance", ())),
    )
    if not (min(cam.image_size) >= 1 and cam.focal > 0):
        raise ValueError(f"its camera has {cam.image_size} px and focal length {cam.focal}")
    fields = {
        field.name: jnp.asarray(_numbers(parameters, field.name, _FIXED_SHAPES.get(field.name)))
        for field in dataclasses.fields(FaceParams)
    }
    refine_steps, correlation = content.get("refine_steps"), content.get("correlation")
    names = ["photograph", "edited_from"]
    names += [f"{of}_checksum" for of in ("photograph", "face_model", "encoder")]
    texts = {name: content.get(name) for name in names}
    texts = {name: None if text is None else str(text) for name, text in texts.items()}
    return SavedFace(
        params=FaceParams(**{name: field.astype(jnp.float32) for name, field in fields.items()}),
        cam=cam,
        crop_to_photograph=_numbers(content, "crop_to_photograph", (2, 3)),
        box=_numbers(content, "detector_box", (4,)),
        face_model=str(content.get("face_model_file", "open")),
        face_model_name=str(content["face_model"]),
        step=int(content["checkpoint_step"]),
        refine_steps=None if refine_steps is None else int(refine_steps),
        correlation=None if correlation is None else float(correlation),
        same_person=bool(content.get("same_person", False)),
        **texts,
    )


def _numbers(content: Mapping[str, Any], key: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """Finite float64 numbers of a shape; of any one-dimensional one if it is None."""
    numbers = np.array(content[key], np.float64)
    if numbers.shape != shape and (shape is not None or numbers.ndim != 1):
        raise ValueError(f"'{key}' has the shape {list(numbers.shape)}")
    if not (np.abs(numbers) <= _LARGEST).all():
        raise ValueError(f"'{key}' holds NaN or numbers that no face has")
    return numbers
