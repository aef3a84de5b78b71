"""The bundled encoder: a photograph in, that person's face out, with nothing else given."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

import mofa_jax
from mofa_jax.data.faces.crop import invert_affine, transform_points
from mofa_jax.data.faces.detectors import TwoDetectors
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.encoders.trained import ASSET, TrainedEncoderError, read_trained, write_trained
from mofa_jax.figures import overlay_on_photograph
from mofa_jax.inference import Predictor
from mofa_jax.reconstruct import reconstruct_all
from mofa_jax.reconstruction.pictured_face import FaceLoader
from mofa_jax.renderer import compiled_render

pytestmark = pytest.mark.slow  # compiles refinement and pictures
ROOT = Path(__file__).resolve().parents[1]

# The astronaut's eyes' outer and inner corners and mouth's corners, read off the photograph by eye.
POINTS = {
    36: (193, 102),
    39: (212, 103),
    42: (238, 104),
    45: (259, 105),
    48: (203, 140),
    54: (247, 139),
}


@pytest.fixture(scope="module")
def predict():
    return mofa_jax.load_for_inference()


def landmarks_of(face, predict):
    """The 68 landmarks in the photograph's pixels."""
    code = np.asarray(face.params.to_code())[None]
    return transform_points(face.crop.to_photograph, predict.landmarks(code)[0])


def test_it_is_small_and_made_for_the_model_in_the_box():
    _, information = read_trained()
    assert ASSET.stat().st_size < 12e6
    assert information["face_model"] == mofa_jax.load_face_model("open").identity()
    data = information["config"]["data"]
    assert not any(data[key] for key in ("path", "mixture", "cache", "landmarks"))


@pytest.mark.parametrize("half_turns", [0, 1])
def test_a_face_that_does_not_resemble_its_photograph_is_named(
    predict, tmp_path, monkeypatch, capsys, half_turns
):
    picture = np.rot90(skimage.data.astronaut(), 2 * half_turns)
    box = np.array([170.0, 65.0, 112.0, 112.0])  # the face's in the upright photograph
    if half_turns:
        box[:2] = 512 - box[:2] - box[2:]
    Image.fromarray(picture).save(tmp_path / "scan.png")
    monkeypatch.setattr(TwoDetectors, "detect", lambda *_: box[None])
    reconstruct_all(predict, [tmp_path / "scan.png"], tmp_path / "out")
    doubt = "scan.png: face 0 hardly resembles the picture; look at the result: the photo"
    assert (doubt in capsys.readouterr().err) == bool(half_turns)
    saved = mofa_jax.load_parameters(tmp_path / "out" / "scan.0.json")
    assert (saved.correlation < 0.3) == bool(half_turns)


def test_photographs_without_a_face_give_none(predict):
    gray = np.full((300, 300, 3), 90, np.uint8)
    assert predict.faces([]) == [] and predict.faces([gray, gray]) == [[], []]
    assert predict.photographs(gray) == []
    with pytest.raises(ValueError, match="expected uint8"):
        predict.photographs(gray / 255)


def test_weights_come_back_to_half_a_step(tmp_path):
    rng = np.random.default_rng(0)
    weights = {"params": {"a": {"kernel": rng.normal(size=(3, 3, 40, 50)) * rng.uniform(size=50)}}}
    weights["params"]["a"]["bias"] = rng.normal(size=50).astype(np.float32)
    write_trained(tmp_path / "encoder.npz", weights, {"step": 3})
    loaded, information = read_trained(tmp_path / "encoder.npz")
    assert information == {"step": 3}
    kernel, original = loaded["params"]["a"]["kernel"], weights["params"]["a"]["kernel"]
    step = np.abs(original).max(axis=(0, 1, 2)) / 127
    assert (np.abs(kernel - original) <= 0.5001 * step).all()
    np.testing.assert_array_equal(loaded["params"]["a"]["bias"], weights["params"]["a"]["bias"])


@pytest.mark.parametrize("damage", ["missing", "cut short", "lacking"])
def test_a_damaged_file_is_one_sentence(tmp_path, damage):
    path = tmp_path / "encoder.npz"
    if damage == "cut short":
        path.write_bytes(ASSET.read_bytes()[:1000])
    if damage == "lacking":
        np.savez(path, other=np.zeros(3))
    with pytest.raises(TrainedEncoderError, match="reinstall mofa_jax") as error:
        read_trained(path)
    assert "\n" not in str(error.value)


def test_the_astronauts_features_are_where_the_photograph_has_them(predict):
    (face,) = predict.photographs([skimage.data.astronaut()])
    landmarks = landmarks_of(face, predict)
    side = 240 * face.crop.to_photograph[0, 0]
    distances = [np.linalg.norm(landmarks[index] - point) for index, point in POINTS.items()]
    assert np.mean(distances) < 0.025 * side
    assert max(distances) < 0.045 * side


def test_a_face_is_the_same_wherever_the_detector_puts_its_square(predict):
    class Moved:
        def __init__(self, dx, dy, scale):
            self.change = np.array([dx, dy, 0, 0]), scale

        def detect(self, photograph):
            (box,) = predict._detector.detect(photograph)
            width, (move, scale) = box[2], self.change
            box = box + width * move
            return [np.array([*(box[:2] + width * (1 - scale) / 2), *(box[2:] * scale)])]

    (face,) = predict.photographs([skimage.data.astronaut()])
    expected, side = landmarks_of(face, predict), 240 * face.crop.to_photograph[0, 0]
    for change in ((0.06, 0, 1), (0, -0.06, 1), (0.03, 0.03, 1.08), (0.25, 0.2, 1), (0, 0, 1.4)):
        other = dataclasses.replace(predict, _detector=Moved(*change))
        (moved,) = other.photographs([skimage.data.astronaut()])
        distance = np.linalg.norm(landmarks_of(moved, predict) - expected, axis=1)
        assert np.nanmean(distance) < 0.02 * side, change


def test_refinement_brings_colors_nearer_and_leaves_the_landmarks(predict):
    photograph = [skimage.data.astronaut()]
    (before,), (after,) = predict.photographs(photograph), predict.photographs(photograph, 10)
    image = before.crop.image.astype(np.float32) / 255
    np.testing.assert_array_equal(before.crop.image, after.crop.image)

    def error(face):
        rendering = compiled_render(face.params, predict.model, predict.cam)
        return float(mofa_jax.metrics.photometric_error(rendering, image))

    assert error(after) < 0.8 * error(before)
    distance = np.linalg.norm(landmarks_of(after, predict) - landmarks_of(before, predict), axis=1)
    assert np.nanmean(distance) < 0.015 * 240 * before.crop.to_photograph[0, 0]


def test_of_several_faces_only_the_one_that_is_asked_for_is_refined(predict, monkeypatch):
    """As the viewer and the editor load it."""
    astronaut = skimage.data.astronaut()
    two = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    sizes, refined = [], Predictor.refined

    def counted(self, codes, *args):
        sizes.append(len(codes))
        return refined(self, codes, *args)

    monkeypatch.setattr(Predictor, "refined", counted)
    face = FaceLoader(refine_steps=2).find(two, index=1)
    assert sizes == [1] and face.saved.refine_steps == 2
    expected = predict.faces([two], 2)[0][1]
    np.testing.assert_allclose(face.params.to_code(), expected.params.to_code(), atol=1e-4)


def test_a_face_fitted_to_six_points_is_nearer_than_the_encoders(predict):
    """In a notebook, from the average face."""
    (face,) = predict.photographs([skimage.data.astronaut()])
    points = np.full((68, 2), np.nan)
    points[list(POINTS)] = list(POINTS.values())
    points = transform_points(invert_affine(face.crop.to_photograph), points)
    model, cam, image = predict.model, predict.cam, face.crop.image
    fitted = mofa_jax.fit(image, model, cam, points, num_steps=20)

    def errors(params):
        rendering = compiled_render(params, model, cam)
        offset = np.asarray(rendering.screen)[model.landmarks] - points
        colors = mofa_jax.metrics.photometric_error(rendering, image.astype(np.float32) / 255)
        return np.nanmean(np.linalg.norm(offset, axis=1)), float(colors)

    (distance, color), (distance_before, color_before) = map(errors, (fitted.params, face.params))
    assert distance < distance_before and color < min(0.12, 0.85 * color_before)
    assert np.abs(fitted.params.shape).max() < 4 and np.abs(fitted.params.expression).max() < 4


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the command writes, given nothing but a photograph."""
    output = tmp_path_factory.mktemp("results")
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--output={output}", "astronaut"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 faces in 1 of 1 photographs" in done.stdout
    return output


def test_the_command_needs_nothing_but_a_photograph(results):
    content = json.loads((results / "astronaut.0.json").read_text())
    assert content["face_model"] == mofa_jax.load_face_model("open").name
    for ending in ("0.glb", "0.panels.jpg", "overlay.jpg"):
        assert (results / f"astronaut.{ending}").stat().st_size > 0


def test_the_command_fits_the_face_to_its_photograph(results, predict):
    (fitted,) = predict.photographs([skimage.data.astronaut()], refine_steps=5)
    written = mofa_jax.load_parameters(results / "astronaut.0.json").params.to_code()
    np.testing.assert_allclose(written, fitted.params.to_code(), atol=1e-4)


def test_its_parameters_draw_the_same_picture_again(results):
    face = mofa_jax.load_parameters(results / "astronaut.0.json")
    photograph, written = (
        read_photograph(path) for path in (face.photograph, results / "astronaut.overlay.jpg")
    )
    model = face.load_face_model()
    drawn = overlay_on_photograph(photograph, face.crop_to_photograph, face.params, model, face.cam)
    of_face = np.s_[80:160, 190:260]
    error, change = (
        np.abs(drawn.astype(float) - other)[of_face] for other in (written, photograph)
    )
    assert error.mean() < 2 and change.mean() > 10  # JPEG alone, and a face
