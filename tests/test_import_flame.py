"""FLAME, from small files with the published keys: a pickle of chumpy arrays, and npz.

The oracle of the jaw is FLAME's forward pass (pose correctives, then linear blend skinning along
the chain of joints) written out in NumPy, differentiated by finite differences.
"""

import collections
import pickle
import sys
import types

import numpy as np
import pytest
import scipy.sparse
from face_files import small_face

from mofa_jax.face_model import FaceModelError, face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.flame import JAW_DEVIATIONS, jaw_modes, read_flame
from mofa_jax.face_models.transfer import ReferenceFace

_M = 0.1  # meters in a decimeter
_PARENTS = [-1, 0, 1, 1, 1]  # root, neck, jaw, left eye, right eye
_JAW = 2


def flame_arrays(seed=0, resolution=21):
    face, rng = small_face(resolution), np.random.default_rng(seed)
    shapedirs = np.zeros((face.count, 3, 400))
    shapedirs[..., :5] = face.shape * _M
    shapedirs[..., 300:304] = face.expression * _M
    weights = rng.dirichlet(np.ones(5), size=face.count)
    regressor = rng.random((5, face.count)) * (rng.random((5, face.count)) < 0.05)
    regressor[:, 0] += 1e-3
    return {
        "v_template": face.mean * _M,
        "shapedirs": shapedirs,
        "posedirs": rng.normal(size=(face.count, 3, 36)) * 1e-3,
        "weights": weights,
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "f": face.triangles.astype(np.uint32),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], range(5)]),
        "bs_type": "lrotmin",
    }


def write_pickle(path, arrays, monkeypatch):
    """As the 2020 file is written: protocol 2, chumpy arrays, a sparse joint regressor."""

    class Ch:
        pass

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    fake = types.ModuleType("chumpy.ch")
    fake.Ch = Ch
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    monkeypatch.setitem(sys.modules, "chumpy.ch", fake)
    stored = dict(arrays)
    for key in ("v_template", "shapedirs", "posedirs"):
        stored[key] = Ch()
        stored[key].__dict__ = {"x": arrays[key], "_dirty_vars": {"x"}, "_itr": None}
    stored["J_regressor"] = scipy.sparse.csc_matrix(arrays["J_regressor"])
    path.write_bytes(pickle.dumps(stored, 2))
    for module in ("chumpy", "chumpy.ch"):
        monkeypatch.delitem(sys.modules, module)


def write_embedding(path, face, full=True):
    """Points on triangles; each lies nearest to the triangle's first corner."""
    corner = {int(t[0]): i for i, t in enumerate(face.triangles)}
    faces = np.array([corner.get(int(v), 0) for v in face.landmarks])
    weights = np.tile([0.8, 0.1, 0.1], (68, 1))
    if full:
        value = {"full_lmk_faces_idx": faces[None], "full_lmk_bary_coords": weights[None]}
        value |= {"static_lmk_faces_idx": faces[17:], "static_lmk_bary_coords": weights[17:]}
        np.save(path, value, allow_pickle=True)
    else:
        value = {"lmk_face_idx": faces[17:], "lmk_b_coords": weights[17:]}
        path.write_bytes(pickle.dumps(value, 2))
    return face.triangles[faces, 0]


def rotation(axis_angle):
    angle = np.linalg.norm(axis_angle)
    x, y, z = axis_angle / max(angle, 1e-30)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def flame_forward(arrays, pose):
    """[V, 3] for the five joints' axis-angles `pose` [5, 3]."""
    joints = arrays["J_regressor"] @ arrays["v_template"]
    rotations = [rotation(row) for row in pose]
    feature = np.concatenate([(r - np.eye(3)).ravel() for r in rotations[1:]])
    vertices = arrays["v_template"] + arrays["posedirs"] @ feature
    world = []
    for joint, parent in enumerate(_PARENTS):
        local = np.eye(4)
        local[:3, :3] = rotations[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    out = np.zeros_like(vertices)
    for joint, transform in enumerate(world):
        moved = (vertices - joints[joint]) @ transform[:3, :3].T + transform[:3, 3]
        out += arrays["weights"][:, [joint]] * moved
    return out


def test_jaw_modes_are_the_derivative_of_the_forward_pass():
    arrays, step = flame_arrays(), 1e-5
    np.testing.assert_allclose(
        flame_forward(arrays, np.zeros((5, 3))), arrays["v_template"], atol=1e-12
    )
    modes = jaw_modes(arrays)
    for axis in range(3):
        pose = np.zeros((5, 3))
        pose[_JAW, axis] = step
        difference = (flame_forward(arrays, pose) - flame_forward(arrays, -pose)) / (2 * step)
        np.testing.assert_allclose(modes[..., axis], difference, atol=1e-9)


@pytest.mark.parametrize("form", ["pkl", "npz"])
def test_it_is_the_published_formula_in_decimeters(tmp_path, monkeypatch, form):
    arrays, path = flame_arrays(), tmp_path / f"generic_model.{form}"
    if form == "pkl":
        write_pickle(path, arrays, monkeypatch)
    else:
        np.savez(path, **arrays)
    raw = read_flame(path)
    assert raw.shape_basis.shape[-1] == 300 and raw.expression_basis.shape[-1] == 103
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=300), rng.normal(size=100)
    expected = arrays["v_template"] + arrays["shapedirs"] @ np.concatenate([a, b])
    actual = raw.mean_shape + raw.shape_basis @ a + raw.expression_basis[..., :100] @ b
    np.testing.assert_allclose(actual * _M, expected, atol=1e-7)
    jaw = jaw_modes(arrays) * np.array(JAW_DEVIATIONS) / _M
    np.testing.assert_allclose(raw.expression_basis[..., 100:], jaw, atol=1e-6)
    np.testing.assert_array_equal(raw.triangles, arrays["f"])
    assert (raw.landmarks == -1).all()


@pytest.mark.parametrize("full", [True, False])
def test_landmarks_come_from_the_embedding_beside_the_model(tmp_path, full):
    face = small_face()
    np.savez(tmp_path / "flame.npz", **flame_arrays())
    name = "landmark_embedding.npy" if full else "flame_static_embedding.pkl"
    corners = write_embedding(tmp_path / name, face, full)
    raw = read_flame(tmp_path / "flame.npz")
    first = 0 if full else 17
    np.testing.assert_array_equal(raw.landmarks[first:], corners[first:])
    assert (raw.landmarks[:first] == -1).all()
    weights = np.array([0.8, 0.1, 0.1])
    triangle = {int(t[0]): t for t in face.triangles}
    for i in (first, 40, 67):
        point = weights @ face.mean[triangle[int(corners[i])]]
        np.testing.assert_allclose(raw.landmark_points[i], point, atol=1e-9)


class _Tensor:
    """Pickled as PyTorch pickles a tensor: by two functions, and bytes that would be opened."""

    def __reduce__(self):
        strides = 0, (79, 17), (17, 1), False, collections.OrderedDict()
        return sys.modules["torch._utils"]._rebuild_tensor_v2, (_Storage(), *strides)


class _Storage:
    def __reduce__(self):
        return sys.modules["torch.storage"]._load_from_bytes, (b"PK",)


def test_tensors_of_pytorch_in_the_embedding_stay_unread(tmp_path, monkeypatch):
    """DECA's landmark_embedding.npy holds two beside the arrays."""
    np.savez(tmp_path / "flame.npz", **flame_arrays())
    path = tmp_path / "landmark_embedding.npy"
    corners = write_embedding(path, small_face())
    value = np.load(path, allow_pickle=True).item()
    value |= {"dynamic_lmk_faces_idx": _Tensor(), "dynamic_lmk_bary_coords": _Tensor()}
    with monkeypatch.context() as patch:
        names = {"torch._utils": "_rebuild_tensor_v2", "torch.storage": "_load_from_bytes"}
        for module in ("torch", *names):
            patch.setitem(sys.modules, module, types.ModuleType(module))
        for module, name in names.items():
            function = types.FunctionType((lambda *_: None).__code__, {}, name)
            function.__module__, function.__qualname__ = module, name
            setattr(sys.modules[module], name, function)
        np.save(path, value, allow_pickle=True)
    np.testing.assert_array_equal(read_flame(tmp_path / "flame.npz").landmarks, corners)


def test_the_whole_import_gives_a_model_with_reflectance_and_the_jaw(tmp_path):
    face, arrays = small_face(33), flame_arrays(resolution=33)
    arrays["shapedirs"][..., 5:300] = 0
    np.savez(tmp_path / "flame.npz", **arrays)
    write_embedding(tmp_path / "landmark_embedding.npy", face)
    reference = ReferenceFace.from_model(
        face_model_from_arrays(analytic_face(33, 3, 3, 4), "reference")
    )
    how = Assembly(num_expression=103, keep_all=True, subdivisions=1)
    model, notes = assemble(read_flame(tmp_path / "flame.npz"), "flame", lambda: reference, how)
    assert model.code_sizes == (5, 7, 4)
    assert model.num_vertices > 4 * face.count - 4 * 33
    assert any("jaw" in note for note in notes) and any("reflectance" in note for note in notes)


def test_what_does_not_fit_is_one_sentence(tmp_path):
    path, arrays = tmp_path / "flame2023.pkl", flame_arrays()

    def refused(pattern, **changes):
        path.write_bytes(pickle.dumps({**arrays, **changes}, 2))
        with pytest.raises(FaceModelError, match=pattern):
            read_flame(path)

    refused(
        r"shapedirs has shape .* expected \(441, 3, 400\)", shapedirs=arrays["shapedirs"][..., :10]
    )
    refused(r"weights has shape \(441, 4\), expected \(441, 5\)", weights=arrays["weights"][:, :4])
    refused("an array cannot be read", posedirs="text")
    path.write_bytes(pickle.dumps({"face": np.arange(9), "lips": np.arange(3)}, 2))
    with pytest.raises(
        FaceModelError, match=r"flame2023\.pkl: no v_template, shapedirs, .*generic_model"
    ):
        read_flame(path)
    path.write_text("<html><body>sign in</body></html>")
    with pytest.raises(FaceModelError, match="an HTML page, expected a pickle or npz file"):
        read_flame(path)
    np.savez(tmp_path / "flame.npz", **arrays)
    (tmp_path / "wrong.pkl").write_bytes(pickle.dumps({"lmk_face_idx": np.arange(3)}, 2))
    with pytest.raises(FaceModelError, match=r"wrong\.pkl: expected full_lmk_faces_idx or"):
        read_flame(tmp_path / "flame.npz", tmp_path / "wrong.pkl")
