"""Batches on the devices before the train step asks for them."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

KEYS = ("image", "landmarks", "confidence")


@dataclasses.dataclass(frozen=True)
class DeviceBatch:
    """This process's part of a batch, divided among its devices.

    Attributes:
      arrays: dict(image uint8 [devices, B / devices, H, W, 3], landmarks [devices, B / devices,
        68, 2] px, confidence [devices, B / devices, 68]), as the train step takes it.
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


def local_sharding() -> jax.sharding.NamedSharding:
    """How an array [devices, ...] lies on this process's devices, a row on each."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))


def shard(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """This process's batch [B, ...] cut into one part a local device [devices, B / devices, ...].

    Raises:
      ValueError: the devices do not divide the batch.
    """
    devices = jax.local_device_count()

    def cut(array: np.ndarray) -> np.ndarray:
        if len(array) % devices:
            raise ValueError(
                f"a batch of {len(array)} photographs cannot be divided among {devices} devices; "
                "make config.batch_size a multiple of the number of all devices."
            )
        return array.reshape(devices, -1, *array.shape[1:])

    return {key: cut(np.asarray(batch[key])) for key in KEYS}


class Prefetch:
    """A feed's batches as `DeviceBatch`es, `ahead` of them made and moved by a thread.

    With 0 there is no thread: a batch is made when it is asked for, as suits a feed that computes
    on the device itself.

    `get_state` speaks of the batches that were taken out, not of those that wait; so a run that is
    resumed sees each batch once. Whatever the feed raises reaches the caller of `next`.
    """

    def __init__(self, feed: Any, ahead: int = 2):
        """`feed`: `next(feed)` gives dict(image [B, H, W, 3], ..., name [B]); get_state, set_state.

        Raises:
          ValueError: `ahead` is negative.
        """
        if ahead < 0:
            raise ValueError(f"data.batches_ahead is {ahead}; it must be at least 0.")
        self._feed, self._ahead = feed, ahead
        self._state = feed.get_state()
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> DeviceBatch:
        if self._ahead == 0:
            batch, self._state = self._make()
            return batch
        if self._thread is None:
            self._start()
        batch, state, error = self._ready.get()
        if error is not None:
            self.close()
            raise error
        self._state = state
        return batch

    @property
    def num_failed(self) -> int:
        """How many records could not be read so far and were replaced."""
        return self._feed.num_failed

    def get_state(self) -> dict[str, Any]:
        """The feed's place after the last batch given out."""
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after the batch at which `get_state` gave this state."""
        self.close()
        self._feed.set_state(state)
        self._state = state

    def close(self) -> None:
        """Ends the thread; the next `next` goes on after the last batch given out."""
        if self._thread is None:
            return
        self._stop.set()
        while self._thread.is_alive():  # it may wait for room
            try:
                self._ready.get(timeout=0.01)
            except queue.Empty:
                continue
        self._thread = None
        self._feed.set_state(self._state)

    def _start(self) -> None:
        self._ready: queue.Queue = queue.Queue(self._ahead)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prefetch", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                self._ready.put((*self._make(), None))
        except BaseException as error:  # StopIteration too: the caller's to handle
            self._ready.put((None, None, error))

    def _make(self) -> tuple[DeviceBatch, dict[str, Any]]:
        """The feed's next batch on the devices, and the feed's place after it."""
        batch = next(self._feed)
        state, names = self._feed.get_state(), batch["name"]
        arrays = jax.device_put(shard(batch), local_sharding())
        return DeviceBatch(arrays, lambda: names), state
