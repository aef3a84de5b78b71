"""The face of a video, reconstructed: an overlay video, an animated mesh, a file of parameters."""

import dataclasses
import itertools
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from mofa_jax.data.sources.video import Frame, VideoError, count_frames, read_frames
from mofa_jax.errors import InputError, report_failure
from mofa_jax.export.faces import write_animated_mesh
from mofa_jax.export.video import check_writer, video_writer
from mofa_jax.figures import overlay_on_photograph
from mofa_jax.inference import Predictor, Reconstruction
from mofa_jax.reconstruction.finished import remove_video
from mofa_jax.results.clip import Clip, save_clip, stacked
from mofa_jax.results.names import OVERLAY_MP4
from mofa_jax.video.head_motion import animation, smoothed
from mofa_jax.video.identity import (
    KEYFRAMES,
    EvenlySpread,
    with_fitted_identity,
    with_median_identity,
)
from mofa_jax.video.tracking import Tracker

_AHEAD = 16  # frames that are read at once, while others are worked on
_DRAWING_THREADS = 2
T = TypeVar("T")


def reconstruct_videos(
    predict: Predictor,
    named: Mapping[Path, str],
    output: str | os.PathLike,
    refine_steps: int,
    smooth: bool,
) -> tuple[int, int]:
    """`reconstruct_video` of files, with the names of their results in the folder `output`; those
    that cannot be are reported and skipped. How many could be, and how many failed: they can be
    read, and their results not be made."""
    done, failed = 0, 0
    for path, name in named.items():
        start = time.monotonic()
        try:
            stem = os.path.join(output, name)
            clip, count = reconstruct_video(predict, path, stem, refine_steps, smooth)
        except InputError as error:
            print(f"skipped: {error}", file=sys.stderr)
            continue
        except Exception as error:  # one video does not end the others
            report_failure(path, error)
            failed += 1
            continue
        done += 1
        print(
            f"{path}: a face in {len(clip.frames)} of {count} frames; "
            f"{count / (time.monotonic() - start):.1f} frames a second"
        )
    return done, failed


def reconstruct_video(
    predict: Predictor,
    path: str | os.PathLike,
    stem: str,
    refine_steps: int = 0,
    smooth: bool = True,
) -> tuple[Clip, int]:
    """Reconstructs the largest face of a video and writes the results.

    They are `stem`.overlay.mp4 (the face laid over the frames; the sound is kept), `stem`.glb (the
    face textured by the frame in which it is turned least, with the video's expressions and poses
    as keyframes) if the face model has texture coordinates, and `stem`.npz (for `load_clip`). All
    frames share shape and reflectance.

    Args:
      predict: a restored encoder.
      path: the video.
      stem: the results' path without the endings.
      refine_steps: of the fit to a few frames together, see `with_fitted_identity`; 0: shape and
        reflectance are the medians of the encoder's.
      smooth: whether pose, expression and light are smoothed over time.

    Returns:
      The clip, and how many frames the video has, with and without the face.

    Raises:
      VideoError: it cannot be read, or shows no face.
      VideoWriteError: see `check_writer`.
    """
    check_writer()
    remove_video(stem)  # of before: they would stand beside these, or for a face that is not there
    clip, keyframes, count = _followed(predict, path, count_frames(path))
    if refine_steps:
        clip = with_fitted_identity(clip, keyframes, predict, refine_steps)
    else:
        clip = with_median_identity(clip)
    if smooth:
        clip = smoothed(clip)
    texture_frame = _write_overlay(predict, path, clip, count, f"{stem}{OVERLAY_MP4}")
    if predict.model.uv is not None:
        k = clip.most_frontal
        write_animated_mesh(
            f"{stem}.glb",
            clip.face(k),
            texture_frame,
            clip.crop_to_photograph[k],
            predict.model,
            clip.cam,
            animation(clip),
        )
    clip = dataclasses.replace(clip, refine_steps=refine_steps, smooth=smooth)
    save_clip(f"{stem}.npz", clip)
    return clip, count


def _followed(
    predict: Predictor, path: str | os.PathLike, count: int | None
) -> tuple[Clip, dict[int, Reconstruction], int]:
    """The face in the frames as the encoder sees it; a few of these faces with their crops, by
    their places in the clip; how many frames there are."""
    tracker, codes, affines = Tracker(predict), [], []
    numbers, times, size = [], [], (0, 0)
    keyframes = EvenlySpread(KEYFRAMES)
    number = 0
    for frame in itertools.chain.from_iterable(_ahead(_progress("Following", path, count))):
        number, size, face = frame.number, frame.image.shape[:2], tracker.follow(frame.image)
        if face is not None:
            numbers.append(number)
            times.append(frame.time)
            codes.append(face.params)
            affines.append(face.crop.to_photograph)
            keyframes.add(face)
    if not numbers:
        raise VideoError(
            f"{path}: no face found in its {number + 1} frames; give one that shows a face, or an "
            "encoder that has learned more"
        )
    clip = Clip(
        params=stacked(codes),
        frames=np.array(numbers),
        times=np.array(times),
        crop_to_photograph=np.stack(affines),
        frame_size=size,
        cam=predict.cam,
        face_model=predict.config.face_model,
        face_model_name=predict.model.name,
        video=os.path.abspath(path),
        face_model_checksum=predict.model.checksum(),
        encoder_checksum=predict.encoder_checksum,
    )
    return clip, keyframes.items(), number + 1


def _write_overlay(
    predict: Predictor, path: str | os.PathLike, clip: Clip, count: int, output: str
) -> np.ndarray:
    """Writes the overlay video; returns the frame in which the head is turned least."""
    place = {int(number): k for k, number in enumerate(clip.frames)}

    def drawn(frame: Frame) -> np.ndarray:
        if frame.number not in place:
            return frame.image
        k = place[frame.number]
        return overlay_on_photograph(
            frame.image,
            clip.crop_to_photograph[k],
            clip.face(k),
            predict.model,
            clip.cam,
            draft=True,
        )

    frontal = None
    with (
        ThreadPoolExecutor(_DRAWING_THREADS) as pool,
        video_writer(output, clip.frame_size, sound_of=path) as append,
    ):
        for batch in _ahead(_progress("Drawing", path, count)):
            for frame, picture in zip(batch, pool.map(drawn, batch), strict=True):
                append(picture, frame.time)
                if frame.number == clip.frames[clip.most_frontal]:
                    frontal = frame.image
    return frontal


def _progress(what: str, path: str | os.PathLike, count: int | None) -> tqdm:
    return tqdm(read_frames(path), f"{what} {Path(path).name}", count, unit="frame")


def _ahead(items: Iterable[T]) -> Iterator[list[T]]:
    """Lists of `_AHEAD` items; the next one is made while one is worked on."""
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(lambda: list(itertools.islice(iterator, _AHEAD)))
        while batch := following.result():
            following = pool.submit(lambda: list(itertools.islice(iterator, _AHEAD)))
            yield batch
