"""AFLW2000-3D: its files become landmarks and yaws, its error and the balanced mean are NumPy's."""

import csv
import json

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import scipy.io
from ml_collections import ConfigDict

import mofa_jax
from configs import compact
from mofa_jax.data.sources.landmark_files import LandmarkFileError, read_aflw2000
from mofa_jax.evaluation.photographs import PhotographFaces
from mofa_jax.evaluation.results import evaluate_encoder
from mofa_jax.inference import Predictor
from mofa_jax.params import code_size

SIZE = 60  # px of a crop
YAWS = (-5.0, 29.0, 31.0, -59.0, 75.0, 110.0)  # degrees, as the files say


def write_mat(path, points, yaw: float, **changes) -> None:
    """A file as those of AFLW2000-3D: points [68, 2], whose first pixel's center is (1, 1)."""
    depth = np.linspace(-50, 80, 68)
    content = {
        "pt3d_68": np.vstack([points.T, depth]).astype(np.float32),
        "pt2d": np.full((2, 21), -1.0),
        "roi": np.array([[1.0, 1.0, 450.0, 450.0]]),
        "Pose_Para": np.array([[0.1, np.radians(yaw), -0.2, 200, 250, -60, 0.001]], np.float32),
        "Illum_Para": np.ones((1, 10), np.float32),
    }
    content = {key: value for key, value in (content | changes).items() if value is not None}
    scipy.io.savemat(path, content)


def annotated(i: int) -> np.ndarray:
    return np.random.default_rng(i).uniform((120, 130), (310, 330), (68, 2))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A gray photograph and a .mat file for each of `YAWS`, and one whose file is cut short."""
    folder = tmp_path_factory.mktemp("AFLW2000")
    for i in range(len(YAWS) + 1):
        cv2.imwrite(str(folder / f"image{i:05}.jpg"), np.full((450, 450, 3), 120, np.uint8))
        write_mat(folder / f"image{i:05}.mat", annotated(i), YAWS[i % len(YAWS)])
    last = folder / f"image{len(YAWS):05}.mat"
    last.write_bytes(last.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def evaluated(folder, tiny_model, tmp_path_factory):
    """What an encoder that always gives the zero code is found to be worth."""
    zero = jax.jit(lambda weights, images: jnp.zeros((len(images), code_size(tiny_model))))
    cam = mofa_jax.Camera().scaled(SIZE / 240)
    predict = Predictor(tiny_model, cam, ConfigDict(compact.get_config()), 7, None, zero)
    output = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)  # no curves
        evaluate_encoder(predict, {"aflw": PhotographFaces(folder, predict, "landmarks")}, output)
    return output


def box_error(i: int, model) -> float:
    """In NumPy: the zero code drawn in the square about the landmarks, %."""
    points = annotated(i) - 0.5
    low, high = points.min(axis=0), points.max(axis=0)  # docs/conventions.md, Crops
    larger = (high - low).max()
    corner = (low + high) / 2 - (0, 0.094 * larger) - 1.466 * larger / 2
    m = oracle.model_arrays(model)
    screen = oracle.render(np.zeros(code_size(model)), m)["screen"][m["landmarks"]]
    drawn = corner + 1.466 * larger * screen / 240
    return 100 * np.linalg.norm(drawn - points, axis=1).mean() / np.sqrt(np.prod(high - low))


def test_points_count_pixels_from_one_and_yaw_is_positive_to_the_left(tmp_path):
    points = annotated(0)
    points[0] = 1, 1
    write_mat(tmp_path / "a.mat", points, 40.0)
    face = read_aflw2000(tmp_path / "a.mat")
    np.testing.assert_array_equal(face.points[0], [0.5, 0.5])
    np.testing.assert_allclose(face.points, points - 0.5, atol=1e-4)
    assert (face.confidence == 1).all()
    assert face.yaw == pytest.approx(40.0, abs=1e-3)  # such a face looks to the left


@pytest.mark.slow
def test_every_face_has_the_error_of_numpy_and_the_yaw_of_its_file(evaluated, tiny_model):
    with open(evaluated / "faces.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if not row["failed"]]
    assert [row["name"] for row in rows] == [f"image{i:05}.jpg" for i in range(len(YAWS))]
    for i, row in enumerate(rows):
        assert float(row["yaw"]) == pytest.approx(YAWS[i], abs=1e-3)
        assert float(row["nme_box"]) == pytest.approx(box_error(i, tiny_model), rel=1e-3)


@pytest.mark.slow
def test_the_three_ranges_of_yaw_count_alike(evaluated, tiny_model):
    content = json.loads((evaluated / "evaluation.json").read_text())
    errors = [box_error(i, tiny_model) for i in range(len(YAWS))]
    means = [np.mean(errors[:2]), np.mean(errors[2:4]), np.mean(errors[4:])]
    found = content["nme_box_over_yaw"]
    assert list(found) == ["0-30", "30-60", "60-90", "mean"]
    np.testing.assert_allclose([*found.values()], [*means, np.mean(means)], rtol=1e-3)
    assert f"{np.mean(means):.4g}" in (evaluated / "report.html").read_text()


@pytest.mark.slow
def test_a_damaged_file_is_named_and_the_others_count(evaluated):
    content = json.loads((evaluated / "evaluation.json").read_text())
    (failed,) = content["failed"]
    assert "image00006.mat: this is not a .mat file of AFLW2000-3D" in failed["reason"]
    assert content["all"]["num_faces"] == len(YAWS) + 1


@pytest.mark.parametrize(
    "changes",
    [{"pt3d_68": np.zeros((2, 68))}, {"pt3d_68": np.full((3, 68), np.nan)}, {"Pose_Para": None}],
)
def test_arrays_of_other_shapes_are_named(tmp_path, changes):
    write_mat(tmp_path / "a.mat", annotated(0), 0.0, **changes)
    with pytest.raises(LandmarkFileError, match=r"a\.mat: this is not .* remove or replace it"):
        read_aflw2000(tmp_path / "a.mat")


def test_a_mat_file_of_something_else_says_nothing(tmp_path):
    write_mat(tmp_path / "a.mat", annotated(0), 0.0, pt3d_68=None)
    assert read_aflw2000(tmp_path / "a.mat") is None
