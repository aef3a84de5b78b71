"""Reads the weights out of a Caffe model: NetParameter of caffe.proto, by its wire format alone.

Field numbers are those of `src/caffe/proto/caffe.proto` (BVLC/caffe); the wire format is described
in the Protocol Buffers documentation under "Encoding". Unknown fields are skipped.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mofa_jax.encoders.pretrained.errors import damaged, refuse

_EXPECTED = "a Caffe model (.caffemodel)"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


class CaffeModel(NamedTuple):
    """A network's name and its weights: `blobs[layer]` is the list of that layer's float32 arrays.

    Shapes are as the file states them: in older files always four dimensions, 1 in front.
    """

    name: str
    blobs: dict[str, list[np.ndarray]]


class _WireError(Exception):
    """Bytes that are no Protocol Buffers message."""


def read_caffemodel(path: str | Path) -> CaffeModel:
    """Reads a .caffemodel with layers in the present (`layer`) or the V1 (`layers`) form.

    Raises:
      PretrainedWeightsError: not a Caffe model, cut short, or in the form before V1.
    """
    data = memoryview(np.memmap(path, np.uint8, mode="r"))
    try:
        model = _net(data)
    except _WireError as error:
        raise damaged(path, _EXPECTED, str(error)) from error
    if model is None:
        mend = "upgrade it with Caffe's upgrade_net_proto_binary"
        raise refuse(path, "layers in Caffe's present or V1 form", "the V0 form", mend)
    if not model.blobs:
        raise refuse(path, _EXPECTED, "no layer with weights", "check that it is the right file")
    return model


def _net(data: memoryview) -> CaffeModel | None:
    """NetParameter: name = 1, layers = 2 (V1LayerParameter), layer = 100 (LayerParameter)."""
    name, blobs = "", {}
    for number, wire_type, value in _fields(data):
        if wire_type != _BYTES:
            continue
        if number == 1:
            name = _text(value)
        elif number == 2:
            layer = _layer(value, name_field=4, blobs_field=6)
            if layer is None:
                return None
            blobs |= layer
        elif number == 100:
            blobs |= _layer(value, name_field=1, blobs_field=7)
    return CaffeModel(name, blobs)


def _layer(data: memoryview, name_field: int, blobs_field: int) -> dict | None:
    """{name: blobs} of a layer, empty if it has no weights; None for a V0 layer inside a V1 one."""
    name, blobs = "", []
    for number, wire_type, value in _fields(data):
        if number == name_field and wire_type == _BYTES:
            name = _text(value)
        elif number == blobs_field and wire_type == _BYTES:
            blobs.append(_blob(value))
        elif number == 1 and wire_type == _BYTES:
            return None
    return {name: blobs} if blobs else {}


def _blob(data: memoryview) -> np.ndarray:
    """BlobProto: num, channels, height, width = 1-4, data = 5, shape = 7, double_data = 8."""
    legacy, shape, values = [0, 0, 0, 0], None, []
    for number, wire_type, value in _fields(data):
        if number in (1, 2, 3, 4) and wire_type == _VARINT:
            legacy[number - 1] = value
        elif number == 7 and wire_type == _BYTES:
            shape = _dimensions(value)
        elif number in (5, 8) and wire_type != _VARINT:
            values.append(_numbers(value, "<f4" if number == 5 else "<f8"))
    shape = tuple(legacy) if shape is None else shape
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    if flat.size != np.prod(shape, dtype=object):
        raise _WireError(f"an array of shape {shape} with {flat.size} numbers")
    return flat.astype(np.float32, copy=False).reshape(shape)


def _dimensions(data: memoryview) -> tuple[int, ...]:
    """BlobShape: dim = 1, packed or one by one."""
    dims = []
    for number, wire_type, value in _fields(data):
        if number == 1 and wire_type == _VARINT:
            dims.append(value)
        elif number == 1 and wire_type == _BYTES:
            position = 0
            while position < len(value):
                dim, position = _varint(value, position)
                dims.append(dim)
    return tuple(dims)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """(field number, wire type, value) of a message; a run of one field's fixed numbers is one."""
    position = 0
    while position < len(data):
        start = position
        key, position = _varint(data, start)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
        elif wire_type == _BYTES:
            length, position = _varint(data, position)
            value = _take(data, position, length)
            position += length
        elif wire_type in _WIDTHS:
            value, position = _fixed_run(data, start, position, _WIDTHS[wire_type])
        else:
            raise _WireError("bytes that are no Protocol Buffers message")
        yield number, wire_type, value


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    """The base-128 integer at `position`, and the position behind it."""
    result = 0
    for i, byte in enumerate(data[position : position + 10]):
        result |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return result, position + i + 1
    raise _WireError(f"no end of an integer at byte {position} of a message")


def _take(data: memoryview, position: int, length: int) -> memoryview:
    if length > len(data) - position:
        raise _WireError(f"{len(data) - position} bytes where {length} should follow")
    return data[position : position + length]


def _fixed_run(data: memoryview, start: int, position: int, width: int) -> tuple[memoryview, int]:
    """The numbers of the same unpacked field from `start` on, joined; the position behind them."""
    _take(data, position, width)
    key, record = bytes(data[start:position]), position - start + width
    count = (len(data) - start) // record
    rows = np.frombuffer(data, np.uint8, count * record, start).reshape(count, record)
    same = (rows[:, : len(key)] == np.frombuffer(key, np.uint8)[None]).all(axis=1)
    count = count if same.all() else int(np.argmin(same))
    return memoryview(rows[:count, len(key) :].tobytes()), start + count * record


def _numbers(value: memoryview, dtype: str) -> np.ndarray:
    if len(value) % np.dtype(dtype).itemsize:
        raise _WireError(f"{len(value)} bytes of numbers of type {dtype}")
    return np.frombuffer(value, dtype)


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", errors="replace")
