"""What files are called relative to the folder that they are given by."""

import glob
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePath

_ESCAPED = re.compile(r"\[([*?[])\]")  # as `glob.escape` writes a character that is meant itself


def root_of(pattern: str | os.PathLike[str]) -> Path:
    """The folder that files' names are relative to, whatever files are there: a folder itself, the
    folder of a file or of a list `@list.txt`, or what comes before the first wildcard of a glob."""
    path = Path(os.fspath(pattern).removeprefix("@"))
    folders = [path, *path.parents] if path.is_dir() else path.parents
    return next(
        folder if folder.is_dir() else Path(_ESCAPED.sub(r"\1", os.fspath(folder)))
        for folder in folders
        if folder.is_dir() or not glob.has_magic(_ESCAPED.sub("", os.fspath(folder)))
    )


def ends_of(name: str | PurePath) -> Iterator[str]:
    """A relative path, then without its first folder, and so on to the bare file name."""
    parts = PurePath(name).parts
    return ("/".join(parts[k:]) for k in range(len(parts)))
