"""AlexNet (Krizhevsky, Sutskever and Hinton, NIPS 2012), as Caffe and as torchvision have it."""

from typing import NamedTuple

import jax
from flax import linen as nn

from mofa_jax.encoders.layers import (
    PIXEL_STD,
    Conv,
    code_layer,
    hidden_layer,
    local_response_norm,
    max_pool,
    preprocess,
)
from mofa_jax.errors import InputError


class _Variant(NamedTuple):
    """What differs between the two AlexNets; mean and std are RGB in units of 0..255."""

    input_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: tuple[int, ...]
    first_padding: int
    groups: tuple[int, ...]
    response_norm: bool


VARIANTS = {
    "caffe": _Variant(
        input_size=227,
        mean=(122.67892, 116.66877, 104.00699),
        std=(1.0, 1.0, 1.0),
        channels=(96, 256, 384, 384, 256),
        first_padding=0,
        groups=(1, 2, 1, 2, 2),
        response_norm=True,
    ),
    "torchvision": _Variant(
        input_size=224,
        mean=(0.485 * 255, 0.456 * 255, 0.406 * 255),
        std=(0.229 * 255, 0.224 * 255, 0.225 * 255),
        channels=(64, 192, 384, 256, 256),
        first_padding=2,
        groups=(1, 1, 1, 1, 1),
        response_norm=False,
    ),
}


class AlexNet(nn.Module):
    """AlexNet with the code vector in place of the class scores; no dropout.

    variant "caffe" is the Caffe model zoo's bvlc_alexnet: two groups in conv2, conv4 and conv5, and
    local response normalization between the first two ReLUs and their pools. "torchvision" is
    torchvision's `alexnet` ("One weird trick", Krizhevsky 2014): narrower, no groups, no
    normalization. Both see RGB; bvlc_alexnet's BGR weights are reversed when they are imported.
    The input sizes make every pool's windows fit exactly, so that Caffe's rounding up of a pool's
    size and torchvision's rounding down agree.

    Attributes:
      num_outputs: the number of entries of the code vector.
      variant: "caffe" or "torchvision".
      width: factor on the number of channels of every hidden layer.
      dtype: of what the hidden layers compute, "float32" or "bfloat16"; weights and codes are
        float32.
    """

    num_outputs: int
    variant: str = "caffe"
    width: float = 1.0
    dtype: str = "float32"

    def __post_init__(self):
        if self.variant not in VARIANTS:
            known = " or ".join(f'"{known}"' for known in VARIANTS)
            raise InputError(f'AlexNet has no variant "{self.variant}"; choose {known}.')
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Codes [B, num_outputs] of images [B, H, W, 3], RGB floats in [0, 1]."""
        net = VARIANTS[self.variant]
        geometry = ((11, 4, net.first_padding), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
        x = preprocess(images, net.input_size, net.mean, net.std)
        for i, (kernel_size, stride, padding) in enumerate(geometry):
            channels = round(self.width * net.channels[i])
            name = f"conv{i + 1}"
            input_std = PIXEL_STD / net.std[0] if i == 0 else 1.0
            shape = channels, kernel_size, stride, padding, net.groups[i]
            conv = Conv(*shape, input_std, self.dtype, name=name)
            x = nn.relu(conv(x))
            if net.response_norm and name in ("conv1", "conv2"):
                x = local_response_norm(x)
            if name in ("conv1", "conv2", "conv5"):
                x = max_pool(x, window=3, stride=2)
        x = x.reshape(x.shape[0], -1)
        for name in ("fc6", "fc7"):
            x = nn.relu(hidden_layer(round(self.width * 4096), name, self.dtype)(x))
        return code_layer(self.num_outputs)(x)
