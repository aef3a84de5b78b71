"""All training faces on the devices.

Device g of the G devices of all processes holds the examples g, g + G, g + 2 G, ... of each corpus.
mofa_jax/data/feeds/cached_feed.py draws batches from them.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from tqdm import tqdm

from mofa_jax.data.feeds.mixture import Mixture, as_mixture
from mofa_jax.data.feeds.prefetch import KEYS, local_sharding
from mofa_jax.data.feeds.streamed import FeedError, ForgivingSource, Source, stack_examples
from mofa_jax.processes import agree

MODES = ("auto", "on", "off")
_ROOM = 0.8  # of a device's free memory that the faces may take
_CHUNK = 256  # examples moved to a device at once
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
      mixture: where they come from.
      names: names[device][row].
      num_failed: records that could not be read and were replaced by the next one.
    """

    share: Share
    start: np.ndarray
    mixture: Mixture
    names: list[list[str]]
    num_failed: int


def use_cache(mode: str, source: Source | Mixture) -> bool:
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
    source: Source | Mixture,
    num_threads: int = 2,
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
    local = jax.local_devices()
    first = jax.process_index() * len(local)
    numbers = range(first, first + len(local))
    rows = _rows_of_each(mixture)
    start = np.cumsum([0, *rows[:-1]])
    parts, names = [], []
    total = sum(len(_indices(number, each)) for number in numbers for each in sources)
    quiet = jax.process_index() > 0
    with (
        ThreadPoolExecutor(max(num_threads, 1)) as pool,
        tqdm(total=total, unit="face", desc="Filling the device cache", disable=quiet) as bar,
    ):
        for device, number in zip(local, numbers, strict=True):
            part, own = _fill(device, number, sources, start, sum(rows), pool, bar)
            parts.append(part)
            names.append(own)
    share = jax.tree.map(_assemble, *parts)
    return Cache(share, start, mixture, names, sum(each.num_failed for each in sources))


def _fill(
    device: jax.Device,
    number: int,
    sources: list[ForgivingSource],
    start: np.ndarray,
    num_rows: int,
    pool: ThreadPoolExecutor,
    bar: tqdm,
) -> tuple[Share, list[str]]:
    """One device's share, as the only row of its arrays, and the rows' names."""
    example = sources[0][0]
    shapes = {key: (1, num_rows, *example[key].shape) for key in KEYS}
    arrays = {
        key: jnp.zeros(shape, example[key].dtype, device=device) for key, shape in shapes.items()
    }
    names = [""] * num_rows
    counts = []
    for source, row in zip(sources, start.tolist(), strict=True):
        indices = _indices(number, source)
        counts.append(len(indices))
        for first in range(0, len(indices), _CHUNK):
            some = indices[first : first + _CHUNK]
            chunk = stack_examples(pool.map(source.__getitem__, some), len(some))
            at = row + first
            names[at : at + len(some)] = chunk["name"].tolist()
            moved = jax.device_put({key: chunk[key][None] for key in KEYS}, device)
            arrays = _write(arrays, moved, jax.device_put(np.int32(at), device))
            bar.update(len(some))
    count, own = np.array([counts], np.uint32), np.array([number], np.uint32)
    return Share(arrays, *jax.device_put((count, own), device)), names


def _indices(number: int, source: Source) -> range:
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


def _num_bytes(source: Source | Mixture) -> int:
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
