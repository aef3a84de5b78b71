"""The evaluation of an encoder: its errors are NumPy's, nothing is dropped, files whole or none."""

import csv
import dataclasses
import errno
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from ml_collections import ConfigDict
from skimage.data import astronaut

import mofa_jax
from configs import compact
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import Checkpoints
from mofa_jax.data.faces.crop import crop_from_box
from mofa_jax.data.faces.detectors import DetectorError
from mofa_jax.data.sources.landmark_files import FaceLandmarks
from mofa_jax.encoders import encoder_from_config
from mofa_jax.errors import InputError
from mofa_jax.evaluation import results
from mofa_jax.evaluation.faces import measure
from mofa_jax.evaluation.photographs import CROPS, PhotographFaces, _crop_of
from mofa_jax.evaluation.results import evaluate_encoder
from mofa_jax.evaluation.statistics import by_pattern, by_yaw, describe
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.inference import Predictor
from mofa_jax.params import code_size
from mofa_jax.training.initial_weights import random_weights
from mofa_jax.training.watch import Watch

ROOT = Path(__file__).resolve().parents[1]
NUM_FACES, DAMAGED = 19, 5
SIZE = 60  # px of a crop
VIEW = (1087.5 * SIZE / 240, (SIZE / 2, SIZE / 2))  # focal length and principal point


def drawn(code, model):
    """NumPy's rendering in such a crop."""
    return oracle.render(code, oracle.model_arrays(model), *VIEW)


class Faces:
    """Gray crops: the yaw that `yaw_of_gray` reads from face i is 4 i degrees; one is damaged."""

    def __init__(self, model, with_code: bool = False):
        screen = drawn(np.zeros(code_size(model)), model)["screen"]
        self._points = screen[np.asarray(model.landmarks)] + (3, -4)
        self._size, self._with_code = code_size(model), with_code

    def __len__(self):
        return NUM_FACES

    def label_of(self, i):
        return f"record {i}"

    def __getitem__(self, i):
        if i == DAMAGED:
            raise OSError(f"record {i}: cut short")
        rng = np.random.default_rng(i)
        example = {
            "image": np.full((SIZE, SIZE, 3), 4 * i, np.uint8),
            "landmarks": (self._points + rng.normal(size=(68, 2))).astype(np.float32),
            "confidence": np.full(68, 0 if i == 1 else 1, np.float32),
            "name": f"{'ab'[i % 2]}-{i}",
        }
        if self._with_code:
            example["code"] = (0.3 * rng.normal(size=self._size)).astype(np.float32)
        return example


@pytest.fixture(scope="module")
def predict(tiny_model):
    """An encoder that sees the gray level of a crop alone, and takes it for degrees of yaw."""
    yaw = sum(tiny_model.code_sizes) + 1

    @jax.jit
    def yaw_of_gray(weights, images):
        codes = jnp.zeros((len(images), code_size(tiny_model)))
        return codes.at[:, yaw].set(jnp.radians(255 * images[:, 0, 0, 0]))

    config = ConfigDict(compact.get_config())
    cam = mofa_jax.Camera().scaled(SIZE / 240)
    return Predictor(tiny_model, cam, config, 7, None, yaw_of_gray)


@pytest.fixture(scope="module")
def evaluated(predict, tiny_model, tmp_path_factory):
    """The folder of an evaluation of two sets, one with true codes."""
    sets = {"plain": Faces(tiny_model), "rendered": Faces(tiny_model, with_code=True)}
    output = tmp_path_factory.mktemp("evaluation") / "out"
    evaluate_encoder(predict, sets, output, group="([ab])-", settings={"split": "eval"})
    return output


def rows(folder) -> list[dict]:
    with open(folder / "faces.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def nme_box(drawn_points, points) -> float:
    """Mean distance of the 68 over the root of the area of the annotated ones' box, %."""
    width, height = np.ptp(points, axis=0)
    distance = np.linalg.norm(drawn_points - points, axis=1)
    return 100 * distance.mean() / np.sqrt(width * height)


def errors_of(example, code, model) -> dict[str, float]:
    """The errors of a face in NumPy, float64."""
    m, out, factor = oracle.model_arrays(model), drawn(code, model), 240 / SIZE
    errors = {"photometric_error": oracle.photometric(out, example["image"] / 255.0)[1]}
    if example["confidence"].any():
        points = example["landmarks"].astype(float)
        _, distance = oracle.landmark(out, m, points, example["confidence"])
        errors["landmark_error"] = factor * distance
        errors["nme"] = 100 * distance / np.linalg.norm(points[36] - points[45])
        errors["nme_box"] = nme_box(out["screen"][m["landmarks"]], points)
        screen = out["screen"][m["landmarks"][oracle.LOSS_LANDMARKS]]
        known = points[oracle.LOSS_LANDMARKS]
        errors["scale_bias"] = np.sqrt(np.var(screen, 0).sum() / np.var(known, 0).sum())
        errors["offset_x"], errors["offset_y"] = factor * (screen.mean(0) - known.mean(0))
        for part, pairs in (("eye", oracle.FACING_LIDS), ("mouth", oracle.FACING_LIPS)):
            at = out["screen"][m["landmarks"]]
            further = [
                np.linalg.norm(at[a] - at[b]) - np.linalg.norm(points[a] - points[b])
                for a, b in pairs
            ]
            errors[f"{part}_opening_bias"] = factor * np.mean(further)
    if "code" in example:
        a, b = (drawn(c, model)["vertices"] for c in (code, example["code"]))
        a, b = a - a.mean(0), b - b.mean(0)
        scale = (a * b).sum() / (a * a).sum()
        errors["geometric_error"] = 100 * np.linalg.norm(scale * a - b, axis=1).mean()
    return errors


@pytest.mark.parametrize("corpus", ["plain", "rendered"])
def test_errors_of_every_face_are_those_of_numpy(evaluated, tiny_model, corpus):
    faces = Faces(tiny_model, corpus == "rendered")
    found = [row for row in rows(evaluated) if row["corpus"] == corpus]
    assert [int(row["index"]) for row in found] == list(range(NUM_FACES))
    for i in (0, 1, 4, 13, 18):
        code = np.zeros(code_size(tiny_model))
        code[sum(tiny_model.code_sizes) + 1] = np.radians(4 * i)
        expected, row = errors_of(faces[i], code, tiny_model), found[i]
        for key in results.UNITS:
            assert (row[key] != "") == (key in expected)
        for key, value in expected.items():
            assert float(row[key]) == pytest.approx(value, rel=1e-3, abs=1e-3)
        true = faces[i]["code"] if corpus == "rendered" else code
        forward = oracle.rotation(true[-33:-30]).T @ [0, 0, 1]  # of the face, seen from the camera
        assert float(row["yaw"]) == pytest.approx(
            np.degrees(np.arctan2(-forward[0], forward[2])), abs=1e-3
        )


def test_a_face_that_cannot_be_read_is_counted_and_named_and_the_others_go_on(evaluated):
    plain, _ = (row for row in rows(evaluated) if row["failed"])
    assert (plain["name"], plain["failed"]) == ("record 5", "record 5: cut short")
    content = json.loads((evaluated / "evaluation.json").read_text())
    assert content["all"]["num_faces"] == 2 * NUM_FACES and content["all"]["num_failed"] == 2
    reasons = [(face["corpus"], face["reason"]) for face in content["failed"]]
    assert reasons == [("plain", "record 5: cut short"), ("rendered", "record 5: cut short")]
    assert "record 5: cut short" in (evaluated / "report.html").read_text()


def test_statistics_are_those_of_numpy_over_the_table(evaluated):
    content = json.loads((evaluated / "evaluation.json").read_text())
    table = rows(evaluated)
    for key, error in content["all"]["errors"].items():
        values = np.array([float(row[key]) for row in table if row[key]])
        assert error["count"] == len(values)
        assert error["mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert error["median"] == pytest.approx(np.median(values), rel=1e-6)
        assert error["standard_deviation"] == pytest.approx(values.std(), rel=1e-5)
        assert error["quantiles"]["0.9"] == pytest.approx(np.quantile(values, 0.9), rel=1e-6)
    assert content["all"]["errors"]["geometric_error"]["count"] == NUM_FACES - 1


@pytest.mark.parametrize(("group", "reason"), [("(", "no regular expression"), ("a", "0 groups")])
def test_a_wrong_group_is_refused_before_anything_is_measured(predict, tmp_path, group, reason):
    with pytest.raises(InputError, match=f"group '.*' .*{reason}"):
        evaluate_encoder(predict, {"none": None}, tmp_path / "out", group=group)
    assert not (tmp_path / "out").exists()


def test_groups_hold_every_face_once(evaluated):
    groups = json.loads((evaluated / "evaluation.json").read_text())["groups"]
    assert set(groups) == {"yaw, degrees", "corpus", "name (([ab])-)"}
    for parts in groups.values():
        assert sum(part["num_faces"] for part in parts.values()) == 2 * NUM_FACES
    yaws = [abs(float(row["yaw"])) for row in rows(evaluated) if row["yaw"]]
    ranges = {"0-15": (0, 15), "15-30": (15, 30), "30-60": (30, 60), "60+": (60, 180)}
    for label, (low, high) in ranges.items():
        count = sum(low <= yaw < high for yaw in yaws)
        assert count and groups["yaw, degrees"][label]["num_faces"] == count
    assert groups["yaw, degrees"]["unknown"]["num_failed"] == 2
    assert groups["name (([ab])-)"][""]["num_faces"] == 2  # the damaged ones


def test_the_report_holds_its_pictures_and_says_where_it_comes_from(evaluated):
    page = (evaluated / "report.html").read_text()
    assert page.count("<img src='data:image/jpeg;base64,") == 15
    assert page.count("<img src='data:image/webp;base64,") == 3 == page.count("<img") - 15
    assert page.count("<svg") == 1 and "<script" not in page and "<link" not in page
    content = json.loads((evaluated / "evaluation.json").read_text())
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    assert content["commit"] is None or content["commit"].rstrip("+") == head.stdout.strip()
    assert content["step"] == 7 and content["seed"] == 0 and content["data"]["split"] == "eval"
    assert content["versions"]["jax"] == jax.__version__ and content["hardware"]["devices"]
    assert shlex.split(content["command"]) == sys.orig_argv


def test_the_bundled_encoder_by_its_name_has_no_faces_of_its_own():
    done = command("--workdir=open")
    assert done.returncode == 1
    assert "error: no faces are given, and those that the bundled encoder was" in done.stderr


def test_no_face_at_all_is_refused_and_nothing_is_written(predict, tiny_model, tmp_path):
    class Broken(Faces):
        def __getitem__(self, i):
            raise OSError(f"record {i}: cut short")

    with pytest.raises(InputError, match=r"none of 19 faces .*record 0: cut short"):
        evaluate_encoder(predict, {"broken": Broken(tiny_model)}, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_a_full_disk_leaves_the_files_of_before(tmp_path, monkeypatch):
    files = {"a.json": "old", "b.csv": "old", "c.html": "old"}
    results._write_all(tmp_path, files)
    write = Path.write_text

    def full(path, text, **options):
        if text == "too much":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, text, **options)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"):
        results._write_all(tmp_path, {"a.json": "new", "b.csv": "new", "c.html": "too much"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == files


def test_drawings_of_an_evaluation_before_go(tmp_path):
    results._write_all(tmp_path, {"training.svg": "of the run before", "report.html": "old"})
    results._write_all(tmp_path, {"report.html": "of a run without held-out faces"})
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_faces_that_fail_in_the_decoder_say_what_is_missing(predict, tiny_model):
    nothing = jax.jit(
        lambda weights, images: jnp.full((len(images), code_size(tiny_model)), jnp.nan)
    )
    lost = dataclasses.replace(predict, _encode=nothing)
    faces = list(measure(lost, {"plain": Faces(tiny_model)}))
    assert len(faces) == NUM_FACES and all(face.failed for face in faces)
    assert faces[0].failed == "a-0: photometric_error, landmark_error not finite"
    assert set(by_yaw(faces)) == {"unknown"}
    assert set(by_pattern(faces, re.compile("^(.)-"))) == {"a", "b", ""}


def test_describe_of_one_value_is_that_value():
    assert describe(np.array([2.0]))["quantiles"]["0.99"] == 2.0


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A portrait whose landmarks are known, one without, one without a face, a damaged file."""
    folder, portrait = tmp_path_factory.mktemp("photographs"), astronaut()
    for name in ("known.png", "unknown.png"):
        cv2.imwrite(str(folder / name), portrait[..., ::-1])
    cv2.imwrite(str(folder / "empty.png"), np.full((200, 200, 3), 90, np.uint8))
    (folder / "damaged.png").write_bytes((folder / "known.png").read_bytes()[:20_000])
    content = {"files": ["known.png"], "landmarks": [known_points().tolist()]}
    (folder / "landmarks.json").write_text(json.dumps(content))
    return folder


def known_points():
    """About the astronaut's face, in 68 places of no meaning, pixel centers at integers."""
    return np.random.default_rng(0).uniform((180, 80), (265, 180), (68, 2))


def test_photographs_are_cut_out_in_each_way_and_those_without_landmarks_count_too(
    photographs, predict
):
    found, haar, about = (PhotographFaces(photographs, predict, c) for c in CROPS)
    names = [found.label_of(i) for i in range(len(found))]
    assert names == ["damaged.png", "empty.png", "known.png", "unknown.png"]
    for source in (found, haar, about):
        with pytest.raises(InputError, match=r"damaged\.png: the image is damaged"):
            source[0]
        assert (source[2]["confidence"] == 1).all()
    for source in (found, haar):
        with pytest.raises(InputError, match=r"empty\.png: no face was found"):
            source[1]
        assert not source[3]["confidence"].any()
        np.testing.assert_array_equal(source[2]["image"], source[3]["image"])
    with pytest.raises(InputError, match=r"unknown\.png: none of its landmarks"):
        about[3]


def test_landmarks_that_have_no_square_name_their_photograph(photographs, predict, tmp_path):
    folder = shutil.copytree(photographs, tmp_path / "faces")
    points = np.full((68, 2), np.nan)
    points[30] = 200, 100
    content = {"files": ["known.png"], "landmarks": [points.tolist()]}
    (folder / "landmarks.json").write_text(json.dumps(content))
    source = PhotographFaces(folder, predict, "landmarks")
    with pytest.raises(InputError, match=r"known\.png: a crop needs at least 2 finite landmarks"):
        source[2]


def test_a_nose_that_the_detector_takes_for_a_face_is_not_the_face(photographs, predict):
    points = (known_points() + 0.5).astype(np.float32)
    face = FaceLandmarks(points, np.ones(68, np.float32))
    whole, nose = ((*points.mean(0) - side / 2, side, side) for side in (110.0, 30.0))
    shifted = (whole[0] + 10, whole[1], *whole[2:])
    beside = (400.0, 400.0, 110.0, 110.0)
    crops = [crop_from_box(astronaut(), box) for box in (nose, shifted, beside)]
    assert _crop_of(face, crops) is crops[1]
    assert _crop_of(face, crops[2:]) is None


def test_landmarks_are_found_beside_the_photographs_of_a_glob(photographs, predict, tmp_path):
    bracketed = shutil.copytree(photographs, tmp_path / "faces [2020]")
    for pattern, count in ((f"{photographs}/k*.png", 1), (bracketed, 4)):
        source = PhotographFaces(pattern, predict, "landmarks")
        labels = [source.label_of(i) for i in range(len(source))]
        assert len(source) == count
        assert (source[labels.index("known.png")]["confidence"] == 1).all()


def test_a_landmark_file_of_other_photographs_is_refused(photographs, predict, tmp_path):
    content = {"files": ["other.png"], "landmarks": [known_points().tolist()]}
    (tmp_path / "landmarks.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"has landmarks of none of the 4 photographs"):
        PhotographFaces(photographs, predict, landmark_file=tmp_path / "landmarks.json")


def test_an_opencv_without_cascades_ends_the_evaluation_at_once(photographs, predict, monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DetectorError, match="no Haar cascades"):
        list(measure(predict, {"": PhotographFaces(photographs, predict, "haar")}))


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """A run whose encoder gives the zero code, with two logged evaluations."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model.save(folder / "model.npz")
    config = compact.get_config()
    config.face_model, config.camera.image_size = str(folder / "model.npz"), SIZE
    cam = make_camera(config.camera)
    encoder = encoder_from_config(config.encoder, code_size(tiny_model))
    weights = jax.tree.map(np.asarray, random_weights(encoder, 0, cam))
    with Checkpoints(folder, 1) as checkpoints:
        information = {"config": config.to_dict(), "face_model": tiny_model.identity()}
        checkpoints.save(3, {"weights": weights}, information)
    watch = Watch(folder, config, lambda weights, examples: examples["image"][0], {})
    with watch.progress(0, 3):
        for step, error in ((0, 9.0), (3, 4.5)):
            errors = {"landmark_error": error, "scale_bias": 0.9, "num_faces": 2, "num_failed": 0}
            watch.evaluation(step, errors)
    return folder


def command(*arguments) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "mofa_jax.evaluate", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_the_command_evaluates_photographs_with_landmarks(run, photographs, tiny_model):
    done = command(f"--workdir={run}", f"--photographs={photographs}", "--crop=landmarks")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "4 faces, 3 failed; see" in done.stdout and "damaged.png" in done.stderr
    output = run / "evaluation"
    assert {path.name for path in output.iterdir()} == {
        "evaluation.json",
        "faces.csv",
        "report.html",
        "cumulative_errors.svg",
        "training.svg",
    }
    points = known_points() + 0.5
    low, high = points.min(axis=0), points.max(axis=0)  # docs/conventions.md, Crops
    larger = (high - low).max()
    corner = (low + high) / 2 - (0, 0.094 * larger) - 1.466 * larger / 2
    annotated = 240 * (points - corner) / (1.466 * larger)
    m = oracle.model_arrays(tiny_model)
    out = oracle.render(np.zeros(code_size(tiny_model)), m)
    _, distance = oracle.landmark(out, m, annotated, np.ones(68))
    (row,) = (row for row in rows(output) if not row["failed"])
    assert row["name"] == "known.png" and float(row["yaw"]) == 0
    assert float(row["landmark_error"]) == pytest.approx(distance, rel=1e-3)
    screen = out["screen"][m["landmarks"]]
    spread, known = (np.var(x[oracle.LOSS_LANDMARKS], 0).sum() for x in (screen, annotated))
    assert float(row["scale_bias"]) == pytest.approx(np.sqrt(spread / known), rel=1e-3)
    content = json.loads((output / "evaluation.json").read_text())
    assert content["step"] == 3 and "mofa_jax.evaluate" in content["command"]


def test_evaluations_of_training_are_read_back_from_the_log_even_if_it_is_cut_short(run, tmp_path):
    assert logged_evaluations(run)["landmark_error"] == {0: 9.0, 3: 4.5}
    assert logged_evaluations(run)["scale_bias"] == pytest.approx({0: 0.9, 3: 0.9})
    (log,) = run.glob("events*")
    (tmp_path / log.name).write_bytes(log.read_bytes()[:-10])
    cut = logged_evaluations(tmp_path)
    assert cut["landmark_error"] == {0: 9.0, 3: 4.5} and "num_failed" in cut
    assert 3 not in cut["num_failed"]


@pytest.mark.slow
def test_the_encoder_in_the_box_without_faces_is_one_sentence(tmp_path):
    done = command(f"--output={tmp_path / 'out'}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: no faces are given")
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
