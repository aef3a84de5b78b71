"""The geometric error against a mesh of another topology, such as a scan (paper, Table 1).

The estimate is laid on the truth by landmarks and then by their surfaces, as NoW and others do; the
error is the distance from each true vertex to the estimated surface. Where both meshes have the
same vertices, `metrics.geometric_error` is the measure.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from mofa_jax.errors import InputError
from mofa_jax.face_models.nearest import nearest_on_surface
from mofa_jax.face_models.registration import similarity

_ROUNDS = 30  # of nearest points, at most
_POINTS = 4000  # of the truth that the surfaces are aligned by
_SETTLED = 1e-4  # of the truth's extent: the rounds end when no vertex moves farther


@dataclasses.dataclass(frozen=True)
class ScanError:
    """How far a true surface is from an estimated one; in the unit of the truth.

    Attributes:
      mean: of `distances`.
      distances: [M], of the true vertices of the region to the aligned surface.
      aligned: [N, 3], the estimate's vertices, laid on the truth.
    """

    mean: float
    distances: np.ndarray
    aligned: np.ndarray


def scan_error(
    vertices: np.ndarray,
    triangles: np.ndarray,
    true_vertices: np.ndarray,
    landmarks: np.ndarray,
    true_landmarks: np.ndarray,
    *,
    region: np.ndarray | None = None,
    with_scale: bool = True,
    rounds: int = _ROUNDS,
) -> ScanError:
    """The distance from a true mesh's vertices to an estimated surface, after alignment.

    The estimate is turned, moved and scaled so that its landmarks fit best (Umeyama, 1991), and
    then so that its surface does at the region's vertices (iterative closest point, ICP).

    Args:
      vertices: [N, 3], of the estimate, in any unit.
      triangles: [F, 3], of the estimate.
      true_vertices: [M, 3], in any unit.
      landmarks, true_landmarks: [K, 3], K >= 3, places that are known on both: facial landmarks, or
        all corresponding vertices.
      region: the true vertices that count, indices or [M] bool; all by default.
      with_scale: whether the estimate is scaled; otherwise both must have one unit.
      rounds: of ICP, at most; 0 aligns by the landmarks alone.

    Raises:
      InputError: an array has another shape, holds NaN or points to a vertex that there is not, or
        the region is empty.
    """
    vertices, truth = _points("vertices", vertices), _points("true_vertices", true_vertices)
    source, target = _points("landmarks", landmarks), _points("true_landmarks", true_landmarks)
    if len(source) != len(target) or len(source) < 3:
        raise InputError(
            f"{len(source)} landmarks and {len(target)} true ones; give the same 3 or more of both."
        )
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or not _within(triangles, len(vertices)):
        raise InputError(
            f"triangles have shape {triangles.shape}, or corners outside the {len(vertices)} "
            "vertices; expected [F, 3] indices."
        )
    if region is not None:
        truth = truth[_checked_region(np.asarray(region), len(truth))]
    if not len(truth):
        raise InputError("the region holds no true vertex; give at least one.")
    scale, rotation, _ = similarity(source, target)
    scale = scale if with_scale else 1.0
    aligned = scale * (vertices - source.mean(axis=0)) @ rotation.T + target.mean(axis=0)
    some = truth[:: max(1, len(truth) // _POINTS)]
    for _ in range(rounds):
        before, aligned = aligned, _closer(aligned, triangles, some, with_scale)
        if np.abs(aligned - before).max() < _SETTLED * np.ptp(some, axis=0).max():
            break
    distances = nearest_on_surface(truth, None, aligned, triangles)[2]
    return ScanError(float(distances.mean()), distances, aligned)


def _within(indices: np.ndarray, count: int) -> bool:
    return indices.dtype.kind in "iu" and bool(((indices >= 0) & (indices < count)).all())


def _checked_region(region: np.ndarray, count: int) -> np.ndarray:
    is_mask = region.dtype == bool and region.shape == (count,)
    if not (is_mask or (region.ndim == 1 and _within(region, count))):
        raise InputError(
            f"the region is {region.dtype} {region.shape}; expected indices of the {count} true "
            f"vertices, or a mask of bool [{count}]."
        )
    return region


def _closer(
    vertices: np.ndarray, triangles: np.ndarray, truth: np.ndarray, with_scale: bool
) -> np.ndarray:
    """One step of point-to-plane ICP (Chen and Medioni, 1992).

    The planes of the triangles nearest to `truth` [P, 3] are turned, moved and scaled towards it by
    linear least squares; of motions that leave the distances alone, such as a sphere's turns, none.
    """
    corners, weights, _ = nearest_on_surface(truth, None, vertices, triangles)
    a, b, c = (vertices[corners[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    nearest = np.einsum("pk,pkd->pd", weights, vertices[corners])
    center = nearest.mean(axis=0)
    size = max(np.ptp(nearest, axis=0).max(), 1e-30)
    arms = (nearest - center) / size
    along = np.einsum("pd,pd->p", normals, arms)
    columns = [np.cross(arms, normals), normals, along[:, None]]
    system = np.concatenate(columns if with_scale else columns[:2], axis=1)
    gaps = np.einsum("pd,pd->p", normals, truth - nearest) / size
    step = np.linalg.lstsq(system, gaps, rcond=1e-6)[0]
    scale = np.exp(step[6]) if with_scale else 1.0
    turned = Rotation.from_rotvec(step[:3]).apply(vertices - center)
    return scale * turned + center + size * step[3:6]


def _points(name: str, points: np.ndarray) -> np.ndarray:
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise InputError(f"{name} have shape {points.shape} or hold NaN; expected finite [n, 3].")
    return points
