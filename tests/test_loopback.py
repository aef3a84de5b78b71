"""The loopback: what it draws against the oracle's projection, its terms against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax import random

import mofa_jax
from configs import compact, compact_unsupervised
from mofa_jax.autoencoder import Decoder, objective
from mofa_jax.data.synthetic.distributions import SyntheticRanges, sample_params
from mofa_jax.errors import InputError
from mofa_jax.loopback import loopback_examples
from mofa_jax.losses import CODE_SPREAD
from mofa_jax.params import code_size
from mofa_jax.training.learner import make_learner

BATCH = {
    "image": np.full((6, 120, 120, 3), 90, np.uint8),
    "landmarks": np.zeros((6, 68, 2), np.float32),
    "confidence": np.zeros((6, 68), np.float32),
}
CAM = mofa_jax.Camera().scaled(1 / 2)


@pytest.fixture(scope="module")
def codes(tiny_model):
    """Codes of six faces."""
    keys = random.split(random.key(0), 6)
    return jax.vmap(lambda key: sample_params(key, tiny_model).to_code())(keys)


@pytest.fixture(scope="module")
def drawn(tiny_model):
    """`loopback_examples` of codes."""

    @jax.jit
    def draw(key, codes):
        params = mofa_jax.FaceParams.from_code(codes, tiny_model)
        return loopback_examples(key, params, tiny_model, CAM, SyntheticRanges(occluder=0.0))

    return draw


def projected(params, model):
    """The landmarks of one face by the oracle, px of CAM's image."""
    arrays = oracle.model_arrays(model)
    code = np.asarray(params.to_code(), np.float64)
    screen = oracle.render(code, arrays, CAM.focal, CAM.principal_point, CAM.distance)["screen"]
    return screen[np.asarray(model.landmarks)]


def test_half_of_the_faces_are_drawn_where_their_changed_codes_say(drawn, codes, tiny_model):
    faces = drawn(random.key(1), codes)
    assert faces["image"].shape == (3, 120, 120, 3)
    assert faces["image"].min() >= 0 and faces["image"].max() <= 1
    before = mofa_jax.FaceParams.from_code(codes, tiny_model)
    for k in range(3):
        params = jax.tree.map(lambda field, k=k: field[k], faces["params"])
        np.testing.assert_allclose(faces["landmarks"][k], projected(params, tiny_model), atol=0.01)
        np.testing.assert_array_equal(params.illumination, before.illumination[(k - 2) % 6])
        np.testing.assert_array_equal(params.expression, before.expression[k])
        change = params.rotation - before.rotation[k]
        assert 0 < np.abs(change).max() < 0.6
    change = np.asarray(faces["params"].shape - before.shape[:3])
    assert 0.2 < change.std() < 0.8


def test_each_key_draws_its_own_faces_and_no_gradient_passes(drawn, codes):
    first, again = drawn(random.key(1), codes), drawn(random.key(1), codes)
    np.testing.assert_array_equal(first["image"], again["image"])
    assert np.abs(first["image"] - drawn(random.key(2), codes)["image"]).mean() > 0.01
    gradient = jax.grad(lambda c: drawn(random.key(1), c)["landmarks"].sum())(codes)
    assert not np.any(gradient)


def test_the_terms_are_the_distances_from_what_was_drawn(drawn, codes, tiny_model):
    """An encoder that always answers `found`, and, to begin with, the codes."""
    config = compact.get_config().loss
    config.loopback, config.loopback_code = 2.0, 0.5
    decoder = Decoder(tiny_model, CAM, ranges=SyntheticRanges(occluder=0.0))
    found = 0.3 * jnp.ones(code_size(tiny_model))

    def encode(codes, images):
        return codes if len(images) == len(codes) else jnp.tile(found, (len(images), 1))

    @jax.jit
    def run(codes, batch, key):
        return objective(codes, batch, decoder, encode, config, key=key)

    loss, (terms, _) = run(codes, BATCH, random.key(1))
    np.testing.assert_allclose(loss, sum(terms.values()), rtol=1e-6)
    faces, model = drawn(random.key(1), codes), oracle.model_arrays(tiny_model)
    rendering = oracle.render(
        np.asarray(found, np.float64), model, CAM.focal, CAM.principal_point, CAM.distance
    )
    ones = np.ones(68)
    expected = [oracle.landmark(rendering, model, p, ones, 120)[0] for p in faces["landmarks"]]
    np.testing.assert_allclose(terms["loopback"], 2 * np.mean(expected), rtol=1e-4)
    again = mofa_jax.FaceParams.from_code(found, tiny_model)
    squares = [
        ((np.asarray(getattr(again, name)) - np.asarray(getattr(faces["params"], name))) / spread)
        ** 2
        for name, spread in CODE_SPREAD.items()
    ]
    mean = np.concatenate([part.ravel() for part in squares]).mean()
    np.testing.assert_allclose(terms["loopback_code"], 0.5 * mean, rtol=1e-4)


def test_photographs_that_it_would_not_draw_are_refused(tiny_model):
    config = compact_unsupervised.get_config()
    config.data.synthetic.backgrounds = "photographs"
    with pytest.raises(InputError, match=r"loss\.loopback draws faces before random shapes alone"):
        make_learner(config, tiny_model, CAM)


def test_without_a_key_there_is_no_loopback(codes, tiny_model):
    config = compact.get_config().loss
    config.loopback = 1.0
    decoder = Decoder(tiny_model, CAM)

    @jax.jit
    def run(codes, batch):
        return objective(codes, batch, decoder, lambda codes, _: codes, config)

    _, (terms, _) = run(codes, BATCH)
    assert not any("loopback" in name for name in terms)
