"""Meshes for NoW and REALY: read back as their official evaluations read them."""

import dataclasses
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from skimage.data import astronaut

import mofa_jax
from configs import compact
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import Checkpoints
from mofa_jax.encoders import encoder_from_config
from mofa_jax.errors import InputError
from mofa_jax.export_benchmark import _face_box, export_benchmark
from mofa_jax.inference import Predictor
from mofa_jax.params import code_size
from mofa_jax.training.initial_weights import random_weights

ROOT = Path(__file__).resolve().parents[1]
SIZE = 60  # px of a crop
SEVEN = [36, 39, 42, 45, 33, 48, 54]  # as NoW's picture of its landmarks numbers them
SUBJECT = "FaMoS_180424_03335_TA"
LINES = [
    f"{SUBJECT}/multiview_neutral/IMG_0101.jpg",  # with a box
    f"{SUBJECT}/selfie/IMG_0102.jpg",  # without one, the face is found
    f"{SUBJECT}/selfie/IMG_0103.jpg",  # without one and without a face
    f"{SUBJECT}/selfie/IMG_0104.jpg",  # not there
]


@pytest.fixture(scope="module")
def predict(tiny_model):
    """An encoder whose shape and expression coefficients are all the crop's mean color."""

    @jax.jit
    def encode(weights, images):
        code = jnp.zeros(code_size(tiny_model)).at[: tiny_model.geometry_modes.shape[0]].set(1.0)
        return jnp.mean(images, axis=(1, 2, 3))[:, None] * code[None, :]

    config = ConfigDict(compact.get_config())
    return Predictor(tiny_model, mofa_jax.Camera().scaled(SIZE / 240), config, 7, None, encode)


def write_box(path, **sides) -> None:
    """A pickled dictionary in an .npy file, of Python 2 as NoW's are."""
    path.parent.mkdir(parents=True)
    box = np.empty((), object)
    box[()] = {key: np.int64(value) for key, value in sides.items()}
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump(box, file, protocol=2)


@pytest.fixture
def now(tmp_path):
    """NoW's folder of four photographs, and its list."""
    images = tmp_path / "final_release_version"
    gray = np.full((200, 200, 3), 90, np.uint8)
    for line, picture in zip(LINES, (astronaut(), astronaut(), gray), strict=False):
        path = images / "iphone_pictures" / line
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture[..., ::-1])
    box = images / "detected_face" / LINES[0].replace(".jpg", ".npy")
    write_box(box, left=400, top=10, right=500, bottom=110)  # a corner, not the face
    (tmp_path / "imagepathsvalidation.txt").write_text("\n".join(LINES) + "\n")
    return images, tmp_path / "imagepathsvalidation.txt"


def read_obj(path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices [N, 3] and triangles [F, 3] from 0: of lines `v x y z` and `f a b c` alone."""
    lines = [line.split() for line in path.read_text().splitlines() if line[0] != "#"]
    assert all(len(line) == 4 and line[0] in "vf" for line in lines)  # no vertex colors
    vertices = [line[1:] for line in lines if line[0] == "v"]
    triangles = [line[1:] for line in lines if line[0] == "f"]
    return np.array(vertices, float), np.array(triangles, int) - 1


def geometry(model, value: float, expression: bool) -> np.ndarray:
    """Eq. 2 in NumPy with equal coefficients, mm."""
    mean, shape, smile = (
        np.asarray(array, np.float64)
        for array in (model.mean_shape, model.shape_basis, model.expression_basis)
    )
    return 100 * (mean + value * (shape.sum(-1) + expression * smile.sum(-1)))


def mean_color(box) -> float:
    """Of the square that belongs to a box (docs/conventions.md, Crops), about."""
    x, y, w, _ = box
    side, cx, cy = 1.285 * w, x + w / 2, y + 0.6 * w
    rows, columns = (np.arange(c - side / 2, c + side / 2).round().astype(int) for c in (cy, cx))
    picture = astronaut() / 255
    return picture[np.clip(rows, 0, 511)][:, np.clip(columns, 0, 511)].mean()


def test_now_gets_neutral_whole_meshes_and_seven_landmarks(
    now, predict, tiny_model, tmp_path, capsys
):
    images, lines = now
    output = tmp_path / "out"
    assert export_benchmark(predict, "now", images, output, lines) == 2
    written = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.*"))
    stems = [line.removesuffix(".jpg") for line in LINES[:2]]
    results = [f"{stem}{end}" for stem in stems for end in (".npy", ".obj")]
    assert written == [*results, "settings.json"]
    value = mean_color((400, 10, 100, 100))
    vertices, triangles = read_obj(tmp_path / "out" / f"{stems[0]}.obj")
    expected = geometry(tiny_model, value, expression=False)
    np.testing.assert_allclose(vertices, expected, atol=0.1)
    assert np.abs(expected - geometry(tiny_model, value, expression=True)).max() > 1
    np.testing.assert_array_equal(triangles, tiny_model.triangles)
    landmarks = np.load(tmp_path / "out" / f"{stems[0]}.npy")
    assert landmarks.shape == (7, 3)
    seven = vertices[np.asarray(tiny_model.landmarks)[SEVEN]]
    np.testing.assert_allclose(landmarks, seven, atol=1e-3)
    found, _ = read_obj(tmp_path / "out" / f"{stems[1]}.obj")
    assert np.abs(found - vertices).max() > 0.05  # elsewhere the colors are others
    printed = capsys.readouterr()
    assert "IMG_0103.jpg: no face was found" in printed.err
    assert "IMG_0104.jpg: there is no such file" in printed.err
    assert "2 of 4 photographs have a mesh" in printed.out


@pytest.mark.parametrize("knows_moved", [True, False])
def test_an_encoder_of_the_detectors_squares_gets_the_detectors_box(tmp_path, knows_moved):
    """Of the same face as the benchmark's, if it finds that."""
    found = np.array([[300.0, 300, 90, 90], [105, 95, 100, 100]], np.float32)
    given, elsewhere = {"left": 90, "top": 80, "right": 210, "bottom": 230}, {
        "left": 500, "top": 0, "right": 600, "bottom": 90,
    }  # fmt: skip
    detector = SimpleNamespace(detect=lambda image: found)
    boxes = []
    for name, sides in (("a", given), ("b", elsewhere)):
        write_box(tmp_path / name / "box.npy", **sides)
        prediction = SimpleNamespace(photograph="a.jpg", box=tmp_path / name / "box.npy")
        boxes.append(_face_box(prediction, None, detector, knows_moved).tolist())
    assert boxes == [[90, 80, 120, 150] if knows_moved else [105, 95, 100, 100], [500, 0, 100, 90]]


def test_the_same_command_again_writes_only_what_is_missing(now, predict, tmp_path):
    images, lines = now
    export_benchmark(predict, "now", images, tmp_path / "out", lines)
    first, second = (tmp_path / "out" / line.replace(".jpg", ".obj") for line in LINES[:2])
    first.write_text("kept")
    second.unlink()
    export_benchmark(predict, "now", images, tmp_path / "out", lines)
    assert first.read_text() == "kept" and read_obj(second)


def test_meshes_of_another_encoder_or_fit_do_not_get_into_one_folder(now, predict, tmp_path):
    images, lines = now
    export_benchmark(predict, "now", images, tmp_path / "out", lines)
    with pytest.raises(InputError, match="its meshes are of another refine_steps; give another"):
        export_benchmark(predict, "now", images, tmp_path / "out", lines, refine_steps=1)
    other = dataclasses.replace(predict, weights={"kernel": np.ones(3)})
    with pytest.raises(InputError, match="its meshes are of another encoder"):
        export_benchmark(other, "now", images, tmp_path / "out", lines)


def test_meshes_of_another_folder_are_not_taken_for_these(predict, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), astronaut()[..., ::-1])
    export_benchmark(predict, "realy", tmp_path / "one", tmp_path / "out")
    with pytest.raises(InputError, match="its meshes are of another folder; give another"):
        export_benchmark(predict, "realy", tmp_path / "two", tmp_path / "out")


def test_meshes_of_another_list_bind_the_folder_too(now, predict, tmp_path):
    images, lines = now
    first, second = lines.read_text().splitlines()[:2]
    (tmp_path / "first.txt").write_text(first)
    (tmp_path / "second.txt").write_text(second)
    export_benchmark(predict, "now", images, tmp_path / "out", tmp_path / "first.txt")
    with pytest.raises(InputError, match="its meshes are of another refine_steps"):
        export_benchmark(predict, "now", images, tmp_path / "out", tmp_path / "second.txt", 1)


def test_meshes_of_nobody_knows_what_are_not_mixed_with(now, predict, tmp_path):
    images, lines = now
    export_benchmark(predict, "now", images, tmp_path / "out", lines)
    for content in (None, "[1, 2]", "{"):
        (tmp_path / "out" / "settings.json").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "out" / "settings.json").write_text(content)
        with pytest.raises(InputError, match="what the meshes here were made by cannot be read"):
            export_benchmark(predict, "now", images, tmp_path / "out", lines)


def test_settings_of_a_call_that_wrote_no_mesh_bind_nobody(now, predict, tmp_path):
    images, lines = now
    export_benchmark(predict, "now", tmp_path / "nowhere", tmp_path / "out", lines)
    assert export_benchmark(predict, "now", images, tmp_path / "out", lines, refine_steps=1) == 2
    (tmp_path / "nobody").mkdir()
    cv2.imwrite(str(tmp_path / "nobody" / "1.png"), np.full((90, 90, 3), 90, np.uint8))
    for steps in (0, 1):
        realy = tmp_path / "nobody", tmp_path / "realy"
        assert export_benchmark(predict, "realy", *realy, refine_steps=steps) == 1


def test_realy_gets_one_topology_with_the_expression(predict, tiny_model, tmp_path):
    images = tmp_path / "REALY_image"
    images.mkdir()
    for name in ("12.png", "12_left.png"):
        cv2.imwrite(str(images / name), astronaut()[..., ::-1])
    assert export_benchmark(predict, "realy", images, tmp_path / "out") == 0
    meshes = sorted((tmp_path / "out" / "prediction").iterdir())
    assert [mesh.name for mesh in meshes] == ["12.obj", "12_left.obj"]
    template, triangles = read_obj(tmp_path / "out" / "template" / "mofa_jax.obj")
    np.testing.assert_allclose(template, geometry(tiny_model, 0.0, True), atol=1e-3)
    vertices, same = read_obj(meshes[0])
    np.testing.assert_array_equal(same, triangles)
    modes = geometry(tiny_model, 1.0, True) - template
    coefficient = (modes * (vertices - template)).sum() / (modes**2).sum()
    assert 0.1 < coefficient < 0.9
    np.testing.assert_allclose(vertices, template + coefficient * modes, atol=2e-3)


@pytest.mark.parametrize("line", ["IMG_0101.jpg", "../a/b.jpg", "/a/b.jpg"])
def test_a_list_of_something_else_is_refused(now, predict, tmp_path, line):
    lines = tmp_path / "list.txt"
    lines.write_text(line + "\n")
    with pytest.raises(InputError, match=r"expected subject/challenge/name\.jpg"):
        export_benchmark(predict, "now", now[0], tmp_path / "out", lines)


def test_a_box_that_would_run_code_is_not_opened(now, predict, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    images, lines = now
    box = images / "detected_face" / LINES[0].replace(".jpg", ".npy")
    header = box.read_bytes()[:128]
    box.write_bytes(header + pickle.dumps(Evil(), protocol=2))
    assert export_benchmark(predict, "now", images, tmp_path / "out", lines) == 3
    assert "which could run code" in capsys.readouterr().err and not (tmp_path / "ran").exists()


@pytest.fixture
def run(tiny_model, tmp_path):
    """A run whose encoder gives the zero code."""
    folder, config = tmp_path / "run", compact.get_config()
    folder.mkdir()
    tiny_model.save(folder / "model.npz")
    config.face_model, config.camera.image_size = str(folder / "model.npz"), SIZE
    encoder = encoder_from_config(config.encoder, code_size(tiny_model))
    weights = jax.tree.map(np.asarray, random_weights(encoder, 0, make_camera(config.camera)))
    with Checkpoints(folder, 1) as checkpoints:
        information = {"config": config.to_dict(), "face_model": tiny_model.identity()}
        checkpoints.save(3, {"weights": weights}, information)
    return folder


@pytest.mark.slow
def test_the_command_says_how_many_have_no_mesh(now, run, tiny_model, tmp_path):
    images, lines = now
    arguments = [f"--images={images}", f"--list={lines}", f"--output={tmp_path / 'out'}"]
    arguments += [f"--workdir={run}"]
    command = [sys.executable, "-m", "mofa_jax.export_benchmark", "--benchmark=now", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: 2 photographs have no mesh")
    mesh, _ = read_obj(tmp_path / "out" / LINES[1].replace(".jpg", ".obj"))
    np.testing.assert_allclose(mesh, geometry(tiny_model, 0.0, True), atol=1e-3)
