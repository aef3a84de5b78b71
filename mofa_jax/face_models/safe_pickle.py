"""Reads pickled arrays without running anything that the pickle names.

A pickle is a small program that may call any function by name. Here each name is looked up in a
short list: plain containers, and empty stand-ins for NumPy's, chumpy's and SciPy's classes, whose
state is kept and nothing more; arrays are made of it here, and objects in them come from lists
only, never from bytes that would be taken for pointers. PyTorch's tensors stay unread. Every other
name is refused.

The layout of the stand-ins' states: chumpy's `Ch` keeps its values in `x`, its `Select` picks
`idxs` of `a`; SciPy's compressed matrices keep `data`, `indices`, `indptr` and `_shape`.
"""

import collections
import io
import math
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse

from mofa_jax.face_model import FaceModelError
from mofa_jax.files.npz import read_npy_header, values_of
from mofa_jax.files.pickles import check_places

_MAX_DENSE = 10**8  # entries of a sparse matrix that is written out


class _Record:
    """Stands in for an object of a class that is not here: only its state is kept."""

    def __init__(self, *arguments: Any):
        self.state: dict = {}

    def __setstate__(self, state: Any) -> None:
        self.state = dict(state) if isinstance(state, dict) else {}


class _DType:
    """Stands in for `numpy.dtype`: single numbers, texts and objects, nothing composed of them."""

    def __init__(self, code: str, *_: Any):
        self.dtype = np.dtype(code if isinstance(code, str) else "V")
        if self.dtype.kind not in "biufcSUO":
            raise ValueError(f"an array of type {code!r}")

    def __setstate__(self, state: tuple) -> None:
        byte_order, subarray, names, fields = state[1:5]
        if (subarray, names, fields) != (None, None, None):
            raise ValueError("an array of a composed type")
        self.dtype = self.dtype.newbyteorder(byte_order)


class _Array:
    """Stands in for `numpy.ndarray`; `_reconstruct` makes an empty one that is given its state."""

    value = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        shape, kind, is_fortran, content = state[-4:]
        order = "F" if is_fortran else "C"
        if kind.dtype.hasobject:
            values = np.empty(len(content), object)
            values[:] = list(content)
        else:
            values = values_of(_as_bytes(content), kind.dtype)
        self.value = values.reshape(shape, order=order)


class _Chumpy(_Record):
    def to_array(self) -> np.ndarray:
        if "x" in self.state:
            return np.asarray(plain(self.state["x"]))
        if "idxs" in self.state and "a" in self.state:
            values = np.asarray(plain(self.state["a"])).ravel()[plain(self.state["idxs"])]
            return values.reshape(plain(self.state.get("preferred_shape", values.shape)))
        raise ValueError(f"a chumpy expression of {sorted(self.state)} instead of values")


class _SparseColumns(_Record):
    matrix = scipy.sparse.csc_matrix

    def to_array(self) -> np.ndarray:
        parts = tuple(plain(self.state[key]) for key in ("data", "indices", "indptr"))
        matrix = self.matrix(parts, shape=plain(self.state["_shape"]))
        matrix.check_format()  # indices within the shape, before compiled code follows them
        if math.prod(matrix.shape) > _MAX_DENSE:
            raise ValueError(f"a sparse matrix of shape {matrix.shape}")
        return matrix.toarray()


class _SparseRows(_SparseColumns):
    matrix = scipy.sparse.csr_matrix


def _empty_array(*_: Any) -> _Array:
    return _Array()


def _array_from_buffer(buffer: Any, kind: _DType, shape: tuple, order: str) -> np.ndarray:
    return values_of(buffer, kind.dtype).reshape(shape, order=order)  # refuses objects


def _array_scalar(kind: _DType, raw: bytes | str) -> Any:
    return values_of(_as_bytes(raw), kind.dtype)[0]


def _as_bytes(raw: Any) -> Any:
    return raw.encode("latin1") if isinstance(raw, str) else raw


def _bytes_of(content: Any = b"", *_: Any) -> bytearray:
    if isinstance(content, int):
        raise ValueError("a length instead of bytes")
    return bytearray(_as_bytes(content))


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
    "bytearray": _bytes_of,
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
            ("multiarray", "_reconstruct", _empty_array),
            ("multiarray", "scalar", _array_scalar),
            ("numeric", "_frombuffer", _array_from_buffer),
        )
    },
    ("numpy", "ndarray"): None,  # the first argument of `_reconstruct`, never called
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _Record,  # PyTorch's tensors stay unread
    ("torch.storage", "_load_from_bytes"): _Record,
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
    if isinstance(value, _Array):
        return plain(value.value)
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
        content = io.BytesIO(stream.read())
        check_places(content)
        return plain(_Reader(content, encoding="latin1").load())
    except _Forbidden as error:
        raise FaceModelError(
            f"{source}: the pickle names {error}, which could run code, expected arrays only; it "
            "was not opened: get the file again from its publisher."
        ) from error
    except Exception as error:  # of damaged files, a dozen types
        raise FaceModelError(
            f"{source}: cannot be read as a pickle of arrays ({error}); it is cut short or of "
            "another format: download it again."
        ) from error


def load_object_npy(path: Path) -> Any:
    """What an .npy file holds whose array is a pickled object, such as a dictionary of arrays."""
    return read_object_npy(io.BytesIO(path.read_bytes()), str(path), path.stat().st_size)


def read_object_npy(stream: BinaryIO, source: str, size: int) -> Any:
    """An array from an .npy stream, or the pickled object in it, read by `read_pickle`.

    Args:
      stream: at its start.
      source: what the messages call it.
      size: of the stream, bytes.

    Raises:
      FaceModelError: as `load_pickle`.
    """
    try:
        shape, fortran_order, dtype = read_npy_header(stream, size)
        if not dtype.hasobject:
            values = values_of(bytearray(stream.read()), dtype)
            return values.reshape(shape, order="F" if fortran_order else "C")
    except Exception as error:  # of damaged files, a dozen types
        raise FaceModelError(
            f"{source}: cannot be read as .npy ({error}); it is cut short or of another format: "
            "download it again."
        ) from error
    value = read_pickle(stream, source)
    return value.item() if isinstance(value, np.ndarray) and shape == () else value
