"""Brings one face's surface onto another's: by landmarks first, then by the surfaces."""

import numpy as np
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from mofa_jax.face_models.nearest import nearest_on_surface
from mofa_jax.face_models.surface import boundary_loops, vertex_normals

# The jaw's points slide along the silhouette, and every model puts them elsewhere.
ANCHORS = np.array([8, *range(17, 68)])
_FEW, _MANY = 10, 40  # landmarks
_CONTROLS = 400  # vertices that pull the surface in a round
_REACH = 0.12  # dm: a nearest point farther away is none
_SAME_SIDE = 0.6  # cosine between the normals of a vertex and of its nearest point
_SMOOTHING = (3e-3, 1e-3, 3e-4, 1e-4)  # of the deformation, a round each


def similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Scale s, rotation R and translation t that minimize sum |s R x + t - y|^2 (Umeyama, 1991).

    Args:
      source: x [P, 3].
      target: y [P, 3].
    """
    center_x, center_y = source.mean(axis=0), target.mean(axis=0)
    x, y = source - center_x, target - center_y
    left, singular, right = np.linalg.svd(y.T @ x)
    sign = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = (singular * sign).sum() / max((x**2).sum(), 1e-30)
    return scale, rotation, center_y - scale * rotation @ center_x


def register(
    source: np.ndarray,
    source_triangles: np.ndarray,
    source_landmarks: np.ndarray,
    target: np.ndarray,
    target_triangles: np.ndarray,
    target_landmarks: np.ndarray,
) -> np.ndarray:
    """The source's vertices [N, 3] laid on the target's surface.

    Args:
      source, target: [N, 3] and [M, 3] vertices, dm, x to the viewer's right, y up, z out.
      source_triangles, target_triangles: wound outwards.
      source_landmarks, target_landmarks: [68, 3], NaN where unknown. With fewer than four known in
        both, at places of their own, the surfaces alone decide (`iterative_closest_point`).
    """
    known = ANCHORS[np.isfinite(source_landmarks + target_landmarks)[ANCHORS].all(axis=1)]
    # Of landmarks at one place the first counts: no deformation takes it to two places.
    known = known[np.sort(np.unique(source_landmarks[known], axis=0, return_index=True)[1])]
    if len(known) < 4:
        known = known[:0]
        scale, rotation, shift = iterative_closest_point(source, target)
    else:
        scale, rotation, shift = similarity(source_landmarks[known], target_landmarks[known])
    moved = scale * source @ rotation.T + shift
    anchors = scale * source_landmarks[known] @ rotation.T + shift
    if len(known) >= _FEW:
        # A linear part spreads well from many landmarks, but runs away beyond a few.
        degree = 1 if len(known) >= _MANY else 0
        offsets = target_landmarks[known] - anchors
        moved = moved + RBFInterpolator(anchors, offsets, kernel="linear", degree=degree)(moved)
        anchors = target_landmarks[known]
    return _pull(
        moved, source_triangles, anchors, target, target_triangles, target_landmarks[known]
    )


def _pull(moved, triangles, anchors, target, target_triangles, target_anchors) -> np.ndarray:
    """Deforms smoothly towards the target's nearest points, ever less stiffly."""
    normals = vertex_normals(target, target_triangles)
    boundary = np.concatenate([*boundary_loops(target_triangles), [-1]])
    for smoothing in _SMOOTHING:
        chosen = _spread(moved, _CONTROLS)
        own = vertex_normals(moved, triangles)[chosen]
        corners, weights, distance = nearest_on_surface(
            moved[chosen], own, target, target_triangles
        )
        goal = np.einsum("pk,pkd->pd", weights, target[corners])
        facing = np.einsum("pd,pkd->p", own, normals[corners]) / 3
        trusted = (
            (distance < _REACH) & (facing > _SAME_SIDE) & ~np.isin(corners, boundary).all(axis=1)
        )
        points = np.concatenate([anchors, moved[chosen][trusted]])
        offsets = np.concatenate([target_anchors - anchors, (goal - moved[chosen])[trusted]])
        points, unique = np.unique(points, axis=0, return_index=True)
        if len(points) < 10:
            break
        field = RBFInterpolator(
            points, offsets[unique], kernel="linear", degree=0, smoothing=smoothing * len(points)
        )
        moved, anchors = moved + field(moved), anchors + field(anchors) if len(anchors) else anchors
    return moved


def _spread(points: np.ndarray, count: int) -> np.ndarray:
    """About `count` of the points, evenly spread: one of each cell of a grid."""
    cell = np.sqrt(np.prod(np.sort(np.ptp(points, axis=0))[1:]) / count) * 1.2
    keys = np.floor((points - points.min(axis=0)) / max(cell, 1e-9)).astype(np.int64)
    return np.unique(keys, axis=0, return_index=True)[1]


def iterative_closest_point(
    source: np.ndarray, target: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """A similarity without landmarks: noses first, then the nearest points, worst fifth left out.

    Both faces look along +z with y up. Scale is left to the nearest points.
    """
    scale, rotation, shift = 1.0, np.eye(3), _nose(target) - _nose(source)
    chosen = source[_spread(source, 1500)]
    tree = cKDTree(target)
    for _ in range(60):
        moved = scale * chosen @ rotation.T + shift
        distance, nearest = tree.query(moved)
        keep = distance <= np.quantile(distance, 0.8)
        scale, rotation, shift = similarity(chosen[keep], target[nearest[keep]])
    return scale, rotation, shift


def _nose(points: np.ndarray) -> np.ndarray:
    """The foremost point near the face's middle plane."""
    middle = (points[:, 0].max() + points[:, 0].min()) / 2
    near = np.flatnonzero(np.abs(points[:, 0] - middle) < 0.15)
    return points[near[np.argmax(points[near, 2])]]
