"""Whose face a clip shows: one shape and reflectance for all of its frames."""

import dataclasses
from collections.abc import Mapping
from typing import Generic, TypeVar

import jax
import numpy as np

from mofa_jax.inference import Predictor, Reconstruction
from mofa_jax.params import FaceParams
from mofa_jax.reconstruction.found_faces import with_one_identity
from mofa_jax.results.clip import SHARED, Clip, stacked

KEYFRAMES = 8  # of a clip; that many faces are fitted together in two seconds

T = TypeVar("T")


class EvenlySpread(Generic[T]):
    """A few items of a stream whose length is not known, evenly spread over it.

    Up to twice as many are held; when they become more, every other one is let go.
    """

    def __init__(self, count: int):
        self._count, self._seen, self._stride = count, 0, 1
        self._held: dict[int, T] = {}

    def add(self, item: T) -> None:
        """The next one."""
        if self._seen % self._stride == 0:
            self._held[self._seen] = item
        if len(self._held) > 2 * self._count:
            self._stride *= 2
            self._held = {k: x for k, x in self._held.items() if k % self._stride == 0}
        self._seen += 1

    def items(self) -> dict[int, T]:
        """Those that are kept, by their places in the stream; all if there are no more."""
        places = list(self._held)
        count = min(self._count, len(places))
        chosen = np.linspace(0, len(places) - 1, count).round().astype(int)
        return {places[k]: self._held[places[k]] for k in chosen}


def with_median_identity(clip: Clip) -> Clip:
    """The clip with one shape and reflectance, the medians of its frames'."""
    params = jax.tree.map(np.asarray, clip.params)
    medians = {name: np.median(getattr(params, name), axis=0) for name in SHARED}
    return dataclasses.replace(clip, params=_with_identity(params, medians))


def with_fitted_identity(
    clip: Clip, keyframes: Mapping[int, Reconstruction], predict: Predictor, num_steps: int
) -> Clip:
    """The clip with the shape and the reflectance that fit some of its frames best.

    What the fit changes of pose, expression and light in these frames changes in those between
    them, too, by linear interpolation; so all frames show the face in a light that suits its new
    reflectance.

    Args:
      clip: of what the encoder sees in each frame.
      keyframes: some of its faces with their crops, by their places in `clip.frames`, rising.
      predict: the encoder that saw them.
      num_steps: of `fit_person`.
    """
    places, faces = list(keyframes), list(keyframes.values())
    fitted = stacked([face.params for face in with_one_identity(faces, predict, num_steps)])
    encoded = stacked([face.params for face in faces])
    times, known = clip.times, clip.times[places]

    def corrected(values: np.ndarray, change: np.ndarray) -> np.ndarray:
        columns = change.reshape(len(change), -1).T
        between = np.stack([np.interp(times, known, column) for column in columns], axis=1)
        return (values + between.reshape(values.shape)).astype(np.float32)

    change = jax.tree.map(np.subtract, fitted, encoded)
    params = jax.tree.map(corrected, jax.tree.map(np.asarray, clip.params), change)
    identity = {name: getattr(fitted, name)[0] for name in SHARED}
    return dataclasses.replace(clip, params=_with_identity(params, identity))


def _with_identity(params: FaceParams, identity: Mapping[str, np.ndarray]) -> FaceParams:
    """T codes with the same shape and reflectance."""
    count = len(params.rotation)
    return params.replace(
        **{name: np.broadcast_to(value, (count, *value.shape)) for name, value in identity.items()}
    )
