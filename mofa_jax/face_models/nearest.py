"""The nearest points of a triangle surface."""

import numpy as np
from scipy.spatial import cKDTree

from mofa_jax.face_models.surface import vertex_normals

_CANDIDATES = 16  # triangles by the distance of their middles
_NORMAL_PENALTY = 0.02  # dm: opposite normals count as much as twice this distance


def nearest_on_surface(
    points: np.ndarray, normals: np.ndarray | None, vertices: np.ndarray, triangles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The nearest point of a surface to each of P points, preferring one that faces the same way.

    Args:
      points: [P, 3], dm.
      normals: [P, 3], unit length, or None: then the distance alone decides.
      vertices: [N, 3], triangles: [F, 3], the surface.

    Returns:
      corners: [P, 3] the vertices of the triangle that the nearest point lies on.
      weights: [P, 3] their barycentric weights, of sum one.
      distance: [P], dm.
    """
    count = min(_CANDIDATES, len(triangles))
    tree = cKDTree(vertices[triangles].mean(axis=1))
    candidates = tree.query(points, k=count)[1].reshape(len(points), count)
    weights = _closest(points[:, None], *(vertices[triangles[candidates, k]] for k in range(3)))
    found = np.einsum("pck,pckd->pcd", weights, vertices[triangles[candidates]])
    distance = np.linalg.norm(points[:, None] - found, axis=-1)
    cost = distance
    if normals is not None:
        at = vertex_normals(vertices, triangles)[triangles[candidates]]
        agreement = np.einsum("pd,pck,pckd->pc", normals, weights, at)
        cost = distance + _NORMAL_PENALTY * (1 - agreement)
    row, best = np.arange(len(points)), cost.argmin(axis=1)
    return triangles[candidates[row, best]], weights[row, best], distance[row, best]


def _closest(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric weights [..., 3] of the points of triangles a b c nearest to `point` [..., 3].

    The nearest of four: the foot of the perpendicular if it is inside, and the nearest points of
    the three sides.
    """
    on_sides = [_on_side(point, *side) for side in ((a, b), (b, c), (c, a))]
    zero = np.zeros_like(on_sides[0])
    (ab, bc, ca) = on_sides
    options = [
        _foot(point, a, b, c),
        np.stack([1 - ab, ab, zero], -1),
        np.stack([zero, 1 - bc, bc], -1),
        np.stack([ca, zero, 1 - ca], -1),
    ]
    corners = np.stack([a, b, c], axis=-2)
    away = [
        np.linalg.norm(np.einsum("...k,...kd->...d", w, corners) - point, axis=-1) for w in options
    ]
    outside = (options[0] < 0).any(axis=-1)
    away[0] = np.where(outside, np.inf, away[0])
    best = np.argmin(np.stack(away), axis=0)
    return np.take_along_axis(np.stack(options), best[None, ..., None], axis=0)[0]


def _on_side(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    length = np.maximum(np.sum(along**2, axis=-1), 1e-30)
    return np.clip(np.sum((point - start) * along, axis=-1) / length, 0, 1)


def _foot(point: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v, w = b - a, c - a, point - a
    uu, vv, uv = ((p * q).sum(-1) for p, q in ((u, u), (v, v), (u, v)))
    wu, wv = ((w * side).sum(-1) for side in (u, v))
    area = np.maximum(uu * vv - uv**2, 1e-30)
    s, t = (vv * wu - uv * wv) / area, (uu * wv - uv * wu) / area
    return np.stack([1 - s - t, s, t], axis=-1)
