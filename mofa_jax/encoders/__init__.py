"""Encoders: Flax networks from a photograph's crop to the code vector (Tewari et al. 2017, Sec. 3).

Every encoder maps images [B, H, W, 3], RGB floats in [0, 1], to codes [B, num_outputs]. It
resizes to its own input size, and its last layer is the dense layer "code" with zero weights and
bias, so that an untrained encoder returns the zero code: the average face.

A new encoder is a module of this folder and a row of `_ENCODERS`; the fields of a config's
`encoder` that its class has too are handed to it.
"""

from importlib import import_module
from typing import Any

from flax import linen as nn
from ml_collections import ConfigDict

from mofa_jax.errors import InputError

_DTYPES = ("float32", "bfloat16")
_ENCODERS = {
    "alexnet": (".alexnet", "AlexNet"),
    "compact": (".compact", "Compact"),
    "convolutional": (".convolutional", "Convolutional"),
    "vgg_face": (".vgg_face", "VGGFace"),
}


def make_encoder(name: str, num_outputs: int, **kwargs) -> nn.Module:
    """The encoder called `name`, a key of `_ENCODERS`, not yet initialized.

    Args:
      name: the encoder's name.
      num_outputs: the number of entries of the code vector.
      **kwargs: further fields of the encoder, such as `variant="torchvision"` of "alexnet".

    Raises:
      InputError: no encoder has this name.
    """
    return _encoder_class(name)(num_outputs=num_outputs, **kwargs)


def encoder_from_config(config: ConfigDict, num_outputs: int) -> nn.Module:
    """The encoder that a config's `encoder` describes.

    Raises:
      InputError: no encoder has this name, or its numbers are of another type.
    """
    if config.dtype not in _DTYPES:
        raise InputError(f"encoder.dtype is {config.dtype!r}; choose {' or '.join(_DTYPES)}.")
    cls = _encoder_class(config.name)
    fields = {key: _hashable(config[key]) for key in config if key in cls.__annotations__}
    return cls(num_outputs=num_outputs, **fields)


def _hashable(value: Any) -> Any:
    """A field's value; a config that was read back from JSON has lists for tuples."""
    return tuple(value) if isinstance(value, list) else value


def _encoder_class(name: str) -> type[nn.Module]:
    if name not in _ENCODERS:
        known = ", ".join(f'"{known}"' for known in sorted(_ENCODERS))
        raise InputError(f'There is no encoder "{name}"; choose one of {known}.')
    module, cls = _ENCODERS[name]
    return getattr(import_module(module, __package__), cls)
