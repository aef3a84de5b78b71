"""Reads the tensors of a PyTorch state dict (.pth) without PyTorch and without running anything.

Both forms that torch.save has written: a zip archive with a pickle and one entry a storage (the
default since PyTorch 1.6), and the stream of pickles followed by the storages of older releases.
The unpickler knows the names below and refuses every other one, so that no file can run code.
"""

import math
import pickle
import zipfile
from collections import OrderedDict
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from mofa_jax.encoders.pretrained.errors import PretrainedWeightsError, damaged, refuse
from mofa_jax.files.npz import open_member
from mofa_jax.files.pickles import check_places

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_EXPECTED = "a PyTorch state dict (.pth)"
_MEND = "save only the weights in PyTorch, torch.save(model.state_dict(), path)"
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    size: int


class _Tensor(NamedTuple):
    """A view of a storage, in numbers rather than bytes."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_unused) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor, *_unused) -> _Tensor:
    return tensor


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
} | {("torch", name): dtype for name, dtype in _DTYPES.items()}


class _Unpickler(pickle.Unpickler):
    """An unpickler that can build tensors and dictionaries, and nothing else."""

    def __init__(self, file: BinaryIO, path: str | Path):
        super().__init__(file, encoding="utf-8")
        self._file, self._path = file, path
        self.storages: dict[str, _Storage] = {}

    def load(self) -> object:
        check_places(self._file)
        return super().load()

    def find_class(self, module: str, name: str):
        if (module, name) not in _ALLOWED:
            raise refuse(self._path, "nothing but tensors", f"the object {module}.{name}", _MEND)
        return _ALLOWED[module, name]

    def persistent_load(self, pid: tuple) -> _Storage:
        kind, dtype, key, _device, size = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError("a reference that is no storage")
        if any(pid[5:]):
            raise refuse(self._path, "whole storages", "a view of a storage", _MEND)
        return self.storages.setdefault(key, _Storage(dtype, key, size))


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a state dict by name, in the file's own dtypes and layout.

    A checkpoint with the state dict under "state_dict", "model_state_dict" or "model" will do.

    Raises:
      PretrainedWeightsError: not a state dict, cut short, or an object other than tensors in it.
    """
    try:
        with open(path, "rb") as file:
            if zipfile.is_zipfile(file):
                content, storages = _read_zip(file, path)
            else:
                # Of a map, unlike a file, no more is ever read, or allocated, than is there.
                with mmap(file.fileno(), 0, access=ACCESS_READ) as mapped:
                    content, storages = _read_legacy(mapped, path)
            tensors = _state_dict(content, path)
            return {name: _array(tensor, storages) for name, tensor in tensors.items()}
    except PretrainedWeightsError:
        raise
    except Exception as error:  # pickles, zip archives and numbers fail with a dozen types
        raise damaged(path, _EXPECTED, f"unreadable content ({error})") from error


def _read_zip(file: BinaryIO, path: str | Path) -> tuple[object, dict[str, np.ndarray]]:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.split("/")[1:] == ["data.pkl"]]
        if len(names) != 1:
            raise refuse(path, _EXPECTED, "a zip archive without data.pkl", _MEND)
        folder = names[0].split("/")[0]
        if f"{folder}/byteorder" in archive.namelist():
            order = archive.read(f"{folder}/byteorder")
            if order != b"little":
                raise refuse(path, "little-endian numbers", f"{order!r}", _MEND)
        with open_member(archive, archive.getinfo(names[0])) as data:
            unpickler = _Unpickler(data, path)
            content = unpickler.load()
        arrays = {}
        for key, storage in unpickler.storages.items():
            with open_member(archive, archive.getinfo(f"{folder}/data/{key}")) as data:
                arrays[key] = _numbers(data.read(), storage)
    return content, arrays


def _read_legacy(file: mmap, path: str | Path) -> tuple[object, dict[str, np.ndarray]]:
    """Pickles of magic number, protocol, system, content and storage keys, then the storages."""
    if _Unpickler(file, path).load() != _LEGACY_MAGIC:
        raise refuse(path, _EXPECTED, "another kind of pickle", _MEND)
    _Unpickler(file, path).load()
    if not _Unpickler(file, path).load()["little_endian"]:
        raise refuse(path, "little-endian numbers", "big-endian ones", _MEND)
    unpickler = _Unpickler(file, path)
    content = unpickler.load()
    arrays = {}
    for key in _Unpickler(file, path).load():
        storage = unpickler.storages[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise EOFError("a storage of another size")
        arrays[key] = _numbers(file.read(storage.size * storage.dtype.itemsize), storage)
    return content, arrays


def _numbers(data: bytes, storage: _Storage) -> np.ndarray:
    if len(data) != storage.size * storage.dtype.itemsize:
        raise EOFError(f"{len(data)} bytes for {storage.size} numbers")
    return np.frombuffer(data, storage.dtype)


def _state_dict(content: object, path: str | Path) -> dict[str, _Tensor]:
    """The tensors of a state dict, or of the first dictionary that is known to hold one."""
    if isinstance(content, dict):
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), dict)]
        entries = inner[0] if inner else content
        tensors = {key: value for key, value in entries.items() if isinstance(value, _Tensor)}
        if tensors:
            return tensors
    raise refuse(path, _EXPECTED, f"a {type(content).__name__} without tensors", _MEND)


def _array(tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
    """The array of a tensor, checked to lie inside its storage."""
    flat, shape, strides = storages[tensor.storage.key], tensor.shape, tensor.strides
    last = tensor.offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    outside = min((tensor.offset, *shape, *strides)) < 0 or (0 not in shape and last >= flat.size)
    if outside or math.prod(shape) > flat.size:
        raise EOFError("a tensor beyond its storage")
    if 0 in shape:
        return np.zeros(shape, flat.dtype)
    steps = tuple(stride * flat.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(flat[tensor.offset :], shape, steps, writeable=False)
