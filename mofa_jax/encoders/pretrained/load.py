"""Puts published weights into the parameters of an encoder."""

from collections.abc import Mapping
from math import prod
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mofa_jax.encoders.pretrained.errors import damaged
from mofa_jax.encoders.pretrained.networks import Network, network_of

_ORDERS = ("rgb", "bgr")


class _Mismatch(Exception):
    """A layer that the file lacks or has in another shape: the layer, what was wanted and found."""


def load_pretrained(
    path: str | Path,
    encoder: nn.Module,
    params: Mapping[str, Mapping],
    channel_order: str | None = None,
) -> dict[str, Mapping]:
    """The encoder's parameters with every layer but the last, "code", taken from a weight file.

    Args:
      path: a weight file of `AlexNet` or `VGGFace`; the package's docstring lists them.
      encoder: the encoder that `params` belong to.
      params: its "params" collection, {layer: {"kernel", "bias"}}; not modified.
      channel_order: "rgb" or "bgr", the order of the colors that the file's network expects. By
        default what the format says: BGR for Caffe and for PyTorch ports of the Torch7 model
        (layers called conv_1_1), RGB for MatConvNet and for other PyTorch files.

    Raises:
      PretrainedWeightsError: the file cannot be read, belongs to another network, or holds NaNs.
      ValueError: `channel_order` is neither "rgb" nor "bgr".
    """
    network = network_of(encoder, path)
    layers, order = network.read(path)
    order = channel_order or order
    if order not in _ORDERS:
        raise ValueError(f'channel_order is "{order}"; choose "rgb" or "bgr".')
    loaded = {}
    for name in sorted(params.keys() - {"code"}):
        try:
            kernel, bias = _layer(network, name, layers, params[name]["kernel"].shape)
        except _Mismatch as mismatch:
            raise network.refuse(path, *mismatch.args) from None
        if name == network.first_layer and order == "bgr":
            kernel = kernel[:, :, ::-1, :]
        loaded[name] = {
            "kernel": _finite(path, f"{name}'s weights", kernel, params[name]["kernel"].dtype),
            "bias": _finite(path, f"{name}'s biases", bias, params[name]["bias"].dtype),
        }
    return {**params, **loaded}


def _layer(
    network: Network, name: str, layers: dict[str, list[np.ndarray]], target: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """A layer's kernel in Flax's layout, [H, W, I, O] or [I, O], and its bias [O]."""
    if len(layers.get(name, ())) != 2:
        found = f"the layers {', '.join(sorted(layers))}" if layers else "none of its layers"
        raise _Mismatch(f" with weights and biases of {name}", found)
    kernel, bias = layers[name]
    if bias.size != target[-1]:
        raise _Mismatch(f" with {target[-1]} biases in {name}", f"{bias.size}")
    kernel = _without_padding(name, kernel, (target[-1], target[-2], *target[:-2]))
    if kernel.ndim == 2 and name == "fc6":
        maps = kernel.reshape(kernel.shape[0], -1, network.last_map, network.last_map)
        kernel = maps.transpose(0, 2, 3, 1).reshape(kernel.shape)
    return kernel.transpose(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T, bias.reshape(-1)


def _without_padding(name: str, kernel: np.ndarray, expected: tuple[int, ...]) -> np.ndarray:
    """The kernel as [O, I, H, W] or [O, I], where Caffe has [1, 1, O, I] or a network that was
    made fully convolutional [O, C, H, W] with C * H * W = I."""
    shape = kernel.shape
    while len(shape) > len(expected) and shape[0] == 1:
        shape = shape[1:]
    if len(expected) == 2 and len(shape) == 4:
        shape = (shape[0], prod(shape[1:]))
    if shape != expected:
        raise _Mismatch(f" with {name} of shape {expected}", f"shape {kernel.shape}")
    return kernel.reshape(expected)


def _finite(path: str | Path, what: str, array: np.ndarray, dtype: np.dtype) -> jax.Array:
    bad = np.count_nonzero(~np.isfinite(array))
    if bad:
        raise damaged(path, f"finite numbers in {what}", f"{bad} NaNs or infinities")
    return jnp.asarray(array, dtype)
