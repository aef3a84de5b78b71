"""What files are called relative to the folder that they are given by."""

import glob
import os
from collections.abc import Iterator
from pathlib import Path, PurePath


def root_of(pattern: str | os.PathLike[str]) -> Path:
    """The folder that files' names are relative to, whatever files are there: a folder itself, the
    folder of a file or of a list `@list.txt`, or what comes before the first wildcard of a glob."""
    path = Path(os.fspath(pattern).removeprefix("@"))
    folders = [path, *path.parents] if path.is_dir() else path.parents
    return next(f for f in folders if f.is_dir() or not glob.has_magic(os.fspath(f)))


def ends_of(name: str | PurePath) -> Iterator[str]:
    """A relative path, then without its first folder, and so on to the bare file name."""
    parts = PurePath(name).parts
    return ("/".join(parts[k:]) for k in range(len(parts)))
