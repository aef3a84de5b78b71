"""The paper's Fig. 14: a decoder learned from rendered faces, an encoder through it."""

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from ml_collections import ConfigDict

from mofa_jax import losses
from mofa_jax.autoencoder import Decoder
from mofa_jax.baselines.convolutional_decoder import ConvolutionalDecoder
from mofa_jax.baselines.pixels import PixelLearner, as_bytes, pixel_error
from mofa_jax.camera import Camera
from mofa_jax.checkpoint import Checkpoints, check_face_model, on_first_device
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import contact_sheet
from mofa_jax.numerics import as_floats
from mofa_jax.params import FaceParams, code_size, code_slices
from mofa_jax.training.learner import FaceModelLearner

_FROM_CODES = "convolutional_from_codes"
_logger = logging.getLogger(__name__)


class DecoderLearner(PixelLearner):
    """First: the decoder alone, from the true codes of rendered faces to their pictures."""

    def __init__(self, config: ConfigDict, model: FaceModel, cam: Camera):
        if config.data.kind != "synthetic":
            raise InputError(
                f"decoder.name is {_FROM_CODES}, but data.kind is {config.data.kind!r}: only "
                "rendered faces have true codes; set data.kind to synthetic."
            )
        if any(config.data.augmentation.values()):
            raise InputError(
                f"decoder.name is {_FROM_CODES}, but data.augmentation changes the faces and not "
                "their codes, which it draws; set all of data.augmentation to 0."
            )
        super().__init__(config)
        self._network, self._model = ConvolutionalDecoder(cam.image_size), model

    def random_weights(self) -> dict:
        return _random_weights(self._network, self._model, self.config.seed)

    def draw(self, weights: dict, batch: dict[str, jax.Array]) -> jax.Array:
        return _draw(weights, batch["code"], self._model, self._network)


@struct.dataclass
class LearnedDecoder(Decoder):
    """The decoder of Fig. 14 beside the face model's, which says what its codes mean.

    Attributes:
      weights: those of a `ConvolutionalDecoder`.
    """

    weights: Any = None


class LearnedDecoderLearner(FaceModelLearner):
    """Then: an encoder, from photographs through the decoder, which stays as it is.

    The loss is the pixel error and Eq. 10. The errors are those of the codes, drawn by the face
    model, and the pixel error of the learned decoder.
    """

    def __init__(self, config: ConfigDict, model: FaceModel, cam: Camera):
        super().__init__(config, model, cam)
        self._network = ConvolutionalDecoder(cam.image_size)
        weights = _trained_weights(config.decoder.pretrained, self._network, model)
        self.decoder = LearnedDecoder(model, cam, weights=weights)
        self._errors_of_codes, self.errors_of = self.errors_of, jax.jit(self._errors)
        self._draw = jax.jit(functools.partial(_draw, network=self._network))

    def objective(self, weights, batch, step, decoder, axis_name):
        config, images = self.config.loss, as_floats(batch["image"])
        codes = self.encoder.apply(weights, images)
        drawn = _draw(decoder.weights, codes, decoder.model, self._network)
        error = jnp.mean(pixel_error(drawn, images))
        params = FaceParams.from_code(codes, decoder.model)
        prior = losses.prior_terms(params, config, axis_name)
        terms = {"pixels": config.photometric * error, **prior}
        return sum(terms.values()), (terms, {"pixel_error": error})

    def picture(self, weights: dict, examples: dict[str, np.ndarray]) -> np.ndarray:
        """The five panels of the face model's drawing, and what the learned decoder draws."""
        codes = self._encode(weights, as_floats(examples["image"]))
        drawn = as_bytes(self._draw(self.decoder.weights, codes, self.decoder.model))
        learned = contact_sheet(drawn, header=("learned decoder",))
        return np.concatenate([super().picture(weights, examples), learned], axis=1)

    def _errors(self, weights, batch, decoder: LearnedDecoder) -> dict[str, jax.Array]:
        images = as_floats(batch["image"])
        drawn = _draw(
            decoder.weights, self.encoder.apply(weights, images), decoder.model, self._network
        )
        errors = self._errors_of_codes(weights, batch, decoder)
        return {**errors, "pixel_error": pixel_error(drawn, images)}


def _draw(
    weights: dict, codes: jax.Array, model: FaceModel, network: ConvolutionalDecoder
) -> jax.Array:
    """The pictures [B, H, W, 3] of codes [B, D], whose parts are first made equally large."""
    spread = np.ones((1, code_size(model)), np.float32)
    for name, span in code_slices(model).items():
        spread[:, span] = losses.CODE_SPREAD[name]
    return network.apply(weights, codes / spread)


def _random_weights(network: ConvolutionalDecoder, model: FaceModel, seed: int) -> dict:
    weights = network.init(jax.random.key(seed), jnp.zeros((1, code_size(model))))
    last = weights["params"]["deconv4"]
    last["kernel"] = jnp.zeros_like(last["kernel"])  # gray at first: codes would draw loud noise
    return weights


def _trained_weights(workdir: str, network: ConvolutionalDecoder, model: FaceModel) -> dict:
    """The decoder that a run has learned, from its newest checkpoint.

    Raises:
      InputError: no run is given, or one that has learned something else.
      CheckpointError: it has no checkpoint, or one for another face model.
    """
    if not workdir:
        raise InputError(
            "decoder.pretrained is empty; give the workdir of a run whose decoder.name is "
            f"{_FROM_CODES}, or such an experiment as config.start."
        )
    with Checkpoints.existing(workdir) as run:
        step = run.latest_step
        information = run.information(step)
        learned = information["config"].get("decoder", {}).get("name", "face_model")
        if learned != _FROM_CODES:
            raise InputError(
                f"{workdir}: this run's decoder.name is {learned}; decoder.pretrained needs a run "
                f"of {_FROM_CODES}."
            )
        check_face_model(information["face_model"], model)
        _logger.info("The decoder is that of step %d of the run %s.", step, workdir)
        target = {"weights": on_first_device(_random_weights(network, model, 0))}
        return run.load_part(step, target)["weights"]
