"""A written corpus of synthetic faces: whole or not there, repeatable, true to its codes."""

import errno
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import mofa_jax
from configs import default
from mofa_jax.data.corpora import writer as shards
from mofa_jax.data.corpora.record import CorpusError, open_corpus
from mofa_jax.data.corpora.writer import CorpusWriteError
from mofa_jax.data.feeds.mixture import FeedError
from mofa_jax.data.feeds.pipeline import open_data, open_faces
from mofa_jax.data.synthetic import corpus as synthetic_corpus
from mofa_jax.data.synthetic.corpus import true_geometry
from mofa_jax.files.writing import locked
from mofa_jax.metrics import geometric_error
from mofa_jax.params import code_size
from mofa_jax.render_corpus import render_corpus
from mofa_jax.renderer import compiled_render

COUNTS = {"count": 5, "eval_count": 2}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(synthetic_corpus, "SHARD_SIZE", 2)
    monkeypatch.setattr(synthetic_corpus, "BATCH", 2)
    monkeypatch.setattr("mofa_jax.render_corpus.SHARD_SIZE", 2)


@pytest.fixture(scope="module")
def config(model_file):
    config = default.get_config()
    config.face_model = str(model_file)
    return config


@pytest.fixture(scope="module")
def corpus(config, tmp_path_factory):
    """A whole one, with vertices, losslessly stored."""
    folder = tmp_path_factory.mktemp("corpus") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        for module in (synthetic_corpus, sys.modules["mofa_jax.render_corpus"]):
            patch.setattr(module, "SHARD_SIZE", 2)
        patch.setattr(synthetic_corpus, "BATCH", 2)
        render_corpus(config, folder, **COUNTS, encoding="png", vertices=True)
    return folder


def read(folder, split) -> list[dict]:
    """The records as TFDS gives them, the image's bytes as they are stored."""
    builder = tfds.builder_from_directory(folder)
    skip = {"image": tfds.decode.SkipDecoding()}
    return list(builder.as_data_source(split, decoders=skip))


def assert_equal(corpus, other) -> None:
    for split in ("train", "eval"):
        for record, its in zip(read(corpus, split), read(other, split), strict=True):
            assert record.keys() == its.keys()
            for key in record:
                np.testing.assert_array_equal(record[key], its[key])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_it_opens_as_a_prepared_corpus(corpus):
    for split, count in (("train", 5), ("eval", 2)):
        source = open_corpus(corpus, split)
        assert len(source) == count
        names = [source[i]["name"] for i in range(count)]
        assert names == [f"synthetic {split} {i}" for i in range(count)]
        assert source[0]["image"].shape == (240, 240, 3)
        assert (source[0]["confidence"] == 1).all()
    assert files(corpus.parent) == {"whole"}


def test_a_records_code_rendered_again_gives_its_landmarks(corpus, tiny_model):
    for record in read(corpus, "train"):
        params = mofa_jax.FaceParams.from_code(jnp.asarray(record["code"]), tiny_model)
        screen = compiled_render(params, tiny_model, mofa_jax.Camera()).screen
        expected = np.asarray(screen)[tiny_model.landmarks]
        np.testing.assert_allclose(record["landmarks"], expected, atol=1e-3)
        box = np.concatenate([expected.min(axis=0), np.ptp(expected, axis=0)])
        np.testing.assert_allclose(record["box"], box, atol=2e-3)
        np.testing.assert_array_equal(record["to_photograph"], [[1, 0, 0], [0, 1, 0]])


def numpy_geometry(code, model) -> np.ndarray:
    """Eq. 2, turned into the camera's orientation by scipy."""
    from scipy.spatial.transform import Rotation

    model_arrays = {
        key: np.float64(value) for key, value in model.to_arrays().items() if "_" in key
    }
    shape, expression, reflectance = model.code_sizes
    alpha, delta = code[:shape], code[shape : shape + expression]
    turn = code[sum((shape, expression, reflectance)) :][:3]
    vertices = (
        model_arrays["mean_shape"]
        + model_arrays["shape_basis"] @ alpha
        + model_arrays["expression_basis"] @ delta
    )
    return vertices @ Rotation.from_rotvec(turn).as_matrix()


def test_the_true_geometry_is_that_of_numpy(corpus, tiny_model):
    for record in read(corpus, "eval"):
        expected = numpy_geometry(np.float64(record["code"]), tiny_model)
        found = true_geometry(record["code"], tiny_model)
        np.testing.assert_allclose(found, expected, atol=1e-5)
        assert record["vertices"].dtype == np.float16
        np.testing.assert_allclose(record["vertices"], expected, atol=1e-3)
        assert geometric_error(found, np.float32(record["vertices"])) < 0.1  # mm


def test_no_example_comes_twice(corpus):
    records = read(corpus, "train") + read(corpus, "eval")
    assert len({record["image"] for record in records}) == len(records) == 7
    codes = np.sort([record["code"][0] for record in records])
    assert all(a < b for a, b in pairwise(codes))


def test_the_same_settings_give_the_same_records(corpus, config, tmp_path):
    render_corpus(config, tmp_path / "again", **COUNTS, encoding="png", vertices=True)
    assert_equal(corpus, tmp_path / "again")


def test_another_seed_gives_other_records(corpus, config, tmp_path):
    other = config.copy_and_resolve_references()
    other.seed = 1
    render_corpus(other, tmp_path / "other", **COUNTS)
    codes = [
        {record["code"][0] for record in read(f, "train")} for f in (corpus, tmp_path / "other")
    ]
    assert not codes[0] & codes[1]


def test_a_longer_corpus_begins_with_the_shorter_one(corpus, config, tmp_path):
    render_corpus(config, tmp_path / "long", count=7, eval_count=2)
    short, long = read(corpus, "train"), read(tmp_path / "long", "train")
    for record, its in zip(short, long[:5], strict=True):
        np.testing.assert_array_equal(record["code"], its["code"])


@pytest.fixture(scope="module")
def of_another_model(tiny_model, config, tmp_path_factory):
    """A corpus whose codes mean nothing to the tiny model."""
    folder = tmp_path_factory.mktemp("other")
    tiny_model.replace(mean_shape=1.1 * tiny_model.mean_shape).save(folder / "other.npz")
    other = config.copy_and_resolve_references()
    other.face_model = str(folder / "other.npz")
    render_corpus(other, folder / "corpus", **COUNTS)
    return folder / "corpus"


@pytest.mark.parametrize("cache", ["off", "on"])
def test_codes_are_known_of_the_models_own_faces_beside_others(
    corpus, of_another_model, config, tiny_model, tmp_path, cache
):
    mixed = config.copy_and_resolve_references()
    mixed.batch_size, mixed.loss.code = 8, 1.0
    mixed.data.kind, mixed.data.device_cache = "tfds", cache
    mixed.data.mixture = f"{corpus}=0.5,{of_another_model}=0.5"
    feed = open_data(mixed, tiny_model, mofa_jax.Camera(), tmp_path).train
    batch = feed.take(1)
    feed.close()
    codes = np.asarray(batch.arrays["code"]).reshape(8, -1)
    landmarks = np.asarray(batch.arrays["landmarks"]).reshape(8, 68, 2)
    truth = {record["landmarks"].tobytes(): record["code"] for record in read(corpus, "train")}
    known = [points.tobytes() in truth for points in landmarks]
    assert sum(known) == 4
    for points, code, its in zip(landmarks, codes, known, strict=True):
        expected = truth[points.tobytes()] if its else np.full_like(code, np.nan)
        np.testing.assert_array_equal(code, expected)


def test_a_loss_of_codes_that_nothing_knows_is_refused(
    of_another_model, config, tiny_model, tmp_path
):
    wrong = config.copy_and_resolve_references()
    wrong.loss.code, wrong.data.kind, wrong.data.path = 1.0, "tfds", str(of_another_model)
    with pytest.raises(FeedError, match=r"loss\.code is 1, but only faces rendered with"):
        open_data(wrong, tiny_model, mofa_jax.Camera(), tmp_path)


def test_codes_of_another_camera_are_not_known(corpus, config, tiny_model, tmp_path):
    wrong = config.copy_and_resolve_references()
    wrong.loss.code, wrong.data.kind, wrong.data.path = 1.0, "tfds", str(corpus)
    with pytest.raises(FeedError, match="and the config's camera have true codes"):
        open_data(wrong, tiny_model, mofa_jax.Camera(distance=8.0), tmp_path)


def stop_after(monkeypatch, number: int, error: BaseException) -> None:
    """Lets `number` records be written, then fails as a disk or a user does."""

    class Failing(shards.ArrayRecordWriter):
        written = 0

        def write(self, record):
            if Failing.written == number:
                raise error
            Failing.written += 1
            super().write(record)

    monkeypatch.setattr(shards, "ArrayRecordWriter", Failing)


def stopped_run(monkeypatch, config, folder, options) -> None:
    """Renders a corpus and is stopped after its third record."""
    with monkeypatch.context() as patch:
        stop_after(patch, 3, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            render_corpus(config, folder, **options)


def test_stopped_and_resumed_equals_unbroken(corpus, config, tmp_path, monkeypatch):
    folder, options = tmp_path / "c", {**COUNTS, "encoding": "png", "vertices": True}
    stopped_run(monkeypatch, config, folder, options)
    assert not folder.exists()
    first = [f for f in (tmp_path / "c.incomplete").iterdir() if "array_record" in f.name]
    assert len(first) == 1  # the second shard was not whole
    stamp = first[0].stat().st_mtime_ns
    render_corpus(config, folder, **options)
    assert_equal(corpus, folder)
    assert (folder / first[0].name).stat().st_mtime_ns == stamp  # not rendered again
    assert files(tmp_path) == {"c"}


def test_the_command_waits_for_one_that_writes_the_same_corpus(config, tmp_path):
    with ThreadPoolExecutor(1) as pool, locked(tmp_path / ".c.lock"):
        waiting = pool.submit(render_corpus, config, tmp_path / "c", count=2, eval_count=1)
        with pytest.raises(TimeoutError):
            waiting.result(1)
        assert files(tmp_path) == {".c.lock"}
    assert waiting.result() is None and files(tmp_path) == {"c"}


def test_a_cut_shard_is_written_again(corpus, config, tmp_path, monkeypatch):
    folder, options = tmp_path / "c", {**COUNTS, "encoding": "png", "vertices": True}
    stopped_run(monkeypatch, config, folder, options)
    (shard,) = (f for f in (tmp_path / "c.incomplete").iterdir() if "array_record" in f.name)
    shard.write_bytes(shard.read_bytes()[:-1000])
    render_corpus(config, folder, **options)
    assert_equal(corpus, folder)


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("No space left on device")],
)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_that_opens(
    config, tmp_path, monkeypatch, error
):
    folder = tmp_path / "c"
    stop_after(monkeypatch, 3, error)
    with pytest.raises(CorpusWriteError, match=r"disk is full.*3 are missing") as caught:
        render_corpus(config, folder, **COUNTS)
    assert "\n" not in str(caught.value)
    assert not folder.exists() and not list((tmp_path / "c.incomplete").glob(".*.tmp"))
    for place in (folder, tmp_path / "c.incomplete"):
        with pytest.raises(CorpusError):
            open_corpus(place, "train")


def test_a_whole_corpus_is_left_alone(corpus, config):
    stamps = {file: file.stat().st_mtime_ns for file in corpus.iterdir()}
    render_corpus(config, corpus, **COUNTS, encoding="png", vertices=True)
    assert stamps == {file: file.stat().st_mtime_ns for file in corpus.iterdir()}


def test_other_settings_in_the_same_folder_are_refused(corpus, config):
    other = config.copy_and_resolve_references()
    other.data.synthetic.yaw = 30.0
    with pytest.raises(CorpusWriteError, match=r"other settings \(count, ranges\)") as caught:
        render_corpus(other, corpus, count=6, eval_count=2, encoding="png", vertices=True)
    assert str(corpus) in str(caught.value) and "\n" not in str(caught.value)


def test_a_folder_of_something_else_is_not_touched(config, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "letter.txt").write_text("Dear")
    with pytest.raises(CorpusWriteError, match="something else"):
        render_corpus(config, tmp_path / "c", **COUNTS)
    assert files(tmp_path / "c") == {"letter.txt"} and files(tmp_path) == {"c"}


def test_bad_numbers_are_refused(config, tmp_path):
    with pytest.raises(CorpusWriteError, match="'eval' is to have 0"):
        render_corpus(config, tmp_path / "c", count=5, eval_count=0)
    assert not files(tmp_path)


def test_pictures_have_the_cameras_size(corpus, config, tmp_path):
    """At half the size each face is the same one, with half the landmarks."""
    small = config.copy_and_resolve_references()
    small.camera.image_size = 120
    render_corpus(small, tmp_path / "c", **COUNTS)
    builder = tfds.builder_from_directory(tmp_path / "c")
    assert builder.info.features["image"].shape == (120, 120, 3)
    for record, its in zip(read(corpus, "train"), read(tmp_path / "c", "train"), strict=True):
        with Image.open(io.BytesIO(its["image"])) as picture:
            assert picture.size == (120, 120)
        np.testing.assert_allclose(its["landmarks"], record["landmarks"] / 2, atol=1e-3)


def test_a_changed_face_model_is_noticed(corpus, tiny_model):
    metadata = tfds.builder_from_directory(corpus).info.metadata
    assert tiny_model.is_model_of(metadata["face_model"])
    assert not tiny_model.is_model_of({})
    changed = tiny_model.replace(mean_shape=tiny_model.mean_shape.at[0, 0].add(1e-3))
    assert not changed.is_model_of(metadata["face_model"])


def test_codes_are_given_when_they_are_asked_for(corpus, tiny_model, caplog):
    source = open_corpus(corpus, "eval")
    assert source.has_code and "code" not in source[0]
    assert source.with_code()[0]["code"].shape == (code_size(tiny_model),)
    cam, changed = mofa_jax.Camera(), tiny_model.replace(mean_shape=2 * tiny_model.mean_shape)
    assert "code" in open_faces(corpus, "eval", tiny_model, cam)[0]
    assert not caplog.messages
    assert "code" not in open_faces(corpus, "eval", changed, cam)[0]
    assert "No geometric error" in caplog.text
    with pytest.raises(ValueError, match="whole: the faces have 240 x 240 px"):
        open_faces(corpus, "eval", tiny_model, cam.scaled(0.5))


def test_the_metadata_tells_how_it_was_made(corpus, config, tiny_model):
    metadata = tfds.builder_from_directory(corpus).info.metadata
    assert metadata["face_model"]["checksum"] == tiny_model.checksum()
    assert metadata["seed"] == config.seed and metadata["count"] == {"train": 5, "eval": 2}
    assert metadata["ranges"]["rotation"] == [12.0, 20.0, 8.0]
    assert metadata["backgrounds"] == {"train": "procedural", "eval": "procedural"}


def test_other_background_photographs_are_other_settings(config, tmp_path):
    for folder, blue in (("a", 0), ("b", 255)):
        for i in range(60):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.new("RGB", (100, 100), (i, 0, blue)).save(tmp_path / folder / f"{i}.png")
    mine = config.copy_and_resolve_references()
    mine.camera.image_size, mine.data.synthetic.num_backgrounds = 60, 2
    mine.data.synthetic.backgrounds = str(tmp_path / "a")
    render_corpus(mine, tmp_path / "c", count=1, eval_count=1)
    mine.data.synthetic.backgrounds = str(tmp_path / "b")
    with pytest.raises(CorpusWriteError, match=r"\(backgrounds\)"):
        render_corpus(mine, tmp_path / "c", count=1, eval_count=1)


@pytest.mark.slow
def test_the_command_writes_a_corpus_and_says_bad_input_in_a_sentence(config, tmp_path):
    def run(*arguments, output="c"):
        command = [sys.executable, "-m", "mofa_jax.render_corpus", "--config=configs/default.py"]
        root = Path(__file__).parents[1]
        return subprocess.run(
            [*command, f"--output={tmp_path / output}", "--count=3", "--eval_count=2", *arguments],
            cwd=root,
            capture_output=True,
            text=True,
        )

    done = run(f"--config.face_model={config.face_model}")
    assert done.returncode == 0, done.stderr
    assert "3 faces to train on, 2 held out" in done.stdout and len(read(tmp_path / "c", "train"))
    run(f"--config.face_model={config.face_model}", output="again")
    for file in (tmp_path / "c").iterdir():  # another process writes the same bytes
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()
    failed = run("--config.face_model=nothing.npz")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert failed.stderr.strip().splitlines()[-1].startswith("error: nothing.npz: no such face")
