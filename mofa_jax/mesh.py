"""Triangle-mesh topology and vertex normals.

The one-ring sum behind a vertex normal is written as gathers, forwards and backwards: of a vertex
inside the surface, the ordered neighbors v_0 .. v_k-1 give the area-weighted normal as
sum_r (v_r - v) x (v_r+1 - v), and the gradient at the vertex is again a sum over the same ring,
sum_r (v_r-1 - v_r+1) x g_r, where g_r is the gradient at the neighbor's normal. The few vertices
without one closed short ring (on the boundary, in the middle of a patch's cap) are summed triangle
by triangle.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax.numerics import rows

_RING_COVERAGE = 0.99  # the ring is as wide as the valence that this share of vertices stays below


@struct.dataclass
class Topology:
    """Tables of a mesh with N vertices, made by `build_topology`.

    Attributes:
      ring: [K, N] int32, the ordered neighbors, the last one repeated; of an irregular vertex
        itself.
      irregular: [M] int32, the vertices without a closed ring of at most K neighbors.
      irregular_triangles: [P, 3] int32, the triangles that touch them.
      irregular_corners: [W, M] int32, the corners of these triangles that each of them is, numbered
        p + P c for corner c of triangle p; 3P for none.
    """

    ring: jax.Array
    irregular: jax.Array
    irregular_triangles: jax.Array
    irregular_corners: jax.Array


def build_topology(triangles: np.ndarray, num_vertices: int) -> Topology:
    """Tables of the mesh with the given `triangles` [F, 3], counter-clockwise seen from outside."""
    triangles = np.asarray(triangles, np.int64)
    ring, valence = _walk_rings(triangles, num_vertices)
    regular = valence > 0
    if regular.any():
        width = int(np.quantile(valence[regular], _RING_COVERAGE, method="higher"))
        regular &= valence <= width
        ring = ring[:, :width]
    ring = np.where(regular[:, None], ring, np.arange(num_vertices)[:, None])
    irregular = np.flatnonzero(~regular)
    touching = triangles[(~regular)[triangles].any(axis=1)]
    tables = (ring.T, irregular, touching, _corners_of(irregular, touching, num_vertices))
    return Topology(*(jnp.asarray(table.copy(), jnp.int32) for table in tables))


def _corners_of(vertices: np.ndarray, triangles: np.ndarray, num_vertices: int) -> np.ndarray:
    """[W, M]: the corners that each of the M vertices is, as in `Topology.irregular_corners`."""
    vertex_of = triangles.T.ravel()
    order = np.argsort(vertex_of, kind="stable")
    count = np.bincount(vertex_of, minlength=num_vertices)
    first = (np.cumsum(count) - count)[vertices]
    number = np.arange(count[vertices].max(initial=0))[:, None]
    order = np.append(order, len(order))  # the last one is none
    return order[np.where(number < count[vertices], first + number, len(order) - 1)]


def _walk_rings(triangles: np.ndarray, num_vertices: int) -> tuple[np.ndarray, np.ndarray]:
    """Each vertex's neighbors in order [N, max valence], and their number [N], 0 if no ring."""
    center = triangles.ravel()
    first = np.roll(triangles, -1, axis=1).ravel()
    second = np.roll(triangles, -2, axis=1).ravel()
    key = center * num_vertices + first
    order = np.argsort(key, kind="stable")
    key, second = key[order], second[order]
    count = np.bincount(center, minlength=num_vertices)
    start = np.concatenate([[0], np.cumsum(count)[:-1]])  # each vertex's first half-edge in `key`
    vertices = np.arange(num_vertices)
    neighbor = first[order][np.minimum(start, len(key) - 1)]
    ring = np.empty((num_vertices, max(count.max(), 1)), np.int64)
    length = np.zeros(num_vertices, np.int64)
    walking, begin = count > 0, neighbor.copy()
    for step in range(ring.shape[1]):
        ring[:, step] = neighbor
        place = np.minimum(np.searchsorted(key, vertices * num_vertices + neighbor), len(key) - 1)
        walking &= key[place] == vertices * num_vertices + neighbor
        neighbor = np.where(walking, second[place], neighbor)
        closed = walking & (neighbor == begin)
        length[closed] = step + 1
        walking &= ~closed
        neighbor = np.where(closed, ring[:, step], neighbor)
    manifold = np.ones(num_vertices, bool)
    manifold[(key // num_vertices)[1:][key[1:] == key[:-1]]] = False  # a half-edge used twice
    return ring, np.where(manifold & (length == count), length, 0)


def area_normals(vertices: jax.Array, topology: Topology) -> jax.Array:
    """Area-weighted normals, as columns [3, N]: the sums of the incident triangles' cross products.

    Args:
      vertices: [N, 3].
      topology: the mesh's tables.
    """
    ring = [rows(vertices, column) - vertices for column in topology.ring]
    normals = sum(_cross(a, b) for a, b in zip(ring, [*ring[1:], ring[0]], strict=True))
    a, b, c = (rows(vertices, corner) for corner in topology.irregular_triangles.T)
    return _set_irregular(normals, [_cross(b - a, c - a)] * 3, topology)


def area_normals_vjp(vertices: jax.Array, gradient: jax.Array, topology: Topology) -> jax.Array:
    """The gradient [3, N] at the vertices [N, 3] of that [N, 3] at `area_normals`, as gathers."""
    at_ring = [rows(gradient, column) for column in topology.ring]
    ring = [rows(vertices, column) for column in topology.ring]
    before, after = [ring[-1], *ring[:-1]], [*ring[1:], ring[0]]
    at_vertices = sum(_cross(b - a, g) for b, a, g in zip(before, after, at_ring, strict=True))
    corners = topology.irregular_triangles.T
    a, b, c = (rows(vertices, corner) for corner in corners)
    total = sum(rows(gradient, corner) for corner in corners)
    at_corners = [_cross(b - c, total), _cross(c - a, total), _cross(a - b, total)]
    return _set_irregular(at_vertices, at_corners, topology)


def _cross(a: jax.Array, b: jax.Array) -> jax.Array:
    """a x b of rows [N, 3], as columns [3, N]: rows are fast to gather, columns to work on."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return jnp.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _set_irregular(values: jax.Array, at_corners: list[jax.Array], topology: Topology) -> jax.Array:
    """`values` [3, N], the irregular vertices' replaced by the sums of their corners' [3, P].

    The sums are gathers as well: added up by a scatter, they would change from run to run on a GPU.
    """
    corners = jnp.concatenate([*at_corners, jnp.zeros((3, 1), values.dtype)], axis=1).T
    sums = jnp.sum(rows(corners, topology.irregular_corners), axis=0)
    return values.at[:, topology.irregular].set(sums.T, unique_indices=True)
