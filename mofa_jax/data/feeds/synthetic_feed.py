"""Batches of synthetic faces, endless and keyed: the same interface as a feed of photographs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.data.synthetic.examples import as_stored, example_keys, synthetic_batch
from mofa_jax.face_model import FaceModel


class SyntheticFeed:
    """This process's part of the batches that (seed, split, number of the batch) give.

    A batch is dict(image uint8 [B, H, W, 3], landmarks [B, 68, 2] px, confidence [B, 68], code
    [B, D] the true codes, name str [B]), B = batch_size / process_count.

    Args:
      model, cam: render the faces.
      batch_size: of all processes together.
      ranges: of the distributions; the default ones if None.
      photographs: uint8 [K, h, w, 3] to cut backgrounds from; procedural backgrounds if None.
      seed, split: of the keys, as of `example_keys`.
      process_index, process_count: which part of the batches this is.
    """

    num_failed = 0  # records that could not be read

    def __init__(
        self,
        model: FaceModel,
        cam: Camera,
        batch_size: int,
        ranges: SyntheticRanges | None = None,
        photographs: np.ndarray | None = None,
        *,
        seed: int,
        split: str,
        process_index: int = 0,
        process_count: int = 1,
    ):
        self._model, self._cam, self._batch_size = model, cam, batch_size
        self._ranges = ranges
        self._photographs = None if photographs is None else jnp.asarray(photographs)
        self._seed, self._split, self._number = seed, split, 0
        part = batch_size // process_count
        self._part = slice(process_index * part, (process_index + 1) * part)

    def __iter__(self) -> "SyntheticFeed":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        keys = example_keys(self._seed, self._number, self._batch_size, self._split)[self._part]
        batch = synthetic_batch(keys, self._model, self._cam, self._ranges, self._photographs)
        arrays = jax.device_get(as_stored(batch))
        names = [f"synthetic {self._split} {self._number}:{i}" for i in range(len(keys))]
        self._number += 1
        return {**arrays, "name": np.array(names)}

    def get_state(self) -> dict[str, Any]:
        """The number of the next batch."""
        return {"number": self._number}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on with the batch of that number."""
        self._number = state["number"]
