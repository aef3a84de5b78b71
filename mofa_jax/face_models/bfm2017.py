"""The Basel Face Models 2017 and 2019 (Gerig et al., 2018): HDF5 files in Statismo's layout.

Millimeters, +x the subject's left, y up, z out of the face. Each of shape, expression and color has
`model/mean` [3 N], `model/pcaBasis` [3 N, K] and `model/pcaVariance` [K]; `shape/representer` has
`points` [3, N] and `cells` [3, F]; `metadata/landmarks/json` is a list of named points. In version
0.9 of the layout the basis has unit columns, in 0.8 they are multiplied by the standard deviations.
"""

import json
from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.orthogonal_modes import scaled_basis
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.source_files import read_hdf5

KIND = "bfm2017"
_DM = 0.01  # a millimeter
_PARTS = ("shape", "expression", "color")
_FIELDS = ("mean", "pcaBasis", "pcaVariance")
_LANDMARKS = "metadata/landmarks/json"
# The named points that are iBUG landmarks; "right" is the subject's, as in iBUG.
_IBUG = {
    "center.chin.tip": 8,
    "center.nose.tip": 30,
    "center.nose.attachement_to_philtrum": 33,
    "right.eye.corner_outer": 36,
    "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42,
    "left.eye.corner_outer": 45,
    "right.lips.corner": 48,
    "right.lips.philtrum_ridge": 50,
    "center.lips.upper.outer": 51,
    "left.lips.philtrum_ridge": 52,
    "left.lips.corner": 54,
    "center.lips.lower.outer": 57,
    "center.lips.upper.inner": 62,
    "center.lips.lower.inner": 66,
}
_NEAR = 0.05  # dm: a named point this far from the surface belongs to another mesh


def read_bfm2017(path: Path) -> RawModel:
    """A model2017-1_*_nomouth.h5 or model2019_*.h5 file.

    Zero expression coefficients are the neutral face: the expression model's own mean (that of its
    training expressions) becomes one more mode, so that the second moment about neutral is kept.

    Raises:
      FaceModelError: the file is of another format, cut short, or misses a data set.
    """
    keys = [f"{part}/model/{field}" for part in _PARTS for field in _FIELDS]
    data = read_hdf5(path, [*keys, "shape/representer/cells"], KIND, [_LANDMARKS])
    mean = data["shape/model/mean"].astype(np.float64).ravel()
    if mean.size % 3:
        raise FaceModelError(f"{path}: shape/model/mean has {mean.size} numbers, expected 3 N.")
    vertices = mean.reshape(-1, 3) * _DM
    training_mean = data["expression/model/mean"].astype(np.float32).reshape(-1, 3, 1)
    expression = _basis(data, "expression", len(vertices), path)
    if len(training_mean) != len(vertices):
        raise FaceModelError(
            f"{path}: expression and shape differ in size; download the file again."
        )
    color_scale = 1 / 255 if data["color/model/mean"].max() > 1.5 else 1.0
    landmarks, count = _named_landmarks(data.get(_LANDMARKS), vertices, path)
    return RawModel(
        mean_shape=vertices,
        shape_basis=_basis(data, "shape", len(vertices), path) * np.float32(_DM),
        expression_basis=np.concatenate([expression, training_mean], axis=2) * np.float32(_DM),
        triangles=_columns_of_three(data["shape/representer/cells"]).astype(np.int64),
        name=f"Basel Face Model, {path.stem}",
        license="Basel Face Model license: non-commercial research, no redistribution",
        landmarks=landmarks,
        mean_reflectance=data["color/model/mean"].astype(np.float64).reshape(-1, 3) * color_scale,
        reflectance_basis=_basis(data, "color", len(vertices), path) * np.float32(color_scale),
        notes=(
            f"read shape, expression and color of {len(vertices)} vertices, millimeters",
            f"found {count} of the 68 landmarks by their names in the file",
        ),
    )


def _basis(data: dict, part: str, count: int, path: Path) -> np.ndarray:
    """[N, 3, K] float32, scaled."""
    components, variance = (data[f"{part}/model/{field}"] for field in _FIELDS[1:])
    expected = (3 * count, np.size(variance))
    if components.shape != expected:
        raise FaceModelError(
            f"{path}: {part}/model/pcaBasis has shape {components.shape}, expected {expected}; the "
            "file is damaged or of another layout: download it again."
        )
    deviations = np.sqrt(variance.astype(np.float64).ravel())
    what = f"{part}/model/pcaBasis"
    scaled = scaled_basis(components.astype(np.float32), deviations, what, str(path))
    return scaled.reshape(count, 3, -1)


def _columns_of_three(cells: np.ndarray) -> np.ndarray:
    return cells.T if cells.shape[0] == 3 and cells.shape[-1] != 3 else cells


def _named_landmarks(raw, vertices: np.ndarray, path: Path) -> tuple[np.ndarray, int]:
    """[68] vertices nearest to the named points, -1 where there is none, and how many there are."""
    landmarks = no_landmarks()
    if raw is None:
        return landmarks, 0
    try:
        points = {entry["id"]: entry["coordinates"] for entry in json.loads(_text(raw))}
        found = {
            i: np.array(points[name], float) * _DM for name, i in _IBUG.items() if name in points
        }
    except (ValueError, KeyError, TypeError) as error:
        raise FaceModelError(
            f"{path}: {_LANDMARKS} cannot be read ({error}); the file is damaged: download it "
            "again."
        ) from error
    for index, point in found.items():
        away = np.linalg.norm(vertices - point, axis=1)
        if away.min() < _NEAR:
            landmarks[index] = away.argmin()
    return landmarks, int((landmarks >= 0).sum())


def _text(raw) -> str:
    """A string data set's value: text, bytes, or an array of either."""
    value = raw.ravel()[0] if isinstance(raw, np.ndarray) and raw.dtype.kind in "OSU" else raw
    if isinstance(value, np.ndarray):
        value = value.tobytes()
    return value.decode().rstrip("\0") if isinstance(value, bytes) else str(value)
