"""Encoders: Flax networks from a photograph's crop to the code vector (Tewari et al. 2017, Sec. 3).

Every encoder maps images [B, 240, 240, 3], RGB floats in [0, 1], to codes [B, num_outputs]. It
resizes to its own input size, and its last layer is the dense layer "code" with zero weights and
bias, so that an untrained encoder returns the zero code: the average face.
"""

from importlib import import_module

from flax import linen as nn

_ENCODERS = {
    "alexnet": (".alexnet", "AlexNet"),
    "compact": (".compact", "Compact"),
    "vgg_face": (".vgg_face", "VGGFace"),
}


def make_encoder(name: str, num_outputs: int, **kwargs) -> nn.Module:
    """The encoder called `name` ("alexnet", "compact" or "vgg_face"), not yet initialised.

    Args:
      name: the encoder's name.
      num_outputs: the number of entries of the code vector.
      **kwargs: further fields of the encoder, such as `variant="torchvision"` of "alexnet".

    Raises:
      ValueError: no encoder has this name.
    """
    if name not in _ENCODERS:
        known = ", ".join(f'"{known}"' for known in sorted(_ENCODERS))
        raise ValueError(f'There is no encoder "{name}"; choose one of {known}.')
    module, cls = _ENCODERS[name]
    return getattr(import_module(module, __package__), cls)(num_outputs=num_outputs, **kwargs)
