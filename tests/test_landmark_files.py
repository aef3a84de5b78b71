"""Landmark files: every format ends in this project's continuous pixels."""

import json
import re
import zipfile

import numpy as np
import pytest

import mofa_jax
from mofa_jax.data.sources.landmark_files import (
    LandmarkFileError,
    find_landmark_file,
    read_landmark_file,
    read_pts,
)


def points(seed: int = 0, n: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 240, (n, 68, 2)).round(3)


def rotation(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def write_pts(path, values) -> None:
    rows = "\n".join(f"{x:.3f} {y:.3f}" for x, y in values)
    path.write_text(f"version: 1\nn_points: {len(values)}\n{{\n{rows}\n}}\n")


def test_pts_counts_pixels_from_one_at_their_centers(tmp_path):
    """The first pixel's center, (1, 1) in a .pts, is (0.5, 0.5) here."""
    values = points(n=1)[0]
    values[0] = 1, 1
    write_pts(tmp_path / "a.pts", values)
    face = read_pts(tmp_path / "a.pts")
    np.testing.assert_array_equal(face.points[0], [0.5, 0.5])
    np.testing.assert_allclose(face.points, values - 0.5, atol=1e-4)
    assert (face.confidence == 1).all()


@pytest.mark.parametrize("content", ["", "1 2\n3 4", "{ a b }", "{ 1 2 3 }", "{ 1 2 }"])
def test_bad_pts_is_named(tmp_path, content):
    path = tmp_path / "a.pts"
    path.write_text(content)
    with pytest.raises(LandmarkFileError, match=r"a\.pts: "):
        read_pts(path)


@pytest.mark.parametrize(("pixel_centers", "shift"), [("integer", 0.5), ("half", 0.0)])
@pytest.mark.parametrize("kind", ["npz", "json", "faces"])
def test_table_gives_continuous_pixels(tmp_path, kind, pixel_centers, shift):
    values = points()
    path = tmp_path / f"landmarks.{'npz' if kind == 'npz' else 'json'}"
    files = ["sub/a.jpg", "b.jpg"]
    if kind == "npz":
        np.savez(path, files=files, landmarks=values)
    elif kind == "json":
        path.write_text(json.dumps({"files": files, "landmarks": values.tolist()}))
    else:
        rows = zip(files, values.tolist(), strict=True)
        path.write_text(json.dumps({"faces": [{"file": f, "landmarks68": p} for f, p in rows]}))
    table = read_landmark_file(path, pixel_centers)
    (face,) = table.find("b.jpg")
    np.testing.assert_allclose(face.points, values[1] + shift, atol=1e-4)
    np.testing.assert_allclose(face.centroid, values[1].mean(0) + shift, atol=1e-3)
    assert not table.has_clean and face.clean


@pytest.mark.parametrize(
    ("change", "warned"),
    [
        (lambda p: p, False),
        (lambda p: p[..., ::-1], True),
        (lambda p: p * [1, -1], True),
        (lambda p: p * [-1, 1], True),
        (lambda p: p[:, ::-1], True),
        (lambda p: p * np.nan, False),
    ],
    ids=["right", "y before x", "y upwards", "mirrored", "another order", "none"],
)
def test_faces_that_lie_are_named(tmp_path, caplog, change, warned):
    model = mofa_jax.load_face_model("open")
    front = np.asarray(model.mean_shape)[model.landmarks, :2] * [100, -100] + 120
    tilted = [front @ rotation(angle) for angle in (-30, 0, 30)]
    np.savez(tmp_path / "l.npz", files=["a", "b", "c"], landmarks=change(np.array(tilted)))
    read_landmark_file(tmp_path / "l.npz")
    assert ("eyes (36 to 47) are not above the mouth" in caplog.text) == warned


def test_missing_points_have_no_confidence(tmp_path):
    values = points()
    values[0, 5] = np.nan
    confidence = np.full((2, 68), 0.7)
    confidence[0, 6] = 0
    np.savez(tmp_path / "l.npz", files=["a", "b"], landmarks=values, confidence=confidence)
    (face,) = read_landmark_file(tmp_path / "l.npz").find("a")
    assert np.isfinite(face.points).all()
    expected = np.full(68, 0.7)
    expected[5:7] = 0
    np.testing.assert_allclose(face.confidence, expected, rtol=1e-6)
    present = expected > 0
    np.testing.assert_allclose(face.centroid, values[0][present].mean(0) + 0.5, atol=1e-3)


def test_null_in_json_is_no_landmark(tmp_path):
    values = points(n=1).tolist()
    values[0][3] = [None, None]
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({"faces": [{"file": "a.jpg", "landmarks68_partial": values[0]}]}))
    (face,) = read_landmark_file(path).find("a.jpg")
    assert face.confidence.sum() == 67 and face.confidence[3] == 0


def test_face_without_any_landmark_has_no_centroid(tmp_path):
    np.savez(tmp_path / "l.npz", files=["a"], landmarks=np.full((1, 68, 2), np.nan))
    assert read_landmark_file(tmp_path / "l.npz").find("a")[0].centroid is None


def test_faces_that_nobody_has_called_clean_are_not(tmp_path):
    content = {"files": ["a", "b"], "landmarks": points(n=2).tolist(), "clean": [None, True]}
    (tmp_path / "l.json").write_text(json.dumps(content))
    table = read_landmark_file(tmp_path / "l.json")
    assert [table.find(name)[0].clean for name in "ab"] == [False, True]


def test_paths_are_found_before_bare_names_and_faces_add_up(tmp_path):
    files = ["x/a.jpg", "a.jpg", "a.jpg"]
    np.savez(tmp_path / "l.npz", files=files, landmarks=points(n=3), clean=[True, False, True])
    table = read_landmark_file(tmp_path / "l.npz")
    assert table.has_clean
    assert len(table.find("x/a.jpg")) == 1
    assert [face.clean for face in table.find("y/a.jpg")] == [False, True]
    assert table.find("b.jpg") == ()


def test_null_is_a_face_without_landmarks_and_names_may_be_bytes(tmp_path):
    content = {"files": ["a.jpg", "b.jpg"], "landmarks": [points(n=1)[0].tolist(), None]}
    (tmp_path / "l.json").write_text(json.dumps(content))
    table = read_landmark_file(tmp_path / "l.json")
    assert table.find("a.jpg")[0].centroid is not None and table.find("b.jpg")[0].centroid is None
    np.savez(tmp_path / "l.npz", files=np.array([b"a.jpg"]), landmarks=points(n=1))
    assert len(read_landmark_file(tmp_path / "l.npz").find("a.jpg")) == 1


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"files": ["a"]}, "'landmarks' is missing"),
        ({"landmarks": np.zeros((1, 68, 2))}, "'files' is missing"),
        ({"files": ["a"], "landmarks": np.zeros((1, 66, 2))}, "shape"),
        ({"files": ["a", "b"], "landmarks": np.zeros((1, 68, 2))}, "shape"),
        ({"files": ["a"], "landmarks": np.zeros((1, 68, 2)), "clean": [1, 1]}, "shape"),
    ],
)
def test_wrong_table_is_named_with_the_fault(tmp_path, arrays, reason):
    path = tmp_path / "landmarks.npz"
    np.savez(path, **arrays)
    with pytest.raises(LandmarkFileError, match=reason) as caught:
        read_landmark_file(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["l.npz", "l.json"])
@pytest.mark.parametrize("content", ["", "hello", "[1]", "{}", '{"faces": []}', '{"faces": [{}]}'])
def test_broken_file_is_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(LandmarkFileError, match=name):
        read_landmark_file(tmp_path / name)


def test_npz_with_a_text_beyond_unicode_is_named(tmp_path):
    path = tmp_path / "landmarks.npz"
    np.savez(path, files=np.array([2**31 - 1], np.uint32).view("U1"), landmarks=points(n=1))
    with pytest.raises(LandmarkFileError, match=re.escape(str(path))):
        read_landmark_file(path)


def test_npz_with_an_empty_member_is_named(tmp_path):
    path = tmp_path / "landmarks.npz"
    np.savez(path, files=np.array(["a"]))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("landmarks.npy", b"")
    with pytest.raises(LandmarkFileError, match=re.escape(str(path))):
        read_landmark_file(path)


def test_numbers_beyond_float32_are_no_landmark(tmp_path):
    path, values = tmp_path / "landmarks.npz", points(n=1)
    values[0, 3, 1], confidence = 1e300, np.full((1, 68), 0.5)
    confidence[0, 5] = 1e300
    np.savez(path, files=["a"], landmarks=values, confidence=confidence)
    write_pts(tmp_path / "a.pts", values[0])
    table, pts = read_landmark_file(path).find("a")[0], read_pts(tmp_path / "a.pts")
    assert np.flatnonzero(table.confidence == 0).tolist() == [3, 5]
    assert np.flatnonzero(pts.confidence == 0).tolist() == [3]
    assert np.isfinite(table.points).all() and np.isfinite(pts.points).all()


def test_missing_file_and_wrong_option_are_named(tmp_path):
    with pytest.raises(LandmarkFileError, match="no such file"):
        read_landmark_file(tmp_path / "none.npz")
    with pytest.raises(LandmarkFileError, match="pixel_centers"):
        read_landmark_file(tmp_path / "none.npz", "corner")


def test_file_is_found_in_the_folder(tmp_path):
    assert find_landmark_file(tmp_path) is None
    (tmp_path / "landmarks.npz").touch()
    for photographs in ("", "photo.jpg", "*.jpg", "**/a/*.jpg"):
        assert find_landmark_file(tmp_path / photographs) == tmp_path / "landmarks.npz"
    assert find_landmark_file(f"@{tmp_path / 'list.txt'}") == tmp_path / "landmarks.npz"
    brackets = tmp_path / "of [2020]"
    brackets.mkdir()
    (brackets / "landmarks.npz").touch()
    for photographs in (brackets, brackets / "photo.jpg", f"@{brackets / 'list.txt'}"):
        assert find_landmark_file(photographs) == brackets / "landmarks.npz"


@pytest.mark.parametrize(
    ("file", "first", "count"),
    [
        ("lfw_landmarks_auto.npz", "AJ_Cook_0001.jpg", 9914),
        ("w300_train/landmarks.json", "afw_1051618982_1.jpg", 2012),
        ("frl_london_canada/landmarks.json", "london_neutral_001_03.jpg", 142),
        ("frl_london_smiling/landmarks_auto.json", "london_smiling_001_08.jpg", 102),
    ],
)
def test_development_files_are_read(shared, file, first, count):
    table = read_landmark_file(shared / "data/photos" / file)
    assert sum(len(faces) for faces in table.faces.values()) == count
    (face,) = table.find(first)
    assert 0 < face.centroid.min() < face.centroid.max() < 512
    assert table.has_clean == file.startswith("lfw")


def test_damaged_npz_is_one_sentence(tmp_path):
    """Bytes flipped anywhere: the file is read, or refused in a sentence that names it."""
    path, rng = tmp_path / "landmarks.npz", np.random.default_rng(0)
    np.savez_compressed(path, files=["a.jpg"], landmarks=rng.uniform(0, 99, (1, 68, 2)))
    content, refused = path.read_bytes(), 0
    for position in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            read_landmark_file(path)
        except LandmarkFileError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 100
