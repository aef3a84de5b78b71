"""The Basel Face Models 2017 and 2019, from small files in Statismo's HDF5 layout.

The oracle is the publishers' formula: mean + pcaBasis (sqrt(pcaVariance) a), in millimeters.
"""

import json

import numpy as np
import pytest
from face_files import small_face, unit_columns

from mofa_jax.face_model import FaceModelError, face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.bfm2017 import _IBUG, read_bfm2017
from mofa_jax.face_models.transfer import ReferenceFace

h5py = pytest.importorskip("h5py")

_MM = 100  # millimeters in a decimeter


def write(path, face, color_scale=1.0, version_0_8=False, skip=(), text_type="vlen"):
    """A model2017-1_*.h5: three PCA models, points and cells, named landmarks."""
    parts = {
        "shape": (face.mean * _MM, face.shape * _MM),
        "expression": (np.full_like(face.mean, 0.3), face.expression * _MM),
        "color": (face.color * color_scale, face.color_basis * color_scale),
    }
    with h5py.File(path, "w") as file:
        for part, (mean, basis) in parts.items():
            columns, lengths = unit_columns(basis)
            stored = columns * lengths if version_0_8 else columns
            file[f"{part}/model/mean"] = mean.ravel().astype(np.float32)
            file[f"{part}/model/pcaBasis"] = stored.astype(np.float32)
            file[f"{part}/model/pcaVariance"] = (lengths**2).astype(np.float32)
            file[f"{part}/model/noiseVariance"] = np.zeros(1, np.float32)
            file[f"{part}/representer/points"] = (face.mean.T * _MM).astype(np.float32)
            file[f"{part}/representer/cells"] = face.triangles.T.astype(np.int32)
        points = [
            {"id": name, "coordinates": (face.mean[face.landmarks[i]] * _MM).tolist()}
            for name, i in _IBUG.items()
        ]
        text = json.dumps([*points, {"id": "left.ear.tragus.tip", "coordinates": [80, 0, 0]}])
        types = {"vlen": text, "fixed": np.bytes_(text), "array": np.array([np.bytes_(text)])}
        file["metadata/landmarks/json"] = types[text_type]
        for key in skip:
            del file[key]
    return parts


@pytest.fixture
def face():
    return small_face()


@pytest.mark.parametrize("version_0_8", [False, True])
@pytest.mark.parametrize("color_scale", [1.0, 255.0])
def test_it_is_the_published_formula(tmp_path, face, version_0_8, color_scale):
    path = tmp_path / "model2017-1_face12_nomouth.h5"
    write(path, face, color_scale, version_0_8)
    raw = read_bfm2017(path)
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=k) for k in (5, 4, 3))
    shape, shape_lengths = unit_columns(face.shape * _MM)
    motion, motion_lengths = unit_columns(face.expression * _MM)
    color, color_lengths = unit_columns(face.color_basis)
    expected = face.mean * _MM + (
        shape @ (shape_lengths * a) + motion @ (motion_lengths * b)
    ).reshape(-1, 3)
    actual = raw.mean_shape + raw.shape_basis @ a + raw.expression_basis @ [*b, 0]
    np.testing.assert_allclose(actual * _MM, expected, atol=1e-3)
    expected = face.color + (color @ (color_lengths * c)).reshape(-1, 3)
    np.testing.assert_allclose(
        raw.mean_reflectance + raw.reflectance_basis @ c, expected, atol=1e-5
    )
    np.testing.assert_allclose(raw.expression_basis[..., -1] * _MM, 0.3, atol=1e-6)


@pytest.mark.parametrize("text_type", ["vlen", "fixed", "array"])
def test_named_landmarks_are_found_and_no_others(tmp_path, face, text_type):
    path = tmp_path / "model2019_bfm.h5"
    write(path, face, text_type=text_type)
    raw = read_bfm2017(path)
    named = np.isin(np.arange(68), list(_IBUG.values()))
    np.testing.assert_array_equal(raw.landmarks[named], face.landmarks[named])
    assert (raw.landmarks[~named] == -1).all()


def test_the_other_landmarks_come_from_a_registered_face(tmp_path):
    face = small_face(resolution=49)
    path = tmp_path / "model2017-1_bfm_nomouth.h5"
    write(path, face)
    reference = ReferenceFace.from_model(
        face_model_from_arrays(analytic_face(49, 4, 4, 4), "reference")
    )
    model, notes = assemble(
        read_bfm2017(path), str(path), lambda: reference, Assembly(subdivisions=0)
    )
    found = np.asarray(model.mean_shape)[np.asarray(model.landmarks)]
    expected = face.mean[face.landmarks]
    away = np.linalg.norm(found - expected - (found - expected).mean(axis=0), axis=1)
    assert np.median(away) < 0.02  # dm; the mesh has vertices every 0.03
    assert any("landmarks from 'analytic face' by registration" in note for note in notes)


def test_what_does_not_fit_is_one_sentence(tmp_path, face):
    path = tmp_path / "model2017-1_bfm_nomouth.h5"

    def refused(pattern):
        with pytest.raises(FaceModelError, match=pattern):
            read_bfm2017(path)

    refused("there is no such file")
    write(path, face, skip=["expression"])
    refused("no expression/model/mean, expression/model/pcaBasis, .* which kind 'bfm2017' needs")
    write(path, face)
    with h5py.File(path, "r+") as file:
        file["color/model/pcaBasis"][...] *= 7
    refused("color/model/pcaBasis is not scaled as expected")
    write(path, face, skip=["metadata/landmarks/json"])
    with h5py.File(path, "r+") as file:
        file["metadata/landmarks/json"] = "no list"
    refused("metadata/landmarks/json cannot be read")
    path.write_bytes(b"PK\3\4 a zip")
    refused("a npz file, but kind 'bfm2017' reads a HDF5 file; give the kind that fits")
    path.write_text("<html>forbidden</html>")
    refused("an HTML page, expected a HDF5 file; .* download it again with a browser")


def test_a_file_cut_short_anywhere_is_one_sentence(tmp_path, face):
    path = tmp_path / "model2019_face12.h5"
    write(path, face)
    whole = path.read_bytes()
    for length in np.linspace(1, len(whole) - 1, 12).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(FaceModelError, match=r"model2019_face12\.h5: "):
            read_bfm2017(path)
