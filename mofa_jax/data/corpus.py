"""A prepared TFDS data set in ArrayRecord files as a random-access source, without TensorFlow."""

from __future__ import annotations

import os
from typing import Any

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


class CorpusError(ValueError):
    """A data set cannot be opened or is not one of face crops; the message names it."""


class TfdsSource:
    """Random access: `source[i] -> dict(image, landmarks, confidence, name)`.

    A record that cannot be decoded raises ValueError when it is asked for.
    """

    def __init__(self, records: Any, label: str):
        self._records = records
        self._label = label

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, i: int) -> dict[str, Any]:
        record = self._records[i]
        name = record.get("name", f"{self._label}[{i}]")
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
        image = decode_photograph(record["image"], name)
        if image.shape != SHAPES["image"]:
            raise CorpusError(f"{name}: the image is {image.shape}, expected {SHAPES['image']}")
        return {
            "image": image,
            "landmarks": np.asarray(record["landmarks"], np.float32),
            "confidence": np.asarray(record["confidence"], np.float32),
            "name": name,
        }


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
        _check_features(label, builder.info.features)
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
    except CorpusError:
        raise
    except Exception as error:  # TFDS raises its own types and NotImplementedError, all one here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CorpusError(
            f"{label}: split {split!r} of this data set cannot be opened ({reason}); prepare it "
            "with file_format='array_record' and give the folder of dataset_info.json"
        ) from error
    return TfdsSource(records, f"{label}/{split}")


def _check_features(label: str, features: Any) -> None:
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
