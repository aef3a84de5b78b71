"""The faces of a folder of photographs, each with the landmarks that it should have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from mofa_jax.data.faces.crop import Crop, FaceError, crop_from_box, crop_from_landmarks
from mofa_jax.data.faces.detectors import TwoDetectors
from mofa_jax.data.faces.find import cut_face, known_landmarks, with_nan
from mofa_jax.data.faces.quality import box_disagreement
from mofa_jax.data.sources.items import Source, list_items, read_pictures
from mofa_jax.data.sources.landmark_files import (
    FaceLandmarks,
    LandmarkFileError,
    LandmarkTable,
    find_landmark_file,
    read_landmark_file,
)
from mofa_jax.inference import Predictor
from mofa_jax.landmarks import NUM_LANDMARKS

CROPS = ("found", "haar", "landmarks")
_NOTHING_KNOWN = FaceLandmarks(
    np.zeros((NUM_LANDMARKS, 2), np.float32), np.zeros(NUM_LANDMARKS, np.float32)
)


class PhotographFaces:
    """Every face of some photographs whose landmarks are known, cut out when it is asked for.

    `faces[i]` is as of a corpus: dict(image, landmarks, confidence, name), and the yaw, degrees,
    NaN if it is not known. A photograph without known landmarks counts with its largest face. A
    photograph that cannot be read, and a face that is not found, raise an error that names them.
    """

    def __init__(
        self,
        photographs: str | os.PathLike[str],
        predict: Predictor,
        crop: str = "found",
        landmark_file: str | os.PathLike[str] | None = None,
        pixel_centers: str = "integer",
    ):
        """
        Args:
          photographs: a folder, a glob, or a file.
          predict: whose camera the crops are for.
          crop: "found", as `Predictor.faces` cuts out; "haar", squares about the detector's boxes;
            "landmarks", squares about the known landmarks.
          landmark_file: by default that of `find_landmark_file`; .pts files, and the .mat files
            of AFLW2000-3D, are found anyway.
          pixel_centers: where that file puts them, see `read_landmark_file`.

        Raises:
          PhotographError: there is no photograph.
          LandmarkFileError: the file cannot be read, or names none of the photographs.
        """
        self._source = Source(path=os.fspath(photographs))
        self._predict, self._crop, self._detector = predict, crop, TwoDetectors()
        items = list_items(self._source)
        file = landmark_file or find_landmark_file(photographs)
        self._table = read_landmark_file(file, pixel_centers) if file else LandmarkTable({})
        counts = [sum(f.centroid is not None for f in self._table.find(i.name)) for i in items]
        if file and not any(counts) and (landmark_file or len(items) > 1):
            raise LandmarkFileError(
                f"{file}: has landmarks of none of the {len(items)} photographs of {photographs}, "
                f"such as {items[0].name}; give the file that belongs to them"
            )
        self._faces = [
            (item, k) for item, count in zip(items, counts, strict=True) for k in range(count or 1)
        ]

    def __len__(self) -> int:
        return len(self._faces)

    def label_of(self, i: int) -> str:
        """The name of a face's photograph."""
        return self._faces[i][0].name

    def __getitem__(self, i: int) -> dict[str, Any]:
        item, k = self._faces[i]
        (picture,) = read_pictures(item, self._source)
        known = known_landmarks(picture, self._table)
        if self._crop == "landmarks" and not known:
            raise FaceError(f"{item.name}: none of its landmarks are known, about which it is cut")
        try:
            crop = self._cut_out(picture.image, known, k)
        except FaceError as error:
            raise FaceError(f"{item.name}: {error}") from error
        if crop is None:
            raise FaceError(f"{item.name}: no face was found" + (" there" if known else ""))
        face = cut_face(crop, known[k] if known else _NOTHING_KNOWN)
        return {
            "image": crop.image,
            "landmarks": face.landmarks,
            "confidence": face.confidence,
            "name": item.name,
            "yaw": known[k].yaw if known else np.nan,
        }

    def _cut_out(self, image: np.ndarray, known: Sequence[FaceLandmarks], k: int) -> Crop | None:
        """The crop of known face k, or of the largest one if none is known."""
        size = self._predict.cam.image_size[0]
        if self._crop == "landmarks":
            return crop_from_landmarks(image, with_nan(known[k]), size)
        crops = [crop_from_box(image, box, size) for box in self._detector.detect(image)]
        if self._crop == "found":
            crops, _ = self._predict.settled([image] * len(crops), crops)
        if not known:
            return crops[0] if crops else None
        return _crop_of(known[k], crops)


def _crop_of(face: FaceLandmarks, crops: Sequence[Crop]) -> Crop | None:
    """Of the crops whose box holds a face's middle the one whose box fits its landmarks best."""
    points = face.points[face.confidence > 0]
    holding = [
        crop
        for crop in crops
        if ((face.centroid >= crop.box[:2]) & (face.centroid <= crop.box[:2] + crop.box[2:])).all()
    ]
    return min(holding, key=lambda crop: box_disagreement(points, crop.box), default=None)
