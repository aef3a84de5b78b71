"""Norms whose values and gradients stay finite where the plain formulas divide by zero."""

import jax
import jax.numpy as jnp

TINY = 1e-30  # a shorter vector has no direction: 1 / length would overflow float32


def safe_norm(x: jax.Array, axis: int = -1) -> jax.Array:
    """Euclidean norm along `axis`; the gradient at zero is zero instead of NaN.

    The vector is divided by its largest entry first, so that no square over- or underflows.
    """
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, keepdims=True))
    zero = scale < TINY
    scaled = x / jnp.where(zero, jnp.ones_like(scale), scale)
    square = jnp.sum(scaled**2, axis=axis, keepdims=True)
    norm = scale * jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return jnp.squeeze(jnp.where(zero, jnp.zeros_like(norm), norm), axis=axis)


def safe_normalize(x: jax.Array, axis: int = -1) -> jax.Array:
    """`x` scaled to length one along `axis`; the zero vector stays zero, with zero gradient."""
    norm = jnp.expand_dims(safe_norm(x, axis=axis), axis)
    zero = norm < TINY
    return jnp.where(zero, jnp.zeros_like(x), x / jnp.where(zero, jnp.ones_like(norm), norm))
