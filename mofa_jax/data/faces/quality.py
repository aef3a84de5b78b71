"""Which found faces are left out of a corpus, and why."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from mofa_jax.data.faces.crop import CROP_SIZE, Crop, resample
from mofa_jax.data.sources.landmark_files import FaceLandmarks

REASONS = {
    "unreadable": "the file cannot be read",
    "no face": "no face was found",
    "bad annotation": "the landmarks beside the picture cannot be read",
    "no landmarks": "no landmarks, or none that their file calls clean, are known",
    "too small": "the detector's box is too small",
    "disagreement": "the landmarks do not lie where the detector's box says",
    "unsure": "the landmark detector contradicts itself",
    "unconfirmed": "a second detector, asked where the first leaves doubt, sees no face",
    "blurred": "the picture is blurred",
    "duplicate": "the face hardly differs from the last one kept of the clip",
}
# Where the landmarks' bounding box lies in the box (x, y, w, w) of haarcascade_frontalface_alt2:
# its center below that box's, and its larger side, both in units of w (600 photographs of LFW).
_SHIFT_DOWN, _SIDE = 0.18, 0.88
DOUBTFUL = 0.8  # mean confidence of the landmarks below which a face is doubtful
_THUMBNAIL = 32  # px, side of the pictures that duplicates are told by
_MARGIN = 0.2  # of a crop, around the face


class Pruned(ValueError):
    """A face, or a file, is left out; `reason` is a key of REASONS, the message the details."""

    def __init__(self, reason: str, details: str = ""):
        super().__init__(details)
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Pruning:
    """Thresholds; each can be switched off by the value given.

    min_face: side of the detector's box, px; 0 = off.
    max_disagreement: distance of the landmarks from where the box says, in units of its side;
      larger = off.
    min_confidence: mean over the 68 landmarks; 0 = off.
    second_opinion: whether a second detector must confirm a face that is not the largest of its
      picture, or whose landmarks are less sure than `DOUBTFUL`.
    min_sharpness: see `sharpness`; 0 = off.
    min_change: see `change`, gray levels of 255, from the last face kept of a clip; 0 = off.
    """

    min_face: float = 40.0
    max_disagreement: float = 0.3
    min_confidence: float = 0.6
    second_opinion: bool = True
    min_sharpness: float = 0.06
    min_change: float = 4.0


NO_PRUNING = Pruning(
    min_face=0.0,
    max_disagreement=1e9,
    min_confidence=0.0,
    second_opinion=False,
    min_sharpness=0.0,
    min_change=0.0,
)


def check_box(box: np.ndarray, pruning: Pruning) -> None:
    """Raises Pruned if the box (x, y, w, h) is too small."""
    side = float(np.mean(box[2:]))
    if side < pruning.min_face:
        raise Pruned("too small", f"{side:.0f} px instead of {pruning.min_face:.0f}")


def check_landmarks(landmarks: FaceLandmarks, box: np.ndarray, pruning: Pruning) -> None:
    """Raises Pruned if landmarks, where there are any, are unsure or do not fit the box."""
    present = landmarks.confidence > 0
    if not present.any():
        return
    confidence = float(landmarks.confidence[present].mean())
    if confidence < pruning.min_confidence:
        raise Pruned("unsure", f"confidence {confidence:.2f}")
    disagreement = box_disagreement(landmarks.points[present], box)
    if disagreement > pruning.max_disagreement:
        raise Pruned("disagreement", f"off by {disagreement:.2f} of the box's side")


def check_picture(image: np.ndarray, pruning: Pruning) -> None:
    """Raises Pruned if a crop uint8 [H, W, 3] is blurred."""
    if pruning.min_sharpness and (value := sharpness(image)) < pruning.min_sharpness:
        raise Pruned("blurred", f"sharpness {value:.3f}")


def box_disagreement(points: np.ndarray, box: np.ndarray) -> float:
    """How far landmarks [K, 2] are from where a box (x, y, w, h) says, in units of its side.

    The larger of the offset of their bounding box's center and the difference of its side.
    """
    w = float(np.mean(box[2:]))
    low, high = points.min(axis=0), points.max(axis=0)
    expected = box[:2] + box[2:] / 2 + (0.0, _SHIFT_DOWN * w)
    offset = np.abs((low + high) / 2 - expected).max() / w
    return float(max(offset, abs((high - low).max() / w - _SIDE)))


def sharpness(image: np.ndarray) -> float:
    """Sharpness of the face in a crop uint8 [H, W, 3]: 0 = none.

    What a Gaussian blur of 2 px (of 240) takes away from the gray picture, over the picture itself:
    the ratio of standard deviations, so that contrast plays no part.
    """
    if image.shape[:2] != (CROP_SIZE, CROP_SIZE):
        image = cv2.resize(image, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    top, left = round(_MARGIN * height), round(_MARGIN * width)
    face = image[top : height - top, left : width - left]
    gray = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine = gray - cv2.GaussianBlur(gray, (0, 0), 2.0)
    contrast = float(gray.std())
    return float(fine.std()) / contrast if contrast > 1 else 0.0


def change(last: Crop, image: np.ndarray) -> float:
    """How much a clip's picture has changed where a crop was taken from an earlier one.

    Args:
      last: the earlier crop.
      image: uint8 [H, W, 3] RGB, a later picture of the clip.

    Returns:
      The mean difference of the two squares, 32 x 32 gray pixels each, in gray levels of 255. The
      square stays where it was, since a detector's boxes jitter even on pictures that are alike.
    """
    size = last.image.shape[0]
    now = resample(image, last.to_photograph, size)
    return float(np.abs(_thumbnail(now) - _thumbnail(last.image)).mean())


def _thumbnail(image: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    size = (_THUMBNAIL, _THUMBNAIL)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA).astype(np.float32)
