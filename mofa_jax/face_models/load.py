"""Face models by name or file: `load_face_model`."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel, FaceModelError, face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.face_models.open_face import load_open_face
from mofa_jax.files.npz import NpzError, read_npz

BUILT_IN: Mapping[str, Callable[[], dict[str, np.ndarray]]] = {
    "analytic": analytic_face,
    "open": load_open_face,
}
"""What makes the arrays of each built-in face model."""


def lasting_name(name: str | os.PathLike) -> str:
    """A face model's name by which it is also found from other folders."""
    return str(name) if str(name) in BUILT_IN else os.path.abspath(name)


def load_face_model(name: str | os.PathLike, dtype: np.dtype | str = np.float32) -> FaceModel:
    """The face model of an npz file, or a built-in one.

    Args:
      name: a path, "open" (the open face model), or "analytic" (a small face made by code, for
        tests).
      dtype: of the floating-point arrays, float32 or float64; float16 files are widened.

    Raises:
      FaceModelError: there is no such file, or it is no face model.
      InputError: a narrower dtype.
    """
    if jnp.finfo(dtype).bits < 32:
        raise InputError(f"dtype is {np.dtype(dtype)}, too narrow for geometry; give float32.")
    if str(name) in BUILT_IN:
        return face_model_from_arrays(BUILT_IN[str(name)](), f"face model '{name}'", dtype)
    path = Path(name)
    if not path.is_file():
        raise FaceModelError(
            f"{path}: no such face model; give an npz's path or one of {sorted(BUILT_IN)}; "
            "if it was moved, its new place."
        )
    try:
        arrays = read_npz(path)
    except NpzError as error:
        raise FaceModelError(
            f"{error} Or import it with `python -m mofa_jax.import_model`."
        ) from error
    return face_model_from_arrays(arrays, str(path), dtype)
