"""A batch on the devices: this process's part of it, cut into one part for each local device."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from mofa_jax.data.feeds.mixture import FeedError

KEYS = ("image", "landmarks", "confidence")


@dataclasses.dataclass(frozen=True)
class DeviceBatch:
    """This process's part of a batch, divided among its devices.

    Attributes:
      arrays: dict(image uint8 [devices, B / devices, H, W, 3], landmarks [devices, B / devices,
        68, 2] px, confidence [devices, B / devices, 68]), as the train step takes it; of rendered
        faces also code [devices, B / devices, D].
      name_of: gives the B names; it may wait for the device.
    """

    arrays: dict[str, jax.Array]
    name_of: Callable[[], Sequence[str]]

    def names(self) -> list[str]:
        """The B examples' names."""
        return [str(name) for name in self.name_of()]

    def images(self, count: int) -> np.ndarray:
        """Pictures of the first `count` examples, uint8 [count, H, W, 3]."""
        images = np.asarray(self.arrays["image"])
        return images.reshape(-1, *images.shape[2:])[:count]


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


def shard(batch: Mapping[str, jax.Array | np.ndarray]) -> dict[str, jax.Array]:
    """This process's arrays [B, ...] on its devices, as [devices, B / devices, ...]."""
    devices = jax.local_device_count()
    cut = {key: array.reshape(devices, -1, *array.shape[1:]) for key, array in batch.items()}
    return jax.device_put(cut, local_sharding())
