"""Pieces of a preparation on disk: finished ones survive a killed run.

A chunk is two files: `<digest>.blob`, the corpus's records and the report's pictures one after
another, and `<digest>.json`, what became of every item. The second is written last, under a
temporary name, then renamed: it is there when the chunk is whole. The workers of a cluster share
the folder.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from mofa_jax.data.corpora.recipe import Recipe, make_finder
from mofa_jax.data.corpora.record import corpus_features
from mofa_jax.data.faces.crop import crop_square
from mofa_jax.data.faces.find import Face, Finder, Finding
from mofa_jax.data.faces.quality import change
from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.data.sources.items import Item, Picture, SourceError, read_pictures
from mofa_jax.errors import one_line
from mofa_jax.files import atomic_write, write_json

_PICTURE_SIZE = 96  # px, of the pictures in the report


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A piece of work: its items, and where its files go (a path without extension)."""

    items: tuple[Item, ...]
    stem: str

    @property
    def blob(self) -> str:
        return self.stem + ".blob"

    @property
    def index(self) -> str:
        return self.stem + ".json"


def stage(chunk: Chunk, recipe: Recipe) -> None:
    """Search a chunk's items and write its two files, unless they are there.

    Raises:
      OSError: the disk is full. LandmarkDetectorError, LandmarkFileError: see `make_finder`.
    """
    if os.path.exists(chunk.index):
        return
    finder = make_finder(recipe)
    with atomic_write(chunk.blob) as temporary, open(temporary, "wb") as file:
        blob = _Blob(file)
        outcomes = [_search(item, recipe, finder, blob) for item in chunk.items]
    write_json(chunk.index, outcomes, indent=None)


def stage_alone(chunk: Chunk, recipe: Recipe) -> None:
    """`stage` in a process that is one of several: OpenCV starts no threads of its own."""
    cv2.setNumThreads(1)
    stage(chunk, recipe)


def staged_outcomes(chunk: Chunk) -> list[dict[str, Any]]:
    """What became of a chunk's items: dicts of name, num_pictures, kept and pruned.

    kept: dicts of name, group, annotated (whether it has landmarks) and record: see
      `corpus_features`, as TFDS serializes it.
    pruned: dicts of name, reason, details and picture (a JPEG file).
    Records and pictures are (offset, length) in the chunk's blob, or None.
    """
    with open(chunk.index, encoding="utf-8") as file:
        return json.load(file)


def all_outcomes(chunks: list[Chunk]) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Yield every outcome with its chunk, one chunk in memory at a time."""
    for chunk in chunks:
        for outcome in staged_outcomes(chunk):
            yield chunk, outcome


def read_place(blob: str, offset: int, length: int) -> bytes:
    """The record or picture at a place of a chunk's blob."""
    with open(blob, "rb") as file:
        file.seek(offset)
        return file.read(length)


class _Blob:
    """Appends records and pictures to a file and tells where they are."""

    def __init__(self, file):
        self._file, self._end = file, 0

    def add(self, content: bytes) -> tuple[int, int]:
        self._file.write(content)
        place = self._end, len(content)
        self._end += len(content)
        return place


def _search(item: Item, recipe: Recipe, finder: Finder, blob: _Blob) -> dict[str, Any]:
    """The outcome of one item; nothing that is wrong with it ends the work."""
    outcome = {"name": item.name, "num_pictures": 0, "kept": [], "pruned": []}
    last = None  # the crop last kept of a video
    try:
        for picture in read_pictures(item, recipe.source):
            outcome["num_pictures"] += 1
            number = 0
            for finding in finder.find(picture):
                name = f"{picture.name}#{number}" if number else picture.name
                if finding.face is not None and picture.frame >= 0 and number == 0:
                    if last and change(last, picture.image) < recipe.pruning.min_change:
                        finding = dataclasses.replace(finding, face=None, reason="duplicate")
                    else:
                        last = finding.face.crop
                number += finding.box is not None
                if finding.face is None:
                    outcome["pruned"].append(_pruned(name, picture.image, finding, blob))
                else:
                    kept = _kept(name, item, picture, finding.face, recipe, blob)
                    outcome["kept"].append(kept)
    except SourceError:
        raise
    except (ValueError, MemoryError, cv2.error) as error:  # the errors of readers are ValueErrors
        outcome["pruned"].append(_unreadable(item, one_line(error)))
    return outcome


def _kept(
    name: str, item: Item, picture: Picture, face: Face, recipe: Recipe, blob: _Blob
) -> dict[str, Any]:
    crop = face.crop
    content = encode_photograph(crop.image, recipe.encoding, recipe.jpeg_quality)
    example = {
        "image": io.BytesIO(content),
        "landmarks": face.landmarks,
        "confidence": face.confidence,
        "to_photograph": crop.to_photograph.astype(np.float32),
        "box": crop.box.astype(np.float32),
        "name": name,
        "source": item.name,
        "frame": picture.frame,
        "group": picture.group,
    }
    features, serializer = _format(recipe.encoding, recipe.options.image_size)
    record = serializer.get_tf_example(features.encode_example(example))
    content = record.SerializeToString(deterministic=True)  # else its keys come in any order
    return {
        "name": name,
        "group": picture.group,
        "annotated": bool(face.confidence.any()),
        "record": blob.add(content),
    }


@functools.cache
def _format(encoding: str, image_size: int) -> tuple[tfds.features.FeaturesDict, ExampleSerializer]:
    features = corpus_features(encoding, image_size)
    return features, ExampleSerializer(features.get_serialized_info())


def _pruned(name: str, image: np.ndarray, finding: Finding, blob: _Blob) -> dict[str, Any]:
    """The entry of a face that is left out, with a small picture of what was found."""
    box = finding.box
    if box is None:
        center, side = (image.shape[1] / 2, image.shape[0] / 2), max(image.shape[:2])
    else:
        center, side = box[:2] + box[2:] / 2, 1.3 * float(np.mean(box[2:]))
    small = crop_square(image, center, side, box=np.zeros(4), size=_PICTURE_SIZE).image
    return {
        "name": name,
        "reason": finding.reason,
        "details": finding.details,
        "picture": blob.add(encode_photograph(small, "jpeg", 85)),
    }


def _unreadable(item: Item, message: str) -> dict[str, Any]:
    details = message.removeprefix(f"{item.path.decode('utf-8', 'surrogateescape')}: ")
    details = details.encode("utf-8", "backslashreplace").decode()
    return {
        "name": item.name,
        "reason": "unreadable",
        "details": details,
        "picture": None,
    }
