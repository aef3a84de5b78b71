"""VGG-Face: the 16-layer VGG network for faces (Parkhi, Vedaldi and Zisserman, BMVC 2015)."""

import jax
from flax import linen as nn

from mofa_jax.encoders.layers import (
    PIXEL_STD,
    Conv,
    code_layer,
    hidden_layer,
    max_pool,
    preprocess,
)

INPUT_SIZE = 224
MEAN_RGB = (129.1863, 104.7624, 93.5940)
"""Mean pixel of the network's training faces, in units of 0..255."""

BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of 3 x 3 convolutions of each block (Simonyan and Zisserman 2015, D)."""


class VGGFace(nn.Module):
    """VGG-Face with the code vector in place of the identity scores; no dropout.

    It sees RGB; weights of its BGR releases are reversed when they are imported.

    Attributes:
      num_outputs: the number of entries of the code vector.
      width: factor on the number of channels of every hidden layer.
      dtype: of what the hidden layers compute, "float32" or "bfloat16"; weights and codes are
        float32.
    """

    num_outputs: int
    width: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Codes [B, num_outputs] of images [B, H, W, 3], RGB floats in [0, 1]."""
        x = preprocess(images, INPUT_SIZE, MEAN_RGB, std=(1.0, 1.0, 1.0))
        for block, (channels, depth) in enumerate(BLOCKS, start=1):
            for layer in range(1, depth + 1):
                features = round(self.width * channels)
                name = f"conv{block}_{layer}"
                input_std = PIXEL_STD if name == "conv1_1" else 1.0
                of_conv = {"input_std": input_std, "dtype": self.dtype, "name": name}
                conv = Conv(features, 3, padding=1, **of_conv)
                x = nn.relu(conv(x))
            x = max_pool(x, window=2, stride=2)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            x = nn.relu(hidden_layer(round(self.width * 4096), name, self.dtype)(x))
        return code_layer(self.num_outputs)(x)
