"""Gives a reader damaged files: `python read_damaged.py READER FOLDER LOG FIRST COUNT`.

FOLDER holds the reader's good files; seed k damages one of them, which is put back after reading.
For each seed a line is added to LOG: the seed, the file, and what happened. A reader that takes too
long, or crashes, ends the process after the line's beginning. The repository is in PYTHONPATH.
"""

import faulthandler
import random
import re
import resource
import sys
from pathlib import Path

from damaged_readers import READERS, files_of
from mutations import mutated

MAX_SECONDS, MAX_GB = 20, 3
GOOD = ("read", "refused")


def outcome(reader, folder, file, expected):
    """ "read", "refused", or what should not have happened."""
    try:
        result = reader.read(folder, file)
    except Exception as error:
        chain = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                return f"more than {MAX_GB} GB wanted ({error!r})"
            chain = chain.__cause__ or chain.__context__
        own = isinstance(error, ValueError) and type(error).__name__ in reader.errors
        if own and type(error).__module__.startswith("mofa_jax."):
            return "refused"
        return f"{error!r}"
    return "read" if result == expected or not reader.faithful else "another result, no error"


def peak_kilobytes():
    """Of this program: getrusage's peak is also that of the process which it was forked from."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])


def main(name, folder, log, first, count):
    reader, folder = READERS[name], Path(folder)
    files = list(files_of(folder))
    contents = [file.read_bytes() for file in files]
    expected = reader.read(folder, files[0])
    # What only asks for memory, and does not touch it, is seen as a MemoryError.
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (MAX_GB << 30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with open(log, "w") as lines:
        for seed in range(int(first), int(first) + int(count)):
            file, content = files[seed % len(files)], contents[seed % len(files)]
            what, damaged = mutated(content, random.Random(seed), contents)
            lines.write(f"{seed}\t{file.relative_to(folder)}: {what}\t")
            lines.flush()
            file.write_bytes(damaged)
            faulthandler.dump_traceback_later(MAX_SECONDS, exit=True)
            try:
                found = outcome(reader, folder, file, expected)
            finally:
                faulthandler.cancel_dump_traceback_later()
                file.write_bytes(content)
            if peak_kilobytes() > MAX_GB << 20:
                lines.write(f"more than {MAX_GB} GB used\n")
                return
            lines.write(" ".join(found.split()) + "\n")


if __name__ == "__main__":
    faulthandler.enable()
    main(*sys.argv[1:])
