import jax
import jax.numpy as jnp
import numpy as np
import oracle
from scipy.special import sph_harm_y

from mofa_jax.illumination import sh_basis, shade


def directions(count, seed=0):
    n = np.random.default_rng(seed).normal(size=(count, 3))
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def test_basis_equals_closed_forms(float64):
    n = directions(50)
    np.testing.assert_allclose(sh_basis(jnp.asarray(n.T)).T, oracle.sh(n), atol=1e-12)


def test_basis_equals_scipys_spherical_harmonics(float64):
    n = directions(50)
    theta, phi = np.arccos(n[:, 2]), np.arctan2(n[:, 1], n[:, 0])
    basis = np.asarray(sh_basis(jnp.asarray(n.T)).T)
    order = [(0, 0), (1, -1), (1, 0), (1, 1), (2, -2), (2, -1), (2, 0), (2, 1), (2, 2)]
    for column, (band, m) in enumerate(order):
        y = sph_harm_y(band, abs(m), theta, phi)
        real = {0: y.real, 1: np.sqrt(2) * y.real, -1: np.sqrt(2) * y.imag}[np.sign(m)]
        real = real * (-1) ** abs(m)  # SciPy has the Condon-Shortley phase
        np.testing.assert_allclose(basis[:, column], real * np.sqrt(4 * np.pi), atol=1e-12)


def test_basis_is_orthonormal_over_the_sphere():
    n = directions(200_000).astype(np.float32)
    basis = np.asarray(sh_basis(jnp.asarray(n.T)).T, float)
    np.testing.assert_allclose(basis.T @ basis / len(n), np.eye(9), atol=0.02)


def test_zero_illumination_is_seven_tenths_of_the_reflectance():
    reflectance = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 4)), jnp.float32)
    color = shade(reflectance, jnp.asarray(directions(4).T, jnp.float32), jnp.zeros((9, 3)))
    np.testing.assert_allclose(color, 0.7 * reflectance, rtol=1e-6)


def test_colors_are_not_clipped():
    color = shade(jnp.ones((3, 1)), jnp.array([[0.0], [0], [1]]), jnp.full((9, 3), 2.0))
    assert np.all(color > 1)


def test_gradient_at_the_poles_is_finite():
    for pole in ([0.0, 0, 1], [0.0, 0, -1], [0.0, 1, 0], [0.0, 0, 0]):
        jacobian = jax.jacobian(sh_basis)(jnp.array([pole]).T)
        assert np.isfinite(jacobian).all()
