import dataclasses
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from ml_collections import ConfigDict
from PIL import Image

import mofa_jax
from configs import compact
from mofa_jax import reconstruct
from mofa_jax.checkpoint import CheckpointError
from mofa_jax.data.faces.crop import transform_points
from mofa_jax.errors import InputError
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.files.writing import only_process
from mofa_jax.reconstruction.found_faces import found_faces
from mofa_jax.reconstruction.input_files import find_photographs, unique_names
from mofa_jax.train import train_and_evaluate

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow  # compiles a train step and the pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model):
    """The workdir of a run of two steps."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model.save(folder / "model.npz")
    config = compact.get_config()
    config.face_model, config.data.kind = str(folder / "model.npz"), "synthetic"
    config.batch_size, config.num_steps, config.data.num_eval = 4, 2, 4
    config.encoder.widths, config.encoder.num_hidden = [8, 8, 16, 16, 16], 32
    train_and_evaluate(config, folder / "run")
    return folder / "run"


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 240, 240, 3), np.uint8)


def test_uint8_and_float_images_give_the_same_codes(run, tiny_model):
    predict = mofa_jax.load_for_inference(run)
    params = predict(images(2))
    assert params.shape.shape == (2, 5) and params.illumination.shape == (2, 9, 3)
    same = predict(images(2).astype(np.float32) / 255)
    np.testing.assert_array_equal(params.to_code(), same.to_code())
    assert predict.step == 2 and predict.model.checksum() == tiny_model.checksum()
    assert len(jax.tree.leaves(predict.weights)[0].devices()) == 1


def test_crops_are_encoded_without_opencvs_cascades_and_photographs_name_the_fix(run, monkeypatch):
    monkeypatch.delattr(cv2, "CascadeClassifier")
    predict = mofa_jax.load_for_inference(run)
    assert predict(images(1)).shape.shape == (1, 5)
    with pytest.raises(InputError, match=r"no Haar cascades.*pip install"):
        predict.photographs([skimage.data.astronaut()])


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((240, 240, 3), np.uint8),
        np.zeros((1, 224, 224, 3), np.uint8),
        np.full((1, 240, 240, 3), 255.0),
        np.full((1, 240, 240, 3), np.nan),
        np.zeros((0, 240, 240, 3), np.uint8),
    ],
)
def test_wrong_images_are_refused(run, bad):
    with pytest.raises(ValueError, match="images"):
        mofa_jax.load_for_inference(run)(bad)


def test_folder_without_checkpoint_is_one_clear_sentence_and_stays_as_it_was(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint here"):
        mofa_jax.load_for_inference(tmp_path)
    assert not list(tmp_path.iterdir())


def test_face_model_of_other_sizes_is_refused_and_a_changed_one_noticed(run, tiny_model, caplog):
    with pytest.raises(CheckpointError, match="with shape, expression and reflectance sizes"):
        mofa_jax.load_for_inference(run, "analytic")
    changed = run.parent / "changed.npz"
    tiny_model.replace(mean_shape=tiny_model.mean_shape * 1.01).save(changed)
    mofa_jax.load_for_inference(run, changed)
    assert "changed since" in caplog.text


def test_results_name_the_face_models_file_wherever_they_are_read(run, monkeypatch):
    monkeypatch.chdir(run.parent)
    predict = mofa_jax.load_for_inference(run, "model.npz")
    assert predict.config.face_model == str(run.parent / "model.npz")
    assert mofa_jax.load_for_inference().config.face_model == "open"


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    """Two astronauts in one photograph, one alone, one faceless, one broken, reconstructed."""
    astronaut = skimage.data.astronaut()[..., ::-1]
    folder = tmp_path_factory.mktemp("photographs")
    cv2.imwrite(str(folder / "two.png"), np.concatenate([astronaut, astronaut], axis=1))
    cv2.imwrite(str(folder / "one.jpg"), astronaut)
    cv2.imwrite(str(folder / "none.png"), np.zeros((300, 300, 3), np.uint8))
    (folder / "text.jpg").write_text("no picture")
    output = folder / "out"
    output.mkdir()
    for number in (2, 3):  # of a larger run before
        cv2.imwrite(str(output / f"contact_sheet-{number}.jpg"), astronaut)
    patterns = [folder / "missing.jpg", folder, folder / "nothing*.png"]
    summary = reconstruct.reconstruct_all(mofa_jax.load_for_inference(run), patterns, output)
    return summary, output


def test_every_face_of_every_photograph_gets_all_results(results):
    summary, output = results
    assert summary == (3, 2, 2, 2, 0, 0)
    names = {path.name for path in output.iterdir()}
    for face in ("one.0", "two.0", "two.1"):
        assert {f"{face}.panels.jpg", f"{face}.glb", f"{face}.json"} <= names
    assert {"one.overlay.jpg", "two.overlay.jpg"} <= names
    assert [name for name in names if "sheet" in name] == ["contact_sheet-1.jpg"]
    sheet = cv2.imread(str(output / "contact_sheet-1.jpg"))  # three faces, two in a row
    assert sheet.shape == (3 * 142, 360, 3) or sheet.shape == (2 * 142, 720, 3)
    shown = cv2.resize(cv2.imread(str(output / "one.0.panels.jpg")), (600, 120), interpolation=3)
    assert np.abs(sheet[22:142, :360].astype(float) - shown[:, :360]).mean() < 3
    assert not any("none" in name or "text" in name or "tmp" in name for name in names)


def test_the_command_writes_the_meshes_that_are_asked_for(run, tmp_path):
    cv2.imwrite(str(tmp_path / "one.png"), skimage.data.astronaut()[..., ::-1])
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--workdir={run}", "--mesh=obj"]
    command += ["--mesh=ply", "--output=~/out", str(tmp_path / "one.png")]
    subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "HOME": str(tmp_path)})
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        f"one.{e}" for e in ("0.obj", "0.ply", "0.json", "0.panels.jpg", "overlay.jpg")
    }


def test_an_output_that_cannot_be_written_is_one_sentence(run, tmp_path):
    (tmp_path / "out").write_text("no folder")
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--workdir={run}"]
    command += [f"--output={tmp_path / 'out' / 'below'}", "astronaut"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    where = f"{tmp_path / 'out' / 'below'}: this is a file, or below one; give a folder."
    assert where in done.stderr and "Traceback" not in done.stderr


def test_parameters_are_named_and_map_back_into_the_photograph(results):
    _, output = results
    content = json.loads((output / "one.0.json").read_text())
    assert set(content["parameters"]) == {
        "shape",
        "expression",
        "reflectance",
        "rotation",
        "translation",
        "illumination",
    }
    corners = transform_points(np.array(content["crop_to_photograph"]), np.array([[120.0, 120.0]]))
    np.testing.assert_allclose(corners[0], [223, 120], atol=25)  # the astronaut's face


def test_overlay_has_the_photographs_size_and_changes_only_the_face(results):
    _, output = results
    overlay = cv2.imread(str(output / "one.overlay.jpg")).astype(float)
    astronaut = skimage.data.astronaut()[..., ::-1].astype(float)
    assert overlay.shape == astronaut.shape
    difference = np.abs(overlay - astronaut).mean(axis=-1)
    assert difference[60:180, 170:280].mean() > 5
    assert difference[300:].mean() < 3  # JPEG alone


def test_names_stay_apart_when_stems_repeat():
    paths = [Path("a/x.jpg"), Path("b/x.png"), Path("y.jpg"), Path("c/x.jpg")]
    assert unique_names(paths) == ["x", "x-1", "y", "x-2"]
    paths = [Path("a-1.jpg"), Path("a.jpg"), Path("a.png")]
    assert unique_names(paths) == ["a-1", "a", "a-2"]
    paths = [Path(f) for f in ("x.jpg", "x.0.mp4", "y.0.mp4", "x.one.mp4", "x.7.jpg")]
    assert unique_names(paths) == ["x", "x.0-1", "y.0", "x.one", "x.7"]
    before = {"x": Path("c/x.jpg"), "x-2": Path("/elsewhere/x.jpg")}
    paths = [Path("a/x.jpg"), Path("b/x.png"), Path("c/x.jpg")]
    names = unique_names(paths, lambda name, path: before.get(name, path) != path)
    assert names == ["x-1", "x-3", "x"]


def test_results_of_equal_names_from_two_commands_stay_apart(run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "x.png"), skimage.data.astronaut()[..., ::-1])
    predict, output = mofa_jax.load_for_inference(run), tmp_path / "out"
    for folder, resume in (("a", False), ("b", False), ("a", True), ("b", True)):
        summary = reconstruct.reconstruct_all(
            predict, [tmp_path / folder / "x.png"], output, resume=resume
        )
        assert summary.faces == 1
    sources = {
        file.name: mofa_jax.load_parameters(file).photograph for file in output.glob("*.json")
    }
    assert sources == {"x.0.json": f"{tmp_path}/a/x.png", "x-1.0.json": f"{tmp_path}/b/x.png"}


def test_photographs_that_were_moved_are_finished_still(run, tmp_path):
    predict, output = mofa_jax.load_for_inference(run), tmp_path / "out"
    before, link, after = (tmp_path / name for name in ("photographs", "link", "moved"))
    before.mkdir()
    cv2.imwrite(str(before / "x.png"), skimage.data.astronaut()[..., ::-1])
    reconstruct.reconstruct_all(predict, [before], output)
    stamp = (output / "x.0.panels.jpg").stat().st_mtime_ns
    link.symlink_to(before)
    reconstruct.reconstruct_all(predict, [link / "x.png"], output, resume=True)
    link.unlink()
    before.rename(after)
    reconstruct.reconstruct_all(predict, [after], output, resume=True)
    assert [file.name for file in output.glob("*.json")] == ["x.0.json"]
    assert (output / "x.0.panels.jpg").stat().st_mtime_ns == stamp
    assert mofa_jax.load_parameters(output / "x.0.json").photograph == str(after / "x.png")
    other = tmp_path / "other.png"  # older than the results, at the photograph's place
    cv2.imwrite(str(other), skimage.data.astronaut()[..., ::-1] // 2)
    os.utime(other, (1e9, 1e9))
    other.replace(after / "x.png")
    reconstruct.reconstruct_all(predict, [after], output, resume=True)
    assert (output / "x.0.panels.jpg").stat().st_mtime_ns > stamp


def test_meshes_of_a_photograph_that_was_replaced_go_with_its_parameters(run, tmp_path):
    photograph, output = tmp_path / "a.png", tmp_path / "out"
    predict, picture = mofa_jax.load_for_inference(run), skimage.data.astronaut()[..., ::-1]
    for pixels, meshes in ((picture, ["ply"]), (picture, ["obj"]), (picture // 2, ["obj"])):
        cv2.imwrite(str(photograph), pixels)
        reconstruct.reconstruct_all(predict, [photograph], output, meshes=meshes)
        assert (output / "a.0.ply").exists() == (pixels is picture)


def test_a_photograph_that_is_gone_behind_its_link_does_not_end_the_others(run, tmp_path, capsys):
    picture, link, output = tmp_path / "b.png", tmp_path / "photos/a.png", tmp_path / "out"
    link.parent.mkdir()
    cv2.imwrite(str(picture), skimage.data.astronaut()[..., ::-1])
    link.symlink_to(picture)
    predict = mofa_jax.load_for_inference(run)
    reconstruct.reconstruct_all(predict, [link], output)
    picture.rename(link.with_name("c.png"))
    summary = reconstruct.reconstruct_all(predict, [link.parent], output, resume=True)
    assert (summary.photographs, summary.skipped) == (1, 1)
    assert f"skipped: {link}: " in capsys.readouterr().err


def test_a_second_reconstruction_into_a_folder_is_refused(run, tmp_path):
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--workdir={run}"]
    command += [f"--output={tmp_path}", "astronaut"]
    with only_process(tmp_path):
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1 and [*tmp_path.iterdir()] == []
    assert f"error: {tmp_path}: another process is at work here; wait" in done.stderr


def test_a_photograph_without_a_face_any_more_keeps_no_results(run, tmp_path, capsys):
    photograph, output = tmp_path / "a.png", tmp_path / "out"
    predict = mofa_jax.load_for_inference(run)
    cv2.imwrite(str(photograph), skimage.data.astronaut()[..., ::-1])
    reconstruct.reconstruct_all(predict, [photograph], output)
    cv2.imwrite(str(photograph), np.full((300, 300, 3), 90, np.uint8))
    assert reconstruct.reconstruct_all(predict, [photograph], output).skipped == 1
    assert "no face found" in capsys.readouterr().err
    assert not [*output.glob("a.*")]


def test_the_portrait_is_written_once_and_over_nobodys_picture(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    predict = mofa_jax.load_for_inference(run)
    reconstruct.reconstruct_all(predict, ["astronaut"], "out")
    before = Path("out/astronaut.0.json").stat().st_mtime_ns
    reconstruct.reconstruct_all(predict, ["astronaut"], "out", resume=True)
    assert Path("out/astronaut.0.json").stat().st_mtime_ns == before
    cv2.imwrite("out/astronaut.png", np.full((30, 30, 3), 90, np.uint8))
    summary = reconstruct.reconstruct_all(predict, ["astronaut"], "out")
    assert summary.missing == 1 and cv2.imread("out/astronaut.png").shape == (30, 30, 3)


@pytest.mark.parametrize("output", [".", "out", "../elsewhere"])
def test_results_of_a_folder_are_not_taken_for_its_photographs(tmp_path, output):
    folder = tmp_path / "photographs"
    results = [f"x{ending}" for ending in (".overlay.jpg", ".0.panels.jpg", ".edited.jpg")]
    results += ["x.edited.panels.jpg", "contact_sheet-1.jpg", "model.sheet.png"]
    photographs = ["x.jpg", "contact_sheet-of_ours.jpg", "more/y.jpg"]
    for name in photographs + [f"{output}/{result}" for result in results]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    found, missing = find_photographs([folder], folder / output)
    assert {str(path.relative_to(folder)) for path in found} == set(photographs) and not missing
    assert find_photographs([str(folder / "*")], folder / output) == (found, 0)
    result = folder / output / results[0]
    assert find_photographs([result], folder / output) == ([result], 0)  # by its name
    made_by_a_shell = sorted(path for path in folder.rglob("*") if path.is_file())
    assert find_photographs(made_by_a_shell, folder / output) == (found, 0)
    named = [folder / output / result for result in results[:2]]
    assert find_photographs(named, folder / output) == (named, 0)


def test_a_missing_path_gives_exit_code_1_and_the_others_their_results(run, tmp_path):
    astronaut = skimage.data.astronaut()[..., ::-1]
    cv2.imwrite(str(tmp_path / "one.png"), astronaut)
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--workdir={run}"]
    command += [f"--output={tmp_path / 'out'}", str(tmp_path / "no.png"), str(tmp_path / "one.png")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert "no.png" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out" / "one.overlay.jpg").exists()


def test_a_photograph_whose_results_cannot_be_written_does_not_end_the_others(
    run, tmp_path, capsys
):
    paths = [tmp_path / f"{name}.png" for name in ("n" * 245, "one")]
    for path in paths:
        cv2.imwrite(str(path), skimage.data.astronaut()[..., ::-1])
    summary = reconstruct.reconstruct_all(mofa_jax.load_for_inference(run), paths, tmp_path / "out")
    assert summary == (1, 1, 1, 0, 0, 1)
    assert f"failed: {paths[0]}: " in capsys.readouterr().err
    assert (tmp_path / "out" / "one.overlay.jpg").exists()


def test_a_full_disk_ends_the_reconstruction(run, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(reconstruct, "save_parameters", full)
    cv2.imwrite(str(tmp_path / "one.png"), skimage.data.astronaut()[..., ::-1])
    predict = mofa_jax.load_for_inference(run)
    with pytest.raises(OSError, match="No space left"):
        reconstruct.reconstruct_all(predict, [tmp_path / "one.png"], tmp_path / "out")


def test_what_is_reconstructed_before_ctrl_c_is_on_the_contact_sheet(run, tmp_path, monkeypatch):
    def interrupted(*arguments):
        yield from found_faces(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruct, "found_faces", interrupted)
    cv2.imwrite(str(tmp_path / "two.png"), np.tile(skimage.data.astronaut()[..., ::-1], (1, 2, 1)))
    predict = mofa_jax.load_for_inference(run)
    with pytest.raises(KeyboardInterrupt):
        reconstruct.reconstruct_all(predict, [tmp_path / "two.png"], tmp_path / "out")
    assert (tmp_path / "out" / "contact_sheet-1.jpg").exists()


def test_an_interrupted_command_goes_on_where_it_was(run, tmp_path):
    folder, output = tmp_path / "photographs", tmp_path / "out"
    folder.mkdir()
    astronaut = skimage.data.astronaut()[..., ::-1]
    for name in "abcd":
        cv2.imwrite(str(folder / f"{name}.png"), astronaut)
    predict = mofa_jax.load_for_inference(run)
    reconstruct.reconstruct_all(predict, [folder], output)
    whole = cv2.imread(str(output / "contact_sheet-1.jpg"))
    (output / "b.overlay.jpg").unlink()  # killed before the end of b
    (output / "c.0.json").write_text((output / "c.0.json").read_text()[:500])  # damaged
    other = json.loads((output / "d.0.json").read_text())  # another photograph's
    other |= {"photograph": f"{folder}/elsewhere.png", "photograph_checksum": "another"}
    (output / "d.0.json").write_text(json.dumps(other))
    (output / "b.1.json").write_text((output / "b.0.json").read_text())  # of an earlier command
    before = (output / "a.0.panels.jpg").stat().st_mtime_ns
    command = [sys.executable, "-m", "mofa_jax.reconstruct", f"--workdir={run}", "--refine=0"]
    command += ["--resume", f"--output={output}", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert "4 faces in 4 of 4 photographs" in done.stdout and "(1 of them before)" in done.stdout
    assert (output / "a.0.panels.jpg").stat().st_mtime_ns == before
    assert (output / "b.overlay.jpg").exists() and not (output / "b.1.json").exists()
    for name, photograph in (("c", "c"), ("d-1", "d"), ("d", "elsewhere")):
        saved = mofa_jax.load_parameters(output / f"{name}.0.json")
        assert saved.photograph == str(folder / f"{photograph}.png")
    sheet = cv2.imread(str(output / "contact_sheet-1.jpg"))
    assert sheet.shape == whole.shape and np.abs(sheet.astype(float) - whole).mean() < 2


def test_what_another_command_has_written_is_not_taken_for_finished(run, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), skimage.data.astronaut()[..., ::-1])
    predict, output = mofa_jax.load_for_inference(run), tmp_path / "out"
    mesh = output / f"a.0.{'obj' if predict.model.uv is None else 'glb'}"
    weights = jax.tree.map(lambda leaf: 1.01 * leaf, predict.weights)
    other = dataclasses.replace(predict, weights=weights)  # of the same step
    reconstruct.reconstruct_all(predict, [tmp_path / "a.png"], output)
    reconstruct.reconstruct_all(predict, [tmp_path / "a.png"], output, meshes=["ply"], resume=True)
    assert (output / "a.0.ply").exists() and mesh.exists()
    reconstruct.reconstruct_all(other, [tmp_path / "a.png"], output, meshes=["ply"], resume=True)
    saved = mofa_jax.load_parameters(output / "a.0.json")
    assert saved.encoder_checksum == other.encoder_checksum != predict.encoder_checksum
    assert not mesh.exists()  # the first encoder's, beside the other's parameters
    reconstruct.reconstruct_all(other, [tmp_path / "a.png"], output, resume=True)
    assert mesh.exists() and (output / "a.0.ply").exists()
    reconstruct.reconstruct_all(other, [tmp_path / "a.png"], output, 1, resume=True)
    assert mofa_jax.load_parameters(output / "a.0.json").refine_steps == 1
    before = mesh.stat().st_mtime_ns
    reconstruct.reconstruct_all(other, [tmp_path / "a.png"], output, 1, resume=True)
    assert mesh.stat().st_mtime_ns == before
    cv2.imwrite(str(tmp_path / "a.png"), skimage.data.astronaut()[:, ::-1, ::-1])  # the file only
    reconstruct.reconstruct_all(other, [tmp_path / "a.png"], output, 1, resume=True)
    assert mesh.stat().st_mtime_ns > before


def test_a_face_that_was_fitted_with_others_is_not_taken_for_finished(run, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), skimage.data.astronaut()[..., ::-1])
    predict, output = mofa_jax.load_for_inference(run), tmp_path / "out"
    reconstruct.reconstruct_all(predict, [tmp_path / "a.png"], output, 1, same_person=True)
    assert mofa_jax.load_parameters(output / "a.0.json").same_person
    reconstruct.reconstruct_all(predict, [tmp_path / "a.png"], output, 1, resume=True)
    assert not mofa_jax.load_parameters(output / "a.0.json").same_person


def test_faces_of_all_photographs_go_through_the_encoder_in_batches(run, monkeypatch):
    predict, sizes = mofa_jax.load_for_inference(run), []
    encode = predict._encode

    def counted(weights, images):
        sizes.append(len(images))
        return encode(weights, images)

    predict = dataclasses.replace(predict, _encode=counted)
    astronaut = skimage.data.astronaut()
    faces = predict.faces([astronaut, np.zeros((300, 300, 3), np.uint8)] + [astronaut] * 18)
    assert sizes == [16, 16]  # the second one filled up
    assert [len(found) for found in faces] == [1, 0] + [1] * 18
    alone = predict(faces[0][0].crop.image[None])
    for found in (faces[0], faces[2], faces[19]):
        np.testing.assert_allclose(found[0].params.to_code(), alone.to_code()[0], atol=1e-5)


def test_a_notebook_goes_from_files_to_codes_in_one_line(run, tmp_path, caplog):
    astronaut = skimage.data.astronaut()
    cv2.imwrite(str(tmp_path / "one.png"), astronaut[..., ::-1])
    cv2.imwrite(str(tmp_path / "gray.png"), np.full((300, 300, 3), 90, np.uint8))
    (tmp_path / "text.png").write_text("no picture")
    predict = mofa_jax.load_for_inference(run)
    (face,) = predict.photographs(tmp_path)
    assert face.source == str(tmp_path / "one.png")
    again = tmp_path / "again.png"
    cv2.imwrite(str(again), astronaut[..., ::-1])
    in_order = [face.source for face in predict.photographs([tmp_path / "one.png", again])]
    assert in_order == [str(tmp_path / "one.png"), str(again)]
    again.unlink()
    assert "text.png" in caplog.text and "gray.png: no face found" in caplog.text
    for picture in ([astronaut], astronaut, jnp.asarray(astronaut), Image.fromarray(astronaut)):
        (same,) = predict.photographs(picture)
        assert same.source == 0
        np.testing.assert_array_equal(same.params.to_code(), face.params.to_code())
        np.testing.assert_array_equal(same.crop.image, face.crop.image)
    turned = Image.fromarray(np.rot90(astronaut, 2))
    turned.getexif()[0x0112] = 3  # upside down, says its orientation
    (same,) = predict.photographs(turned)
    np.testing.assert_array_equal(same.crop.image, face.crop.image)
    with pytest.raises(ValueError, match="either of them alone"):
        predict.photographs([astronaut, tmp_path / "one.png"])
    with pytest.raises(ValueError, match="a photograph is uint8"):
        predict.photographs(astronaut[..., 0])


def test_crops_of_another_size_show_the_same_geometry(run, tmp_path):
    config = ConfigDict(json.loads((run / "config.json").read_text())["config"])
    full = train_and_evaluate(config, run)  # had finished
    config.camera.image_size, config.num_steps = 120, 1
    small = train_and_evaluate(config, tmp_path / "run")
    assert small["landmark_error"] == pytest.approx(full["landmark_error"], rel=0.02)
    assert small["photometric_error"] == pytest.approx(full["photometric_error"], rel=0.1)
    astronaut = skimage.data.astronaut()[..., ::-1]
    cv2.imwrite(str(tmp_path / "one.png"), astronaut)
    predict = mofa_jax.load_for_inference(tmp_path / "run")
    reconstruct.reconstruct_all(predict, [tmp_path / "one.png"], tmp_path / "out")
    content = json.loads((tmp_path / "out" / "one.0.json").read_text())
    assert content["camera"]["image_size"] == [120, 120]
    corners = transform_points(np.array(content["crop_to_photograph"]), np.array([[60.0, 60.0]]))
    np.testing.assert_allclose(corners[0], [223, 120], atol=25)  # the astronaut's face


def test_an_evaluation_of_the_held_out_faces_agrees_with_what_training_logged(run, tmp_path):
    command = [sys.executable, "-m", "mofa_jax.evaluate", f"--workdir={run}"]
    subprocess.run([*command, f"--output={tmp_path}"], check=True, cwd=ROOT)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    logged = {key: values[2] for key, values in logged_evaluations(run).items()}
    # Whole batches of an evaluation.
    assert found["all"]["num_faces"] == logged.pop("num_faces") == 16
    assert found["all"]["num_failed"] == logged.pop("num_failed") == 0
    assert {"geometric_error", "scale_bias", "offset_x", "offset_y"} < logged.keys()
    for key, value in logged.items():
        assert found["all"]["errors"][key]["mean"] == pytest.approx(value, rel=1e-3, abs=1e-3)
    assert "<svg" in (tmp_path / "training.svg").read_text()
