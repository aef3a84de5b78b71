"""Batches that are read, decoded and augmented anew every epoch: a chain of Grain's data sets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import grain
import jax
import numpy as np

from mofa_jax.data.feeds.augment import Augmentation, augment
from mofa_jax.data.feeds.device_batch import (
    DeviceBatches,
    check_place,
    keys_of,
    part_of_batch,
    shard,
)
from mofa_jax.data.feeds.mixture import (
    Example,
    ExampleSource,
    ForgivingSource,
    Mixture,
    as_mixture,
)

_BATCHES_AHEAD = 2


class StreamedFeed:
    """This process's endless batches on its devices.

    The source and the seed fix one endless sequence of examples: each corpus in a new order every
    epoch, several corpora by turns as their weights say. An example's augmentation follows from the
    seed and its number in the sequence. Global batch k holds the examples [k B, (k + 1) B), and
    process p of P every P-th of them from the p-th on.

    Args:
      source: the examples; unreadable ones are replaced by the next, see `ForgivingSource`.
      batch_size: B, over all devices of all processes.
      seed: 0 <= seed < 2^32.
      augmentation: is done on the devices.
      num_threads: that read ahead, a batch at a time; by default one a processor.

    Raises:
      FeedError: the devices do not divide the batch.
    """

    def __init__(
        self,
        source: ExampleSource | Mixture,
        batch_size: int,
        seed: int,
        augmentation: Augmentation,
        num_threads: int | None = None,
    ):
        part_of_batch(batch_size)
        mixture = as_mixture(source)
        self._sources = [ForgivingSource(each) for each in mixture.sources]
        forgiving = Mixture(self._sources, mixture.weights)
        processes = jax.process_index(), jax.process_count()
        batches = training_batches(forgiving, batch_size, seed, *processes)
        self._iterator = iter(read_ahead(batches, num_threads))
        self._augment = _make_augment(augmentation, seed)

    def take(self, count: int) -> DeviceBatches:
        """The next `count` batches."""
        batches = [next(self._iterator) for _ in range(count)]
        stacked = {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}
        names = stacked.pop("name").ravel()
        arrays = shard(stacked)  # neither this nor the augmentation waits for the devices
        return DeviceBatches(self._augment(arrays), lambda: names)

    @property
    def num_failed(self) -> int:
        """How many records could not be read so far and were replaced."""
        return sum(source.num_failed for source in self._sources)

    def get_state(self) -> dict[str, Any]:
        """The place after the last batch given out, a dict that JSON can hold."""
        return self._iterator.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after the batch at which `get_state` gave this state.

        Raises:
          FeedError: the state is that of another kind of feed.
        """
        check_place(state, self.get_state())
        self._iterator.set_state(state)

    def close(self) -> None:
        """Ends the reading threads and the feed."""
        self._iterator.close()


def training_batches(
    mixture: Mixture, batch_size: int, seed: int, process_index: int = 0, process_count: int = 1
) -> grain.MapDataset:
    """One process's part of endless batches: dict(image, landmarks, confidence, name, number), each
    [B / process_count, ...]; `number` uint32 is that of the example in the whole sequence."""
    examples = endless(mixture.sources, mixture.weights, [seed]).map_with_index(_numbered)
    return examples[process_index::process_count].batch(batch_size // process_count)


def endless(
    sources: Sequence[Sequence[Any]], weights: Sequence[float], seed: Sequence[int]
) -> grain.MapDataset:
    """The sources' elements for ever: of each source all in a new order every epoch, of several by
    turns as their weights say."""
    shuffled = []
    for number, source in enumerate(sources):
        # Grain adds the epoch to a seed: those of sources must lie far apart.
        own_seed = int(np.random.SeedSequence([*seed, number]).generate_state(1)[0])
        shuffled.append(grain.MapDataset.source(source).seed(own_seed).shuffle().repeat())
    return grain.MapDataset.mix(shuffled, weights)


def eval_batches(
    source: ExampleSource, batch_size: int, num_threads: int | None = None
) -> Iterator[dict[str, np.ndarray]]:
    """All examples of a source once, in its order, every key [B, ...].

    `valid` bool [B] is False of the first examples, which fill up the last batch, so that all
    batches have one shape, and of those that stand in for unreadable ones (`ForgivingSource`).
    """
    count = len(source)

    def marked(i: int, example: Example) -> Example:
        replacement = example.get("replacement", False)
        return {**example, "valid": i < count and not replacement}

    examples = grain.MapDataset.source(source).repeat().map_with_index(marked)
    batches = examples[: -(-count // batch_size) * batch_size].batch(batch_size)
    with closing(iter(read_ahead(batches, num_threads))) as iterator:
        yield from iterator


def read_ahead(batches: grain.MapDataset, num_threads: int | None) -> grain.IterDataset:
    """The batches in their order, made ahead by threads; 0 makes each when it is asked for."""
    num_threads = (os.cpu_count() or 1) if num_threads is None else num_threads
    return batches.to_iter_dataset(grain.ReadOptions(num_threads, max(num_threads, _BATCHES_AHEAD)))


def _numbered(number: int, example: Example) -> Example:
    chosen = {key: example[key] for key in (*keys_of(example), "name")}
    return chosen | {"number": np.uint32(number % 2**32)}


def _make_augment(augmentation: Augmentation, seed: int):
    """(arrays [devices, K, B / devices, ...] with `number`) -> the same, augmented, without it."""

    def change(example: dict[str, jax.Array]) -> dict[str, jax.Array]:
        key = jax.random.fold_in(jax.random.key(seed), example.pop("number"))
        return augment(example, key, augmentation)

    if augmentation == Augmentation():
        return lambda arrays: {key: arrays[key] for key in keys_of(arrays)}
    return jax.pmap(lambda batches: jax.lax.map(jax.vmap(change), batches), axis_name="batch")
