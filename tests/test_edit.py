"""Editing photographs by the command: the results, and what it says of bad input."""

import dataclasses
import errno
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
import skimage.data
from PIL import Image

import mofa_jax
from mofa_jax import edit, editing
from mofa_jax.data.faces.detectors import DetectorError
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.edit import Edits, draw_edit, edit_all
from mofa_jax.errors import InputError
from mofa_jax.files.writing import file_checksum
from mofa_jax.inference import REFINE_STEPS
from mofa_jax.reconstruction.pictured_face import FaceLoader, NoFaceError, PicturedFace
from mofa_jax.results.parameter_file import ParameterFileError, save_parameters
from mofa_jax.texture import TextureError

ROOT = Path(__file__).resolve().parents[1]
FACE = np.s_[70:165, 180:265]  # the astronaut's


def command(*arguments):
    line = [sys.executable, "-m", "mofa_jax.edit", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """What the command makes of the astronaut, of a photograph without a face and of no file."""
    folder = tmp_path_factory.mktemp("edit")
    cv2.imwrite(str(folder / "gray.png"), np.full((300, 300, 3), 90, np.uint8))
    options = ("--relight=left", "--neutral", "--mesh=glb", "--mesh=obj", f"--output={folder}")
    done = command(*options, "astronaut", folder / "gray.png", folder / "no.jpg")
    return folder, done


@pytest.mark.slow
def test_the_command_relights_a_photograph(results):
    folder, done = results
    assert done.returncode == 1  # a path names nothing
    assert "gray.png: no face found" in done.stderr and "no.jpg" in done.stderr
    assert "1 faces of 2 files edited" in done.stdout and "Traceback" not in done.stderr
    names = {path.name for path in folder.iterdir()} - {"gray.png", "astronaut.png"}
    endings = ("jpg", "panels.jpg", "json", "glb", "obj")
    assert names == {f"astronaut.edited.{ending}" for ending in endings}
    before, after = (
        read_photograph(folder / name).astype(float).mean(axis=-1)
        for name in ("astronaut.png", "astronaut.edited.jpg")
    )
    left, right = np.split((after / np.maximum(before, 1))[FACE], [42], axis=1)
    assert np.median(left) > 1.3 * np.median(right)
    assert np.abs(after - before)[300:].mean() < 3  # JPEG alone


@pytest.mark.slow
def test_its_parameters_are_those_of_the_edited_face(results):
    folder, _ = results
    saved = mofa_jax.load_parameters(folder / "astronaut.edited.json")
    assert saved.photograph == "astronaut.edited.jpg"  # beside the file of parameters
    assert not saved.params.expression.any() and saved.params.shape.any()
    (face,) = mofa_jax.load_for_inference().photographs([skimage.data.astronaut()], REFINE_STEPS)
    expected = editing.relight(face.params, editing.named_light("left"))
    np.testing.assert_allclose(saved.params.illumination, expected.illumination, atol=1e-4)


@pytest.fixture
def saved(tmp_path, tiny_model):
    """A tiny face's parameters, without a photograph, as a file."""
    from test_parameter_file import saved_face

    tiny_model.save(tmp_path / "model.npz")
    random = saved_face(tiny_model.code_sizes)
    face = dataclasses.replace(
        random,
        params=jax.tree.map(lambda field: 0.1 * field, random.params),
        cam=mofa_jax.Camera().scaled(0.25),
        face_model=str(tmp_path / "model.npz"),
    )
    save_parameters(tmp_path / "face.json", face)
    return tmp_path / "face.json"


@pytest.mark.slow
def test_parameters_alone_are_edited_and_drawn(saved, tmp_path):
    loader = FaceLoader()
    other = loader.load(saved)
    edits = Edits(
        morph_with=other, angles=(30.0, None, 0.0), light=editing.named_light("above"), shape=1.5
    )
    assert edit_all(loader, edits, [saved], tmp_path / "out", meshes=["ply"])
    edited = mofa_jax.load_parameters(tmp_path / "out" / "face.edited.json")
    angles = np.degrees(editing.pose_angles(edited.params))
    before = np.degrees(editing.pose_angles(other.params))
    np.testing.assert_allclose(angles, [30, before[1], 0], atol=1e-3)
    np.testing.assert_allclose(edited.params.shape, 1.5 * other.params.shape, rtol=1e-6)
    picture = read_photograph(tmp_path / "out" / edited.photograph)
    assert picture.shape == (240, 240, 3)
    assert (picture[:10, :40] > 250).all() and (
        picture[100:140, 100:140] < 250
    ).any()  # alone on white
    assert (tmp_path / "out" / "face.edited.ply").exists()
    assert edit_all(loader, Edits(shape=2.0), [saved], tmp_path / "out", meshes=["obj"])
    meshes = {path.suffix for path in (tmp_path / "out").glob("face.edited.*")}
    assert ".obj" in meshes and ".ply" not in meshes  # which was of another edit


def test_a_photograph_is_found_beside_its_parameters(saved, tmp_path, monkeypatch):
    face = mofa_jax.load_parameters(saved)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cv2.imwrite("a.png", np.zeros((9, 9, 3), np.uint8))  # another photograph of that name
    cv2.imwrite(str(saved.parent / "a.png"), pixels[..., ::-1])
    for photograph in ("/elsewhere/a.png", "a.png"):
        save_parameters(saved, dataclasses.replace(face, photograph=photograph))
        np.testing.assert_array_equal(FaceLoader().load(saved).photograph, pixels)


def test_a_photograph_that_was_moved_together_with_its_parameters_is_found(saved, tmp_path):
    before, now = tmp_path / "before", tmp_path / "elsewhere/now"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    (before / "photographs/more").mkdir(parents=True)
    photograph, parameters = before / "photographs/more/a.png", before / "out/a.0.json"
    cv2.imwrite(str(photograph), pixels[..., ::-1])
    parameters.parent.mkdir()
    face = dataclasses.replace(
        mofa_jax.load_parameters(saved),
        photograph=str(photograph),
        photograph_checksum=file_checksum(photograph),
    )
    save_parameters(parameters, face)
    now.parent.mkdir()
    before.rename(now)
    loaded = FaceLoader().load(now / "out/a.0.json")
    np.testing.assert_array_equal(loaded.photograph, pixels)
    cv2.imwrite(str(now / "photographs/more/a.png"), pixels)  # another one
    assert FaceLoader().load(now / "out/a.0.json").is_drawn


def test_a_face_drawn_on_white_is_edited_on_white(saved):
    loader = FaceLoader()
    face = loader.load(saved)
    _, picture = draw_edit(face, Edits(light=editing.named_light("left")), loader.model)
    outside = (face.photograph == 255).all(axis=-1)
    assert outside.mean() > 0.2 and (picture[outside] > 250).mean() > 0.95


def test_a_video_is_not_called_a_damaged_photograph(saved, tmp_path, capsys):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a video")
    assert not edit_all(FaceLoader(), Edits(), [clip], tmp_path / "out")
    assert "clip.mp4: videos are not edited; give a photograph" in capsys.readouterr().err


def test_a_photograph_that_is_gone_is_said(saved, caplog):
    face = mofa_jax.load_parameters(saved)
    save_parameters(saved, dataclasses.replace(face, photograph="/gone/a.png"))
    FaceLoader().load(saved)
    assert "its photograph /gone/a.png is not there any more" in caplog.text


def test_a_photograph_that_was_replaced_is_said(saved, caplog):
    photograph = saved.parent / "a.png"
    Image.new("RGB", (9, 9)).save(photograph)
    face = dataclasses.replace(mofa_jax.load_parameters(saved), photograph=str(photograph))
    save_parameters(saved, dataclasses.replace(face, photograph_checksum=file_checksum(photograph)))
    FaceLoader().load(saved)
    assert not caplog.text
    Image.new("RGB", (9, 9), "red").save(photograph)
    FaceLoader().load(saved)
    assert "a.png is not the file that it was reconstructed from" in caplog.text


def test_a_photograph_that_cannot_be_read_is_its_own_fault(saved, monkeypatch):
    photograph = saved.parent / "a.png"
    Image.new("RGB", (9, 9)).save(photograph)
    face = mofa_jax.load_parameters(saved)
    face = dataclasses.replace(face, photograph="a.png", photograph_checksum="of another")
    save_parameters(saved, face)

    def broken(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("mofa_jax.results.parameter_file.file_checksum", broken)
    FaceLoader().load(saved)
    photograph.write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.png: "):
        FaceLoader().load(saved)


def test_edits_of_two_files_of_one_name_stand_side_by_side(saved, tmp_path, monkeypatch):
    other = tmp_path / "other" / saved.name
    other.parent.mkdir()
    other.write_bytes(saved.read_bytes())
    monkeypatch.setattr(edit, "draw_edit", lambda face, *_: (face.params, face.photograph))
    monkeypatch.setattr(edit, "_panels", lambda face, *_: face.photograph)
    for path in (saved, other, saved):
        assert edit_all(FaceLoader(), Edits(), [path], tmp_path / "out", meshes=["ply"])
    sources = {
        file.name: mofa_jax.load_parameters(file).edited_from
        for file in (tmp_path / "out").glob("*.json")
    }
    assert sources == {"face.edited.json": str(saved), "face-1.edited.json": str(other)}


def test_faces_of_two_models_do_not_meet(saved, tmp_path):
    from test_parameter_file import saved_face

    save_parameters(tmp_path / "other.json", saved_face((2, 2, 2)))
    loader = FaceLoader()
    loader.load(saved)
    with pytest.raises(ParameterFileError, match="not of 'analytic face' with"):
        loader.load(tmp_path / "other.json")


def test_an_edit_that_fails_does_not_end_the_others(saved, tmp_path, monkeypatch, capsys):
    edited = []

    def edit_face(face, edits, model, stem, meshes, source):
        if source.stem == "a":
            raise RuntimeError("two\nlines")
        edited.append(Path(stem).name)

    monkeypatch.setattr(edit, "edit_face", edit_face)
    paths = [tmp_path / "a.json", saved]
    paths[0].write_bytes(saved.read_bytes())
    assert not edit_all(FaceLoader(), Edits(), paths, tmp_path / "out")
    assert edited == ["face"]
    assert f"failed: {paths[0]}: two lines\n" in capsys.readouterr().err


def test_a_full_disk_ends_all_edits(saved, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(edit, "edit_face", full)
    with pytest.raises(OSError, match="No space left"):
        edit_all(FaceLoader(), Edits(), [saved], tmp_path / "out")


def test_a_mesh_that_cannot_be_had_ends_the_edits_before_anything_is_written(saved, tmp_path):
    loader = FaceLoader()
    loader.load(saved)
    loader._model = loader.model.replace(uv=None)
    with pytest.raises(TextureError, match="--mesh=obj"):
        edit_all(loader, Edits(), [saved], tmp_path / "out", meshes=["glb"])
    assert not any((tmp_path / "out").iterdir())


def test_an_opencv_without_cascades_ends_the_edits_at_once(tmp_path, monkeypatch):
    files = [str(tmp_path / f"{name}.png") for name in "ab"]
    for file in files:
        cv2.imwrite(file, np.zeros((60, 60, 3), np.uint8))
    monkeypatch.delattr(cv2, "CascadeClassifier")
    with pytest.raises(DetectorError, match="no Haar cascades"):
        edit_all(FaceLoader(), Edits(), files, tmp_path / "out")


def test_faces_of_two_cameras_are_not_morphed(saved):
    face = FaceLoader().load(saved)
    other = dataclasses.replace(face.saved, cam=face.cam.scaled(2))
    with pytest.raises(InputError, match=r"of \(60, 60\) px .* and \(120, 120\) px .*; rec"):
        draw_edit(face, Edits(PicturedFace(other, face.photograph)), None)


def test_a_second_face_of_parameters_is_refused(saved):
    with pytest.raises(NoFaceError, match="holds one face; leave out --face"):
        FaceLoader().load(saved, index=1)


@pytest.mark.slow
def test_a_face_that_is_not_there_is_one_sentence(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), skimage.data.astronaut()[..., ::-1])
    with pytest.raises(NoFaceError, match="1 faces found; choose one by --face"):
        FaceLoader().load(tmp_path / "a.png", index=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--neutral", "--refine=3", "face.JSON"), "--refine is of photographs"),
        ((), "error: nothing is to be edited; give one of --relight"),
        (("--neutral", "--t=0.3"), "error: --t changes nothing without --morph_with; give both"),
        (("--neutral", "--environment_turn=9"), "--environment_turn changes nothing without --env"),
        (("--neutral", "--exaggerate_expression=2"), "--neutral takes away what --exaggerate_expr"),
        (("--expression_from=/no/smile.jpg",), "error: /no/smile.jpg: there is no such file"),
    ],
)
def test_flags_that_cannot_be_followed_are_one_sentence(tmp_path, arguments, message):
    named = () if any("JSON" in argument for argument in arguments) else ("astronaut",)
    done = command(*arguments, f"--output={tmp_path}", *named)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
