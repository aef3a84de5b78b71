"""What the random numbers of an augmentation mean: one set of formulas for the host and the device.

`options` is an `Augmentation`, `unit` the NUM_DRAWS numbers in [-1, 1) that an example takes, and
`xp` the array library that works the formulas out: numpy or jax.numpy.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from mofa_jax.data.synthetic.soft_shapes import soft_cover

TEXTURE_SIZE = 8  # random colours along a side of an occluder's texture
_MOTION, _TONE, _QUALITY = 1, 5, 10  # where the numbers of each kind start; 0 says mirrored or not
_OCCLUDER = 11
_TEXTURE = _OCCLUDER + 12
NUM_DRAWS = _TEXTURE + 3 * TEXTURE_SIZE**2

_OCCLUDER_CENTER = (0.1, 0.9)  # of the image's sides
_OCCLUDER_RADIUS = (0.06, 0.25)  # of the image's larger side
_OCCLUDER_SOFTNESS = (1.0, 12.0)  # width of the edge, px


class Occluder(NamedTuple):
    """An ellipse or rectangle with a soft edge, before the face.

    present: bool. center: [2] px. radius: [2], half the width and height, px. angle: rad.
    box: bool, a rectangle. softness: px. texture: [8, 8, 3], colours in [0, 255].
    """

    present: Any
    center: Any
    radius: Any
    angle: Any
    box: Any
    softness: Any
    texture: Any


def is_mirrored(options: Any, unit: Any) -> Any:
    """Whether the example is mirrored, bool."""
    return _fraction(unit[0]) < options.flip


def motion(options: Any, unit: Any, width: int, height: int, xp: Any = np) -> Any:
    """The map [2, 3] of continuous pixels from the example to the changed one."""
    scale = (1 + options.scale) ** unit[_MOTION]
    angle = math.radians(options.rotation) * unit[_MOTION + 1]
    cos, sin = scale * xp.cos(angle), scale * xp.sin(angle)
    side = xp.where(is_mirrored(options, unit), -1.0, 1.0)
    x, y = width / 2, height / 2
    shift = options.shift * unit[_MOTION + 2 : _MOTION + 4]
    rows = [
        [side * cos, -sin, x + shift[0] - side * cos * x + sin * y],
        [side * sin, cos, y + shift[1] - side * sin * x - cos * y],
    ]
    return xp.array(rows)


def tone(options: Any, unit: Any, xp: Any = np) -> tuple[Any, Any]:
    """(slope [3] of the channels, offset): an old value v in [0, 255] becomes slope v + offset."""
    contrast = (1 + options.contrast) ** unit[_TONE + 1]
    exposure = 2.0 ** (options.exposure * unit[_TONE])
    color = (1 + options.color) ** unit[_TONE + 2 : _TONE + 5]
    return contrast * exposure * color, 127.5 * (1 - contrast)


def jpeg_quality(options: Any, unit: Any, xp: Any = np) -> Any:
    """The JPEG quality, a whole number in [100 - jpeg, 100]."""
    return xp.rint(100 - options.jpeg * _fraction(unit[_QUALITY]))


def occluder(options: Any, unit: Any, width: int, height: int, xp: Any = np) -> Occluder:
    """What is put before the face."""
    u = _fraction(unit[_OCCLUDER:])
    low, high = _OCCLUDER_CENTER
    small, large = _OCCLUDER_RADIUS
    soft, softest = _OCCLUDER_SOFTNESS
    noise = unit[_TEXTURE:].reshape(TEXTURE_SIZE, TEXTURE_SIZE, 3)
    texture = u[8:11][None, None, :] + 0.5 * u[11] * noise
    return Occluder(
        present=u[0] < options.occluder,
        center=(low + (high - low) * u[1:3]) * xp.asarray([width, height], u.dtype),
        radius=max(width, height) * small * (large / small) ** u[3:5],
        angle=math.pi * u[5],
        box=u[6] < 0.5,
        softness=soft * (softest / soft) ** u[7],
        texture=255 * xp.clip(texture, 0.0, 1.0),
    )


def coverage(shape: Occluder, x: Any, y: Any, xp: Any = np) -> Any:
    """How much of each pixel is covered, in [0, 1]: [H, W] at centres x [1, W], y [H, 1], px."""
    return xp.where(shape.present, soft_cover(shape, x, y, xp), 0.0)


def _fraction(unit: Any) -> Any:
    """[-1, 1) -> [0, 1)."""
    return (unit + 1) / 2
