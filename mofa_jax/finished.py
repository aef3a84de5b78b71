"""What an interrupted reconstruction has done already."""

import itertools
import os
from pathlib import Path

import numpy as np

from mofa_jax.clip import load_clip
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.errors import InputError
from mofa_jax.input_files import OVERLAY_JPG, PANELS_JPG
from mofa_jax.parameter_file import load_parameters


def finished_faces(path: Path, name: str, output: Path) -> list[tuple[str, np.ndarray]]:
    """The names and panels of a photograph's faces, if all of its results are there: the overlay,
    which is written last, and parameters that name the photograph; else none.

    Args:
      path: the photograph.
      name: what its results are called.
      output: their folder.
    """
    if not (output / f"{name}{OVERLAY_JPG}").exists():
        return []
    shown = []
    try:
        for k in itertools.count():
            stem = f"{name}.{k}"
            if not (output / f"{stem}.json").exists():
                return shown
            if load_parameters(output / f"{stem}.json").photograph != os.path.abspath(path):
                return []
            shown.append((stem, read_photograph(output / f"{stem}{PANELS_JPG}")))
    except InputError:  # damaged, or gone: it is done again
        return []


def is_finished_video(path: Path, name: str, output: Path) -> bool:
    """Whether a video's results are there: the clip's file, which is written last, names it."""
    try:
        return load_clip(output / f"{name}.npz").video == os.path.abspath(path)
    except InputError:
        return False
