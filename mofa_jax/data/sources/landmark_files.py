"""Landmarks beside the photographs: `.pts` and `.mat` files, `landmarks.json`, `landmarks.npz`.

All points are returned in this project's continuous pixels of the upright photograph: x right, y
down, the center of the top-left pixel at (0.5, 0.5). Most files put pixel centers at integers
(`pixel_centers="integer"`, 0.5 is added); `"half"` says that a file follows this project.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from pathlib import Path, PurePath

import numpy as np

from mofa_jax.data.sources.names import ends_of, root_of
from mofa_jax.errors import InputError
from mofa_jax.files.matlab import read_matlab
from mofa_jax.files.npz import NpzError, read_npz
from mofa_jax.landmarks import NUM_LANDMARKS

PIXEL_CENTERS = {"integer": 0.5, "half": 0.0}
FILE_NAMES = ("landmarks.json", "landmarks.npz")
_logger = logging.getLogger(__name__)
_KEYS = ("files", "landmarks", "confidence", "clean")
_ABSENT = {"landmarks": [[np.nan] * 2] * NUM_LANDMARKS, "confidence": [0.0] * NUM_LANDMARKS}
_POINTS, _POSE = "pt3d_68", "Pose_Para"  # of AFLW2000-3D
_FARTHEST = 1e6  # px, of its points


class LandmarkFileError(InputError):
    """A landmark file is not as expected; the message names the file, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class FaceLandmarks:
    """The landmarks of one face.

    points: float32 [68, 2], continuous px of the photograph, 0 where there is none.
    confidence: float32 [68], 0 = none.
    clean: whether the file counts this face as good.
    yaw: of the head, degrees, see `head_yaw`; NaN where the file does not say.
    """

    points: np.ndarray
    confidence: np.ndarray
    clean: bool = True
    yaw: float = np.nan

    @property
    def centroid(self) -> np.ndarray | None:
        """Mean of the points that there are, float [2], px; None without any."""
        present = self.confidence > 0
        return self.points[present].mean(axis=0) if present.any() else None


@dataclasses.dataclass(frozen=True)
class LandmarkTable:
    """Landmarks of many photographs, by file name; a photograph may have several faces."""

    faces: dict[str, tuple[FaceLandmarks, ...]]
    has_clean: bool = False

    def find(self, name: str | PurePath) -> tuple[FaceLandmarks, ...]:
        """Return the faces of a photograph: by its relative path or the longest end of it that is
        known, such as its bare file name."""
        return next((self.faces[end] for end in ends_of(name) if end in self.faces), ())


def find_landmark_file(photographs: str | os.PathLike[str]) -> Path | None:
    """Return the `landmarks.json` or `landmarks.npz` of the folder that the photographs' names are
    relative to, see `root_of`; None if it has neither."""
    candidates = [root_of(photographs) / name for name in FILE_NAMES]
    return next((path for path in candidates if path.is_file()), None)


def read_landmark_file(
    path: str | os.PathLike[str], pixel_centers: str = "integer"
) -> LandmarkTable:
    """Read a table of landmarks.

    An `.npz` holds `files` [n], `landmarks` [n, 68, 2] and perhaps `confidence` [n, 68] and `clean`
    [n]; a `.json` holds the same as lists, or `faces`: a list of {`file`, `landmarks68`} (a longer
    key that begins so will do). NaN or null = none. A file name may occur once for each face.

    Raises:
      LandmarkFileError: missing or unreadable file, missing key, wrong shape.
    """
    path = Path(path)
    if pixel_centers not in PIXEL_CENTERS:
        raise LandmarkFileError(
            f"pixel_centers is {pixel_centers!r}; it must be one of {sorted(PIXEL_CENTERS)}"
        )
    arrays = _load(path)
    files, points, confidence, clean = _check(path, arrays)
    faces: dict[str, list[FaceLandmarks]] = {}
    for i, file in enumerate(files):
        good = np.isfinite(points[i]).all(axis=1) & (confidence[i] > 0)
        face = FaceLandmarks(
            np.where(good[:, None], points[i] + PIXEL_CENTERS[pixel_centers], 0).astype(np.float32),
            np.where(good, confidence[i], 0).astype(np.float32),
            bool(np.nan_to_num(clean[i])),
        )
        faces.setdefault(PurePath(str(file)).as_posix(), []).append(face)
    return LandmarkTable({k: tuple(v) for k, v in faces.items()}, "clean" in arrays)


def read_pts(path: str | os.PathLike[str]) -> FaceLandmarks:
    """Read an iBUG `.pts` file: 68 points, counted from 1, pixel centers at integers.

    The first pixel's center is (1, 1) there and (0.5, 0.5) here.
    """
    path = Path(path)
    try:
        body = path.read_text(encoding="utf-8", errors="replace")
        numbers = body[body.index("{") + 1 : body.index("}")].split()
        points = _within_float32(np.array(numbers, np.float64).reshape(-1, 2))
    except (OSError, ValueError) as error:
        raise LandmarkFileError(
            f"{path}: this is not an iBUG .pts file with lines 'x y' between braces; "
            "remove or replace it"
        ) from error
    if len(points) != NUM_LANDMARKS:
        raise LandmarkFileError(
            f"{path}: {len(points)} points instead of {NUM_LANDMARKS}; remove or replace the file"
        )
    good = np.isfinite(points).all(axis=1)
    points = np.where(good[:, None], points - 0.5, 0).astype(np.float32)
    return FaceLandmarks(points, good.astype(np.float32))


def _load(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of either kind of file."""
    if not path.is_file():
        raise LandmarkFileError(f"{path}: there is no such file; check the path")
    try:
        if path.suffix.lower() == ".npz":
            content = read_npz(path)
        else:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.get("faces") is not None:
                content = _by_key(content["faces"])
        return {key: _array(key, values) for key, values in content.items() if key in _KEYS}
    except NpzError as error:
        raise LandmarkFileError(str(error)) from error
    except Exception as error:  # zip, JSON, dtype and shape errors alike
        raise LandmarkFileError(
            f"{path}: this is not a landmark file (.json or .npz with files and landmarks): {error}"
        ) from error


def _array(key: str, values: list | np.ndarray) -> np.ndarray:
    """Names, or numbers of which those beyond float32 are NaN."""
    if key == "files":
        names = (value.decode() if isinstance(value, bytes) else str(value) for value in values)
        return np.array([*names], str)
    if key in _ABSENT:
        values = [_ABSENT[key] if value is None else value for value in values]
    return _within_float32(np.array(values, np.float64))


def _within_float32(numbers: np.ndarray) -> np.ndarray:
    return np.where(np.abs(numbers) <= np.finfo(np.float32).max, numbers, np.nan)


def _by_key(faces: list[dict]) -> dict[str, list]:
    """The values of all faces by the keys of a file that holds lists."""
    if not faces:
        raise ValueError("it holds no face")
    landmarks = next((key for key in faces[0] if key.startswith("landmarks68")), "landmarks")
    keys = {"file": "files", landmarks: "landmarks"}
    keys |= {key: key for key in ("confidence", "clean") if key in faces[0]}
    return {name: [face[key] for face in faces] for key, name in keys.items()}


def _check(path: Path, arrays: dict[str, np.ndarray]):
    """Return files [n], points [n, 68, 2], confidence [n, 68], clean [n], checked."""
    for key in ("files", "landmarks"):
        if key not in arrays:
            raise LandmarkFileError(
                f"{path}: the key '{key}' is missing; expected 'files' [n] and "
                f"'landmarks' [n, {NUM_LANDMARKS}, 2]"
            )
    n = len(arrays["files"])
    full = (n, NUM_LANDMARKS)
    confidence = arrays.get("confidence", np.ones(full))
    clean = arrays.get("clean", np.ones(n, bool))
    for key, array, shape in (
        ("landmarks", arrays["landmarks"], (*full, 2)),
        ("confidence", confidence, full),
        ("clean", clean, (n,)),
    ):
        if array.shape != shape:
            raise LandmarkFileError(
                f"{path}: '{key}' has the shape {list(array.shape)}, expected {list(shape)}"
            )
    _warn_of_lying_faces(path, arrays["landmarks"])
    return arrays["files"], arrays["landmarks"], np.nan_to_num(confidence), clean


def _warn_of_lying_faces(path: Path, points: np.ndarray) -> None:
    """Points [n, 68, 2] may have x and y exchanged, or another direction or order."""
    eyes, mouth = points[:, 36:48].mean(axis=1), points[:, 48:].mean(axis=1)
    x, y = (mouth - eyes).T
    lying = np.abs(x) > np.maximum(y, 0)  # not so of NaN, and of faces without extent
    mirrored = points[:, 36, 0] > points[:, 45, 0]
    if np.mean(lying | (y < 0) | mirrored) > 0.5:
        _logger.warning(
            "%s: in most faces the eyes (36 to 47) are not above the mouth (48 to 67), the right "
            "one to the left of the other; x goes before y, y downwards, and the 68 points have "
            "the order of 300-W.",
            path,
        )


def read_aflw2000(path: Path) -> FaceLandmarks | None:
    """The landmarks of a `.mat` file of AFLW2000-3D, with the head's yaw; None if it holds none.

    Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016. `pt3d_68` [3, 68] are
    the landmarks of a fitted 3D face, those of the jaw too, x and y in MATLAB's pixels: the first
    pixel's center is (1, 1). `Pose_Para` [1, 7] begins with pitch, yaw and roll, radians, of the
    rotation R = R_x R_y R_z that turns the face (0, 0, 1) of yaw y towards x = -sin y: to the left
    of the image.

    Raises:
      LandmarkFileError: the file is damaged, or its arrays have other shapes.
    """
    try:
        content = read_matlab(path, [_POINTS, _POSE])
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
        yaw=float(np.degrees(pose[1])),
    )
