"""The examples of a corpus: what each holds, as TFDS stores it, and random access to them.

A corpus is a TFDS data set in ArrayRecord files. Nothing here needs TensorFlow.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.example_parser import ExampleParserNp
from tensorflow_datasets.proto import tf_example_pb2

from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.sources.images import decode_photograph
from mofa_jax.data.sources.items import SourceError, open_prepared
from mofa_jax.errors import InputError, one_line
from mofa_jax.landmarks import NUM_LANDMARKS

ENCODINGS = ("jpeg", "png")
SPLITS = ("train", "eval")
_NEEDED = ("image", "landmarks", "confidence")  # of every corpus
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class CorpusError(InputError):
    """A data set cannot be opened or is not one of face crops; the message names it."""


def corpus_features(
    encoding: str = "jpeg",
    image_size: int = CROP_SIZE,
    more: Mapping[str, tfds.features.FeatureConnector] | None = None,
) -> tfds.features.FeaturesDict:
    """The features of an example.

    image: uint8 [image_size, image_size, 3] RGB, stored as `encoding` ("jpeg" or "png") says.
    landmarks: float32 [68, 2], continuous crop px. confidence: float32 [68], 0 = absent.
    to_photograph: float32 [2, 3], crop px -> photograph px (both continuous).
    box: float32 [4], the detector's (x, y, w, h), photograph px.
    name: the example's own name. source: the file that it was cut from. frame: its number in a
    video, -1 for a photograph. group: the person or clip, which one split holds whole.
    more: further features, by name.
    """
    tensor = tfds.features.Tensor
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(
                shape=(image_size, image_size, 3), encoding_format=encoding
            ),
            "landmarks": tensor(shape=(NUM_LANDMARKS, 2), dtype=np.float32),
            "confidence": tensor(shape=(NUM_LANDMARKS,), dtype=np.float32),
            "to_photograph": tensor(shape=(2, 3), dtype=np.float32),
            "box": tensor(shape=(4,), dtype=np.float32),
            "name": tfds.features.Text(),
            "source": tfds.features.Text(),
            "frame": tfds.features.Scalar(dtype=np.int64),
            "group": tfds.features.Text(),
            **(more or {}),
        }
    )


def to_record(example: Mapping[str, Any], features: tfds.features.FeaturesDict) -> bytes:
    """An example as TFDS serializes it; the same bytes in every process."""
    record = tf_example_pb2.Example.FromString(features.serialize_example(example))
    return record.SerializeToString(deterministic=True)  # else its keys come in any order


def record_parser(features: tfds.features.FeaturesDict) -> ExampleParserNp:
    """Has `parse_example(record)`: those features, the image as its file, texts as bytes."""
    return ExampleParserNp(features.get_serialized_info())


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Random access: `source[i] -> dict(image, landmarks, confidence, name)`, and `code` if asked.

    A record that cannot be decoded raises CorpusError or PhotographError when it is asked for.

    records: access to examples as bytes. label: the data set's name. features: all that it has.
    metadata: what it says of itself. image_size: side of the pictures, px. gives_code: whether
    examples come with their `code`.
    """

    records: Sequence[bytes]
    label: str
    features: tfds.features.FeaturesDict
    metadata: Mapping[str, Any]
    image_size: int
    gives_code: bool = False

    @functools.cached_property
    def _parser(self) -> ExampleParserNp:
        """Of the features that an example comes with."""
        keys = (*_NEEDED, "name", *(["code"] if self.gives_code else []))
        given = {key: self.features[key] for key in keys if key in self.features}
        return record_parser(tfds.features.FeaturesDict(given))

    @property
    def has_code(self) -> bool:
        """Whether it holds the true codes."""
        return "code" in self.features

    def with_code(self) -> Corpus:
        """The same examples, each with its `code`, float32 [D]."""
        return dataclasses.replace(self, gives_code=True)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, i: int) -> dict[str, Any]:
        try:
            example = self._parser.parse_example(self.records[i])
            if any(feature is None for feature in example.values()):
                raise ValueError("a feature is missing")
        except Exception as error:  # of ArrayRecord, protobuf or TFDS, all one here
            raise CorpusError(
                f"{self.label_of(i)}: the record cannot be read ({one_line(error)[:200]}); a file "
                "of the corpus is damaged: prepare it again, or copy it anew"
            ) from error
        name = example.get("name", b"").decode("utf-8", "replace") or self.label_of(i)
        image = _decode(example["image"], name)
        if image.shape != (self.image_size, self.image_size, 3):
            raise CorpusError(
                f"{name}: the image is {image.shape}, expected {self.image_size} px a side"
            )
        return {**example, "image": image, "name": name}

    def label_of(self, i: int) -> str:
        """What an example is called where its own name is not known."""
        return f"{self.label}[{i}]"


def open_corpus(name_or_folder: str | os.PathLike[str], split: str) -> Corpus:
    """Open a prepared data set.

    Args:
      name_or_folder: the folder that holds `dataset_info.json`, or the one above, which
        `prepare_corpus` was given; or the name of a data set prepared in TFDS's data folder.
      split: in TFDS's words, such as "train" or "train[:90%]".

    The features are `image` (uint8 [size, size, 3]), `landmarks` (float32 [68, 2], continuous crop
    px), `confidence` (float32 [68], 0 = absent) and perhaps `name` (text).

    Raises:
      CorpusError: no such data set or split, other features, or files that are not ArrayRecord.
    """
    label = os.fspath(name_or_folder)
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    try:
        info, records = open_prepared(_builder_folder(label), split, deserialize_method=raw)
    except SourceError as error:
        raise CorpusError(str(error)) from error
    image_size = _check_features(label, info.features)
    return Corpus(records, f"{label}/{split}", info.features, info.metadata or {}, image_size)


def _builder_folder(label: str) -> str:
    """The folder of dataset_info.json, if it lies two below `label`; otherwise `label`."""
    below = sorted(Path(label).glob("*/*/dataset_info.json"))
    if len(below) == 1 and not Path(label, "dataset_info.json").is_file():
        return str(below[0].parent)
    return label


def _check_features(label: str, features: tfds.features.FeaturesDict) -> int:
    """The side of the pictures, px. Raises CorpusError if these are no face crops."""
    shape = features["image"].shape if "image" in features else ()
    size = next(iter(shape), None) or CROP_SIZE
    expected = corpus_features(image_size=size)
    for key in _NEEDED:
        if key not in features:
            raise CorpusError(
                f"{label}: the feature '{key}' is missing; expected {sorted(_NEEDED)}, "
                f"found {sorted(features)}"
            )
        found, wanted = features[key].shape, expected[key].shape
        if len(found) != len(wanted) or any(
            have not in (None, need) for have, need in zip(found, wanted, strict=True)
        ):
            raise CorpusError(
                f"{label}: the feature '{key}' has the shape {found}, expected {wanted}"
            )
    return size


def _decode(content: bytes, name: str) -> np.ndarray:
    """Decode a picture as uint8 [H, W, 3] RGB.

    OpenCV is the fastest for JPEG, but fills up a file that is cut short without a word: what does
    not end as a JPEG file ends goes the careful way, as do all other kinds.
    """
    if content.startswith(_JPEG_START) and content.endswith(_JPEG_END):
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is not None:
            return image
    return decode_photograph(content, name)
