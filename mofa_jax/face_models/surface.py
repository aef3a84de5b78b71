"""Triangle surfaces: their boundaries and parts, and how their triangles are wound.

Throughout, `triangles` is [F, 3] vertex indices and a side of a triangle is a pair of its corners
in the triangle's winding.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def half_edges(triangles: np.ndarray) -> np.ndarray:
    """[3 F, 2] the directed half_edges; rows 3 f to 3 f + 2 belong to triangle f."""
    return np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)


def edge_ids(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Undirected edges [E, 2], the edge of each side [F, 3], the triangles at each edge [E]."""
    edges, ids, counts = np.unique(
        np.sort(half_edges(triangles), axis=1), axis=0, return_inverse=True, return_counts=True
    )
    return edges, ids.reshape(triangles.shape), counts


def without_degenerate(triangles: np.ndarray) -> np.ndarray:
    """The triangles of three different corners, each once."""
    proper = triangles[(np.diff(np.sort(triangles, axis=1), axis=1) > 0).all(axis=1)]
    _, first = np.unique(np.sort(proper, axis=1), axis=0, return_index=True)
    return proper[np.sort(first)]


def without_non_manifold_edges(triangles: np.ndarray) -> np.ndarray:
    """The triangles none of whose edges is shared by more than two (a surface has one or two)."""
    _, ids, counts = edge_ids(triangles)
    return triangles[(counts[ids] <= 2).all(axis=1)]


def largest_component(triangles: np.ndarray) -> np.ndarray:
    """The triangles of the largest connected component that hangs together by vertices."""
    size = int(triangles.max()) + 1
    ends = half_edges(triangles).T
    _, part = connected_components(coo_matrix((np.ones(ends.shape[1]), ends), (size, size)))
    of_triangle = part[triangles[:, 0]]
    return triangles[of_triangle == np.bincount(of_triangle).argmax()]


def with_clean_boundary(triangles: np.ndarray, smooth: bool = False) -> np.ndarray:
    """Without the triangles at boundaries that touch themselves: each boundary is a plain loop.

    Args:
      triangles: [F, 3].
      smooth: drop the triangles that hang on by one side, too.
    """
    while len(triangles):
        edges, ids, counts = edge_ids(triangles)
        is_open = counts[ids] == 1
        rim_degree = np.bincount(edges[counts == 1].ravel(), minlength=triangles.max() + 1)
        pinched = (rim_degree[triangles] > 2).any(axis=1)
        hanging = is_open.sum(axis=1) >= (2 if smooth else 3)
        drop = hanging | (pinched & is_open.any(axis=1))
        if not drop.any():
            break
        triangles = triangles[~drop]
    return triangles


def boundary_loops(triangles: np.ndarray) -> list[np.ndarray]:
    """The open boundaries' vertices in the order of the winding, the longest first.

    The surface must be wound consistently and have clean boundaries.
    """
    directed = half_edges(triangles)
    size = int(triangles.max()) + 1
    forward, backward = directed @ [size, 1], directed @ [1, size]
    following = dict(directed[~np.isin(forward, backward)].tolist())
    loops = []
    while following:
        vertex, loop = next(iter(following)), []
        while vertex in following:
            loop.append(vertex)
            vertex = following.pop(vertex)
        loops.append(np.array(loop))
    return sorted(loops, key=len, reverse=True)


def wound_alike(triangles: np.ndarray) -> np.ndarray | None:
    """The triangles turned so that neighbors agree in each part; None if no such turning exists.

    Each triangle and its turned copy are two nodes of a graph; an edge joins the two pairs that
    agree. Where no turning exists (as on a Moebius strip) the two nodes hang together.
    """
    count = len(triangles)
    _, ids, _ = edge_ids(triangles)
    order = np.argsort(ids.ravel(), kind="stable")
    shared = ids.ravel()[order][1:] == ids.ravel()[order][:-1]
    one, other = order[:-1][shared], order[1:][shared]
    directed = half_edges(triangles)
    agree = directed[one, 0] != directed[other, 0]
    f, g = one // 3, other // 3
    upright = np.concatenate([f, f + count])
    partner = np.concatenate([np.where(agree, g, g + count), np.where(agree, g + count, g)])
    graph = coo_matrix((np.ones(len(upright)), (upright, partner)), (2 * count, 2 * count))
    _, part = connected_components(graph, directed=False)
    if (part[:count] == part[count:]).any():
        return None
    turned = part[:count] > part[count:]
    return np.where(turned[:, None], triangles[:, ::-1], triangles)


def facing_outwards(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Consistently wound `triangles`, each part turned to be counter-clockwise seen from outside.

    Outside is away from a point well behind the surface's middle (for a closed part any point tells
    the same: its signed volume is positive).
    """
    size = len(vertices)
    ends = half_edges(triangles).T
    _, part = connected_components(coo_matrix((np.ones(ends.shape[1]), ends), (size, size)))
    part = part[triangles[:, 0]]
    used = vertices[np.unique(triangles)]
    behind = used.mean(axis=0) - [0, 0, np.ptp(used[:, 2])]
    a, b, c = (vertices[triangles[:, k]] - behind for k in range(3))
    volume = np.bincount(part, np.einsum("ij,ij->i", a, np.cross(b, c)))
    return np.where((volume < 0)[part][:, None], triangles[:, ::-1], triangles)


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Unit normals [N, 3], area-weighted; zero where there is no area."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    corners, area = triangles.T.ravel(), np.cross(b - a, c - a)
    sums = [np.bincount(corners, np.tile(column, 3), len(vertices)) for column in area.T]
    normals = np.stack(sums, axis=1)
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
