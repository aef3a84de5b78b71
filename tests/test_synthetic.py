"""Synthetic faces: repeatable, as widely spread as they say, with true labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mofa_jax
from mofa_jax.data.synthetic.backgrounds import (
    Shapes,
    paint,
    photograph_background,
    procedural_background,
)
from mofa_jax.data.synthetic.distributions import SyntheticRanges, sample_params
from mofa_jax.data.synthetic.examples import degrade, example_keys, synthetic_batch
from mofa_jax.illumination import AMBIENT, directed_light

BATCH = 4

render_all = jax.jit(jax.vmap(mofa_jax.render, in_axes=(0, None, None)))


@pytest.fixture(scope="module")
def cam():
    return mofa_jax.Camera().scaled(0.25)


@pytest.fixture(scope="module")
def batch(tiny_model, cam):
    return synthetic_batch(example_keys(3, 7, BATCH, "train"), tiny_model, cam, SyntheticRanges())


@pytest.fixture(scope="module")
def many_params(tiny_model):
    """A thousand random codes."""
    keys = example_keys(0, 0, 1000, "train")
    return jax.jit(jax.vmap(sample_params, in_axes=(0, None)))(keys, tiny_model)


def test_an_example_holds_a_picture_and_what_is_known_of_it(batch, tiny_model):
    assert batch["image"].shape == (BATCH, 60, 60, 3) and batch["image"].dtype == jnp.float32
    assert batch["landmarks"].shape == (BATCH, 68, 2) and batch["confidence"].shape == (BATCH, 68)
    assert batch["params"].to_code().shape == (BATCH, mofa_jax.params.code_size(tiny_model))
    assert batch["image"].min() >= 0 and batch["image"].max() <= 1
    assert np.isfinite(batch["image"]).all()
    assert (batch["image"].std(axis=(1, 2, 3)) > 0.03).all()


def test_the_landmarks_are_those_of_the_true_code(batch, tiny_model, cam):
    rendering = render_all(batch["params"], tiny_model, cam)
    expected = np.asarray(rendering.screen)[:, tiny_model.landmarks]
    np.testing.assert_allclose(batch["landmarks"], expected, atol=1e-3)
    np.testing.assert_array_equal(batch["confidence"], 1)


def test_a_landmark_that_the_model_lacks_has_no_confidence(tiny_model, cam):
    model = tiny_model.replace(landmarks=tiny_model.landmarks.at[5].set(-1))
    batch = synthetic_batch(example_keys(3, 7, BATCH, "train"), model, cam, SyntheticRanges())
    assert (batch["confidence"] == 0).sum() == BATCH and (batch["confidence"][:, 5] == 0).all()
    np.testing.assert_array_equal(batch["landmarks"][:, 5], 0)


def test_the_face_in_the_picture_has_the_colors_of_the_code(tiny_model, cam):
    clear = SyntheticRanges(head=0.0, feather=0.0, occluder=0.0, blur=0.0, noise=0.0, contrast=0.0)
    batch = synthetic_batch(example_keys(1, 0, BATCH, "train"), tiny_model, cam, clear)
    renderings = render_all(batch["params"], tiny_model, cam)
    for k in range(BATCH):
        rendering = jax.tree.map(lambda x, k=k: x[k], renderings)
        face, mask = mofa_jax.rasterize(rendering, tiny_model, cam)
        inside = np.asarray(mask) == 1
        expected = np.clip(face, 1e-4, 1)[inside]
        np.testing.assert_allclose(np.asarray(batch["image"][k])[inside], expected, atol=2e-3)


def test_a_step_gives_the_same_pictures_whenever_and_however_split(batch, tiny_model, cam):
    keys = example_keys(3, 7, BATCH, "train")
    again = synthetic_batch(keys, tiny_model, cam, SyntheticRanges())
    jax.tree.map(np.testing.assert_array_equal, batch, again)
    wider = example_keys(3, 7, 2 * BATCH, "train")
    np.testing.assert_array_equal(jax.random.key_data(wider[:BATCH]), jax.random.key_data(keys))


def test_no_key_comes_twice():
    keys = [
        jax.random.key_data(example_keys(seed, step, 8, split))
        for seed in (0, 1)
        for split in ("train", "eval")
        for step in (0, 1, 1000, 10**9)
    ]
    assert len(np.unique(np.concatenate(keys), axis=0)) == 8 * len(keys)


def test_codes_are_spread_as_the_ranges_say(many_params):
    ranges = SyntheticRanges()
    truncated = 0.9545  # standard deviation of a normal distribution cut off at 2.5
    groups = [
        (many_params.shape, ranges.shape),
        (many_params.expression, ranges.expression),
        (many_params.reflectance, ranges.reflectance),
        (np.degrees(many_params.rotation), np.array(ranges.rotation)),
        (many_params.translation, np.array(ranges.translation)),
    ]
    for values, spread in groups:
        scaled = np.asarray(values) / spread
        np.testing.assert_allclose(scaled.std(axis=0), truncated, rtol=0.12)
        np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=0.15)
        assert np.abs(scaled).max() <= 2.5 + 1e-5


def test_the_light_is_never_black_and_comes_mostly_from_above_the_front(many_params):
    gamma = np.asarray(many_params.illumination).mean(axis=-1)
    ambient = gamma[:, 0] + AMBIENT
    assert (ambient > 0.3).all()
    # Light at the normals (0, 0, 1), (0, 0.6, 0.8) and (0, -0.6, 0.8): bands 1, y, z, yz, 3z2 - 1.
    lit = [
        ambient
        + np.sqrt(3) * (gamma[:, 1] * y + gamma[:, 2] * z)
        + np.sqrt(15) * gamma[:, 5] * y * z
        + np.sqrt(5) / 2 * gamma[:, 6] * (3 * z * z - 1)
        - np.sqrt(15) / 2 * gamma[:, 8] * y * y
        for y, z in ((0.0, 1.0), (0.6, 0.8), (-0.6, 0.8))
    ]
    assert (lit[0] > 0.3).all() and np.median(lit[0]) == pytest.approx(1.0, abs=0.25)
    assert (lit[1] > lit[2]).mean() > 0.7


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (0.7, 0.4), (-1.3, -0.3)])
def test_a_directed_light_falls_as_the_cosine(azimuth, elevation):
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(20_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    direction = np.array(
        [
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
            np.cos(elevation) * np.cos(azimuth),
        ]
    )
    cosine = normals @ direction
    x, y, z = normals.T
    basis = np.stack(
        [
            np.ones_like(x),
            *(np.sqrt(3) * c for c in (y, z, x)),
            *(np.sqrt(15) * c for c in (x * y, y * z)),
            np.sqrt(5) / 2 * (3 * z**2 - 1),
            np.sqrt(15) * x * z,
            np.sqrt(15) / 2 * (x**2 - y**2),
        ],
        axis=1,
    )
    light = basis @ np.asarray(directed_light(jnp.array(azimuth), jnp.array(elevation)), np.float64)
    front = light[z > 0].mean()
    assert front == pytest.approx(1.0, abs=0.02)
    # The cosine cut off at zero, up to its second band, which errs by at most 3/32.
    scale = (1 + direction[2]) / 4
    np.testing.assert_allclose(light * scale, np.maximum(cosine, 0), atol=0.094)


def test_shapes_are_painted_where_they_are():
    shape = Shapes(
        center=jnp.array([[20.0, 10.0], [40.0, 30.0]]),
        radius=jnp.array([[8.0, 4.0], [10.0, 5.0]]),
        angle=jnp.array([0.0, jnp.pi / 2]),
        box=jnp.array([False, True]),
        color=jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
        opacity=jnp.array([1.0, 0.5]),
        softness=jnp.array([0.01, 0.01]),
    )
    image = np.asarray(paint(jnp.zeros((50, 60, 3)), shape))
    assert image[..., 0].sum() == pytest.approx(np.pi * 8 * 4, rel=0.05)
    assert image[..., 1].sum() == pytest.approx(0.5 * 20 * 10, rel=0.05)
    rows, columns = np.nonzero(image[..., 1])  # turned upright
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 39, 35, 44)
    np.testing.assert_array_equal(image[10, 13:27, 0], 1)


def test_backgrounds_differ_and_fill_the_picture():
    keys = jax.random.split(jax.random.key(0), 4)
    draw = jax.jit(jax.vmap(procedural_background, in_axes=(0, None)), static_argnums=1)
    images = np.asarray(draw(keys, (30, 40)))
    assert images.shape == (4, 30, 40, 3) and images.min() >= 0 and images.max() <= 1
    assert (images.std(axis=(1, 2, 3)) > 0.02).all()
    assert np.abs(images[0] - images[1]).mean() > 0.05


def test_photographs_give_true_pieces_as_backgrounds():
    photographs = np.random.default_rng(0).integers(0, 256, (3, 9, 11, 3), np.uint8)
    pieces = {
        np.ascontiguousarray(piece).tobytes()
        for picture in photographs
        for row in range(3)
        for column in range(4)
        for cut in [picture[row : row + 7, column : column + 8]]
        for piece in (cut, cut[:, ::-1])
    }
    cut_out = jax.jit(photograph_background, static_argnums=2)
    for key in jax.random.split(jax.random.key(1), 8):
        piece = cut_out(key, jnp.asarray(photographs), (7, 8))
        assert np.asarray(jnp.round(piece * 255).astype(jnp.uint8)).tobytes() in pieces


def test_photographs_that_are_too_small_are_refused():
    with pytest.raises(ValueError, match="too small"):
        photograph_background(jax.random.key(0), jnp.zeros((2, 20, 30, 3)), (24, 24))


@pytest.mark.slow
def test_photographs_stand_behind_the_faces(tiny_model, cam):
    ranges = SyntheticRanges(head=0.0, occluder=0.0, blur=0.0, noise=0.0, contrast=0.0)
    green = jnp.zeros((2, 70, 80, 3)).at[..., 1].set(1.0)
    keys = example_keys(0, 0, 2, "train")
    image = synthetic_batch(keys, tiny_model, cam, ranges, green)["image"]
    corners = np.asarray(image)[:, [0, -1]][:, :, [0, -1]].reshape(-1, 3)
    assert (corners[:, 1] > 0.99).any() and (corners[corners[:, 1] > 0.99][:, 0] < 1e-3).all()


def test_degrading_blurs_and_keeps_a_flat_picture_flat():
    only_blur = SyntheticRanges(noise=0.0, contrast=0.0, blur=3.0)
    dot = jnp.full((41, 41, 3), 0.2).at[20, 20].set(1.0)
    degraded = jax.jit(degrade)
    blurred = np.asarray(degraded(jax.random.key(0), dot, only_blur))
    assert blurred[20, 20, 0] < 0.6 and blurred.sum() == pytest.approx(float(dot.sum()), rel=1e-4)
    flat = degraded(jax.random.key(0), jnp.full((41, 41, 3), 0.4), only_blur)
    np.testing.assert_allclose(flat, 0.4, atol=1e-5)
