"""What a run learns, and from what: the paper's encoder, or one of the baselines beside it."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import jax
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.autoencoder import Decoder, objective
from mofa_jax.camera import Camera
from mofa_jax.checkpoint import FIXED_DECODER
from mofa_jax.data.synthetic.distributions import ranges_from_config
from mofa_jax.encoders import encoder_from_config
from mofa_jax.errors import InputError
from mofa_jax.evaluation.errors import make_errors_of
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import panels_grid
from mofa_jax.landmarks import FACING_LANDMARKS, LOSS_LANDMARKS
from mofa_jax.numerics import as_floats
from mofa_jax.params import FaceParams, code_size
from mofa_jax.patches import surface_patches
from mofa_jax.training.initial_weights import initial_weights, random_weights

_LEARNERS = {  # by `config.decoder.name`
    "face_model": ("training.learner", "FaceModelLearner"),
    "convolutional": ("baselines.convolutional_autoencoder", "ConvolutionalAutoencoder"),
    "convolutional_from_codes": ("baselines.learned_decoder", "DecoderLearner"),
    FIXED_DECODER: ("baselines.learned_decoder", "LearnedDecoderLearner"),
}

_COMPARED_LANDMARKS = {  # by the weight of `config.loss`
    "landmark": LOSS_LANDMARKS,
    "closure": FACING_LANDMARKS,
    "loopback": LOSS_LANDMARKS,
    "population_place": LOSS_LANDMARKS,
}

# What is folded into the seed for the loopback's keys: the number of no example of a run.
_LOOPBACK = 2**32 - 1


class Learner(Protocol):
    """Everything in which the training of one thing differs from that of another.

    Attributes:
      decoder: a pytree of arrays that no step changes, or None.
      errors_of: (weights, batch, decoder) -> the errors of each face of a batch [B], compiled;
        among them `failed` and `annotated`, see `autoencoder.face_errors`.
    """

    decoder: Any
    errors_of: Callable[[Any, dict, Any], dict[str, jax.Array]]

    def initial_weights(self) -> dict:
        """What is learned, before training."""

    def random_weights(self) -> dict:
        """The same without reading a file, to be replaced by a checkpoint's."""

    def objective(
        self, weights: dict, batch: dict, step: jax.Array, decoder: Any, axis_name: str | None
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
        """The loss, its terms and the errors, as of `autoencoder.objective`."""

    def picture(self, weights: dict, examples: dict[str, np.ndarray]) -> np.ndarray:
        """Some examples of a batch and what becomes of them, uint8 [H, W, 3]."""


def make_learner(config: ConfigDict, model: FaceModel, cam: Camera) -> Learner:
    """The learner that `config.decoder` names.

    Raises:
      InputError: there is none of this name, or it does not fit the rest of the config.
    """
    name = config.decoder.name
    if name not in _LEARNERS:
        raise InputError(f"decoder.name is {name!r}; choose one of {', '.join(_LEARNERS)}.")
    module, cls = _LEARNERS[name]
    return getattr(import_module(f"mofa_jax.{module}"), cls)(config, model, cam)


class FaceModelLearner:
    """The paper's: an encoder alone is learned, a face model draws its codes (Fig. 1)."""

    def __init__(self, config: ConfigDict, model: FaceModel, cam: Camera):
        self.config = config
        self.encoder = encoder_from_config(config.encoder, code_size(model))
        patches = surface_patches(model) if config.loss.patch_correlation else None
        loopback = config.loss.loopback or config.loss.loopback_code
        if loopback and config.data.synthetic.backgrounds:
            raise InputError(
                "loss.loopback draws faces before random shapes alone; leave "
                "data.synthetic.backgrounds empty (those of an experiment's start are "
                "config.start.data.synthetic.backgrounds), or set loss.loopback and "
                "loss.loopback_code to 0."
            )
        absent = np.asarray(model.landmarks) < 0
        on = ", ".join(
            f"loss.{name}"
            for name, compared in _COMPARED_LANDMARKS.items()
            if config.loss.get(name) and absent[compared].all()
        )
        if on:
            raise InputError(
                f"face model '{model.name}' has none of the landmarks that {on} compare; set them "
                "to 0, or give a model with landmarks."
            )
        ranges = ranges_from_config(config.data.synthetic) if loopback else None
        self.decoder = Decoder(model, cam, patches, ranges)
        self.errors_of = make_errors_of(self.encoder.apply)
        self._encode = jax.jit(self.encoder.apply)

    def initial_weights(self) -> dict:
        return initial_weights(self.encoder, self.config, self.decoder.model, self.decoder.cam)

    def random_weights(self) -> dict:
        return random_weights(self.encoder, self.config.seed, self.decoder.cam)

    def objective(self, weights, batch, step, decoder, axis_name):
        encode, loss = self.encoder.apply, self.config.loss
        key = jax.random.fold_in(jax.random.key(self.config.seed), _LOOPBACK)
        key = jax.random.fold_in(key, step)
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        return objective(weights, batch, decoder, encode, loss, axis_name, key)

    def picture(self, weights: dict, examples: dict[str, np.ndarray]) -> np.ndarray:
        """Photograph, overlay, geometry, reflectance and light of the faces, side by side."""
        images, model = examples["image"], self.decoder.model
        codes = self._encode(weights, as_floats(images))
        return panels_grid(images, FaceParams.from_code(codes, model), model, self.decoder.cam)
