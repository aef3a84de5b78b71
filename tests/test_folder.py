"""A folder becomes crops: what is kept, what is skipped and said, when it is made anew."""

import dataclasses
import json
import logging

import numpy as np
import pytest
from PIL import Image

from mofa_jax.data.corpora.folder import FolderError, prepare_folder
from mofa_jax.data.faces.crop import transform_points
from mofa_jax.data.faces.extract import match_landmarks
from mofa_jax.data.sources import images as photographs
from mofa_jax.data.sources.images import PhotographError
from mofa_jax.data.sources.landmark_files import FaceLandmarks, LandmarkFileError


def landmarks_about(center, radius: float = 30.0, seed: int = 0) -> np.ndarray:
    return center + np.random.default_rng(seed).uniform(-radius, radius, (68, 2))


def known(center) -> FaceLandmarks:
    points = landmarks_about(center).astype(np.float32)
    return FaceLandmarks(points, np.ones(68, np.float32))


@pytest.fixture
def people(tmp_path):
    """Four pictures, `Name_0001.png` and on, of three people, with landmarks in a file."""
    folder = tmp_path / "people"
    (folder / "more").mkdir(parents=True)
    files = ["Ann_0001.png", "Ann_0002.png", "Bob_0001.png", "more/Cleo_0001.png"]
    points = np.array([landmarks_about((80 + i, 70), seed=i) for i in range(4)])
    rng = np.random.default_rng(0)
    for file in files:
        Image.fromarray(rng.integers(0, 256, (150, 160, 3)).astype(np.uint8)).save(folder / file)
    np.savez(folder / "landmarks.npz", files=files, landmarks=points, clean=[1, 0, 1, 1])
    return folder


@pytest.fixture
def log():
    """A log that remembers its lines."""

    class Log(list):
        __call__ = list.append

    return Log()


def prepare(people, tmp_path, **options):
    options = {"crop": "landmarks", "progress": False, "log": lambda _: None} | options
    return prepare_folder(people, tmp_path / "cache", **options)


def test_examples_have_the_interface_of_a_source(people, tmp_path):
    corpus = prepare(people, tmp_path)
    assert len(corpus) == 4
    example = corpus[3]
    assert example["image"].shape == (240, 240, 3) and example["image"].dtype == np.uint8
    assert example["landmarks"].shape == (68, 2) and example["landmarks"].dtype == np.float32
    assert example["confidence"].shape == (68,) and example["confidence"].dtype == np.float32
    assert example["name"] == "more/Cleo_0001.png"
    example["image"][0] = 0  # the caller's own copy


def test_landmarks_go_back_to_the_file_by_the_stored_map(people, tmp_path):
    """File coordinates + 0.5 = the stored map applied to the crop's landmarks."""
    corpus = prepare(people, tmp_path)
    stored = np.load(people / "landmarks.npz")["landmarks"]
    for i in range(4):
        back = transform_points(corpus.to_photograph[i], corpus.landmarks[i])
        np.testing.assert_allclose(back, stored[i] + 0.5, atol=1e-3)


def test_pts_beside_a_photograph_is_taken_when_the_table_lacks_it(people, tmp_path):
    points = landmarks_about((75, 75), seed=9)
    rows = "\n".join(f"{x} {y}" for x, y in points)
    (people / "Dan_0001.pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")
    Image.new("RGB", (150, 150)).save(people / "Dan_0001.png")
    corpus = prepare(people, tmp_path)
    i = corpus.names.tolist().index("Dan_0001.png")
    back = transform_points(corpus.to_photograph[i], corpus.landmarks[i])
    np.testing.assert_allclose(back, points - 0.5, atol=1e-3)


def test_second_run_reads_the_stored_crops(people, tmp_path, monkeypatch):
    first = prepare(people, tmp_path)
    monkeypatch.setattr("mofa_jax.data.corpora.folder.read_photograph", None)
    second = prepare(people, tmp_path)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


def test_changed_folder_or_landmarks_are_made_anew(people, tmp_path):
    before = prepare(people, tmp_path)
    Image.new("RGB", (150, 160), (9, 9, 9)).save(people / "Bob_0001.png")
    changed = prepare(people, tmp_path)
    assert (changed[2]["image"] == 9).all() and not (before[2]["image"] == 9).all()
    arrays = dict(np.load(people / "landmarks.npz"))
    np.savez(people / "landmarks.npz", **(arrays | {"landmarks": arrays["landmarks"] + 7}))
    moved = prepare(people, tmp_path)
    np.testing.assert_allclose(
        moved.to_photograph[..., 2] - changed.to_photograph[..., 2], 7, atol=1e-4
    )
    (people / "Bob_0001.png").unlink()
    assert len(prepare(people, tmp_path)) == 3


def test_options_are_stored_side_by_side(people, tmp_path):
    prepare(people, tmp_path)
    prepare(people, tmp_path, only_clean=True)
    stored = sorted(path.suffix for path in (tmp_path / "cache").iterdir())
    assert stored == [".npy", ".npy", ".npz", ".npz"]


def test_damaged_cache_is_made_anew(people, tmp_path):
    prepare(people, tmp_path)
    for suffix in ("npy", "npz"):
        (path,) = (tmp_path / "cache").glob(f"*.{suffix}")
        path.write_bytes(path.read_bytes()[:1000])
        assert len(prepare(people, tmp_path)) == 4


def test_interrupted_preparation_leaves_nothing_behind(people, tmp_path):
    def stop(message):
        raise KeyboardInterrupt

    (people / "text.jpg").write_text("hello")
    with pytest.raises(KeyboardInterrupt):
        prepare(people, tmp_path, log=stop)
    assert list((tmp_path / "cache").iterdir()) == []


def test_only_clean_leaves_the_others_out(people, tmp_path):
    names = prepare(people, tmp_path, only_clean=True).names.tolist()
    assert names == ["Ann_0001.png", "Bob_0001.png", "more/Cleo_0001.png"]


def test_only_clean_without_that_key_is_an_error(people, tmp_path):
    arrays = dict(np.load(people / "landmarks.npz"))
    del arrays["clean"]
    np.savez(people / "landmarks.npz", **arrays)
    with pytest.raises(LandmarkFileError, match="clean"):
        prepare(people, tmp_path, only_clean=True)


@pytest.mark.parametrize("options", [{"crop": "face"}, {"faces": "one"}, {"group_pattern": "a"}])
def test_wrong_option_is_named(people, tmp_path, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        prepare(people, tmp_path, **options)


def test_no_face_at_all_is_one_clear_error(tmp_path, log):
    (tmp_path / "p").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "p" / "a.png")
    with pytest.raises(FolderError, match=r"no face in 1 photographs .*a\.png: no face was found"):
        prepare_folder(tmp_path / "p", tmp_path / "cache", progress=False, log=log)
    with pytest.raises(PhotographError, match="no photograph"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "cache", progress=False, log=log)


def test_split_keeps_every_person_on_one_side(people, tmp_path):
    corpus = prepare(people, tmp_path, group_pattern=r"(.+)_\d+")
    assert corpus.groups.tolist() == ["Ann", "Ann", "Bob", "Cleo"]
    for seed in range(10):
        train, held_out = corpus.split(eval_count=1, seed=seed)
        assert not set(train.groups) & set(held_out.groups)
        assert len(train) + len(held_out) == 4
        for part in (train, held_out):
            for i in range(len(part)):
                whole = corpus[corpus.names.tolist().index(part[i]["name"])]
                np.testing.assert_array_equal(part[i]["image"], whole["image"])


def test_split_follows_names_not_order(people, tmp_path):
    corpus = prepare(people, tmp_path)
    shuffled = corpus.subset(np.array([2, 0, 3, 1]))
    for seed in range(5):
        _, first = corpus.split(eval_count=2, seed=seed)
        _, second = shuffled.split(eval_count=2, seed=seed)
        assert set(first.names) == set(second.names) and len(first) == 2


def test_split_by_fraction_moves_nobody_when_faces_are_added(people, tmp_path):
    corpus = prepare(people, tmp_path)
    many = dataclasses.replace(
        corpus,
        **{
            field.name: np.repeat(getattr(corpus, field.name), 250, axis=0)
            for field in dataclasses.fields(corpus)
            if field.name not in ("images", "skipped")
        },
    )
    many = dataclasses.replace(many, groups=np.array([f"person {i}" for i in range(1000)]))
    _, held_out = many.split(eval_fraction=0.1)
    _, held_out_of_half = many.subset(np.arange(500)).split(eval_fraction=0.1)
    assert 70 < len(held_out) < 130
    assert set(held_out_of_half.groups) < set(held_out.groups)


def test_impossible_split_is_an_error(people, tmp_path):
    corpus = prepare(people, tmp_path)
    with pytest.raises(FolderError, match="cannot be split"):
        corpus.split(eval_fraction=0.0)
    with pytest.raises(FolderError, match="cannot be split"):
        corpus.split(eval_count=4)
    with pytest.raises(ValueError, match="either"):
        corpus.split()


def test_landmarks_go_to_the_box_that_holds_their_centroid():
    boxes = np.array([[0, 0, 50, 50], [100, 0, 50, 50], [90, 0, 80, 80]], np.float32)
    near, far = known(np.array([125.0, 24])), known(np.array([300.0, 300]))
    assert match_landmarks(boxes, [near, far]) == [None, near, None]
    again = known(np.array([126.0, 25]))
    assert match_landmarks(boxes, [near, again]) == [None, near, again]
    assert match_landmarks(boxes[:0], [near]) == []


def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


def test_two_faces_in_a_photograph_and_the_central_one(tmp_path, log):
    """Side by side, the larger first; landmarks go to theirs and `central` follows them."""
    image = astronaut()
    folder = tmp_path / "p"
    folder.mkdir()
    pair = np.concatenate([image, image[:, ::-1]], axis=1)
    Image.fromarray(pair).save(folder / "pair.png")
    points = landmarks_about((1023 - 224, 120))
    faces = [{"file": "pair.png", "landmarks68": points.tolist()}]
    (folder / "landmarks.json").write_text(json.dumps({"faces": faces}))
    options = {"progress": False, "log": log}
    both = prepare_folder(folder, tmp_path / "cache", **options)
    assert both.names.tolist() == ["pair.png", "pair.png#1"]
    right = int(both.boxes[1, 0] > 512)
    np.testing.assert_array_equal(both.confidence.any(axis=1), [not right, bool(right)])
    known_only = prepare_folder(folder, tmp_path / "cache", require_landmarks=True, **options)
    central = prepare_folder(folder, tmp_path / "cache", faces="central", **options)
    for corpus in (known_only, central):
        assert len(corpus) == 1 and corpus.boxes[0, 0] > 512 and corpus.confidence.all()


def write_bad_folder(folder) -> None:
    """All that a folder may hold: only `face.jpg` and `panorama.jpg` show a face."""
    folder.mkdir()
    face = Image.fromarray(astronaut())
    face.save(folder / "face.jpg", quality=95)
    (folder / "cut.jpg").write_bytes((folder / "face.jpg").read_bytes()[:20_000])
    (folder / "text.jpg").write_text("not a photograph")
    (folder / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("RGB", (300, 200), (90, 120, 200)).save(folder / "sky.png")
    (folder / "link.jpg").symlink_to("nowhere.jpg")
    face.save(folder / "secret.png")
    panorama = Image.new("RGB", (12_000, 1_500), (90, 120, 200))
    panorama.paste(face.resize((1_500, 1_500)), (7_000, 0))
    panorama.save(folder / "panorama.jpg")


def test_folder_with_every_kind_of_bad_file_goes_on(tmp_path, monkeypatch, log):
    folder = tmp_path / "p"
    write_bad_folder(folder)
    read_bytes = photographs.Path.read_bytes

    def refuse_one(self):
        if self.name == "secret.png":
            raise PermissionError(13, "Permission denied")
        return read_bytes(self)

    monkeypatch.setattr(photographs.Path, "read_bytes", refuse_one)
    corpus = prepare_folder(folder, tmp_path / "cache", progress=False, log=log)
    assert corpus.names.tolist()[0] == "face.jpg" and "panorama.jpg" in corpus.names
    x = corpus.boxes[corpus.names == "panorama.jpg"][0, 0]
    assert 7_000 < x < 8_500
    reasons = {
        "cut.jpg": "cut short",
        "text.jpg": "not a JPEG",
        "empty.png": "empty",
        "one.png": "no face",
        "sky.png": "no face",
        "link.jpg": "link",
        "secret.png": "Permission denied",
    }
    assert {name for name, _ in corpus.skipped} == set(reasons)
    for name, reason in reasons.items():
        (line,) = [line for line in log if line.startswith(f"{name}: ")]
        assert reason in line and "\n" not in line
    assert "7 photographs without" in log[-1] and len(log) == 8


def test_threads_do_not_change_the_crops(tmp_path, log):
    folder = tmp_path / "p"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(np.roll(astronaut()[:300], 20 * i, axis=1)).save(folder / f"{i}.png")
    (folder / "2.png").write_text("not a photograph")
    one, three = (
        prepare_folder(folder, tmp_path / f"cache{n}", progress=False, num_workers=n, log=log)
        for n in (1, 3)
    )
    np.testing.assert_array_equal(one.images, three.images)
    np.testing.assert_array_equal(one.names, three.names)
    np.testing.assert_array_equal(one.boxes, three.boxes)


def test_bar_and_log_go_where_people_look(people, tmp_path, capsys, caplog):
    with caplog.at_level(logging.WARNING):
        prepare_folder(people, tmp_path / "cache", crop="landmarks")
    assert "4 faces in 4 photographs" in caplog.text
    assert "Finding faces" in capsys.readouterr().err
