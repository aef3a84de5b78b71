"""The Basel Face Model 2009, from small files in the layout that its parts are published in.

The oracle is the publishers' formula: shapeMU + shapePC (shapeEV a) + expPC (std b) in micrometers.
"""

import numpy as np
import pytest
import scipy.io
from face_files import assert_same_up_to_translation, second_moment, small_face, unit_columns

from mofa_jax import import_model
from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.bfm2009 import read_bfm2009

_UM = 1e5  # micrometers in a decimeter
_MOUTH = np.arange(0, 7)  # vertices that the trimmed model does not have
AS_PUBLISHED = Assembly(keep_modes=True, keep_all=True, keep_holes=True, subdivisions=0)


def no_reference():
    raise AssertionError("nothing is missing, so no other model is needed")


def write_v73(path, values):
    """MATLAB 7.3: HDF5 behind a block of 512 bytes, every array stored transposed."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in values.items():
            file[key] = np.asarray(value).T
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")


WRITERS = {"v5": scipy.io.savemat, "v7.3": write_v73}


class Published:
    """The folder of files, and the arrays in them."""

    def __init__(self, folder, writer="v5"):
        self.face, self.folder = small_face(), folder
        rng = np.random.default_rng(0)
        components, lengths = unit_columns(self.face.shape)
        texture, texture_lengths = unit_columns(self.face.color_basis)
        self.model = {
            "shapeMU": (self.face.mean.reshape(-1, 1) * _UM).astype(np.float32),
            "shapePC": components.astype(np.float32),
            "shapeEV": (lengths[:, None] * _UM).astype(np.float32),
            "texMU": (self.face.color.reshape(-1, 1) * 255).astype(np.float32),
            "texPC": texture.astype(np.float32),
            "texEV": (texture_lengths[:, None] * 255).astype(np.float32),
            "tl": self.face.triangles[:, ::-1].astype(np.float64) + 1,
        }
        self.trimmed = np.setdiff1d(np.arange(self.face.count), _MOUTH)
        self.expression = rng.normal(size=(3, len(self.trimmed), 3)).astype(np.float32)
        self.expression /= np.linalg.norm(self.expression, axis=(1, 2), keepdims=True)
        self.deviations = np.array([9e4, 5e4, 2e4])
        self.front = rng.permutation(len(self.trimmed))[:-5]
        place = np.full(self.face.count, -1)
        place[self.trimmed[self.front]] = np.arange(len(self.front))
        front_triangles = place[self.face.triangles]
        self.front_triangles = front_triangles[(front_triangles >= 0).all(axis=1)]
        gone = place[self.face.landmarks] < 0
        self.front_landmarks = np.where(gone, 0, place[self.face.landmarks])
        write = WRITERS[writer]
        write(folder / "01_MorphableModel.mat", self.model)
        write(folder / "BFM_exp_idx.mat", {"trimIndex": (self.trimmed + 1)[:, None]})
        with open(folder / "Exp_Pca.bin", "wb") as file:
            np.array([3], "<i4").tofile(file)
            rng.normal(size=3 * len(self.trimmed)).astype("<f4").tofile(file)
            self.expression.astype("<f4").tofile(file)
        np.savetxt(folder / "std_exp.txt", self.deviations[None])
        self.write = write

    def write_front(self):
        self.write(self.folder / "BFM_front_idx.mat", {"idx": (self.front + 1)[:, None]})
        info = {"tri": self.front_triangles + 1, "keypoints": self.front_landmarks[None] + 1}
        self.write(self.folder / "facemodel_info.mat", info)

    def vertices(self, a, b):
        """[trimmed, 3], dm."""
        m = {key: value.astype(np.float64) for key, value in self.model.items()}
        shape = (m["shapeMU"][:, 0] + m["shapePC"] @ (m["shapeEV"][:, 0] * a)).reshape(-1, 3)
        motion = np.einsum("k,kvd->vd", self.deviations * b, self.expression.astype(np.float64))
        return (shape[self.trimmed] + motion) / _UM


@pytest.fixture(params=WRITERS)
def published(request, tmp_path):
    return Published(tmp_path, request.param)


def coefficients():
    rng = np.random.default_rng(3)
    return rng.normal(size=5), rng.normal(size=3), rng.normal(size=3)


def test_geometry_and_texture_are_the_published_formula(published):
    landmarks = published.face.landmarks
    raw = read_bfm2009(published.folder / "01_MorphableModel.mat", landmarks=landmarks)
    kept = np.isin(landmarks, published.trimmed)
    assert (raw.landmarks[kept] == np.searchsorted(published.trimmed, landmarks[kept])).all()
    a, b, c = coefficients()
    geometry = raw.mean_shape + raw.shape_basis @ a + raw.expression_basis @ b
    np.testing.assert_allclose(geometry, published.vertices(a, b), atol=1e-5)
    texture = published.model["texPC"] @ (published.model["texEV"][:, 0] * c)
    texture = (published.model["texMU"][:, 0] + texture).reshape(-1, 3)[published.trimmed] / 255
    np.testing.assert_allclose(raw.mean_reflectance + raw.reflectance_basis @ c, texture, atol=1e-5)


def test_the_frontal_region_and_its_landmarks_are_taken_where_they_are_named(published):
    published.write_front()
    raw = read_bfm2009(published.folder)
    model, notes = assemble(raw, "bfm", no_reference, AS_PUBLISHED)
    a, b, _ = coefficients()
    used = np.unique(published.front_triangles)
    expected = published.vertices(a, b)[published.front][used]
    assert_same_up_to_translation(np.asarray(model.geometry(a, b)), expected, 1e-5)
    landmarks = used[np.asarray(model.landmarks)]
    np.testing.assert_array_equal(landmarks[17:], published.front_landmarks[17:])
    assert any("frontal face" in note for note in notes)


def test_given_landmarks_stay_and_only_missing_ones_are_filled(published):
    published.write_front()
    given = published.trimmed[published.front[np.arange(68)]]
    given[30] = -1
    raw = read_bfm2009(published.folder, landmarks=given)
    expected = np.arange(68)
    expected[30] = published.front_landmarks[30]
    np.testing.assert_array_equal(raw.landmarks, expected)
    assert any("took 1 of the 68 landmarks" in note for note in raw.notes)


def write_ready_frontal_model(folder):
    face = small_face()
    scipy.io.savemat(
        folder / "BFM_model_front.mat",
        {
            "meanshape": face.mean.reshape(1, -1),
            "idBase": face.shape.reshape(-1, 5),
            "exBase": face.expression.reshape(-1, 4),
            "meantex": face.color.reshape(1, -1) * 255,
            "texBase": face.color_basis.reshape(-1, 3) * 255,
            "tri": face.triangles + 1,
            "keypoints": face.landmarks[None] + 1.0,
            "point_buf": np.zeros((face.count, 8)),
        },
    )
    return face


def test_the_ready_frontal_model_keeps_its_second_moments(tmp_path):
    face = write_ready_frontal_model(tmp_path)
    raw = read_bfm2009(tmp_path / "BFM_model_front.mat")
    model, _ = assemble(raw, "front", no_reference, Assembly(subdivisions=0))
    assert model.code_sizes == (5, 4, 3)
    np.testing.assert_array_equal(model.landmarks, face.landmarks)
    for basis, expected in (
        (model.shape_basis, face.shape),
        (model.expression_basis, face.expression),
        (model.reflectance_basis, face.color_basis),
    ):
        np.testing.assert_allclose(second_moment(basis), second_moment(expected), atol=1e-5)
    np.testing.assert_allclose(model.mean_reflectance, face.color, atol=1e-6)


def test_blendshapes_of_the_same_vertices_serve_as_expressions(tmp_path):
    published = Published(tmp_path)
    folder, mean = tmp_path / "shapes", published.face.mean * _UM
    folder.mkdir()
    rng = np.random.default_rng(5)
    moves = {name: rng.normal(size=mean.shape) * 300 for name in ("smile", "jawOpen")}
    for name, move in {"neutral": 0 * mean, **moves}.items():
        lines = [f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in mean + move]
        (folder / f"{name}.obj").write_text("\n".join(lines))
    raw = read_bfm2009(tmp_path / "01_MorphableModel.mat", expression=folder)
    span = np.stack([move.ravel() for move in moves.values()], axis=1) / _UM
    rest = raw.expression_basis.reshape(-1, 2)
    solution = np.linalg.lstsq(span, rest, rcond=None)[0]
    np.testing.assert_allclose(span @ solution, rest, atol=1e-6)
    assert np.linalg.matrix_rank(solution) == 2


def test_given_expressions_are_joined_or_refused(tmp_path):
    published = Published(tmp_path)
    write_ready_frontal_model(tmp_path)
    raw = read_bfm2009(tmp_path, tmp_path / "Exp_Pca.bin")
    assert raw.expression_basis.shape == (len(published.trimmed), 3, 3)
    with pytest.raises(FaceModelError, match=r"BFM_model_front\.mat: has expressions of its own"):
        read_bfm2009(tmp_path / "BFM_model_front.mat", tmp_path / "Exp_Pca.bin")


def test_what_does_not_fit_is_one_sentence(tmp_path):
    published = Published(tmp_path)
    path = tmp_path / "01_MorphableModel.mat"
    binary = (tmp_path / "Exp_Pca.bin").read_bytes()

    def refused(pattern, source=path):
        with pytest.raises(FaceModelError, match=pattern):
            read_bfm2009(source)

    (tmp_path / "Exp_Pca.bin").write_bytes(binary[:-40])
    refused(r"Exp_Pca\.bin: \d+ bytes for 3 modes on \d+ vertices, expected \d+; it is cut short")
    (tmp_path / "Exp_Pca.bin").unlink()
    refused("has no expressions, and there is no .*Exp_Pca.bin; put")
    (tmp_path / "Exp_Pca.bin").write_bytes(binary)
    np.savetxt(tmp_path / "std_exp.txt", [1.0, 2.0])
    refused(r"std_exp\.txt: 2 numbers, expected one for each of the 3 modes")
    scipy.io.savemat(tmp_path / "BFM_exp_idx.mat", {"trimIndex": [[9999]]})
    refused(r"BFM_exp_idx\.mat: trimIndex names vertex 9999 of 441; it belongs to another model")
    scipy.io.savemat(path, {**published.model, "shapePC": 3 * published.model["shapePC"]})
    refused(
        r"01_MorphableModel\.mat: shapePC is not scaled as expected: its components have lengths 3"
    )
    scipy.io.savemat(path, {k: v for k, v in published.model.items() if k != "texEV"})
    refused(r"no texEV, which kind 'bfm2009' needs")
    (tmp_path / "page.mat").write_text("<!DOCTYPE html><html>log in</html>")
    refused("page.mat: an HTML page, expected a MATLAB file", tmp_path / "page.mat")
    refused(
        "the folder holds neither", tmp_path.joinpath("nothing").mkdir() or tmp_path / "nothing"
    )


@pytest.mark.parametrize(
    "file, key", [("facemodel_info.mat", "keypoints"), ("BFM_front_idx.mat", "idx")]
)
def test_indices_beyond_the_vertices_are_one_sentence(tmp_path, file, key):
    published = Published(tmp_path)
    published.write_front()
    content = scipy.io.loadmat(tmp_path / file)
    stored = {k: v for k, v in content.items() if not k.startswith("__")}
    stored[key] = stored[key].copy()
    stored[key].flat[0] = 70_000
    scipy.io.savemat(tmp_path / file, stored)
    model = str(tmp_path / "01_MorphableModel.mat")
    with pytest.raises(SystemExit) as ended:
        import_model.main(["bfm2009", model, str(tmp_path / "out.npz")])
    assert f"{file}: {key} names vertex 70000 of" in str(ended.value)
    assert "\n" not in str(ended.value)


def test_a_landmark_file_of_another_mesh_is_one_sentence(tmp_path):
    Published(tmp_path)
    landmarks = tmp_path / "landmarks.txt"
    landmarks.write_text(" ".join(map(str, range(69_000, 69_068))))
    model = str(tmp_path / "01_MorphableModel.mat")
    options = [f"--landmarks={landmarks}", str(tmp_path / "out.npz")]
    with pytest.raises(SystemExit, match="names vertex 69068 of 441"):
        import_model.main(["bfm2009", model, *options])


@pytest.mark.parametrize("writer", WRITERS)
def test_a_matlab_file_cut_short_anywhere_is_one_sentence(tmp_path, writer):
    Published(tmp_path, writer)
    path = tmp_path / "01_MorphableModel.mat"
    whole = path.read_bytes()
    for length in np.linspace(1, len(whole) - 1, 12).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(FaceModelError, match=r"01_MorphableModel\.mat: "):
            read_bfm2009(path)
