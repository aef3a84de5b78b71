"""A prepared TFDS data set in ArrayRecord files as a random-access source, without TensorFlow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.sources.images import decode_photograph
from mofa_jax.data.sources.items import SourceError, open_prepared
from mofa_jax.data.sources.landmark_files import NUM_LANDMARKS
from mofa_jax.errors import InputError, one_line

SHAPES = {
    "landmarks": (NUM_LANDMARKS, 2),
    "confidence": (NUM_LANDMARKS,),
}
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class CorpusError(InputError):
    """A data set cannot be opened or is not one of face crops; the message names it."""


class Corpus:
    """Random access: `source[i] -> dict(image, landmarks, confidence, name)`, and `code` if asked.

    A record that cannot be decoded raises ValueError when it is asked for. Records are taken apart
    here: TFDS' own general way takes several times as long, a third of decoding the image.

    metadata: what the data set says of itself. image_size: side of the pictures, px.
    has_code: whether it holds the true codes.
    """

    def __init__(
        self,
        records: Any,
        label: str,
        metadata: Mapping[str, Any],
        image_size: int,
        has_code: bool = False,
    ):
        """`records`: random access to examples as bytes, `label` their data set's name."""
        self._records = records
        self._label = label
        self._gives_code = False
        self.metadata = metadata
        self.image_size = image_size
        self.has_code = has_code

    def with_code(self) -> Corpus:
        """The same examples, each with its `code`, float32 [D]."""
        source = Corpus(self._records, self._label, self.metadata, self.image_size, self.has_code)
        source._gives_code = True
        return source

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> dict[str, Any]:
        stored = self._stored(i)
        text = stored["name"].bytes_list.value if "name" in stored else []
        name = text[0].decode("utf-8", "replace") if text else self.label_of(i)
        image = _decode(_content(stored), name)
        if image.shape != (self.image_size, self.image_size, 3):
            raise CorpusError(
                f"{name}: the image is {image.shape}, expected {self.image_size} px a side"
            )
        example = {
            "image": image,
            "landmarks": _numbers(stored, "landmarks", name),
            "confidence": _numbers(stored, "confidence", name),
            "name": name,
        }
        if self._gives_code:
            example["code"] = np.array(stored["code"].float_list.value, np.float32)
        return example

    def label_of(self, i: int) -> str:
        """What an example is called where its own name is not known."""
        return f"{self._label}[{i}]"

    def image_file(self, i: int) -> bytes:
        """The content of an example's image file."""
        return _content(self._stored(i))

    def _stored(self, i: int) -> Any:
        """An example's features by their names, as TensorFlow's protocol stores them."""
        try:
            return tf_example_pb2.Example.FromString(self._records[i]).features.feature
        except (RuntimeError, DecodeError) as error:  # of ArrayRecord, and of its content
            reason = one_line(error)[:200]
            raise CorpusError(
                f"{self.label_of(i)}: the record cannot be read ({reason}); a file of the corpus "
                "is damaged: prepare it again, or copy it anew"
            ) from error


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
    has_code = "code" in info.features
    return Corpus(records, f"{label}/{split}", info.metadata or {}, image_size, has_code)


def _builder_folder(label: str) -> str:
    """The folder of dataset_info.json, if it lies two below `label`; otherwise `label`."""
    below = sorted(Path(label).glob("*/*/dataset_info.json"))
    if len(below) == 1 and not Path(label, "dataset_info.json").is_file():
        return str(below[0].parent)
    return label


def _content(stored: Any) -> bytes:
    """The image's file; empty where the record holds none."""
    return b"".join(stored["image"].bytes_list.value[:1])


def _numbers(stored: Any, key: str, name: str) -> np.ndarray:
    """A float32 feature in its shape."""
    numbers = np.array(stored[key].float_list.value, np.float32)
    if numbers.size != np.prod(SHAPES[key]):
        raise CorpusError(f"{name}: {numbers.size} numbers of {key}, expected {SHAPES[key]}")
    return numbers.reshape(SHAPES[key])


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


def _check_features(label: str, features: Any) -> int:
    """The side of the pictures, px. Raises CorpusError if these are no face crops."""
    found = features["image"].shape if "image" in features else (None, None, 3)
    size = found[0] or CROP_SIZE
    for key, shape in {"image": (size, size, 3), **SHAPES}.items():
        if key not in features:
            raise CorpusError(
                f"{label}: the feature '{key}' is missing; expected {sorted(['image', *SHAPES])}, "
                f"found {sorted(features)}"
            )
        if len(features[key].shape) != len(shape) or any(
            found not in (None, wanted)
            for found, wanted in zip(features[key].shape, shape, strict=True)
        ):
            raise CorpusError(
                f"{label}: the feature '{key}' has the shape {features[key].shape}, "
                f"expected {shape}"
            )
    return size
