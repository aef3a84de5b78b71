"""Batches for training and evaluation, read by Grain's threads from a random-access source.

A source has `len(source)` and `source[i] -> dict(image uint8 [240, 240, 3], landmarks float32
[68, 2] px, confidence float32 [68], name str)`.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import grain
import numpy as np

from mofa_jax.data.feeds.mixture import Mixture, as_mixture

Example = dict[str, Any]
Batch = dict[str, np.ndarray]
_MAX_REPLACEMENTS = 1000
_BATCHES_AHEAD = 2
_logger = logging.getLogger(__name__)


class FeedError(ValueError):
    """A feed cannot be made from this source and these sizes, or nothing in it can be read."""


class Source(Protocol):
    """Random access to examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Example: ...


class Augment(Protocol):
    """Changes one example; draws only from the generator."""

    def __call__(self, example: Example, rng: np.random.Generator, /) -> Example: ...


class Feed:
    """An iterator of this process's batches whose place can be stored and restored.

    A batch is dict(image uint8 [B, 240, 240, 3], landmarks float32 [B, 68, 2], confidence float32
    [B, 68], name str [B], valid bool [B]), B = batch_size / process_count.
    """

    def __init__(
        self, batches: grain.IterDataset, sources: list[ForgivingSource], length: int | None
    ):
        self._iterator = iter(batches)
        self._sources = sources
        self._length = length

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    def __len__(self) -> int:
        """Return the number of batches of one epoch; TypeError for an endless feed."""
        if self._length is None:
            raise TypeError("a feed that repeats has no length")
        return self._length

    @property
    def num_failed(self) -> int:
        """How many records could not be read so far and were replaced."""
        return sum(source.num_failed for source in self._sources)

    def get_state(self) -> dict[str, Any]:
        """Return the place after the last batch yielded, a dict that JSON can hold."""
        return self._iterator.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after the batch at which `get_state` gave this state.

        Raises:
          FeedError: the state is that of another kind of feed.
        """
        if state.keys() != self.get_state().keys():
            raise FeedError(
                "the checkpoint's place in the data is not that of a feed from files; go on with "
                "--config.data.device_cache=on, as the run began"
            )
        self._iterator.set_state(state)


class ForgivingSource:
    """A source whose unreadable records are replaced by the next readable one.

    Each is named once in the log and counted.
    """

    def __init__(self, source: Source, log: Callable[[str], None]):
        self._source = source
        self._log = log
        self._failed: set[int] = set()
        self._lock = threading.Lock()

    @property
    def num_failed(self) -> int:
        return len(self._failed)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example:
        n = len(self._source)
        for k in range(min(n, _MAX_REPLACEMENTS)):
            index = (int(i) + k) % n
            try:
                return self._source[index]
            except Exception as error:  # whatever a decoder raises, the run goes on
                self._note(index, error)
        raise FeedError(
            f"{min(n, _MAX_REPLACEMENTS)} records in a row, from number {i}, cannot be read (see "
            "the log); prepare the data set again"
        )

    def _note(self, index: int, error: Exception) -> None:
        with self._lock:
            if index in self._failed:
                return
            self._failed.add(index)
        reason = " ".join(str(error).split()) or type(error).__name__
        self._log(f"record {index}: replaced by the next one: {reason}")


def make_feed(
    source: Source | Mixture,
    batch_size: int,
    seed: int = 0,
    augmentation: Augment | None = None,
    *,
    shuffle: bool = True,
    repeat: bool = True,
    process_index: int = 0,
    process_count: int = 1,
    num_threads: int = 2,
    log: Callable[[str], None] = _logger.warning,
) -> Feed:
    """Return the batches of one process.

    The source, the seed and the augmentation fix one endless sequence of examples; each example's
    random numbers follow from the seed and its place in the sequence, so they differ from epoch to
    epoch and depend neither on threads nor on processes. Global batch k is the places
    [k B, (k + 1) B) of it; process p of P gets the p-th of its P equal parts, so the processes'
    batches one after another are the batch of a single process.

    Args:
      source: the examples; of a `Mixture`, each source has a sequence of its own.
      batch_size: B, the global batch, a multiple of process_count.
      seed: 0 <= seed < 2^32.
      repeat: False gives one epoch; its last batch is filled up with repetitions of the first
        examples, `valid` False, so that all batches have one shape.
      num_threads: that read and augment ahead, each a batch at a time; 0 does it in the caller's.
      log: told of each unreadable record.

    Raises:
      FeedError: an empty source, or sizes that do not divide.
    """
    mixture = as_mixture(source)
    if not all(map(len, mixture.sources)):
        raise FeedError("a source has no examples; add photographs or change the split")
    if not repeat and len(mixture.sources) > 1:
        raise FeedError("a mixture has no end; join its sources for one epoch of them")
    if batch_size <= 0 or batch_size % process_count or not 0 <= process_index < process_count:
        raise FeedError(
            f"batch_size {batch_size} cannot be divided among {process_count} processes (this is "
            f"number {process_index}); make it a positive multiple"
        )
    sources = [ForgivingSource(source, log) for source in mixture.sources]
    num_examples = len(mixture)
    part = batch_size // process_count

    def example(place: int) -> Example:
        number, position = mixture.schedule(place)
        source = sources[number]
        epoch, i = divmod(position, len(source))
        if shuffle:
            i = int(_order(len(source), seed, number, epoch)[i])
        found = source[i]
        return augmentation(found, _generator(seed, number, position)) if augmentation else found

    def batch(number: int) -> Batch:
        """Return this process's part of a global batch."""
        start = number * batch_size + process_index * part
        places = range(start, start + part)
        valid = [repeat or place < num_examples for place in places]
        return stack_examples(map(example, places), part) | {"valid": np.array(valid)}

    num_batches = sys.maxsize // batch_size - 1 if repeat else -(-num_examples // batch_size)
    ahead = grain.ReadOptions(num_threads, max(num_threads, _BATCHES_AHEAD))
    batches = grain.MapDataset.range(num_batches).map(batch).to_iter_dataset(ahead)
    return Feed(batches, sources, None if repeat else num_batches)


@functools.lru_cache(maxsize=16)
def _order(count: int, seed: int, number: int, epoch: int) -> np.ndarray:
    """The order of `count` examples in an epoch of a source."""
    return _generator(seed, number, epoch, stream=1).permutation(count)


def _generator(seed: int, number: int, place: int, stream: int = 0) -> np.random.Generator:
    """Random numbers of a place (or epoch) of a source, made quickly: no state is hashed."""
    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, place, number]))


def stack_examples(examples: Iterable[Example], count: int) -> Batch:
    """Stack `count` examples into a batch, key by key; each is let go as soon as it is copied."""
    batch: dict[str, Any] = {}
    for row, example in enumerate(examples):
        for key, value in example.items():
            if row == 0:
                array = isinstance(value, np.ndarray)
                batch[key] = (
                    np.empty((count, *value.shape), value.dtype) if array else [None] * count
                )
            batch[key][row] = value
    return {key: np.asarray(values) for key, values in batch.items()}
