"""npz files: whole ones or none written, and damaged ones read, sizes checked before anything is
allocated."""

import math
import os
import sys
import zipfile
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from mofa_jax.errors import InputError, one_line
from mofa_jax.files.writing import atomic_write

_MAX_DEFLATION = 1032  # bytes that one byte of a deflated stream can become at most


class NpzError(InputError):
    """A file cannot be read as npz; the message names the file, the fault and the fix."""


def write_npz(path: str | os.PathLike, **arrays: np.ndarray) -> None:
    """Writes a compressed npz, to a temporary name first, so that no half file is left behind."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an npz file by name; pickled objects are refused.

    Raises:
      NpzError: no such file, no npz file, or a damaged one.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            return {
                info.filename.removesuffix(".npy"): _read_member(archive, info) for info in members
            }
    except Exception as error:  # zip files, zlib and headers fail with a dozen types
        reason = one_line(error)
        raise NpzError(
            f"{os.fspath(path)}: cannot be read as npz ({reason}); it is cut short, damaged or of "
            "another format: copy it again."
        ) from error


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """A member of an archive, whose promised size its stored bytes can hold.

    Raises:
      ValueError: they cannot.
    """
    if info.file_size > _MAX_DEFLATION * (info.compress_size + 1):
        raise ValueError(f"{info.filename} promises {info.file_size} bytes, more than it can hold")
    return archive.open(info)


def read_npy_header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether it is in Fortran's order, type) of an .npy stream of `size` bytes.

    Raises:
      ValueError: no .npy header, or one whose array is not as large as what follows it.
    """
    version = npy_format.read_magic(stream)
    old = version == (1, 0)
    read = npy_format.read_array_header_1_0 if old else npy_format.read_array_header_2_0
    try:
        shape, fortran_order, dtype = read(stream)
    except Exception as error:  # headers are Python's literals: their tokenizer has its own types
        raise ValueError(f"no header of an array ({error})") from error
    if not dtype.hasobject and math.prod(shape) * dtype.itemsize != size - stream.tell():
        raise ValueError(
            f"the header promises {shape} numbers of {dtype}, {size - stream.tell()} bytes follow"
        )
    return shape, fortran_order, dtype


def values_of(content: bytes | bytearray, dtype: np.dtype) -> np.ndarray:
    """The values [n] that bytes hold.

    Raises:
      ValueError: bytes of another length, pointers to objects, or texts that are not Unicode.
    """
    values = np.frombuffer(content, dtype)
    if dtype.kind == "U" and values.size:
        codes = np.frombuffer(content, np.dtype(np.uint32).newbyteorder(dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise ValueError("a text that is not Unicode")
    return values


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with open_member(archive, info) as stream:
        shape, fortran_order, dtype = read_npy_header(stream, info.file_size)
        if dtype.hasobject:
            raise ValueError(f"{info.filename} holds pickled objects")
        content = bytearray(stream.read())  # to its end, where the archive checks its sum
    return values_of(content, dtype).reshape(shape, order="F" if fortran_order else "C")
