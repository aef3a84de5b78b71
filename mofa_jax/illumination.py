"""Spherical-harmonics illumination (paper, Sec. 5.2, Eq. 4)."""

import math

import jax
import jax.numpy as jnp

AMBIENT = 0.7  # added to the ambient coefficients inside the renderer (paper, Sec. 5.2)

_SQRT3 = math.sqrt(3.0)
_SQRT5 = math.sqrt(5.0)
_SQRT15 = math.sqrt(15.0)


def sh_basis(normals: jax.Array) -> jax.Array:
    """The nine real spherical harmonics up to band 2, divided by the constant one.

    Polynomials in the normal (no angles, so no poles), without the Condon-Shortley phase.

    Args:
      normals: [N, 3] unit vectors, camera space.

    Returns:
      [N, 9]: 1; y, z, x; xy, yz, 3z^2 - 1, xz, x^2 - y^2 with their factors (H_b = Y_b / Y_0).
    """
    x, y, z = normals[:, 0], normals[:, 1], normals[:, 2]
    return jnp.stack(
        [
            jnp.ones_like(x),
            _SQRT3 * y,
            _SQRT3 * z,
            _SQRT3 * x,
            _SQRT15 * x * y,
            _SQRT15 * y * z,
            _SQRT5 / 2 * (3 * z * z - 1),
            _SQRT15 * x * z,
            _SQRT15 / 2 * (x * x - y * y),
        ],
        axis=-1,
    )


def with_ambient(illumination: jax.Array) -> jax.Array:
    """gamma [9, 3] plus the constant ambient light: the zero code is lit by it alone."""
    return illumination.at[0].add(AMBIENT)


def shade(reflectance: jax.Array, normals: jax.Array, illumination: jax.Array) -> jax.Array:
    """Eq. 4: c = r * sum_b gamma_b H_b(n), not clipped.

    Args:
      reflectance: r [N, 3], RGB in the image's own [0, 1] space.
      normals: n [N, 3], camera space.
      illumination: gamma [9, 3], without the ambient constant, which is added here.

    Returns:
      [N, 3] colors.
    """
    return reflectance * (sh_basis(normals) @ with_ambient(illumination))
