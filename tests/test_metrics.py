import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from scipy.optimize import minimize

import mofa_jax
from mofa_jax import losses, metrics
from mofa_jax.renderer import Rendering


def points(seed=0, count=40):
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_geometric_error_equals_a_numerical_search_over_translation_and_scale(float64):
    a, b = points(0), points(1)

    def squared(x):
        return np.sum((x[3] * a + x[:3] - b) ** 2)

    best = minimize(squared, [0, 0, 0, 1.0], tol=1e-14).x
    error = 100 * np.linalg.norm(best[3] * a + best[:3] - b, axis=1).mean()
    np.testing.assert_allclose(
        metrics.geometric_error(jnp.asarray(a), jnp.asarray(b)), error, rtol=1e-6
    )


def test_geometric_error_ignores_translation_and_scale_but_not_rotation(float64):
    a = points()
    assert metrics.geometric_error(jnp.asarray(3 * a + [1, 2, 3]), jnp.asarray(a)) < 1e-9
    assert metrics.geometric_error(jnp.asarray(a[:, [1, 0, 2]]), jnp.asarray(a)) > 1


def test_geometric_error_of_a_collapsed_face_is_finite():
    error = metrics.geometric_error(jnp.zeros((5, 3)), jnp.asarray(points(count=5), jnp.float32))
    assert np.isfinite(error)


def test_geometric_error_refuses_silent_broadcasting():
    with pytest.raises(ValueError, match="one shape"):
        metrics.geometric_error(jnp.zeros((5, 3)), jnp.zeros((1, 3)))


def rendering_at(model, screen):
    count = model.num_vertices
    return Rendering(
        screen=screen,
        color=jnp.zeros((count, 3)),
        vertices=jnp.zeros((count, 3)),
        normals=jnp.zeros((count, 3)),
        front_facing=jnp.zeros(count, bool),
        area=jnp.zeros(count),
    )


def test_landmark_error_is_in_pixels(tiny_model):
    out = rendering_at(tiny_model, jnp.zeros((tiny_model.num_vertices, 2)))
    shifted = jnp.tile(jnp.array([[3.0, 4.0]]), (68, 1))
    assert metrics.landmark_error(out, tiny_model, shifted, jnp.ones(68)) == 5


def test_landmarks_that_the_model_lacks_do_not_count(tiny_model):
    lacking = tiny_model.replace(landmarks=tiny_model.landmarks.at[30].set(-1))
    out = rendering_at(lacking, jnp.zeros((lacking.num_vertices, 2)))
    far = jnp.zeros((68, 2)).at[30].set(1e6)
    assert metrics.landmark_error(out, lacking, far, jnp.ones(68)) == 0


def test_errors_without_anything_to_compare_are_nan(tiny_model):
    out = rendering_at(tiny_model, jnp.zeros((tiny_model.num_vertices, 2)))
    assert np.isnan(metrics.landmark_error(out, tiny_model, jnp.zeros((68, 2)), jnp.zeros(68)))
    assert np.isnan(metrics.photometric_error(out, jnp.zeros((8, 8, 3))))


@pytest.mark.parametrize("shape", [(67, 2), (68, 3), (1, 68, 2)])
def test_landmarks_of_a_wrong_shape_are_refused(tiny_model, shape):
    out = rendering_at(tiny_model, jnp.zeros((tiny_model.num_vertices, 2)))
    with pytest.raises(ValueError, match="68"):
        metrics.landmark_error(out, tiny_model, jnp.zeros(shape), jnp.ones(68))


def test_image_of_a_wrong_shape_is_refused(tiny_model):
    out = rendering_at(tiny_model, jnp.zeros((tiny_model.num_vertices, 2)))
    with pytest.raises(ValueError, match="H, W, 3"):
        losses.photometric(out, jnp.zeros((1, 8, 8, 3)))


def test_a_photograph_in_bytes_is_refused(tiny_model):
    out = rendering_at(tiny_model, jnp.zeros((tiny_model.num_vertices, 2)))
    for measure in (losses.photometric, losses.area_photometric, metrics.photometric_error):
        with pytest.raises(ValueError, match="uint8, expected floats"):
            measure(out, jnp.zeros((8, 8, 3), jnp.uint8))


def test_light_of_the_mean_costs_nothing_and_each_spread_one(tiny_model):
    mean = np.zeros((9, 3))
    mean[0], mean[1] = 0.7, 0.7 * 0.42
    light_prior = jax.jit(losses.light_prior)

    def prior(light):
        gamma = jnp.asarray(light - 0.7 * np.eye(9)[:, :1], jnp.float32)
        params = mofa_jax.FaceParams.neutral(tiny_model).replace(illumination=gamma)
        return float(light_prior(params))

    assert prior(mean) == pytest.approx(0, abs=1e-6)
    spreads = (0.18, 0.31, 0.31, 0.10, 0.10, 0.12, 0.12, 0.13)
    for band, spread in enumerate(spreads, start=1):
        light = mean.copy()
        light[band] += 0.7 * spread
        assert prior(light) == pytest.approx(1, rel=1e-4)
        tint = np.array([0.4, -0.4, 0.0])  # no light more, of another color
        light[band] += 0.7 * spread * tint
        assert prior(light) == pytest.approx(3, rel=1e-4)
    assert prior(mean * np.exp(0.15)) == pytest.approx(1, rel=1e-4)
    assert prior(mean * np.exp(-0.3)) == pytest.approx(4, rel=1e-4)  # twice as far: two spreads
    color = np.array([0.11, 0.0, -0.11])
    assert prior(mean * np.exp(color)) == pytest.approx(1 + (0.11 / 0.125) ** 2, rel=1e-4)
    black = mofa_jax.FaceParams.neutral(tiny_model).replace(illumination=jnp.full((9, 3), -2.0))
    assert np.isfinite(jax.jit(jax.grad(losses.light_prior))(black).illumination).all()


def test_squared_mean_is_unbiased_and_the_same_over_devices(float64):
    rng = np.random.default_rng(0)
    batches = 0.3 + rng.normal(size=(4000, 4, 3))
    estimates = jax.vmap(losses.squared_mean)(jnp.asarray(batches))
    assert np.mean(estimates) == pytest.approx(3 * 0.3**2, abs=0.02)
    shared = jax.vmap(lambda x: losses.squared_mean(x, "devices"), axis_name="devices")
    whole = losses.squared_mean(jnp.asarray(batches[:4].reshape(16, 3)))
    np.testing.assert_allclose(shared(jnp.asarray(batches[:4])), whole, rtol=1e-12)


def test_landmark_bias_equals_a_numpy_computation_over_the_landmarks_that_are_present(tiny_model):
    model = tiny_model.replace(landmarks=tiny_model.landmarks.at[40].set(-1))
    rng = np.random.default_rng(0)
    screen = rng.uniform(0, 240, (model.num_vertices, 2))
    annotated, confidence = rng.uniform(0, 240, (68, 2)), rng.uniform(0.1, 1, 68)
    confidence[[8, 30]], annotated[[8, 30]] = 0, np.nan
    chosen = [k for k in oracle.LOSS_LANDMARKS if k not in (8, 30, 40)]
    drawn, known = screen[np.asarray(model.landmarks)[chosen]], annotated[chosen]
    spread, known_spread = (np.sqrt(np.var(each, axis=0).sum()) for each in (drawn, known))
    arrays = [jnp.asarray(each, jnp.float32) for each in (annotated, confidence)]
    scale, offset = metrics.landmark_bias(jnp.asarray(screen, jnp.float32), model, *arrays)
    np.testing.assert_allclose(scale, spread / known_spread, rtol=1e-5)
    np.testing.assert_allclose(offset, drawn.mean(axis=0) - known.mean(axis=0), atol=1e-4)


def test_landmark_bias_without_landmarks_is_nan(tiny_model):
    screen = jnp.zeros((tiny_model.num_vertices, 2))
    scale, offset = metrics.landmark_bias(screen, tiny_model, jnp.zeros((68, 2)), jnp.zeros(68))
    assert np.isnan(scale) and np.isnan(offset).all()
