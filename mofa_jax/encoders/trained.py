"""The trained encoder that is part of the package, for the open face model: 8-bit weights.

Built by `tools/export_encoder.py` from a run of configs/built_in.py; see docs/model_card.md.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from mofa_jax.errors import InputError
from mofa_jax.files.npz import read_npz, write_npz

OPEN_ENCODER = "open"  # its name, in place of a run's workdir
ASSET = Path(__file__).with_name("open_encoder.npz")

_LARGE = 10_000  # entries from which an array is stored with 8 bits each
_LEVELS = 127


class TrainedEncoderError(InputError):
    """The encoder's file is missing or damaged; the message names the file and the fix."""


def write_trained(path: str | os.PathLike, weights: dict, information: dict[str, Any]) -> None:
    """Writes an encoder's weights and what a checkpoint says of them.

    A large array is rounded to multiples of 1/127 of its largest entry, by output channel.
    """
    arrays = {}
    for name, array in flatten_dict(weights, sep="/").items():
        array = np.asarray(array, np.float32)
        if array.size >= _LARGE:
            largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)), keepdims=True)
            step = np.maximum(largest, np.finfo(np.float32).tiny) / _LEVELS
            arrays[f"{name}:step"] = step
            array = np.rint(array / step).astype(np.int8)
        arrays[name] = array
    write_npz(path, information=np.array(json.dumps(information)), **arrays)


def read_trained(path: str | os.PathLike = ASSET) -> tuple[dict, dict[str, Any]]:
    """The weights, float32, and the information that `write_trained` was given.

    Raises:
      TrainedEncoderError: the file is absent, cut short or lacks an array.
    """
    try:
        arrays = read_npz(path)
        information = json.loads(str(arrays.pop("information")))
        steps = {name: arrays.pop(name) for name in list(arrays) if name.endswith(":step")}
        for name, step in steps.items():
            whole = name.removesuffix(":step")
            arrays[whole] = arrays[whole].astype(np.float32) * step
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TrainedEncoderError(
            f"{path} cannot be read as a trained encoder ({error}); reinstall mofa_jax, or give "
            "the --workdir of a training run."
        ) from error
    return unflatten_dict(arrays, sep="/"), information
