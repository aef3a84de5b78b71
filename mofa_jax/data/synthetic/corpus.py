"""Synthetic faces as examples of a prepared corpus, with the truth that they were rendered from."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import tensorflow_datasets as tfds

from mofa_jax.camera import Camera, rotation_matrix
from mofa_jax.data.corpora.record import corpus_features, to_record
from mofa_jax.data.corpora.writer import Shard
from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.data.synthetic.examples import as_stored, example_keys, synthetic_batch
from mofa_jax.face_model import FaceModel
from mofa_jax.numerics import product
from mofa_jax.params import FaceParams, code_size

NAME = "mofa_synthetic"
SHARD_SIZE = 1000  # a multiple of the batch
BATCH = 20  # faces rendered together: more do not fit the processor's cache

_FORMAT = 1  # of what is rendered; a higher number is another corpus


@dataclasses.dataclass(frozen=True)
class Scene:
    """What, with a seed, determines a corpus's pictures.

    model, cam, ranges: as of `synthetic_batch`.
    photographs: for "train" and "eval", uint8 [K, h, w, 3]; None for procedural backgrounds.
    """

    model: FaceModel
    cam: Camera
    ranges: SyntheticRanges
    photographs: Mapping[str, np.ndarray | None]


def synthetic_features(
    model: FaceModel, cam: Camera, encoding: str = "jpeg", vertices: bool = False
) -> tfds.features.FeaturesDict:
    """`corpus_features`, with pictures of the camera's size, and the truth.

    code: float32 [D]. vertices, if asked for: float16 [N, 3], see `true_geometry`.
    """
    tensor = tfds.features.Tensor
    more = {"code": tensor(shape=(code_size(model),), dtype=np.float32)}
    if vertices:
        shape = (model.num_vertices, 3)
        more["vertices"] = tensor(shape=shape, dtype=np.float16, encoding="bytes")
    return corpus_features(encoding, cam.image_size[0], more)


def true_geometry(code: jax.Array, model: FaceModel) -> jax.Array:
    """The vertices [N, 3], dm, in camera orientation, not translated: what the geometric error
    compares.

    Args:
      code: [D] of an example (unbatched).
      model: the face model that the corpus was rendered with, see `FaceModel.is_model_of`.
    """
    params = FaceParams.from_code(code, model)
    vertices = model.geometry(params.shape, params.expression)
    return product(vertices, rotation_matrix(params.rotation))


def shard_records(
    shard: Shard, scene: Scene, seed: int, encoding: str = "jpeg", vertices: bool = False
) -> Iterator[bytes]:
    """A shard's examples as records: the same ones for the same arguments."""
    features = synthetic_features(scene.model, scene.cam, encoding, vertices)
    photographs = scene.photographs[shard.split]
    photographs = None if photographs is None else jax.numpy.asarray(photographs)
    keys = example_keys(seed, shard.index, SHARD_SIZE, shard.split)

    def render_from(start: int) -> dict[str, jax.Array]:
        some = keys[start : start + BATCH]
        batch = synthetic_batch(some, scene.model, scene.cam, scene.ranges, photographs)
        arrays = as_stored(batch)
        if vertices:
            arrays["vertices"] = _true_geometries(arrays["code"], scene.model)
        return arrays

    batches = _one_ahead(map(render_from, range(0, shard.length, BATCH)))
    faces = (face for batch in batches for face in _unbatch(batch))
    for index, face in zip(range(shard.length), faces, strict=False):
        name = f"synthetic {shard.split} {shard.index * SHARD_SIZE + index}"
        yield to_record(_example(face, name, encoding), features)


def corpus_settings(
    scene: Scene, seed: int, counts: Mapping[str, int], encoding: str, vertices: bool
) -> dict[str, Any]:
    """All that a corpus's content depends on, JSON-able: its metadata."""
    return {
        "format": _FORMAT,
        "face_model": scene.model.identity(),
        "camera": dataclasses.asdict(scene.cam),
        "ranges": dataclasses.asdict(scene.ranges),
        "backgrounds": {split: _digest(images) for split, images in scene.photographs.items()},
        "seed": seed,
        "count": dict(counts),
        "encoding": encoding,
        "vertices": vertices,
    }


@jax.jit
def _true_geometries(codes: jax.Array, model: FaceModel) -> jax.Array:
    return jax.vmap(true_geometry, in_axes=(0, None))(codes, model).astype(np.float16)


def _one_ahead(batches: Iterable[dict[str, jax.Array]]) -> Iterator[dict[str, jax.Array]]:
    """The batches, each when the next one is on its way: the device renders while one is stored."""
    batches = iter(batches)
    current = next(batches)
    for following in batches:
        yield current
        current = following
    yield current


def _unbatch(batch: dict[str, jax.Array]) -> Iterator[dict[str, np.ndarray]]:
    arrays = jax.device_get(batch)
    for i in range(BATCH):
        yield {key: array[i] for key, array in arrays.items()}


def _example(face: dict[str, np.ndarray], name: str, encoding: str) -> dict[str, Any]:
    points = face["landmarks"][face["confidence"] > 0]
    low, high = points.min(axis=0), points.max(axis=0)
    return {
        **face,
        "image": io.BytesIO(encode_photograph(face["image"], encoding)),
        "to_photograph": np.eye(2, 3, dtype=np.float32),
        "box": np.concatenate([low, high - low]),
        "name": name,
        "source": "",
        "frame": -1,
        "group": name,
    }


def _digest(images: np.ndarray | None) -> str:
    return "procedural" if images is None else hashlib.sha256(images.tobytes()).hexdigest()
