"""A corpus is prepared from real files: the same whatever the workers, nothing bad ends it."""

import contextlib
import csv
import hashlib
import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from skimage import data as pictures

from configs.corpora import default, lfw_tfds, videos, w300
from mofa_jax.data.corpora import report, staging
from mofa_jax.data.corpora.prepare import PreparationError, hold_out_threshold, prepare_corpus
from mofa_jax.data.corpora.recipe import Recipe, RecipeError, landmark_stamp
from mofa_jax.data.corpora.record import open_corpus
from mofa_jax.data.corpora.staging import Chunk, stage
from mofa_jax.data.sources import items as sources
from mofa_jax.data.sources.items import Source, SourceError, chunks_of, list_items, read_pictures
from mofa_jax.data.sources.landmark_files import (
    FaceLandmarks,
    LandmarkTable,
    read_landmark_file,
)
from mofa_jax.data.sources.video import VideoError, read_frames
from mofa_jax.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
ASTRONAUT = pictures.astronaut()[0:320, 60:380]  # one face (NASA, public domain)


def save(path: Path, image: np.ndarray = ASTRONAUT, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def faces(folder: Path, count: int = 8) -> Path:
    """Photographs of `count` "people", each a little different; two of each person."""
    for i in range(count):
        for k in range(2):
            image = np.roll(ASTRONAUT, 5 * i + k, axis=1)
            save(
                folder / f"p{i}" / f"p{i}_{k}.png", np.clip(image + 3 * k, 0, 255).astype(np.uint8)
            )
    return folder


def config_of(path: Path | str, module=default, **fields):
    config = module.get_config()
    config.source.path = str(path)
    config.landmarks.detector = fields.pop("landmarks", "none")
    config.eval_fraction = 0.3
    config.update_from_flattened_dict(fields)
    return config


def prepare_quietly(config, output, **options) -> Path:
    return prepare_corpus(config, output, **{"num_workers": 1, "progress": False} | options)


def records(folder: Path, split: str) -> list[dict]:
    return list(tfds.builder_from_directory(folder).as_data_source(split))


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*array_record*")}


def left_out(output: Path) -> dict[str, tuple[str, str]]:
    with open(output / "left_out.csv", encoding="utf-8", newline="") as file:
        return {row["name"]: (row["reason"], row["details"]) for row in csv.DictReader(file)}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(sources, "PICTURES_A_CHUNK", 4)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    return faces(tmp_path_factory.mktemp("people"))


def by_person(path: Path, **fields):
    return config_of(path, **{"source.group_pattern": r"(p\d+)_", **fields})


def test_records_hold_what_was_found(people, tmp_path):
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    found = [record for split in ("train", "eval") for record in records(folder, split)]
    assert len(found) == 16
    for record in found:
        name = record["name"].decode()
        assert record["image"].shape == (240, 240, 3) and record["frame"] == -1
        assert record["source"].decode() == name and record["group"].decode() == name[:2]
        scale = record["to_photograph"][0, 0]
        photograph = np.asarray(Image.open(people / name))
        middle = record["to_photograph"] @ (120, 120, 1)
        np.testing.assert_allclose(middle[0], record["box"][0] + record["box"][2] / 2, atol=1e-3)
        x, y = np.floor(middle).astype(int)
        assert 0.2 < scale < 2
        difference = photograph[y, x].astype(int) - record["image"][120, 120]
        assert np.abs(difference).max() < 60  # the same place of the face


def test_training_reads_it_by_the_folder_that_the_command_was_given(people, tmp_path):
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    by_output, by_folder = open_corpus(tmp_path / "out", "train"), open_corpus(folder, "train")
    assert len(by_output) == len(by_folder) > 0
    np.testing.assert_array_equal(by_output[0]["image"], by_folder[0]["image"])


def test_no_person_is_on_both_sides(people, tmp_path):
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    sides = [{record["group"] for record in records(folder, split)} for split in ("train", "eval")]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 8


def test_order_of_chunks_and_their_size_change_nothing(people, tmp_path, monkeypatch):
    first = prepare_quietly(by_person(people), tmp_path / "a")
    monkeypatch.setattr(sources, "PICTURES_A_CHUNK", 7)
    second = prepare_quietly(by_person(people), tmp_path / "b")
    assert shards(first) == shards(second)


@pytest.mark.slow
def test_processes_change_nothing(people, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    first = prepare_quietly(by_person(people, landmarks="dlib"), tmp_path / "a")
    second = prepare_corpus(
        by_person(people, landmarks="dlib"), tmp_path / "b", num_workers=2, progress=False
    )
    assert shards(first) == shards(second)
    assert (tmp_path / "a/report.html").read_text() == (tmp_path / "b/report.html").read_text()


def test_prepared_corpus_is_left_alone_and_another_one_refused(people, tmp_path):
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    before = shards(folder)
    assert (
        prepare_quietly(by_person(people), tmp_path / "out") == folder and shards(folder) == before
    )
    with pytest.raises(PreparationError, match="other photographs or settings"):
        prepare_quietly(by_person(people, seed=1), tmp_path / "out")


def test_finished_chunks_are_not_searched_again(people, tmp_path, monkeypatch):
    """All chunks but one are there; only its photographs are read."""
    recipe = Recipe.from_config(by_person(people))
    parts = chunks_of(list_items(recipe.source), "photographs")
    (tmp_path / "out.staging").mkdir()
    chunks = [
        Chunk(part, str(tmp_path / "out.staging" / recipe.digest(part, landmark_stamp(recipe))))
        for part in parts
    ]
    for chunk in chunks:
        stage(chunk, recipe)
    os.remove(chunks[0].blob)  # as a removal leaves it that is killed half-way
    read = []
    whole = sources.read_photograph
    monkeypatch.setattr(sources, "read_photograph", lambda path: read.append(path) or whole(path))
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    assert [os.fsencode(path) for path in read] == [item.path for item in parts[0]]
    assert len(records(folder, "train")) + len(records(folder, "eval")) == 16


@pytest.mark.slow
def test_killed_preparation_goes_on_and_gives_the_same(tmp_path):
    people = faces(tmp_path / "people", 60)
    whole = prepare_quietly(by_person(people, landmarks="dlib"), tmp_path / "whole")
    command = [
        *(sys.executable, "-m", "mofa_jax.prepare_corpus"),
        *("--config=configs/corpora/default.py", f"--output={tmp_path / 'killed'}"),
        *("--num_workers=1", f"--config.source.path={people}", "--config.eval_fraction=0.3"),
        r"--config.source.group_pattern=(p\d+)_",
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    staged = tmp_path / "killed.staging"
    while not list(staged.glob("*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in staged.glob("*.json")}
    assert done and not (tmp_path / "killed").exists()
    watched = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    while watched.poll() is None:
        for path in done:
            with contextlib.suppress(FileNotFoundError):  # staging ends with the preparation
                assert path.stat().st_mtime_ns == done[path]
        time.sleep(0.02)
    assert watched.returncode == 0
    folder = tmp_path / "killed"
    assert sorted(shards(folder)) == sorted(shards(whole))
    for split in ("train", "eval"):
        ours, theirs = (
            [(r["name"], r["image"].tobytes()) for r in records(f, split)] for f in (folder, whole)
        )
        assert ours == theirs
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "people", "whole"]


def png(width: int, height: int) -> bytes:
    """A PNG header that promises a size; there are no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header
    end = b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + end


def broken_files(folder: Path) -> dict[str, str]:
    """Writes files that cannot be used; returns the reason wanted for each."""
    good = save(folder / "good.jpg").read_bytes()
    content = {
        "truncated.jpg": good[: len(good) // 2],
        "header_only.jpg": good[:20],
        "empty.jpg": b"",
        "text.jpg": b"this is text",
        "page.png": b"<!doctype html><title>404</title>",
        "zip.webp": b"PK\x03\x04" + b"\0" * 100,
        "bomb.png": png(20_000, 20_000),
        "cut.png": save(folder / "x.png").read_bytes()[:3000],
        "flipped_bits.png": bytes(b ^ 255 for b in (folder / "x.png").read_bytes()),
        "raw.bmp": b"BM" + b"\xff" * 60,
        "tiff.tif": b"II*\0" + b"\xff" * 40,
        "video.jpg": b"\0\0\0\x18ftypmp42" + b"\0" * 64,
        "heif.heic": b"\0\0\0\x18ftypheic" + b"\0" * 64,
    }
    (folder / "x.png").unlink()
    for name, data in content.items():
        (folder / name).write_bytes(data)
    frames = [Image.fromarray(np.roll(ASTRONAUT, 9 * k, 0)) for k in range(3)]
    frames[0].save(folder / "animated.gif", save_all=True, append_images=frames[1:])
    (folder / "directory.jpg").mkdir()
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "folder_loop").symlink_to(".")
    os.mkfifo(folder / "pipe.jpg")
    unreadable = [
        *content,
        *("animated.gif", "directory.jpg", "dangling.jpg", "loop.jpg", "pipe.jpg"),
    ]
    save(folder / "one_pixel.png", np.zeros((1, 1, 3), np.uint8))
    save(folder / "thin.png", np.zeros((1, 4000, 3), np.uint8))
    save(folder / "wall.png", np.full((200, 200, 3), 127, np.uint8))
    nobody = ["one_pixel.png", "thin.png", "wall.png"]
    return {**dict.fromkeys(unreadable, "unreadable"), **dict.fromkeys(nobody, "no face")}


def test_bad_files_are_named_and_the_others_used(tmp_path):
    folder = tmp_path / "photographs"
    expected = broken_files(folder)
    save(folder / "cmyk.png")
    Image.fromarray(ASTRONAUT).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(ASTRONAUT).convert("L").save(folder / "gray.png")
    Image.fromarray(ASTRONAUT).convert("RGBA").save(folder / "alpha.png")
    save(folder / "wrong_extension.jpg", format="WEBP")
    save(folder / "still.gif")
    turned = Image.Exif()
    turned[0x0112] = 6
    save(folder / "turned.jpg", np.rot90(ASTRONAUT).copy(), exif=turned)
    odd = os.fsdecode(b"caf\xe9.png")
    save(folder / odd)
    folder_with_name = folder / "nested" / "deeper"
    save(folder_with_name / "x.JPG", format="JPEG")
    prepared = prepare_quietly(config_of(folder, eval_fraction=0.5), tmp_path / "out")
    found = left_out(tmp_path / "out")
    assert {name: reason for name, (reason, _) in found.items()} == expected
    assert "more than 150 million pixels" in found["bomb.png"][1]
    assert "animation of 3 frames" in found["animated.gif"][1]
    kept = {r["name"].decode() for split in ("train", "eval") for r in records(prepared, split)}
    assert kept == {
        *("good.jpg", "cmyk.png", "cmyk.jpg", "gray.png", "alpha.png", "wrong_extension.jpg"),
        *("still.gif", "turned.jpg", "caf\\xe9.png", "nested/deeper/x.JPG"),
    }
    page = (tmp_path / "out/report.html").read_text()
    assert all(f"{name} " in page for name in expected)


def test_full_disk_is_one_sentence_and_leaves_no_data_set(people, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(staging, "_kept", full)
        with pytest.raises(PreparationError, match="the disk is full; free some space") as caught:
            prepare_quietly(by_person(people), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert len(records(prepare_quietly(by_person(people), tmp_path / "out"), "train")) > 0


def test_photographs_without_a_face_are_one_sentence(tmp_path):
    save(tmp_path / "walls/wall.png", np.full((200, 200, 3), 127, np.uint8))
    with pytest.raises(PreparationError, match="no face was kept") as caught:
        prepare_quietly(config_of(tmp_path / "walls"), tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "error", "reason"),
    [
        ({"source.path": ""}, SourceError, "source.path is empty"),
        ({"source.kind": "clouds"}, SourceError, "choose one of photographs"),
        ({"source.group_pattern": "("}, ValueError, "no regular expression"),
        ({"source.group_pattern": "a"}, ValueError, "0 groups"),
        ({"source.group_file": "nothing.txt"}, SourceError, "nothing.txt"),
        ({"source.group_pattern": "(no such name)"}, SourceError, "both sides of the split"),
        ({"crop": "face"}, InputError, "crop is 'face'"),
        ({"encoding": "gif"}, RecipeError, "choose one of jpeg, png"),
        ({"eval_count": 3}, RecipeError, "set one of them"),
        ({"landmarks": "nothing:here"}, ValueError, "choose dlib, none"),
        ({"image_size": 0}, RecipeError, "image_size is 0; give at least 8"),
        ({"detector.max_pixels": 0}, RecipeError, "detector.max_pixels is 0"),
        ({"eval_fraction": -0.5}, RecipeError, "eval_fraction is -0.5"),
    ],
)
def test_impossible_settings_are_one_sentence(people, tmp_path, fields, error, reason):
    with pytest.raises(error, match=reason):
        prepare_quietly(config_of(people, **fields), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [True, False], ids=["given", "in the folder"])
def test_known_landmarks_take_the_same_path(tmp_path, given):
    """A table's points come back through the map to the photograph."""
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(6)]
    points = (rng.uniform(60, 220, (6, 68, 2))).astype(np.float32)
    for name in names:
        save(tmp_path / "photographs" / name)
    table = tmp_path / "photographs" / "landmarks.npz"
    np.savez(table, files=names, landmarks=points)
    config = config_of(tmp_path / "photographs", w300)
    config.landmarks.file = str(table) if given else ""
    config.pruning.min_sharpness = 0.0
    folder = prepare_quietly(config, tmp_path / "out")
    known = read_landmark_file(table)
    found = [record for split in ("train", "eval") for record in records(folder, split)]
    assert len(found) == 6
    for record in found:
        back = (
            record["landmarks"] @ record["to_photograph"][:, :2].T + record["to_photograph"][:, 2]
        )
        (truth,) = known.find(record["name"].decode())
        np.testing.assert_allclose(back, truth.points, atol=2e-3)
        assert (record["confidence"] == 1).all()


def test_several_faces_are_several_examples(tmp_path):
    image = np.concatenate([ASTRONAUT, np.flip(ASTRONAUT, 1)], axis=1)
    save(tmp_path / "photographs/two.png", image)
    save(tmp_path / "photographs/one.png")
    folder = prepare_quietly(
        config_of(tmp_path / "photographs", eval_fraction=0.0, eval_count=1), tmp_path / "out"
    )
    names = {r["name"].decode() for split in ("train", "eval") for r in records(folder, split)}
    assert names == {"one.png", "two.png", "two.png#1"}


def write_video(path: Path, images: list[np.ndarray]) -> None:
    cv2 = pytest.importorskip("cv2")
    height, width = images[0].shape[:2]
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()


def test_videos_give_every_kth_frame_without_near_duplicates(tmp_path):
    moving = [np.roll(ASTRONAUT, 6 * k, axis=0) for k in range(6)]
    darker = (ASTRONAUT * 0.6).astype(np.uint8)
    frames = [*[ASTRONAUT] * 6, *[darker] * 4]
    write_video(tmp_path / "videos/a/still.avi", frames)
    write_video(tmp_path / "videos/b/moving.avi", moving)
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    config = config_of(tmp_path / "videos", videos, eval_fraction=0.0, eval_count=1)
    config.source.every = 2
    folder = prepare_quietly(config, tmp_path / "out")
    found = {r["name"].decode(): r for s in ("train", "eval") for r in records(folder, s)}
    still = [name for name in found if "still" in name]
    assert set(still) == {"a/still.avi@000000", "a/still.avi@000006"}
    assert {r["frame"] for name, r in found.items() if "still" in name} == {0, 6}
    assert {r["group"].decode() for r in found.values()} == {"a/still.avi", "b/moving.avi"}
    reasons = left_out(tmp_path / "out")
    assert reasons["a/still.avi@000002"][0] == "duplicate"
    assert reasons["broken.mp4"][0] == "unreadable"


def test_a_video_that_is_cut_short_is_named(tmp_path, caplog):
    path = tmp_path / "clip.avi"
    write_video(path, [ASTRONAUT] * 20)
    assert len([*read_frames(path)]) == 20 and not caplog.messages
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len([*read_frames(path)])
    assert 0 < count < 18 and f"{path}: {count} of about 20 frames can be read" in caplog.text


def video_of(path, times, aspect=1):
    """Gray frames of 64 x 48 px at these times, s, whose pixels are `aspect` wider than high."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264")
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        for time in times:
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), "rgb24")
            picture.pts, picture.time_base = round(1000 * time), Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def test_frames_that_are_far_apart_are_no_file_that_is_cut_short(tmp_path, caplog):
    times = [0, 0.04, 0.08, *np.arange(1.0, 6.0)]
    video_of(tmp_path / "clip.mkv", times)
    found = [frame.time for frame in read_frames(tmp_path / "clip.mkv")]
    np.testing.assert_allclose(found, times, atol=1e-3)
    assert not caplog.messages


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    video_of(tmp_path / "clip.mp4", [0, 0.04], Fraction(4, 3))
    assert {frame.image.shape for frame in read_frames(tmp_path / "clip.mp4")} == {(48, 85, 3)}


def test_a_videos_name_that_is_not_utf8_is_one_sentence(tmp_path):
    video_of(tmp_path / "clip.mp4", [0])
    path = tmp_path / os.fsdecode(b"d\xe9.mp4")
    (tmp_path / "clip.mp4").rename(path)
    with pytest.raises(VideoError, match="not UTF-8; rename"):
        next(read_frames(path))


def test_videos_take_the_landmarks_of_300_vw(tmp_path):
    write_video(tmp_path / "videos/001/vid.avi", [ASTRONAUT] * 2)
    write_video(tmp_path / "videos/002/vid.avi", [ASTRONAUT] * 2)
    points = np.random.default_rng(0).uniform(140, 190, (68, 2))
    for clip in ("001", "002"):
        annotation = tmp_path / "videos" / clip / "annot" / "000001.pts"
        annotation.parent.mkdir()
        lines = "\n".join(f"{x} {y}" for x, y in points)
        annotation.write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")
    config = config_of(tmp_path / "videos", videos, eval_fraction=0.0, eval_count=1)
    config.update_from_flattened_dict(
        {"source.every": 1, "pruning.max_disagreement": 9.0, "crop": "landmarks"}
    )
    folder = prepare_quietly(config, tmp_path / "out")
    found = [r for s in ("train", "eval") for r in records(folder, s)]
    assert {r["name"].decode() for r in found} == {"001/vid.avi@000000", "002/vid.avi@000000"}
    for r in found:
        back = r["landmarks"] @ r["to_photograph"][:, :2].T + r["to_photograph"][:, 2]
        np.testing.assert_allclose(back, points - 0.5, atol=2e-3)  # .pts count pixels from 1


def test_bad_annotation_of_a_frame_is_left_out_and_the_video_goes_on(tmp_path):
    write_video(tmp_path / "v/001/vid.avi", [np.roll(ASTRONAUT, 6 * k, axis=0) for k in range(4)])
    write_video(tmp_path / "v/002/vid.avi", [ASTRONAUT])
    (tmp_path / "v/001/annot").mkdir()
    bad = tmp_path / "v/001/annot/000002.pts"
    bad.write_text("version: 1")
    config = config_of(tmp_path / "v", videos, eval_fraction=0.0, eval_count=1)
    config.source.every, config.pruning.min_change = 1, 0.0
    folder = prepare_quietly(config, tmp_path / "out")
    found = {r["name"].decode() for s in ("train", "eval") for r in records(folder, s)}
    assert found == {*(f"001/vid.avi@00000{k}" for k in range(4)), "002/vid.avi@000000"}
    ((name, (reason, details)),) = left_out(tmp_path / "out").items()
    assert name == "001/vid.avi@000001" and reason == "bad annotation" and str(bad) in details
    bad.unlink()  # a corrected annotation is another corpus, not "prepared already"
    with pytest.raises(PreparationError, match="other photographs or settings"):
        prepare_quietly(config, tmp_path / "out")


def test_full_disk_under_the_report_leaves_no_finished_corpus(people, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(report, "_page", full)
        with pytest.raises(PreparationError, match="the disk is full; free some space"):
            prepare_quietly(by_person(people), tmp_path / "out")
    assert not (tmp_path / "out").exists() and (tmp_path / "out.staging").exists()
    folder = prepare_quietly(by_person(people), tmp_path / "out")
    assert (folder / "report.html").is_file() and (folder / "left_out.csv").is_file()
    assert [*tmp_path.iterdir()] == [folder]


def test_landmark_file_of_other_photographs_is_refused(people, tmp_path):
    file = tmp_path / "landmarks.npz"
    np.savez(file, files=["other.jpg"], landmarks=np.full((1, 68, 2), 100.0))
    config = by_person(people)
    config.landmarks.file = str(file)
    with pytest.raises(PreparationError, match=r"landmarks\.npz: names none of the 16") as caught:
        prepare_quietly(config, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_metadata_counts_the_faces_with_landmarks(people, tmp_path):
    file = tmp_path / "landmarks.npz"
    np.savez(file, files=["p0/p0_0.png"], landmarks=np.full((1, 68, 2), 160.0))
    config = by_person(people)
    config.landmarks.file = str(file)
    config.pruning.max_disagreement = 9.0
    folder = prepare_quietly(config, tmp_path / "out")
    wanted = {s: sum(r["confidence"].any() for r in records(folder, s)) for s in ("train", "eval")}
    assert sum(wanted.values()) == 1
    assert open_corpus(folder, "train").metadata["num_annotated"] == wanted


def test_landmark_file_is_hashed_once(people, tmp_path, monkeypatch):
    file = tmp_path / "landmarks.npz"
    np.savez(file, files=["p0/p0_0.png"], landmarks=np.full((1, 68, 2), 160.0))
    config = by_person(people)
    config.landmarks.file = str(file)
    digest, hashed = hashlib.file_digest, []
    monkeypatch.setattr(hashlib, "file_digest", lambda *a: hashed.append(a) or digest(*a))
    prepare_quietly(config, tmp_path / "out")
    assert len(hashed) == 1


def test_preparing_without_beam_imports_none(people, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)  # importing it fails
    assert len(records(prepare_quietly(by_person(people), tmp_path / "out"), "train")) > 0


@pytest.mark.slow
def test_beam_changes_nothing(people, tmp_path):
    pytest.importorskip("apache_beam", reason="needs requirements-corpus.txt")
    first = prepare_quietly(by_person(people), tmp_path / "a")
    options = ["--runner=DirectRunner", "--allow_unsafe_triggers"]
    second = prepare_quietly(by_person(people), tmp_path / "b", beam_options=options)
    assert shards(first) == shards(second)


class Lfw(tfds.core.GeneratorBasedBuilder):
    """Photographs with a person's name, with the features of TFDS's own `lfw`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        image = tfds.features.Image(shape=(320, 320, 3), encoding_format="png")
        features = tfds.features.FeaturesDict({"label": tfds.features.Text(), "image": image})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(8):
            file = io.BytesIO()
            Image.fromarray(np.roll(ASTRONAUT, 4 * i, axis=1)).save(file, "PNG")
            yield i, {"label": f"person {i // 2}", "image": io.BytesIO(file.getvalue())}


@pytest.fixture(scope="module")
def lfw_set(tmp_path_factory):
    """The folder of a prepared data set."""
    builder = Lfw(data_dir=tmp_path_factory.mktemp("tfds"), file_format="array_record")
    builder.download_and_prepare()
    return builder.data_dir


def test_tfds_data_sets_are_sources(lfw_set, tmp_path):
    config = config_of(lfw_set, lfw_tfds, eval_fraction=0.0, eval_count=1)
    folder = prepare_quietly(config, tmp_path / "out")
    found = [r for s in ("train", "eval") for r in records(folder, s)]
    assert len(found) == 8
    assert {r["group"].decode() for r in found} == {f"person {i}" for i in range(4)}


def test_a_tfds_data_set_that_was_prepared_anew_is_another_source(lfw_set, tmp_path):
    copied = shutil.copytree(lfw_set, tmp_path / "lfw" / "1.0.0")
    source = Source(path=str(copied), kind="tfds")
    before = list_items(source)
    assert list_items(source) == before
    (file,) = copied.glob("*array_record*")
    os.utime(file, (1, 1))
    assert not {item.stamp for item in list_items(source)} & {item.stamp for item in before}


def test_a_damaged_record_is_counted_and_ends_nothing(lfw_set, tmp_path):
    damaged = shutil.copytree(lfw_set, tmp_path / "lfw" / "1.0.0")
    (file,) = damaged.glob("*array_record*")
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    file.write_bytes(content)
    config = config_of(damaged, lfw_tfds, eval_fraction=0.0, eval_count=1)
    folder = prepare_quietly(config, tmp_path / "out")
    kept = sum(len(records(folder, split)) for split in ("train", "eval"))
    report = (folder / "left_out.csv").read_text()
    assert 0 < kept < 8 and report.count("the record is damaged") == 8 - kept


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"person": "typo"}, "source.person is 'typo', but its records have image, label"),
        ({"image": "typo"}, "typo"),
        ({"group_file": "people.txt"}, "group_file has no effect on kind tfds"),
        ({"kind": "photographs", "person": "label"}, "source.person has no effect on kind photo"),
    ],
)
def test_fields_that_a_data_set_does_not_have_are_refused(lfw_set, change, reason):
    with pytest.raises(SourceError, match=reason):
        list_items(Source(**{"path": str(lfw_set), "kind": "tfds"} | change))


def test_a_file_of_a_list_that_is_gone_is_an_item_like_others(people, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{people / 'p1/p1_0.png'}\n{people / 'gone.png'}\n")
    there, gone = sorted(list_items(Source(path=f"@{listed}")), key=lambda item: -item.stamp[0])
    folder = os.path.relpath(people, tmp_path)
    assert (there.name, gone.name) == (f"{folder}/p1/p1_0.png", f"{folder}/gone.png")
    with pytest.raises(InputError, match=r"gone\.png: there is no such file"):
        next(read_pictures(gone, Source(path=f"@{listed}")))


def test_lists_and_tables_of_people_are_read(people, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(
        "\n".join(os.path.relpath(people / f"p{i}/p{i}_0.png", tmp_path) for i in (1, 2))
    )
    table = tmp_path / "identities.txt"
    table.write_text("p1_0.png 77\np2_0.png 78\n")
    items = list_items(Source(path=f"@{listed}", group_file=str(table)))
    folder = os.path.relpath(people, tmp_path)
    assert [(item.name, item.group) for item in items] == [
        (f"{folder}/p1/p1_0.png", "77"),
        (f"{folder}/p2/p2_0.png", "78"),
    ]


def test_a_list_beside_the_photographs_folder_finds_people_and_landmarks(people, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(os.path.relpath(people / "p1/p1_0.png", tmp_path) + "\n")
    (tmp_path / "people.txt").write_text("p1/p1_0.png\tAnna\n")
    (item,) = list_items(Source(path=f"@{listed}", group_file=str(tmp_path / "people.txt")))
    assert item.group == "Anna"
    face = FaceLandmarks(np.zeros((68, 2), np.float32), np.ones(68, np.float32))
    assert LandmarkTable({"p1/p1_0.png": (face,)}).find(item.name) == (face,)
    with pytest.raises(SourceError, match=r"finds '\.\.' in .*relative to the list's folder"):
        list_items(Source(path=f"@{listed}", group_pattern="^([^/]+)/"))


def test_a_table_of_people_may_have_spaces(tmp_path):
    (tmp_path / "a b").mkdir()
    for name in ("1 x.png", "2 x.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / "a b" / name)
    table = tmp_path / "people.txt"
    for text, groups in (
        ("a b/1 x.png anna\n2 x.png bob\n", ["anna", "bob"]),
        ("1 x.png\tAnna B\t\n\n2 x.png\tBob\n", ["Anna B", "Bob"]),
    ):
        table.write_text(text)
        items = list_items(Source(path=str(tmp_path), group_file=str(table)))
        assert [item.group for item in items] == groups


@pytest.mark.parametrize("path", ["{0}/*/*.png", "{0}/p1/*_0.png", "@{0}/list.txt"])
def test_more_photographs_rename_none_of_the_others(path, tmp_path):
    """Or people who were held out would be trained on."""
    names = []
    for folder in ("p1", "another"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "a_0.png")
        with open(tmp_path / "list.txt", "a") as listed:
            listed.write(f"{folder}/a_0.png\n")
        names.append({item.name for item in list_items(Source(path=path.format(tmp_path)))})
    assert names[0] <= names[1]


@pytest.mark.parametrize("count", [1, 7, 40])
def test_at_least_the_wanted_number_is_held_out_in_whole_groups(count):
    groups = [(f"person {i}", 1 + i % 3) for i in range(50)]
    config = config_of("somewhere")
    config.eval_count, config.eval_fraction = count, 0.0
    recipe = Recipe.from_config(config)
    threshold = hold_out_threshold(groups, recipe)
    assert threshold == hold_out_threshold(groups[::-1], recipe)
    held_out = [n for name, n in groups if prepare_rank(name) < threshold]
    assert count <= sum(held_out) <= count + 2


def prepare_rank(name: str) -> float:
    """The documented rule, on its own: SHA-256 of "seed:name", its first 8 bytes as a fraction."""
    return int(hashlib.sha256(f"0:{name}".encode()).hexdigest()[:16], 16) / 16**16
