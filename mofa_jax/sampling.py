"""Bilinear image sampling at continuous pixel coordinates."""

import jax
import jax.numpy as jnp


def _corner_and_weight(coordinate: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The pixel left of (above) a coordinate, and how far it is from there to the next one."""
    centered = jnp.clip(coordinate - 0.5, 0.0, size - 1.0)  # pixel i's center lies at i + 0.5
    corner = jnp.minimum(jnp.floor(jax.lax.stop_gradient(centered)), max(size - 2, 0))
    return corner.astype(jnp.int32), centered - corner


def sample_bilinear(image: jax.Array, points: jax.Array) -> jax.Array:
    """I(u): the image at screen points, bilinear, clamped to the edge beyond it.

    Differentiable in `points` (piecewise: the gradient is that of the pixel cell the point is in,
    zero beyond the edge) and in `image`.

    Args:
      image: [H, W, C].
      points: [N, 2], continuous pixels (x, y), top-left pixel center at (0.5, 0.5).

    Returns:
      [N, C].
    """
    height, width, channels = image.shape
    column, right = _corner_and_weight(points[:, 0], width)
    row, down = _corner_and_weight(points[:, 1], height)
    pixels = image.reshape(height * width, channels)
    top_left = row * width + column
    to_right, to_down = min(width - 1, 1), min(height - 1, 1) * width
    right, down = right[:, None], down[:, None]
    top = pixels[top_left] * (1 - right) + pixels[top_left + to_right] * right
    bottom = (
        pixels[top_left + to_down] * (1 - right) + pixels[top_left + to_down + to_right] * right
    )
    return top * (1 - down) + bottom * down
