"""The built-in open face model: its arrays, its surface, its colors, and its subdivision."""

import time

import numpy as np
import pytest

from mofa_jax.face_models.open_face import ASSET, OpenFaceError, load_open_face, unpack
from mofa_jax.face_models.subdivision import catmull_clark, smooth_border
from mofa_jax.files.npz import read_npz
from mofa_jax.landmarks import FLIP_PERMUTATION

# Monk Skin Tone scale, E. Monk 2019, sRGB.
_LIGHT_TONES = ("f6ede4", "f3e7db", "f7ead0", "eadaba", "d7bd96")
_DARK_TONES = ("a07e56", "825c43", "604134", "3a312a", "292420")
MONK_TONES = (*_LIGHT_TONES, *_DARK_TONES)


@pytest.fixture(scope="module")
def model():
    return load_open_face()


def test_sizes_give_the_papers_code_of_257_entries(model):
    assert 20_000 <= len(model["mean_shape"]) <= 30_000
    modes = [model[f"{part}_basis"].shape[-1] for part in ("shape", "expression", "reflectance")]
    assert sum(modes) + 3 + 3 + 27 == 257
    assert {model[k].dtype for k in model if "basis" in k or "mean" in k} == {np.dtype("float32")}


def test_the_file_is_small_and_loads_quickly(model):
    assert ASSET.stat().st_size <= 6_000_000
    times = []
    for _ in range(2):
        start = time.process_time()
        load_open_face()
        times.append(time.process_time() - start)
    assert min(times) < 1.0


def test_loading_twice_gives_the_same_bits(model):
    again = load_open_face()
    assert all(np.array_equal(again[key], model[key]) for key in model)


def test_bits_do_not_depend_on_the_order_in_which_a_machine_adds(model):
    packed = read_npz(ASSET)
    order = np.random.default_rng(0).permutation(packed["patterns"].shape[1])
    packed["patterns"] = packed["patterns"][:, order]
    packed["pattern_mixing"] = packed["pattern_mixing"][order]
    reflectance = unpack(packed)["reflectance_basis"]
    np.testing.assert_array_equal(reflectance, model["reflectance_basis"])
    patterns, mixing = (packed[key].astype(np.float64) for key in ("patterns", "pattern_mixing"))
    exact = np.einsum("nk,kcr->ncr", patterns[:200], mixing)
    np.testing.assert_allclose(reflectance[:200], exact, atol=1e-6 * np.abs(exact).max())


def test_all_values_are_finite(model):
    assert all(np.isfinite(v).all() for v in model.values() if v.dtype.kind == "f")


@pytest.mark.parametrize("part", ["shape", "expression", "reflectance"])
def test_modes_are_orthogonal_and_fall(model, part):
    basis = model[f"{part}_basis"].astype(np.float64)
    gram = np.einsum("nck,ncl->kl", basis, basis, optimize=True)
    sigma = np.sqrt(np.diag(gram))
    assert np.abs(gram / np.outer(sigma, sigma) - np.eye(len(gram))).max() < 0.01
    assert (np.diff(sigma) <= 1e-3 * sigma[:-1]).all()


def test_the_centroid_of_the_inner_landmarks_is_where_the_conventions_put_it(model):
    centroid = model["mean_shape"][model["landmarks"][17:]].mean(0)
    np.testing.assert_allclose(centroid, [0, 0.04, 0], atol=1e-5)


def test_landmarks_are_68_different_vertices_and_mirror_each_other(model):
    landmarks = model["landmarks"]
    assert len(set(landmarks.tolist())) == 68 and landmarks.min() >= 0
    points = model["mean_shape"][landmarks]
    mirrored = points[FLIP_PERMUTATION] * [-1, 1, 1]
    assert np.linalg.norm(mirrored - points, axis=1).max() < 0.03  # 3 mm
    assert points[36, 0] < 0 < points[45, 0]  # the subject's right eye is at the viewer's left


def test_the_average_face_has_an_adults_size(model):
    points = model["mean_shape"][model["landmarks"]]
    pupils = np.linalg.norm(points[36:42].mean(0) - points[42:48].mean(0))
    assert 0.60 < pupils < 0.66  # Dodgson 2004: 63 mm
    assert 1.05 < np.linalg.norm(points[27] - points[8]) < 1.35  # nasion to chin: 110-130 mm


def test_the_surface_is_one_disc_open_only_at_its_boundary(model):
    triangles = model["triangles"].astype(np.int64)
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], -1).reshape(-1, 2)
    assert len(np.unique(sides, axis=0)) == len(sides)  # wound alike: each direction once
    edges, count = np.unique(np.sort(sides, axis=1), axis=0, return_counts=True)
    assert count.max() == 2
    boundary = edges[count == 1]
    assert (np.unique(boundary, return_counts=True)[1] == 2).all()
    assert np.array_equal(np.unique(triangles), np.arange(len(model["mean_shape"])))
    assert len(model["mean_shape"]) - len(edges) + len(triangles) == 1  # Euler: a disc
    following = {a: b for a, b in _directed_boundary(sides)}
    start = vertex = next(iter(following))
    steps = 0
    while steps == 0 or vertex != start:
        vertex, steps = following[vertex], steps + 1
    assert steps == len(boundary)  # one loop


def _directed_boundary(sides):
    present = {tuple(side) for side in sides.tolist()}
    return [(a, b) for a, b in present if (b, a) not in present]


def test_triangles_face_outwards(model):
    a, b, c = model["mean_shape"][model["triangles"]].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    assert normals[:, 2].sum() > 0
    assert (normals[:, 2] > 0).mean() > 0.85
    tip = model["landmarks"][30]
    around = (model["triangles"] == tip).any(1)
    assert (normals[around, 2] > 0).all()


def test_texture_coordinates_lie_in_the_unit_square_upright_and_without_folds(model):
    uv = model["uv"]
    assert uv.min() >= 0 and uv.max() <= 1
    marks = uv[model["landmarks"]]
    assert marks[27, 1] > marks[8, 1] + 0.2 and marks[45, 0] > marks[36, 0] + 0.2
    a, b, c = uv[model["triangles"]].transpose(1, 0, 2).astype(np.float64)
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).mean() > 0.98


def test_the_average_reflectance_has_the_parts_of_a_face(model):
    points, color = model["mean_shape"], model["mean_reflectance"]
    assert color.min() >= 0 and color.max() <= 1
    marks = points[model["landmarks"]]

    def patch(place, radius):
        near = np.linalg.norm(points[:, :2] - place[:2], axis=1) < radius
        return color[near & (points[:, 2] > -0.2)].mean(0)

    forehead = patch(marks[[21, 22]].mean(0) + np.array([0, 0.25, 0]), 0.08)
    lips = patch(marks[[57, 66]].mean(0), 0.02)
    brow = patch(marks[19], 0.02)
    pupil = patch(marks[36:42].mean(0), 0.02)
    assert forehead[0] > forehead[1] > forehead[2]
    assert lips[0] / lips[1] > 1.1 * forehead[0] / forehead[1]
    assert brow.mean() < 0.8 * forehead.mean()
    assert pupil.mean() < 0.5 * forehead.mean()


@pytest.mark.parametrize("tone", MONK_TONES)
def test_every_monk_skin_tone_is_reached_within_two_and_a_half_sigma(model, tone):
    """The least code that gives cheeks and forehead the tone at full ambient light."""
    goal = np.array([int(tone[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    skin = _skin(model)
    mean = model["mean_reflectance"][skin].mean(0).astype(np.float64)
    effect = model["reflectance_basis"][skin].mean(0).astype(np.float64)  # [3, R]
    code = effect.T @ np.linalg.solve(effect @ effect.T, goal - mean)
    assert np.abs(code).max() <= 2.5
    reached = (model["mean_reflectance"][skin] + model["reflectance_basis"][skin] @ code).mean(0)
    np.testing.assert_allclose(reached, goal, atol=2e-3)


def _skin(model):
    points, marks = model["mean_shape"], model["mean_shape"][model["landmarks"]]
    places = [marks[[2, 31]].mean(0), marks[[14, 35]].mean(0), marks[27] + [0, 0.4, 0]]
    return np.any([np.linalg.norm(points[:, :2] - p[:2], axis=1) < 0.12 for p in places], axis=0)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(OpenFaceError, match=r"nowhere\.npz.*build_open_model"):
        load_open_face(tmp_path / "nowhere.npz")


def test_a_file_cut_short_is_named(tmp_path):
    path = tmp_path / "short.npz"
    path.write_bytes(ASSET.read_bytes()[:100_000])
    with pytest.raises(OpenFaceError, match=r"short\.npz"):
        load_open_face(path)


def test_a_cubes_corner_moves_to_five_ninths():
    """Catmull-Clark by hand: valence 3, (mean face point + 2 mean edge midpoint) / 3 = 5/9."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array(
        [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    )
    matrix, refined = catmull_clark(quads, 8)
    points = matrix @ corners
    np.testing.assert_allclose(points[:8], corners * 5 / 9)
    assert points.shape == (8 + 12 + 6, 3) and refined.shape == (24, 4)
    np.testing.assert_allclose(np.abs(points[20:]).sum(1), 1)  # face points


def _grid(size):
    index = np.arange(size * size).reshape(size, size)
    quads = np.stack([index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]], -1)
    return quads.reshape(-1, 4), index


def test_on_a_regular_grid_subdivision_is_the_cubic_b_splines():
    quads, index = _grid(6)
    matrix, _ = catmull_clark(quads, 36)
    values = np.random.default_rng(0).normal(size=(6, 6))
    weights = np.array([1, 6, 1]) / 8
    expected = weights @ values[1:4, 2:5] @ weights
    np.testing.assert_allclose((matrix @ values.ravel())[index[2, 3]], expected)


def test_subdivision_keeps_planes_and_its_rows_sum_to_one():
    quads, _ = _grid(5)
    matrix, refined = catmull_clark(quads, 25)
    x, y = np.meshgrid(np.arange(5.0), np.arange(5.0))
    plane = np.stack([x.ravel(), y.ravel(), 2 * x.ravel() - y.ravel()], 1)
    points = matrix @ plane
    np.testing.assert_allclose(np.asarray(matrix.sum(1)).ravel(), 1)
    np.testing.assert_allclose(points[:, 2], 2 * points[:, 0] - points[:, 1], atol=1e-12)
    a, b, c, d = points[refined][..., :2].transpose(1, 0, 2)
    across = (c - a)[:, 0] * (d - b)[:, 1] - (c - a)[:, 1] * (d - b)[:, 0]
    assert (across > 0).all()  # wound as before


def test_border_smoothing_moves_the_border_alone():
    quads, index = _grid(5)
    matrix, _ = catmull_clark(quads, 25)
    border = np.concatenate([index[0], index[1:, -1], index[-1, -2::-1], index[-2:0:-1, 0]])
    smoothed = smooth_border(matrix, border, 1)
    values = np.random.default_rng(1).normal(size=25)
    before, after = matrix @ values, smoothed @ values
    expected = before.copy()
    ring = before[border]
    expected[border] = 0.5 * ring + 0.25 * np.roll(ring, 1) + 0.25 * np.roll(ring, -1)
    np.testing.assert_allclose(after, expected, atol=1e-12)
