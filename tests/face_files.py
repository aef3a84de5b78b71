"""A small face in NumPy, for tests that write it in the formats of published models."""

from dataclasses import dataclass

import numpy as np

from mofa_jax.face_models.analytic import analytic_face


@dataclass(frozen=True)
class SmallFace:
    """N vertices, dm; bases scaled by standard deviations; reflectance in [0, 1]."""

    mean: np.ndarray
    shape: np.ndarray
    expression: np.ndarray
    color: np.ndarray
    color_basis: np.ndarray
    triangles: np.ndarray
    landmarks: np.ndarray

    @property
    def count(self) -> int:
        return len(self.mean)


def small_face(resolution: int = 21, shape: int = 5, expression: int = 4) -> SmallFace:
    arrays = analytic_face(resolution, shape, expression, num_reflectance=3)
    values = {
        key: arrays[key].astype(np.float64) for key in arrays if arrays[key].dtype.kind == "f"
    }
    return SmallFace(
        values["mean_shape"],
        values["shape_basis"],
        values["expression_basis"],
        values["mean_reflectance"],
        values["reflectance_basis"],
        arrays["triangles"].astype(np.int64),
        arrays["landmarks"].astype(np.int64),
    )


def flat(values: np.ndarray) -> np.ndarray:
    """[N, 3, ...] as the interleaved [3 N, ...]."""
    return values.reshape(-1, *values.shape[2:])


def unit_columns(basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An orthonormal [3 N, K] and [K] lengths of the same span and second moment as [N, 3, K]."""
    left, lengths, _ = np.linalg.svd(flat(basis), full_matrices=False)
    return left, lengths


def assert_same_up_to_translation(actual: np.ndarray, expected: np.ndarray, atol: float) -> None:
    """Both [N, 3]."""
    np.testing.assert_allclose(
        actual - actual.mean(axis=0), expected - expected.mean(axis=0), rtol=0, atol=atol
    )


def second_moment(basis: np.ndarray) -> np.ndarray:
    """[3 N, 3 N] of `basis @ c` with independent unit-variance c."""
    columns = flat(np.asarray(basis, np.float64))
    return columns @ columns.T


def as_dtype(model, dtype):
    """A `FaceModel` with its floating-point arrays in another precision, such as float64."""
    floats = ("mean_shape", "geometry_modes", "mean_reflectance", "reflectance_modes", "uv")
    there = {key: getattr(model, key) for key in floats}
    return model.replace(**{k: x.astype(dtype) for k, x in there.items() if x is not None})
