"""Batches drawn from faces that lie on the devices: a step costs the host one dispatch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.augment_draws import NUM_DRAWS
from mofa_jax.data.feeds.device_augment import augment_batch
from mofa_jax.data.feeds.device_cache import Cache, Share
from mofa_jax.data.feeds.prefetch import DeviceBatch
from mofa_jax.data.feeds.shuffle import hashed, permuted
from mofa_jax.data.feeds.streamed import FeedError


class CachedFeed:
    """Endless batches drawn and augmented on the devices, as `DeviceBatch`es.

    Batch k is a pure function of the seed and k. Each device goes through its examples of each
    corpus in a new order every epoch; of several corpora, the mixture's schedule says whose turn it
    is. The place is a number; after 2^32 examples on a device the sequence comes again.
    """

    def __init__(self, cache: Cache, batch_size: int, seed: int, augmentation: Augmentation):
        """`batch_size`: over all devices of all processes.

        Raises:
          FeedError: the devices do not divide the batch.
        """
        devices = jax.device_count()
        if batch_size <= 0 or batch_size % devices:
            raise FeedError(
                f"a batch of {batch_size} photographs cannot be divided among {devices} devices; "
                "make config.batch_size a multiple of the number of all devices"
            )
        self._cache, self._part, self._number = cache, batch_size // devices, 0
        draw = _make_draw(cache, self._part, seed, augmentation)
        self._draw = jax.pmap(draw, axis_name="batch", in_axes=(0, None, None))

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        period, offset = divmod(self._number * self._part, len(self._cache.mixture.schedule.corpus))
        batch, rows = self._draw(self._cache.share, np.uint32(period % 2**32), np.uint32(offset))
        self._number += 1
        return DeviceBatch(batch, lambda: self._names(rows))

    @property
    def num_failed(self) -> int:
        """How many records could not be read and were replaced."""
        return self._cache.num_failed

    def get_state(self) -> dict[str, int]:
        """The number of the next batch."""
        return {"batches": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on with the batch of that number.

        Raises:
          FeedError: the state is that of another kind of feed.
        """
        if "batches" not in state:
            raise FeedError(
                "the checkpoint's place in the data is not that of a device cache; go on with "
                "--config.data.device_cache=off, as the run began"
            )
        self._number = state["batches"]

    def close(self) -> None:
        """Nothing runs ahead: nothing to end."""

    def _names(self, rows: jax.Array) -> list[str]:
        pairs = zip(self._cache.names, np.asarray(rows), strict=True)
        return [names[row] for names, some in pairs for row in some]


def _make_draw(cache: Cache, part: int, seed: int, augmentation: Augmentation) -> Callable:
    """(a device's share, place of a batch) -> (its part of the batch, the rows [part] drawn)."""
    schedule, start = cache.mixture.schedule, cache.start.astype(np.uint32)
    table = [jnp.asarray(array, jnp.uint32) for array in dataclasses.astuple(schedule)]
    period_length = len(schedule.corpus)

    def draw(share: Share, period: jax.Array, offset: jax.Array):
        corpus_at, rank_at, places_of = table
        place = offset + jnp.arange(part, dtype=jnp.uint32)
        period, place = period + place // period_length, place % period_length
        corpus = corpus_at[place]
        position = period * places_of[corpus] + rank_at[place]
        count = share.count[corpus]
        stream = hashed(jnp.full_like(corpus, seed), corpus, jnp.full_like(corpus, share.device))
        order = hashed(stream, position // count)
        row = jnp.asarray(start)[corpus] + permuted(position % count, count, order)
        batch = {key: array[row] for key, array in share.arrays.items()}
        return augment_batch(augmentation, batch, _random_numbers(seed, stream, position)), row

    return draw


def _random_numbers(seed: int, stream: jax.Array, position: jax.Array) -> jax.Array:
    """[B, NUM_DRAWS] in [-1, 1): of each position in a stream, its own."""

    def numbers(stream: jax.Array, position: jax.Array) -> jax.Array:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), position)
        return jax.random.uniform(key, (NUM_DRAWS,), minval=-1.0, maxval=1.0)

    return jax.vmap(numbers)(stream, position)
