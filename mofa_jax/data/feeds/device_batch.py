"""Batches on the devices: this process's part of them, cut into one part for each local device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from mofa_jax.data.feeds.mixture import FeedError

KEYS = ("image", "landmarks", "confidence")


_KINDS = {  # a key of the place in the data that a kind of feed gives, and how that kind is had
    "number": "--config.data.kind=synthetic",
    "batches": "--config.data.device_cache=on",
}


def check_place(place: Mapping[str, object], own: Mapping[str, object]) -> None:
    """Raises FeedError if a checkpoint's place in the data is not of the kind of a feed's `own`."""
    if place.keys() == own.keys():
        return
    began = [how for key, how in _KINDS.items() if key in place]
    how = began[0] if began else "photographs and --config.data.device_cache=off"
    raise FeedError(
        f"the checkpoint's place in the data is of another kind of feed; go on with {how}, as the "
        "run began, or give another workdir"
    )


def keys_of(example: Mapping[str, object]) -> tuple[str, ...]:
    """What of an example goes to the devices: `KEYS`, and the true `code` if it comes with one."""
    return (*KEYS, "code") if "code" in example else KEYS


@dataclasses.dataclass(frozen=True)
class DeviceBatches:
    """This process's part of K batches in a row, divided among its devices.

    Attributes:
      arrays: dict(image uint8 [devices, K, B / devices, H, W, 3], landmarks [devices, K, B /
        devices, 68, 2] px, confidence [devices, K, B / devices, 68]), as the train step takes them;
        where it is asked for, also code [devices, K, B / devices, D], NaN what is not known.
      name_of: gives the K B names; it may wait for the device.
    """

    arrays: dict[str, jax.Array]
    name_of: Callable[[], Sequence[str]]

    def __len__(self) -> int:
        return self.arrays["image"].shape[1]

    def names(self, number: int) -> list[str]:
        """The names of the B examples of one of the batches."""
        names = [str(name) for name in self.name_of()]
        size = len(names) // len(self)
        return names[number * size :][:size]

    def examples(self, count: int) -> dict[str, np.ndarray]:
        """The last batch's first `count` examples: the names of `arrays`, [count, ...] each."""

        def first(array: jax.Array) -> np.ndarray:
            last = np.asarray(array[:, -1])
            return last.reshape(-1, *last.shape[2:])[:count]

        return {key: first(array) for key, array in self.arrays.items()}


def part_of_batch(batch_size: int) -> int:
    """Each device's part of a batch of `batch_size` over all devices of all processes.

    Raises:
      FeedError: the devices do not divide the batch.
    """
    devices = jax.local_device_count() * jax.process_count()
    if batch_size <= 0 or batch_size % devices:
        raise FeedError(
            f"a batch of {batch_size} photographs cannot be divided among {devices} devices; make "
            "config.batch_size a multiple of the number of all devices"
        )
    return batch_size // devices


def local_sharding() -> jax.sharding.NamedSharding:
    """How an array [devices, ...] lies on this process's devices, a row on each."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))


def shard(batches: Mapping[str, jax.Array | np.ndarray]) -> dict[str, jax.Array]:
    """This process's arrays [K, B, ...] on its devices, as [devices, K, B / devices, ...]."""
    devices = jax.local_device_count()

    def cut(array: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
        parts = array.reshape(len(array), devices, -1, *array.shape[2:])
        return parts.swapaxes(0, 1)

    return jax.device_put(jax.tree.map(cut, dict(batches)), local_sharding())
