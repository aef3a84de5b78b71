"""Pieces of a preparation on disk: finished ones survive a killed run.

A chunk is two files: `<digest>.blob`, the corpus's records and the report's pictures one after
another, and `<digest>.json`, what became of every item. The second is written last, under a
temporary name, then renamed: it is there when the chunk is whole. Beam's FileSystems take the
paths, so that a cluster's workers share a folder.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import json
import uuid
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from apache_beam.io.filesystems import FileSystems
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from mofa_jax.data.corpora.recipe import Recipe, make_finder
from mofa_jax.data.corpora.record import corpus_features
from mofa_jax.data.faces.crop import crop_square
from mofa_jax.data.faces.extract import Face
from mofa_jax.data.faces.find import Finding
from mofa_jax.data.faces.quality import change
from mofa_jax.data.sources.images import PhotographError, encode_photograph
from mofa_jax.data.sources.items import Item, Picture, SourceError, read_pictures
from mofa_jax.data.sources.landmark_files import LandmarkFileError
from mofa_jax.data.sources.video import VideoError

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
    """Search a chunk's items and write its two files, unless they are there."""
    if FileSystems.exists(chunk.index):
        return
    cv2.setNumThreads(1)  # the workers are processes, one a core
    temporary = f"{chunk.stem}.{uuid.uuid4().hex}.tmp"
    with FileSystems.create(temporary, compression_type="uncompressed") as file:
        blob = _Blob(file)
        outcomes = [_search(item, recipe, blob) for item in chunk.items]
    _rename(temporary, chunk.blob)
    with FileSystems.create(temporary, compression_type="uncompressed") as file:
        file.write(json.dumps(outcomes).encode())
    _rename(temporary, chunk.index)


def staged_outcomes(chunk: Chunk) -> list[dict[str, Any]]:
    """What became of a chunk's items: dicts of name, num_pictures, kept and pruned.

    kept: dicts of name, group and record: see `corpus_features`, as TFDS serialises it.
    pruned: dicts of name, reason, details and picture (a JPEG file).
    Records and pictures are (offset, length) in the chunk's blob, or None.
    """
    with FileSystems.open(chunk.index, compression_type="uncompressed") as file:
        return json.loads(file.read())


class BlobReader:
    """Reads records and pictures out of chunks' blobs; keeps the last one open."""

    def __init__(self):
        self._path, self._file = None, None

    def __enter__(self) -> BlobReader:
        return self

    def __exit__(self, *_) -> None:
        if self._file is not None:
            self._file.close()

    def read(self, blob: str, offset: int, length: int) -> bytes:
        """The bytes at a place."""
        if blob != self._path:
            self.__exit__()
            self._file = FileSystems.open(blob, compression_type="uncompressed")
            self._path = blob
        self._file.seek(offset)
        return self._file.read(length)


class _Blob:
    """Appends records and pictures to a file and tells where they are."""

    def __init__(self, file):
        self._file, self._end = file, 0

    def add(self, content: bytes) -> tuple[int, int]:
        self._file.write(content)
        place = self._end, len(content)
        self._end += len(content)
        return place


def _search(item: Item, recipe: Recipe, blob: _Blob) -> dict[str, Any]:
    """The outcome of one item; nothing that is wrong with it ends the work."""
    outcome = {"name": item.name, "num_pictures": 0, "kept": [], "pruned": []}
    last = None  # the crop last kept of a video
    try:
        for picture in read_pictures(item, recipe.source):
            outcome["num_pictures"] += 1
            for number, finding in enumerate(make_finder(recipe).find(picture)):
                name = f"{picture.name}#{number}" if number else picture.name
                if finding.face is not None and picture.frame >= 0 and number == 0:
                    if last and change(last, picture.image) < recipe.pruning.min_change:
                        finding = dataclasses.replace(finding, face=None, reason="duplicate")
                    else:
                        last = finding.face.crop
                if finding.face is None:
                    outcome["pruned"].append(_pruned(name, picture.image, finding, blob))
                else:
                    kept = _kept(name, item, picture, finding.face, recipe, blob)
                    outcome["kept"].append(kept)
    except (PhotographError, VideoError, LandmarkFileError) as error:
        outcome["pruned"].append(_unreadable(item, str(error)))
    except SourceError:
        raise
    except (ValueError, MemoryError, cv2.error) as error:  # a picture that breaks a library
        outcome["pruned"].append(_unreadable(item, " ".join(str(error).split())))
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
    features, serializer = _format(recipe.encoding)
    record = serializer.get_tf_example(features.encode_example(example))
    content = record.SerializeToString(deterministic=True)  # else its keys come in any order
    return {"name": name, "group": picture.group, "record": blob.add(content)}


@functools.cache
def _format(encoding: str) -> tuple[tfds.features.FeaturesDict, ExampleSerializer]:
    features = corpus_features(encoding)
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


def _rename(old: str, new: str) -> None:
    """Put a file in its place; a second worker that did the same work may have been first."""
    if FileSystems.exists(new):
        FileSystems.delete([new])
    FileSystems.rename([old], [new])


def all_outcomes(chunks: list[Chunk]) -> Iterator[tuple[Chunk, dict[str, Any]]]:
    """Yield every outcome with its chunk, one chunk in memory at a time."""
    for chunk in chunks:
        for outcome in staged_outcomes(chunk):
            yield chunk, outcome
