"""Loop's subdivision of a triangle mesh as one fixed sparse matrix.

Loop, "Smooth subdivision surfaces based on triangles", 1987, with Warren's weights inside; the
boundary follows the cubic B-spline's curve rule. The matrix maps any field on the coarse vertices.
"""

import numpy as np
import scipy.sparse as sp

from mofa_jax.face_models.surface import edge_ids


def loop_subdivision(triangles: np.ndarray, num_vertices: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """One step: N vertices and E edges become N + E vertices, each triangle four.

    Args:
      triangles: [F, 3], a manifold with clean boundaries that uses every vertex.
      num_vertices: N.

    Returns:
      matrix: [N + E, N], rows sum to one; the first N rows are the old vertices, which keep their
        numbers.
      refined: [4 F, 3], wound as `triangles`.
    """
    edges, ids, counts = edge_ids(triangles)
    matrix = sp.vstack(
        [_old_vertices(edges, counts, num_vertices), _edge_points(triangles, num_vertices)]
    )
    a, b, c = triangles.T
    ab, bc, ca = (ids + num_vertices).T
    corners = [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
    refined = np.concatenate([np.stack(corner, axis=1) for corner in corners])
    return sp.csr_matrix(matrix), refined


def _old_vertices(edges: np.ndarray, counts: np.ndarray, size: int) -> sp.csr_matrix:
    """(1 - k w) v + w (sum of k neighbors) inside, 3/4 v + 1/8 (two neighbors) on the boundary."""
    neighbors = _adjacency(edges, size)
    along_boundary = _adjacency(edges[counts == 1], size)
    on_boundary = np.asarray(along_boundary.sum(axis=1)).ravel() > 0
    valence = np.asarray(neighbors.sum(axis=1)).ravel()
    weight = np.where(valence == 3, 3 / 16, 3 / (8 * np.maximum(valence, 1)))
    inside = sp.diags(np.where(on_boundary, 0, weight)) @ neighbors
    boundary = sp.diags(np.where(on_boundary, 1 / 8, 0.0)) @ along_boundary
    return inside + boundary + sp.diags(np.where(on_boundary, 3 / 4, 1 - valence * weight))


def _edge_points(triangles: np.ndarray, size: int) -> sp.csr_matrix:
    """3/8 of the edge's ends and 1/8 of the two opposite corners; the middle on the boundary."""
    edges, ids, counts = edge_ids(triangles)
    row = np.arange(len(edges))
    end_weight = np.where(counts == 1, 1 / 2, 3 / 8)
    opposite = np.roll(triangles, 1, axis=1)  # of the side from corner k to k + 1
    opposite_weight = np.where(counts[ids] == 1, 0, 1 / 8)
    rows = np.concatenate([row, row, ids.ravel()])
    columns = np.concatenate([edges[:, 0], edges[:, 1], opposite.ravel()])
    values = np.concatenate([end_weight, end_weight, opposite_weight.ravel()])
    return sp.csr_matrix((values, (rows, columns)), (len(edges), size))


def _adjacency(edges: np.ndarray, size: int) -> sp.csr_matrix:
    half = sp.csr_matrix((np.ones(len(edges)), edges.T), (size, size))
    return half + half.T
