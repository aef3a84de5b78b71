"""The faces of one picture: found, given landmarks, pruned, cut out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from mofa_jax.data.faces.crop import (
    CROP_SIZE,
    Crop,
    FaceError,
    crop_from_box,
    crop_from_landmarks,
    invert_affine,
    transform_points,
)
from mofa_jax.data.faces.detectors import FaceDetector, LandmarkDetector
from mofa_jax.data.faces.quality import (
    DOUBTFUL,
    Pruned,
    Pruning,
    check_box,
    check_landmarks,
    check_picture,
)
from mofa_jax.data.sources.items import Picture
from mofa_jax.data.sources.landmark_files import (
    FaceLandmarks,
    LandmarkFileError,
    LandmarkTable,
    read_aflw2000,
    read_pts,
)
from mofa_jax.errors import InputError

CROPS = ("haar", "landmarks")
FACES = ("all", "central")


@dataclasses.dataclass(frozen=True)
class Face:
    """A face cut out of a photograph.

    crop: the square. landmarks: float32 [68, 2], continuous crop px. confidence: float32 [68].
    """

    crop: Crop
    landmarks: np.ndarray
    confidence: np.ndarray


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one face that was found, or of a picture or its landmarks.

    box: [4] (x, y, w, h), px of the picture, or None. face: what is kept, or None.
    reason, details: why it is not; see `quality.REASONS`.
    """

    box: np.ndarray | None
    face: Face | None
    reason: str = ""
    details: str = ""


@dataclasses.dataclass(frozen=True)
class Options:
    """Which faces of a picture are used, and how they are cut out.

    crop: "haar", squares about the detector's boxes, or "landmarks", squares about known landmarks.
    faces: "all", or "central": the one whose box is nearest to the landmarks' centroid; without
      landmarks the one with the largest (side of the box - distance from the image's center).
    require_landmarks: leave out faces without landmarks.
    only_clean: leave out landmarks that their file does not call clean, and with them pictures
      that have no others.
    image_size: side of the crops, px.
    """

    crop: str = "haar"
    faces: str = "all"
    require_landmarks: bool = False
    only_clean: bool = False
    image_size: int = CROP_SIZE

    def __post_init__(self):
        for name, value, allowed in (("crop", self.crop, CROPS), ("faces", self.faces, FACES)):
            if value not in allowed:
                raise InputError(f"{name} is {value!r}; it must be one of {list(allowed)}")


@dataclasses.dataclass(frozen=True)
class Finder:
    """What looks for faces, one a worker process.

    detector: gives the boxes. landmarks: for faces that `table`, or a file beside the picture,
      does not know.
    """

    detector: FaceDetector
    landmarks: LandmarkDetector
    table: LandmarkTable
    pruning: Pruning
    options: Options

    def find(self, picture: Picture) -> Iterator[Finding]:
        """Yield the findings of a picture, the largest face first; none of them ends the others."""
        try:
            found = known_landmarks(picture, self.table)
            known, fault = [f for f in found if f.clean or not self.options.only_clean], ""
        except LandmarkFileError as error:
            known, fault = [], str(error)
            yield Finding(None, None, "bad annotation", fault)
        if (self.options.only_clean or self.options.crop == "landmarks") and not known:
            if not fault:
                yield Finding(None, None, "no landmarks")
            return
        if self.options.crop == "landmarks":
            boxes = [_bounding_box(face) for face in known]
            faces: list[FaceLandmarks | None] = [*known]
            centers = [face.centroid for face in known]
        else:
            boxes = [*self.detector.detect(picture.image)]
            faces = match_landmarks(np.reshape(boxes, (-1, 4)), known)
            centers = [box[:2] + box[2:] / 2 for box in boxes]
        chosen = range(len(boxes))
        if self.options.faces == "central" and len(boxes) > 1:
            chosen = [_central(picture.image, boxes, np.array(centers), known)]
        for i in chosen:
            yield self._judge(picture.image, boxes[i], faces[i], doubtful=i > 0)
        if not boxes:
            yield Finding(None, None, "no face")

    def _judge(
        self, image: np.ndarray, box: np.ndarray, landmarks: FaceLandmarks | None, doubtful: bool
    ) -> Finding:
        """Prune or cut out one face."""
        box = np.asarray(box, np.float64)
        about_landmarks = self.options.crop == "landmarks"
        try:
            check_box(box, self.pruning)
            if not about_landmarks:
                if landmarks is None:
                    landmarks = self._detect(image, box, doubtful)
                check_landmarks(landmarks, box, self.pruning)
            if self.options.require_landmarks and not landmarks.confidence.any():
                raise Pruned("no landmarks")
            if about_landmarks:
                crop = crop_from_landmarks(image, with_nan(landmarks), self.options.image_size)
            else:
                crop = crop_from_box(image, box, self.options.image_size)
            check_picture(crop.image, self.pruning)
        except Pruned as pruned:
            return Finding(box, None, pruned.reason, str(pruned))
        except FaceError as error:
            return Finding(box, None, "no face", str(error))
        return Finding(box, cut_face(crop, landmarks))

    def _detect(self, image: np.ndarray, box: np.ndarray, doubtful: bool) -> FaceLandmarks:
        landmarks = self.landmarks.detect(image, box)
        if landmarks is None:
            raise Pruned("no face", "the landmark detector found none in the box")
        doubtful = doubtful or landmarks.confidence.mean() < DOUBTFUL
        if self.pruning.second_opinion and doubtful and not self.landmarks.confirm(image, box):
            raise Pruned("unconfirmed")
        return landmarks


def known_landmarks(picture: Picture, table: LandmarkTable) -> list[FaceLandmarks]:
    """The faces of a picture that a table, or else a file beside the picture, gives landmarks of.

    Raises:
      LandmarkFileError: that file, .pts or .mat, cannot be read.
    """
    found = table.find(picture.name)
    beside = (path for path in picture.annotations if path.is_file())
    if not found and (path := next(beside, None)):
        face = read_aflw2000(path) if path.suffix == ".mat" else read_pts(path)
        found = () if face is None else (face,)
    return [face for face in found if face.centroid is not None]


def match_landmarks(
    boxes: np.ndarray, known: Sequence[FaceLandmarks]
) -> list[FaceLandmarks | None]:
    """Give each box [K, 4] the landmarks whose centroid it holds, each set to one box at most.

    Of several boxes about one centroid the one with the nearest center takes it.
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


def cut_face(crop: Crop, landmarks: FaceLandmarks) -> Face:
    """A crop with landmarks in its own pixels, 0 where there is none."""
    points = transform_points(invert_affine(crop.to_photograph), landmarks.points)
    points = np.where(landmarks.confidence[:, None] > 0, points, 0)
    return Face(crop, points.astype(np.float32), landmarks.confidence)


def with_nan(face: FaceLandmarks) -> np.ndarray:
    """The points [68, 2], NaN where there is none."""
    return np.where(face.confidence[:, None] > 0, face.points, np.nan)


def _bounding_box(face: FaceLandmarks) -> np.ndarray:
    points = face.points[face.confidence > 0]
    return np.concatenate([points.min(axis=0), np.ptp(points, axis=0)])


def _central(image: np.ndarray, boxes, centers: np.ndarray, known) -> int:
    if known:
        centroids = np.array([face.centroid for face in known])
        target = centroids[np.argmin(_distance_from_middle(image, centroids))]
        return int(np.argmin(np.linalg.norm(centers - target, axis=1)))
    sides = np.array([box[2:].mean() for box in boxes])
    return int(np.argmax(sides - _distance_from_middle(image, centers)))


def _distance_from_middle(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    middle = np.array([image.shape[1], image.shape[0]]) / 2
    return np.linalg.norm(points - middle, axis=1)
