"""Numeric arrays of MATLAB 5 files that may be damaged: SciPy's reader can crash on such a file.

MathWorks, "MAT-File Format", 2023: a header of 128 bytes, then elements, each with a tag of type
and size; a matrix is an element of elements: flags, dimensions, name, numbers.
"""

import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from mofa_jax.errors import InputError, one_line

_HEADER = 128  # bytes; the last two say which end of a number comes first
_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
_NUMBERS |= {12: "i8", 13: "u8"}  # types of stored numbers
_CLASSES = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")  # of arrays, from 6 on
_LARGEST = 1 << 32  # bytes of a compressed matrix


class MatlabError(InputError):
    """A file cannot be read as MATLAB 5; the message names the file, the fault and the fix."""


def read_matlab(path: str | os.PathLike, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of the named variables that the file holds as real, full arrays of numbers.

    Raises:
      MatlabError: no such file, no MATLAB 5 file, or a damaged one.
    """
    names = set(names)
    try:
        content = memoryview(Path(path).read_bytes())
        order = {b"IM": "<", b"MI": ">"}.get(bytes(content[_HEADER - 2 : _HEADER]))
        if order is None:
            raise ValueError("no MATLAB 5 header")
        found = {}
        for kind, data in _elements(content[_HEADER:], order):
            if kind == _COMPRESSED:
                kind, data = _inflated(data, order)
            if kind == _MATRIX:
                name, array = _matrix(data, order, names)
                if array is not None:
                    found[name] = array
        return found
    except Exception as error:  # damaged files fail with a dozen types
        raise MatlabError(
            f"{os.fspath(path)}: cannot be read as MATLAB 5 ({one_line(error)}); it is cut short, "
            "damaged or of another format: copy it again."
        ) from error


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """(type, content) of the elements that follow each other."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        start, end = place + 8, place + 8 + size
        following = end if kind == _COMPRESSED else end + -size % 8
        if kind >> 16:  # of up to four bytes, which the tag holds itself
            kind, size = kind & 0xFFFF, kind >> 16
            start, end, following = place + 4, place + 4 + size, place + 8
        if end > len(data) or end > following:
            raise ValueError(f"an element of {size} bytes does not fit")
        yield kind, data[start:end]
        place = following


def _inflated(data: memoryview, order: str) -> tuple[int, memoryview]:
    """The element in a compressed one."""
    stream = zlib.decompressobj()
    kind, size = struct.unpack(f"{order}II", stream.decompress(data, 8))
    if size > _LARGEST:
        raise ValueError(f"a matrix of {size} bytes")
    content = stream.decompress(stream.unconsumed_tail, size) if size else b""
    if len(content) < size:
        raise ValueError("a compressed matrix is cut short")
    return kind, memoryview(content)


def _matrix(data: memoryview, order: str, names: set[str]) -> tuple[str, np.ndarray | None]:
    """A matrix's name, and its numbers if it is wanted, real and full."""
    parts = _elements(data, order)
    (_, flags), (_, dimensions), (_, name) = (next(parts) for _ in range(3))
    (flags,), name = struct.unpack_from(f"{order}I", flags), bytes(name).decode("latin-1")
    number = (flags & 0xFF) - 6
    if name not in names or flags & 0x0800 or not 0 <= number < len(_CLASSES):
        return name, None
    shape = np.frombuffer(dimensions, f"{order}i4").tolist()
    kind, stored = next(parts)
    numbers = np.frombuffer(stored, order + _NUMBERS[kind])
    if min(shape) < 0 or math.prod(shape) != len(numbers):
        raise ValueError(f"{name}: {len(numbers)} numbers for the shape {shape}")
    return name, numbers.reshape(shape, order="F").astype(_CLASSES[number])
