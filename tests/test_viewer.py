"""The viewer without a browser: what its sliders change, what it draws and saves."""

import contextlib
import dataclasses
import io
import json
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import trimesh
from test_parameter_file import saved_face

import mofa_jax
from mofa_jax.data.sources.images import decode_photograph
from mofa_jax.errors import InputError
from mofa_jax.reconstruction.pictured_face import PicturedFace
from mofa_jax.viewer import drawing
from mofa_jax.viewer.controls import controls_of
from mofa_jax.viewer.server import check_server

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def face(tiny_model):
    """A random face in a gray photograph."""
    saved = saved_face(tiny_model.code_sizes)
    params = jax.tree.map(lambda field: 0.1 * field, saved.params)
    affine = np.array([[1.5, 0.0, 20.0], [0.0, 1.5, 10.0]])
    cam = mofa_jax.Camera().scaled(0.25)
    saved = dataclasses.replace(saved, params=params, cam=cam, crop_to_photograph=affine)
    return PicturedFace(saved, np.full((120, 130, 3), 90, np.uint8))


def test_the_leading_modes_pose_and_light_have_sliders(tiny_model):
    counts = {}
    for control in controls_of(tiny_model):
        counts[control.group] = counts.get(control.group, 0) + 1
    assert counts == {"shape": 5, "expression": 4, "reflectance": 3, "pose": 3, "light": 4}


def test_a_slider_shows_what_it_has_set_and_changes_its_own_part_alone(tiny_model, face):
    parts = {"pose": "rotation", "light": "illumination"}
    for control in controls_of(tiny_model):
        value = 0.3 * control.low + 0.7 * control.high
        changed = control.write(face.params, value)
        assert control.read(changed) == pytest.approx(value, abs=1e-4)
        own = parts.get(control.group, control.group)
        for field in dataclasses.fields(changed):
            same = np.array_equal(getattr(changed, field.name), getattr(face.params, field.name))
            assert same == (field.name != own), (control, field.name)


def test_sliders_of_one_group_leave_each_other_alone(tiny_model, face):
    controls = [c for c in controls_of(tiny_model) if c.group in ("shape", "pose")]
    params, values = face.params, {}
    for k, control in enumerate(controls):
        values[control] = 0.3 * k - 1.0
        params = control.write(params, values[control])
    for control, value in values.items():
        assert control.read(params) == pytest.approx(value, abs=1e-3)


def test_light_from_the_right_makes_the_right_side_brighter(tiny_model, face):
    (right,) = [c for c in controls_of(tiny_model) if c.label == "from the right"]
    light = np.array(right.write(face.params, 1.0).illumination, np.float64)
    light[0] += 0.7
    shone = oracle.sh(np.array([[1.0, 0, 0], [-1.0, 0, 0]])) @ light
    assert (shone[0] > shone[1] + 0.5).all()


def test_the_scenes_mesh_is_the_posed_head_in_its_own_colors(tiny_model, face):
    crop = drawing.crop_picture(face)
    content, picture = drawing.draft(crop, face.params, tiny_model, face.cam)
    fine = drawing.overlay_picture(crop, face.params, tiny_model, face.cam)
    assert picture.shape == fine.shape and picture.dtype == np.uint8
    assert np.median(np.abs(picture.astype(int) - fine)) <= 1  # but for its edges
    mesh = trimesh.load(io.BytesIO(content), file_type="glb", force="mesh", process=False)
    code = np.asarray(face.params.to_code(), np.float64)
    expected = oracle.render(code, oracle.model_arrays(tiny_model))
    inverse = np.linalg.inv(oracle.rotation(face.params.rotation))
    world = tiny_model.geometry(face.params.shape, face.params.expression)
    np.testing.assert_allclose(mesh.vertices, 0.1 * np.asarray(world) @ inverse.T, atol=1e-5)
    size = int.from_bytes(content[12:16], "little")
    tree, body = json.loads(content[20 : 20 + size]), content[28 + size :]
    accessor = tree["accessors"][tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    start = tree["bufferViews"][accessor["bufferView"]].get("byteOffset", 0)
    colors = np.frombuffer(body, np.uint8, 4 * accessor["count"], start).reshape(-1, 4) / 255
    linear = np.clip(expected["color"], 0, 1) ** 2.2  # sRGB, nearly
    np.testing.assert_allclose(colors[:, :3], linear, atol=0.02)
    assert tree["extensionsUsed"] == ["KHR_materials_unlit"]


def test_pictures_show_the_face_that_was_changed(tiny_model, face):
    brighter = face.params.replace(illumination=face.params.illumination.at[0].add(0.4))
    crop = drawing.crop_picture(face)
    before, after = (
        drawing.overlay_picture(crop, params, tiny_model, face.cam).astype(float)
        for params in (face.params, brighter)
    )
    assert before.shape == (60, 60, 3) and after.mean() > before.mean() + 5
    edited = drawing.edited_picture(face, brighter, tiny_model)
    assert edited.shape == (480, 480, 3) and edited[240, 240].mean() > 95
    assert (drawing.edited_picture(face, face.params, tiny_model) == 90).all()


def test_saved_files_hold_the_edited_face(tiny_model, face, tmp_path):
    params = face.params.replace(shape=jnp.arange(5.0))
    ending, content = drawing.parameters_file(face, params, tiny_model)
    (tmp_path / f"face.{ending}").write_bytes(content)
    loaded = mofa_jax.load_parameters(tmp_path / "face.json")
    np.testing.assert_array_equal(loaded.params.to_code(), params.to_code())
    ending, content = drawing.picture_file(face, params, tiny_model)
    assert ending == "png" and decode_photograph(content, "face.png").shape == (120, 130, 3)
    ending, content = drawing.mesh_file(face, params, tiny_model.replace(uv=None))
    assert ending == "obj"
    mesh = trimesh.load(io.BytesIO(content), file_type="obj", process=False)
    expected = 100 * tiny_model.geometry(params.shape, params.expression)
    np.testing.assert_allclose(mesh.vertices, expected, atol=1e-3)


def test_parameters_name_the_photograph_that_shows_their_face(tiny_model, face):
    other = face.params.replace(shape=face.params.shape + 1)
    for params, photograph in ((face.params, "/photographs/a.jpg"), (other, "face.png")):
        _, content = drawing.parameters_file(face, params, tiny_model)
        assert json.loads(content)["photograph"] == photograph


def test_parameters_of_a_face_without_a_file_name_the_saved_picture(tiny_model, face):
    face = PicturedFace(dataclasses.replace(face.saved, photograph=None), face.photograph)
    _, content = drawing.parameters_file(face, face.params, tiny_model)
    assert json.loads(content)["photograph"] == "face.png"


def test_an_address_of_another_machine_is_refused():
    pytest.importorskip("viser", reason="the viewer needs viser")
    check_server("127.0.0.1")
    if socket.has_ipv6:
        with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
            check_server("::1")  # where this machine has it
    with pytest.raises(InputError, match=r"--host=192\.0\.2\.1: this machine has no such address"):
        check_server("192.0.2.1")  # set aside for examples by RFC 5737


def test_without_viser_the_command_says_how_to_get_it():
    code = "import runpy, sys; sys.modules['viser'] = None; sys.argv = ['viewer']; "
    code += "runpy.run_module('mofa_jax.viewer', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr.endswith("viser; pip install -r requirements-viewer.txt\n")
    assert "Traceback" not in done.stderr
