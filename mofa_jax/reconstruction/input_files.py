"""The photographs and videos that people name to a command, and what their results are called."""

import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import skimage.data

from mofa_jax.data.sources.images import EXTENSIONS, PhotographError, list_files, read_photograph
from mofa_jax.data.sources.video import is_video
from mofa_jax.figures import write_image
from mofa_jax.results.names import is_result

_ASTRONAUT = "astronaut"


def find_photographs(
    patterns: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    extensions: frozenset[str] = EXTENSIONS,
) -> tuple[list[Path], int]:
    """The photographs that the patterns name, and how many patterns name none, which is reported.

    Of a folder, those of `list_files`, without what is in `output` if that lies below the folder.

    A pattern may also be a name that `named_photograph` knows. Of several patterns, which a shell
    may have made of a glob, those that are results of ours are left out, as from a folder, if
    others are left.
    """
    paths, missing = {}, 0
    others = [p for p in patterns if not (is_result(Path(p)) and os.path.isfile(p))]
    if 0 < len(others) < len(patterns):
        results = len(patterns) - len(others)
        print(f"{results} results of these commands among the paths left out.", file=sys.stderr)
        patterns = others
    for pattern in patterns:
        try:
            pattern = named_photograph(pattern, output)
            files = list_files(pattern, extensions, "photograph")
            if os.path.isdir(pattern):
                files = _outside(files, Path(pattern), Path(output))
            paths |= dict.fromkeys(files)
        except PhotographError as error:
            missing += 1
            print(f"missing: {error}", file=sys.stderr)
    return list(paths), missing


def named_photograph(name: str | os.PathLike, output: str | os.PathLike) -> str | os.PathLike:
    """The file of a photograph that is known by its name, "astronaut"; of others the name itself.

    It is the portrait in the public domain that comes with scikit-image, written into `output`.

    Raises:
      PhotographError: another picture has its name there.
    """
    if name != _ASTRONAUT or os.path.lexists(_ASTRONAUT):
        return name
    path = Path(output) / f"{_ASTRONAUT}.png"
    portrait = skimage.data.astronaut()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, portrait)
    elif not np.array_equal(read_photograph(path), portrait):
        raise PhotographError(f"{path}: this is another picture; give another --output")
    return path


def _outside(files: Sequence[Path], folder: Path, output: Path) -> list[Path]:
    """The files of a folder that do not lie below `output`, unless that is the folder.

    Raises:
      PhotographError: there is none.
    """
    folder, output = folder.resolve(), output.resolve()
    if output != folder and output.is_relative_to(folder):
        files = [file for file in files if not file.parent.resolve().is_relative_to(output)]
    if not files:
        raise PhotographError(f"{folder}: there are results alone; give photographs")
    return files


def unique_names(
    paths: Sequence[Path], is_of_another: Callable[[str, Path], bool] = lambda name, path: False
) -> list[str]:
    """A name for each photograph's results: its stem, with a number where that is another's.

    Args:
      paths: the photographs.
      is_of_another: whether there are results of a name already, which are another photograph's; it
        keeps that name.
    """
    stems = {path.stem for path in paths}
    names = {}  # a dict, in which a name is found at once
    for path in paths:
        candidates = itertools.chain([path.stem], (f"{path.stem}-{k}" for k in itertools.count(1)))
        for k, name in enumerate(candidates):
            whole, _, number = name.rpartition(".")
            like_a_face = is_video(path) and number.isdigit()
            free = name not in names and not (like_a_face and whole in stems)
            free = free and (not k or name not in stems)
            if free and not is_of_another(name, path):
                break
        names[name] = None
    return list(names)
