"""A folder becomes a corpus: what is kept, what is left out and said, when it is made anew."""

import errno
import fcntl
import glob
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from configs import default
from mofa_jax.data.corpora.prepare import PreparationError, prepare_folder
from mofa_jax.data.corpora.record import open_corpus
from mofa_jax.data.faces.crop import transform_points
from mofa_jax.data.faces.find import match_landmarks
from mofa_jax.data.sources import images as photographs
from mofa_jax.data.sources import items
from mofa_jax.data.sources.images import PhotographError
from mofa_jax.data.sources.landmark_files import FaceLandmarks, LandmarkFileError
from mofa_jax.data.sources.names import root_of

ROOT = Path(__file__).resolve().parents[1]


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


def config_of(folder, **fields):
    data = default.get_config().data
    data.path, data.eval_fraction = str(folder), 0.5
    data.update(fields)
    return data


def prepare(people, tmp_path, log=lambda _: None, **fields) -> Path:
    """The corpus of a folder whose faces are cut out about their landmarks."""
    data = config_of(people, **{"crop": "landmarks"} | fields)
    return prepare_folder(data, tmp_path / "cache", log=log, progress=False)


def records(folder: Path) -> dict[str, dict]:
    """All records, by name."""
    builder = tfds.builder_from_directory(folder)
    found = [r for split in ("train", "eval") for r in builder.as_data_source(split)]
    return {record["name"].decode(): record for record in found}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_training_reads_what_was_prepared(people, tmp_path):
    folder = prepare(people, tmp_path)
    train, held_out = (open_corpus(folder, split) for split in ("train", "eval"))
    assert len(train) + len(held_out) == 4
    examples = {s[i]["name"]: s[i] for s in (train, held_out) for i in range(len(s))}
    example = examples["more/Cleo_0001.png"]
    assert example["image"].shape == (240, 240, 3) and example["image"].dtype == np.uint8
    assert example["landmarks"].shape == (68, 2) and example["landmarks"].dtype == np.float32
    assert example["confidence"].shape == (68,) and example["confidence"].dtype == np.float32
    assert train.metadata["num_annotated"] == {"train": len(train), "eval": len(held_out)}


def test_pixels_are_those_of_the_crop_without_loss(people, tmp_path):
    """Noise, which JPEG would change, comes back as the crop's own formula gives it."""
    record = records(prepare(people, tmp_path))["Bob_0001.png"]
    image = np.asarray(Image.open(people / "Bob_0001.png"))
    x, y = 0, 0
    scale = record["to_photograph"][0, 0]
    u, v = record["to_photograph"] @ (x + 0.5, y + 0.5, 1) - 0.5
    assert scale < 1
    i, j = int(np.floor(v)), int(np.floor(u))
    a, b = v - i, u - j
    patch = image[i : i + 2, j : j + 2].astype(float)
    expected = np.einsum("i,j,ijc->c", [1 - a, a], [1 - b, b], patch)
    assert np.abs(record["image"][y, x] - expected).max() < 8  # OpenCV's weights have 5 bits


def test_crops_have_the_size_that_is_asked_for(people, tmp_path):
    data = config_of(people, crop="landmarks")
    small = prepare_folder(data, tmp_path, image_size=96, log=lambda _: None, progress=False)
    corpus = open_corpus(small, "train")
    assert corpus.image_size == 96 and corpus[0]["image"].shape == (96, 96, 3)
    large = records(prepare(people, tmp_path))
    for name, record in records(small).items():
        np.testing.assert_allclose(
            record["landmarks"], large[name]["landmarks"] * 96 / 240, atol=1e-3
        )


def test_landmarks_go_back_to_the_file_by_the_stored_map(people, tmp_path):
    """File coordinates + 0.5 = the stored map applied to the crop's landmarks."""
    found = records(prepare(people, tmp_path))
    stored = np.load(people / "landmarks.npz")
    for name, points in zip(stored["files"], stored["landmarks"], strict=True):
        back = transform_points(found[name]["to_photograph"], found[name]["landmarks"])
        np.testing.assert_allclose(back, points + 0.5, atol=1e-3)


def write_pts(path: Path, points: np.ndarray) -> None:
    rows = "\n".join(f"{x} {y}" for x, y in points)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}\n")


def test_pts_beside_a_photograph_is_taken_when_the_table_lacks_it(people, tmp_path):
    points = landmarks_about((75, 75), seed=9)
    Image.new("RGB", (150, 150)).save(people / "Dan_0001.png")
    for moved in (0, 3):  # a corrected file is read anew
        write_pts(people / "Dan_0001.pts", points + moved)
        os.utime(people / "Dan_0001.pts", ns=(moved, moved))
        record = records(prepare(people, tmp_path))["Dan_0001.png"]
        back = transform_points(record["to_photograph"], record["landmarks"])
        np.testing.assert_allclose(back, points + moved - 0.5, atol=1e-3)


def test_second_run_reads_no_photograph(people, tmp_path, monkeypatch):
    first = prepare(people, tmp_path)
    before = content(first)
    monkeypatch.setattr(items, "read_photograph", None)
    assert prepare(people, tmp_path) == first and content(first) == before


def test_changed_folder_or_landmarks_are_made_anew(people, tmp_path):
    before = records(prepare(people, tmp_path))
    Image.new("RGB", (150, 160), (9, 9, 9)).save(people / "Bob_0001.png")
    changed = records(prepare(people, tmp_path))
    name = "Bob_0001.png"
    assert (changed[name]["image"] == 9).all() and not (before[name]["image"] == 9).all()
    arrays = dict(np.load(people / "landmarks.npz"))
    np.savez(people / "landmarks.npz", **(arrays | {"landmarks": arrays["landmarks"] + 7}))
    moved = records(prepare(people, tmp_path))
    for name, record in moved.items():
        np.testing.assert_allclose(
            record["to_photograph"][:, 2] - changed[name]["to_photograph"][:, 2], 7, atol=1e-4
        )
    (people / "Bob_0001.png").unlink()
    assert len(records(prepare(people, tmp_path))) == 3


def test_a_corpus_stays_until_that_of_changed_photographs_is_whole(people, tmp_path):
    before = content(prepare(people, tmp_path))
    for photograph in sorted(people.rglob("*.png"))[1:]:
        photograph.unlink()
    with pytest.raises(PreparationError, match="cannot be split"):
        prepare(people, tmp_path)
    (folder,) = (path for path in (tmp_path / "cache").glob("faces-*") if not path.suffix)
    assert content(folder) == before
    data = config_of(people, crop="landmarks")
    kept = prepare_folder(data, tmp_path / "cache", keep=True, progress=False)
    assert kept == folder and content(folder) == before


@pytest.mark.parametrize("fault", ["a single one", "off the photograph"])
def test_landmarks_without_a_square_cost_their_face_alone(people, tmp_path, fault):
    arrays = dict(np.load(people / "landmarks.npz"))
    bad = np.full((1, 68, 2), np.nan) if fault == "a single one" else arrays["landmarks"][:1] - 900
    bad[0, 30] = 80, 70 if fault == "a single one" else -900
    points = np.concatenate([bad, arrays["landmarks"]])
    files = ["Ann_0001.png", *arrays["files"]]
    np.savez(people / "landmarks.npz", files=files, landmarks=points)
    folder = prepare(people, tmp_path)
    assert len(records(folder)) == 4
    left_out = (folder / "left_out.csv").read_text()
    assert "Ann_0001.png" in left_out and "unreadable" not in left_out


def test_results_below_the_photographs_are_no_faces(people, tmp_path):
    before = records(prepare(people, tmp_path))
    (people / "run" / "pictures").mkdir(parents=True)
    for name in ("run/pictures/train-0000100.jpg", "Ann_0001.overlay.jpg"):
        Image.new("RGB", (150, 160)).save(people / name)
    assert records(prepare(people, tmp_path)).keys() == before.keys()


def test_a_list_gives_one_corpus_from_wherever_it_is_asked_for(people, tmp_path, monkeypatch):
    (tmp_path / "list.txt").write_text("people/*_0001.png\npeople/more\n")
    marks = {"landmarks": str(people / "landmarks.npz")}
    folder = prepare(f"@{tmp_path}/list.txt", tmp_path, **marks)
    monkeypatch.chdir(people)
    assert prepare(f"@{tmp_path}/list.txt", tmp_path, **marks) == folder


def test_brackets_in_a_folders_name_are_no_wildcards(people, tmp_path):
    folder = people.rename(tmp_path / "a[1]")
    assert root_of(f"{glob.escape(str(folder))}/*/*.png") == folder
    before = records(prepare(f"{glob.escape(str(folder))}/**/*.png", tmp_path)).keys()
    assert before == {"Ann_0001.png", "Ann_0002.png", "Bob_0001.png", "more/Cleo_0001.png"}


def test_processes_without_locks_are_told_to_prepare_first(people, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", refused)
    folder = prepare(people, tmp_path)  # a single process
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert prepare(people, tmp_path) == folder  # is there
    with pytest.raises(PreparationError, match=r"has no locks.*mofa_jax\.prepare_corpus"):
        prepare(people, tmp_path, only_clean=True)


def test_options_are_stored_side_by_side(people, tmp_path):
    first, second = prepare(people, tmp_path), prepare(people, tmp_path, only_clean=True)
    assert sorted((tmp_path / "cache").iterdir()) == sorted([first, second])


def test_what_a_killed_run_left_is_cleared_away(people, tmp_path):
    folder = prepare(people, tmp_path)
    whole = content(folder)
    staging = folder.with_name(folder.name + ".staging")
    staging.mkdir()
    half_written = f".{'1a' * 16}.tmp"
    (staging / half_written).write_bytes(b"half")
    folder.with_name(f".{folder.name}.lock").touch()
    for remove in (False, True):  # killed before staging was removed; killed on the way
        if remove:
            folder.rename(incomplete := folder.with_name(folder.name + ".incomplete"))
            (incomplete / "metadata.json").rename(incomplete / "settings.json")
            (incomplete / half_written).write_bytes(b"half")
            staging.mkdir()
            (staging / half_written).write_bytes(b"half")
        assert prepare(people, tmp_path) == folder
        assert [*(tmp_path / "cache").iterdir()] == [folder]
    assert content(folder) == whole


def test_two_processes_on_one_folder_both_end_well(people, tmp_path):
    code = (
        "import sys; from configs import default; "
        "from mofa_jax.data.corpora.prepare import prepare_folder; "
        "data = default.get_config().data; data.path, cache = sys.argv[1:]; "
        "data.crop, data.eval_fraction = 'landmarks', 0.5; print(prepare_folder(data, cache))"
    )
    command = [sys.executable, "-c", code, str(people), str(tmp_path / "cache")]
    running = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    outputs = [process.communicate() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], outputs
    (folder,) = {output.strip() for output, _ in outputs}
    assert [os.fsencode(path) for path in (tmp_path / "cache").iterdir()] == [folder]
    assert len(records(Path(os.fsdecode(folder)))) == 4


def test_only_clean_leaves_the_others_out(people, tmp_path):
    found = records(prepare(people, tmp_path, only_clean=True))
    assert sorted(found) == ["Ann_0001.png", "Bob_0001.png", "more/Cleo_0001.png"]


def test_only_clean_without_that_key_is_an_error(people, tmp_path):
    arrays = dict(np.load(people / "landmarks.npz"))
    del arrays["clean"]
    np.savez(people / "landmarks.npz", **arrays)
    with pytest.raises(LandmarkFileError, match="clean"):
        prepare(people, tmp_path, only_clean=True)


@pytest.mark.parametrize(
    "options",
    [{"crop": "face"}, {"faces": "one"}, {"group_pattern": "a"}, {"eval_fraction": 0.0}],
)
def test_wrong_option_is_named(people, tmp_path, options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        prepare(people, tmp_path, **options)


def test_no_face_at_all_is_one_clear_error(tmp_path):
    (tmp_path / "p").mkdir()
    Image.new("RGB", (60, 60)).save(tmp_path / "p" / "a.png")
    message = r"no face was kept of 1 photo.*a\.png: no face.* from the front$"
    with pytest.raises(PreparationError, match=message):
        prepare(tmp_path / "p", tmp_path, crop="haar")
    with pytest.raises(PhotographError, match="no photograph"):
        prepare(tmp_path / "nowhere", tmp_path)


def test_split_keeps_every_person_on_one_side(people, tmp_path):
    folder = prepare(people, tmp_path, group_pattern=r"(.+)_\d+")
    builder = tfds.builder_from_directory(folder)
    sides = [{r["group"] for r in builder.as_data_source(split)} for split in ("train", "eval")]
    assert not sides[0] & sides[1] and sides[0] | sides[1] == {b"Ann", b"Bob", b"Cleo"}


def test_impossible_split_is_an_error(people, tmp_path):
    advice = r"cannot be split .* or change the share: eval_fraction=([\d.]+) holds out (\d+)"
    with pytest.raises(PreparationError, match=advice) as error:
        prepare(people, tmp_path, eval_fraction=1e-9)
    share, held_out = re.search(advice, str(error.value)).groups()
    folder = prepare(people, tmp_path, eval_fraction=float(share))
    assert len(tfds.builder_from_directory(folder).as_data_source("eval")) == int(held_out)


def test_landmarks_go_to_the_box_that_holds_their_centroid():
    boxes = np.array([[0, 0, 50, 50], [100, 0, 50, 50], [90, 0, 80, 80]], np.float32)
    near, far = known(np.array([125.0, 24])), known(np.array([300.0, 300]))
    assert match_landmarks(boxes, [near, far]) == [None, near, None]
    again = known(np.array([126.0, 25]))
    assert match_landmarks(boxes, [near, again]) == [None, near, again]
    assert match_landmarks(boxes[:0], [near]) == []


def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


def test_two_faces_in_a_photograph_and_the_central_one(tmp_path):
    """Side by side, the larger first; landmarks go to theirs and `central` follows them."""
    image = astronaut()
    folder = tmp_path / "p"
    folder.mkdir()
    pair = np.concatenate([image, image[:, ::-1]], axis=1)
    for name in ("a", "b"):
        Image.fromarray(pair).save(folder / f"{name}.png")
    points = landmarks_about((1023 - 224, 120))
    faces = [{"file": f"{name}.png", "landmarks68": points.tolist()} for name in ("a", "b")]
    (folder / "landmarks.json").write_text(json.dumps({"faces": faces}))
    both = records(prepare(folder, tmp_path, crop="haar", eval_fraction=0.6))
    assert sorted(both) == ["a.png", "a.png#1", "b.png", "b.png#1"]
    right = "a.png#1" if both["a.png#1"]["box"][0] > 512 else "a.png"
    assert [name for name in ("a.png", "a.png#1") if both[name]["confidence"].any()] == [right]
    for choice in ({"require_landmarks": True}, {"faces": "central"}):
        found = records(prepare(folder, tmp_path, crop="haar", eval_fraction=0.6, **choice))
        assert len(found) == 2
        assert all(r["box"][0] > 512 and r["confidence"].all() for r in found.values())


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

    def refuse_one(path, mode):
        if path.name == "secret.png":
            raise PermissionError(13, "Permission denied")
        return open(path, mode)

    monkeypatch.setattr(photographs, "open", refuse_one, raising=False)
    found = records(prepare(folder, tmp_path, log, crop="haar", eval_fraction=0.4))
    assert "face.jpg" in found and 7_000 < found["panorama.jpg"]["box"][0] < 8_500
    reasons = {
        "cut.jpg": "cut short",
        "text.jpg": "not a JPEG",
        "empty.png": "empty",
        "one.png": "no face",
        "sky.png": "no face",
        "link.jpg": "link",
        "secret.png": "Permission denied",
    }
    assert len(log) == 8 and "7 photographs or faces were left out" in log[-1]
    for name, reason in reasons.items():
        (line,) = [line for line in log if line.startswith(f"{name}: ")]
        assert reason in line and "\n" not in line


@pytest.mark.slow
def test_threads_do_not_change_the_corpus(tmp_path):
    folder = tmp_path / "p"
    folder.mkdir()
    for i in range(40):  # three chunks of them
        portrait = np.roll(astronaut()[:260, 90:350], 5 * i, axis=1)
        Image.fromarray(portrait).save(folder / f"{i}.png")
    (folder / "2.png").write_text("not a photograph")
    one, three = (
        prepare_folder(
            config_of(folder), tmp_path / f"{n}", progress=False, num_workers=n, log=lambda _: None
        )
        for n in (1, 3)
    )
    assert content(one) == content(three)


def test_bar_and_log_go_where_people_look(people, tmp_path, capsys, caplog):
    with caplog.at_level(logging.WARNING):
        prepare_folder(config_of(people, crop="landmarks"), tmp_path / "cache")
    assert "4 faces in 4 photographs, 4 with landmarks" in caplog.text
    assert "Finding faces" in capsys.readouterr().err
