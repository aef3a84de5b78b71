"""Norms that stay finite at zero, pixels as floats, and what XLA is to leave alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

materialize = jax.lax.optimization_barrier
"""Arrays that XLA is to work out once and keep, instead of once for each of their readers."""

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


def rows(table: jax.Array, index: jax.Array) -> jax.Array:
    """`table[index]` of indices that are known to lie inside."""
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b in full precision, also on a GPU, where by default ten bits of each number count."""
    return jnp.matmul(a, b, precision="highest")


einsum = functools.partial(jnp.einsum, precision="highest")
"""jnp.einsum in full precision, as `product`."""


# The next three are products of matrices as well. So a CPU does them fastest; on a GPU, kernels for
# large matrices are slow at three rows, and plain sums become part of what comes before and after.


def turn(matrix: jax.Array, columns: jax.Array) -> jax.Array:
    """A matrix [3, 3] times columns [3, N]."""
    if jax.default_backend() == "cpu":
        return product(matrix, columns)
    return sum(matrix[:, k, None] * columns[k][None, :] for k in range(3))


def sum_of_outer_products(a: jax.Array, b: jax.Array) -> jax.Array:
    """[P, Q]: the sum over N of the outer products of columns [P, N] and [Q, N]."""
    if jax.default_backend() == "cpu":
        return product(a, b.T)
    return jnp.sum(a[:, None, :] * b[None, :, :], axis=-1)


def as_rows(columns: jax.Array) -> jax.Array:
    """[N, 3] of [3, N], on a CPU laid out row by row: under a transpose XLA keeps the columns."""
    if jax.default_backend() == "cpu":
        return product(columns.T, jnp.eye(3, dtype=columns.dtype))
    return columns.T


def dot_columns(a: jax.Array, b: jax.Array) -> jax.Array:
    """The dot products [N] of columns [3, N]: on a CPU faster than a reduction over three rows."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def normalize_columns(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Columns [3, N] of length one, their lengths and the inverse lengths [N].

    The zero column stays zero, its inverse length is zero, and it passes no gradient.
    """
    scale = jnp.maximum(jnp.maximum(jnp.abs(x[0]), jnp.abs(x[1])), jnp.abs(x[2]))
    scale = jax.lax.stop_gradient(scale)
    nonzero = scale > TINY
    inverse_scale = jnp.where(nonzero, 1 / jnp.where(nonzero, scale, 1.0), 0.0)
    scaled = x * inverse_scale[None, :]
    length = jnp.sqrt(jnp.where(nonzero, dot_columns(scaled, scaled), 1.0))
    unit = scaled / length[None, :]
    return unit, jnp.where(nonzero, scale * length, 0.0), inverse_scale / length


def as_floats(images: jax.Array | np.ndarray) -> jax.Array:
    """Pictures uint8 as float32 in [0, 1]."""
    return jnp.asarray(images, jnp.float32) / 255.0
