import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import mofa_jax
from configs import (
    alexnet,
    alexnet_landmarks,
    compact,
    compact_synthetic,
    compact_unsupervised,
    default,
    quickstart,
    synthetic,
    vgg,
    vgg_landmarks,
)
from mofa_jax.autoencoder import (
    blurred,
    landmark_model,
    make_camera,
    make_decoder,
    make_encoder,
    objective,
    pyramid_level,
    regularizer_weight,
)
from mofa_jax.params import code_size

EXPERIMENTS = (
    alexnet,
    alexnet_landmarks,
    vgg,
    vgg_landmarks,
    compact,
    compact_synthetic,
    compact_unsupervised,
    synthetic,
    quickstart,
)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_experiments_override_only_fields_of_the_default(experiment):
    config, base = experiment.get_config(), default.get_config()
    assert set(dict(_flat(config))) == set(dict(_flat(base)))
    assert "python main.py --config=" + experiment.__name__.replace(".", "/") in experiment.__doc__


def _flat(config, prefix=""):
    for key, value in config.items():
        if hasattr(value, "items"):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_default_is_the_papers_recipe():
    config = default.get_config()
    assert (config.batch_size, config.num_steps) == (5, 200_000)
    assert (config.optimizer.name, config.optimizer.learning_rate) == ("adadelta", 0.1)
    z_rate = config.optimizer.learning_rate * config.optimizer.factors.translation_z
    assert z_rate == pytest.approx(0.0005)
    weights = config.loss
    assert (weights.photometric, weights.landmark, weights.regularizer) == (1.92, 0.0, 2.9e-5)
    assert (weights.reflectance, weights.expression) == (1.7e-3, 0.8)


def test_objective_is_the_weighted_sum_of_the_papers_terms(tiny_model):
    config = compact.get_config().loss
    config.light_color, config.regularizer_start = 0.0, 2e-4
    cam = mofa_jax.Camera()
    rng = np.random.default_rng(0)
    codes = (0.3 * rng.normal(size=(2, code_size(tiny_model)))).astype(np.float32)
    batch = {
        "image": rng.integers(0, 256, (2, 240, 240, 3), np.uint8),
        "landmarks": rng.uniform(0, 240, (2, 68, 2)).astype(np.float32),
        "confidence": rng.uniform(0.1, 1, (2, 68)).astype(np.float32),
    }
    decoder = make_decoder(tiny_model, cam)
    loss, terms = objective(codes, batch, 0, decoder, lambda weights, images: weights, config)
    m, expected, errors = oracle.model_arrays(tiny_model), np.zeros(3), np.zeros(2)
    for i in range(2):
        out = oracle.render(codes[i], m)
        photometric, photometric_error = oracle.photometric(out, batch["image"][i] / 255.0)
        land, pixels = oracle.landmark(out, m, batch["landmarks"][i], batch["confidence"][i])
        alpha, delta, beta = np.split(codes[i].astype(float), np.cumsum(tiny_model.code_sizes))[:3]
        prior = (alpha**2).sum() + 1.7e-3 * (beta**2).sum() + 0.8 * (delta**2).sum()
        expected += np.array([1.92 * photometric, land, 2e-4 * prior]) / 2
        errors += np.array([photometric_error, pixels]) / 2
    values = [terms[key] for key in ("photometric", "landmark", "regularizer")]
    np.testing.assert_allclose(values, expected, rtol=2e-5)
    np.testing.assert_allclose(loss, expected.sum(), rtol=2e-5)
    values = [terms[key] for key in ("photometric_error", "landmark_error")]
    np.testing.assert_allclose(values, errors, rtol=2e-5)


def test_landmark_model_projects_like_the_whole_one(tiny_model):
    lacking = tiny_model.replace(landmarks=tiny_model.landmarks.at[30].set(-1))
    small, cam = landmark_model(lacking), mofa_jax.Camera()
    code = 0.3 * np.random.default_rng(0).normal(size=code_size(tiny_model)).astype(np.float32)
    params = mofa_jax.FaceParams.from_code(jnp.asarray(code), tiny_model)
    screen = mofa_jax.renderer.project_vertices(params, small, cam)
    whole = mofa_jax.render(params, lacking, cam).screen[tiny_model.landmarks]
    known = np.arange(68) != 30
    np.testing.assert_allclose(screen[known], whole[known], rtol=1e-5)
    assert small.landmarks[30] == -1


def test_first_rendering_is_the_average_face_whatever_the_photograph(tiny_model):
    config = compact.get_config()
    encoder = make_encoder(config.encoder, code_size(tiny_model))
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 240, 240, 3)), jnp.float32)
    codes = encoder.apply(jax.jit(encoder.init)(jax.random.key(0), images), images)
    assert not np.any(codes)


def test_compact_encoder_has_at_most_six_million_parameters():
    encoder = make_encoder(compact.get_config().encoder, 257)
    image = jax.ShapeDtypeStruct((1, 240, 240, 3), jnp.float32)
    weights = jax.eval_shape(encoder.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) <= 6_000_000


def test_regularizer_weight_runs_geometrically_from_start_to_end():
    config = default.get_config().loss
    config.regularizer_start, config.regularizer, config.regularizer_steps = 1e-2, 1e-4, 10
    values = [float(regularizer_weight(config, jnp.asarray(step))) for step in (0, 5, 10, 99)]
    np.testing.assert_allclose(values, [1e-2, 1e-3, 1e-4, 1e-4], rtol=1e-4)
    config.regularizer_steps = 0
    assert float(regularizer_weight(config, jnp.asarray(0))) == pytest.approx(1e-4, rel=1e-5)


def test_pyramid_starts_blurred_keeps_the_mean_and_ends_sharp():
    config = default.get_config().loss
    config.pyramid_levels, config.pyramid_steps = 2, 10
    levels = [int(pyramid_level(config, jnp.asarray(step))) for step in (0, 4, 5, 9, 10, 50)]
    assert levels == [2, 2, 1, 1, 0, 0]
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 8, 8, 3)), jnp.float32)
    blurry = blurred(images, jnp.asarray(2), 2)
    assert np.std(blurry) < 0.5 * np.std(images)
    np.testing.assert_allclose(np.mean(blurry), np.mean(images), rtol=0.05)
    np.testing.assert_array_equal(blurred(images, jnp.asarray(0), 2), images)


def test_camera_follows_the_config():
    assert make_camera(default.get_config().camera) == mofa_jax.Camera()
