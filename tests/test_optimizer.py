import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs import default
from mofa_jax.optimizer import code_factors, make_optimizer, scale_code_updates
from mofa_jax.params import code_size, code_slices


def caffe_adadelta(weights, gradients, rate, momentum, delta):
    """Caffe's AdaDeltaSolver, one parameter blob, in NumPy."""
    history, update_history = np.zeros_like(weights), np.zeros_like(weights)
    for gradient in gradients:
        history = momentum * history + (1 - momentum) * gradient**2
        update = gradient * np.sqrt((update_history + delta) / (history + delta))
        update_history = momentum * update_history + (1 - momentum) * update**2
        weights = weights - rate * update
    return weights


def test_adadelta_is_caffes_with_a_smaller_rate_for_z_translation(tiny_model, float64):
    config = default.get_config().optimizer
    optimizer = make_optimizer(config, 10, tiny_model)
    size = code_size(tiny_model)
    rng = np.random.default_rng(0)
    trunk, code = rng.normal(size=(4, 3)), rng.normal(size=(3, size))
    weights = {
        "params": {"conv": {"kernel": jnp.asarray(trunk)}, "code": {"kernel": jnp.asarray(code)}}
    }
    gradients = [(rng.normal(size=trunk.shape), rng.normal(size=code.shape)) for _ in range(5)]
    state = optimizer.init(weights)
    for a, b in gradients:
        gradient = {
            "params": {"conv": {"kernel": jnp.asarray(a)}, "code": {"kernel": jnp.asarray(b)}}
        }
        update, state = optimizer.update(gradient, state, weights)
        weights = optax.apply_updates(weights, update)
    rate = np.full(size, 0.1)
    rate[code_slices(tiny_model)["translation"].start + 2] = 0.0005
    first, second = ([g[i] for g in gradients] for i in range(2))
    expected_trunk = caffe_adadelta(trunk, first, 0.1, 0.95, 1e-8)
    expected_code = caffe_adadelta(code, second, rate, 0.95, 1e-8)
    np.testing.assert_allclose(weights["params"]["conv"]["kernel"], expected_trunk, rtol=1e-6)
    np.testing.assert_allclose(weights["params"]["code"]["kernel"], expected_code, rtol=1e-6)


def test_factors_follow_the_codes_order(tiny_model):
    factors = dict.fromkeys(("shape", "expression", "reflectance", "rotation", "illumination"), 1.0)
    factors |= {"shape": 2.0, "translation_xy": 3.0, "translation_z": 4.0}
    vector = code_factors(factors, tiny_model)
    shape, expression, reflectance = tiny_model.code_sizes
    before = expression + reflectance + 3
    np.testing.assert_array_equal(vector, [2.0] * shape + [1.0] * before + [3, 3, 4] + [1.0] * 27)


def test_updates_of_other_layers_are_left_alone():
    transformation = scale_code_updates(np.array([2.0, 3.0]))
    updates = {"dense": jnp.ones((2, 2)), "code": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    scaled, _ = transformation.update(updates, transformation.init(updates))
    np.testing.assert_array_equal(scaled["dense"], 1)
    np.testing.assert_array_equal(scaled["code"]["kernel"], [[2, 3], [2, 3]])
    np.testing.assert_array_equal(scaled["code"]["bias"], [2, 3])


@pytest.mark.parametrize("field, value", [("name", "sgd"), ("schedule", "linear")])
def test_unknown_choices_are_refused(tiny_model, field, value):
    config = default.get_config().optimizer
    config[field] = value
    with pytest.raises(ValueError, match=value):
        make_optimizer(config, 10, tiny_model)


def test_cosine_schedule_warms_up_and_ends_at_zero(tiny_model):
    config = default.get_config().optimizer
    config.schedule, config.warmup_steps, config.name = "cosine", 2, "adam"
    optimizer = make_optimizer(config, 6, tiny_model)
    weights = {"w": jnp.ones(())}
    state, sizes = optimizer.init(weights), []
    for _ in range(7):
        update, state = optimizer.update({"w": jnp.ones(())}, state, weights)
        sizes.append(abs(float(update["w"])))
    assert sizes[0] == 0 and sizes[2] == pytest.approx(0.1, rel=1e-3)
    assert sizes[1] < sizes[2] > sizes[3] > sizes[5] and sizes[6] == pytest.approx(0, abs=1e-6)
