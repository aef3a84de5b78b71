"""An encoder's weights before training: random, published, or those of another encoder."""

import functools
import logging
import os

import jax
import jax.numpy as jnp
from flax import linen as nn
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.checkpoint import (
    CheckpointError,
    Checkpoints,
    check_codes,
    check_face_model,
    on_first_device,
)
from mofa_jax.encoders import encoder_from_config
from mofa_jax.encoders.trained import OPEN_ENCODER, read_trained
from mofa_jax.face_model import FaceModel

_logger = logging.getLogger(__name__)


def random_weights(encoder: nn.Module, seed: int, cam: Camera) -> dict:
    """The encoder's variables by He initialization; the last layer is zero."""
    return _init(encoder, jax.random.key(seed), jnp.zeros((1, *cam.image_size, 3)))


@functools.partial(jax.jit, static_argnums=0)
def _init(encoder: nn.Module, key: jax.Array, images: jax.Array) -> dict:
    """Compiled once for all runs of a process whose encoders are equal."""
    return encoder.init(key, images)


def is_trained(pretrained: str) -> bool:
    """Whether `config.encoder.pretrained` names an encoder that has learned codes: the one in the
    box, or another run's."""
    return pretrained == OPEN_ENCODER or os.path.isdir(pretrained)


def initial_weights(encoder: nn.Module, config: ConfigDict, model: FaceModel, cam: Camera) -> dict:
    """The encoder's variables before training.

    Random, or from the file of weights that `config.encoder.pretrained` names; the last layer is
    zero either way, so that the first rendering is the average face in the middle of the image. Or,
    if it names the workdir of another run, all of that run's newest checkpoint; if it is "open",
    all of the bundled encoder.

    Raises:
      PretrainedWeightsError, CheckpointError: they do not fit the encoder, or are of a run with
        another encoder or face model.
      TrainedEncoderError: the bundled encoder is damaged.
    """
    pretrained = config.encoder.pretrained
    if pretrained == OPEN_ENCODER:
        weights, information = read_trained()
        _check_other_run(information, encoder, config, model)
        _logger.info("Encoder weights of the bundled encoder.")
        return weights
    weights = random_weights(encoder, config.seed, cam)
    if os.path.isdir(pretrained):
        with Checkpoints.existing(pretrained) as run:
            _check_other_run(run.information(run.latest_step), encoder, config, model)
            _logger.info("Encoder weights from step %d of the run %s.", run.latest_step, pretrained)
            target = {"weights": on_first_device(weights)}
            return run.load_part(run.latest_step, target)["weights"]
    if pretrained and not os.path.exists(pretrained):
        raise CheckpointError(
            f"{pretrained}: there is no such run and no such file of weights; check "
            "config.encoder.pretrained."
        )
    if pretrained:
        from mofa_jax.encoders.pretrained import load_pretrained

        _logger.info("Encoder weights from %s.", pretrained)
        return {**weights, "params": load_pretrained(pretrained, encoder, weights["params"])}
    _logger.info("No pretrained encoder weights given: He initialization.")
    return weights


def _check_other_run(
    information: dict, encoder: nn.Module, config: ConfigDict, model: FaceModel
) -> None:
    """Raises CheckpointError if another run's encoder does not fit; warns of another camera."""
    pretrained, wanted = config.encoder.pretrained, config.encoder
    check_codes(information, pretrained)
    other = ConfigDict(information["config"]["encoder"] | {"dtype": wanted.dtype})
    if other.name != wanted.name:
        raise CheckpointError(
            f"{pretrained}: this run's encoder is {other.name}, but encoder.name is "
            f"{wanted.name}; give a run of the same encoder as config.encoder.pretrained."
        )
    try:
        check_face_model(information["face_model"], model)
    except CheckpointError as error:
        raise CheckpointError(f"encoder.pretrained is {pretrained}: {error}") from error
    if encoder_from_config(other, encoder.num_outputs) != encoder:
        fields = [
            key for key in {*other, *wanted} - {"pretrained"} if other.get(key) != wanted.get(key)
        ]
        differences = ", ".join(
            f"encoder.{key} {other.get(key, 'as usual')} and not {wanted.get(key, 'as usual')}"
            for key in sorted(fields)
        )
        raise CheckpointError(
            f"{pretrained}: this run has {differences}; give one of the same network."
        )
    if information["config"]["camera"] != config.camera.to_dict():
        _logger.warning(
            "%s: this run's camera is another one, so its translations mean other places.",
            pretrained,
        )
