"""The fine triangle mesh: two Catmull-Clark steps, the second only where faces are still large.

Dense places (nostrils, lids, lips) keep the first step's faces, so that the vertices lie evenly;
the mesh is then cut along the face's contour (hairline, in front of the ears, under the chin).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from mofa_jax.face_models.open_face import BORDER_PASSES
from mofa_jax.face_models.subdivision import catmull_clark, edge_table, smooth_border
from mofa_jax.face_models.surface import with_clean_boundary
from tools.open_model.region import Region, border_loops


@dataclass(frozen=True)
class FineMesh:
    """The vertices that are kept of the twice subdivided mesh.

    Attributes:
      rows: [N] indices into the twice subdivided mesh's vertices.
      border: fine vertices along the outer boundary, in order.
      matrix: [N, n] sparse, from coarse to fine, the boundary smoothed.
      triangles: [F, 3].
    """

    rows: np.ndarray
    border: np.ndarray
    matrix: sp.csr_matrix
    triangles: np.ndarray


def refine(region: Region, average: np.ndarray, split_area: float) -> FineMesh:
    """`average` [n, 3] coarse; faces larger than `split_area` (dm^2) are split a second time."""
    first, quads = catmull_clark(region.quads, len(average))
    second, _ = catmull_clark(quads, first.shape[0])
    matrix = sp.csr_matrix(second @ first)
    positions = matrix @ average
    patches = np.concatenate([patch.rows.ravel() for patch in (*region.eyes, region.mouth)])
    in_patch = np.repeat(np.isin(region.quads, patches).all(1), 4)
    split = (_area(positions[quads]) > split_area) | in_patch
    triangles = _triangulate(quads, first.shape[0], split)
    triangles = triangles[inside_contour(positions[triangles].mean(1))]
    triangles = with_clean_boundary(triangles, smooth=True)
    rows, flat = np.unique(triangles, return_inverse=True)
    triangles = flat.reshape(-1, 3)
    (border,) = border_loops(triangles)
    return FineMesh(
        rows, border, smooth_border(sp.csr_matrix(matrix[rows]), border, BORDER_PASSES), triangles
    )


def inside_contour(points: np.ndarray) -> np.ndarray:
    """Which of `points` [..., 3] (MakeHuman's coordinates) lie on the frontal face."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    temple = 0.35 * np.clip((y - 7.45) / 0.5, 0, None) ** 1.5
    jaw = 0.33 * np.clip((6.75 - y) / 0.4, 0, None) ** 1.5
    below_hair = y + 0.38 * (np.abs(x) / 0.7) ** 3 < 8.05
    return (z > 0.62 + temple + jaw) & below_hair


def _area(corners: np.ndarray) -> np.ndarray:
    diagonals = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
    return np.linalg.norm(np.cross(*diagonals), axis=1) / 2


def _triangulate(quads: np.ndarray, num_vertices: int, split: np.ndarray) -> np.ndarray:
    """Triangles over the subdivided mesh's vertices (old, edges, faces), with no hanging vertex."""
    edges, edge_of_side, _ = edge_table(quads)
    is_cut = np.zeros(len(edges), bool)
    is_cut[edge_of_side[split]] = True
    triangles = []
    for face, (corners, sides) in enumerate(zip(quads, edge_of_side, strict=True)):
        cut = is_cut[sides]
        middle = num_vertices + sides
        center = num_vertices + len(edges) + face
        before = np.roll(middle, 1)
        if split[face]:
            for k in range(4):
                triangles += [(corners[k], middle[k], center), (corners[k], center, before[k])]
        elif cut.any():
            for k in range(4):
                a, b = corners[k], corners[(k + 1) % 4]
                pieces = [(a, middle[k]), (middle[k], b)] if cut[k] else [(a, b)]
                triangles += [(*piece, center) for piece in pieces]
        else:
            triangles += [tuple(corners[[0, 1, 2]]), tuple(corners[[0, 2, 3]])]
    return np.array(triangles)
