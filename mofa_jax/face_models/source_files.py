"""Opens the files that face models come in (MATLAB, HDF5, NumPy); says why if it cannot."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mofa_jax.errors import one_line
from mofa_jax.extras import install_command
from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.safe_pickle import read_object_npy
from mofa_jax.files.matlab import MatlabError, read_matlab
from mofa_jax.files.npz import open_member

_HDF5 = b"\x89HDF\r\n\x1a\n"
_FORMATS = {
    "MATLAB file": lambda head: head.startswith(b"MATLAB 5.0") or head.startswith(b"MATLAB 7.3"),
    "HDF5 file": lambda head: head.startswith(_HDF5),
    "npz file": lambda head: head.startswith(b"PK\x03\x04"),
    "npy file": lambda head: head.startswith(b"\x93NUMPY"),
    "HTML page": lambda head: (
        head.lstrip()[:200].lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    ),
    "pickle": lambda head: head[:1] == b"\x80" or head.startswith((b"(dp", b"}q", b"ccopy_reg")),
}


def format_of(path: Path) -> str:
    """The file's format by its first bytes: "npz file", "HTML page", "file of unknown format".

    Raises:
      FaceModelError: there is no such file, or it is empty.
    """
    if not path.is_file():
        raise FaceModelError(f"{path}: there is no such file; check the path.")
    with open(path, "rb") as file:
        head = file.read(512)
    if not head:
        raise FaceModelError(f"{path}: the file is empty; download it again.")
    return next((name for name, test in _FORMATS.items() if test(head)), "file of unknown format")


def expect_format(path: Path, expected: Iterable[str], kind: str) -> str:
    """`format_of` the file, which must be one of the formats that an importer of `kind` reads."""
    found, expected = format_of(path), tuple(expected)
    if found == "HTML page":
        raise FaceModelError(
            f"{path}: an HTML page, expected a {' or '.join(expected)}; the download was answered "
            "by a web page (a login or a license form): download it again with a browser."
        )
    if found not in expected:
        raise FaceModelError(
            f"{path}: a {found}, but kind '{kind}' reads a {' or '.join(expected)}; give the kind "
            "that fits the file (--help lists them), or download it again if it is cut short."
        )
    return found


def read_mat(path: Path, required: Iterable[str], kind: str, optional: Iterable[str] = ()) -> dict:
    """Variables of a MATLAB file, v5 or v7.3, as NumPy arrays in MATLAB's own shapes.

    Raises:
      FaceModelError: the file is of another format, cut short, or misses a required variable.
    """
    expect_format(path, ["MATLAB file"], kind)
    keys = [*required, *optional]
    with open(path, "rb") as file:
        is_hdf5 = file.read(10) == b"MATLAB 7.3"
    if is_hdf5:
        return _require(_read_hdf5(path, keys, transpose=True), required, path, kind)
    try:
        loaded = read_matlab(path, keys)
    except MatlabError as error:
        raise _cut_short(path, "MATLAB file", error) from error
    return _require(loaded, required, path, kind)


def read_hdf5(path: Path, required: Iterable[str], kind: str, optional: Iterable[str] = ()) -> dict:
    """Data sets of an HDF5 file by their paths inside it.

    Raises:
      FaceModelError: as `read_mat`.
    """
    expect_format(path, ["HDF5 file"], kind)
    return _require(_read_hdf5(path, [*required, *optional], False), required, path, kind)


def read_npz(path: Path, required: Iterable[str], kind: str, optional: Iterable[str] = ()) -> dict:
    """Arrays of an npz file; pickled ones are read without running anything (`safe_pickle`).

    Raises:
      FaceModelError: as `read_mat`.
    """
    expect_format(path, ["npz file"], kind)
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            for key in (*required, *optional):
                if info := members.get(f"{key}.npy"):
                    with open_member(archive, info) as member:
                        source = f"{path}, array {key}"
                        found[key] = read_object_npy(member, source, info.file_size)
    except FaceModelError:
        raise
    except Exception as error:  # readers of damaged files fail with a dozen types
        raise _cut_short(path, "npz file", error) from error
    return _require(found, required, path, kind)


def npz_keys(path: Path) -> list[str]:
    """The names of an npz file's arrays."""
    expect_format(path, ["npz file"], "npz")
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(name.removesuffix(".npy") for name in archive.namelist())
    except Exception as error:  # readers of damaged files fail with a dozen types
        raise _cut_short(path, "npz file", error) from error


def read_numbers(path: Path) -> np.ndarray:
    """The numbers of a text file [rows, columns]; lines may end in comments after % or #.

    Raises:
      FaceModelError: there is no such file, or something in it is no number.
    """
    if format_of(path) == "HTML page":
        raise FaceModelError(f"{path}: an HTML page, expected numbers; download it again.")
    try:
        numbers = np.loadtxt(path, comments=["%", "#"], ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise FaceModelError(
            f"{path}: expected rows of numbers ({error}); check the file."
        ) from error
    if numbers.size == 0:
        raise FaceModelError(f"{path}: expected rows of numbers, found none; check the file.")
    return numbers


def _read_hdf5(path: Path, keys: Iterable[str], transpose: bool) -> dict:
    try:
        import h5py
    except ImportError as error:
        raise FaceModelError(
            f"{path}: an HDF5 file, which needs h5py; `{install_command('models')}`."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            found = {key: file[key][()] for key in keys if key in file}
    except Exception as error:  # readers of damaged files fail with a dozen types
        raise _cut_short(path, "HDF5 file", error) from error
    return {key: value.T if transpose else value for key, value in found.items()}


def _cut_short(path: Path, form: str, error: Exception) -> FaceModelError:
    return FaceModelError(
        f"{path}: a {form} that cannot be read ({one_line(error)}); it is cut short "
        "or damaged: download it again."
    )


def _require(found: dict, required: Iterable[str], path: Path, kind: str) -> dict:
    missing = [key for key in required if key not in found]
    if missing:
        raise FaceModelError(
            f"{path}: no {', '.join(missing)}, which kind '{kind}' needs; give the kind that fits "
            "the file (--help lists them)."
        )
    return found
