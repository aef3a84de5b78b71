"""Reading environment maps: equirectangular pictures of all that is around a place."""

import os
import re
from pathlib import Path

import cv2
import numpy as np

from mofa_jax.data.sources.images import MAX_PIXELS, PhotographError, read_bytes, read_photograph

_HEIGHT = 128  # rows that are kept: nine harmonics need no more
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_RESOLUTION = re.compile(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n")


def read_environment(path: str | os.PathLike[str]) -> np.ndarray:
    """An environment map as float32 [128, 256, 3] RGB, row 0 straight above.

    A Radiance file (.hdr) holds radiance of any scale; a photograph's colors, in [0, 1], are taken
    as they are, as everywhere in this project.

    Raises:
      PhotographError: missing, damaged, too large, or not twice as wide as high.
    """
    path = Path(path)
    content = read_bytes(path)
    if content.startswith(_RADIANCE):
        panorama = _decode_radiance(content, path)
    else:
        panorama = read_photograph(path).astype(np.float32) / 255
    height, width = panorama.shape[:2]
    if abs(width - 2 * height) > 0.02 * width:
        raise PhotographError(
            f"{path}: {width} x {height} pixels are no equirectangular picture; give one that is "
            "twice as wide as high"
        )
    return cv2.resize(panorama, (2 * _HEIGHT, _HEIGHT), interpolation=cv2.INTER_AREA)


def _decode_radiance(content: bytes, path: Path) -> np.ndarray:
    size = _RESOLUTION.search(content[:10_000])
    if size is None:
        raise PhotographError(f"{path}: a Radiance file without '-Y height +X width'; save it anew")
    height, width = int(size[1]), int(size[2])
    if not 0 < height * width <= MAX_PIXELS:
        raise PhotographError(
            f"{path}: {width} x {height} pixels, of at most {MAX_PIXELS // 1_000_000} million; "
            "save a smaller copy"
        )
    try:
        panorama = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        panorama = None
    if panorama is None or panorama.shape != (height, width, 3) or not np.isfinite(panorama).all():
        raise PhotographError(f"{path}: the Radiance file is damaged; copy or download it again")
    return panorama[..., ::-1].astype(np.float32)
