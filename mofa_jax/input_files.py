"""The photographs and videos that people name to a command, and what their results are called."""

import os
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import skimage.data

from mofa_jax.data.sources.images import EXTENSIONS, PhotographError, list_files
from mofa_jax.figures import write_image

_ASTRONAUT = "astronaut"


def find_photographs(
    patterns: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    extensions: frozenset[str] = EXTENSIONS,
) -> tuple[list[Path], int]:
    """The photographs that the patterns name, and how many patterns name none, which is reported.

    Of a folder, those whose name ends in one of `extensions`.

    The portrait in the public domain that comes with scikit-image is written into `output` first,
    if its name is among the patterns.
    """
    paths, missing = {}, 0
    for pattern in patterns:
        if pattern == _ASTRONAUT and not os.path.lexists(_ASTRONAUT):
            pattern = Path(output) / f"{_ASTRONAUT}.png"
            write_image(pattern, skimage.data.astronaut())
        try:
            paths |= dict.fromkeys(list_files(pattern, extensions, "photograph"))
        except PhotographError as error:
            missing += 1
            print(f"missing: {error}", file=sys.stderr)
    return list(paths), missing


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each photograph's results: its stem, with a number where stems repeat."""
    names, taken = [], {path.stem for path in paths}
    for path in paths:
        name = path.stem
        if name in names:
            name = next(n for k in count(1) if (n := f"{path.stem}-{k}") not in taken)
            taken.add(name)
        names.append(name)
    return names
