import io
import zipfile

import numpy as np
import pytest

import mofa_jax
from mofa_jax.face_model import face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.renderer import compiled_render


def arrays():
    return analytic_face(resolution=9, num_shape=3, num_expression=2, num_reflectance=2)


def write(path, content):
    np.savez(path, **content)
    return path


def test_saved_model_loads_equal_with_the_same_checksum(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "model.npz")
    loaded = mofa_jax.load_face_model(tmp_path / "model.npz")
    for key, value in tiny_model.to_arrays().items():
        np.testing.assert_array_equal(loaded.to_arrays()[key], value)
    assert loaded.checksum() == tiny_model.checksum()
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_checksum_changes_with_any_array(tiny_model):
    moved = tiny_model.mean_shape.at[0, 0].add(1e-5)
    assert tiny_model.replace(mean_shape=moved).checksum() != tiny_model.checksum()


def test_geometry_and_reflectance_are_linear_in_the_code(tiny_model):
    shape, expression, reflectance = (np.arange(1.0, n + 1) for n in tiny_model.code_sizes)
    m = {
        key: np.asarray(value, float)
        for key, value in tiny_model.to_arrays().items()
        if value.dtype.kind == "f"
    }
    geometry = m["mean_shape"] + m["shape_basis"] @ shape + m["expression_basis"] @ expression
    np.testing.assert_allclose(tiny_model.geometry(shape, expression), geometry, atol=2e-5)
    albedo = m["mean_reflectance"] + m["reflectance_basis"] @ reflectance
    np.testing.assert_allclose(tiny_model.reflectance(reflectance), albedo, atol=1e-5)


def test_float16_files_are_widened(tmp_path):
    content = arrays()
    content["shape_basis"] = content["shape_basis"].astype(np.float16)
    model = mofa_jax.load_face_model(write(tmp_path / "half.npz", content))
    assert model.shape_basis.dtype == np.float32
    with pytest.raises(ValueError, match="dtype is float16, too narrow"):
        mofa_jax.load_face_model("analytic", np.float16)


def test_coefficients_of_exchanged_lengths_are_refused(tiny_model):
    shape, expression, _ = map(np.zeros, tiny_model.code_sizes)
    with pytest.raises(ValueError, match="of one face"):
        tiny_model.geometry(expression, shape)


def test_a_model_without_reflectance_modes_is_drawn(tiny_model):
    content = tiny_model.to_arrays()
    content["reflectance_basis"] = content["reflectance_basis"][..., :0]
    model = face_model_from_arrays(content, "plain")
    rendering = mofa_jax.render(mofa_jax.FaceParams.neutral(model), model, mofa_jax.Camera())
    assert np.isfinite(rendering.color).all()


@pytest.mark.parametrize("name", ["analytic", "open"])
def test_models_in_the_box_have_the_papers_code_and_follow_the_conventions(name):
    model = mofa_jax.load_face_model(name)
    params = mofa_jax.FaceParams.neutral(model)
    assert params.to_code().shape == (257,)
    landmarks = np.asarray(model.landmarks)
    assert landmarks.min() >= 0
    center = np.asarray(model.mean_shape)[landmarks[17:]].mean(axis=0)
    np.testing.assert_allclose(center, [0, 0.04, 0], atol=1e-4)
    out = compiled_render(params, model, mofa_jax.Camera())
    assert np.mean(out.front_facing) > 0.6  # wound counter-clockwise, turned to the viewer
    screen = np.asarray(out.screen)[landmarks]
    assert screen[36, 0] < screen[45, 0]  # the subject's right eye is on the viewer's left
    assert screen[27, 1] < screen[33, 1] < screen[51, 1] < screen[8, 1]  # nose, lips, chin: down


BAD = {
    "missing key": lambda a: a.pop("mean_shape"),
    "nan": lambda a: a["shape_basis"].__setitem__((0, 0, 0), np.nan),
    "rows": lambda a: a.update(mean_reflectance=a["mean_reflectance"][:-1]),
    "flat basis": lambda a: a.update(shape_basis=a["shape_basis"].reshape(-1, 3)),
    "triangle range": lambda a: a["triangles"].__setitem__((0, 0), 10_000),
    "negative triangle": lambda a: a["triangles"].__setitem__((0, 0), -1),
    "landmark count": lambda a: a.update(landmarks=a["landmarks"][:67]),
    "landmark range": lambda a: a["landmarks"].__setitem__(0, 10_000),
    "float triangles": lambda a: a.update(triangles=a["triangles"].astype(float)),
    "integer mean": lambda a: a.update(mean_shape=a["mean_shape"].astype(int)),
    "no triangles": lambda a: a.update(triangles=np.zeros((0, 3), np.int32)),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_arrays_are_refused_in_one_sentence_that_names_the_file(tmp_path, fault):
    content = {key: np.array(value) for key, value in arrays().items()}
    BAD[fault](content)
    path = write(tmp_path / "bad.npz", content)
    with pytest.raises(mofa_jax.FaceModelError) as error:
        mofa_jax.load_face_model(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>", b"PK\x03\x04 cut short"])
def test_files_that_are_no_npz_are_refused(tmp_path, content):
    path = tmp_path / "model.npz"
    path.write_bytes(content)
    with pytest.raises(mofa_jax.FaceModelError, match="cannot be read as npz"):
        mofa_jax.load_face_model(path)


def test_truncated_npz_is_refused(tiny_model, tmp_path):
    tiny_model.save(tmp_path / "whole.npz")
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(mofa_jax.FaceModelError, match="cut short"):
        mofa_jax.load_face_model(tmp_path / "cut.npz")


def test_missing_file_is_refused_with_the_models_in_the_box(tmp_path):
    with pytest.raises(mofa_jax.FaceModelError, match="open"):
        mofa_jax.load_face_model(tmp_path / "none.npz")


def test_pickled_arrays_are_never_loaded(tmp_path):
    content = {**arrays(), "name": np.array([{"a": 1}], object)}
    with pytest.raises(mofa_jax.FaceModelError):
        mofa_jax.load_face_model(write(tmp_path / "pickled.npz", content))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_npz_is_one_sentence_or_the_model(tmp_path, tiny_model, seed):
    path = tmp_path / "model.npz"
    tiny_model.save(path)
    whole, rng = path.read_bytes(), np.random.default_rng(seed)
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        try:
            mofa_jax.load_face_model(path)
        except mofa_jax.FaceModelError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("shape", ["(10000000000000, 3)", "(1, 3)", "(-3, -147)"])
def test_a_header_that_promises_other_sizes_is_refused(tmp_path, tiny_model, shape):
    path = tmp_path / "model.npz"
    arrays = tiny_model.to_arrays()
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array)
            content = stream.getvalue()
            if key == "mean_shape":
                start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
                content = start + header.encode() + array.tobytes()
            archive.writestr(f"{key}.npy", content)
    with pytest.raises(mofa_jax.FaceModelError, match="the header promises"):
        mofa_jax.load_face_model(path)
