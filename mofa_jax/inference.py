"""A trained encoder, restored from a run's newest checkpoint on any number of devices."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera, make_camera
from mofa_jax.checkpoint import CheckpointError, Checkpoints, on_first_device
from mofa_jax.encoders import encoder_from_config
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import load_face_model
from mofa_jax.params import FaceParams, code_size

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictor:
    """Call it with face crops to get their codes.

    Attributes:
      model: the face model that the encoder was trained with.
      cam: the camera that it was trained with.
      config: the run's resolved config.
      step: optimizer steps of the checkpoint.
    """

    model: FaceModel
    cam: Camera
    config: ConfigDict
    step: int
    _encode: Callable[[Any, jax.Array], jax.Array]
    _weights: Any

    def __call__(self, images: np.ndarray | jax.Array) -> FaceParams:
        """The codes of crops [B, H, W, 3], RGB, uint8 or floats in [0, 1]; fields have B in front.

        Raises:
          ValueError: another shape, or floats outside [0, 1].
        """
        height, width = self.cam.image_size
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (height, width, 3):
            raise ValueError(
                f"images have shape {images.shape}, expected [B, {height}, {width}, 3]: crop the "
                "faces with mofa_jax.data.faces.crop first."
            )
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / 255.0
        elif not (images.min(initial=0) >= 0 and images.max(initial=0) <= 1):
            raise ValueError("images must be uint8, or floats in [0, 1] without NaN.")
        codes = self._encode(self._weights, jnp.asarray(images, jnp.float32))
        return FaceParams.from_code(codes, self.model)


def load_for_inference(
    workdir: str | os.PathLike, face_model: str | os.PathLike | None = None
) -> Predictor:
    """Restores the encoder of a run's newest checkpoint.

    Args:
      workdir: of the run.
      face_model: where the face model is now; by default where it was in training.

    Raises:
      CheckpointError: no checkpoint there, or it does not fit the face model.
      FaceModelError: the face model cannot be loaded.
    """
    with Checkpoints.existing(workdir) as checkpoints:
        step = checkpoints.latest_step
        information = checkpoints.information(step)
        config = ConfigDict(information["config"])
        model = load_face_model(face_model or config.face_model)
        check_face_model(information["face_model"], model)
        cam = make_camera(config.camera)
        encoder = encoder_from_config(config.encoder, code_size(model))
        image = jax.ShapeDtypeStruct((1, *cam.image_size, 3), jnp.float32)
        target = jax.eval_shape(encoder.init, jax.random.key(0), image)
        weights = checkpoints.load_part(step, {"weights": on_first_device(target)})["weights"]
    return Predictor(model, cam, config, step, jax.jit(encoder.apply), weights)


def check_face_model(trained_with: dict[str, Any], model: FaceModel) -> None:
    """Compares a checkpoint's face model with the one at hand.

    Warns if it has changed since; raises CheckpointError if its codes have other sizes.
    """
    sizes = list(model.code_sizes)
    if sizes != trained_with["code_sizes"]:
        raise CheckpointError(
            f"the checkpoint's codes are of face model '{trained_with['name']}' with shape, "
            f"expression and reflectance sizes {trained_with['code_sizes']}, but '{model.name}' "
            f"has {sizes}; load it with the face model that it was trained with."
        )
    if model.checksum() != trained_with["checksum"]:
        _logger.warning(
            "Face model '%s' is not the one that the checkpoint was trained with ('%s'): its "
            "arrays have changed since; the results may be wrong.",
            model.name,
            trained_with["name"],
        )
