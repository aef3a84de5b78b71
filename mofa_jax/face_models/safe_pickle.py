"""Reads pickled arrays without running anything that the pickle names.

A pickle is a small program that may call any function by name. Here each name is looked up in a
short list: NumPy's array constructors, plain containers, and empty stand-ins for chumpy's and
SciPy's classes, whose state (the arrays) is kept and nothing more. Every other name is refused.

The layout of the stand-ins' states: chumpy's `Ch` keeps its values in `x`, its `Select` picks
`idxs` of `a`; SciPy's compressed matrices keep `data`, `indices`, `indptr` and `_shape`.
"""

import collections
import io
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse
from numpy.lib import format as npy_format

from mofa_jax.face_model import FaceModelError

_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    UnicodeDecodeError,
    MemoryError,
    OverflowError,
)


class _Record:
    """Stands in for an object of a class that is not here: only its state is kept."""

    def __init__(self, *arguments: Any):
        self.state: dict = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class _Chumpy(_Record):
    def to_array(self) -> np.ndarray:
        if "x" in self.state:
            return np.asarray(plain(self.state["x"]))
        if "idxs" in self.state and "a" in self.state:
            values = np.asarray(plain(self.state["a"])).ravel()[np.asarray(self.state["idxs"])]
            return values.reshape(self.state.get("preferred_shape", values.shape))
        raise ValueError(f"a chumpy expression of {sorted(self.state)} instead of values")


class _SparseColumns(_Record):
    matrix = scipy.sparse.csc_matrix

    def to_array(self) -> np.ndarray:
        parts = (self.state["data"], self.state["indices"], self.state["indptr"])
        return self.matrix(parts, shape=self.state["_shape"]).toarray()


class _SparseRows(_SparseColumns):
    matrix = scipy.sparse.csr_matrix


def _reconstruct_array(subtype: Any, shape: tuple, kind: Any) -> np.ndarray:
    return np.ndarray(shape, kind)


def _array_from_buffer(buffer: Any, dtype: Any, shape: tuple, order: str) -> np.ndarray:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


def _array_scalar(dtype: np.dtype, raw: bytes | str) -> Any:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype)[0]


def _encode(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _reconstruct_object(kind: Any, base: Any, state: Any) -> Any:
    return kind() if isinstance(kind, type) and issubclass(kind, _Record) else _Record()


_BUILTINS = {
    "set": set,
    "frozenset": frozenset,
    "list": list,
    "dict": dict,
    "tuple": tuple,
    "object": object,
    "bytearray": bytearray,
}
_ALLOWED = {
    **{
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in _BUILTINS.items()
    },
    **{
        (f"numpy.{core}.{name}", function): inert
        for core in ("core", "_core")
        for name, function, inert in (
            ("multiarray", "_reconstruct", _reconstruct_array),
            ("multiarray", "scalar", _array_scalar),
            ("numeric", "_frombuffer", _array_from_buffer),
        )
    },
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("copy_reg", "_reconstructor"): _reconstruct_object,
    ("copyreg", "_reconstructor"): _reconstruct_object,
}


class _Forbidden(Exception):
    """The pickle names something that is not on the list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module.split(".")[0] == "chumpy":
            return _Chumpy
        if module.startswith("scipy.sparse") and name in ("csc_matrix", "csc_array"):
            return _SparseColumns
        if module.startswith("scipy.sparse") and name in ("csr_matrix", "csr_array"):
            return _SparseRows
        raise _Forbidden(f"{module}.{name}")

    def persistent_load(self, identity: Any) -> Any:
        raise _Forbidden("a persistent object")


def plain(value: Any) -> Any:
    """The value with stand-ins turned into arrays, also inside dictionaries, lists and tuples."""
    if isinstance(value, _Chumpy | _SparseColumns):
        return value.to_array()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim == 0:
        return plain(value.item())
    return value


def load_pickle(path: Path) -> Any:
    """What a pickle file holds, its chumpy and SciPy objects as arrays; nothing in it is executed.

    Raises:
      FaceModelError: the pickle names code, is cut short, or is no pickle.
    """
    return read_pickle(io.BytesIO(path.read_bytes()), str(path))


def read_pickle(stream: BinaryIO, source: str) -> Any:
    """`load_pickle` from an open stream; `source` is what the messages call it."""
    try:
        return plain(_Reader(stream, encoding="latin1").load())
    except _Forbidden as error:
        raise FaceModelError(
            f"{source}: the pickle names {error}, which could run code, expected arrays only; it "
            "was not opened: get the file again from its publisher."
        ) from error
    except _BROKEN as error:
        raise FaceModelError(
            f"{source}: cannot be read as a pickle of arrays ({error}); it is cut short or of "
            "another format: download it again."
        ) from error


def load_object_npy(path: Path) -> Any:
    """What an .npy file holds whose array is a pickled object, such as a dictionary of arrays."""
    return read_object_npy(io.BytesIO(path.read_bytes()), str(path))


def read_object_npy(stream: BinaryIO, source: str) -> Any:
    """An array from an .npy stream, or the pickled object in it, read by `read_pickle`."""
    try:
        version = npy_format.read_magic(stream)
        header = (
            npy_format.read_array_header_1_0
            if version == (1, 0)
            else npy_format.read_array_header_2_0
        )
        shape, _, dtype = header(stream)
        if not dtype.hasobject:
            stream.seek(0)
            return npy_format.read_array(stream, allow_pickle=False)
    except _BROKEN as error:
        raise FaceModelError(
            f"{source}: cannot be read as .npy ({error}); it is cut short or of another format: "
            "download it again."
        ) from error
    value = read_pickle(stream, source)
    return value.item() if isinstance(value, np.ndarray) and shape == () else value
