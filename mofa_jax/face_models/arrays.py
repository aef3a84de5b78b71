"""Arrays that somebody already has, in an npz with any keys, unit and axes."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mofa_jax.face_model import BASES, FaceModelError
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.source_files import npz_keys, read_npz

KIND = "npz"
UNITS = {"um": 1e-5, "mm": 1e-2, "cm": 0.1, "dm": 1.0, "m": 10.0}  # in decimeters
_REQUIRED = ("mean_shape", "shape_basis", "expression_basis", "triangles")
_OPTIONAL = ("landmarks", "mean_reflectance", "reflectance_basis", "uv")
_TEXTS = ("name", "licence")
_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class ArrayFormat:
    """How to read the file.

    Attributes:
      unit: one of `UNITS`.
      axes: where the file's axes the project's right, up and out of the face are, such as "+x+y+z".
      keys: the file's names of the arrays, where they differ from the face-model format's.
      deviations: the file's names of standard deviations to multiply a basis by, by basis.
    """

    unit: str = "dm"
    axes: str = "+x+y+z"
    keys: dict[str, str] = field(default_factory=dict)
    deviations: dict[str, str] = field(default_factory=dict)


def read_arrays(path: Path, how: ArrayFormat) -> RawModel:
    """An npz of a mean [V, 3] or [3 V], bases and triangles.

    A basis is [V, 3, K], [3 V, K], [K, V, 3] or [K, 3 V]; colors are in [0, 1] or 0 to 255;
    landmarks are 68 vertex indices from zero; `name` and `licence` are texts.

    Raises:
      FaceModelError: an array is missing or has another shape.
    """
    names = {key: how.keys.get(key, key) for key in (*_REQUIRED, *_OPTIONAL)}
    for flag, given, ours in (("key", how.keys, names), ("deviations", how.deviations, BASES)):
        if unknown := [key for key in given if key not in ours]:
            raise FaceModelError(
                f"{path}: --{flag} gives our name first, and none is '{unknown[0]}'; choose among "
                f"{', '.join(ours)}."
            )
    try:
        found = read_npz(
            path,
            [names[key] for key in _REQUIRED],
            KIND,
            [*(names[key] for key in _OPTIONAL), *how.deviations.values(), *_TEXTS],
        )
    except FaceModelError as error:
        raise FaceModelError(
            f"{error} It holds: {_listing(path)}; name them with --key."
        ) from error
    if absent := [name for name in how.keys.values() if name not in found]:
        raise FaceModelError(f"{path}: no array {absent[0]}; it holds: {_listing(path)}.")
    data = {key: found[name] for key, name in names.items() if name in found}
    mean = _triples(data["mean_shape"], "mean_shape", path)
    turn = axes_matrix(how.axes) * UNITS[how.unit]
    scale = {key: _deviations(found, how.deviations.get(key), path) for key in BASES}
    name, license = (str(found[key]) if key in found else "" for key in _TEXTS)
    bases = {
        key: np.einsum("ij,vjk->vik", turn, _basis(data[key], len(mean), scale[key], key, path))
        for key in ("shape_basis", "expression_basis")
    }
    return RawModel(
        mean_shape=mean @ turn.T,
        **{key: value.astype(np.float32) for key, value in bases.items()},
        **_reflectance(data, scale["reflectance_basis"], len(mean), path),
        triangles=_triples(data["triangles"], "triangles", path).astype(np.int64),
        landmarks=_landmarks(data.get("landmarks"), path),
        uv=data.get("uv"),
        name=name or path.stem,
        license=license or "as the source states",
        notes=(f"read {len(mean)} vertices, unit {how.unit}, axes {how.axes}",),
    )


def axes_matrix(axes: str) -> np.ndarray:
    """[3, 3] rotation from the file's axes: its rows are right, up and out of the face.

    Raises:
      FaceModelError: not three different axes, or a mirror image.
    """
    matrix, rest = np.zeros((3, 3)), axes.lower()
    for row in range(3):
        sign = -1.0 if rest.startswith("-") else 1.0
        rest = rest.lstrip("+-") if rest[:1] in "+-" else rest
        if rest[:1] not in _AXES or not rest:
            raise FaceModelError(
                f"axes '{axes}': expected three like '+x+y+z' (right, up, out of the face)."
            )
        matrix[row, _AXES[rest[0]]], rest = sign, rest[1:]
    if rest or round(np.linalg.det(matrix)) != 1:
        raise FaceModelError(
            f"axes '{axes}': expected three different ones that do not mirror the face; turn one "
            "sign round."
        )
    return matrix


def _listing(path: Path) -> str:
    return ", ".join(npz_keys(path)) or "nothing"


def _deviations(found: dict, name: str | None, path: Path) -> np.ndarray | None:
    if name is None:
        return None
    if name not in found:
        raise FaceModelError(f"{path}: no array {name}; it holds: {_listing(path)}.")
    return found[name].astype(np.float64).ravel()


def _triples(values: np.ndarray, what: str, path: Path) -> np.ndarray:
    """float64 [K, 3] of that, or of [3 K]."""
    flat = values.squeeze()
    is_row = flat.ndim == 1 and len(flat) % 3 == 0
    if values.dtype.kind not in "iuf" or not (is_row or (flat.ndim == 2 and flat.shape[1] == 3)):
        raise FaceModelError(
            f"{path}: {what} has shape {values.shape} and type {values.dtype}, expected numbers "
            "(K, 3) or (3 K,); check the array."
        )
    return flat.reshape(-1, 3).astype(np.float64)


def _basis(
    values: np.ndarray, count: int, deviations: np.ndarray | None, what: str, path: Path
) -> np.ndarray:
    """[V, 3, K] of any of the accepted layouts, multiplied by the deviations."""
    shape = values.shape
    if len(shape) == 3 and shape[:2] == (count, 3):
        basis = values
    elif len(shape) == 3 and shape[1:] == (count, 3):
        basis = np.moveaxis(values, 0, -1)
    elif len(shape) == 2 and shape[0] == 3 * count:
        basis = values.reshape(count, 3, -1)
    elif len(shape) == 2 and shape[1] == 3 * count:
        basis = values.T.reshape(count, 3, -1)
    else:
        raise FaceModelError(
            f"{path}: {what} has shape {shape}, expected ({count}, 3, modes), ({3 * count}, modes) "
            "or one of them with the modes first; check the array."
        )
    if deviations is None:
        return basis
    if len(deviations) != basis.shape[-1]:
        raise FaceModelError(
            f"{path}: {len(deviations)} standard deviations for the {basis.shape[-1]} modes of "
            f"{what}; check --deviations."
        )
    return basis * deviations


def _reflectance(data: dict, deviations: np.ndarray | None, count: int, path: Path) -> dict:
    given = [key for key in ("mean_reflectance", "reflectance_basis") if key in data]
    if len(given) == 1:
        raise FaceModelError(
            f"{path}: has {given[0]} alone, expected both or neither of the two; add it."
        )
    if not given:
        return {}
    mean = _triples(data["mean_reflectance"], "mean_reflectance", path)
    scale = 1 / 255 if mean.max() > 1.5 else 1.0
    basis = _basis(data["reflectance_basis"], count, deviations, "reflectance_basis", path)
    return {
        "mean_reflectance": mean * scale,
        "reflectance_basis": (basis * scale).astype(np.float32),
    }


def _landmarks(values: np.ndarray | None, path: Path) -> np.ndarray:
    if values is None:
        return no_landmarks()
    if values.size != 68 or values.dtype.kind not in "iu":
        raise FaceModelError(
            f"{path}: landmarks has shape {values.shape} and type {values.dtype}, expected 68 "
            "vertex indices; check the array."
        )
    return values.ravel().astype(np.int64)
