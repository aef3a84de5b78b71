"""The rasterizer against a z-buffer that walks over every triangle's pixels in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mofa_jax
from mofa_jax.rasterizer import interpolate, rasterize, rasterize_ids

EDGE = 1e-3  # px: nearer to an edge than this, either answer is right


def brute_force(screen, depth, triangles, size, edge):
    """Nearest depths of the surely covered pixels, and each pixel's possible triangles.

    Returns surely [H, W], depths, inf if none, and {(row, column, triangle): (depth, *weights)}.
    """
    screen, depth = np.asarray(screen, np.float64), np.asarray(depth, np.float64)
    points, depths = screen[triangles], depth[triangles]
    sides = np.roll(points, -2, axis=1) - np.roll(points, -1, axis=1)  # opposite to each corner
    area = _cross(sides[:, 2], -sides[:, 1])
    first = np.ceil(points.min(1) - 0.5 - edge).clip(0, size[::-1]).astype(int)
    end = np.floor(points.max(1) + 0.5 + edge).clip(0, size[::-1]).astype(int)
    surely, possible = np.full(size, np.inf), {}
    for k in np.flatnonzero((area < 0) & (end > first).all(1)):
        rows, columns = np.mgrid[first[k, 1] : end[k, 1], first[k, 0] : end[k, 0]]
        rows, columns = rows.ravel(), columns.ravel()
        centers = np.stack([columns, rows], axis=1) + 0.5
        double = -np.stack(
            [_cross(sides[k, i], centers - points[k, (i + 1) % 3]) for i in range(3)], axis=1
        )
        inside = (double / np.linalg.norm(sides[k], axis=1)).min(1)  # px to the nearest edge
        weights = np.maximum(double, 0) / np.maximum(double, 0).sum(1, keepdims=True) / depths[k]
        distance = 1 / weights.sum(1)
        weights *= distance[:, None]
        for i in np.flatnonzero(inside > -edge):
            possible[rows[i], columns[i], k] = distance[i], *weights[i]
            if inside[i] > edge:
                surely[rows[i], columns[i]] = min(surely[rows[i], columns[i]], distance[i])
    return surely, possible


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def assert_agrees(screen, depth, triangles, size, edge=EDGE, tolerance=1e-4):
    ids, weights = (np.asarray(x) for x in rasterize_ids(screen, depth, triangles, image_size=size))
    surely, possible = brute_force(screen, depth, np.asarray(triangles), size, edge)
    np.testing.assert_array_equal(weights[ids < 0], 0)
    np.testing.assert_allclose(weights[ids >= 0].sum(1), 1, atol=1e-6)
    assert (ids[np.isfinite(surely)] >= 0).all()
    rows, columns = np.nonzero(ids >= 0)
    places = zip(rows, columns, ids[rows, columns], strict=True)
    expected = np.array([possible[place] for place in places])
    assert (expected[:, 0] <= surely[rows, columns] * (1 + 1e-5)).all()
    np.testing.assert_allclose(weights[rows, columns], expected[:, 1:], atol=tolerance)
    return ids


def random_triangles(seed, count, low, high):
    rng = np.random.default_rng(seed)
    screen = rng.uniform(low, high, (3 * count, 2)).astype(np.float32)
    depth = rng.uniform(1, 20, 3 * count).astype(np.float32)
    return screen, depth, np.arange(3 * count, dtype=np.int32).reshape(count, 3)


def quad(low, high, depth, first=0):
    """Two triangles facing the viewer: a square [low, high]^2."""
    corners = np.array([[low, low], [low, high], [high, high], [high, low]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32) + first
    return corners, np.full(4, depth, np.float32), triangles


@pytest.mark.parametrize("seed", range(3))
def test_random_triangles_agree_with_brute_force(seed):
    ids = assert_agrees(*random_triangles(seed, 60, -15, 55), (32, 40))
    assert (ids >= 0).mean() > 0.5


def test_small_triangles_agree_with_brute_force():
    rng = np.random.default_rng(4)
    screen, depth, triangles = random_triangles(4, 400, -2, 2)
    screen += np.repeat(rng.uniform(0, 40, (400, 2)), 3, axis=0).astype(np.float32)
    assert_agrees(screen, depth, triangles, (32, 40), tolerance=1e-3)


def test_huge_triangles_agree_with_brute_force():
    ids = assert_agrees(*random_triangles(5, 40, -2e4, 2e4), (32, 40), edge=0.05, tolerance=2e-3)
    assert (ids >= 0).any()


def test_a_real_face_agrees_with_brute_force(real_model):
    cam = mofa_jax.Camera()
    rng = np.random.default_rng(6)
    params = mofa_jax.FaceParams.neutral(real_model).replace(
        shape=jnp.asarray(rng.normal(size=80), jnp.float32),
        rotation=jnp.array([0.2, 0.7, -0.1]),
    )
    rendering = jax.jit(mofa_jax.render)(params, real_model, cam)
    depth = -rendering.vertices[:, 2]
    ids = assert_agrees(rendering.screen, depth, real_model.triangles, (240, 240), tolerance=1e-2)
    assert 0.2 < (ids >= 0).mean() < 0.7


def test_a_triangle_facing_away_is_not_drawn():
    screen, depth, triangles = quad(2, 8, 5.0)
    ids, _ = rasterize_ids(screen, depth, triangles[:, ::-1], image_size=(10, 10))
    assert (ids == -1).all()


def test_pixel_centers_are_at_a_half():
    screen, depth, triangles = quad(2.6, 5.4, 5.0)
    ids, _ = rasterize_ids(screen, depth, triangles, image_size=(10, 10))
    rows, columns = np.nonzero(np.asarray(ids) >= 0)
    assert sorted(set(rows)) == sorted(set(columns)) == [3, 4]


def test_the_first_of_two_equal_triangles_is_seen():
    screen, depth, triangles = quad(1, 9, 5.0)
    ids, _ = rasterize_ids(screen, depth, np.concatenate([triangles] * 2), image_size=(10, 10))
    assert ids.max() == 1


@pytest.mark.parametrize("step", [1.0, 0.5, 0.37, 3.3])
def test_a_closed_surface_has_no_holes(step):
    size = 24
    line = np.arange(0.5 - 2 * step, size + 2 * step, step)
    count = len(line)
    jitter = np.random.default_rng(7).uniform(-0.2, 0.2, (count, count, 2)) * step * (step != 1.0)
    screen = (np.stack(np.meshgrid(line, line), axis=-1) + jitter).reshape(-1, 2)
    a = np.arange(count * count).reshape(count, count)[:-1, :-1].ravel()
    right, down = a + 1, a + count
    triangles = np.concatenate(
        [np.stack([a, down, right], 1), np.stack([right, down, down + 1], 1)]
    )
    arguments = (screen.astype(np.float32), np.ones(len(screen), np.float32), triangles)
    ids, _ = rasterize_ids(*arguments, image_size=(size, size))
    assert (ids >= 0).all()


@pytest.mark.parametrize("bad", [0.0, -3.0, np.nan, np.inf, -np.inf])
def test_a_triangle_with_a_corner_at_or_behind_the_camera_is_dropped(bad):
    screen, depth, triangles = quad(2, 8, 5.0)
    depth[1] = bad  # of the first triangle only
    ids, weights = rasterize_ids(screen, depth, triangles, image_size=(10, 10))
    assert set(np.unique(ids)) == {-1, 1}
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("bad", [1e20, -1e38, np.nan, np.inf])
def test_a_triangle_with_a_corner_out_of_range_is_dropped(bad):
    screen, depth, triangles = quad(2, 8, 5.0)
    screen[3] = bad  # of the second triangle only
    ids, weights = rasterize_ids(screen, depth, triangles, image_size=(10, 10))
    assert set(np.unique(ids)) == {-1, 0}
    assert np.isfinite(weights).all()


def test_degenerate_triangles_do_no_harm():
    rng = np.random.default_rng(8)
    point = np.full((3, 2), 5.5)
    line = np.array([[0.5, 0.5], [4.5, 4.5], [9.5, 9.5]])
    slivers = [line + rng.normal(0, 10.0**-k, (3, 2)) for k in range(3, 12)]
    screen = np.concatenate([point, line, *slivers]).astype(np.float32)
    triangles = np.arange(len(screen), dtype=np.int32).reshape(-1, 3)
    depth = rng.uniform(1e-2, 1e12, len(screen)).astype(np.float32)
    _, weights = rasterize_ids(screen, depth, triangles, image_size=(10, 10))
    assert np.isfinite(weights).all()
    total = np.asarray(weights).sum(-1)
    np.testing.assert_allclose(total[total > 0], 1, atol=1e-5)


def test_more_fragments_than_a_chunk_holds_are_all_drawn():
    rng = np.random.default_rng(9)
    layers, size = 300, 64
    depths = rng.permutation(layers).astype(np.float32) + 1
    quads = [quad(-3, size + 3, d, first=4 * k) for k, d in enumerate(depths)]
    screen, depth, triangles = (np.concatenate(part) for part in zip(*quads, strict=True))
    ids, _ = rasterize_ids(screen, depth, triangles, image_size=(size, size))
    np.testing.assert_array_equal(np.unique(ids // 2), [np.argmin(depths)])
    surface, _ = rasterize_ids(screen[:-4], depth[:-4], triangles[:-2], image_size=(size, size))
    np.testing.assert_array_equal(np.unique(surface // 2), [np.argmin(depths[:-1])])


def test_attributes_are_interpolated_on_the_surface_not_on_the_screen():
    cam = mofa_jax.Camera(focal=40.0, principal_point=(16.0, 12.0), image_size=(24, 32))
    points = np.array([[-3, -2, -4.0], [4, -2.5, -12.0], [0.5, 3.0, -7.0]])
    screen = np.stack(
        [16 - 40 * points[:, 0] / points[:, 2], 12 + 40 * points[:, 1] / points[:, 2]], axis=1
    )
    triangles = np.array([[0, 1, 2]], np.int32)
    ids, weights = rasterize_ids(
        screen.astype(np.float32), -points[:, 2].astype(np.float32), triangles, image_size=(24, 32)
    )
    surface = interpolate(jnp.asarray(points, jnp.float32), triangles, ids, weights)
    rows, columns = np.nonzero(np.asarray(ids) == 0)
    rays = np.stack(
        [(columns + 0.5 - 16) / 40, (12 - rows - 0.5) / 40, -np.ones(len(rows))], axis=1
    )
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    expected = rays * (points[0] @ normal / (rays @ normal))[:, None]
    assert len(rows) > 50 and cam.image_size == ids.shape
    np.testing.assert_allclose(np.asarray(surface)[rows, columns], expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def small_cam():
    return mofa_jax.Camera().scaled(0.25)


@pytest.fixture(scope="module")
def renderings(tiny_model, small_cam):
    """Three random faces, batched."""
    code = 0.2 * jax.random.normal(jax.random.key(0), (3, mofa_jax.params.code_size(tiny_model)))
    params = mofa_jax.FaceParams.from_code(code, tiny_model)
    render = jax.vmap(mofa_jax.render, in_axes=(0, None, None))
    return jax.jit(render)(params, tiny_model, small_cam)


@pytest.fixture(scope="module")
def rendering(renderings):
    return jax.tree.map(lambda x: x[0], renderings)


def test_vmap_and_jit_draw_the_same_as_one_at_a_time(renderings, tiny_model, small_cam):
    draw = jax.jit(jax.vmap(rasterize, in_axes=(0, None, None)))
    images, masks = draw(renderings, tiny_model, small_cam)
    for k in range(len(images)):
        single = jax.tree.map(lambda x, k=k: x[k], renderings)
        image, mask = rasterize(single, tiny_model, small_cam)
        np.testing.assert_allclose(images[k], image, atol=1e-4)
        np.testing.assert_array_equal(masks[k], mask)


def test_the_background_shows_where_the_face_does_not_cover(rendering, tiny_model, small_cam):
    background = jnp.asarray(np.random.default_rng(1).uniform(size=(60, 60, 3)), jnp.float32)
    face, mask = rasterize(rendering, tiny_model, small_cam, supersample=3)
    image, same = rasterize(rendering, tiny_model, small_cam, background, supersample=3)
    np.testing.assert_array_equal(mask, same)
    np.testing.assert_allclose(image, face + (1 - mask[..., None]) * background, atol=1e-6)
    assert (mask == 0).any() and (mask == 1).any() and ((mask > 0) & (mask < 1)).any()


def test_supersampling_measures_the_covered_area(tiny_model):
    screen = jnp.array([[3.2, 2.1], [5.0, 17.3], [16.9, 8.8]])
    vertices = jnp.concatenate([screen, -jnp.ones((3, 1))], axis=1)
    ones = jnp.ones(3)
    rendering = mofa_jax.Rendering(
        screen, jnp.ones((3, 3)), vertices, vertices, ones > 0, area=ones
    )
    triangles = jnp.array([[0, 1, 2]], jnp.int32)
    model = tiny_model.replace(mean_shape=vertices, triangles=triangles)
    cam = mofa_jax.Camera(image_size=(20, 20))
    _, mask = rasterize(rendering, model, cam, supersample=8)
    (x0, y0), (x1, y1), (x2, y2) = np.asarray(screen, np.float64)
    area = abs((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)) / 2
    np.testing.assert_allclose(mask.sum(), area, rtol=5e-3)


def test_colors_pass_a_gradient_and_the_geometry_none(rendering, tiny_model, small_cam):
    total = jax.grad(lambda r: rasterize(r, tiny_model, small_cam)[0].sum(), allow_int=True)
    gradient = jax.jit(total)(rendering)
    _, mask = rasterize(rendering, tiny_model, small_cam)
    np.testing.assert_allclose(gradient.color.sum(), 3 * mask.sum(), rtol=1e-4)
    np.testing.assert_array_equal(gradient.screen, 0)


def test_double_precision_is_kept(float64):
    screen, depth, triangles = (x.astype(np.float64) for x in quad(2, 8, 5.0))
    ids, weights = rasterize_ids(screen, depth, triangles.astype(np.int32), image_size=(10, 10))
    assert weights.dtype == jnp.float64 and ids.dtype == jnp.int32
    np.testing.assert_allclose(weights.sum(-1), ids >= 0, atol=1e-15)


def test_a_rendering_of_another_model_is_refused(tiny_model):
    cam = mofa_jax.Camera().scaled(1 / 8)
    rendering = mofa_jax.render(mofa_jax.FaceParams.neutral(tiny_model), tiny_model, cam)
    with pytest.raises(ValueError, match=r"vertices, face model 'open face' 25539: give the model"):
        rasterize(rendering, mofa_jax.load_face_model("open"), cam)
