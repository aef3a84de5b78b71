"""The plain encoder of the paper's Fig. 13: four convolutions and a fully connected layer."""

import jax
from flax import linen as nn

from mofa_jax.encoders.layers import Conv, code_layer

INPUT_SIZE = 64
"""Side of the crop as the network sees it, px: what two CPU cores train with in ten minutes."""

WIDTHS = (64, 96, 128, 256)
"""Channels of the 3 x 3 convolutions."""


class Convolutional(nn.Module):
    """[B, H, W, 3] RGB in [0, 1] to [B, num_outputs]; 1.5 M parameters with 257 outputs.

    The paper gives the layers' kernels and channels; stride 2, ReLU and the input's size are ours.

    Attributes:
      num_outputs: entries of the code.
      dtype: of what the hidden layers compute, "float32" or "bfloat16"; weights and codes are
        float32.
    """

    num_outputs: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        shape = (images.shape[0], INPUT_SIZE, INPUT_SIZE, 3)
        x = jax.image.resize(images, shape, "bilinear", antialias=True) - 0.5
        for k, width in enumerate(WIDTHS, start=1):
            conv = Conv(width, 3, stride=2, padding=1, dtype=self.dtype, name=f"conv{k}")
            x = nn.relu(conv(x))
        return code_layer(self.num_outputs)(x.reshape(x.shape[0], -1))
