"""The frontal face: ear to ear without the ears, hairline to under the chin (paper, Fig. 1)."""

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.surface import largest_component, with_clean_boundary

# In units of the distance between the outer eye corners, about 0.9 dm. Calibrated on ICT-FaceKit,
# whose vertices 0 to 6705 are the narrow face.
_FOREHEAD = 0.38  # how far the region goes above the brows
_UNDER_CHIN = 0.31  # and below the chin's tip
_BEHIND_EAR_POINT = 0.10  # and behind the jaw line's upper ends
_JAW_SLOPE = 0.33  # how much the region's back comes forward towards the chin
_TEMPLE_CURVE = 1.34  # and, quadratically, towards the forehead


def frontal_face(vertices: np.ndarray, triangles: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The triangles of the frontal face: one part with a clean boundary.

    Args:
      vertices: [N, 3], dm, any origin.
      triangles: [F, 3].
      landmarks: [68, 3], positions; needed are the jaw's ends, the chin, brows, eyes and mouth.

    Raises:
      FaceModelError: nothing lies within the contour, or a landmark of it is missing.
    """
    chosen = triangles[inside_contour(vertices, landmarks)[triangles].all(axis=1)]
    if not len(chosen):
        raise FaceModelError(
            "no triangle lies within the face's contour, of the landmarks of the jaw's ends, the "
            "chin, brows, eyes and mouth; give all 68 by --landmarks, or --keep-all."
        )
    return with_clean_boundary(largest_component(chosen), smooth=True)


def inside_contour(points: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which of `points` [..., 3] lie before the surface that separates the face from the head."""
    y, z = points[..., 1], points[..., 2]
    unit = np.linalg.norm(landmarks[45] - landmarks[36])
    brows, eyes = landmarks[17:27, 1].max(), landmarks[36:48, 1].mean()
    mouth, chin = landmarks[48:60, 1].mean(), landmarks[8, 1]
    back = landmarks[[0, 16], 2].mean() - _BEHIND_EAR_POINT * unit
    back = back + _JAW_SLOPE * np.maximum(mouth - y, 0)
    back = back + _TEMPLE_CURVE / unit * np.maximum(y - eyes, 0) ** 2
    return (z > back) & (y < brows + _FOREHEAD * unit) & (y > chin - _UNDER_CHIN * unit)
