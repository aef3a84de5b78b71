"""What JPEG compression leaves of a picture, worked out on the device (baseline, 4:2:0).

The steps of ITU-T T.81 that lose something: half the resolution of the colors, and the rounding of
each 8 x 8 block's cosine coefficients to multiples of a table's entries. No bit is written.
"""

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.numerics import einsum

_BLOCK = 8
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


def jpeg_noise(image: jax.Array, quality: jax.Array) -> jax.Array:
    """`image` after storing it as JPEG.

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
    luminance = _quantize(ycbcr[:, :, :1] - 128, _table(_LUMINANCE, quality)) + 128
    colors = _quantize(_halve(ycbcr[:, :, 1:]), _table(_CHROMINANCE, quality))
    colors = jax.image.resize(colors, (*luminance.shape[:2], 2), "linear")
    stored = jnp.concatenate([luminance, colors], axis=2)[:height, :width]
    rgb = einsum("hwd,cd->hwc", stored, np.linalg.inv(_TO_YCBCR))
    return jnp.clip(jnp.round(rgb), 0.0, 255.0)


def _table(standard: np.ndarray, quality: jax.Array) -> jax.Array:
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
    basis = _cosines()
    coefficients = einsum("ui,aibjc,vj->abcuv", basis, blocks, basis)
    step = table[None, None, None]
    rounded = jnp.round(coefficients / step) * step
    return einsum("ui,abcuv,vj->aibjc", basis, rounded, basis).reshape(channels.shape)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform [8 frequencies, 8 pixels]."""
    frequency, pixel = np.mgrid[:_BLOCK, :_BLOCK]
    basis = np.cos(np.pi * frequency * (2 * pixel + 1) / (2 * _BLOCK))
    return (basis * np.where(frequency == 0, np.sqrt(1 / 8), np.sqrt(2 / 8))).astype(np.float32)
