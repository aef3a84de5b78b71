"""Reads the vertices, polygons and texture coordinates of Wavefront OBJ files, fast."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.source_files import format_of


@dataclass(frozen=True)
class ObjMesh:
    """A mesh of polygons.

    Attributes:
      vertices: [N, 3].
      triangles: [F, 3], polygons split into fans.
      uv: [T, 2], or None.
      triangles_uv: [F, 3] texture coordinates' indices, or None.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    uv: np.ndarray | None
    triangles_uv: np.ndarray | None


def read_obj(path: Path) -> ObjMesh:
    """The whole file.

    Raises:
      FaceModelError: the file is missing, cut short or no OBJ.
    """
    lines = _lines(path)
    polygons = [line.split()[1:] for line in lines if line.startswith(b"f ")]
    vertices = _numbers(path, [line for line in lines if line.startswith(b"v ")], 3)
    uv_lines = [line for line in lines if line.startswith(b"vt ")]
    try:
        corners = [[[int(i or 0) for i in c.split(b"/")[:2]] for c in p] for p in polygons]
        fans = [(p[0], p[k], p[k + 1]) for p in corners for k in range(1, len(p) - 1)]
        if not fans:
            raise ValueError("no faces")
        with_uv = bool(uv_lines) and all(len(corner) == 2 for corner in fans[0])
        table = (
            np.array([[corner[:1] + corner[1:] * with_uv for corner in fan] for fan in fans]) - 1
        )
    except (ValueError, IndexError) as error:
        raise FaceModelError(
            f"{path}: faces cannot be read ({error}); get the OBJ file again."
        ) from error
    if table[..., 0].min() < 0 or table[..., 0].max() >= len(vertices):
        raise FaceModelError(
            f"{path}: its faces name vertex {table[..., 0].max() + 1}, but it has {len(vertices)}; "
            "the file is cut short: get it again."
        )
    if not with_uv:
        return ObjMesh(vertices, table[..., 0], None, None)
    return ObjMesh(vertices, table[..., 0], _numbers(path, uv_lines, 2), table[..., 1])


def read_obj_vertices(path: Path, expected: int) -> np.ndarray:
    """Only the vertices [expected, 3], of a file that must have so many.

    Raises:
      FaceModelError: as `read_obj`, or another number of vertices.
    """
    vertices = _numbers(path, [line for line in _lines(path) if line.startswith(b"v ")], 3)
    if len(vertices) != expected:
        raise FaceModelError(
            f"{path}: {len(vertices)} vertices, expected the {expected} of the neutral mesh; the "
            "file is cut short or of another mesh: get it again."
        )
    return vertices


def _lines(path: Path) -> list[bytes]:
    if format_of(path) == "HTML page":
        raise FaceModelError(f"{path}: an HTML page, expected an OBJ file; download it again.")
    return path.read_bytes().splitlines()


def _numbers(path: Path, lines: list[bytes], columns: int) -> np.ndarray:
    if not lines:
        raise FaceModelError(f"{path}: no vertices, expected an OBJ file; get it again.")
    try:
        rows = [line.split()[1 : columns + 1] for line in lines]
        if any(len(row) < columns for row in rows):
            raise ValueError(f"a line of fewer than {columns} numbers")
        numbers = np.array(rows).astype(np.float64)
    except ValueError as error:
        raise FaceModelError(
            f"{path}: vertices cannot be read ({error}); it is cut short or damaged: get it again."
        ) from error
    return numbers
