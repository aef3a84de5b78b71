"""A small residual network that trains from scratch on a CPU."""

import functools

import jax
from flax import linen as nn

from mofa_jax.encoders.layers import code_layer, hidden_layer

_INPUT_SIZE = 120  # px: the side of the crop, halved


class Compact(nn.Module):
    """[B, H, W, 3] RGB in [0, 1] to [B, num_outputs]; 5.9 M parameters with 257 outputs.

    A stem and four stages, each halving the image, with one residual block a stage; no
    normalization: a block starts as the identity because its last convolution is scaled by zero.
    The last feature map is flattened, not pooled, since pose is read off positions.

    Attributes:
      num_outputs: entries of the code.
      widths: channels of the stem and of the stages.
      num_hidden: units between the last feature map and the code.
      dtype: of what the hidden layers compute, "float32" or "bfloat16"; weights and codes are
        float32.
    """

    num_outputs: int
    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    num_hidden: int = 256
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        shape = (images.shape[0], _INPUT_SIZE, _INPUT_SIZE, 3)
        x = jax.image.resize(images, shape, "bilinear", antialias=True) - 0.5
        conv = functools.partial(_conv, dtype=self.dtype)
        x = nn.relu(conv(self.widths[0], size=5, stride=2, name="stem")(x))
        for stage, width in enumerate(self.widths[1:], start=1):
            x = nn.relu(conv(width, stride=2, name=f"down{stage}")(x))
            x = _ResidualBlock(width, self.dtype, name=f"block{stage}")(x)
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(hidden_layer(self.num_hidden, "Dense_0", self.dtype)(x))
        return code_layer(self.num_outputs)(x)


class _ResidualBlock(nn.Module):
    width: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gain = self.param("gain", nn.initializers.zeros, ()).astype(self.dtype)
        y = nn.relu(_conv(self.width, self.dtype, name="conv1")(x))
        return nn.relu(x + gain * _conv(self.width, self.dtype, name="conv2")(y))


def _conv(
    width: int, dtype: str, size: int = 3, stride: int = 1, name: str | None = None
) -> nn.Conv:
    pad = (size - 1) // 2
    return nn.Conv(
        width,
        (size, size),
        strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
        dtype=dtype,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )
