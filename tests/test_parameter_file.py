"""Files of parameters: every number comes back, whatever is wrong with them is one sentence."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mofa_jax
from mofa_jax.results.parameter_file import (
    ParameterFileError,
    SavedFace,
    load_parameters,
    save_parameters,
)


def saved_face(sizes, seed=0):
    """A random face of a model with these numbers of shape, expression and reflectance modes."""
    rng = np.random.default_rng(seed)
    lengths = [*((size,) for size in sizes), (3,), (3,), (9, 3)]
    fields = [jnp.asarray(rng.normal(size=length), jnp.float32) for length in lengths]
    return SavedFace(
        params=mofa_jax.FaceParams(*fields),
        cam=mofa_jax.Camera().scaled(1 / 3),
        crop_to_photograph=rng.normal(size=(2, 3)),
        box=rng.uniform(size=4),
        photograph="/photographs/a.jpg",
        face_model="open",
        face_model_name="analytic face",
        step=7,
    )


def damaged(tmp_path, change):
    """A file whose content `change` has changed."""
    save_parameters(tmp_path / "face.json", saved_face((5, 4, 3)))
    content = json.loads((tmp_path / "face.json").read_text())
    change(content)
    (tmp_path / "face.json").write_text(json.dumps(content))
    return tmp_path / "face.json"


def test_every_number_comes_back_to_the_last_bit(tmp_path):
    face = saved_face((5, 4, 3))
    save_parameters(tmp_path / "face.json", face)
    loaded = load_parameters(tmp_path / "face.json")
    jax.tree.map(np.testing.assert_array_equal, loaded.params, face.params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(loaded.params))
    assert loaded.cam == face.cam
    np.testing.assert_array_equal(loaded.crop_to_photograph, face.crop_to_photograph)
    np.testing.assert_array_equal(loaded.box, face.box)
    for name in ("photograph", "face_model", "face_model_name", "step"):
        assert getattr(loaded, name) == getattr(face, name)
    for name in ("refine_steps", "encoder_checksum", "correlation"):
        assert getattr(loaded, name) == getattr(face, name)


def test_a_name_as_long_as_the_disk_takes_is_written(tmp_path):
    path = tmp_path / f"{'n' * 250}.json"
    save_parameters(path, saved_face((5, 4, 3)))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_every_parameter_has_a_unit(tmp_path):
    content = json.loads(damaged(tmp_path, lambda content: None).read_text())
    camera = {f"camera.{name}" for name in content["camera"]}
    names = content["parameters"].keys() | camera | {"crop_to_photograph", "detector_box"}
    assert content["units"].keys() == names


def test_a_face_of_another_model_is_refused(tmp_path, tiny_model):
    tiny_model.save(tmp_path / "model.npz")
    face = saved_face(tiny_model.code_sizes)
    assert face.load_face_model(tmp_path / "model.npz").name == tiny_model.name
    with pytest.raises(ParameterFileError, match=r"'analytic face' with \(5, .*--face_model"):
        face.load_face_model("analytic")


def test_a_face_of_another_model_with_as_many_modes_is_refused(tiny_model):
    face = saved_face(tiny_model.code_sizes)
    face.check_model(tiny_model)
    with pytest.raises(ParameterFileError, match=r"'analytic face' .* not of 'another' with"):
        face.check_model(tiny_model.replace(name="another"))


def test_a_model_whose_arrays_have_changed_is_warned_of(tmp_path, tiny_model, caplog):
    face = dataclasses.replace(
        saved_face(tiny_model.code_sizes), face_model_checksum=tiny_model.checksum()
    )
    save_parameters(tmp_path / "face.json", face)
    face = load_parameters(tmp_path / "face.json")
    face.warn_of_changes(tiny_model)
    assert not caplog.records
    face.warn_of_changes(tiny_model.replace(mean_reflectance=0.9 * tiny_model.mean_reflectance))
    assert "The arrays of face model 'analytic face' have changed" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("camera"), "camera"),
        (lambda c: c["parameters"].pop("shape"), "shape"),
        (lambda c: c["parameters"].update(rotation=[0.0, 1.0]), r"'rotation' has the shape \[2\]"),
        (lambda c: c["parameters"].update(shape=[1.0, float("nan")]), "'shape' holds NaN"),
        (lambda c: c["parameters"].update(shape="large"), "could not convert"),
        (lambda c: c["camera"].update(image_size=[0, 240]), r"camera has \(0, 240\) px"),
        (lambda c: c.update(detector_box=None), "'detector_box' has the shape"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change, message):
    path = damaged(tmp_path, change)
    with pytest.raises(ParameterFileError, match=message) as error:
        load_parameters(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_what_is_no_such_file_is_one_sentence(tmp_path):
    with pytest.raises(ParameterFileError, match="No such file"):
        load_parameters(tmp_path / "absent.json")
    with pytest.raises(ParameterFileError, match="cannot be read"):
        load_parameters(tmp_path)
    (tmp_path / "text.json").write_text("no JSON")
    with pytest.raises(ParameterFileError, match=r"mofa_jax\.reconstruct"):
        load_parameters(tmp_path / "text.json")
