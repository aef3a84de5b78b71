"""The frames of a video, by OpenCV."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from mofa_jax.errors import InputError

EXTENSIONS = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


class VideoError(InputError):
    """A video cannot be read; the message names it."""


class Frame(NamedTuple):
    """A frame of a video: its number, from 0, when it is shown, s after the first one, and uint8
    [H, W, 3] RGB."""

    number: int
    time: float
    image: np.ndarray


@dataclasses.dataclass(frozen=True)
class VideoFacts:
    """What a video's file says of itself.

    rate: frames a second, as it says; 25 where it does not.
    count: how many frames there are, about; None where it does not say.
    """

    rate: float
    count: int | None


def read_facts(path: str | Path) -> VideoFacts:
    """What a video's file says of itself; nothing if it is none."""
    capture = cv2.VideoCapture(str(path))
    try:
        rate, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    finally:
        capture.release()
    return VideoFacts(rate if 1 <= rate <= 1000 else 25.0, count if count > 0 else None)


def read_frames(path: str | Path, every: int = 1) -> Iterator[Frame]:
    """Yield every `every`-th frame, one at a time.

    Their times rise, evenly or not: where the file gives none, by its rate.

    Raises:
      VideoError: the file is missing, or not one frame of it can be read.
    """
    if not Path(path).is_file():
        raise VideoError(f"{path}: there is no such file; check the path")
    rate = read_facts(path).rate
    capture = cv2.VideoCapture(str(path))
    try:
        number, time = 0, -1 / rate
        while capture.grab():
            given = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            time = given if given > time else time + 1 / rate
            if number % every == 0:
                readable, image = capture.retrieve()
                if readable:
                    yield Frame(number, time, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            number += 1
    finally:
        capture.release()
    if number == 0:
        raise VideoError(
            f"{path}: no frame can be read; it is not a video, is damaged, or has a codec that "
            "OpenCV lacks: convert it to H.264 in MP4"
        )


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
