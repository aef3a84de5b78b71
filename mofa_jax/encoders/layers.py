"""Layers of the convolutional encoders, in forms that XLA compiles to fast code on CPUs and GPUs.

On a CPU, XLA's own forms of three of them are 4 to 15 times slower, mostly in their gradients:
convolutions with `feature_group_count`, weight gradients of a whole batch over large maps, and
`reduce_window` pooling, whose gradient is a sequential select-and-scatter.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import lax

from mofa_jax.numerics import product

PIXEL_STD = 70.0
"""Standard deviation of photographs' pixels about their mean, in units of 0..255."""

CODE_LAYER = "code"
"""The name of every encoder's last layer."""

_LARGE_MAP = 20
"""Side of an output map, in pixels, from which image-by-image weight gradients are faster."""


def preprocess(
    images: jax.Array, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> jax.Array:
    """Resizes images [B, H, W, 3] in [0, 1] to [B, size, size, 3] and normalizes them.

    The resize is bilinear and antialiased; `mean` and `std` (RGB) are in units of 0..255.
    """
    shape = (images.shape[0], size, size, 3)
    resized = jax.image.resize(images, shape, "bilinear", antialias=True)
    mean, std = (np.reshape(np.asarray(v, images.dtype), (1, 1, 1, 3)) for v in (mean, std))
    return (255.0 * resized - mean) / std


def _convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((padding, padding), (padding, padding)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
    """Convolution of x [B, H, W, I] with kernel [K, K, I, O] (HWIO), zero padding on all sides.

    Differentiable in reverse mode. On a CPU the weight gradient over a large map is summed image
    by image, which XLA compiles to code 3 to 7 times as fast as the gradient of the batch.
    """
    return _convolve(x, kernel, stride, padding)


def _conv2d_forward(x, kernel, stride, padding):
    return _convolve(x, kernel, stride, padding), (x, kernel)


def _conv2d_backward(stride, padding, residuals, gradient):
    x, kernel = residuals
    by_input = jax.linear_transpose(lambda v: _convolve(v, kernel, stride, padding), x)

    def of_batch(x, gradient):
        by_kernel = jax.linear_transpose(lambda w: _convolve(x, w, stride, padding), kernel)
        return by_kernel(gradient)[0]

    def image_by_image(x, gradient):
        return sum(of_batch(x[i : i + 1], gradient[i : i + 1]) for i in range(x.shape[0]))

    on_cpu = image_by_image if gradient.shape[1] >= _LARGE_MAP else of_batch
    by_kernel = lax.platform_dependent(x, gradient, cpu=on_cpu, default=of_batch)
    return by_input(gradient)[0], by_kernel


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


class Conv(nn.Module):
    """Convolution with bias; `groups` > 1 connects each slice of the channels only to its own.

    Kernel [K, K, I / groups, O], He initialization for inputs of standard deviation `input_std`.
    The groups are separate convolutions. The weights are float32, the maps of type `dtype`.
    """

    features: int
    kernel_size: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    input_std: float = 1.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1] // self.groups, self.features)
        he = nn.initializers.variance_scaling(2.0 / self.input_std**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", he, shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        groups = zip(
            jnp.split(x, self.groups, axis=-1), jnp.split(kernel, self.groups, axis=-1), strict=True
        )
        maps = [conv2d(inputs, weights, self.stride, self.padding) for inputs, weights in groups]
        return jnp.concatenate(maps, axis=-1) + bias.reshape(1, 1, 1, -1)


def max_pool(x: jax.Array, window: int, stride: int) -> jax.Array:
    """Max pooling of x [B, H, W, C] without padding; windows past the border are left out."""
    return _max_along(_max_along(x, 1, window, stride), 2, window, stride)


def _max_along(x: jax.Array, axis: int, window: int, stride: int) -> jax.Array:
    span = (x.shape[axis] - window) // stride * stride + 1
    result = lax.slice_in_dim(x, 0, span, stride, axis)
    for start in range(1, window):
        result = jnp.maximum(result, lax.slice_in_dim(x, start, start + span, stride, axis))
    return result


def local_response_norm(x: jax.Array, size: int = 5, alpha: float = 1e-4) -> jax.Array:
    """Divides x [B, H, W, C] by (1 + alpha / size * sum of x^2 over `size` channels)^0.75.

    Krizhevsky et al. 2012, Sec. 3.3, with Caffe's constants (k = 1, alpha over the window's size);
    the window is centered on the channel and cut off at the first and last one.
    """
    channel = np.arange(x.shape[-1])
    near = np.abs(channel[:, None] - channel[None, :]) <= size // 2
    band = jnp.asarray(near * (alpha / size), x.dtype)
    scale = 1.0 + product(x * x, band)
    root = lax.rsqrt(scale)
    return x * root * jnp.sqrt(root)


def hidden_layer(features: int, name: str, dtype: str = "float32") -> nn.Dense:
    """A dense layer with He initialization; its output is of type `dtype`."""
    return nn.Dense(features, dtype=dtype, kernel_init=nn.initializers.he_normal(), name=name)


def code_layer(num_outputs: int) -> nn.Dense:
    """The last layer, "code": zero weights and bias, so that training starts at the zero code.

    It works in float32: 8 bits of a translation or an angle would show.
    """
    zeros = nn.initializers.zeros
    return nn.Dense(
        num_outputs, dtype="float32", kernel_init=zeros, bias_init=zeros, name=CODE_LAYER
    )
