"""Catmull-Clark subdivision of a quadrilateral mesh as a fixed sparse matrix.

Catmull and Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", 1978;
open borders follow the uniform cubic B-spline curve rule. The matrix maps any field on the coarse
vertices (positions, basis columns, texture coordinates) to the refined vertices.
"""

import numpy as np
import scipy.sparse as sp


def catmull_clark(quads: np.ndarray, num_vertices: int) -> tuple[sp.csr_matrix, np.ndarray]:
    """One step of Catmull-Clark.

    Args:
      quads: [F, 4] vertex indices of a manifold mesh, all wound the same way.
      num_vertices: n, coarse vertices; each belongs to at least one quad.

    Returns:
      matrix: [n + E + F, n] float64: rows for the old vertices, the E edges, the F faces; each
        row sums to one.
      refined: [4 F, 4] quads over the refined vertices, wound as `quads`.
    """
    edges, edge_of_side, faces_of_edge = edge_table(quads)
    num_edges, num_faces = len(edges), len(quads)
    to_faces = _incidence(quads, np.arange(num_faces), (num_faces, num_vertices)) / 4
    midpoints = _incidence(edges, np.arange(num_edges), (num_edges, num_vertices)) / 2
    edge_faces = _incidence(
        np.arange(num_faces)[:, None], edge_of_side, (num_edges, num_faces), transposed=True
    )
    inner = sp.diags((faces_of_edge == 2).astype(float))
    edge_points = midpoints + inner @ (edge_faces @ to_faces / 4 - midpoints / 2)
    vertex_points = _vertex_points(quads, edges, faces_of_edge, to_faces)
    matrix = sp.vstack([vertex_points, edge_points, to_faces])
    corner, side = quads, num_vertices + edge_of_side
    center = np.broadcast_to(num_vertices + num_edges + np.arange(num_faces)[:, None], quads.shape)
    refined = np.stack([corner, side, center, np.roll(side, 1, axis=1)], axis=-1)
    return sp.csr_matrix(matrix), refined.reshape(-1, 4)


def edge_table(quads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges [E, 2], each side's edge [F, 4] (side k joins corners k and k + 1), faces per edge."""
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, inverse, count = np.unique(
        np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return edges, inverse.reshape(quads.shape), count


def _incidence(columns, rows, shape, transposed=False) -> sp.csr_matrix:
    """0/1 matrix with a one at (rows[i], columns[i, k]), or at (columns, rows) swapped in role."""
    if transposed:
        row, column = rows.ravel(), np.broadcast_to(columns, rows.shape).ravel()
    else:
        row, column = np.repeat(rows, columns.shape[1]), columns.ravel()
    return sp.csr_matrix((np.ones(len(row)), (row, column)), shape)


def _vertex_points(quads, edges, faces_of_edge, to_faces) -> sp.csr_matrix:
    """Old vertices: (mean face point + 2 mean edge midpoint + (v - 3) old) / v, valence v."""
    n = to_faces.shape[1]
    around = _incidence(quads, np.arange(len(quads)), to_faces.shape).T
    ends = _incidence(edges, np.arange(len(edges)), (len(edges), n))
    border_ends = ends[faces_of_edge == 1]
    neighbors = ends.T @ ends
    neighbors.setdiag(0)
    valence = np.asarray(neighbors.sum(axis=1)).ravel()
    on_border = np.asarray(border_ends.sum(axis=0)).ravel() > 0
    inside = (
        sp.diags(1 / valence**2) @ (around @ to_faces)
        + sp.diags(1 / valence**2) @ (neighbors + sp.diags(valence))
        + sp.diags((valence - 3) / valence)
    )
    along = border_ends.T @ border_ends
    along.setdiag(0)
    border = along / 8 + sp.identity(n) * 0.75
    return (
        sp.diags((~on_border).astype(float)) @ inside + sp.diags(on_border.astype(float)) @ border
    )


def smooth_border(matrix: sp.csr_matrix, border: np.ndarray, passes: int) -> sp.csr_matrix:
    """Lets the `border` loop follow a smooth curve: weights 1/4, 1/2, 1/4, `passes` times.

    Args:
      matrix: [N, n] refinement matrix.
      border: vertex indices along the closed open border, in order.
      passes: how many times the loop is averaged.
    """
    size = len(border)
    around = np.arange(size)
    step = sp.csr_matrix(
        (
            np.concatenate([np.full(size, 0.5), np.full(2 * size, 0.25)]),
            (np.tile(around, 3), np.concatenate([around, around - 1, around + 1]) % size),
        ),
        (size, size),
    )
    rows = matrix[border]
    for _ in range(passes):
        rows = step @ rows
    place = np.full(matrix.shape[0], -1)
    place[border] = np.arange(size)
    stacked = sp.vstack([matrix, rows]).tocsr()
    return stacked[np.where(place < 0, np.arange(matrix.shape[0]), matrix.shape[0] + place)]
