"""Pictures to stand behind (and before) synthetic faces, drawn on the device from a key.

Positions are continuous pixels, x right, y down; colors are RGB in [0, 1].
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jax import random

from mofa_jax.numerics import einsum

_OCTAVES = (2, 5, 12, 30, 80)  # random values along a side of each layer of noise
_NUM_SHAPES = 12


@struct.dataclass
class Shapes:
    """K ellipses and rectangles with soft edges, painted in their order.

    Attributes:
      center: [K, 2] (x, y), px.
      radius: [K, 2], half the width and height, px.
      angle: [K], rad.
      box: [K] bool, a rectangle instead of an ellipse.
      color: [K, 3], RGB.
      opacity: [K], in [0, 1].
      softness: [K], width of the edge, px.
    """

    center: jax.Array
    radius: jax.Array
    angle: jax.Array
    box: jax.Array
    color: jax.Array
    opacity: jax.Array
    softness: jax.Array


def procedural_background(key: jax.Array, image_size: tuple[int, int]) -> jax.Array:
    """A random picture [H, W, 3]: noise from broad gradients to grain, and shapes painted on it."""
    noise_key, shapes_key = random.split(key)
    image = _noise(noise_key, image_size)
    height, width = image_size
    extent = jnp.array([[width, height]], image.dtype)
    shapes = random_shapes(shapes_key, _NUM_SHAPES, jnp.zeros((1, 2)), extent, (0.02, 0.35))
    return jnp.clip(paint(image, shapes), 0.0, 1.0)


def photograph_background(
    key: jax.Array, photographs: jax.Array, image_size: tuple[int, int]
) -> jax.Array:
    """A random piece [H, W, 3] of one of `photographs` [K, h, w, 3], at random mirrored.

    Args:
      key: a random key.
      photographs: uint8, or floating point in [0, 1]; h and w at least the image's.
      image_size: (H, W).

    Raises:
      ValueError: the photographs are smaller than the image.
    """
    count, *size, _ = photographs.shape
    if any(have < need for have, need in zip(size, image_size, strict=True)):
        raise ValueError(
            f"photographs of {tuple(size)} px are too small for a background of {image_size} px; "
            "scale them up first."
        )
    which, row, column, flip = random.split(key, 4)
    start = (
        random.randint(which, (), 0, count),
        random.randint(row, (), 0, size[0] - image_size[0] + 1),
        random.randint(column, (), 0, size[1] - image_size[1] + 1),
        0,
    )
    piece = jax.lax.dynamic_slice(photographs, start, (1, *image_size, 3))[0]
    if jnp.issubdtype(photographs.dtype, jnp.integer):
        piece = piece.astype(jnp.float32) / 255
    return jnp.where(random.bernoulli(flip), piece[:, ::-1], piece)


def random_shapes(
    key: jax.Array,
    count: int,
    low: jax.Array,
    high: jax.Array,
    radius: tuple[float, float],
) -> Shapes:
    """`count` shapes with centers between `low` and `high` [1, 2] (px), `radius` of that extent."""
    u = random.uniform(key, (count, 11))
    low_radius, high_radius = radius
    extent = jnp.max(high - low)
    return Shapes(
        center=low + (high - low) * u[:, 0:2],
        radius=extent * low_radius * (high_radius / low_radius) ** u[:, 2:4],
        angle=jnp.pi * u[:, 4],
        box=u[:, 5] < 0.5,
        color=u[:, 6:9],
        opacity=0.3 + 0.7 * u[:, 9],
        softness=jnp.exp(3 * u[:, 10]),
    )


def paint(image: jax.Array, shapes: Shapes) -> jax.Array:
    """`image` [H, W, 3] with `shapes` painted over it."""
    height, width, _ = image.shape
    x = jnp.arange(width, dtype=image.dtype)[None, :] + 0.5
    y = jnp.arange(height, dtype=image.dtype)[:, None] + 0.5

    def paint_one(image, shape):
        cover = shape.opacity * soft_cover(shape, x, y)[..., None]
        return image + cover * (shape.color[None, None, :] - image), None

    return jax.lax.scan(paint_one, image, shapes)[0]


def soft_cover(shape: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    """How much of each pixel a shape with a soft edge covers, in [0, 1]: [H, W].

    Args:
      shape: has center [2] px, radius [2] px (half the width and height), angle in rad, box (a
        rectangle instead of an ellipse) and softness, the width of the edge, px.
      x, y: pixel centers, [1, W] and [H, 1], px.
    """
    sine, cosine = jnp.sin(shape.angle), jnp.cos(shape.angle)
    right, down = x - shape.center[0], y - shape.center[1]
    across = jnp.abs(cosine * right + sine * down) / shape.radius[0]
    along = jnp.abs(cosine * down - sine * right) / shape.radius[1]
    round_, square = jnp.sqrt(across**2 + along**2), jnp.maximum(across, along)
    distance = jnp.where(shape.box, square, round_)
    inside = (1 - distance) * jnp.min(shape.radius) / shape.softness  # edge widths from the edge
    return jnp.clip(inside + 0.5, 0.0, 1.0)


def _noise(key: jax.Array, image_size: tuple[int, int]) -> jax.Array:
    """[H, W, 3]: layers of smooth random values, each with a random strength, about a color."""
    levels_key, values_key = random.split(key)
    levels = random.uniform(levels_key, (3 + len(_OCTAVES),))
    sizes = [octave**2 for octave in _OCTAVES]
    values = random.normal(values_key, (sum(sizes), 4))
    values = values[:, :1] + 0.3 * values[:, 1:]  # mostly gray
    rows, columns = ([_enlarging(octave, n) for octave in _OCTAVES] for n in image_size)
    layers = []
    for k, octave in enumerate(_OCTAVES):
        start = sum(sizes[:k])
        coarse = values[start : start + sizes[k]].reshape(octave, octave, 3)
        strength = 0.5 * levels[3 + k] ** 2 / (1 + k)
        layers.append(strength * einsum("wj,ijc->iwc", columns[k], coarse))
    # All layers are enlarged to the height by one matrix product.
    noise = einsum("hi,iwc->hwc", jnp.concatenate(rows, axis=1), jnp.concatenate(layers))
    return levels[None, None, :3] + noise


def _enlarging(count: int, size: int) -> jax.Array:
    """[size, count]: the matrix that interpolates `count` values linearly at `size` pixels."""
    return jax.image.resize(jnp.eye(count), (size, count), "linear")
