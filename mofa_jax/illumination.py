"""Spherical-harmonics illumination (paper, Sec. 5.2, Eq. 4)."""

import math

import jax
import jax.numpy as jnp

from mofa_jax.numerics import dot_columns, product

AMBIENT = 0.7  # added to the ambient coefficients inside the renderer (paper, Sec. 5.2)

# Light from the direction d falls on the normal n with max(0, n . d), which is, up to band 2,
# sum_b a_b H_b(d) H_b(n) with these a_b (1, 3 and 5 of them): Ramamoorthi and Hanrahan, "An
# Efficient Representation for Irradiance Environment Maps", SIGGRAPH 2001.
_COSINE_BANDS = (1 / 4, *[1 / 6] * 3, *[1 / 16] * 5)

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
    return jnp.asarray(illumination).at[0].add(AMBIENT)


def without_ambient(light: jax.Array) -> jax.Array:
    """gamma [9, 3] of a light that is given whole: undoes `with_ambient`."""
    return jnp.asarray(light).at[0].add(-AMBIENT)


def irradiance(normals: jax.Array, illumination: jax.Array) -> jax.Array:
    """sum_b gamma_b H_b(n) [3, N] of normals [3, N] and gamma [9, 3], which goes without the
    ambient constant.

    The sum is written out: as a product with `sh_basis` it would go through memory.
    """
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


def front_mean(light: jax.Array) -> jax.Array:
    """The mean of a light over the normals that face the camera.

    Over the hemisphere z > 0 the mean normal is (0, 0, 1/2) and band 2 has none.

    Args:
      light: [9] or [9, 3], with its ambient part.

    Returns:
      [] or [3].
    """
    return light[0] + _SQRT3 / 2 * light[2]


def directed_light(azimuth: jax.Array, elevation: jax.Array) -> jax.Array:
    """The nine coefficients of a light from one direction, of mean one over the front.

    Args:
      azimuth: to the right of the camera, rad.
      elevation: above it, rad.
    """
    direction = jnp.stack(
        [
            jnp.cos(elevation) * jnp.sin(azimuth),
            jnp.sin(elevation),
            jnp.cos(elevation) * jnp.cos(azimuth),
        ]
    )
    light = jnp.array(_COSINE_BANDS) * sh_basis(direction[:, None])[:, 0]
    # The divisor is `front_mean(light)`; a light from far behind keeps a twentieth of it.
    return light / jnp.maximum((1 + direction[2]) / 4, 0.05)


def environment_light(panorama: jax.Array) -> jax.Array:
    """The light [9, 3] of an environment: irradiance over pi, projected to the nine bands.

    gamma_b = a_b / pi times the integral over all directions of L(d) H_b(d), so that a white
    environment is the ambient light (1, 0, ...).

    Args:
      panorama: L [H, 2 H, 3], equirectangular radiance. Its middle is what the camera sees behind
        the face (-z), its right half lies on the right, its left and right edges meet behind the
        camera, row 0 is straight above.
    """
    height, width = panorama.shape[:2]
    azimuth = 2 * jnp.pi * ((jnp.arange(width) + 0.5) / width - 0.5)
    edges = jnp.pi * (0.5 - jnp.arange(height + 1) / height)  # elevation of the rows' edges
    elevation = (edges[1:] + edges[:-1]) / 2
    solid_angle = 2 * jnp.pi / width * (jnp.sin(edges[:-1]) - jnp.sin(edges[1:]))

    def of_row(elevation: jax.Array, solid_angle: jax.Array, row: jax.Array) -> jax.Array:
        across = jnp.cos(elevation) * jnp.stack([jnp.sin(azimuth), -jnp.cos(azimuth)])
        up = jnp.full_like(azimuth, jnp.sin(elevation))
        directions = jnp.stack([across[0], up, across[1]])
        return product(solid_angle * sh_basis(directions), row)

    integral = jnp.sum(jax.vmap(of_row)(elevation, solid_angle, panorama), axis=0)
    return jnp.array(_COSINE_BANDS)[:, None] / jnp.pi * integral
