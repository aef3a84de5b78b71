"""ICT-FaceKit: a small FaceXModel folder, and the real one where the development data has it."""

import json
import subprocess
import sys

import numpy as np
import pytest
from face_files import small_face

import mofa_jax
from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.ict import read_ict
from mofa_jax.face_models.nearest import nearest_on_surface
from mofa_jax.face_models.transfer import ReferenceFace

_CM = 10  # centimeters in a decimeter
EXPRESSIONS = ["jawOpen", "mouthClose", "mouthSmile_L", "mouthSmile_R"]


def write_obj(path, vertices, quads, uv):
    lines = ["# ICT FaceKit", "mtllib ICTFaceModelMaterial.mtl"]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv] + ["usemtl M_Face"]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in quad) for quad in quads]
    path.write_text("\n".join(lines) + "\n")


def write_folder(folder, resolution=21):
    """A face of quads, five identity targets, four expressions; returns the face and its deltas."""
    face = small_face(resolution)
    folder.mkdir()
    corner = np.arange(face.count).reshape(resolution, resolution)
    parts = (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1])
    quads = np.stack([part.ravel() for part in parts], axis=1)
    uv = np.random.default_rng(0).random((face.count, 2))
    targets = {"generic_neutral_mesh": np.zeros_like(face.mean)}
    targets |= {f"identity{k:03d}": face.shape[..., k] for k in range(5)}
    targets |= {name: face.expression[..., k] for k, name in enumerate(EXPRESSIONS)}
    for name, delta in targets.items():
        write_obj(folder / f"{name}.obj", (face.mean + delta) * _CM, quads, uv)
    table = {"expressions": EXPRESSIONS, "idx_to_landmark_verts": face.landmarks.tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    return face, uv


def test_identity_is_the_published_formula_in_decimeters(tmp_path):
    face, uv = write_folder(tmp_path / "FaceXModel")
    raw = read_ict(tmp_path / "FaceXModel")
    weights = np.random.default_rng(1).normal(size=5)
    expected = face.mean + face.shape @ weights
    np.testing.assert_allclose(raw.mean_shape + raw.shape_basis @ weights, expected, atol=1e-5)
    np.testing.assert_array_equal(raw.landmarks, face.landmarks)
    rows = {tuple(row) for row in np.sort(raw.triangles).tolist()}
    assert rows == {tuple(row) for row in np.sort(face.triangles).tolist()}
    np.testing.assert_allclose(raw.uv, uv, atol=1e-6)


def test_expressions_span_the_blendshapes_about_neutral(tmp_path):
    face, _ = write_folder(tmp_path / "FaceXModel")
    basis = read_ict(tmp_path / "FaceXModel").expression_basis
    columns, shapes = basis.reshape(-1, 4), face.expression.reshape(-1, 4)
    solution = np.linalg.lstsq(shapes, columns, rcond=None)[0]
    np.testing.assert_allclose(shapes @ solution, columns, atol=1e-5)
    moment = solution @ solution.T  # of the weights
    jaw, close, left, right = np.sqrt(np.diag(moment))
    assert close < jaw and abs(left - right) < 0.3 * left
    assert moment[2, 3] > 0.7 * left * right  # both corners of a smile mostly go together


def test_what_does_not_fit_is_one_sentence(tmp_path):
    folder = tmp_path / "FaceXModel"
    write_folder(folder)

    def refused(pattern, source=folder):
        with pytest.raises(FaceModelError, match=pattern):
            read_ict(source)

    refused("reads a FaceXModel folder of OBJ files, found no folder", folder / "identity000.obj")
    whole = (folder / "identity002.obj").read_text()
    (folder / "identity002.obj").write_text(whole[: whole.index("\n", len(whole) // 5)])
    refused(r"identity002\.obj: \d+ vertices, expected the 441 of the neutral mesh; .* cut short")
    (folder / "identity002.obj").write_text(whole.replace("v 0.", "v 0.x", 1))
    refused(r"identity002\.obj: vertices cannot be read")
    (folder / "identity002.obj").write_text("<!doctype html>\nnot found")
    refused(r"identity002\.obj: an HTML page, expected an OBJ file")
    (folder / "identity002.obj").write_text(whole)
    (folder / "mouthClose.obj").unlink()
    refused(r"mouthClose\.obj: there is no such file")
    (folder / "vertex_indices.json").write_text("{}")
    refused(r"vertex_indices\.json: cannot be read as FaceXModel's index")
    (folder / "vertex_indices.json").unlink()
    refused(r"vertex_indices\.json: there is no such file")


@pytest.fixture(scope="module")
def real_folder(shared, tmp_path_factory):
    data = shared / "data" / "face_models"
    if not (data / "write_ict_objs.py").is_file():
        pytest.skip("the development data has no ICT-FaceKit")
    folder = tmp_path_factory.mktemp("ict")
    subprocess.run([sys.executable, str(data / "write_ict_objs.py"), str(folder)], check=True)
    return folder / "FaceXModel"


@pytest.mark.slow
def test_the_real_folder_becomes_a_face_like_the_shared_one(real_folder, shared, ict_model):
    reference = ReferenceFace.from_model(ict_model)
    raw = read_ict(real_folder)
    model, notes = assemble(raw, str(real_folder), lambda: reference, Assembly(subdivisions=0))
    assert model.code_sizes == (80, 51, 19)
    kept = next(note for note in notes if note.startswith("shape:"))
    assert float(kept.split("keep ")[1].split("%")[0]) > 99.7
    np.testing.assert_array_equal(model.landmarks, ict_model.landmarks)
    vertices, triangles = np.asarray(model.mean_shape), np.asarray(ict_model.triangles)
    reference = np.asarray(ict_model.mean_shape)
    distance = nearest_on_surface(vertices, None, reference, triangles)[2]
    assert np.quantile(distance, 0.95) < 0.01  # dm
    # The tone of the skin is the shared model's: the same colors at the same places.
    found = np.asarray(model.mean_reflectance)[np.asarray(model.landmarks)]
    expected = np.asarray(ict_model.mean_reflectance)[np.asarray(ict_model.landmarks)]
    assert np.median(np.abs(found - expected)) < 0.01
    # Random people of ICT-FaceKit lie in the span of the 80 modes.
    full = np.load(shared / "data" / "face_models" / "ict_facekit_full.npz")
    basis = np.moveaxis(full["id_basis"][:, :6706].astype(np.float64), 0, -1) / _CM
    person = (basis @ np.random.default_rng(0).normal(size=100)).ravel()
    modes = np.asarray(model.shape_basis)[:6706].reshape(-1, 80).astype(np.float64)
    rest = person - modes @ np.linalg.lstsq(modes, person, rcond=None)[0]
    assert np.sqrt(np.mean(rest**2) * 3) < 0.006  # dm


@pytest.mark.slow
def test_the_whole_real_head_is_kept_on_demand(real_folder, ict_model):
    reference = ReferenceFace.from_model(ict_model)
    how = Assembly(num_shape=10, num_expression=10, keep_all=True, subdivisions=0)
    model, _ = assemble(read_ict(real_folder, keep_all=True), "head", lambda: reference, how)
    assert 11_248 <= model.num_vertices < 12_500
    assert isinstance(model, mofa_jax.FaceModel)
