"""A decoder that is learned: from a code to a picture by four deconvolutions (paper, Fig. 13)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from mofa_jax.encoders.convolutional import INPUT_SIZE

WIDTHS = (128, 96, 64, 3)
"""Channels of the deconvolutions."""

_FIRST_SIDE = INPUT_SIZE // 2 ** len(WIDTHS)  # px of the map that the code gives: 4
_FIRST_WIDTH = 256  # its channels, as of the encoder's last map


class ConvolutionalDecoder(nn.Module):
    """[B, D] to [B, H, W, 3], RGB about [0, 1], not clipped; 1.9 M parameters with 257 codes.

    The paper gives the deconvolutions (4 x 4, stride 2); the dense layer before them, ReLU and the
    size are ours: the mirror image of `encoders.convolutional`, scaled up from 64 px at the end.

    Attributes:
      image_size: (H, W).
    """

    image_size: tuple[int, int]

    @nn.compact
    def __call__(self, codes: jax.Array) -> jax.Array:
        # Without a random bias, no unit would be awake at the zero code of an untrained encoder.
        he, bias = nn.initializers.he_normal(), nn.initializers.normal(0.5)
        dense = nn.Dense(
            _FIRST_SIDE**2 * _FIRST_WIDTH, kernel_init=he, bias_init=bias, name="dense"
        )
        x = nn.relu(dense(codes))
        x = x.reshape(-1, _FIRST_SIDE, _FIRST_SIDE, _FIRST_WIDTH)
        for k, width in enumerate(WIDTHS, start=1):
            x = _Deconvolution(width, name=f"deconv{k}")(x if k == 1 else nn.relu(x))
        return jax.image.resize(x + 0.5, (x.shape[0], *self.image_size, 3), "bilinear")


class _Deconvolution(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        # Each output pixel sees 2 x 2 of the 4 x 4 weights: He initialization for these.
        he = nn.initializers.variance_scaling(8.0, "fan_in", "truncated_normal")
        kernel = self.param("kernel", he, (4, 4, x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return deconvolve(x, kernel) + bias.reshape(1, 1, 1, -1)


def deconvolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The transposed convolution of stride 2 that doubles a map: [B, H, W, I] to [B, 2 H, 2 W, O].

    Output row 2 i + k - 1 gets input row i times the kernel's row k; columns likewise. Written as
    four products of matrices: on a CPU, XLA's own takes 14 times as long in its gradient.

    Args:
      x: [B, H, W, I].
      kernel: [4, 4, I, O].
    """
    batch, height, width, channels = x.shape
    features = kernel.shape[-1]
    # Row k = 3 - 2 s - a: the input's rows s = 0, 1 as seen from output rows a = 0, 1 of a pair.
    taps = kernel[::-1, ::-1].reshape(2, 2, 2, 2, channels, features)
    taps = taps.transpose(0, 2, 4, 1, 3, 5).reshape(2, 2, channels, 4 * features)
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = sum(
        padded[:, s : s + height + 1, t : t + width + 1] @ taps[s, t]
        for s in (0, 1)
        for t in (0, 1)
    ).reshape(batch, height + 1, width + 1, 2, 2, features)
    rows = [
        jnp.stack([seen[:, a : a + height, b : b + width, a, b] for b in (0, 1)], axis=3)
        for a in (0, 1)
    ]
    return jnp.stack(rows, axis=2).reshape(batch, 2 * height, 2 * width, features)
