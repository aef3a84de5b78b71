"""Writing videos, H.264 in MP4, with the sound of another one; by PyAV.

PyAV brings FFmpeg's libraries with it; the extra is "video".
"""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from mofa_jax.errors import InputError, one_line
from mofa_jax.extras import install_command
from mofa_jax.files.writing import atomic_write

try:
    import av
except ImportError:
    av = None

_logger = logging.getLogger(__name__)
_QUALITY = {"crf": "20", "preset": "superfast"}
_TICK = Fraction(1, 90_000)  # s, in which times are counted
_SOUND_RATE = 48_000  # Hz, which every player knows; AAC does not take every track's own


class VideoWriteError(InputError):
    """A video cannot be written; the message says why, and the fix."""


def check_writer() -> None:
    """Raises VideoWriteError if PyAV, or its H.264 encoder, is not there."""
    if av is None:
        raise VideoWriteError(f"videos are written by PyAV; {install_command('video')}")
    try:
        av.codec.Codec("libx264", "w")
    except ValueError as error:
        raise VideoWriteError(
            "this PyAV has no H.264 encoder; pip install --force-reinstall --only-binary=av av"
        ) from error


@contextlib.contextmanager
def video_writer(
    path: str | os.PathLike,
    size: tuple[int, int],
    sound_of: str | os.PathLike | None = None,
) -> Iterator[Callable[[np.ndarray, float], None]]:
    """A function that appends a frame, uint8 [H, W, 3] RGB, to an MP4 file, to be shown some
    seconds after the first one.

    The file takes its name when the block ends well.

    Args:
      path: the file.
      size: (H, W); an odd side loses its last row or column.
      sound_of: a media file whose first sound track is kept, if it has one, as AAC, mono or stereo;
        the first frame is shown when its own is.

    Raises:
      VideoWriteError: see `check_writer`.
    """
    check_writer()
    height, width = (side // 2 * 2 for side in size)
    with atomic_write(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264")
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options, stream.codec_context.time_base = _QUALITY, _TICK
        begin, start = (0.0, 0.0) if sound_of is None else _starts(sound_of)
        sound = iter(()) if sound_of is None else _copy_sound(container, sound_of, begin)
        heard = next(sound, math.inf)

        def append(frame: np.ndarray, time: float) -> None:
            nonlocal heard
            picture = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(frame[:height, :width]), "rgb24"
            )
            picture.pts, picture.time_base = round((start + time) / _TICK), _TICK
            container.mux(stream.encode(picture))
            while heard < start + time:
                heard = next(sound, math.inf)

        yield append
        container.mux(stream.encode(None))
        for _ in sound:
            pass


def _starts(path: str | os.PathLike) -> tuple[float, float]:
    """When a file begins by its own clock, s, and how long after that its first frame is shown; 0
    where it does not say, or has no sound."""
    with contextlib.suppress(av.FFmpegError), av.open(os.fspath(path)) as source:
        if source.streams.audio and source.streams.video:
            track, begin = source.streams.video[0], (source.start_time or 0) / av.time_base
            first = float((track.start_time or 0) * track.time_base)
            return begin, max(first - begin, 0.0)
    return 0.0, 0.0


def _copy_sound(container: Any, path: str | os.PathLike, begin: float) -> Iterator[float]:
    """Copies the first sound track of a file to a container piece by piece; yields how far it is,
    s after the file's `begin`. It ends where the track ends, or is damaged."""
    try:
        with av.open(os.fspath(path)) as source:
            if not source.streams.audio:
                return
            track = source.streams.audio[0]
            layout = "mono" if track.layout.nb_channels == 1 else "stereo"
            stream = container.add_stream("aac", rate=_SOUND_RATE, layout=layout)
            yield 0.0
            with contextlib.suppress(av.FFmpegError):  # where it is damaged
                for frame in source.decode(track):
                    if frame.pts is not None:
                        frame.pts -= round(begin / frame.time_base)
                    container.mux(stream.encode(frame))
                    yield frame.time or 0.0
            container.mux(stream.encode(None))
    except av.FFmpegError as error:
        _logger.warning("%s: its sound cannot be kept (%s).", path, one_line(error))
