"""Synthetic faces: random codes rendered on the device before random backgrounds.

Every example is a pure function of its key; `example_keys` makes the keys of a training step, so
that no picture comes twice and a run goes on with the same pictures after an interruption.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import random

from mofa_jax.camera import Camera
from mofa_jax.data.synthetic.backgrounds import (
    paint,
    photograph_background,
    procedural_background,
)
from mofa_jax.data.synthetic.distributions import SyntheticRanges, sample_params, spread_normal
from mofa_jax.data.synthetic.surroundings import fringe, head, occluders, put_on_glasses
from mofa_jax.face_model import FaceModel
from mofa_jax.numerics import product
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import rasterize
from mofa_jax.renderer import render

_NUM_KEYS = 8  # of an example
SPLITS = {"train": 0, "eval": 1}


def synthetic_example(
    key: jax.Array,
    model: FaceModel,
    cam: Camera,
    ranges: SyntheticRanges | None = None,
    background: jax.Array | None = None,
) -> dict[str, Any]:
    """A random face's picture and what is known of it (unbatched; vmap over keys).

    Args:
      key: a random key.
      model, cam, ranges, background: as of `draw_example`.

    Returns:
      As of `draw_example`.
    """
    params = sample_params(random.split(key, _NUM_KEYS)[0], model, ranges)
    return draw_example(key, params, model, cam, ranges, background)


def draw_example(
    key: jax.Array,
    params: FaceParams,
    model: FaceModel,
    cam: Camera,
    ranges: SyntheticRanges | None = None,
    background: jax.Array | None = None,
) -> dict[str, Any]:
    """A face's picture, with what stands behind and before it (unbatched; vmap over the faces).

    Args:
      key: a random key.
      params: the face's code.
      model: the face model.
      cam: the camera; its image size H, W is the picture's.
      ranges: of the distributions; the default ones if None.
      background: [H, W, 3], RGB in [0, 1]; procedural if None.

    Returns:
      image: [H, W, 3] float, RGB in [0, 1].
      landmarks: [68, 2], continuous pixels, true also where they are hidden or outside.
      confidence: [68], 1 where the model has the landmark.
      params: the face's code; its light is that before the tone curve.
    """
    ranges = SyntheticRanges() if ranges is None else ranges
    keys = random.split(key, _NUM_KEYS)  # the first is that of a random code
    rendering = render(params, model, cam)
    if background is None:
        background = procedural_background(keys[1], cam.image_size)
    behind = head(keys[2], rendering, ranges)
    background = paint(background, behind)
    face, mask = rasterize(rendering, model, cam)
    cover = _feather(mask, ranges.feather * random.uniform(keys[3]))[..., None]
    image = background + cover * (jnp.clip(face, 0.0, 1.0) - background)
    if ranges.glasses:
        image = put_on_glasses(keys[6], image, rendering, model, ranges)
    if ranges.fringe:
        image = paint(image, fringe(keys[7], rendering, behind, ranges))
    image = paint(image, occluders(keys[4], rendering, ranges))
    known = model.landmarks >= 0
    return {
        "image": degrade(keys[5], image, ranges),
        "landmarks": jnp.where(known[:, None], rendering.screen[model.landmarks], 0.0),
        "confidence": known.astype(image.dtype),
        "params": params,
    }


@jax.jit
def synthetic_batch(
    keys: jax.Array,
    model: FaceModel,
    cam: Camera,
    ranges: SyntheticRanges | None = None,
    photographs: jax.Array | None = None,
) -> dict[str, Any]:
    """`synthetic_example` of B keys, every entry with a leading axis B.

    Args:
      keys: [B] random keys, as of `example_keys`.
      model, cam, ranges: as of `synthetic_example`.
      photographs: [K, h, w, 3] to cut backgrounds from, as of `photograph_background`; procedural
        backgrounds if None.
    """

    def example(key):
        key, background_key = random.split(key)
        background = None
        if photographs is not None:
            background = photograph_background(background_key, photographs, cam.image_size)
        return synthetic_example(key, model, cam, ranges, background)

    return jax.vmap(example)(keys)


@jax.jit
def as_stored(batch: dict[str, Any]) -> dict[str, jax.Array]:
    """`synthetic_batch`'s with the image as uint8 and `code` [B, D] in the place of `params`."""
    rest = {key: value for key, value in batch.items() if key != "params"}
    image = jnp.round(255 * batch["image"]).astype(jnp.uint8)
    return {**rest, "image": image, "code": batch["params"].to_code()}


def example_keys(
    seed: int, step: int | jax.Array, batch_size: int, split: str | jax.Array
) -> jax.Array:
    """The keys [batch_size] of one step: the same ones whenever, and on how many devices, it runs.

    Args:
      seed: of the run.
      step: counts the batches.
      batch_size: B, over all devices.
      split: "train" or "eval", which share no example; or its number in `SPLITS`.
    """
    number = SPLITS[split] if isinstance(split, str) else split
    key = random.fold_in(random.fold_in(random.key(seed), number), step)
    return jax.vmap(lambda index: random.fold_in(key, index))(jnp.arange(batch_size))


def degrade(key: jax.Array, image: jax.Array, ranges: SyntheticRanges) -> jax.Array:
    """What cameras do to a picture [H, W, 3]: blur, a tone curve and noise, clipped to [0, 1]."""
    level_key, contrast_key, noise_key = random.split(key, 3)
    blur, noise = random.uniform(level_key, (2,))
    image = _blur(image, ranges.blur * blur)
    exponent = jnp.exp(ranges.contrast * spread_normal(contrast_key, (), ranges))
    image = jnp.exp(exponent * jnp.log(jnp.maximum(image, 1e-4)))
    image = image + ranges.noise * noise * _pixel_noise(noise_key, image.shape[:2])
    return jnp.clip(image, 0.0, 1.0)


def _feather(mask: jax.Array, sigma: jax.Array) -> jax.Array:
    """`mask` [H, W] with a soft edge on its inside, about two `sigma` wide, px."""
    return mask * jnp.clip(2 * _blur(mask[..., None], sigma)[..., 0] - 1, 0.0, 1.0)


def _blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur of an image [H, W, C]; `sigma` in px."""
    down, across = (_blurring(size, sigma) for size in image.shape[:2])
    columns = product(down, jnp.moveaxis(image, -1, 0))
    return jnp.moveaxis(product(columns, across.T), 0, -1)


def _blurring(size: int, sigma: jax.Array) -> jax.Array:
    """[size, size]: the matrix that blurs a column; at its ends the weights of the pixels there."""
    row = jnp.arange(size, dtype=jnp.float32)
    exponent = -((row[:, None] - row[None, :]) ** 2) / (2 * jnp.maximum(sigma, 0.1) ** 2)
    return jax.nn.softmax(exponent, axis=1)


def _pixel_noise(key: jax.Array, image_size: tuple[int, int]) -> jax.Array:
    """Standard normal noise [H, W, 3] of 1024 values: three from each random word."""
    word = random.bits(key, image_size, jnp.uint32)[..., None]
    value = (word >> jnp.array([[[0, 10, 20]]], jnp.uint32)) & 1023
    return math.sqrt(2) * jax.lax.erf_inv((2 * value.astype(jnp.float32) + 1) / 1024 - 1)
