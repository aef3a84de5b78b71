"""Ellipses and rectangles with soft edges, for numpy and jax.numpy."""

from typing import Any


def soft_cover(shape: Any, x: Any, y: Any, xp: Any) -> Any:
    """How much of each pixel a shape covers, in [0, 1]: [H, W].

    Args:
      shape: has center [2] px, radius [2] px (half the width and height), angle in rad, box (a
        rectangle instead of an ellipse) and softness, the width of the edge, px.
      x, y: pixel centres, [1, W] and [H, 1], px.
      xp: numpy or jax.numpy.
    """
    sine, cosine = xp.sin(shape.angle), xp.cos(shape.angle)
    right, down = x - shape.center[0], y - shape.center[1]
    across = xp.abs(cosine * right + sine * down) / shape.radius[0]
    along = xp.abs(cosine * down - sine * right) / shape.radius[1]
    round_, square = xp.sqrt(across**2 + along**2), xp.maximum(across, along)
    distance = xp.where(shape.box, square, round_)
    inside = (1 - distance) * xp.min(shape.radius) / shape.softness  # edge widths from the edge
    return xp.clip(inside + 0.5, 0.0, 1.0)
