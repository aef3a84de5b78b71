"""Closes the holes of a face (eyes, mouth, nostrils) by patches that move with their boundaries.

A patch's vertices are fixed linear combinations of the boundary's vertices: rows between its upper
and its lower side. Rows bulge out of an eye and go into a mouth by an amount that is linear in the
height of the hole, so that a closed eye's patch lies on its lids.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.surface import boundary_loops, facing_outwards, wound_alike

_EYEBALL_RADIUS = 0.125  # dm, of an adult
_MOUTH_DEPTH = 0.45  # how deep the mouth's patch goes, of the hole's height
_ROWS = 4  # between the lids, and between the lips
_WIDE_ENOUGH = 12  # vertices of a boundary that is worth rows; a smaller one is closed without


@dataclass(frozen=True)
class Patch:
    """P new vertices and the triangles that close one boundary of a model of N vertices.

    Attributes:
      weights: [P, N] sparse, rows sum to one.
      depth: [P, N] sparse, what the boundary's heights add to the depth: z += depth @ y.
      triangles: [T, 3]; vertex N + p is the patch's vertex p.
    """

    weights: sp.csr_matrix
    depth: sp.csr_matrix
    triangles: np.ndarray


def close_holes(model: RawModel) -> RawModel:
    """The model with all holes closed: every boundary but the outer one, the longest.

    Its triangles must be wound outwards with clean boundaries, and are so afterwards.
    """
    boundaries = [
        (boundary, _bulge_of(boundary, model)) for boundary in boundary_loops(model.triangles)
    ]
    lengths = [
        _length(model.mean_shape[boundary]) * (bulge == "flat") for boundary, bulge in boundaries
    ]
    outer = int(np.argmax(lengths)) if any(lengths) else -1
    closed = 0
    for i, (boundary, bulge) in enumerate(boundaries):
        if i != outer and len(boundary) >= 3:
            size = model.num_vertices
            model, closed = _append(model, patch_for(model.mean_shape, boundary, bulge)), closed + 1
            if bulge == "mouth":
                inside = np.arange(model.num_vertices) >= size
                model = replace(model, mouth_inside=inside.astype(np.float64))
    if not closed:
        return model
    triangles = facing_outwards(wound_alike(model.triangles), model.mean_shape)
    what = "hole" if closed == 1 else "holes"
    return replace(model, triangles=triangles).noting(f"closed {closed} {what} by patches")


def _length(points: np.ndarray) -> float:
    return float(np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum())


def _bulge_of(boundary: np.ndarray, model: RawModel) -> str:
    """Whether the boundary is an eye's or the mouth's, by the landmarks around it."""
    landmarks, middle = model.landmark_positions(), model.mean_shape[boundary].mean(axis=0)
    for name, part in (("eye", slice(36, 42)), ("eye", slice(42, 48)), ("mouth", slice(48, 60))):
        around = landmarks[part]
        if np.isfinite(around).all():
            away = np.linalg.norm(middle - around.mean(axis=0))
            if away < np.ptp(around[:, 0]) / 3:
                return name
    return "flat"


def patch_for(positions: np.ndarray, boundary: np.ndarray, bulge: str) -> Patch:
    """A patch inside one boundary.

    Args:
      positions: [N, 3], dm.
      boundary: [n] vertices in order.
      bulge: "eye", "mouth" or "flat".
    """
    size = len(positions)
    start, half = _corners(positions[boundary])
    boundary = np.roll(boundary, -start)
    one, other = boundary[: half + 1], np.append(boundary[half:], boundary[0])[::-1]
    upper, lower = sorted((one, other), key=lambda side: -positions[side, 1].mean())
    rows = _ROWS if bulge != "flat" and len(boundary) >= _WIDE_ENOUGH else 0
    columns = max(len(upper), len(lower)) - 2
    at = np.arange(1, columns + 1) / (columns + 1)
    above, below = (_along(positions, side, at, size) for side in (upper, lower))
    shares = (np.arange(rows) + 1) / (rows + 1)
    weights = [above * (1 - share) + below * share for share in shares]
    heights = (above - below) @ positions[:, 1]
    depth = [sp.diags(_slope(bulge, share, heights)) @ (above - below) for share in shares]
    lines = [(upper, _arc(positions[upper]))]
    for row in range(rows):
        inner = size + row * columns + np.arange(columns)
        lines.append((np.concatenate([upper[:1], inner, upper[-1:]]), np.r_[0, at, 1]))
    lines.append((lower, _arc(positions[lower])))
    triangles = [_strip(*a, *b) for a, b in pairwise(lines)]
    stack = [sp.csr_matrix((0, size))]
    return Patch(
        sp.csr_matrix(sp.vstack(stack + weights)),
        sp.csr_matrix(sp.vstack(stack + depth)),
        np.concatenate(triangles),
    )


def _corners(points: np.ndarray) -> tuple[int, int]:
    """The boundary's leftmost point, and how many steps from it the rightmost one is."""
    start = int(np.argmin(points[:, 0]))
    return start, int((np.argmax(points[:, 0]) - start) % len(points))


def _slope(bulge: str, share: float, heights: np.ndarray) -> np.ndarray:
    """Depth per height of the hole: an eyeball between its lids, a parabola into a mouth."""
    if bulge == "eye":
        return np.clip(share * (1 - share) * heights / (2 * _EYEBALL_RADIUS), 0, 0.2)
    return np.full(len(heights), -4 * share * (1 - share) * _MOUTH_DEPTH)


def _arc(points: np.ndarray) -> np.ndarray:
    """Where each point of a line lies on it, from 0 to 1."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    return length / max(length[-1], 1e-12)


def _along(positions: np.ndarray, line: np.ndarray, at: np.ndarray, size: int) -> sp.csr_matrix:
    """[len(at), size]: the points of a line of vertices at the given places, as combinations."""
    places = _arc(positions[line])
    right = np.clip(np.searchsorted(places, at), 1, len(line) - 1)
    gap = np.maximum(places[right] - places[right - 1], 1e-12)
    share = np.clip((at - places[right - 1]) / gap, 0, 1)
    row = np.arange(len(at))
    values = np.concatenate([1 - share, share])
    columns = np.concatenate([line[right - 1], line[right]])
    return sp.csr_matrix((values, (np.r_[row, row], columns)), (len(at), size))


def _strip(a: np.ndarray, at_a: np.ndarray, b: np.ndarray, at_b: np.ndarray) -> np.ndarray:
    """Triangles between two lines of vertices that share their first and their last vertex."""
    triangles, i, j = [], 0, 0
    while i < len(a) - 1 or j < len(b) - 1:
        next_a = at_a[i + 1] if i < len(a) - 1 else np.inf
        next_b = at_b[j + 1] if j < len(b) - 1 else np.inf
        if next_a <= next_b:
            triangles.append((a[i], b[j], a[i + 1]))
            i += 1
        else:
            triangles.append((a[i], b[j], b[j + 1]))
            j += 1
    return np.array([t for t in triangles if len(set(t)) == 3]).reshape(-1, 3)


def _append(model: RawModel, patch: Patch) -> RawModel:
    def color(values: np.ndarray) -> np.ndarray:
        flat = values.reshape(len(values), -1)
        return np.concatenate([values, (patch.weights @ flat).reshape(-1, *values.shape[1:])])

    def geometry(values: np.ndarray) -> np.ndarray:
        out = color(values)
        heights = values[:, 1].reshape(len(values), -1)
        out[len(values) :, 2] += (patch.depth @ heights).reshape(-1, *values.shape[2:])
        return out

    triangles = np.concatenate([model.triangles, patch.triangles])
    return replace(model, **model.map_vertices(geometry, color), triangles=triangles)
