"""Patches that close a face's eyes and mouth move with their boundaries."""

from dataclasses import replace

import numpy as np
from face_files import small_face

from mofa_jax.face_models.holes import close_holes
from mofa_jax.face_models.raw_model import RawModel
from mofa_jax.face_models.surface import boundary_loops, edge_ids, with_clean_boundary


def face_with_holes():
    """The small face without the triangles around the middles of its mouth and left eye."""
    face = small_face(41)
    middles = (face.mean[face.landmarks[48:60]].mean(0), face.mean[face.landmarks[42:48]].mean(0))
    centers = face.mean[face.triangles].mean(axis=1)
    radii = np.array([0.18, 0.12])
    away = np.stack([np.linalg.norm(centers - middle, axis=1) for middle in middles])
    kept = with_clean_boundary(face.triangles[(away > radii[:, None]).all(axis=0)])
    raw = RawModel(
        face.mean,
        face.shape,
        face.expression,
        face.triangles,
        "small",
        "none",
        face.landmarks,
        mean_reflectance=face.color,
        reflectance_basis=face.color_basis,
    )
    positions = raw.landmark_positions()
    return replace(raw.keep_triangles(kept), landmark_points=positions)


def test_only_the_outer_rim_stays_open_and_the_surface_is_a_manifold():
    holed = face_with_holes()
    assert len(boundary_loops(holed.triangles)) == 3
    closed = close_holes(holed)
    (boundary,) = boundary_loops(closed.triangles)
    assert len(boundary) == 160
    assert (edge_ids(closed.triangles)[2] <= 2).all()
    assert closed.notes[-1] == "closed 2 holes by patches"
    # A disc: vertices - edges + triangles = 1.
    edges = len(edge_ids(closed.triangles)[0])
    assert closed.num_vertices - edges + len(closed.triangles) == 1


def test_all_triangles_face_the_viewer_after_closing():
    closed = close_holes(face_with_holes())
    a, b, c = (closed.mean_shape[closed.triangles[:, k]] for k in range(3))
    assert (np.cross(b - a, c - a)[:, 2] > 0).mean() > 0.97


def test_a_patch_goes_where_its_rim_goes():
    holed = face_with_holes()
    shift = np.array([0.3, -0.2, 1.0])
    moved = replace(
        holed,
        mean_shape=holed.mean_shape + shift,
        landmark_points=holed.landmark_points + shift,
        expression_basis=np.broadcast_to(shift[:, None], (holed.num_vertices, 3, 1)),
    )
    patch, moved_patch = (close_holes(m) for m in (holed, moved))
    np.testing.assert_allclose(moved_patch.mean_shape, patch.mean_shape + shift, atol=1e-12)
    np.testing.assert_allclose(
        moved_patch.expression_basis[..., 0], moved_patch.mean_shape * 0 + shift
    )


def test_a_patch_is_flat_when_its_opening_has_no_height():
    """Closed lids: a mode that takes all heights away takes the bulge away, too."""
    holed = face_with_holes()
    closing = np.zeros((holed.num_vertices, 3, 1))
    closing[:, 1, 0] = -holed.mean_shape[:, 1]
    closed = close_holes(replace(holed, expression_basis=closing))
    shut = closed.mean_shape + closed.expression_basis[..., 0]
    for boundary in boundary_loops(holed.triangles)[1:]:
        z = shut[boundary, 2]
        middle = closed.mean_shape[boundary].mean(axis=0)
        new = np.arange(holed.num_vertices, closed.num_vertices)
        near = new[np.linalg.norm(closed.mean_shape[new] - middle, axis=1) < 0.3]
        assert len(near) and (shut[near, 2] > z.min() - 1e-9).all()
        assert (shut[near, 2] < z.max() + 1e-9).all()


def test_a_basis_moves_the_patch_as_the_mean_of_the_moved_rim_would():
    holed = face_with_holes()
    count, coefficients = holed.num_vertices, np.array([0.5, -1, 0.3, 0.2])
    closed = close_holes(holed)
    patch = (closed.mean_shape + closed.expression_basis @ coefficients)[count:]
    motion = holed.expression_basis @ coefficients
    # The same linear map applied to the motion alone: sums to what the mean and the basis give.
    alone = close_holes(replace(holed, expression_basis=motion[..., None])).expression_basis
    np.testing.assert_allclose(patch, (closed.mean_shape + alone[..., 0])[count:], atol=1e-12)


def test_eyes_bulge_and_the_mouth_goes_in_and_both_are_marked():
    holed = face_with_holes()
    closed = close_holes(holed)
    new = np.arange(holed.num_vertices, closed.num_vertices)
    in_mouth = new[closed.mouth_inside[new] == 1]
    in_eye = np.setdiff1d(new, in_mouth)
    assert len(in_mouth) and len(in_eye) and (closed.mouth_inside[: holed.num_vertices] == 0).all()
    assert closed.mean_shape[in_mouth, 1].max() < closed.mean_shape[in_eye, 1].min()
    flat = replace(holed, landmarks=np.full(68, -1), landmark_points=None)
    rim_z = closed.mean_shape[np.unique(boundary_loops(holed.triangles)[1]), 2].mean()
    assert closed.mean_shape[in_mouth, 2].min() < rim_z - 0.05
    assert len(boundary_loops(close_holes(flat).triangles)) == 1
