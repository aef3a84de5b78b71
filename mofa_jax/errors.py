"""What people are told when something that they gave cannot be used."""

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

from tqdm import tqdm


class InputError(ValueError):
    """A file, a folder, a config or an argument cannot be used.

    The message is one sentence that says what, where and the fix; commands print it and end.
    """


def one_line(error: BaseException) -> str:
    """What an error says, in one line; the name of its type if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def report_failure(path: str | os.PathLike, error: Exception) -> None:
    """Says that one item of a long job failed, which goes on with the next; raises the error if
    nothing more can be written, however small."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        raise error
    tqdm.write(f"failed: {os.fspath(path)}: {one_line(error)}", file=sys.stderr)


@contextlib.contextmanager
def errors_as_sentences(output: str | os.PathLike, stopped: str = "Stopped.") -> Iterator[None]:
    """Ends a command with status 1 and one sentence if its input is unusable, if `output` cannot
    be written, and, with `stopped`, at Ctrl-C."""
    try:
        yield
    except InputError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(stopped)
    except OSError as error:
        if error.errno is None:  # not of a file: a cluster that does not answer, say
            sys.exit(f"error: {one_line(error)}")
        where = error.filename or os.fspath(output)
        if isinstance(error, FileExistsError | NotADirectoryError):
            sys.exit(f"error: {where}: this is a file, or below one; give a folder.")
        sys.exit(f"error: {where}: cannot be written ({error.strerror}); free or change the disk.")
