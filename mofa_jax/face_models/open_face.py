"""The built-in open face model: unpacks `open_face.npz` to the arrays of the face-model format.

The file holds the coarse control mesh's bases, quantized; a fixed Catmull-Clark matrix refines
them. Built by `tools/build_open_model.py` from CC0 assets; see `open_face_LICENSE.txt` and
docs/open_model.md.
"""

from pathlib import Path

import numpy as np
import scipy.sparse as sp

from mofa_jax.errors import InputError
from mofa_jax.face_models.subdivision import catmull_clark, smooth_border
from mofa_jax.files.npz import read_npz

ASSET = Path(__file__).with_name("open_face.npz")
BORDER_PASSES = 8


class OpenFaceError(InputError):
    """The open model's file is missing or damaged; the message names the file and the fix."""


def load_open_face(path: Path | str = ASSET) -> dict[str, np.ndarray]:
    """The open model in the npz format of face models: float32, decimeters, N about 25,000.

    Args:
      path: the packed file; the built-in one by default.

    Raises:
      OpenFaceError: the file is absent, cut short or lacks an array.
    """
    try:
        return unpack(read_npz(path))
    except (ValueError, KeyError, IndexError) as error:
        raise OpenFaceError(
            f"{path} cannot be read as the open face model ({error}); reinstall mofa_jax or build "
            "the file again with tools/build_open_model.py."
        ) from error


def unpack(packed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Refines and de-quantizes the arrays of the packed file (keys as `load_open_face` returns)."""
    matrix = refinement_matrix(packed["quads"], packed["rows"], packed["border"])
    columns = [packed["mean_shape"][..., None], *map(_dequantize, *_pairs(packed))]
    sizes = [column.shape[-1] for column in columns]
    coarse = np.concatenate(columns, axis=-1).astype(np.float32)
    fine = (matrix @ coarse.reshape(len(coarse), -1)).reshape(-1, 3, sum(sizes))
    mean, shape, expression = np.split(fine, np.cumsum(sizes)[:-1], axis=-1)
    mixing = packed["pattern_mixing"]  # [K, 3, R]
    reflectance = _exact_product(packed["patterns"], mixing.reshape(len(mixing), -1))
    return {
        "mean_shape": mean[..., 0],
        "shape_basis": shape,
        "expression_basis": expression,
        "mean_reflectance": packed["mean_reflectance"].astype(np.float32),
        "reflectance_basis": reflectance.reshape(-1, *mixing.shape[1:]),
        "triangles": packed["triangles"].astype(np.int32),
        "landmarks": packed["landmarks"].astype(np.int32),
        "uv": (matrix @ packed["uv"]).astype(np.float32),
        "name": packed["name"],
        "licence": packed["licence"],
    }


def _exact_product(integers: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Integers [N, K] of 8 bits times values [K, M], float32: the same on every machine.

    The values are rounded to 24 bits of the largest. Sums of such integers are exact in float64,
    in whatever order a machine's matrix product adds them; and the model's checksum is of all bits.
    """
    step = 2.0 ** (np.floor(np.log2(np.abs(values).max())) - 23)
    rounded = np.rint(values / step).astype(np.float64)
    return (integers.astype(np.float64) @ rounded * step).astype(np.float32)


def refinement_matrix(quads: np.ndarray, rows: np.ndarray, border: np.ndarray) -> sp.csr_matrix:
    """[N, n] float32: two Catmull-Clark steps, the kept `rows`, the border loop smoothed."""
    quads = quads.astype(np.int64)
    first, refined = catmull_clark(quads, int(quads.max()) + 1)
    second, _ = catmull_clark(refined, first.shape[0])
    matrix = sp.csr_matrix(second[rows.astype(np.int64)] @ first)
    return smooth_border(matrix, border.astype(np.int64), BORDER_PASSES).astype(np.float32)


def _pairs(packed: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    keys = ("shape_basis", "expression_basis")
    return [packed[key] for key in keys], [packed[f"{key}_scale"] for key in keys]


def _dequantize(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Integers [n, 3, K] times each mode's step [K]."""
    return values.astype(np.float32) * scale
