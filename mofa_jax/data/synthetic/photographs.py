"""Photographs to stand behind synthetic faces: read once, scaled to one size, kept in memory."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.faces.crop import resample
from mofa_jax.data.sources.groups import group_rank
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph

EVAL_SHARE = 0.1
"""Of the photographs, by their names: those that stand only behind held-out faces."""

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Backgrounds:
    """Some photographs of one split.

    images: uint8 [K, size, size, 3] RGB, the middle square of each photograph.
    paths: the K files.
    skipped: (file, reason) of each that could not be read.
    """

    images: np.ndarray
    paths: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


def load_backgrounds(
    source: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    split: str,
    *,
    count: int,
    size: int,
    seed: int = 0,
    log: Callable[[str], None] = _logger.warning,
) -> Backgrounds:
    """Read at most `count` photographs of a split, chosen by `seed`.

    A photograph belongs to the split that its own and its folder's name say, so that training and
    held-out faces share none, wherever and with how many others it lies.

    Args:
      source: a folder (searched below too), files or globs.
      split: "train" or "eval".
      count: K at most; each takes 307 kB at 320 px.
      size: the side of the squares, px.
      seed: of the choice.
      log: told of every file that cannot be read, and of the counts at the end.

    Raises:
      PhotographError: the source names nothing, or no readable photograph of the split.
    """
    found = [path for path in list_photographs(source) if _split(path) == split]
    todo = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
    images, paths, skipped = [], [], []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while todo and len(images) < count:
            missing = count - len(images)
            now, todo = todo[:missing], todo[missing:]
            squares = pool.map(lambda path: _read(path, size), now)
            for path, square in zip(now, squares, strict=True):
                if isinstance(square, str):
                    skipped.append((path, square))
                    log(f"{path}: skipped as a background: {square}")
                else:
                    images.append(square)
                    paths.append(path)
    if not images:
        raise PhotographError(
            f"{source}: none of the photographs here can be a background of the split '{split}' "
            f"({len(skipped)} of {len(found)} unreadable; {EVAL_SHARE:.0%} of all are for 'eval'); "
            "give more photographs, or none for procedural backgrounds"
        )
    log(f"{source}: {len(images)} {split} backgrounds; {len(skipped)} unreadable photographs")
    return Backgrounds(np.stack(images), tuple(paths), tuple(skipped))


def backgrounds_from_config(config: ConfigDict, cam: Camera, split: str) -> np.ndarray | None:
    """The photographs that a config's `data.synthetic` names, uint8 [K, h, w, 3]; None if none.

    They are a third larger than the camera's image, so that a piece of one can lie anywhere on it.
    Those of "eval" are the same ones in every run.

    Raises:
      PhotographError: see `load_backgrounds`.
    """
    if not config.data.synthetic.backgrounds:
        return None
    return load_backgrounds(
        config.data.synthetic.backgrounds,
        split,
        count=config.data.synthetic.num_backgrounds,
        size=max(cam.image_size) * 4 // 3,
        seed=config.seed if split == "train" else 0,
        log=_logger.info,
    ).images


def _read(path: Path, size: int) -> np.ndarray | str:
    """The middle square uint8 [size, size, 3] of a photograph, or why there is none."""
    try:
        photograph = read_photograph(path)
    except PhotographError as error:
        return str(error).removeprefix(f"{path}: ")
    height, width = photograph.shape[:2]
    side = min(height, width)
    corner = (width - side) / 2, (height - side) / 2
    to_photograph = np.column_stack([np.eye(2) * side / size, corner])
    return resample(photograph, to_photograph, size)


def _split(path: Path) -> str:
    name = "/".join(Path(os.path.abspath(path)).parts[-2:])
    return "eval" if group_rank(0, name) < EVAL_SHARE else "train"
