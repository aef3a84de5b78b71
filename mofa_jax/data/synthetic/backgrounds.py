"""Pictures to stand behind (and before) synthetic faces: drawn on the device from a key, or read.

Positions are continuous pixels, x right, y down; colors are RGB in [0, 1], of photographs uint8.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import random
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.faces.crop import resample
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph
from mofa_jax.data.sources.items import group_rank
from mofa_jax.errors import InputError
from mofa_jax.numerics import einsum

EVAL_SHARE = 0.1
"""Of the photographs, by their names: those that stand only behind held-out faces."""

_OCTAVES = (2, 5, 12, 30, 80)  # random values along a side of each layer of noise
_NUM_SHAPES = 12
_logger = logging.getLogger(__name__)


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


@dataclasses.dataclass(frozen=True)
class Backgrounds:
    """Some photographs of one split.

    images: uint8 [K, size, size, 3] RGB, the middle square of each photograph.
    paths: the K files.
    skipped: (file, reason) of each that could not be read.
    """

    images: np.ndarray
    paths: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


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


def load_backgrounds(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    split: str,
    *,
    count: int,
    size: int,
    seed: int = 0,
    log: Callable[[str], None] = _logger.warning,
) -> Backgrounds:
    """Read at most `count` photographs of a split, chosen by `seed`.

    A photograph belongs to the split that its own and its folder's name say, so that training and
    held-out faces share none, wherever and with how many others it lies.

    Args:
      source: a folder (searched below too), files or globs.
      split: "train" or "eval".
      count: K at most; each takes 307 kB at 320 px.
      size: the side of the squares, px.
      seed: of the choice.
      log: told of every file that cannot be read, and of the counts at the end.

    Raises:
      PhotographError: the source names nothing, or no readable photograph of the split.
      InputError: `count` is none.
    """
    if count < 1:
        raise InputError(f"num_backgrounds is {count}; give a number from 1 on.")
    found = [path for path in list_photographs(source) if _split(path) == split]
    todo = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    squares = grain.MapDataset.source(todo).map(lambda path: (path, _read(path, size)))
    images, paths, skipped = [], [], []
    with contextlib.closing(iter(squares.to_iter_dataset())) as read:  # threads read ahead
        for path, square in read:
            if isinstance(square, str):
                skipped.append((path, square))
                log(f"{path}: skipped as a background: {square}")
            else:
                images.append(square)
                paths.append(path)
            if len(images) == count:
                break
    if not images:
        raise PhotographError(
            f"{source}: none of the photographs here can be a background of the split '{split}' "
            f"({len(skipped)} of {len(found)} unreadable; {EVAL_SHARE:.0%} of all are for 'eval'); "
            "give more photographs, or none for procedural backgrounds"
        )
    log(f"{source}: {len(images)} {split} backgrounds; {len(skipped)} unreadable photographs")
    return Backgrounds(np.stack(images), tuple(paths), tuple(skipped))


def backgrounds_from_config(config: ConfigDict, cam: Camera, split: str) -> np.ndarray | None:
    """The photographs that a config's `data.synthetic` names, uint8 [K, h, w, 3]; None if none.

    They are a third larger than the camera's image, so that a piece of one can lie anywhere on it.
    Those of "eval" are the same ones in every run.

    Raises:
      PhotographError: see `load_backgrounds`.
    """
    if not config.data.synthetic.backgrounds:
        return None
    return load_backgrounds(
        config.data.synthetic.backgrounds,
        split,
        count=config.data.synthetic.num_backgrounds,
        size=max(cam.image_size) * 4 // 3,
        seed=config.seed if split == "train" else 0,
        log=_logger.info,
    ).images


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


def _read(path: Path, size: int) -> np.ndarray | str:
    """The middle square uint8 [size, size, 3] of a photograph, or why there is none."""
    try:
        photograph = read_photograph(path)
    except PhotographError as error:
        return str(error).removeprefix(f"{path}: ")
    height, width = photograph.shape[:2]
    side = min(height, width)
    corner = (width - side) / 2, (height - side) / 2
    to_photograph = np.column_stack([np.eye(2) * side / size, corner])
    return resample(photograph, to_photograph, size)


def _split(path: Path) -> str:
    name = "/".join(Path(os.path.abspath(path)).parts[-2:])
    return "eval" if group_rank(0, name) < EVAL_SHARE else "train"
