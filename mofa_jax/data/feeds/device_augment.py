"""Augmentation of a batch on the device: what mofa_jax/data/feeds/augment.py does on the host."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mofa_jax.data.feeds import augment_draws as draws
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.jpeg import jpeg_noise
from mofa_jax.landmarks import FLIP_PERMUTATION
from mofa_jax.sampling import sample_bilinear

Arrays = dict[str, jax.Array]


def augment_batch(options: Augmentation, batch: Arrays, unit: jax.Array) -> Arrays:
    """Change the examples of a batch.

    Args:
      options: the largest sizes; what is off costs nothing.
      batch: dict(image uint8 [B, H, W, 3], landmarks [B, 68, 2] px, confidence [B, 68]).
      unit: [B, NUM_DRAWS], random numbers in [-1, 1).
    """
    if options == Augmentation():
        return batch
    return jax.vmap(lambda example, unit: augment_example(options, example, unit))(batch, unit)


def augment_example(options: Augmentation, example: Arrays, unit: jax.Array) -> Arrays:
    """Change one example as the NUM_DRAWS numbers `unit` in [-1, 1) say."""
    changed = dict(example)
    if options.flip or options.moves:
        changed |= _move(options, example, unit)
    image = changed["image"].astype(jnp.float32)
    if options.occluder:
        image = _occlude(options, image, unit)
    if options.changes_tone:
        slope, offset = draws.tone(options, unit, jnp)
        image = jnp.clip(jnp.round(image * slope[None, None, :] + offset), 0.0, 255.0)
    if options.jpeg:
        image = jpeg_noise(image, draws.jpeg_quality(options, unit, jnp))
    return changed | {"image": image.astype(jnp.uint8)}


def _move(options: Augmentation, example: Arrays, unit: jax.Array) -> Arrays:
    height, width, _ = example["image"].shape
    mirrored = draws.is_mirrored(options, unit)
    motion = draws.motion(options, unit, width, height, jnp)
    landmarks = example["landmarks"] @ motion[:, :2].T + motion[None, :, 2]
    renamed = landmarks[FLIP_PERMUTATION], example["confidence"][FLIP_PERMUTATION]
    if options.moves:
        image = _warp(example["image"], motion)
    else:
        image = jnp.where(mirrored, example["image"][:, ::-1], example["image"])
    return {
        "image": image,
        "landmarks": jnp.where(mirrored, renamed[0], landmarks),
        "confidence": jnp.where(mirrored, renamed[1], example["confidence"]),
    }


def _warp(image: jax.Array, motion: jax.Array) -> jax.Array:
    """`image` [H, W, 3] moved by an affine map [2, 3]; whole numbers."""
    height, width, channels = image.shape
    (a, b), (c, d) = motion[:, :2]
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    points = jnp.stack([x.ravel(), y.ravel()], axis=1)
    points = (points - motion[None, :, 2]) @ inverse.T
    pixels = sample_bilinear(image.astype(jnp.float32), points)
    return jnp.round(pixels).reshape(height, width, channels)


def _occlude(options: Augmentation, image: jax.Array, unit: jax.Array) -> jax.Array:
    height, width, _ = image.shape
    shape = draws.occluder(options, unit, width, height, jnp)
    x, y = jnp.arange(width)[None, :] + 0.5, jnp.arange(height)[:, None] + 0.5
    cover = draws.coverage(shape, x, y, jnp)[:, :, None]
    texture = jax.image.resize(shape.texture, image.shape, "linear")
    return jnp.round(image + cover * (texture - image))
