import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

import mofa_jax
from configs import (
    alexnet,
    alexnet_landmarks,
    alexnet_unsupervised,
    code_regression,
    compact,
    compact_synthetic,
    compact_unsupervised,
    default,
    quickstart,
    synthetic,
    vgg,
    vgg_landmarks,
)
from mofa_jax.autoencoder import Decoder, check_loss, objective
from mofa_jax.camera import make_camera
from mofa_jax.encoders import encoder_from_config
from mofa_jax.evaluation.errors import evaluate, make_errors_of
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.params import code_size
from mofa_jax.renderer import compiled_render

EXPERIMENTS = (
    alexnet,
    alexnet_landmarks,
    alexnet_unsupervised,
    code_regression,
    vgg,
    vgg_landmarks,
    compact,
    compact_synthetic,
    compact_unsupervised,
    synthetic,
    quickstart,
)


def objective_of(codes, batch, decoder, config):
    """Loss, terms and metrics of the codes themselves, compiled."""

    @jax.jit
    def run(codes, batch, decoder):
        return objective(codes, batch, decoder, lambda weights, images: weights, config)

    return run(codes, batch, decoder)


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda module: module.__name__)
def test_experiments_override_only_fields_of_the_default(experiment):
    config, base = experiment.get_config().to_dict(), default.get_config().to_dict()
    start = config.pop("start")
    assert not base.pop("start")
    for stage in (config, start) if start else (config,):
        assert set(dict(_flat(stage))) == set(dict(_flat(base)))
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
    config.light = 0.0
    cam = mofa_jax.Camera()
    rng = np.random.default_rng(0)
    codes = (0.3 * rng.normal(size=(2, code_size(tiny_model)))).astype(np.float32)
    batch = {
        "image": rng.integers(0, 256, (2, 240, 240, 3), np.uint8),
        "landmarks": rng.uniform(0, 240, (2, 68, 2)).astype(np.float32),
        "confidence": rng.uniform(0.1, 1, (2, 68)).astype(np.float32),
    }
    decoder = Decoder(tiny_model, cam)
    loss, (terms, metrics) = objective_of(codes, batch, decoder, config)
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
    values = [metrics[key] for key in ("photometric_error", "landmark_error")]
    np.testing.assert_allclose(values, errors, rtol=2e-5)


def test_the_code_term_is_the_squared_difference_in_units_of_each_parts_spread(tiny_model):
    config = code_regression.get_config().loss
    rng = np.random.default_rng(0)
    codes, true = rng.normal(size=(2, 2, code_size(tiny_model))).astype(np.float32)
    batch = {
        "image": np.zeros((2, 240, 240, 3), np.uint8),
        "landmarks": np.zeros((2, 68, 2), np.float32),
        "confidence": np.zeros((2, 68), np.float32),
        "code": true,
    }
    decoder = Decoder(tiny_model, mofa_jax.Camera())
    loss, (terms, _) = objective_of(codes, batch, decoder, config)
    spread = np.ones(code_size(tiny_model))
    spread[-33:] = 0.2
    np.testing.assert_allclose(terms["code"], np.mean(((codes - true) / spread) ** 2), rtol=1e-5)
    np.testing.assert_allclose(loss, terms["code"], rtol=1e-6)

    batch["code"] = true.copy()  # known: all but the light of the first face
    batch["code"][0, -27:] = batch["code"][1] = np.nan
    _, (terms, _) = objective_of(codes, batch, decoder, config)
    expected = np.mean(((codes - true) / spread)[0, :-27] ** 2) / 2
    np.testing.assert_allclose(terms["code"], expected, rtol=1e-5)


def test_unknown_entries_of_a_code_pull_at_nothing(tiny_model):
    rng = np.random.default_rng(0)
    code, true = rng.normal(size=(2, code_size(tiny_model))).astype(np.float32)
    true[3:9] = np.nan

    def distance(code):
        each = (mofa_jax.FaceParams.from_code(x, tiny_model) for x in (code, jnp.asarray(true)))
        return mofa_jax.losses.code_distance(*each)

    gradient = np.asarray(jax.grad(distance)(jnp.asarray(code)))
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient == 0, np.isnan(true))


def test_landmark_model_projects_like_the_whole_one(tiny_model):
    lacking = tiny_model.replace(landmarks=tiny_model.landmarks.at[30].set(-1))
    small, cam = lacking.at_landmarks(), mofa_jax.Camera()
    code = 0.3 * np.random.default_rng(0).normal(size=code_size(tiny_model)).astype(np.float32)
    params = mofa_jax.FaceParams.from_code(jnp.asarray(code), tiny_model)
    screen = jax.jit(mofa_jax.renderer.project_vertices)(params, small, cam)
    whole = compiled_render(params, lacking, cam).screen[tiny_model.landmarks]
    known = np.arange(68) != 30
    np.testing.assert_allclose(screen[known], whole[known], rtol=1e-5)
    assert small.landmarks[30] == -1


def test_first_rendering_is_the_average_face_whatever_the_photograph(tiny_model):
    config = compact.get_config()
    encoder = encoder_from_config(config.encoder, code_size(tiny_model))
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 240, 240, 3)), jnp.float32)
    codes, _ = jax.jit(encoder.init_with_output)(jax.random.key(0), images)
    assert not np.any(codes)


def test_compact_encoder_has_at_most_six_million_parameters():
    encoder = encoder_from_config(compact.get_config().encoder, 257)
    image = jax.ShapeDtypeStruct((1, 240, 240, 3), jnp.float32)
    weights = jax.eval_shape(encoder.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) <= 6_000_000


def test_camera_follows_the_config():
    assert make_camera(default.get_config().camera) == mofa_jax.Camera()


@pytest.mark.parametrize("size", [120, 320])
def test_the_same_face_fills_a_crop_of_any_size(tiny_model, size):
    config = default.get_config().camera
    config.image_size = size
    cam, factor = make_camera(config), size / 240
    assert cam.image_size == (size, size)
    code = 0.3 * np.random.default_rng(0).normal(size=code_size(tiny_model)).astype(np.float32)
    params = mofa_jax.FaceParams.from_code(jnp.asarray(code), tiny_model)
    screen = compiled_render(params, tiny_model, cam).screen
    reference = compiled_render(params, tiny_model, mofa_jax.Camera()).screen
    np.testing.assert_allclose(screen, factor * reference, rtol=1e-4)


def held_out(model, size=240):
    """Two faces' landmarks, 3 px of a 240 px crop beside the zero code's."""
    config = default.get_config().camera
    config.image_size = size
    cam = make_camera(config)
    screen = compiled_render(mofa_jax.FaceParams.neutral(model), model, cam).screen
    points = np.asarray(screen)[np.asarray(model.landmarks)] + (3 * size / 240, 0)
    batch = {
        "image": np.full((2, size, size, 3), 128, np.uint8),
        "landmarks": np.stack([points, points]).astype(np.float32),
        "confidence": np.ones((2, 68), np.float32),
    }
    return Decoder(model, cam), batch


@pytest.mark.parametrize("size", [120, 240])
def test_landmark_errors_are_in_pixels_of_a_240_px_crop(tiny_model, size):
    decoder, batch = held_out(tiny_model, size)
    codes = jnp.zeros((2, code_size(tiny_model)))
    errors = evaluate(codes, [batch], make_errors_of(lambda weights, images: weights), decoder)
    assert errors["landmark_error"] == pytest.approx(3.0, rel=1e-3)
    assert errors["num_failed"] == 0 and errors["num_faces"] == 2


@pytest.mark.parametrize("size", [120, 240])
def test_biases_of_scale_and_position_are_means_over_the_annotated_faces(tiny_model, size):
    decoder, batch = held_out(tiny_model, size)  # 3 px to the right of the drawn ones
    points = batch["landmarks"]
    middle = points[0, oracle.LOSS_LANDMARKS].mean(axis=0)
    points[1] = middle + (points[1] - middle) / 0.8 + (0, 6 * size / 240)
    third = {key: array[:1] for key, array in batch.items()}
    third["confidence"] = np.zeros((1, 68), np.float32)
    codes = jnp.zeros((1, code_size(tiny_model)))

    def encode(weights, images):
        return jnp.tile(weights, (len(images), 1))

    errors = evaluate(codes, [batch, third], make_errors_of(encode), decoder)
    assert errors["scale_bias"] == pytest.approx((1 + 0.8) / 2, rel=1e-4)
    assert errors["offset_x"] == pytest.approx(-3, abs=1e-3)
    assert errors["offset_y"] == pytest.approx(-3, abs=1e-3)


@pytest.mark.parametrize("wrong", ["turned away", "not a number"])
def test_a_face_without_a_visible_vertex_has_no_photometric_error_and_counts_as_failed(
    tiny_model, wrong
):
    decoder, batch = held_out(tiny_model)
    codes = np.zeros((2, code_size(tiny_model)), np.float32)
    if wrong == "turned away":
        codes[0, sum(tiny_model.code_sizes) : sum(tiny_model.code_sizes) + 3] = 0, np.pi, 0
    else:
        codes[0] = np.nan
    encode = lambda weights, images: weights  # noqa: E731
    good = evaluate(np.zeros_like(codes), [batch], make_errors_of(encode), decoder)
    errors = evaluate(codes, [batch], make_errors_of(encode), decoder)
    assert errors["num_failed"] == 1 and errors["num_faces"] == 2
    assert errors["photometric_error"] == pytest.approx(good["photometric_error"])
    everything_wrong = np.stack([codes[0], codes[0]])
    errors = evaluate(everything_wrong, [batch], make_errors_of(encode), decoder)
    assert errors["num_failed"] == 2 and np.isnan(errors["photometric_error"])


def test_a_batch_of_failed_faces_is_no_face_without_landmarks(tiny_model):
    decoder, batch = held_out(tiny_model)
    codes = np.full((2, code_size(tiny_model)), np.nan, np.float32)
    encode = lambda weights, images: weights  # noqa: E731
    errors = evaluate(codes, [batch], make_errors_of(encode), decoder)
    assert np.isnan(errors["landmark_error"]) and errors["num_failed"] == 2
    without = {**batch, "confidence": np.zeros((2, 68), np.float32)}
    errors = evaluate(np.zeros_like(codes), [without], make_errors_of(encode), decoder)
    assert set(errors) == {"photometric_error", "num_faces", "num_failed"}
    assert errors["num_failed"] == 0


def test_means_over_some_faces_say_over_how_many(tiny_model):
    decoder, batch = held_out(tiny_model)
    confidence = np.ones((2, 68), np.float32)
    confidence[1] = 0
    codes = np.zeros((2, code_size(tiny_model)), np.float32)
    errors_of = make_errors_of(lambda weights, images: weights)
    errors = evaluate(codes, [{**batch, "confidence": confidence}], errors_of, decoder)
    assert errors["num_faces"] == 2 and errors["num_annotated"] == 1
    assert "num_annotated" not in evaluate(codes, [batch], errors_of, decoder)


def test_loss_is_the_sum_of_its_named_terms(tiny_model):
    decoder, batch = held_out(tiny_model)
    config = compact.get_config().loss
    config.light = config.population_pose = config.population_place = 0.5
    rng = np.random.default_rng(0)
    codes = (0.3 * rng.normal(size=(2, code_size(tiny_model)))).astype(np.float32)
    loss, (terms, _) = objective_of(codes, batch, decoder, config)
    assert set(terms) == {
        "photometric",
        "landmark",
        "regularizer",
        "light",
        "population_pose",
        "population_place",
    }
    np.testing.assert_allclose(loss, sum(float(term) for term in terms.values()), rtol=1e-6)
    params = mofa_jax.FaceParams.from_code(jnp.asarray(codes), tiny_model)
    pose = np.concatenate([params.rotation, params.translation], axis=1)
    assert terms["population_pose"] == pytest.approx(0.5 * pose[0] @ pose[1], rel=1e-3)
    zero = mofa_jax.FaceParams.neutral(tiny_model)
    faces = [jax.tree.map(lambda x, k=k: x[k], params) for k in (0, 1)]
    counted = np.asarray(tiny_model.landmarks)[LOSS_LANDMARKS]
    middles = [
        np.asarray(mofa_jax.render(face, tiny_model, decoder.cam).screen, np.float64)[counted]
        for face in (zero, *faces)
    ]
    origin, *middles = (points.mean(axis=0) for points in middles)
    place = (np.array(middles) - origin) * decoder.cam.distance / decoder.cam.focal
    assert terms["population_place"] == pytest.approx(0.5 * place[0] @ place[1], rel=1e-3)


def test_a_loss_without_a_prior_is_finite(tiny_model):
    decoder, batch = held_out(tiny_model)
    config = compact.get_config().loss
    config.regularizer = 0.0
    codes = np.full((2, code_size(tiny_model)), 0.1, np.float32)
    loss, (terms, _) = objective_of(codes, batch, decoder, config)
    assert np.isfinite(loss) and terms["regularizer"] == 0


def test_a_share_of_the_photometric_gradient_that_is_none_is_refused_by_name():
    config = default.get_config().loss
    check_loss(config)
    for share in (-0.1, 1.5, np.nan):
        config.photometric_geometry = share
        with pytest.raises(ValueError, match=r"loss\.photometric_geometry is .*; give a share"):
            check_loss(config)
