"""Written meshes, read back by parsers that know the formats only."""

import os
import struct
import time

import numpy as np
import pytest

from mofa_jax.export import MeshError, write_obj, write_ply


def random_mesh(seed=0, vertices=50, triangles=80):
    rng = np.random.default_rng(seed)
    return (
        rng.normal(size=(vertices, 3)).astype(np.float32),
        rng.integers(0, vertices, (triangles, 3)).astype(np.int32),
        rng.uniform(-0.3, 1.3, (vertices, 3)).astype(np.float32),
        rng.uniform(size=(vertices, 2)).astype(np.float32),
    )


def read_obj(path):
    rows = {"#": [], "v": [], "vt": [], "f": []}
    for line in path.read_text(encoding="ascii").splitlines():
        kind, *values = line.split()
        rows[kind].append(values)
    faces = np.array([[corner.split("/") for corner in face] for face in rows["f"]], int)
    return rows["#"], np.array(rows["v"], float), np.array(rows["vt"], float), faces


def read_ply(path):
    content = path.read_bytes()
    header, body = content.split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    counts = {w[1]: int(w[2]) for w in map(str.split, lines) if w[0] == "element"}
    names = [w[2] for w in map(str.split, lines) if w[0] == "property" and w[1] != "list"]
    kinds = [w[1] for w in map(str.split, lines) if w[0] == "property" and w[1] != "list"]
    row = struct.Struct("<" + "".join({"float": "f", "uchar": "B"}[kind] for kind in kinds))
    points = [row.unpack_from(body, k * row.size) for k in range(counts["vertex"])]
    face, start = struct.Struct("<B3i"), counts["vertex"] * row.size
    faces = [face.unpack_from(body, start + k * face.size) for k in range(counts["face"])]
    assert len(body) == start + counts["face"] * face.size
    return names, np.array(points), np.array(faces), lines


def test_an_obj_file_holds_millimeters_colors_and_texture_coordinates(tmp_path):
    vertices, triangles, colors, uv = random_mesh()
    write_obj(tmp_path / "face.obj", vertices, triangles, colors, uv)
    comments, points, texture, faces = read_obj(tmp_path / "face.obj")
    assert "millimeter;" in comments[0]
    np.testing.assert_allclose(points[:, :3], vertices * 100.0, atol=6e-5)
    np.testing.assert_allclose(points[:, 3:], np.clip(colors, 0, 1), atol=6e-5)
    np.testing.assert_allclose(texture, uv, atol=6e-7)
    np.testing.assert_array_equal(faces, np.stack([triangles + 1] * 2, axis=-1))


def test_an_obj_file_without_colors_has_positions_only(tmp_path):
    vertices, triangles, _, _ = random_mesh()
    write_obj(tmp_path / "face.obj", vertices, triangles)
    _, points, texture, faces = read_obj(tmp_path / "face.obj")
    assert points.shape == (50, 3) and texture.size == 0
    np.testing.assert_array_equal(faces[..., 0], triangles + 1)


@pytest.mark.parametrize("colored", [True, False])
def test_a_ply_file_holds_millimeters_and_colors(tmp_path, colored):
    vertices, triangles, colors, _ = random_mesh()
    write_ply(tmp_path / "face.ply", vertices, triangles, colors if colored else None)
    names, points, faces, lines = read_ply(tmp_path / "face.ply")
    assert names == ["x", "y", "z", *(["red", "green", "blue"] if colored else [])]
    assert any(line.startswith("comment unit: millimeter") for line in lines)
    np.testing.assert_allclose(points[:, :3], vertices * 100.0, rtol=1e-6)
    if colored:
        np.testing.assert_allclose(points[:, 3:] / 255, np.clip(colors, 0, 1), atol=0.5001 / 255)
    np.testing.assert_array_equal(faces, np.insert(triangles, 0, 3, axis=1))


def test_a_file_in_the_way_is_replaced_and_nothing_else_is_left(tmp_path):
    vertices, triangles, _, _ = random_mesh()
    (tmp_path / "face.obj").write_text("old")
    write_obj(tmp_path / "face.obj", vertices, triangles)
    write_ply(str(tmp_path / "face.ply"), vertices, triangles)
    assert sorted(os.listdir(tmp_path)) == ["face.obj", "face.ply"]
    assert read_obj(tmp_path / "face.obj")[1].shape == (50, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.zeros((2, 5, 3))}, "vertices has shape"),
        ({"vertices": np.full((50, 3), np.nan)}, "vertices holds NaN"),
        ({"colors": np.zeros((49, 3))}, "colors has shape"),
        ({"colors": np.full((50, 3), np.inf)}, "colors holds NaN or infinite"),
        ({"triangles": np.array([[0, 1, 50]])}, "name vertices 0 to 50, of 50"),
        ({"triangles": np.array([[0, -1, 2]])}, "name vertices -1 to 2, of 50"),
        ({"triangles": np.zeros((4, 4), int)}, "expected integers"),
        ({"triangles": np.zeros((4, 3))}, "expected integers"),
    ],
)
@pytest.mark.parametrize("write", [write_obj, write_ply])
def test_bad_arrays_are_refused_by_name_and_nothing_is_written(tmp_path, write, changes, message):
    vertices, triangles, colors, _ = random_mesh()
    arrays = {"vertices": vertices, "triangles": triangles, "colors": colors, **changes}
    with pytest.raises(MeshError, match=message) as error:
        write(tmp_path / "face.out", **arrays)
    assert "face.out" in str(error.value)
    assert not os.listdir(tmp_path)


def test_a_real_face_is_written_quickly(tmp_path):
    vertices, triangles, colors, uv = random_mesh(1, 27_000, 54_000)
    times = []
    for _ in range(3):
        start = time.process_time()
        write_obj(tmp_path / "face.obj", vertices, triangles, colors, uv)
        times.append(time.process_time() - start)
    assert min(times) < 1.0
