"""What one example of a prepared corpus holds, as TFDS stores it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow_datasets as tfds

from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.sources.landmark_files import NUM_LANDMARKS

ENCODINGS = ("jpeg", "png")
SPLITS = ("train", "eval")


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
