import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from mofa_jax.mesh import area_normals, area_normals_vjp, build_topology
from mofa_jax.numerics import normalize_columns

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def fan(valence):
    """A disc of triangles around vertex 0."""
    boundary = 1 + np.arange(valence)
    return np.stack([np.zeros_like(boundary), boundary, np.roll(boundary, -1)], axis=1)


@jax.jit
def normals_of(vertices, topology):
    return normalize_columns(area_normals(vertices, topology))[0].T


def check(triangles, count, seed=0):
    vertices = np.random.default_rng(seed).normal(size=(count, 3))
    topology = build_topology(triangles, count)
    np.testing.assert_allclose(
        normals_of(jnp.asarray(vertices), topology),
        oracle.normals(vertices, np.asarray(triangles)),
        atol=1e-12,
    )


@pytest.mark.parametrize(
    "triangles",
    [
        TETRAHEDRON,
        fan(3),
        fan(74),
        np.array([[0, 1, 2]]),
        np.array([[0, 1, 2], [0, 3, 4]]),  # two fans that share a vertex
        np.array([[0, 1, 2], [0, 1, 3], [1, 0, 4]]),  # three triangles at an edge
        np.array([[0, 1, 1], [0, 1, 2]]),  # a degenerate triangle
    ],
)
def test_normals_are_the_sums_of_incident_triangles_on_any_mesh(float64, triangles):
    check(triangles, int(triangles.max()) + 2)  # the last vertex has no triangle


def test_normals_of_random_meshes(float64):
    rng = np.random.default_rng(1)
    for count in (5, 30):
        check(rng.integers(0, count, (40, 3)), count)


def test_closed_vertices_are_regular_and_the_rim_is_not():
    topology = build_topology(fan(6), 7)
    assert set(np.asarray(topology.irregular)) == set(range(1, 7))
    assert set(np.asarray(topology.ring[0])) == set(range(1, 7))


def test_gradient_of_area_normals_equals_that_of_the_plain_scatter(tiny_model, float64):
    triangles = np.asarray(tiny_model.triangles)
    vertices = jnp.asarray(tiny_model.mean_shape, jnp.float64)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=vertices.shape))

    def plain(v):
        a, b, c = (v[triangles[:, i]] for i in range(3))
        cross = jnp.cross(b - a, c - a)
        total = jnp.zeros_like(v)
        for i in range(3):
            total = total.at[triangles[:, i]].add(cross)
        return jnp.sum(weights * total)

    ring = jax.jit(area_normals_vjp)(vertices, weights, tiny_model.topology)
    np.testing.assert_allclose(ring.T, jax.jit(jax.grad(plain))(vertices), atol=1e-12)


def test_vertex_without_area_has_zero_normal_and_gradient():
    topology = build_topology(np.array([[0, 1, 2]]), 4)
    total = jax.jit(jax.value_and_grad(lambda v: jnp.sum(normals_of(v, topology))))
    value, gradient = total(jnp.zeros((4, 3)))
    assert value == 0 and not np.any(gradient)
