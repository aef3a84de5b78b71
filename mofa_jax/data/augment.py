"""Augmentation of one example on the host: mirroring, pose in the image plane, light."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np

from mofa_jax.data.faces import invert_affine, transform_points, warp
from mofa_jax.landmarks import FLIP_PERMUTATION

_NUM_DRAWS = 10


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random changes of an example; each field is a largest size, 0 = off.

    One warp moves the pixels, bilinear, the edge's colour going on beyond the border; landmarks
    follow exactly. An example takes the same random numbers whatever is switched on.

    flip: probability of mirroring (landmarks are renamed: left and right are the subject's).
    scale: the face is scaled by a factor in [1/(1+scale), 1+scale], log-uniform.
    shift: px, in x and in y. rotation: degrees, in the image plane, about the image's middle.
    exposure: photographic stops, a gain of 2^[-exposure, exposure] on all channels.
    contrast: factor in [1/(1+contrast), 1+contrast] about the middle grey.
    color: gain in [1/(1+color), 1+color] on each channel by itself.
    """

    flip: float = 0.0
    scale: float = 0.0
    shift: float = 0.0
    rotation: float = 0.0
    exposure: float = 0.0
    contrast: float = 0.0
    color: float = 0.0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not 0 <= getattr(self, field.name) < float("inf"):
                raise ValueError(f"augmentation.{field.name} must be finite and at least 0")
        if self.flip > 1:
            raise ValueError(f"augmentation.flip is a probability, not {self.flip}")

    def __call__(self, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return a changed copy of dict(image [H, W, 3] uint8, landmarks, confidence, ...)."""
        unit = rng.uniform(-1.0, 1.0, _NUM_DRAWS)
        flip = bool((unit[0] + 1) / 2 < self.flip)
        changed = dict(example)
        if flip or self.scale or self.shift or self.rotation:
            height, width = example["image"].shape[:2]
            changed |= self._move(example, self._motion(unit[1:5], flip, width, height), flip)
        if self.exposure or self.contrast or self.color:
            changed["image"] = cv2.LUT(changed["image"], self._tone_table(unit[5:]))
        return changed

    def _motion(self, unit: np.ndarray, flip: bool, width: int, height: int) -> np.ndarray:
        """Return the map of continuous pixels from the example to the changed one, [2, 3]."""
        scale = (1 + self.scale) ** unit[0]
        angle = np.deg2rad(self.rotation) * unit[1]
        cos, sin = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if flip else 1.0, 1.0])
        middle = np.array([width, height]) / 2
        return np.column_stack([linear, middle + self.shift * unit[2:4] - linear @ middle])

    def _move(self, example: dict[str, Any], motion: np.ndarray, flip: bool) -> dict[str, Any]:
        height, width = example["image"].shape[:2]
        landmarks = transform_points(motion, example["landmarks"]).astype(np.float32)
        confidence = example["confidence"]
        if flip:
            landmarks, confidence = landmarks[FLIP_PERMUTATION], confidence[FLIP_PERMUTATION]
        return {
            "image": warp(example["image"], invert_affine(motion), (width, height)),
            "landmarks": landmarks,
            "confidence": confidence,
        }

    def _tone_table(self, unit: np.ndarray) -> np.ndarray:
        """Return the new value of each old one and channel, uint8 [1, 256, 3]."""
        gain = 2 ** (self.exposure * unit[0]) * (1 + self.color) ** unit[2:5]
        values = np.arange(256.0)[:, None] * gain
        values = 127.5 + (1 + self.contrast) ** unit[1] * (values - 127.5)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)[None]
