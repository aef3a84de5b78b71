"""A prepared TFDS data set in ArrayRecord files as a random-access source, without TensorFlow."""

from __future__ import annotations

import os
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds

from mofa_jax.data.faces import CROP_SIZE
from mofa_jax.data.landmark_files import NUM_LANDMARKS
from mofa_jax.data.photographs import decode_photograph

SHAPES = {
    "image": (CROP_SIZE, CROP_SIZE, 3),
    "landmarks": (NUM_LANDMARKS, 2),
    "confidence": (NUM_LANDMARKS,),
}


_AS_STORED = {"image": tfds.decode.SkipDecoding()}
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"


class CorpusError(ValueError):
    """A data set cannot be opened or is not one of face crops; the message names it."""


class TfdsSource:
    """Random access: `source[i] -> dict(image, landmarks, confidence, name)`.

    Only the features that an example needs are taken out of a record. A record that cannot be
    decoded raises ValueError when it is asked for.
    """

    def __init__(self, records: Any, features: tfds.features.FeaturesDict, label: str):
        """`records`: random access to serialised examples of (at least) these `features`."""
        self._records = records
        self._features = features
        self._label = label

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> dict[str, Any]:
        record = self.record(i)
        name = record.get("name", f"{self._label}[{i}]")
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        image = _decode(record["image"], name)
        if image.shape != SHAPES["image"]:
            raise CorpusError(f"{name}: the image is {image.shape}, expected {SHAPES['image']}")
        return {
            "image": image,
            "landmarks": np.asarray(record["landmarks"], np.float32),
            "confidence": np.asarray(record["confidence"], np.float32),
            "name": name,
        }

    def record(self, i: int) -> dict[str, Any]:
        """An example as it is stored: its image is a file's content, its name bytes."""
        return self._features.deserialize_example_np(self._records[i], decoders=_AS_STORED)


def tfds_source(name_or_builder_dir: str | os.PathLike[str], split: str) -> TfdsSource:
    """Open a prepared data set.

    Args:
      name_or_builder_dir: the folder that holds `dataset_info.json`, or the name of a data set
        prepared in TFDS's data folder.
      split: in TFDS's words, such as "train" or "train[:90%]".

    The features are `image` (uint8 [240, 240, 3]), `landmarks` (float32 [68, 2], continuous crop
    px), `confidence` (float32 [68], 0 = absent) and perhaps `name` (text).

    Raises:
      CorpusError: no such data set or split, other features, or files that are not ArrayRecord.
    """
    label = os.fspath(name_or_builder_dir)
    try:
        builder = (
            tfds.builder_from_directory(label) if os.path.isdir(label) else tfds.builder(label)
        )
        features = _needed_features(label, builder.info.features)
        serialized = tfds.decode.DeserializeMethod.RAW_BYTES
        records = builder.as_data_source(split, deserialize_method=serialized)
    except CorpusError:
        raise
    except Exception as error:  # TFDS raises its own types and NotImplementedError, all one here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CorpusError(
            f"{label}: split {split!r} of this data set cannot be opened ({reason}); prepare it "
            "with file_format='array_record' and give the folder of dataset_info.json"
        ) from error
    return TfdsSource(records, features, f"{label}/{split}")


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


def _needed_features(label: str, features: Any) -> tfds.features.FeaturesDict:
    """Check the features of a data set, and choose those that an example needs."""
    for key, shape in SHAPES.items():
        if key not in features:
            raise CorpusError(
                f"{label}: the feature '{key}' is missing; expected {sorted(SHAPES)}, "
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
    needed = [key for key in (*SHAPES, "name") if key in features]
    return tfds.features.FeaturesDict({key: features[key] for key in needed})
