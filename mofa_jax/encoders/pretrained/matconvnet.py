"""Reads the weights of a MatConvNet network (SimpleNN) out of a MATLAB file, version 5 to 7."""

from pathlib import Path

import numpy as np
import scipy.io

from mofa_jax.encoders.pretrained.errors import damaged, refuse

_EXPECTED = "a MatConvNet network (.mat)"
_MEND = "check that it is the right file"


def read_matconvnet(path: str | Path) -> dict[str, list[np.ndarray]]:
    """{layer: [filters [H, W, I, O], biases]} of the network's layers that have weights.

    `layers` is a cell array of structs or a struct array, at the top or inside `net`; each layer
    has `weights` or, in networks older than MatConvNet 1.0-beta10, `filters` and `biases`.

    Raises:
      PretrainedWeightsError: not a MATLAB file of version 5 to 7, cut short, or without layers.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=("net", "layers"))
    except Exception as error:  # scipy raises a dozen kinds for damaged files
        raise damaged(path, _EXPECTED, f"unreadable content ({error})") from error
    net = content.get("net")
    layers = content.get("layers") if net is None else _record(net).get("layers")
    if layers is None:
        raise refuse(path, _EXPECTED, "no variable `layers` or `net`", _MEND)
    found = {}
    for layer in layers.ravel():
        fields = _record(layer)
        weights = _weights(fields)
        if weights and "name" in fields:
            found["".join(fields["name"].ravel())] = weights
    if not found:
        raise refuse(path, _EXPECTED, "no layer with weights", _MEND)
    return found


def _record(struct: np.ndarray | np.void) -> dict[str, np.ndarray]:
    """The fields of a 1 x 1 struct, or of one entry of a struct array."""
    entry = struct.ravel()[0] if isinstance(struct, np.ndarray) and struct.size else struct
    return {} if entry.dtype.names is None else {name: entry[name] for name in entry.dtype.names}


def _weights(fields: dict[str, np.ndarray]) -> list[np.ndarray]:
    if "weights" in fields:
        return list(fields["weights"].ravel())
    return [fields[key] for key in ("filters", "biases") if fields.get(key, np.zeros(0)).size]
