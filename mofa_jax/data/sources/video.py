"""The frames of a video, by OpenCV."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mofa_jax.errors import InputError

_logger = logging.getLogger(__name__)
EXTENSIONS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


class VideoError(InputError):
    """A video cannot be read; the message names it."""


class Frame(NamedTuple):
    """A frame of a video: its number, from 0, when it is shown, s after the first one, and uint8
    [H, W, 3] RGB."""

    number: int
    time: float
    image: np.ndarray


def count_frames(path: str | Path) -> int | None:
    """About how many frames a video has; None where its file does not say.

    Raises:
      VideoError: as `read_frames`.
    """
    capture = _opened(path)
    try:
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    return count if count > 0 else None


def is_video(path: Path) -> bool:
    """Whether a file is a video by its name's ending."""
    return path.suffix.lower() in EXTENSIONS


def read_frames(path: str | Path, every: int = 1) -> Iterator[Frame]:
    """Yield every `every`-th frame, one at a time.

    Their times rise, evenly or not: where the file gives none, by its rate, or 25 frames a second.
    A file that says of more frames, and more time, than can be read is named in a warning: it may
    be cut short. Pixels that are not square are stretched to what is seen.

    Raises:
      VideoError: the file is missing, or not one frame of it can be read.
    """
    capture = _opened(path)
    try:
        aspect = _pixel_aspect(capture)
        rate = capture.get(cv2.CAP_PROP_FPS)
        period = 1 / rate if 1 <= rate <= 1000 else 1 / 25
        expected = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # some containers give an estimate
        number, shown, time = 0, 0, -period
        while capture.grab():
            given = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time = given if given > time else time + period
            if number % every == 0:
                readable, image = capture.retrieve()
                if readable:
                    shown += 1
                    if aspect != 1:
                        size = (max(1, round(aspect * image.shape[1])), image.shape[0])
                        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
                    yield Frame(number, time, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        capture.release()
    if not shown:
        raise VideoError(
            f"{path}: no frame can be read; it is not a video, is damaged, or has a codec that "
            "OpenCV lacks: convert it to H.264 in MP4"
        )
    if number < 0.9 * expected and time + period < 0.9 * expected * period:
        _logger.warning(
            "%s: %d of about %d frames can be read; the file may be cut short: copy or download it "
            "again.",
            *(path, number, expected),
        )


def _opened(path: str | Path) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise VideoError(f"{path}: there is no such file; check the path")
    try:
        name = os.fspath(path).encode().decode()
    except UnicodeError as error:  # OpenCV would end the process
        raise VideoError(f"{path}: the name is not UTF-8; rename the file") from error
    return cv2.VideoCapture(name)


def _pixel_aspect(capture: cv2.VideoCapture) -> float:
    """How much wider than high the pixels of the upright frames are; 1 where nothing is said."""
    width, height = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if not (width > 0 and height > 0):
        return 1.0
    turned = round(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180
    return height / width if turned else width / height


def read_camera(name: str) -> Iterator[np.ndarray]:
    """Yield uint8 [H, W, 3] RGB frames of a camera while there are any.

    `name`: its number, or a stream's address or file.

    Raises:
      VideoError: there is no such camera, or it gives no picture.
    """
    capture = cv2.VideoCapture(int(name) if name.isdecimal() else name)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame, not what waits
    count = 0
    try:
        while (read := capture.read())[0]:
            count += 1
            yield cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
    finally:
        capture.release()
    if not count:
        raise VideoError(
            f"camera {name}: it gives no picture; check that it is plugged in and that no other "
            "program uses it, or give another number"
        )
