"""The faces of one picture for a corpus: found, given landmarks, pruned, cut out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from mofa_jax.data.faces.crop import (
    Crop,
    FaceDetector,
    FaceError,
    crop_from_box,
    crop_from_landmarks,
)
from mofa_jax.data.faces.extract import CROPS, Face, cut_face, match_landmarks, with_nan
from mofa_jax.data.faces.landmark_detector import LandmarkDetector
from mofa_jax.data.faces.quality import (
    DOUBTFUL,
    Pruned,
    Pruning,
    check_box,
    check_landmarks,
    check_picture,
)
from mofa_jax.data.sources.items import Picture
from mofa_jax.data.sources.landmark_files import FaceLandmarks, LandmarkTable, read_pts


@dataclasses.dataclass(frozen=True)
class Finding:
    """What became of one face that was found, or of a picture without any.

    box: [4] (x, y, w, h), px of the picture, or None. face: what is kept, or None.
    reason, details: why it is not; see `pruning.REASONS`.
    """

    box: np.ndarray | None
    face: Face | None
    reason: str = ""
    details: str = ""


@dataclasses.dataclass(frozen=True)
class Finder:
    """What looks for faces, one a worker process.

    detector: gives the boxes. landmarks: for faces that `table`, or a .pts file, does not know.
    crop: "haar", squares about the detector's boxes, or "landmarks", about known landmarks only.
    """

    detector: FaceDetector
    landmarks: LandmarkDetector
    table: LandmarkTable
    pruning: Pruning
    crop: str = "haar"

    def __post_init__(self):
        if self.crop not in CROPS:
            raise ValueError(f"crop is {self.crop!r}; it must be one of {list(CROPS)}")

    def find(self, picture: Picture) -> Iterator[Finding]:
        """Yield the findings of a picture, the largest face first."""
        known = self._known(picture)
        if self.crop == "landmarks":
            found = [(crop_from_landmarks(picture.image, with_nan(face)), face) for face in known]
        else:
            found = self._boxes(picture.image, known)
        for number, (place, landmarks) in enumerate(found):
            yield self._judge(picture.image, place, landmarks, doubtful=number > 0)
        if not found:
            yield Finding(None, None, "no face")

    def _boxes(self, image, known) -> list[tuple[np.ndarray, FaceLandmarks | None]]:
        boxes = self.detector.detect(image)
        return list(zip(boxes, match_landmarks(boxes, known), strict=True))

    def _judge(
        self,
        image: np.ndarray,
        found: Crop | np.ndarray,
        landmarks: FaceLandmarks | None,
        doubtful: bool,
    ) -> Finding:
        """Prune or cut out one face: a box of the detector, or a crop about known landmarks."""
        box = found.box if isinstance(found, Crop) else found.astype(np.float64)
        try:
            check_box(box, self.pruning)
            if not isinstance(found, Crop):
                if landmarks is None:
                    landmarks = self._detect(image, box, doubtful)
                check_landmarks(landmarks, box, self.pruning)
                found = crop_from_box(image, box)
            check_picture(found.image, self.pruning)
        except Pruned as pruned:
            return Finding(box, None, pruned.reason, str(pruned))
        except FaceError as error:
            return Finding(box, None, "no face", str(error))
        return Finding(box, cut_face(found, landmarks))

    def _detect(self, image: np.ndarray, box: np.ndarray, doubtful: bool) -> FaceLandmarks:
        landmarks = self.landmarks.detect(image, box)
        if landmarks is None:
            raise Pruned("no face", "the landmark detector found none in the box")
        doubtful = doubtful or landmarks.confidence.mean() < DOUBTFUL
        if self.pruning.second_opinion and doubtful and not self.landmarks.confirm(image, box):
            raise Pruned("unconfirmed")
        return landmarks

    def _known(self, picture: Picture) -> list[FaceLandmarks]:
        found = self.table.find(picture.name)
        if not found and picture.pts is not None and picture.pts.is_file():
            found = (read_pts(picture.pts),)
        return [face for face in found if face.centroid is not None]
