"""The parametric face model (paper, Sec. 4): arrays, their checks, loading and saving."""

import functools
import hashlib
import math
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax.errors import InputError
from mofa_jax.files.npz import write_npz
from mofa_jax.mesh import Topology, build_topology
from mofa_jax.numerics import product

MM_PER_DM = 100.0
BASES = ("shape_basis", "expression_basis", "reflectance_basis")  # the paper's, by their names
_FLOAT_ARRAYS = ("mean_shape", "mean_reflectance", *BASES)
_INDEX_ARRAYS = ("triangles", "landmarks")
_TEXTS = {"name": "name", "license": "licence"}  # fields, and their keys in the npz format


class FaceModelError(InputError):
    """A face model's file or arrays cannot be used; the message says what, where and the fix."""


@struct.dataclass
class FaceModel:
    """A linear morphable model of N vertices, F triangles and S, X, R modes.

    Modes come first in memory, since a product with one coefficient after the other streams through
    it; the bases of the paper, and of the npz format, are `shape_basis`, `expression_basis` and
    `reflectance_basis`.

    World space: right-handed, x to the viewer's right, y up, z out of the face; unit decimeter; the
    centroid of the average face's landmarks 17-67 lies at (0, 0.04, 0). Bases are scaled by their
    standard deviations, so that a coefficient of one is one standard deviation.

    Attributes:
      mean_shape: [N, 3], dm.
      geometry_modes: [S + X, 3, N], dm, the shape modes before those of expression.
      mean_reflectance: [N, 3], RGB in the image's own [0, 1] space.
      reflectance_modes: [R, 3, N].
      triangles: [F, 3] int32, counter-clockwise seen from outside.
      landmarks: [68] int32, the vertex of each iBUG landmark, -1 where the model has none.
      topology: the tables that vertex normals need, made from `triangles`.
      num_shape_modes: S.
      uv: [N, 2] texture coordinates, origin bottom-left, or None.
      name: what the model is called.
      license: its terms, in a line.
    """

    mean_shape: jax.Array
    geometry_modes: jax.Array
    mean_reflectance: jax.Array
    reflectance_modes: jax.Array
    triangles: jax.Array
    landmarks: jax.Array
    topology: Topology
    num_shape_modes: int = struct.field(pytree_node=False)
    uv: jax.Array | None = None
    name: str = struct.field(pytree_node=False, default="")
    license: str = struct.field(pytree_node=False, default="")

    @property
    def num_vertices(self) -> int:
        return self.mean_shape.shape[0]

    @property
    def shape_basis(self) -> jax.Array:
        """E_s [N, 3, S], dm."""
        return self.geometry_modes[: self.num_shape_modes].T

    @property
    def expression_basis(self) -> jax.Array:
        """E_e [N, 3, X], dm."""
        return self.geometry_modes[self.num_shape_modes :].T

    @property
    def reflectance_basis(self) -> jax.Array:
        """E_r [N, 3, R]."""
        return self.reflectance_modes.T

    @property
    def code_sizes(self) -> tuple[int, int, int]:
        """(S, X, R): how many shape, expression and reflectance coefficients a code holds."""
        num_expression = self.geometry_modes.shape[0] - self.num_shape_modes
        return self.num_shape_modes, num_expression, self.reflectance_modes.shape[0]

    def geometry(self, shape: jax.Array, expression: jax.Array) -> jax.Array:
        """Eq. 2: V = mean + E_s alpha + E_e delta, [N, 3], world space, dm.

        Raises:
          ValueError: the coefficients are not [S] and [X].
        """
        expected = tuple((size,) for size in self.code_sizes[:2])
        if (shape.shape, expression.shape) != expected:
            raise ValueError(
                f"shape {shape.shape} and expression {expression.shape}, expected {expected[0]} "
                f"and {expected[1]}, of one face; jax.vmap draws more."
            )
        coefficients = jnp.concatenate([shape, expression])
        # The small terms first: edges are a thousand times shorter than positions, so that normals
        # feel every rounding.
        return self.mean_shape + _combine(self.geometry_modes, coefficients).T

    def reflectance(self, coefficients: jax.Array) -> jax.Array:
        """Eq. 3: R = mean + E_r beta, [N, 3], RGB."""
        return self.mean_reflectance + _combine(self.reflectance_modes, coefficients).T

    def at_vertices(self, index: jax.Array) -> "FaceModel":
        """The model of the vertices `index` [M] alone, without triangles and landmarks."""
        return self.replace(
            mean_shape=self.mean_shape[index],
            geometry_modes=self.geometry_modes[..., index],
            mean_reflectance=self.mean_reflectance[index],
            reflectance_modes=self.reflectance_modes[..., index],
            triangles=self.triangles[:0],
            landmarks=jnp.full_like(self.landmarks, -1),
            topology=None,
            uv=None,
        )

    def at_landmarks(self) -> "FaceModel":
        """The model with its landmarks as its only vertices, without triangles."""
        order = jnp.where(self.landmarks >= 0, jnp.arange(len(self.landmarks)), -1)
        return self.at_vertices(jnp.maximum(self.landmarks, 0)).replace(landmarks=order)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The arrays and texts of the npz format, as NumPy."""
        keys = (*_FLOAT_ARRAYS, *_INDEX_ARRAYS, *(("uv",) if self.uv is not None else ()))
        texts = {key: np.asarray(getattr(self, field)) for field, key in _TEXTS.items()}
        return {key: np.asarray(getattr(self, key)) for key in keys} | texts

    def checksum(self) -> str:
        """SHA-256 over all arrays: whether a model is the one that a checkpoint was made with."""
        return self._checksum

    @functools.cached_property
    def _checksum(self) -> str:
        digest = hashlib.sha256()
        for key, array in sorted(self.to_arrays().items()):
            if key not in _TEXTS.values():
                digest.update(f"{key} {array.shape} {array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def identity(self) -> dict[str, Any]:
        """Which model it is: what checkpoints and corpora keep to be compared, JSON-able."""
        return {
            "name": self.name,
            "checksum": self.checksum(),
            "code_sizes": list(self.code_sizes),
        }

    def is_model_of(self, identity: Mapping[str, Any]) -> bool:
        """Whether `identity`, kept by a checkpoint or a corpus, is this model's."""
        return identity.get("checksum") == self.checksum()

    def save(self, path: str | os.PathLike) -> None:
        """Writes the npz format, to a temporary name first, so that no half file is left behind."""
        write_npz(path, **self.to_arrays())


def _combine(modes: jax.Array, coefficients: jax.Array) -> jax.Array:
    """[3, N] the sum of modes [K, 3, N] times coefficients [K], as a product of two matrices."""
    rest = modes.shape[1:]
    return product(coefficients, modes.reshape(len(modes), math.prod(rest))).reshape(rest)


def face_model_from_arrays(
    arrays: Mapping[str, np.ndarray], source: str, dtype: np.dtype | str = np.float32
) -> FaceModel:
    """A checked `FaceModel` from the npz format's arrays.

    Args:
      arrays: the keys of the format; `uv`, `name` and `licence` may be missing.
      source: what the error messages call it, such as the file's path.
      dtype: of the floating-point arrays.

    Raises:
      FaceModelError: a key is missing, or an array's shape, type or values are wrong.
    """
    missing = [key for key in (*_FLOAT_ARRAYS, *_INDEX_ARRAYS) if key not in arrays]
    if missing:
        raise FaceModelError(
            f"{source}: no array {', '.join(missing)}; a face model's npz needs "
            f"{', '.join((*_FLOAT_ARRAYS, *_INDEX_ARRAYS))}: import it again with "
            "`python -m mofa_jax.import_model`."
        )
    floats = {key: np.asarray(arrays[key]) for key in _FLOAT_ARRAYS}
    if arrays.get("uv") is not None:
        floats["uv"] = np.asarray(arrays["uv"])
    indices = {key: np.asarray(arrays[key]) for key in _INDEX_ARRAYS}
    _check(floats, indices, source)
    floats = {key: value.astype(dtype) for key, value in floats.items()}
    shape, expression, reflectance = (floats.pop(key).T for key in BASES)
    return FaceModel(
        geometry_modes=jnp.asarray(np.concatenate([shape, expression])),
        reflectance_modes=jnp.asarray(np.ascontiguousarray(reflectance)),
        num_shape_modes=len(shape),
        **{key: jnp.asarray(value) for key, value in floats.items()},
        **{key: jnp.asarray(value, jnp.int32) for key, value in indices.items()},
        topology=build_topology(indices["triangles"], len(floats["mean_shape"])),
        **{field: str(arrays.get(key, "")) for field, key in _TEXTS.items()},
    )


def _check(floats: dict[str, np.ndarray], indices: dict[str, np.ndarray], source: str) -> None:
    def demand(condition: bool, what: str) -> None:
        if not condition:
            raise FaceModelError(f"{source}: {what}; the file is not a face model of this format.")

    vertices = len(floats["mean_shape"]) if floats["mean_shape"].ndim else 0
    shapes = {"mean_shape": (vertices, 3), "mean_reflectance": (vertices, 3), "uv": (vertices, 2)}
    for key, array in floats.items():
        expected = shapes.get(key, (vertices, 3, array.shape[-1] if array.ndim == 3 else "modes"))
        demand(array.shape == expected, f"{key} has shape {array.shape}, expected {expected}")
        demand(array.dtype.kind == "f", f"{key} has type {array.dtype}, expected floating point")
        demand(np.isfinite(array).all(), f"{key} holds NaN or infinite values")
    triangles, landmarks = indices["triangles"], indices["landmarks"]
    for key, array in indices.items():
        demand(array.dtype.kind in "iu", f"{key} has type {array.dtype}, expected integers")
    demand(
        triangles.ndim == 2 and triangles.shape[-1] == 3 and len(triangles) > 0,
        f"triangles has shape {triangles.shape}, expected (F, 3)",
    )
    demand(landmarks.shape == (68,), f"landmarks has shape {landmarks.shape}, expected (68,)")
    demand(
        triangles.min() >= 0 and triangles.max() < vertices,
        f"triangles name vertices {triangles.min()} to {triangles.max()}, of {vertices}",
    )
    demand(
        landmarks.min() >= -1 and landmarks.max() < vertices,
        f"landmarks name vertices {landmarks.min()} to {landmarks.max()}, of {vertices}",
    )
