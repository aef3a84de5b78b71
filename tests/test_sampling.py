import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest

from mofa_jax.sampling import sample_bilinear


def test_sampling_equals_a_loop_over_points_also_beyond_the_border(float64):
    rng = np.random.default_rng(0)
    image, points = rng.uniform(size=(7, 9, 3)), rng.uniform(-3, 12, size=(200, 2))
    sampled = sample_bilinear(jnp.asarray(image), jnp.asarray(points))
    np.testing.assert_allclose(sampled, oracle.bilinear(image, points), atol=1e-12)


def test_pixel_centers_lie_at_half_integers():
    image = jnp.arange(12.0).reshape(3, 4, 1)
    centers = jnp.array([[0.5, 0.5], [3.5, 0.5], [1.5, 2.5]])
    np.testing.assert_array_equal(sample_bilinear(image, centers)[:, 0], [0, 3, 9])


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 3), (5, 1, 3)])
def test_images_of_one_row_or_column_are_sampled(shape):
    image = jnp.asarray(np.random.default_rng(0).uniform(size=shape), jnp.float32)
    points = jnp.array([[0.5, 0.5], [2.2, 2.2]])
    true = oracle.bilinear(np.asarray(image), np.asarray(points))
    np.testing.assert_allclose(sample_bilinear(image, points), true, atol=1e-6)


def test_gradient_is_the_image_slope_inside_and_zero_outside():
    column = jnp.arange(6.0)[None, :, None] * jnp.ones((6, 1, 1))
    gradient = jax.grad(lambda p: jnp.sum(sample_bilinear(column, p)))
    points = jnp.array([[2.2, 3.1], [-1.0, 3.0], [9.0, 3.0]])
    np.testing.assert_allclose(gradient(points), [[1, 0], [0, 0], [0, 0]], atol=1e-6)


def test_sampling_far_away_or_at_nan_reads_inside_the_image():
    image = jnp.ones((4, 4, 3))
    points = jnp.array([[1e30, -1e30], [jnp.inf, 0.0]])
    np.testing.assert_array_equal(sample_bilinear(image, points), 1)


def test_bytes_are_refused_whose_differences_would_wrap_round():
    with pytest.raises(ValueError, match="image is uint8, expected floats"):
        sample_bilinear(jnp.zeros((4, 4, 3), jnp.uint8), jnp.ones((2, 2)))
