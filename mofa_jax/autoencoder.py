"""Encoder, decoder and loss as one differentiable function (paper, Fig. 1 and Eq. 6-7)."""

import dataclasses
import logging
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import struct
from ml_collections import ConfigDict

from mofa_jax import encoders, losses, metrics
from mofa_jax.camera import Camera
from mofa_jax.checkpoint import Checkpoints, on_first_device
from mofa_jax.face_model import FaceModel
from mofa_jax.fast_photometric import (
    StackedBases,
    oriented_vertices,
    photometric_batch,
    stack_bases,
)
from mofa_jax.params import FaceParams
from mofa_jax.renderer import project_vertices

_logger = logging.getLogger(__name__)


@struct.dataclass
class Decoder:
    """What training needs of a face model and a camera; it has no learned weight.

    Attributes:
      bases: of the photometric term.
      landmarks: the model restricted to its 68 landmark vertices.
      cam: the camera.
    """

    bases: StackedBases
    landmarks: FaceModel
    cam: Camera


def make_decoder(model: FaceModel, cam: Camera) -> Decoder:
    """The decoder's arrays, re-ordered once before training."""
    return Decoder(stack_bases(model), landmark_model(model), cam)


def landmark_model(model: FaceModel) -> FaceModel:
    """The model with its landmarks as its only vertices and without triangles."""
    chosen = jnp.maximum(model.landmarks, 0)
    order = jnp.where(model.landmarks >= 0, jnp.arange(len(chosen)), -1)
    empty = model.triangles[:0]
    rows = ("mean_shape", "shape_basis", "expression_basis", "mean_reflectance")
    return dataclasses.replace(
        model,
        **{key: getattr(model, key)[chosen] for key in (*rows, "reflectance_basis")},
        triangles=empty,
        landmarks=order,
        topology=None,
        uv=None,
    )


def make_camera(config: ConfigDict) -> Camera:
    """The camera of a config's `camera`."""
    size = config.image_size
    center = (size / 2, size / 2)
    return Camera(config.focal, center, (size, size), config.distance)


def make_encoder(config: ConfigDict, num_outputs: int) -> nn.Module:
    """The network of a config's `encoder`, for codes of `num_outputs` entries."""
    options = {"variant": config.variant} if config.name == "alexnet" else {}
    return encoders.make_encoder(config.name, num_outputs, **options)


def initial_weights(encoder: nn.Module, config: ConfigDict, cam: Camera) -> dict:
    """The encoder's variables before training.

    Random, or from the file of weights that `config.encoder.pretrained` names; the last layer is
    zero either way, so that the first rendering is the average face in the middle of the image. Or,
    if it names the workdir of another run, all of that run's newest checkpoint.

    Raises:
      PretrainedWeightsError, CheckpointError: they do not fit the encoder.
    """
    image = jnp.zeros((1, *cam.image_size, 3))
    weights = jax.jit(encoder.init)(jax.random.key(config.seed), image)
    pretrained = config.encoder.pretrained
    if os.path.isdir(pretrained):
        with Checkpoints.existing(pretrained) as run:
            _logger.info("Encoder weights from step %d of the run %s.", run.latest_step, pretrained)
            target = {"weights": on_first_device(weights)}
            return run.load_part(run.latest_step, target)["weights"]
    if pretrained:
        from mofa_jax.encoders.pretrained import load_pretrained

        _logger.info("Encoder weights from %s.", pretrained)
        return load_pretrained(pretrained, encoder, weights)
    _logger.info("No pretrained encoder weights given: He initialisation.")
    return weights


def regularizer_weight(config: ConfigDict, step: jax.Array) -> jax.Array:
    """w_reg at a step: from `regularizer_start` geometrically to `regularizer`, then constant."""
    progress = jnp.clip(step / max(config.regularizer_steps, 1), 0.0, 1.0)
    if not config.regularizer_steps:
        progress = 1.0
    start, end = np.log(config.regularizer_start), np.log(config.regularizer)
    return jnp.exp(start + progress * (end - start))


def pyramid_level(config: ConfigDict, step: jax.Array) -> jax.Array:
    """How often the photograph is halved at a step: from `pyramid_levels` down to 0."""
    left = 1.0 - step / max(config.pyramid_steps, 1)
    level = jnp.ceil(config.pyramid_levels * left).astype(jnp.int32)
    return jnp.clip(level, 0, config.pyramid_levels)


def blurred(images: jax.Array, level: jax.Array, num_levels: int) -> jax.Array:
    """[B, H, W, 3] images halved `level` times and enlarged again; level 0 leaves them alone."""

    def through(factor: int) -> Callable[[jax.Array], jax.Array]:
        batch, height, width, channels = images.shape
        small = (batch, height // factor, factor, width // factor, factor, channels)
        return lambda x: jax.image.resize(x.reshape(small).mean(axis=(2, 4)), x.shape, "linear")

    if num_levels == 0:
        return images
    branches = [lambda x: x, *(through(2**k) for k in range(1, num_levels + 1))]
    return jax.lax.switch(level, branches, images)


def objective(
    weights: dict,
    batch: dict[str, jax.Array],
    step: jax.Array,
    decoder: Decoder,
    encode: Callable,
    config: ConfigDict,
    axis_name: str | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Eq. 7, averaged over a batch, and the terms it is made of.

    Args:
      weights: the encoder's.
      batch: image [B, H, W, 3] uint8; landmarks [B, 68, 2] px and confidence [B, 68].
      step: optimiser steps done.
      decoder: see `Decoder`.
      encode: (weights, images [B, H, W, 3] in [0, 1]) -> codes [B, D].
      config: the default config's `loss`.
      axis_name: of the devices that share the batch, if any.

    Returns:
      The loss, and dict(loss, photometric, landmark, regularizer: the terms of Eq. 7 with their
      weights; photometric_error and landmark_error, px: the metrics).
    """
    images = batch["image"].astype(jnp.float32) / 255.0
    params = FaceParams.from_code(encode(weights, images), decoder.landmarks)
    compared = blurred(images, pyramid_level(config, step), config.pyramid_levels)
    photometric, share = photometric_batch(params, decoder.bases, decoder.cam, compared)
    landmark, distance = jax.vmap(_landmark_terms, (0, 0, 0, None))(
        params, batch["landmarks"], batch["confidence"], decoder
    )
    prior = jax.vmap(_prior, (0, None))(params, config)
    population = _population_prior(params, config, axis_name)
    terms = {
        "photometric": config.photometric * jnp.mean(photometric),
        "landmark": config.landmark * jnp.mean(landmark),
        "regularizer": regularizer_weight(config, step) * jnp.mean(prior) + population,
    }
    loss = sum(terms.values())  # Eq. 7
    annotated = jnp.isfinite(distance)
    errors = {
        "photometric_error": jnp.mean(photometric / jnp.maximum(share, 1e-6)),
        "landmark_error": jnp.sum(jnp.where(annotated, distance, 0.0)) / jnp.sum(annotated),
    }
    return loss, {"loss": loss, **terms, **errors}


def face_errors(
    params: FaceParams, batch: dict[str, jax.Array], images: jax.Array, decoder: Decoder
) -> dict[str, jax.Array]:
    """The metrics of each face of a batch [B]; NaN where a face has no landmarks.

    geometric_error, mm, is there when the batch holds the true codes.
    """
    photometric, share = photometric_batch(params, decoder.bases, decoder.cam, images)
    _, distance = jax.vmap(_landmark_terms, (0, 0, 0, None))(
        params, batch["landmarks"], batch["confidence"], decoder
    )
    errors = {
        "photometric_error": photometric / jnp.maximum(share, 1e-6),
        "landmark_error": distance,
    }
    if "code" in batch:
        true = FaceParams.from_code(batch["code"], decoder.landmarks)
        oriented = [oriented_vertices(code, decoder.bases) for code in (params, true)]
        errors["geometric_error"] = jax.vmap(metrics.geometric_error)(*oriented)
    return errors


def _landmark_terms(params, points, confidence, decoder: Decoder) -> tuple[jax.Array, jax.Array]:
    """Eq. 9 and the landmark error, px (NaN without landmarks), of one face."""
    screen = project_vertices(params, decoder.landmarks, decoder.cam)
    offset, weight = losses.landmark_offsets(screen, decoder.landmarks, points, confidence)
    error = jax.lax.stop_gradient(losses.mean_landmark_distance(offset, weight))
    return losses.weighted_landmark_distance(offset, weight, decoder.cam), error


def _prior(params: FaceParams, config: ConfigDict) -> jax.Array:
    """Eq. 10, and the prior on the light's colour."""
    statistical = losses.regularizer(params, config.reflectance, config.expression)
    return statistical + config.light_color * losses.light_color(params)


def _population_prior(params: FaceParams, config: ConfigDict, axis_name: str | None) -> jax.Array:
    """Keeps the average shape, and the average pose in the detector's squares, at zero.

    A single face may differ from the average as the other terms let it; all of them together not.
    """
    if not (config.population_shape or config.population_pose):
        return jnp.zeros(())
    pose = jnp.concatenate([params.rotation, params.translation], axis=-1)
    shape, pose = (losses.squared_mean(x, axis_name) for x in (params.shape, pose))
    return config.population_shape * shape + config.population_pose * pose
