"""The annotations of AFLW2000-3D: a `.mat` file beside each photograph.

Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. `pt3d_68` [3, 68] are the
landmarks of a fitted 3D face, those of the jaw too, x and y in MATLAB's pixels: the first pixel's
center is (1, 1). `Pose_Para` [1, 7] begins with pitch, yaw and roll, radians, of the rotation
R = R_x R_y R_z that turns the face (0, 0, 1) of yaw y towards x = -sin y: to the left of the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io

from mofa_jax.data.sources.landmark_files import NUM_LANDMARKS, FaceLandmarks, LandmarkFileError

_POINTS, _POSE = "pt3d_68", "Pose_Para"
_FARTHEST = 1e6  # px


def read_aflw2000(path: Path) -> FaceLandmarks | None:
    """The landmarks of a `.mat` file, with the head's yaw; None if it holds no `pt3d_68`.

    Raises:
      LandmarkFileError: the file is damaged, or its arrays have other shapes.
    """
    try:
        content = scipy.io.loadmat(path, variable_names=[_POINTS, _POSE])
        if _POINTS not in content:
            return None
        points = np.asarray(content[_POINTS], np.float64)
        pose = np.ravel(np.asarray(content[_POSE], np.float64))
        near = (np.abs(points) < _FARTHEST).all()  # not so for NaN
        if points.shape != (3, NUM_LANDMARKS) or len(pose) < 3 or not near:
            raise ValueError(f"shapes {points.shape} and {pose.shape}, or values that are no px")
    except Exception as error:  # of damaged files, a dozen types
        raise LandmarkFileError(
            f"{path}: this is not a .mat file of AFLW2000-3D with {_POINTS} [3, {NUM_LANDMARKS}] "
            f"and {_POSE} [1, 7] ({error}); remove or replace it"
        ) from error
    return FaceLandmarks(
        (points[:2].T - 0.5).astype(np.float32),
        np.ones(NUM_LANDMARKS, np.float32),
        yaw=-float(np.degrees(pose[1])),
    )
