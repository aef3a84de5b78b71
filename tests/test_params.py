import jax.numpy as jnp
import numpy as np
import pytest

from mofa_jax import FaceParams
from mofa_jax.params import code_size


def test_code_and_fields_are_inverse_in_the_papers_order(tiny_model):
    shape, expression, reflectance = tiny_model.code_sizes
    code = jnp.arange(float(code_size(tiny_model)))
    params = FaceParams.from_code(code, tiny_model)
    np.testing.assert_array_equal(params.shape, np.arange(shape))
    np.testing.assert_array_equal(params.expression, shape + np.arange(expression))
    begin = shape + expression
    np.testing.assert_array_equal(params.reflectance, begin + np.arange(reflectance))
    begin += reflectance
    np.testing.assert_array_equal(params.rotation, begin + np.arange(3))
    np.testing.assert_array_equal(params.translation, begin + 3 + np.arange(3))
    np.testing.assert_array_equal(params.illumination, begin + 6 + np.arange(27).reshape(9, 3))
    np.testing.assert_array_equal(params.to_code(), code)


def test_batches_of_codes_keep_their_leading_axes(tiny_model):
    codes = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, code_size(tiny_model))))
    params = FaceParams.from_code(codes, tiny_model)
    assert params.illumination.shape == (2, 3, 9, 3)
    np.testing.assert_array_equal(params.to_code(), codes)


def test_neutral_is_the_zero_code(tiny_model):
    assert not np.any(FaceParams.neutral(tiny_model).to_code())


def test_code_of_another_model_is_refused(tiny_model):
    with pytest.raises(ValueError, match="another face model"):
        FaceParams.from_code(jnp.zeros(257), tiny_model)
