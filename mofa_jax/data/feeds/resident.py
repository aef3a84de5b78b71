"""Batches drawn from faces that lie on the devices: a step costs the host one dispatch.

Device g of the G devices of all processes holds the examples g, g + G, g + 2 G, ... of each corpus.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from tqdm import tqdm

from mofa_jax.data.feeds.augment import Augmentation, augment
from mofa_jax.data.feeds.device_batch import KEYS, DeviceBatch, local_sharding, part_of_batch
from mofa_jax.data.feeds.mixture import (
    SMALLEST_SHARE,
    ExampleSource,
    FeedError,
    ForgivingSource,
    Mixture,
    as_mixture,
)
from mofa_jax.data.feeds.shuffle import hashed, permuted
from mofa_jax.data.feeds.streamed import read_ahead
from mofa_jax.processes import agree

MODES = ("auto", "on", "off")
_ROOM = 0.8  # of a device's free memory that the faces may take
_CHUNK = 64  # examples moved to a device at once
_PERIOD = round(4 / SMALLEST_SHARE)  # places after which the pattern of corpora comes again
_logger = logging.getLogger(__name__)


@struct.dataclass
class Share:
    """What each device holds: R rows, corpus after corpus.

    Attributes:
      arrays: dict(image uint8 [devices, R, H, W, 3], landmarks [devices, R, 68, 2], confidence
        [devices, R, 68]).
      count: [devices, C] uint32, examples of each corpus.
      device: [devices] uint32, the devices' numbers among those of all processes.
    """

    arrays: dict[str, jax.Array]
    count: jax.Array
    device: jax.Array


@dataclasses.dataclass(frozen=True)
class Cache:
    """Faces on this process's devices.

    Attributes:
      share: each device's.
      start: [C], the first row of each corpus, the same on all devices.
      weights: [C], how often each corpus is drawn from.
      names: names[device][row].
      num_failed: records that could not be read and were replaced by the next one.
    """

    share: Share
    start: np.ndarray
    weights: tuple[float, ...]
    names: list[list[str]]
    num_failed: int


class ResidentFeed:
    """Endless batches drawn and augmented on the devices, as `DeviceBatch`es.

    Batch k is a pure function of the seed and k. Each device goes through its examples of each
    corpus in a new order every epoch; of several corpora, a pattern that repeats says whose turn it
    is. The place is a number; after 2^32 examples on a device the sequence comes again.

    Args:
      cache: the faces.
      batch_size: over all devices of all processes.
      seed: 0 <= seed < 2^32.
      augmentation: of the examples.

    Raises:
      FeedError: the devices do not divide the batch.
    """

    def __init__(self, cache: Cache, batch_size: int, seed: int, augmentation: Augmentation):
        self._cache, self._part, self._number = cache, part_of_batch(batch_size), 0
        draw = _make_draw(cache, self._part, seed, augmentation)
        self._draw = jax.pmap(draw, axis_name="batch", in_axes=(0, None, None))

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        period, offset = divmod(self._number * self._part, _PERIOD)
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
    table = [jnp.asarray(array, jnp.uint32) for array in _turns(cache.weights)]
    start = jnp.asarray(cache.start, jnp.uint32)

    def draw(share: Share, period: jax.Array, offset: jax.Array):
        corpus_at, rank_at, places_of = table
        place = offset + jnp.arange(part, dtype=jnp.uint32)
        period, place = period + place // _PERIOD, place % _PERIOD
        corpus = corpus_at[place]
        position = period * places_of[corpus] + rank_at[place]
        count = share.count[corpus]
        stream = hashed(jnp.full_like(corpus, seed), corpus, jnp.full_like(corpus, share.device))
        order = hashed(stream, position // count)
        row = start[corpus] + permuted(position % count, count, order)
        batch = {key: array[row] for key, array in share.arrays.items()}
        if augmentation != Augmentation():
            batch = jax.vmap(change)(batch, stream, position)
        return batch, row

    def change(example: dict, stream: jax.Array, position: jax.Array) -> dict:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), stream), position)
        return augment(example, key, augmentation)

    return draw


def _turns(weights: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whose turn it is, by Grain's rule, as of the streamed feed: the corpus of each place of a
    period [P], how many places before it are of the same corpus [P], and each corpus's number of
    places [C]."""
    numbers = [grain.MapDataset.source([number]).repeat() for number in range(len(weights))]
    mixed = grain.MapDataset.mix(numbers, weights)
    corpus = np.array([mixed[place] for place in range(_PERIOD)])
    is_of = corpus[:, None] == np.arange(len(weights))[None, :]
    rank = (is_of.cumsum(axis=0) - 1)[np.arange(_PERIOD), corpus]
    return corpus, rank, is_of.sum(axis=0)


def use_cache(mode: str, source: ExampleSource | Mixture) -> bool:
    """Whether the examples of `source` are to be held on the devices, the same on all processes.

    Raises:
      FeedError: an unknown mode, or "on" where they do not fit.
    """
    if mode not in MODES:
        raise FeedError(f"data.device_cache is {mode!r}; choose {', '.join(MODES)}")
    if mode == "off" or (mode == "auto" and jax.default_backend() == "cpu"):
        return False
    needed, room = _num_bytes(source), _room()
    (too_large,) = agree([room is None or needed > room], step=0, period=1)
    if mode == "auto":
        return not too_large
    if room is not None and too_large:
        raise FeedError(
            f"the training faces take {needed / 1e9:.1f} GB a device, more than the "
            f"{room / 1e9:.1f} GB that are free for them; set data.device_cache to off, or train "
            "on more devices"
        )
    return True


def load_cache(
    source: ExampleSource | Mixture,
    num_threads: int | None = None,
    log: Callable[[str], None] = _logger.warning,
) -> Cache:
    """Read all examples and put this process's share on its devices.

    `log` is told of each unreadable record; the next readable one takes its place.

    Raises:
      FeedError: a corpus has fewer examples than there are devices.
    """
    mixture = as_mixture(source)
    sources = [ForgivingSource(each, log) for each in mixture.sources]
    for each in sources:
        if len(each) < jax.device_count():
            raise FeedError(
                f"{len(each)} examples cannot be divided among {jax.device_count()} devices; set "
                "data.device_cache to off"
            )
    rows = _rows_of_each(mixture)
    start = np.cumsum([0, *rows[:-1]])
    local = jax.local_devices()
    first = jax.process_index() * len(local)
    total = sum(len(_indices(first + k, each)) for k in range(len(local)) for each in sources)
    quiet = jax.process_index() > 0
    with tqdm(total=total, unit="face", desc="Filling the device cache", disable=quiet) as bar:
        filled = [
            _fill(device, first + k, sources, start, sum(rows), num_threads, bar)
            for k, device in enumerate(local)
        ]
    share = jax.tree.map(_assemble, *(part for part, _ in filled))
    num_failed = sum(each.num_failed for each in sources)
    return Cache(share, start, mixture.weights, [names for _, names in filled], num_failed)


def _fill(
    device: jax.Device,
    number: int,
    sources: list[ForgivingSource],
    start: np.ndarray,
    num_rows: int,
    num_threads: int | None,
    bar: tqdm,
) -> tuple[Share, list[str]]:
    """One device's share, as the only row of its arrays, and the rows' names."""
    example = sources[0][0]
    shapes = {key: (1, num_rows, *example[key].shape) for key in KEYS}
    arrays = {
        key: jnp.zeros(shape, example[key].dtype, device=device) for key, shape in shapes.items()
    }
    names = [""] * num_rows
    for source, at in zip(sources, start.tolist(), strict=True):
        own = grain.MapDataset.source(source)[number :: jax.device_count()]
        with closing(iter(read_ahead(own.batch(_CHUNK), num_threads))) as chunks:
            for chunk in chunks:
                count = len(chunk["name"])
                names[at : at + count] = chunk["name"].tolist()
                moved = jax.device_put({key: chunk[key][None] for key in KEYS}, device)
                arrays = _write(arrays, moved, jax.device_put(np.int32(at), device))
                at += count
                bar.update(count)
    counts = np.array([[len(_indices(number, source)) for source in sources]], np.uint32)
    own = np.array([number], np.uint32)
    return Share(arrays, *jax.device_put((counts, own), device)), names


def _indices(number: int, source: ExampleSource) -> range:
    """The examples of a source that a device holds."""
    return range(number, len(source), jax.device_count())


@jax.jit(donate_argnums=(0,))
def _write(arrays: dict, chunk: dict, row: jax.Array) -> dict:
    """`arrays` [1, R, ...] with `chunk` [1, K, ...] written from a row on."""
    write = jax.lax.dynamic_update_slice_in_dim
    return {key: write(array, chunk[key], row, axis=1) for key, array in arrays.items()}


def _assemble(*parts: jax.Array) -> jax.Array:
    """Arrays [1, ...] on each device, as one [devices, ...]."""
    shape = (len(parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, local_sharding(), list(parts))


def _rows_of_each(mixture: Mixture) -> list[int]:
    """Rows on a device for each corpus."""
    return [-(-len(source) // jax.device_count()) for source in mixture.sources]


def _num_bytes(source: ExampleSource | Mixture) -> int:
    """What the examples take on each device."""
    mixture = as_mixture(source)
    example = ForgivingSource(mixture.sources[0], lambda _: None)[0]
    return sum(_rows_of_each(mixture)) * sum(example[key].nbytes for key in KEYS)


def _room() -> float | None:
    """Bytes that the faces may take on each local device; None where the backend does not say."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if not all(each and "bytes_limit" in each for each in stats):
        return None
    return _ROOM * min(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in stats)
