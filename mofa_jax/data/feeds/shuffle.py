"""A random order of n things, of which any single place can be asked for on the device."""

import jax
import jax.numpy as jnp

_ROUNDS = 6


def hashed(*numbers: jax.Array) -> jax.Array:
    """One uint32 of several (of equal shape), as good as random in each of their bits."""
    result = jnp.zeros_like(numbers[0], jnp.uint32)
    for number in numbers:
        result = _mix(result + jnp.uint32(0x9E3779B9) + _mix(number.astype(jnp.uint32)))
    return result


def permuted(place: jax.Array, count: jax.Array, key: jax.Array) -> jax.Array:
    """Where each place goes in the order of `count` things that `key` gives.

    For each (count, key) this is a permutation of [0, count): a Feistel network permutes the
    smallest power of four that is no less than `count`, and is applied until the result lies below
    `count`. No array of the order is made.

    Args:
      place, count, key: uint32 of one shape, 0 <= place < count <= 2^31.
    """
    half = jnp.maximum((33 - jax.lax.clz(count - 1)) // 2, 1).astype(jnp.uint32)
    mask = (jnp.uint32(1) << half) - 1

    def cipher(value: jax.Array) -> jax.Array:
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            subkey = hashed(key, right + (jnp.uint32(number) << half))
            left, right = right, left ^ (subkey & mask)
        return (left << half) | right

    def outside(value: jax.Array) -> jax.Array:
        return jnp.any(value >= count)

    def walk(value: jax.Array) -> jax.Array:
        return jnp.where(value < count, value, cipher(value))

    return jax.lax.while_loop(outside, walk, cipher(place))


def _mix(x: jax.Array) -> jax.Array:
    """A bijection of the 32-bit numbers in which every bit depends on every bit."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
