"""The order that is asked for place by place is a permutation, and as good as a random one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mofa_jax.data.feeds.shuffle import hashed, permuted


def order(count: int, key: int) -> np.ndarray:
    places = jnp.arange(count, dtype=jnp.uint32)
    full = jnp.full_like
    return np.asarray(jax.jit(permuted)(places, full(places, count), full(places, key)))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000, 4097])
def test_every_thing_has_one_place(count):
    for key in (0, 1, 12345):
        assert sorted(order(count, key).tolist()) == list(range(count))


def test_large_count_keeps_within_its_range_without_a_collision():
    count = 2**31
    places = jnp.arange(count - 2000, count, dtype=jnp.uint32)
    found = np.asarray(
        permuted(places, jnp.full_like(places, count), jnp.full_like(places, 3))
    ).astype(np.int64)
    assert len(set(found.tolist())) == 2000 and found.max() < count
    assert 0.45 < found.mean() / count < 0.55


def test_keys_give_unrelated_orders():
    first, second = order(5000, 1), order(5000, 2)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05
    assert (first == second).mean() < 0.002
    assert abs(np.corrcoef(first, np.arange(5000))[0, 1]) < 0.05


def test_each_thing_comes_to_each_place_equally_often():
    """Chi-squared over 3,000 keys: 49 degrees of freedom in each of 7 rows of places."""
    table = np.zeros((7, 7))
    keys = 3000
    for key in range(keys):
        table[np.arange(7), order(7, key)] += 1
    expected = keys / 7
    assert ((table - expected) ** 2 / expected).sum() < 70  # 36 free; p < 0.001


def test_neighbors_are_not_kept_together():
    apart = np.abs(np.diff(order(10_000, 7).astype(int)))
    assert 0.31 < apart.mean() / 10_000 < 0.36  # a third, as for a random order


def test_hash_changes_half_of_the_bits_with_any_bit():
    numbers = jnp.arange(256, dtype=jnp.uint32)
    other = jnp.full_like(numbers, 5)
    plain = np.asarray(hashed(numbers, other))
    for bit in (0, 7, 31):
        changed = np.asarray(hashed(numbers ^ jnp.uint32(1 << bit), other))
        assert 0.45 < np.unpackbits((plain ^ changed).view(np.uint8)).mean() < 0.55
    assert (np.asarray(hashed(other, numbers)) != plain).mean() > 0.99
