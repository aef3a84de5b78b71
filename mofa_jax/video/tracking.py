"""One face followed through the frames of a video; detected only where it was lost."""

import math

import cv2
import numpy as np

from mofa_jax.data.faces.crop import Crop, FaceError, crop_again, crop_from_box, resample
from mofa_jax.data.faces.detectors import TwoDetectors
from mofa_jax.inference import Predictor, Reconstruction
from mofa_jax.params import FaceParams

# Of the patches of a reconstruction with the picture, below which no face is there: of 60 faces of
# LFPW's test photographs it was 0.27 at least, of 91 squares beside faces 0.18 at most.
_LEAST_CORRELATION = 0.22
_DETECTION_PIXELS = 300_000  # of the frame that is searched: it takes a tenth of a second


class Tracker:
    """Follows the largest face of a video.

    A frame's crop is the square about the landmarks in the frame before, cut again if the face has
    moved far, see `Predictor.settled`; or the frame's before, if the model lacks landmarks. Where
    the face drawn there does not look like the picture it is lost, and looked for in the whole
    frame; so it is in every frame if the encoder knows the detector's squares alone. Frames go
    through the encoder one by one: a batch of 16 takes three quarters of the time on two CPU cores,
    but faces leave its common crop.
    """

    def __init__(self, predict: Predictor):
        self._predict, self._detector = predict, TwoDetectors()
        self._square: Crop | None = None  # where the face is looked for in the next frame

    def follow(self, frame: np.ndarray) -> Reconstruction | None:
        """The face in the next frame, uint8 [H, W, 3] RGB, if there is one."""
        face = None
        if self._square is not None:
            place = self._square.to_photograph
            image = resample(frame, place, self._predict.cam.image_size[0])
            face = self._recognized(frame, Crop(image, place, self._square.box))
        if face is None:
            crop = self._detected(frame)
            face = None if crop is None else self._recognized(frame, crop)
        if face is None:
            self._square = None
        return face

    def _detected(self, frame: np.ndarray) -> Crop | None:
        """The crop of the largest face that is detected in a frame, if there is one."""
        shrink = min(1.0, math.sqrt(_DETECTION_PIXELS / (frame.shape[0] * frame.shape[1])))
        small = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        boxes = self._detector.detect(small)
        if not len(boxes):
            return None
        try:
            return crop_from_box(frame, boxes[0] / shrink, self._predict.cam.image_size[0])
        except FaceError:
            return None

    def _recognized(self, frame: np.ndarray, crop: Crop) -> Reconstruction | None:
        """The face that is there, or near, if there is one."""
        predict = self._predict
        (crop,), codes = predict.settled([frame], [crop])
        if predict.correlations(codes, crop.image[None])[0] < _LEAST_CORRELATION:
            return None
        if not predict.knows_moved_squares:
            self._square = None
        elif predict.has_all_landmarks:
            self._square = crop_again(frame, crop, predict.landmarks(codes)[0])
        else:
            self._square = crop
        return Reconstruction(FaceParams.from_code(codes[0], predict.model), crop, 0)
