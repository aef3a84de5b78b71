"""Several photographs of one person, by the command."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data

import mofa_jax
from configs import compact
from mofa_jax.data.faces.crop import Crop, transform_points
from mofa_jax.errors import InputError
from mofa_jax.figures import write_image
from mofa_jax.inference import Predictor, Reconstruction
from mofa_jax.reconstruction import found_faces
from mofa_jax.reconstruction.found_faces import faces_of_one_person

ROOT = Path(__file__).resolve().parents[1]


def test_too_many_photographs_are_one_sentence():
    named = {Path(f"{k}.jpg"): str(k) for k in range(51)}
    with pytest.raises(InputError, match="51 photographs of one person are too many"):
        next(faces_of_one_person(None, named, 0))


@pytest.mark.parametrize("steps", [0, 7])
def test_the_fit_takes_as_many_steps_as_are_asked_for(monkeypatch, steps):
    found = found_faces.FoundFaces(Path("a.png"), "a", None, ["face"])
    taken = []
    monkeypatch.setattr(found_faces, "found_faces", lambda *_: iter([[found]]))
    monkeypatch.setattr(found_faces, "read_photograph", lambda _: None)
    monkeypatch.setattr(
        found_faces, "with_one_identity", lambda faces, _, steps: taken.append(steps) or faces
    )
    assert list(faces_of_one_person(None, {}, steps)) == [[found]]
    assert taken == [steps]


def test_a_model_without_landmarks_is_fitted_to_the_colors_alone(tiny_model):
    bare = tiny_model.replace(landmarks=np.full_like(tiny_model.landmarks, -1))
    cam = mofa_jax.Camera().scaled(1 / 4)
    predict = Predictor(bare, cam, compact.get_config(), 0, None, None)
    image = np.full((*cam.image_size, 3), 120, np.uint8)
    face = Reconstruction(mofa_jax.FaceParams.neutral(bare), Crop(image, None, None), 0)
    bright, dark = found_faces.with_one_identity([face, face], predict, 1)
    np.testing.assert_array_equal(bright.params.shape, dark.params.shape)


@pytest.mark.slow
def test_the_encoders_landmarks_hold_a_persons_faces_as_they_hold_each_alone():
    predict = mofa_jax.load_for_inference()
    (alone,) = predict.photographs([skimage.data.astronaut()])
    (fitted,), (person,) = (
        predict.fitted([alone], 5),
        found_faces.with_one_identity([alone], predict, 5),
    )
    points = predict.landmarks(np.stack([f.params.to_code() for f in (alone, fitted, person)]))
    moved = np.linalg.norm(points[1:] - points[0], axis=-1).mean(axis=-1)
    assert moved[1] == pytest.approx(moved[0], abs=0.1)  # px; 0.5 with the default weight


@pytest.mark.slow  # compiles the encoder, the fit and the pictures
def test_one_persons_photographs_share_shape_and_reflectance_alone(tmp_path):
    astronaut = skimage.data.astronaut()
    (tmp_path / "photographs").mkdir()
    write_image(tmp_path / "photographs" / "bright.png", astronaut)
    write_image(tmp_path / "photographs" / "dark.png", (0.6 * astronaut[:, ::-1]).astype(np.uint8))
    write_image(tmp_path / "photographs" / "nobody.png", np.full((90, 90, 3), 90, np.uint8))
    (tmp_path / "out").mkdir()
    of_before = [tmp_path / "out" / f"nobody.{end}" for end in ("overlay.jpg", "0.json", "0.ply")]
    for path in of_before:
        path.touch()
    command = [sys.executable, "-m", "mofa_jax.reconstruct", "--same_person", "--refine=2"]
    command += [f"--output={tmp_path / 'out'}", "--mesh=ply", str(tmp_path / "photographs")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "2 faces in 2 of 3 photographs" in done.stdout and "nobody.png: no face" in done.stderr
    assert not any(path.exists() for path in of_before)
    faces = [mofa_jax.load_parameters(tmp_path / "out" / f"{n}.0.json") for n in ("bright", "dark")]
    bright, dark = (face.params for face in faces)
    np.testing.assert_array_equal(bright.shape, dark.shape)
    np.testing.assert_array_equal(bright.reflectance, dark.reflectance)
    # One is mirrored: the head is turned to the other side, and tilted there.
    np.testing.assert_allclose(bright.rotation[1:], -dark.rotation[1:], atol=0.05)
    assert max(abs(bright.rotation[1:])) > 0.05
    assert (bright.illumination[0] > dark.illumination[0]).all()
    middles = [transform_points(f.crop_to_photograph, np.array([120.0, 120.0])) for f in faces]
    np.testing.assert_allclose(middles[0][0], 512 - middles[1][0], atol=12)
