"""Batches drawn from faces that lie on the devices: the host only says which.

Device g of the G devices of all processes holds the examples g, g + G, g + 2 G, ... of each corpus.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from mofa_jax.data.feeds.augment import Augmentation, augment
from mofa_jax.data.feeds.device_batch import (
    DeviceBatches,
    check_place,
    keys_of,
    local_sharding,
    part_of_batch,
)
from mofa_jax.data.feeds.mixture import (
    ExampleSource,
    FeedError,
    ForgivingSource,
    Mixture,
    as_mixture,
)
from mofa_jax.data.feeds.streamed import endless, read_ahead
from mofa_jax.processes import agree

MODES = ("auto", "on", "off")
_ROOM = 0.8  # of a device's free memory that the faces may take
_CHUNK = 64  # examples moved to a device at once
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cache:
    """Faces on this process's devices, R rows on each, corpus after corpus.

    Attributes:
      arrays: dict(image uint8 [devices, R, H, W, 3], landmarks [devices, R, 68, 2], confidence
        [devices, R, 68]), and perhaps code [devices, R, D].
      rows: rows[device][corpus], those that hold the corpus's examples.
      weights: [C], how often each corpus is drawn from.
      names: names[device][row].
      num_failed: records that could not be read and were replaced by the next one.
    """

    arrays: dict[str, jax.Array]
    rows: list[list[range]]
    weights: tuple[float, ...]
    names: list[list[str]]
    num_failed: int


class ResidentFeed:
    """Endless batches drawn and augmented on the devices.

    Batch k is a pure function of the seed and k. Each device goes through its examples of each
    corpus in a new order every epoch; of several corpora by turns, as their weights say. A device
    is one batch ahead of the one before it, so that a batch has faces of all corpora.

    Args:
      cache: the faces.
      batch_size: over all devices of all processes.
      seed: 0 <= seed < 2^32.
      augmentation: of the examples.

    Raises:
      FeedError: the devices do not divide the batch.
    """

    def __init__(self, cache: Cache, batch_size: int, seed: int, augmentation: Augmentation):
        self._cache, self._number, part = cache, 0, part_of_batch(batch_size)
        self._devices, self._sharding = _numbers_of_devices(), local_sharding()
        self._rows = [
            endless(rows, cache.weights, [seed, device])
            .map_with_index(lambda place, row: (row, np.uint32(place % 2**32)))
            .batch(part)
            for device, rows in zip(self._devices.tolist(), cache.rows, strict=True)
        ]
        self._draw = jax.pmap(_make_draw(seed, augmentation), axis_name="batch")

    def take(self, count: int) -> DeviceBatches:
        """The next `count` batches."""
        numbers = range(self._number, self._number + count)
        drawn = [
            [rows[device + number] for number in numbers]
            for device, rows in zip(self._devices.tolist(), self._rows, strict=True)
        ]
        rows, places = np.moveaxis(np.array(drawn, np.uint32), 2, 0)  # [devices, count, B]
        self._number += count
        arguments = jax.device_put((rows, places, self._devices), self._sharding)
        arrays = self._draw(self._cache.arrays, *arguments)
        return DeviceBatches(arrays, lambda: self._names(rows))

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
        check_place(state, self.get_state())
        self._number = state["batches"]

    def close(self) -> None:
        """Nothing runs ahead: nothing to end."""

    def _names(self, rows: np.ndarray) -> list[str]:
        """Of rows [devices, K, B / devices], batch after batch."""
        return [
            names[row]
            for batch in rows.swapaxes(0, 1)
            for names, part in zip(self._cache.names, batch, strict=True)
            for row in part
        ]


def _make_draw(seed: int, augmentation: Augmentation) -> Callable:
    """(a device's faces, rows [K, B] of them, the rows' places in its order [K, B], its number) ->
    its part of K batches."""

    def draw(arrays: dict, rows: jax.Array, places: jax.Array, device: jax.Array) -> dict:
        batches = {key: array[rows] for key, array in arrays.items()}
        if augmentation == Augmentation():
            return batches
        key = jax.random.fold_in(jax.random.key(seed), device)

        def change(place: jax.Array, example: dict) -> dict:
            return augment(example, jax.random.fold_in(key, place), augmentation)

        # One batch after the other: the floating-point pictures of all would take gigabytes.
        return jax.lax.map(lambda batch: jax.vmap(change)(*batch), (places, batches))

    return draw


def _numbers_of_devices() -> np.ndarray:
    """[devices] uint32: those of this process among the devices of all."""
    count = jax.local_device_count()
    return np.arange(count, dtype=np.uint32) + np.uint32(jax.process_index() * count)


def use_cache(mode: str, source: ExampleSource | Mixture) -> bool:
    """Whether the examples of `source` are to be held on the devices, the same on all processes.

    Raises:
      FeedError: an unknown mode, or "on" where they do not fit or are fewer than the devices.
    """
    if mode not in MODES:
        raise FeedError(f"data.device_cache is {mode!r}; choose {', '.join(MODES)}")
    if mode == "off" or (mode == "auto" and jax.default_backend() == "cpu"):
        return False
    fewest = min(map(len, as_mixture(source).sources))
    if fewest < jax.device_count():
        if mode == "auto":
            return False
        raise FeedError(
            f"{fewest} examples cannot be divided among {jax.device_count()} devices; set "
            "data.device_cache to off"
        )
    needed, room = _num_bytes(source), _room()
    (too_large,) = agree([room is None or needed > room], step=0, period=1)
    if mode == "auto":
        return not too_large
    if room is not None and too_large:
        there = f"the {room / 1e9:.1f} GB" if needed > room else "another process has"
        raise FeedError(
            f"the training faces take {needed / 1e9:.1f} GB a device, more than {there} free for "
            "them; set data.device_cache to off, or train on more devices"
        )
    return True


def load_cache(
    source: ExampleSource | Mixture,
    num_threads: int | None = None,
    log: Callable[[str], None] = _logger.warning,
) -> Cache:
    """Read all examples and put this process's share on its devices.

    `log` is told of each unreadable record; the next readable one takes its place. Of every corpus
    each device needs an example, see `use_cache`.
    """
    mixture = as_mixture(source)
    sources = [ForgivingSource(each, log) for each in mixture.sources]
    shares = [
        [grain.MapDataset.source(each)[number :: jax.device_count()] for each in sources]
        for number in _numbers_of_devices().tolist()
    ]
    total, quiet = sum(len(each) for share in shares for each in share), jax.process_index() > 0
    with tqdm(total=total, unit="face", desc="Filling the device cache", disable=quiet) as bar:
        filled = [
            _fill(device, share, _rows_on_each_device(mixture), num_threads, bar)
            for device, share in zip(jax.local_devices(), shares, strict=True)
        ]
    arrays, rows, names = zip(*filled, strict=True)
    num_failed = sum(each.num_failed for each in sources)
    assembled = jax.tree.map(_assemble, *arrays)
    return Cache(assembled, list(rows), mixture.weights, list(names), num_failed)


def _fill(
    device: jax.Device,
    share: list[grain.MapDataset],
    num_rows: int,
    num_threads: int | None,
    bar: tqdm,
) -> tuple[dict[str, jax.Array], list[range], list[str]]:
    """A device's faces, as the only row of its arrays, each corpus's rows, and the rows' names."""
    example = share[0][0]
    shapes = {key: (1, num_rows, *example[key].shape) for key in keys_of(example)}
    arrays = {
        key: jnp.zeros(shape, example[key].dtype, device=device) for key, shape in shapes.items()
    }
    rows, names = [], []
    for corpus in share:
        start = len(names)
        with closing(iter(read_ahead(corpus.batch(_CHUNK), num_threads))) as chunks:
            for chunk in chunks:
                moved = jax.device_put({key: chunk[key][None] for key in keys_of(chunk)}, device)
                arrays = _write(arrays, moved, jax.device_put(np.int32(len(names)), device))
                names += chunk["name"].tolist()
                bar.update(len(chunk["name"]))
        rows.append(range(start, len(names)))
    return arrays, rows, names


@jax.jit(donate_argnums=(0,))
def _write(arrays: dict, chunk: dict, row: jax.Array) -> dict:
    """`arrays` [1, R, ...] with `chunk` [1, K, ...] written from a row on."""
    write = jax.lax.dynamic_update_slice_in_dim
    return {key: write(array, chunk[key], row, axis=1) for key, array in arrays.items()}


def _assemble(*parts: jax.Array) -> jax.Array:
    """Arrays [1, ...] on each device, as one [devices, ...]."""
    shape = (len(parts), *parts[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, local_sharding(), list(parts))


def _rows_on_each_device(mixture: Mixture) -> int:
    """What holds the largest share."""
    return sum(-(-len(source) // jax.device_count()) for source in mixture.sources)


def _num_bytes(source: ExampleSource | Mixture) -> int:
    """What the examples take on each device."""
    mixture = as_mixture(source)
    example = ForgivingSource(mixture.sources[0], lambda _: None)[0]
    return _rows_on_each_device(mixture) * sum(example[key].nbytes for key in keys_of(example))


def _room() -> float | None:
    """Bytes that the faces may take on each local device; None where the backend does not say."""
    stats = [device.memory_stats() for device in jax.local_devices()]
    if not all(each and "bytes_limit" in each for each in stats):
        return None
    return _ROOM * min(each["bytes_limit"] - each.get("bytes_in_use", 0) for each in stats)
