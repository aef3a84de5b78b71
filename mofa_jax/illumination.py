"""Spherical-harmonics illumination (paper, Sec. 5.2, Eq. 4)."""

import math

import jax
import jax.numpy as jnp

from mofa_jax.numerics import dot_columns

AMBIENT = 0.7  # added to the ambient coefficients inside the renderer (paper, Sec. 5.2)

_SQRT3 = math.sqrt(3.0)
_SQRT5 = math.sqrt(5.0)
_SQRT15 = math.sqrt(15.0)


def sh_basis(normals: jax.Array) -> jax.Array:
    """The nine real spherical harmonics up to band 2, divided by the constant one.

    Polynomials in the normal (no angles, so no poles), without the Condon-Shortley phase.

    Args:
      normals: [3, N] unit vectors, camera space.

    Returns:
      [9, N]: 1; y, z, x; xy, yz, 3z^2 - 1, xz, x^2 - y^2 with their factors (H_b = Y_b / Y_0).
    """
    x, y, z = normals
    return jnp.stack([jnp.ones_like(x), *_bands(x, y, z)])


def _bands(x: jax.Array, y: jax.Array, z: jax.Array) -> tuple[jax.Array, ...]:
    """H_1 to H_8."""
    return (
        _SQRT3 * y,
        _SQRT3 * z,
        _SQRT3 * x,
        _SQRT15 * x * y,
        _SQRT15 * y * z,
        _SQRT5 / 2 * (3 * z * z - 1),
        _SQRT15 * x * z,
        _SQRT15 / 2 * (x * x - y * y),
    )


def with_ambient(illumination: jax.Array) -> jax.Array:
    """gamma [9, 3] plus the constant ambient light: the zero code is lit by it alone."""
    return illumination.at[0].add(AMBIENT)


def irradiance(normals: jax.Array, illumination: jax.Array) -> jax.Array:
    """sum_b gamma_b H_b(n) [3, N] of normals [3, N] and gamma [9, 3], which goes without the
    ambient constant.

    The sum is written out: as a product with `sh_basis` it would go through memory."""
    light = with_ambient(illumination)[:, :, None]
    bands = _bands(*normals)
    return light[0] + sum(gamma * band[None] for gamma, band in zip(light[1:], bands, strict=True))


def shade(reflectance: jax.Array, normals: jax.Array, illumination: jax.Array) -> jax.Array:
    """Eq. 4: c = r * sum_b gamma_b H_b(n), not clipped.

    Args:
      reflectance: r [3, N], RGB in the image's own [0, 1] space.
      normals: n [3, N], camera space.
      illumination: gamma [9, 3], without the ambient constant, which is added here.

    Returns:
      [3, N] colors.
    """
    return reflectance * irradiance(normals, illumination)


def irradiance_vjp(normals: jax.Array, illumination: jax.Array, gradient: jax.Array) -> jax.Array:
    """The gradient [3, N] at the `normals` of the one at `irradiance`, [3, N]."""
    x, y, z = normals
    h1, h2, h3, h4, h5, h6, h7, h8 = (dot_columns(gamma, gradient) for gamma in illumination[1:])
    return jnp.stack(
        [
            _SQRT3 * h3 + _SQRT15 * (y * h4 + z * h7 + x * h8),
            _SQRT3 * h1 + _SQRT15 * (x * h4 + z * h5 - y * h8),
            _SQRT3 * h2 + _SQRT15 * (y * h5 + x * h7) + 3 * _SQRT5 * z * h6,
        ]
    )
