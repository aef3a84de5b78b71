"""A face in a video: one identity, and its movement in the video's frames; as an npz file."""

import dataclasses
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.errors import InputError, one_line
from mofa_jax.files.npz import NpzError, read_npz, write_npz
from mofa_jax.params import NUM_BANDS, FaceParams

SHARED = ("shape", "reflectance")
"""What all frames share."""
_MADE_BY = {  # what a clip's file may say of it
    "face_model_checksum": str,
    "encoder_checksum": str,
    "refine_steps": int,
    "smooth": bool,
}


class ClipFileError(InputError):
    """A clip's file cannot be used; the message names the file, the fault and the fix."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A face in T frames of a video.

    Attributes:
      params: its codes; fields have T in front, shape and reflectance are the same in all frames.
      frames: [T] int, the frames' numbers in the video, rising; where the face was not found, one
        is left out.
      times: [T], when they are shown, s after the video's first frame, rising.
      crop_to_photograph: [T, 2, 3], each frame's map from the crop's pixels to its own.
      frame_size: (height, width) of the frames, px.
      cam: the camera of the crops.
      face_model: what `load_face_model` takes: a path, or "open".
      face_model_name: what the face model is called.
      video: its file, or "" if it is not known.
      face_model_checksum: of the face model; None: not known, as with the next three.
      encoder_checksum: of the encoder's weights.
      refine_steps: of the fit that gave all frames one identity; 0: the encoder's.
      smooth: whether pose, expression and light were smoothed over time.
    """

    params: FaceParams
    frames: np.ndarray
    times: np.ndarray
    crop_to_photograph: np.ndarray
    frame_size: tuple[int, int]
    cam: Camera
    face_model: str
    face_model_name: str
    video: str = ""
    face_model_checksum: str | None = None
    encoder_checksum: str | None = None
    refine_steps: int | None = None
    smooth: bool | None = None

    def face(self, k: int) -> FaceParams:
        """The code in the k-th of its frames."""
        return jax.tree.map(jnp.asarray, self.params.face(k))

    @property
    def most_frontal(self) -> int:
        """The place in `frames` of the one in which the head is turned least."""
        return int(np.argmin(np.linalg.norm(self.params.rotation, axis=1)))


def stacked(codes: Sequence[FaceParams]) -> FaceParams:
    """T codes as one, whose fields, NumPy's, have T in front."""
    return jax.tree.map(lambda *fields: np.stack(fields), *codes)


def save_clip(path: str | os.PathLike, clip: Clip) -> None:
    """Writes a clip as npz: the fields of `Clip` and of its codes by their names, units as in
    docs/conventions.md; shape [S] and reflectance [R] once; what is None is left out.
    Raises OSError as `atomic_write`."""
    codes = {
        f.name: np.asarray(getattr(clip.params, f.name)) for f in dataclasses.fields(FaceParams)
    }
    codes |= {name: codes[name][0] for name in SHARED}
    fields = {name: value for name, value in vars(clip).items() if value is not None}
    fields |= {
        f"camera_{name}": value for name, value in dataclasses.asdict(fields.pop("cam")).items()
    }
    del fields["params"]
    write_npz(path, **codes, **fields)


def load_clip(path: str | os.PathLike) -> Clip:
    """Reads what `save_clip` wrote.

    Raises:
      ClipFileError: there is no such file, or it is damaged or something else.
    """
    try:
        return _clip(read_npz(path))
    except NpzError as error:
        raise ClipFileError(str(error)) from error
    except Exception as error:  # what may stand in an npz file fails with several types
        raise ClipFileError(
            f"{os.fspath(path)}: this is no clip of a face ({one_line(error)}); give a .npz "
            "file of `python -m mofa_jax.reconstruct clip.mp4`."
        ) from error


def _clip(arrays: dict[str, np.ndarray]) -> Clip:
    count = len(arrays["frames"])
    codes = {
        field.name: arrays[field.name].astype(np.float32)
        for field in dataclasses.fields(FaceParams)
    }
    codes |= {name: np.broadcast_to(codes[name], (count, *codes[name].shape)) for name in SHARED}
    shapes = {"rotation": (count, 3), "translation": (count, 3)}
    shapes |= {"illumination": (count, NUM_BANDS, 3)}
    for name, values in codes.items():
        if values.shape != shapes.get(name, (count, values.shape[-1])):
            raise ValueError(f"'{name}' has the shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"'{name}' holds NaN or infinite values")
    affine = arrays["crop_to_photograph"].astype(float)
    if affine.shape != (count, 2, 3) or not count:
        raise ValueError(f"{count} frames, maps to the photograph {affine.shape}")
    frames = arrays["frames"].astype(int)
    # A file without times has a rate, frames a second.
    times = arrays["times"] if "times" in arrays else frames / float(arrays["rate"])
    if times.shape != frames.shape or not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        raise ValueError("its times do not rise")
    return Clip(
        params=FaceParams(**codes),
        frames=frames,
        times=times.astype(float),
        crop_to_photograph=affine,
        frame_size=tuple(int(side) for side in arrays["frame_size"]),
        cam=Camera(
            focal=float(arrays["camera_focal"]),
            principal_point=tuple(arrays["camera_principal_point"].astype(float).tolist()),
            image_size=tuple(int(side) for side in arrays["camera_image_size"]),
            distance=float(arrays["camera_distance"]),
        ),
        face_model=str(arrays["face_model"]),
        face_model_name=str(arrays["face_model_name"]),
        video=str(arrays.get("video", "")),
        **{n: kind(arrays[n]) for n, kind in _MADE_BY.items() if n in arrays},
    )
