"""The page about a folder of reconstructed faces, by the command."""

import base64
import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import mofa_jax
from mofa_jax.errors import InputError
from mofa_jax.figures import five_panels
from mofa_jax.report import write_report
from mofa_jax.results.parameter_file import save_parameters
from mofa_jax.turntable import NUM_VIEWS, turntable

ROOT = Path(__file__).resolve().parents[1]
CAM = mofa_jax.Camera().scaled(0.25)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model):
    """A tiny face with its photograph, one whose photograph is gone, and a damaged file."""
    from test_parameter_file import saved_face

    folder = tmp_path_factory.mktemp("faces")
    tiny_model.save(folder / "model.npz")
    random = saved_face(tiny_model.code_sizes)
    Image.new("RGB", (400, 300), (90, 120, 150)).save(folder / "photo.png")
    for name, photograph in (("photo.0", "elsewhere/photo.png"), ("gone.0", "elsewhere/gone.png")):
        face = dataclasses.replace(
            random,
            params=jax.tree.map(lambda field: 0.1 * field, random.params),
            cam=CAM,
            face_model=str(folder / "model.npz"),
            photograph=photograph,
        )
        save_parameters(folder / f"{name}.json", face)
    (folder / "damaged.0.json").write_text("{")
    (folder / "landmarks.json").write_text("{}")  # of the photographs, which lie here, too
    return folder


@pytest.fixture(scope="module")
def done(folder):
    line = [sys.executable, "-m", "mofa_jax.report", str(folder)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.slow
def test_the_command_shows_every_face_and_names_what_it_cannot_read(folder, done):
    assert done.returncode == 1 and "2 faces" in done.stdout and "1 files failed" in done.stdout
    html = (folder / "report.html").read_text()
    assert "photo.0" in html and "gone.0" in html
    assert "Failed" in html and "damaged.0.json" in html and "Traceback" not in done.stderr
    assert "http" not in html  # nothing is fetched


@pytest.mark.slow
def test_the_page_holds_pictures_that_turn(folder, done):
    html = (folder / "report.html").read_text()
    files = [base64.b64decode(data) for data in re.findall(r"image/webp;base64,([^']+)", html)]
    assert len(files) == 2
    picture = Image.open(io.BytesIO(files[0]))
    assert picture.n_frames == NUM_VIEWS and picture.size == (120, 60)
    assert html.count("image/jpeg;base64,") == 2
    assert html.count("color error") == 1  # not of the face whose photograph is gone


@pytest.mark.slow
def test_a_name_that_is_not_utf8_does_not_end_the_page(folder, tmp_path):
    saved = mofa_jax.load_parameters(folder / "photo.0.json")
    odd = os.fsdecode(b"caf\xe9")
    shutil.copy(folder / "photo.png", tmp_path / f"{odd}.png")
    photograph = dataclasses.replace(saved, photograph=str(tmp_path / f"{odd}.png"))
    save_parameters(tmp_path / f"{odd}.0.json", photograph)
    path, shown, failed = write_report(tmp_path)
    assert (shown, failed) == (1, 0) and "caf\\udce9" in path.read_text()


def test_a_folder_without_faces_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"none of 1 \.json files.*mofa_jax\.reconstruct"):
        write_report(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no file of parameters.*mofa_jax\.reconstruct"):
        write_report(tmp_path)


def test_a_turning_face_is_the_renderer_s_at_each_yaw(tiny_model):
    params = mofa_jax.FaceParams.neutral(tiny_model).replace(
        rotation=jnp.array([0.3, 0.2, 0.1]), translation=jnp.array([0.5, 0.0, 0.0])
    )
    views = turntable(params, tiny_model, CAM, num_views=4)
    assert views.shape == (4, 60, 120, 3)
    white = np.full((60, 60, 3), 255, np.uint8)
    for view, degrees in zip(views, (0, 50, 0, -50), strict=True):
        turned = mofa_jax.FaceParams.neutral(tiny_model).replace(
            rotation=jnp.array([0.0, np.radians(degrees), 0.0])
        )
        expected = five_panels(white, turned, tiny_model, CAM)[:, 60:180]
        assert np.abs(view.astype(int) - expected).max() <= 1
