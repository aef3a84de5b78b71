"""A face model on its way from its publisher's files to a `FaceModel`."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from mofa_jax.landmarks import NUM_LANDMARKS


def no_landmarks() -> np.ndarray:
    """[68] of -1: a model that names no landmark."""
    return np.full(NUM_LANDMARKS, -1)


@dataclass(frozen=True)
class RawModel:
    """N vertices in decimeters and the project's axes (x to the viewer's right, y up, z out).

    Bases are scaled: a coefficient of one is one standard deviation of independent coefficients.
    They need not be orthogonal, and the origin is anywhere.

    Attributes:
      mean_shape: [N, 3], dm.
      shape_basis: [N, 3, S], dm.
      expression_basis: [N, 3, X], dm.
      triangles: [F, 3], wound either way.
      name, license: texts.
      landmarks: [68] vertices, -1 where unknown.
      landmark_points: [68, 3] the exact points near them, dm, NaN where unknown; None if none is.
      mean_reflectance: [N, 3], RGB in [0, 1], and
      reflectance_basis: [N, 3, R], or None for a model of geometry only.
      uv: [N, 2] or None.
      mouth_inside: [N], 1 on the patch that closes the mouth and 0 elsewhere, or None.
      is_face_region: the vertices are the frontal face already, no more is cut.
      notes: what was done so far, a sentence each.
    """

    mean_shape: np.ndarray
    shape_basis: np.ndarray
    expression_basis: np.ndarray
    triangles: np.ndarray
    name: str
    license: str
    landmarks: np.ndarray
    landmark_points: np.ndarray | None = None
    mean_reflectance: np.ndarray | None = None
    reflectance_basis: np.ndarray | None = None
    uv: np.ndarray | None = None
    mouth_inside: np.ndarray | None = None
    is_face_region: bool = False
    notes: tuple[str, ...] = ()

    @property
    def num_vertices(self) -> int:
        return len(self.mean_shape)

    def noting(self, note: str) -> "RawModel":
        return replace(self, notes=(*self.notes, note))

    def landmark_positions(self) -> np.ndarray:
        """[68, 3] the landmarks on the mean shape, dm, NaN where unknown."""
        known = self.landmarks >= 0
        at_vertices = np.where(known[:, None], self.mean_shape[self.landmarks], np.nan)
        if self.landmark_points is None:
            return at_vertices
        return np.where(np.isfinite(self.landmark_points), self.landmark_points, at_vertices)

    def map_vertices(
        self,
        geometry: Callable[[np.ndarray], np.ndarray],
        color: Callable[[np.ndarray], np.ndarray],
    ) -> dict[str, np.ndarray | None]:
        """The per-vertex arrays, geometry's and the others' [N, ...] each mapped by a function."""
        maps = {
            "mean_shape": geometry,
            "shape_basis": geometry,
            "expression_basis": geometry,
            "mean_reflectance": color,
            "reflectance_basis": color,
            "uv": color,
            "mouth_inside": color,
        }
        values = {key: getattr(self, key) for key in maps}
        return {key: None if v is None else maps[key](v) for key, v in values.items()}

    def take(self, vertices: np.ndarray, triangles: np.ndarray) -> "RawModel":
        """The model of some of its vertices, in the given order.

        A landmark whose vertex goes becomes unknown.

        Args:
          vertices: [M] which.
          triangles: [F, 3], numbered as the new vertices are.
        """
        place = np.full(self.num_vertices + 1, -1)  # the last one answers for the landmark -1
        place[vertices] = np.arange(len(vertices))
        landmarks = place[self.landmarks]
        points = self.landmark_points
        if points is not None:
            points = np.where((landmarks < 0)[:, None], np.nan, points)
        return replace(
            self,
            **self.map_vertices(lambda v: v[vertices], lambda v: v[vertices]),
            triangles=triangles,
            landmarks=landmarks,
            landmark_points=points,
        )

    def keep_triangles(self, triangles: np.ndarray) -> "RawModel":
        """The model of some of its triangles, without the vertices that none of them uses."""
        kept, flat = np.unique(triangles, return_inverse=True)
        return self.take(kept, flat.reshape(-1, 3))
