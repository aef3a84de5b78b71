"""Cutting faces out of photographs: crops and the maps back into the photograph.

Points are in continuous pixels everywhere: x right, y down, the image's top-left corner (0, 0),
the center of its top-left pixel (0.5, 0.5). An affine map is float64 [2, 3],
`q = A[:, :2] p + A[:, 2]`.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from mofa_jax.errors import InputError

CROP_SIZE = 240
# Square about the box (x, y, w, w) of haarcascade_frontalface_alt2, in units of w.
BOX_SIDE, BOX_SHIFT_DOWN = 1.285, 0.10
# Square about the bounding box of the 68 landmarks, in units of its larger side.
LANDMARKS_SIDE, LANDMARKS_SHIFT_UP = 1.466, 0.094

_MAX_OVERSAMPLING = 16


class FaceError(InputError):
    """A face cannot be cut out: its box or landmarks make no square in the photograph."""


@dataclasses.dataclass(frozen=True)
class Crop:
    """A square of a photograph, scaled.

    Attributes:
      image: uint8 [size, size, 3] RGB.
      to_photograph: float64 [2, 3], crop pixels -> photograph pixels (both continuous).
      box: float64 [4], what it was cut from (x, y, w, h), photograph pixels.
    """

    image: np.ndarray
    to_photograph: np.ndarray
    box: np.ndarray


def crop_from_box(image: np.ndarray, box: np.ndarray, size: int = CROP_SIZE) -> Crop:
    """Cut the square that belongs to a detector's box (x, y, w, w), in photograph pixels.

    Center (x + w/2, y + w/2 + 0.10 w), side 1.285 w: with it the average detected face lies on the
    rendering of the zero code. A box that is not square counts with the mean of its sides.
    """
    x, y, width, height = np.asarray(box, np.float64)
    w = (width + height) / 2
    center = (x + width / 2, y + height / 2 + BOX_SHIFT_DOWN * w)
    return crop_square(image, center, BOX_SIDE * w, box=box, size=size)


def crop_from_landmarks(image: np.ndarray, points: np.ndarray, size: int = CROP_SIZE) -> Crop:
    """Cut the square that belongs to 68 landmarks [68, 2], photograph pixels (NaN = none).

    Side 1.466 times the larger side of the points' bounding box, center 0.094 of that larger side
    above the box's center.
    """
    points = np.asarray(points, np.float64)
    points = points[np.isfinite(points).all(axis=1)]
    if len(points) < 2:
        raise FaceError(f"a crop needs at least 2 finite landmarks, not {len(points)}")
    low, high = points.min(axis=0), points.max(axis=0)
    larger = (high - low).max()
    center = (low + high) / 2 - (0.0, LANDMARKS_SHIFT_UP * larger)
    box = np.concatenate([low, high - low])
    return crop_square(image, center, LANDMARKS_SIDE * larger, box=box, size=size)


def crop_again(photograph: np.ndarray, crop: Crop, landmarks: np.ndarray) -> Crop:
    """The crop about landmarks that are given in px of `crop`; `crop` itself if there is none."""
    points = transform_points(crop.to_photograph, landmarks)
    size = len(crop.image)
    try:
        return dataclasses.replace(crop_from_landmarks(photograph, points, size), box=crop.box)
    except FaceError:
        return crop


def crop_square(image: np.ndarray, center, side: float, *, box, size: int = CROP_SIZE) -> Crop:
    """Cut the upright square about `center` (x, y) and scale it to size x size.

    Beyond the border the edge's color goes on. Raises FaceError for a square that is not finite,
    has no extent or does not touch the photograph.
    """
    center = np.asarray(center, np.float64)
    if not (np.isfinite(center).all() and np.isfinite(side) and side > 0):
        raise FaceError(f"a crop of side {side} px about {center.tolist()} is not a square")
    height, width = image.shape[:2]
    low, high = center - side / 2, center + side / 2
    if (high <= 0).any() or low[0] >= width or low[1] >= height:
        raise FaceError(f"the face's square {low.tolist()} - {high.tolist()} is off the photograph")
    scale = side / size
    to_photograph = np.array([[scale, 0.0, low[0]], [0.0, scale, low[1]]])
    pixels = resample(image, to_photograph, size)
    return Crop(pixels, to_photograph, np.asarray(box, np.float64))


def resample(image: np.ndarray, to_image: np.ndarray, size: int) -> np.ndarray:
    """Sample `image` [H, W, 3] at the pixels of a size x size picture, `to_image` mapping to it.

    When the map shrinks, each pixel is the average of a grid of bilinear samples no coarser than
    the image's own pixels, up to 16 x 16 of them. Outside, the edge's color goes on.
    """
    scale = math.sqrt(abs(np.linalg.det(to_image[:, :2])))
    fine = min(_MAX_OVERSAMPLING, max(1, math.ceil(scale - 1e-9)))
    image, to_image = _cut_to_need(image, to_image, size)
    to_image = np.column_stack([to_image[:, :2] / fine, to_image[:, 2]])
    pixels = warp(image, to_image, (size * fine, size * fine))
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA) if fine > 1 else pixels


def warp(image: np.ndarray, to_image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Sample `image` bilinearly at the pixels of a picture of `size` (width, height).

    to_image: [2, 3], the picture's continuous px -> the image's. The edge's color goes on outside.
    """
    # A pixel's center is at index + 0.5 in both pictures; OpenCV's maps speak of the index.
    offset = to_image[:, 2] + to_image[:, :2] @ (0.5, 0.5) - 0.5
    return cv2.warpAffine(
        image,
        np.column_stack([to_image[:, :2], offset]),
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _cut_to_need(image: np.ndarray, to_image: np.ndarray, size: int):
    """Keep the part of the image that the square sees (OpenCV maps at most 32,767 px a side)."""
    corners = transform_points(to_image, size * np.array([[0, 0], [1, 0], [0, 1], [1, 1]]))
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, limit - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, low + 1, limit).astype(int)
    shifted = to_image.copy()
    shifted[:, 2] -= low
    return image[low[1] : high[1], low[0] : high[0]], shifted


def transform_points(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Apply an affine map [2, 3] to points [..., 2]; float64 [..., 2]."""
    affine = np.asarray(affine, np.float64)
    return np.asarray(points, np.float64) @ affine[:, :2].T + affine[:, 2]


def invert_affine(affine: np.ndarray) -> np.ndarray:
    """Return the inverse of an affine map, float64 [2, 3]."""
    linear = np.linalg.inv(affine[:, :2])
    return np.column_stack([linear, -linear @ affine[:, 2]])
