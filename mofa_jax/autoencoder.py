"""Encoder, decoder and loss as one differentiable function (paper, Fig. 1 and Eq. 6-7)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from mofa_jax import losses, metrics
from mofa_jax.camera import REFERENCE_SIZE, Camera
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.landmarks import FACING_LIDS, FACING_LIPS, NUM_LANDMARKS
from mofa_jax.numerics import as_floats
from mofa_jax.params import FaceParams
from mofa_jax.renderer import Rendering, limit_geometry_gradient, project_vertices, render


@struct.dataclass
class Decoder:
    """The decoder's arrays; none of them is learned.

    Attributes:
      model: the face model.
      cam: the camera.
      patches: of the model's surface, [P, M], for the losses that compare patches.
      ranges: the `SyntheticRanges` of what the loopback draws.
    """

    model: FaceModel
    cam: Camera
    patches: jax.Array | None = None
    ranges: Any = None

    def render(self, params: FaceParams) -> Rendering:
        """The renderings of B faces; fields have B in front."""
        return jax.vmap(render, (0, None, None))(params, self.model, self.cam)


def project_landmarks(params: FaceParams, landmarks: FaceModel, cam: Camera) -> jax.Array:
    """The vertices of `FaceModel.at_landmarks` on the screen [B, 68, 2], px, of B faces."""
    return jax.vmap(project_vertices, (0, None, None))(params, landmarks, cam)


def check_loss(config: ConfigDict) -> None:
    """Refuses values of the default config's `loss` with which no loss can be computed.

    Raises:
      InputError: a share that is none.
    """
    if not 0 <= config.photometric_geometry <= 1:
        raise InputError(
            f"loss.photometric_geometry is {config.photometric_geometry:g}; give a share from 0 to "
            "1."
        )


def objective(
    weights: dict,
    batch: dict[str, jax.Array],
    decoder: Decoder,
    encode: Callable,
    config: ConfigDict,
    axis_name: str | None = None,
    key: jax.Array | None = None,
) -> tuple[jax.Array, tuple[dict[str, jax.Array], dict[str, jax.Array]]]:
    """Eq. 7, averaged over a batch, and the terms it is made of.

    Args:
      weights: the encoder's.
      batch: image [B, H, W, 3] uint8; landmarks [B, 68, 2] px and confidence [B, 68]; for the code
        term also the true code [B, D].
      decoder: see `Decoder`.
      encode: (weights, images [B, H, W, 3] in [0, 1]) -> codes [B, D].
      config: the default config's `loss`.
      axis_name: of the devices that share the batch, if any.
      key: of this step, and of this device, for the loopback, which is left out without one.

    Returns:
      The loss; its terms by name, each with its weight, whose sum it is; and the metrics
      photometric_error and landmark_error, px of a 240 px crop, over the faces that have them.
    """
    images = as_floats(batch["image"])
    params = FaceParams.from_code(encode(weights, images), decoder.model)
    rendering = decoder.render(params)
    photometric = _photometric(rendering, params, images, decoder, config)
    share = jnp.mean(rendering.front_facing, axis=-1)
    landmark, distance, _ = _landmark_terms(rendering.screen, decoder.model, batch, decoder.cam)
    terms = {  # Eq. 7
        "photometric": config.photometric * jnp.mean(photometric),
        "landmark": config.landmark * jnp.mean(landmark),
        **_alignment_terms(rendering, images, batch, decoder, config, axis_name),
        **_code_term(params, batch, decoder, config),
        **_loopback_terms(key, params, weights, encode, decoder, config),
        **losses.prior_terms(params, config, axis_name),
    }
    errors = {
        "photometric_error": _mean_of_known(photometric / share, axis_name),
        "landmark_error": _mean_of_known(distance, axis_name),
    }
    return sum(terms.values()), (terms, errors)


def _mean_of_known(values: jax.Array, axis_name: str | None) -> jax.Array:
    """The mean of those [B] that are not NaN, on all devices of the axis; NaN without any."""
    known = ~jnp.isnan(values)
    total, count = jnp.sum(jnp.where(known, values, 0.0)), jnp.sum(known)
    if axis_name is not None:
        total, count = jax.lax.psum((total, count), axis_name)
    return total / count


def _photometric(rendering, params, images, decoder: Decoder, config: ConfigDict) -> jax.Array:
    """Eq. 8 [B], of whose gradient `config.photometric_geometry` reaches geometry and pose."""
    if config.photometric_geometry < 1:
        limit = jax.vmap(limit_geometry_gradient, (0, 0, None, None))
        rendering = limit(rendering, params, decoder.model, config.photometric_geometry)
    return jax.vmap(losses.photometric)(rendering, images)


def _alignment_terms(
    rendering, images, batch: dict, decoder: Decoder, config: ConfigDict, axis_name: str | None
) -> dict:
    """The terms besides Eq. 8 and 9 that see where the face lies, by name, weighted."""
    terms = {}
    if config.closure:
        values = jax.vmap(losses.closure, (0, None, 0, 0, None))(
            rendering, decoder.model, batch["landmarks"], batch["confidence"], decoder.cam
        )
        terms["closure"] = config.closure * jnp.mean(values)
    if config.area_photometric:
        area = jax.vmap(losses.area_photometric, (0, 0, None))
        values = area(rendering, images, config.area_threshold)
        terms["area_photometric"] = config.area_photometric * jnp.mean(values)
    if config.patch_correlation:
        values = jax.vmap(losses.patch_correlation, (0, 0, None))(
            rendering, images, decoder.patches
        )
        terms["patch_correlation"] = config.patch_correlation * jnp.mean(values)
    if config.population_place:
        places = losses.squared_mean(_places(rendering, decoder), axis_name)
        terms["population_place"] = config.population_place * places
    return terms


def _places(rendering: Rendering, decoder: Decoder) -> jax.Array:
    """How far the middles of B faces' 46 landmarks lie from the average face's on the screen
    [B, 2], dm at the camera's distance."""

    def middle(screen: jax.Array, model: FaceModel) -> jax.Array:
        nowhere, everywhere = jnp.zeros((NUM_LANDMARKS, 2)), jnp.ones(NUM_LANDMARKS)
        points, present = losses.landmark_offsets(screen, model, nowhere, everywhere)
        return jnp.sum(points, axis=0) / jnp.maximum(jnp.sum(present), 1.0)

    model, cam = decoder.model, decoder.cam
    average = FaceParams.neutral(model)
    landmarks = model.at_landmarks()
    origin = middle(project_vertices(average, landmarks, cam), landmarks)
    middles = jax.vmap(middle, (0, None))(rendering.screen, model)
    return (middles - origin[None]) * (cam.distance / cam.focal)


def _code_term(params: FaceParams, batch: dict, decoder: Decoder, config: ConfigDict) -> dict:
    if not config.code:
        return {}
    true = FaceParams.from_code(batch["code"], decoder.model)
    return {"code": config.code * jnp.mean(jax.vmap(losses.code_distance)(params, true))}


def _loopback_terms(
    key: jax.Array | None, params: FaceParams, weights: dict, encode: Callable, decoder, config
) -> dict:
    """How far the encoder is from predictions that are drawn again: their landmarks, as Eq. 9, and
    their codes."""
    if key is None or not (config.loopback or config.loopback_code):
        return {}
    from mofa_jax.loopback import loopback_examples  # imports grain, which rendering does without

    model, cam = decoder.model, decoder.cam
    faces = loopback_examples(key, params, model, cam, decoder.ranges)
    again = FaceParams.from_code(encode(weights, faces["image"]), model)
    landmarks = model.at_landmarks()
    screen = project_landmarks(again, landmarks, cam)
    landmark, _, _ = _landmark_terms(screen, landmarks, faces, cam)
    code = jax.vmap(losses.code_distance)(again, faces["params"])
    return {
        "loopback": config.loopback * jnp.mean(landmark),
        "loopback_code": config.loopback_code * jnp.mean(code),
    }


def face_errors(
    params: FaceParams, batch: dict[str, jax.Array], images: jax.Array, decoder: Decoder
) -> dict[str, jax.Array]:
    """The metrics of each face of a batch [B], and whether it `failed`.

    Returns:
      photometric_error, NaN where no vertex is front-facing; landmark_error, px of a 240 px crop,
      scale_bias and the offsets offset_x and offset_y, px of a 240 px crop, of
      `metrics.landmark_bias`, eye_opening_bias and mouth_opening_bias, px of such a crop, of
      `metrics.opening_bias`, each NaN where a face has none of the landmarks that it compares;
      geometric_error, mm, when the batch holds the true `code`; annotated, bool: the face has
      landmarks; failed, bool: an error that it should have is not finite.
    """
    rendering = decoder.render(params)
    _, distance, annotated = _landmark_terms(rendering.screen, decoder.model, batch, decoder.cam)
    errors = {
        "photometric_error": jax.vmap(metrics.photometric_error)(rendering, images),
        "landmark_error": distance,
        **_biases(rendering.screen, decoder.model, batch, decoder.cam),
    }
    failed = ~jnp.isfinite(errors["photometric_error"]) | (annotated & ~jnp.isfinite(distance))
    if "code" in batch:
        true = decoder.render(FaceParams.from_code(batch["code"], decoder.model))
        errors["geometric_error"] = jax.vmap(metrics.geometric_error)(
            rendering.vertices, true.vertices
        )
        failed |= ~jnp.isfinite(errors["geometric_error"])
    return {**errors, "annotated": annotated, "failed": failed}


def _biases(
    screen: jax.Array, model: FaceModel, batch: dict[str, jax.Array], cam: Camera
) -> dict[str, jax.Array]:
    """The biases of `face_errors` of B faces whose vertices are drawn at `screen` [B, N, 2]."""

    def of_one(screen: jax.Array, points: jax.Array, confidence: jax.Array):
        face, pixels = (screen, model, points, confidence), REFERENCE_SIZE / cam.image_size[1]
        scale, offset = metrics.landmark_bias(*face)
        return {
            "scale_bias": scale,
            "offset_x": pixels * offset[0],
            "offset_y": pixels * offset[1],
            "eye_opening_bias": pixels * metrics.opening_bias(*face, FACING_LIDS),
            "mouth_opening_bias": pixels * metrics.opening_bias(*face, FACING_LIPS),
        }

    return jax.vmap(of_one)(screen, batch["landmarks"], batch["confidence"])


def _landmark_terms(screen: jax.Array, model: FaceModel, batch: dict[str, jax.Array], cam: Camera):
    """Eq. 9, the landmark error (NaN without landmarks) and whether there are any, of B faces whose
    vertices are drawn at `screen` [B, N, 2]."""

    def of_one(screen: jax.Array, points: jax.Array, confidence: jax.Array):
        offset, weight = losses.landmark_offsets(screen, model, points, confidence)
        error = jax.lax.stop_gradient(losses.mean_landmark_distance(offset, weight))
        error *= REFERENCE_SIZE / cam.image_size[1]
        loss = losses.weighted_landmark_distance(offset, weight, cam)
        return loss, error, jnp.any(weight > 0)

    return jax.vmap(of_one)(screen, batch["landmarks"], batch["confidence"])
