"""The faces of one photograph: found, matched with known landmarks, cut out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mofa_jax.data.faces.crop import (
    Crop,
    FaceDetector,
    FaceError,
    crop_from_box,
    crop_from_landmarks,
    invert_affine,
    transform_points,
)
from mofa_jax.data.sources.landmark_files import NUM_LANDMARKS, FaceLandmarks

CROPS = ("haar", "landmarks")
FACES = ("all", "central")


@dataclasses.dataclass(frozen=True)
class ExtractOptions:
    """What is taken from a photograph.

    crop: "haar", squares about the detector's boxes, or "landmarks", squares about known landmarks.
    faces: "all", or "central": the one whose box is nearest to the landmarks' centroid; without
      landmarks the one with the largest (side of the box - distance from the image's centre).
    require_landmarks: leave out faces without landmarks.
    only_clean: leave out landmarks that their file does not call clean, and with them photographs
      that have no others.
    """

    crop: str = "haar"
    faces: str = "all"
    require_landmarks: bool = False
    only_clean: bool = False

    def __post_init__(self):
        for name, value, allowed in (("crop", self.crop, CROPS), ("faces", self.faces, FACES)):
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; it must be one of {list(allowed)}")


@dataclasses.dataclass(frozen=True)
class Face:
    """A face cut out of a photograph.

    crop: the square. landmarks: float32 [68, 2], continuous crop px. confidence: float32 [68].
    """

    crop: Crop
    landmarks: np.ndarray
    confidence: np.ndarray


def extract_faces(
    image: np.ndarray,
    known: Sequence[FaceLandmarks],
    detector: FaceDetector,
    options: ExtractOptions,
) -> list[Face]:
    """Return the faces of a photograph uint8 [H, W, 3], largest first.

    A face gets the known landmarks whose centroid its box holds; other faces get confidence 0.
    Raises FaceError, with the reason, when there is none.
    """
    known = [face for face in known if face.centroid is not None]
    if options.crop == "landmarks":
        faces = [cut_face(crop_from_landmarks(image, with_nan(face)), face) for face in known]
        centers = [face.centroid for face in known]
    else:
        boxes = detector.detect(image)
        matches = match_landmarks(boxes, known)
        faces = [
            cut_face(crop_from_box(image, box), match)
            for box, match in zip(boxes, matches, strict=True)
        ]
        centers = [box[:2] + box[2:] / 2 for box in boxes]
    if options.faces == "central" and len(faces) > 1:
        faces = [faces[_central(image, faces, np.array(centers), known)]]
    if options.require_landmarks:
        faces = [face for face in faces if face.confidence.any()]
    if not faces:
        raise FaceError(_why_none(options))
    return faces


def match_landmarks(
    boxes: np.ndarray, known: Sequence[FaceLandmarks]
) -> list[FaceLandmarks | None]:
    """Give each box [K, 4] the landmarks whose centroid it holds, each set to one box at most.

    Of several boxes about one centroid the one with the nearest centre takes it.
    """
    matches: list[FaceLandmarks | None] = [None] * len(boxes)
    for face in known:
        low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        holds = ((low <= face.centroid) & (face.centroid <= high)).all(axis=1)
        distance = np.linalg.norm((low + high) / 2 - face.centroid, axis=1)
        free = [i for i in np.argsort(distance, kind="stable") if holds[i] and matches[i] is None]
        if free:
            matches[free[0]] = face
    return matches


def _central(image, faces: list[Face], centers: np.ndarray, known) -> int:
    if known:
        centroids = np.array([face.centroid for face in known])
        target = centroids[np.argmin(_distance_from_middle(image, centroids))]
        return int(np.argmin(np.linalg.norm(centers - target, axis=1)))
    sides = np.array([face.crop.box[2:].mean() for face in faces])
    return int(np.argmax(sides - _distance_from_middle(image, centers)))


def _distance_from_middle(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    middle = np.array([image.shape[1], image.shape[0]]) / 2
    return np.linalg.norm(points - middle, axis=1)


def cut_face(crop: Crop, match: FaceLandmarks | None) -> Face:
    if match is None:
        zeros = np.zeros(NUM_LANDMARKS, np.float32)
        return Face(crop, np.zeros((NUM_LANDMARKS, 2), np.float32), zeros)
    points = transform_points(invert_affine(crop.to_photograph), match.points)
    points = np.where(match.confidence[:, None] > 0, points, 0)
    return Face(crop, points.astype(np.float32), match.confidence)


def with_nan(face: FaceLandmarks) -> np.ndarray:
    """Return the points [68, 2], NaN where there is none."""
    return np.where(face.confidence[:, None] > 0, face.points, np.nan)


def _why_none(options: ExtractOptions) -> str:
    if options.crop == "landmarks":
        return "no landmarks are known for this photograph"
    if options.require_landmarks:
        return "no face with known landmarks was found"
    return "no face was found"
