"""Kind npz: arrays of any keys, layout, unit and axes give the same model."""

import numpy as np
import pytest
from face_files import flat, small_face

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.arrays import ArrayFormat, axes_matrix, read_arrays


@pytest.fixture
def face():
    return small_face()


def arrays_of(face):
    return {
        "mean_shape": face.mean,
        "shape_basis": face.shape,
        "expression_basis": face.expression,
        "mean_reflectance": face.color,
        "reflectance_basis": face.color_basis,
        "triangles": face.triangles,
        "landmarks": face.landmarks,
    }


LAYOUTS = {
    "[V, 3, K]": lambda b: b,
    "[3 V, K]": flat,
    "[K, V, 3]": lambda b: np.moveaxis(b, -1, 0),
    "[K, 3 V]": lambda b: flat(b).T,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_basis_is_read(tmp_path, face, layout):
    arrays = arrays_of(face)
    arrays["shape_basis"] = LAYOUTS[layout](arrays["shape_basis"])
    arrays["mean_shape"] = arrays["mean_shape"].ravel()
    np.savez(tmp_path / "a.npz", **arrays)
    raw = read_arrays(tmp_path / "a.npz", ArrayFormat())
    np.testing.assert_allclose(raw.shape_basis, face.shape, atol=1e-6)
    np.testing.assert_allclose(raw.mean_shape, face.mean, atol=1e-9)


@pytest.mark.parametrize(
    ("unit", "scale"), [("um", 1e5), ("mm", 100), ("cm", 10), ("dm", 1), ("m", 0.1)]
)
@pytest.mark.parametrize(
    ("axes", "columns", "signs"),
    [
        ("+x+y+z", [0, 1, 2], [1, 1, 1]),
        ("x+z-y", [0, 2, 1], [1, -1, 1]),
        ("-x+y-z", [0, 1, 2], [-1, 1, -1]),
    ],
)
def test_units_and_axes_are_undone(tmp_path, face, unit, scale, axes, columns, signs):
    """`columns` and `signs`: the file's x, y, z are these of ours (right, up, out)."""
    arrays = arrays_of(face)
    signs = np.array(signs, float)
    for key in ("mean_shape", "shape_basis", "expression_basis"):
        turned = arrays[key][:, columns] * signs.reshape(1, 3, *[1] * (arrays[key].ndim - 2))
        arrays[key] = turned * scale
    np.savez(tmp_path / "a.npz", **arrays)
    raw = read_arrays(tmp_path / "a.npz", ArrayFormat(unit=unit, axes=axes))
    np.testing.assert_allclose(raw.mean_shape, face.mean, atol=1e-9)
    np.testing.assert_allclose(raw.expression_basis, face.expression, atol=1e-6)


def test_other_keys_deviations_and_colors_to_255_are_read(tmp_path, face):
    arrays = arrays_of(face)
    arrays["v_template"] = arrays.pop("mean_shape")
    arrays["shape_basis"] = arrays["shape_basis"] / np.arange(1, 6)
    arrays["sigma"] = np.arange(1.0, 6.0)
    for key in ("mean_reflectance", "reflectance_basis"):
        arrays[key] = arrays[key] * 255
    np.savez(tmp_path / "a.npz", **arrays)
    how = ArrayFormat(keys={"mean_shape": "v_template"}, deviations={"shape_basis": "sigma"})
    raw = read_arrays(tmp_path / "a.npz", how)
    np.testing.assert_allclose(raw.shape_basis, face.shape, atol=1e-6)
    np.testing.assert_allclose(raw.mean_reflectance, face.color, atol=1e-6)
    np.testing.assert_allclose(raw.reflectance_basis, face.color_basis, atol=1e-6)


def test_name_and_terms_of_our_own_format_are_kept(tmp_path, face):
    np.savez(tmp_path / "a.npz", **arrays_of(face), name="mine", licence="no redistribution")
    raw = read_arrays(tmp_path / "a.npz", ArrayFormat())
    assert (raw.name, raw.license) == ("mine", "no redistribution")


@pytest.mark.parametrize("axes", ["+x+y", "+x+y+w", "+x+x+z", "-x+y+z", "+x+y+z+x", ""])
def test_axes_that_are_none_or_mirror_are_refused(axes):
    with pytest.raises(FaceModelError, match=r"axes '.*': expected three"):
        axes_matrix(axes)


def test_what_does_not_fit_is_one_sentence(tmp_path, face):
    path = tmp_path / "mine.npz"

    def refused(pattern, how=None, **changes):
        values = {k: v for k, v in {**arrays_of(face), **changes}.items() if v is not None}
        np.savez(path, **values)
        with pytest.raises(FaceModelError, match=pattern):
            read_arrays(path, how or ArrayFormat())

    refused(
        r"no shape_basis, .* It holds: .*mean_reflectance.*; name them with --key", shape_basis=None
    )
    refused(
        r"shape_basis has shape \(7, 7\), expected \(441, 3, modes\)", shape_basis=np.ones((7, 7))
    )
    refused(
        "2 standard deviations for the 5 modes",
        ArrayFormat(deviations={"shape_basis": "s"}),
        s=[1.0, 2.0],
    )
    refused("no array s; it holds", ArrayFormat(deviations={"shape_basis": "s"}))
    refused("none is 'landmark'; choose among", ArrayFormat(keys={"landmark": "landmarks"}))
    refused("none is 'expresion_basis'", ArrayFormat(deviations={"expresion_basis": "s"}))
    refused("no array lmk; it holds", ArrayFormat(keys={"landmarks": "lmk"}))
    refused("none is 'mean_shape'", ArrayFormat(deviations={"mean_shape": "s"}))
    quads = np.zeros((30, 4), int)
    for key, values in (
        ("triangles", quads),
        ("triangles", quads.astype(str)),
        ("mean_shape", np.ones((3, 441))),
        ("mean_shape", np.ones((441, 4))),
        ("mean_reflectance", np.ones((440, 1))),
    ):
        refused(rf"{key} has shape \({len(values)}, ", **{key: values})
    refused("has mean_reflectance alone", reflectance_basis=None)
    refused("landmarks has shape", landmarks=np.arange(5))
    path.write_text("not a zip")
    with pytest.raises(
        FaceModelError, match=r"a file of unknown format, but kind 'npz' reads a npz file"
    ):
        read_arrays(path, ArrayFormat())
