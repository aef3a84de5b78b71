"""Files that are whole or not there, and folders that one process at a time works on."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mofa_jax.errors import InputError

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # what a file system without them says


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, for the block to write a file to.

    The file takes its name, in place of an older one, when the block ends well; otherwise it is
    removed. What a killed process leaves is named `.<random>.tmp`: see `remove_temporaries`.

    Raises:
      OSError: the disk is full or refuses to be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def file_checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content. Raises OSError if it cannot be read."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_json(path: str | os.PathLike[str], content: Any, indent: int | None = 1) -> None:
    """Writes JSON under a temporary name first. Raises OSError as `atomic_write`."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent) + "\n", encoding="utf-8")


def remove_temporaries(folder: str | os.PathLike[str]) -> None:
    """Removes what killed processes left of `atomic_write`; nobody else may write there now."""
    for leftover in Path(folder).glob(f".{'[0-9a-f]' * 32}.tmp"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def only_process(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Lets one process at a time work in a folder; what killed ones left half-written in it goes.

    Raises:
      InputError: another one is at it.
    """
    with contextlib.ExitStack() as stack:
        try:
            alone = stack.enter_context(locked(Path(folder) / ".lock", wait=False))
        except BlockingIOError as error:
            raise InputError(
                f"{os.fspath(folder)}: another process is at work here; wait for it, stop it, or "
                "give another folder."
            ) from error
        if alone:
            remove_temporaries(folder)
        yield


@contextlib.contextmanager
def locked(path: str | os.PathLike[str], wait: bool = True) -> Iterator[bool]:
    """Holds the lock that is the file `path`; waits while another process holds it.

    The file is gone afterwards; one that a killed process left is no lock any more. On a file
    system without locks, such as some clusters', nobody waits, and what is yielded is False.

    Raises:
      BlockingIOError: another process holds it, and `wait` is False.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file, held = os.open(path, os.O_RDWR | os.O_CREAT, 0o644), True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(file)
                raise
            held = False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                break
        os.close(file)  # the one who held it has removed the file
    try:
        yield held
    finally:
        path.unlink(missing_ok=True)
        os.close(file)
