"""Rims, parts and winding of triangle surfaces; Loop's subdivision; nearest points."""

import numpy as np
import pytest
from face_files import small_face

from mofa_jax.face_models import surface
from mofa_jax.face_models.frontal_face import frontal_face
from mofa_jax.face_models.loop_subdivision import loop_subdivision
from mofa_jax.face_models.nearest import nearest_on_surface


def grid(size):
    """A flat square of 2 (size - 1)^2 triangles in the plane z = 0, seen from +z."""
    x, y = np.meshgrid(np.arange(size), np.arange(size))
    corner = np.arange(size * size).reshape(size, size)
    a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
    c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], 1).astype(float), triangles


def icosahedron():
    golden = (1 + 5**0.5) / 2
    corners = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    points = np.array([np.roll(corner, k) for k in range(3) for corner in corners], float)
    away = np.linalg.norm(points[:, None] - points[None], axis=-1)
    near = (away > 0) & (away < 2.1)
    triangles = [
        (i, j, k) if np.linalg.det(points[[i, j, k]]) > 0 else (i, k, j)
        for i in range(12)
        for j in range(i)
        for k in range(j)
        if near[i, j] and near[j, k] and near[i, k]
    ]
    return points, np.array(triangles)


@pytest.mark.parametrize("turned", [0.0, 0.3, 1.0])
def test_winding_is_restored_whatever_was_turned(turned):
    vertices, triangles = icosahedron()
    flip = np.random.default_rng(0).random(len(triangles)) < turned
    mixed = np.where(flip[:, None], triangles[:, ::-1], triangles)
    wound = surface.facing_outwards(surface.wound_alike(mixed), vertices)
    a, b, c = (vertices[wound[:, k]] for k in range(3))
    assert (np.einsum("ij,ij->i", a, np.cross(b - a, c - a)) > 0).all()


def test_a_moebius_strip_has_no_winding():
    count = 9
    i = np.arange(count)
    upper, lower = 2 * i, 2 * i + 1
    next_upper, next_lower = np.roll(upper, -1), np.roll(lower, -1)
    next_upper[-1], next_lower[-1] = lower[0], upper[0]
    strip = np.concatenate(
        [np.stack([upper, lower, next_upper], 1), np.stack([lower, next_lower, next_upper], 1)]
    )
    assert surface.wound_alike(strip) is None


def test_rims_are_followed_in_the_winding_and_the_longest_comes_first():
    vertices, triangles = grid(7)
    middle = 3 * 7 + 3
    ring = triangles[~(triangles == middle).any(axis=1)]
    outer, hole = surface.boundary_loops(ring)
    assert len(outer) == 24 and len(hole) == 6
    x, y = vertices[outer, 0], vertices[outer, 1]
    assert np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) > 0  # counter-clockwise


def test_a_rim_that_touches_itself_is_cleaned():
    _, triangles = grid(6)
    bow_tie = triangles[(triangles < 12).all(axis=1) | (triangles >= 11).all(axis=1)]
    clean = surface.with_clean_boundary(bow_tie)
    edges, _, counts = surface.edge_ids(clean)
    assert (np.bincount(edges[counts == 1].ravel())[np.unique(clean)] <= 2).all()


def test_degenerate_doubled_and_non_manifold_triangles_are_found():
    _, triangles = grid(4)
    dirty = np.concatenate([triangles, triangles[:2, [1, 2, 0]], [[3, 3, 5]]])
    np.testing.assert_array_equal(surface.without_degenerate(dirty), triangles)
    fin = np.concatenate([triangles, [[*triangles[0, :2], 16]], [[*triangles[0, 1::-1], 17]]])
    assert len(surface.without_non_manifold_edges(fin)) < len(triangles)
    np.testing.assert_array_equal(surface.without_non_manifold_edges(triangles), triangles)


def test_the_largest_component_is_found():
    _, triangles = grid(5)
    both = np.concatenate([triangles, [[30, 31, 32]]])
    np.testing.assert_array_equal(surface.largest_component(both), triangles)


def test_the_frontal_face_of_a_face_is_one_part_with_its_landmarks():
    face = small_face(33)
    inside = frontal_face(face.mean, face.triangles, face.mean[face.landmarks])
    assert len(surface.boundary_loops(inside)) == 1
    assert np.isin(face.landmarks[17:], inside).all()


def test_loop_subdivision_keeps_linear_fields_and_the_plane():
    vertices, triangles = grid(6)
    matrix, refined = loop_subdivision(triangles, len(vertices))
    np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1)
    fine = matrix @ vertices
    assert len(refined) == 4 * len(triangles) and (fine[:, 2] == 0).all()
    a, b, c = (fine[refined[:, k]] for k in range(3))
    area = np.cross(b - a, c - a)[:, 2] / 2
    assert (area > 0).all()
    # The boundary's corners are rounded off; all else of the square is covered.
    assert 24.5 < area.sum() < 25


def test_loop_subdivision_has_warrens_weights_inside():
    """Valence 5: an old vertex is 5/8 of itself and 3/40 of each neighbor; edges 3/8 and 1/8."""
    vertices, triangles = icosahedron()
    matrix, refined = loop_subdivision(triangles, 12)
    fine = matrix @ vertices
    around = np.setdiff1d(np.unique(triangles[(triangles == 0).any(axis=1)]), [0])
    expected = vertices[0] * 5 / 8 + vertices[around].sum(axis=0) * 3 / 40
    np.testing.assert_allclose(fine[0], expected)
    a, b, _ = triangles[0]
    both = triangles[np.isin(triangles, [a, b]).sum(axis=1) == 2]
    opposite = np.setdiff1d(np.unique(both), [a, b])
    expected = (vertices[a] + vertices[b]) * 3 / 8 + vertices[opposite].sum(axis=0) / 8
    assert np.isclose(fine[12:], expected).all(axis=1).sum() == 1
    assert refined.max() == len(fine) - 1 and len(fine) == 12 + 30


def test_nearest_points_equal_a_dense_search():
    vertices, triangles = icosahedron()
    rng = np.random.default_rng(2)
    points = rng.normal(size=(60, 3)) * 2
    corners, weights, distance = nearest_on_surface(points, None, vertices, triangles)
    grid_weights = np.array([(i, j, 60 - i - j) for i in range(61) for j in range(61 - i)]) / 60
    samples = np.einsum("sk,fkd->fsd", grid_weights, vertices[triangles]).reshape(-1, 3)
    dense = np.linalg.norm(points[:, None] - samples[None], axis=-1).min(axis=1)
    np.testing.assert_allclose(distance, dense, atol=0.03)
    assert (distance <= dense + 1e-12).all()
    found = np.einsum("pk,pkd->pd", weights, vertices[corners])
    np.testing.assert_allclose(np.linalg.norm(found - points, axis=1), distance)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights >= -1e-12).all()


def test_of_two_layers_the_one_that_faces_the_same_way_is_nearest():
    vertices, triangles = grid(5)
    both = np.concatenate([vertices * 0.1, vertices * 0.1 + [0, 0, 0.01]])
    layers = np.concatenate([triangles[:, ::-1], triangles + len(vertices)])
    point, normal = np.array([[0.21, 0.22, 0.004]]), np.array([[0, 0, 1.0]])
    corners, _, _ = nearest_on_surface(point, normal, both, layers)
    assert (corners >= len(vertices)).all()
    corners, _, _ = nearest_on_surface(point, -normal, both, layers)
    assert (corners < len(vertices)).all()
