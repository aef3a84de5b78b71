"""Meshes as OBJ and PLY files: x right, y up, z towards the viewer. glTF: see `gltf`.

A mesh comes in decimeters, the model's unit. The two formats have no unit of their own: meshes are
written in millimeters, and a comment in the file says so. Files are written to a temporary name
first, so that no half file is left behind.
"""

import functools
import os
from pathlib import Path

import numpy as np

from mofa_jax.errors import InputError
from mofa_jax.face_model import MM_PER_DM
from mofa_jax.files.writing import atomic_write


class MeshError(InputError):
    """A mesh cannot be written; the message names the file and what is wrong with the arrays."""


def write_obj(
    path: str | os.PathLike,
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors: np.ndarray | None = None,
    uv: np.ndarray | None = None,
) -> None:
    """Writes a Wavefront OBJ file, with vertex colors behind the positions (`v x y z r g b`).

    Args:
      path: the file.
      vertices: [N, 3], dm; written in mm.
      triangles: [F, 3] integers, counted from 0; written from 1, as the format counts.
      colors: [N, 3], RGB, clipped to [0, 1], or None.
      uv: [N, 2] texture coordinates, origin bottom-left, or None.

    Raises:
      MeshError: an array has another shape, holds NaN, or a triangle names a vertex that is not.
    """
    vertices, triangles, colors, uv = checked_mesh(path, vertices, triangles, colors, uv)
    columns = [vertices * MM_PER_DM] if colors is None else [vertices * MM_PER_DM, colors]
    positions = "v %.4f %.4f %.4f" + ("\n" if colors is None else " %.4f %.4f %.4f\n")
    corner = "%d" if uv is None else "%d/%d"
    indices = np.repeat(triangles + 1, 1 if uv is None else 2, axis=1)
    blocks = [
        "# unit: millimeter; x right, y up, z towards the viewer\n",
        _format_rows(positions, np.concatenate(columns, axis=1)),
        "" if uv is None else _format_again("vt %.6f %.6f\n", uv),
        _format_again(f"f {corner} {corner} {corner}\n", indices),
    ]
    write_content(path, "".join(blocks).encode("ascii"))


def write_ply(
    path: str | os.PathLike,
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors: np.ndarray | None = None,
) -> None:
    """Writes a binary (little-endian) PLY file, with 8-bit vertex colors if there are any.

    Args:
      path: the file.
      vertices: [N, 3], dm; written in mm, float32.
      triangles: [F, 3] integers, counted from 0.
      colors: [N, 3], RGB, clipped to [0, 1], or None.

    Raises:
      MeshError: an array has another shape, holds NaN, or a triangle names a vertex that is not.
    """
    vertices, triangles, colors, _ = checked_mesh(path, vertices, triangles, colors, None)
    position = [(axis, "<f4") for axis in "xyz"]
    channels = [] if colors is None else [(name, "u1") for name in ("red", "green", "blue")]
    points = np.empty(len(vertices), position + channels)
    for k, axis in enumerate("xyz"):
        points[axis] = vertices[:, k] * MM_PER_DM
    for k, (name, _) in enumerate(channels):
        points[name] = np.round(colors[:, k] * 255)
    faces = np.empty(len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, triangles
    types = {"<f4": "float", "u1": "uchar"}
    header = [
        "ply",
        "format binary_little_endian 1.0",
        "comment unit: millimeter; x right, y up, z towards the viewer",
        f"element vertex {len(points)}",
        *(f"property {types[kind]} {name}" for name, kind in position + channels),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    write_content(path, "\n".join(header).encode("ascii") + points.tobytes() + faces.tobytes())


def _format_rows(row: str, values: np.ndarray) -> str:
    return (row * len(values)) % tuple(values.ravel().tolist())


def _format_again(row: str, values: np.ndarray) -> str:
    """As `_format_rows`, remembered: all meshes of a face model have them in common."""
    return _formatted(row, values.tobytes(), values.dtype.str)


@functools.lru_cache(maxsize=4)
def _formatted(row: str, values: bytes, dtype: str) -> str:
    columns = row.count("%")
    return _format_rows(row, np.frombuffer(values, dtype).reshape(-1, columns))


def write_content(path: str | os.PathLike, content: bytes) -> None:
    """Writes a whole file. Raises OSError as `atomic_write`."""
    path = Path(path)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def checked_mesh(path, vertices, triangles, colors, uv):
    """The arrays of a mesh as float64 and int64, colors clipped; MeshError if they are none."""
    count = len(vertices)
    floats = {}
    for name, array, width in (("vertices", vertices, 3), ("colors", colors, 3), ("uv", uv, 2)):
        floats[name] = None if array is None else np.asarray(array, np.float64)
        if array is None:
            continue
        if floats[name].shape != (count, width):
            raise MeshError(
                f"{path}: {name} has shape {floats[name].shape}, expected {(count, width)}; pass "
                "one mesh without a batch axis."
            )
        if not np.isfinite(floats[name]).all():
            raise MeshError(f"{path}: {name} holds NaN or infinite values; nothing was written.")
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "iu":
        raise MeshError(
            f"{path}: triangles are {triangles.dtype} {triangles.shape}, expected integers (F, 3)."
        )
    if triangles.size and not (triangles.min() >= 0 and triangles.max() < count):
        raise MeshError(
            f"{path}: triangles name vertices {triangles.min()} to {triangles.max()}, of {count}; "
            "count them from 0."
        )
    colors = None if colors is None else np.clip(floats["colors"], 0, 1)
    return floats["vertices"], triangles.astype(np.int64), colors, floats["uv"]
