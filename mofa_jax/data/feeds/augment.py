"""Augmentation of one example on the host: pose in the image plane, occlusion, light, compression.

mofa_jax/data/feeds/device_augment.py does the same to a batch on the device.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from mofa_jax.data.faces.crop import invert_affine, transform_points, warp
from mofa_jax.data.feeds import augment_draws as draws
from mofa_jax.landmarks import FLIP_PERMUTATION


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of an example; each field is a largest size, 0 = off.

    One warp moves the pixels, bilinear, the edge's colour going on beyond the border; landmarks
    follow exactly. Then an occluder may be laid over them, the light changes, and the picture is
    stored as JPEG and read again. An example takes the same random numbers whatever is switched on.

    flip: probability of mirroring (landmarks are renamed: left and right are the subject's).
    scale: the face is scaled by a factor in [1/(1+scale), 1+scale], log-uniform.
    shift: px, in x and in y. rotation: degrees, in the image plane, about the image's middle.
    occluder: probability of an ellipse or rectangle with a soft edge and a random texture, 12 to
      50 % of the image wide. Covered landmarks keep their places and their confidence: where a
      covered feature is can be told from the rest of the face, which is what is to be learned.
    exposure: photographic stops, a gain of 2^[-exposure, exposure] on all channels.
    contrast: factor in [1/(1+contrast), 1+contrast] about the middle grey.
    color: gain in [1/(1+color), 1+color] on each channel by itself.
    jpeg: loss of JPEG quality: the quality is uniform in [100 - jpeg, 100]; at most 99.
    """

    flip: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    occluder: float = 0.0
    exposure: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    jpeg: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not 0 <= getattr(self, field.name) < float("inf"):
                raise ValueError(f"augmentation.{field.name} must be finite and at least 0")
        for name in ("flip", "occluder"):
            if getattr(self, name) > 1:
                raise ValueError(f"augmentation.{name} is a probability, not {getattr(self, name)}")
        if self.jpeg > 99:
            raise ValueError(f"augmentation.jpeg is {self.jpeg}; a quality is at least 1: use 0-99")

    @property
    def moves(self) -> bool:
        """Whether pixels move otherwise than by mirroring."""
        return bool(self.scale or self.shift or self.rotation)

    @property
    def changes_tone(self) -> bool:
        """Whether exposure, contrast or colour change."""
        return bool(self.exposure or self.contrast or self.color)

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return a changed copy of dict(image [H, W, 3] uint8, landmarks, confidence, ...)."""
        return self.apply(example, rng.uniform(-1.0, 1.0, draws.NUM_DRAWS))

    def apply(self, example: dict[str, Any], unit: np.ndarray) -> dict[str, Any]:
        """The changed copy that the NUM_DRAWS numbers `unit` in [-1, 1) give."""
        changed = dict(example)
        if self.moves or draws.is_mirrored(self, unit):
            changed |= self._move(example, unit)
        if self.occluder:
            changed["image"] = self._occlude(changed["image"], unit)
        if self.changes_tone:
            changed["image"] = cv2.LUT(changed["image"], self._tone_table(unit))
        if self.jpeg:
            changed["image"] = _store_as_jpeg(changed["image"], int(draws.jpeg_quality(self, unit)))
        return changed

    def _move(self, example: dict[str, Any], unit: np.ndarray) -> dict[str, Any]:
        image, confidence = example["image"], example["confidence"]
        height, width = image.shape[:2]
        motion = draws.motion(self, unit, width, height)
        landmarks = transform_points(motion, example["landmarks"]).astype(np.float32)
        if draws.is_mirrored(self, unit):
            landmarks, confidence = landmarks[FLIP_PERMUTATION], confidence[FLIP_PERMUTATION]
        if self.moves:
            image = warp(image, invert_affine(motion), (width, height))
        else:
            image = cv2.flip(image, 1)
        return {"image": image, "landmarks": landmarks, "confidence": confidence}

    def _occlude(self, image: np.ndarray, unit: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        shape = draws.occluder(self, unit, width, height)
        if not shape.present:
            return image
        x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
        cover = draws.coverage(shape, x, y).astype(np.float32)[:, :, None]
        texture = cv2.resize(shape.texture.astype(np.float32), (width, height))
        return np.rint(image + cover * (texture - image)).astype(np.uint8)

    def _tone_table(self, unit: np.ndarray) -> np.ndarray:
        """Return the new value of each old one, uint8 [1, 256, 3], or [1, 256] for all channels."""
        slope, offset = draws.tone(self, unit)
        slope = slope if self.color else slope[:1]
        values = np.clip(np.rint(np.arange(256.0)[:, None] * slope + offset), 0, 255)
        return np.squeeze(values.astype(np.uint8)[None], axis=() if self.color else 2)


def _store_as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What is left of a picture [H, W, 3] RGB in a JPEG file."""
    content = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.imdecode(content, cv2.IMREAD_COLOR_RGB)
