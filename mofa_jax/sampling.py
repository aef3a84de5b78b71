"""Bilinear image sampling at continuous pixel coordinates."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from mofa_jax.batching import face_by_face
from mofa_jax.numerics import materialize, rows


@jax.custom_jvp
def sample_bilinear(image: jax.Array, points: jax.Array) -> jax.Array:
    """I(u): the image at screen points, bilinear, clamped to the edge beyond it.

    Differentiable in `points` (piecewise: the gradient is that of the pixel cell the point is in,
    zero beyond the edge) and in `image`.

    Args:
      image: [H, W, C], floating point.
      points: [N, 2], continuous pixels (x, y), top-left pixel center at (0.5, 0.5).

    Returns:
      [N, C].

    Raises:
      ValueError: the image holds integers, whose differences would wrap round.
    """
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image is {image.dtype}, expected floats: divide bytes by 255.")
    return _value_and_slopes(image, points.T)[0].T


def _sample_jvp(primals, tangents):
    (image, points), (image_tangent, points_tangent) = primals, tangents
    value, slope_x, slope_y = _value_and_slopes(image, points.T)
    tangent = jnp.zeros_like(value)
    if not isinstance(points_tangent, SymbolicZero):
        along_x, along_y = points_tangent.T
        tangent += slope_x * along_x[None, :] + slope_y * along_y[None, :]
    if not isinstance(image_tangent, SymbolicZero):
        tangent += _bilinear(image_tangent, points.T)[0]
    return value.T, tangent.T


sample_bilinear.defjvp(_sample_jvp, symbolic_zeros=True)


def _bilinear(image: jax.Array, points: jax.Array):
    """The image at `points` [2, N], and its slopes along x and y there, [C, N] each."""
    height, width, channels = image.shape
    column, right, inside_x = _cell(points[0], width)
    row, down, inside_y = _cell(points[1], height)
    corner, right, down = materialize((row * width + column, right[None, :], down[None, :]))
    to_right, to_down = min(width - 1, 1), min(height - 1, 1) * width
    pixels = image.reshape(height * width, channels)
    steps = (0, to_right, to_down, to_down + to_right)
    a, b, c, d = (materialize(rows(pixels, corner + step)).T for step in steps)
    top, bottom = a + (b - a) * right, c + (d - c) * right
    slope_x = (b - a) + ((d - c) - (b - a)) * down
    slope_y = bottom - top
    value = top + slope_y * down
    return materialize((value, jnp.where(inside_x, slope_x, 0), jnp.where(inside_y, slope_y, 0)))


_value_and_slopes = face_by_face(_bilinear)


def _cell(coordinate: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The pixel left of (above) a coordinate, the way from its center to the next one's, and
    whether the coordinate lies between the first pixel's center and the last one's."""
    centered = coordinate - 0.5  # pixel i's center lies at i + 0.5
    clamped = jnp.clip(centered, 0.0, size - 1.0)
    corner = jnp.minimum(jnp.floor(clamped), max(size - 2, 0))
    inside = (centered >= 0) & (centered <= size - 1)
    return corner.astype(jnp.int32), clamped - corner, inside
