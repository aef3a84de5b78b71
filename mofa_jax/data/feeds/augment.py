"""Augmentation of an example on a device: pose in the plane, occlusion, light, compression."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft
from flax import struct
from jax import random

from mofa_jax.data.synthetic.backgrounds import Shapes, soft_cover
from mofa_jax.errors import InputError
from mofa_jax.landmarks import FLIP_PERMUTATION
from mofa_jax.numerics import einsum, product
from mofa_jax.params import NUM_BANDS
from mofa_jax.sampling import sample_bilinear

Arrays = dict[str, jax.Array]
_TEXTURE_SIZE = 8  # random colors along a side of an occluder's texture
_OCCLUDER_CENTER = (0.1, 0.9)  # of the image's sides
_OCCLUDER_RADIUS = (0.06, 0.25)  # of the image's larger side
_OCCLUDER_SOFTNESS = (0.004, 0.05)  # width of the edge, of the image's larger side


_POSE_AND_LIGHT = 3 + 3 + 3 * NUM_BANDS  # entries at the end of a code
_BLOCK = 8  # pixels along a side, of JPEG
_TO_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_LUMINANCE = np.array(  # T.81, Table K.1
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_CHROMINANCE = np.full((_BLOCK, _BLOCK), 99, np.float32)  # T.81, Table K.2
_CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The largest random changes of an example; 0 = off, and costs nothing.

    One warp moves the pixels, bilinear, the edge's color going on beyond the border; landmarks
    follow exactly. Then an occluder may be laid over them, the light changes, and the picture loses
    what JPEG compression loses. Switching one change on alters no random number of another.

    flip: probability of mirroring (landmarks are renamed: left and right are the subject's).
    scale: the face is scaled by a factor in [1/(1+scale), 1+scale], log-uniform.
    shift: px of the image, in x and in y. rotation: degrees, in the image plane, about its middle.
    occluder: probability of an ellipse or rectangle with a soft edge and a random texture, 12 to
      50 % of the image wide. Covered landmarks keep their places and their confidence: where a
      covered feature is can be told from the rest of the face, which is what is to be learned.
    exposure: photographic stops, a gain of 2^[-exposure, exposure] on all channels.
    contrast: factor in [1/(1+contrast), 1+contrast] about the middle gray.
    color: gain in [1/(1+color), 1+color] on each channel by itself.
    jpeg: loss of JPEG quality: the quality is uniform in [100 - jpeg, 100]; at most 99.
    """

    flip: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    occluder: float = 0.0
    exposure: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    jpeg: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not 0 <= getattr(self, field.name) < float("inf"):
                raise InputError(f"augmentation.{field.name} must be finite and at least 0")
        for name in ("flip", "occluder"):
            if getattr(self, name) > 1:
                raise InputError(f"augmentation.{name} is a probability, not {getattr(self, name)}")
        if self.jpeg > 99:
            raise InputError(f"augmentation.jpeg is {self.jpeg}; a quality is at least 1: use 0-99")

    @property
    def moves(self) -> bool:
        """Whether pixels move otherwise than by mirroring."""
        return bool(self.scale or self.shift or self.rotation)

    @property
    def changes_tone(self) -> bool:
        """Whether exposure, contrast or color change."""
        return bool(self.exposure or self.contrast or self.color)


@struct.dataclass
class Changes:
    """What happens to one example.

    Attributes:
      mirrored: [] bool.
      motion: [2, 3], continuous px of the example -> px of the changed one, mirroring included.
      slope, offset: [3], []; a value v in [0, 255] of a channel becomes slope v + offset.
      quality: [], of JPEG, a whole number.
      occluder: one shape before the face, without the axis K: opacity 0 or 1, and in the place of
        its color a texture [8, 8, 3], colors in [0, 255], stretched over the whole image.
    """

    mirrored: jax.Array
    motion: jax.Array
    slope: jax.Array
    offset: jax.Array
    quality: jax.Array
    occluder: Shapes


def augment(example: Arrays, key: jax.Array, options: Augmentation) -> Arrays:
    """The example with random changes (unbatched; vmap over examples and keys).

    Args:
      example: dict(image uint8 [H, W, 3], landmarks [68, 2] px, confidence [68]), perhaps the true
        code [D]; of it NaN comes back for what the changes make untrue.
      key: a random key.
      options: the largest changes.
    """
    return apply_changes(example, draw_changes(key, options, example["image"].shape[:2]), options)


def draw_changes(key: jax.Array, options: Augmentation, image_size: tuple[int, int]) -> Changes:
    """Random changes of an image of `image_size` (H, W)."""
    flip_key, motion_key, tone_key, jpeg_key, occluder_key = random.split(key, 5)
    mirrored = random.uniform(flip_key) < options.flip
    exposure, contrast, *color = random.uniform(tone_key, (5,), minval=-1.0)
    contrast = (1 + options.contrast) ** contrast
    gain = 2.0 ** (options.exposure * exposure) * (1 + options.color) ** jnp.stack(color)
    return Changes(
        mirrored,
        _draw_motion(motion_key, mirrored, options, image_size),
        slope=contrast * gain,
        offset=127.5 * (1 - contrast),
        quality=jnp.rint(100 - options.jpeg * random.uniform(jpeg_key)),
        occluder=_draw_occluder(occluder_key, options, image_size),
    )


def apply_changes(example: Arrays, changes: Changes, options: Augmentation) -> Arrays:
    """The example with those of the changes that the options switch on."""
    changed = dict(example)
    if options.flip or options.moves:
        changed |= _move(example, changes, options)
    if "code" in example:
        changed["code"] = _still_true(example["code"], changes, options)
    image = changed["image"].astype(jnp.float32)
    if options.occluder:
        image = _occlude(image, changes.occluder)
    if options.changes_tone:
        image = jnp.round(image * changes.slope[None, None, :] + changes.offset)
        image = jnp.clip(image, 0.0, 255.0)
    if options.jpeg:
        image = jpeg_noise(image, changes.quality)
    return changed | {"image": image.astype(jnp.uint8)}


def _still_true(code: jax.Array, changes: Changes, options: Augmentation) -> jax.Array:
    """A code [D] without pose and light if these change, and without anything if it is mirrored:
    how a model's modes are mirrored is not known."""
    if options.moves or options.changes_tone:
        code = code.at[-_POSE_AND_LIGHT:].set(jnp.nan)
    return jnp.where(changes.mirrored, jnp.nan, code)


def jpeg_noise(image: jax.Array, quality: jax.Array) -> jax.Array:
    """`image` after storing it as JPEG (baseline, 4:2:0), without writing a bit.

    The steps of ITU-T T.81 that lose something: half the resolution of the colors, and the rounding
    of each 8 x 8 block's cosine coefficients to multiples of a table's entries.

    Args:
      image: [H, W, 3] RGB, floating point in [0, 255].
      quality: [], 1 to 100 as in libjpeg.

    Returns:
      [H, W, 3], whole numbers in [0, 255].
    """
    height, width, _ = image.shape
    whole = 2 * _BLOCK
    fill = ((0, -height % whole), (0, -width % whole), (0, 0))
    ycbcr = einsum("hwc,dc->hwd", jnp.pad(image, fill, mode="edge"), _TO_YCBCR)
    luminance = _quantize(ycbcr[:, :, :1] - 128, _jpeg_table(_LUMINANCE, quality)) + 128
    colors = _quantize(_halve(ycbcr[:, :, 1:]), _jpeg_table(_CHROMINANCE, quality))
    colors = jax.image.resize(colors, (*luminance.shape[:2], 2), "linear")
    stored = jnp.concatenate([luminance, colors], axis=2)[:height, :width]
    rgb = einsum("hwd,cd->hwc", stored, np.linalg.inv(_TO_YCBCR))
    return jnp.clip(jnp.round(rgb), 0.0, 255.0)


def _draw_motion(
    key: jax.Array, mirrored: jax.Array, options: Augmentation, image_size: tuple[int, int]
) -> jax.Array:
    scale, angle, *shift = random.uniform(key, (4,), minval=-1.0)
    scale = (1 + options.scale) ** scale
    angle = math.radians(options.rotation) * angle
    cos, sin = scale * jnp.cos(angle), scale * jnp.sin(angle)
    side = jnp.where(mirrored, -1.0, 1.0)
    linear = jnp.stack([jnp.stack([side * cos, -sin]), jnp.stack([side * sin, cos])])
    middle = jnp.array([image_size[1] / 2, image_size[0] / 2])
    moved = middle + options.shift * jnp.stack(shift) - product(linear, middle)
    return jnp.concatenate([linear, moved[:, None]], axis=1)


def _draw_occluder(key: jax.Array, options: Augmentation, image_size: tuple[int, int]) -> Shapes:
    shape_key, texture_key = random.split(key)
    u = random.uniform(shape_key, (12,))
    noise = random.uniform(texture_key, (_TEXTURE_SIZE, _TEXTURE_SIZE, 3), minval=-1.0)
    (low, high), larger = _OCCLUDER_CENTER, max(image_size)

    def log_uniform(limits: tuple[float, float], u: jax.Array) -> jax.Array:
        return larger * limits[0] * (limits[1] / limits[0]) ** u

    return Shapes(
        opacity=(u[0] < options.occluder).astype(u.dtype),
        center=(low + (high - low) * u[1:3]) * jnp.array([image_size[1], image_size[0]], u.dtype),
        radius=log_uniform(_OCCLUDER_RADIUS, u[3:5]),
        angle=jnp.pi * u[5],
        box=u[6] < 0.5,
        softness=log_uniform(_OCCLUDER_SOFTNESS, u[7]),
        color=255 * jnp.clip(u[None, None, 8:11] + 0.5 * u[11] * noise, 0.0, 1.0),
    )


def _move(example: Arrays, changes: Changes, options: Augmentation) -> Arrays:
    image, confidence, motion = example["image"], example["confidence"], changes.motion
    landmarks = product(example["landmarks"], motion[:, :2].T) + motion[None, :, 2]
    if options.moves:
        image = _warp(image, motion)
    else:
        image = jnp.where(changes.mirrored, image[:, ::-1], image)
    return {
        "image": image,
        "landmarks": jnp.where(changes.mirrored, landmarks[FLIP_PERMUTATION], landmarks),
        "confidence": jnp.where(changes.mirrored, confidence[FLIP_PERMUTATION], confidence),
    }


def _warp(image: jax.Array, motion: jax.Array) -> jax.Array:
    """`image` [H, W, 3] moved by an affine map [2, 3]; whole numbers."""
    height, width, channels = image.shape
    (a, b), (c, d) = motion[:, :2]
    inverse = jnp.stack([jnp.stack([d, -b]), jnp.stack([-c, a])]) / (a * d - b * c)
    x, y = jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5)
    points = jnp.stack([x.ravel(), y.ravel()], axis=1)
    points = product(points - motion[None, :, 2], inverse.T)
    pixels = sample_bilinear(image.astype(jnp.float32), points)
    return jnp.round(pixels).reshape(height, width, channels)


def _occlude(image: jax.Array, occluder: Shapes) -> jax.Array:
    height, width, _ = image.shape
    x, y = jnp.arange(width)[None, :] + 0.5, jnp.arange(height)[:, None] + 0.5
    cover = occluder.opacity * soft_cover(occluder, x, y)[:, :, None]
    texture = jax.image.resize(occluder.color, image.shape, "linear")
    return jnp.round(image + cover * (texture - image))


def _jpeg_table(standard: np.ndarray, quality: jax.Array) -> jax.Array:
    """The table [8, 8] for a quality, as libjpeg scales the standard one."""
    percent = jnp.where(quality < 50, jnp.floor(5000 / quality), 200 - 2 * quality)
    return jnp.clip(jnp.floor((standard * percent + 50) / 100), 1.0, 255.0)


def _halve(channels: jax.Array) -> jax.Array:
    """[H, W, C] -> [H / 2, W / 2, C], averages of 2 x 2 pixels."""
    height, width, count = channels.shape
    return channels.reshape(height // 2, 2, width // 2, 2, count).mean(axis=(1, 3))


def _quantize(channels: jax.Array, table: jax.Array) -> jax.Array:
    """[H, W, C], each 8 x 8 block's cosine coefficients rounded to multiples of `table`."""
    height, width, count = channels.shape
    blocks = channels.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK, count)
    basis = scipy.fft.dct(np.eye(_BLOCK), axis=0, norm="ortho").astype(np.float32)
    coefficients = einsum("ui,aibjc,vj->abcuv", basis, blocks, basis)
    step = table[None, None, None]
    rounded = jnp.round(coefficients / step) * step
    return einsum("ui,abcuv,vj->aibjc", basis, rounded, basis).reshape(channels.shape)
