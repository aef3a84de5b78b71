"""Batches of synthetic faces, endless and keyed: the same interface as a feed of photographs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.data.feeds.augment import Augmentation, augment
from mofa_jax.data.feeds.device_batch import KEYS, DeviceBatches, check_place, part_of_batch, shard
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.data.synthetic.examples import (
    SPLITS,
    as_stored,
    example_keys,
    synthetic_batch,
)
from mofa_jax.face_model import FaceModel

# Makes of a face's key that of its augmentation: beyond what `jax.random.split` makes of it, whose
# i-th key is that of `fold_in` with i.
_AUGMENTED = 1000


class SyntheticFeed:
    """This process's part of the training batches that a seed and their numbers give.

    Args:
      model, cam: render the faces.
      batch_size: B, over all devices of all processes.
      ranges: of the distributions.
      photographs: uint8 [K, h, w, 3] to cut backgrounds from; procedural backgrounds if None.
      seed: of the keys, see `example_keys`.
      augmentation: of the pictures, besides what the ranges vary.

    Raises:
      FeedError: the devices do not divide the batch.
    """

    num_failed = 0  # records that could not be read

    def __init__(
        self,
        model: FaceModel,
        cam: Camera,
        batch_size: int,
        ranges: SyntheticRanges,
        photographs: np.ndarray | None,
        seed: int,
        augmentation: Augmentation | None = None,
    ):
        part = part_of_batch(batch_size) * jax.local_device_count()
        self._places = range(batch_size)[jax.process_index() * part :][:part]
        self._render = _make_render(model, cam, batch_size, ranges, photographs, augmentation)
        self._seed, self._number = seed, 0

    def take(self, count: int) -> DeviceBatches:
        """The next `count` batches."""
        numbers, places = range(self._number, self._number + count), self._places
        batches = self._render(self._seed, np.array(numbers), "train", places)
        self._number += count
        arrays = shard({key: batches[key] for key in (*KEYS, "code")})
        names = [f"synthetic train {number}:{i}" for number in numbers for i in places]
        return DeviceBatches(arrays, lambda: names)

    def get_state(self) -> dict[str, int]:
        """The number of the next batch."""
        return {"number": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on with the batch of that number.

        Raises:
          FeedError: the state is that of another kind of feed.
        """
        check_place(state, self.get_state())
        self._number = state["number"]

    def close(self) -> None:
        """Nothing runs ahead: nothing to end."""


class HeldOutFaces:
    """At least `num_eval` held-out faces, the same ones in every run and on every process.

    As a source, `faces[i] -> dict(image, landmarks, confidence, code, name)`, they are rendered
    when they are asked for; those of the last batch asked for are kept, so go through them in
    order. Otherwise as of `SyntheticFeed`.
    """

    def __init__(
        self,
        model: FaceModel,
        cam: Camera,
        batch_size: int,
        ranges: SyntheticRanges,
        photographs: np.ndarray | None,
        num_eval: int,
    ):
        render = _make_render(model, cam, batch_size, ranges, photographs)
        self._num_batches, self._size = -(-num_eval // batch_size), batch_size

        @functools.lru_cache(maxsize=1)
        def batch(number: int) -> dict[str, np.ndarray]:
            arrays = jax.device_get(render(0, np.array([number]), "eval", range(batch_size)))
            return {key: array[0] for key, array in arrays.items()}

        self._batch = batch

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """All faces: dict(image uint8 [B, H, W, 3], landmarks [B, 68, 2] px, confidence [B, 68],
        code [B, D] the true codes)."""
        return map(self._batch, range(self._num_batches))

    def __len__(self) -> int:
        return self._num_batches * self._size

    def __getitem__(self, i: int) -> dict[str, Any]:
        number, place = divmod(int(i), self._size)
        face = {key: array[place] for key, array in self._batch(number).items()}
        return {**face, "name": self.label_of(i)}

    def label_of(self, i: int) -> str:
        """An example's name."""
        return f"synthetic eval {i}"


def _make_render(model, cam, batch_size, ranges, photographs, augmentation=None):
    """(seed, numbers [K] of batches, split, places in each) -> those faces of them [K, B, ...], as
    they are stored."""
    augmentation = augmentation or Augmentation()
    settings = jax.device_put((model, cam, ranges, photographs))

    def render(seed: int, numbers: np.ndarray, split: str, places: range) -> dict[str, jax.Array]:
        start = np.uint32(seed), np.uint32(SPLITS[split]), np.asarray(numbers, np.int32)
        return _render_all(*jax.device_put(start), batch_size, places, augmentation, *settings)

    return render


@functools.partial(jax.jit, static_argnames=("batch_size", "places", "augmentation"))
def _render_all(seed, split, numbers, batch_size, places, augmentation, *settings):
    """One program for all feeds whose faces are equal but for their split and numbers."""

    def render_one(number: jax.Array) -> dict[str, jax.Array]:
        keys = example_keys(seed, number, batch_size, split)[places.start : places.stop]
        faces = as_stored(synthetic_batch(keys, *settings))
        if augmentation == Augmentation():
            return faces
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _AUGMENTED)
        return jax.vmap(augment, (0, 0, None))(faces, keys, augmentation)

    return jax.lax.map(render_one, numbers)
