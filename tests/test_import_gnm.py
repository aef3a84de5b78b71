"""Google's GNM head, from small files with the published keys (the real one was not at hand)."""

import numpy as np
import pytest
from face_files import small_face

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.gnm import read_gnm

_M = 0.1  # meters in a decimeter


def gnm_arrays():
    """A face of skin, and three vertices of teeth behind it."""
    face = small_face()
    teeth = np.array([[0, 0, 0.1], [0.1, 0, 0.1], [0, 0.1, 0.1]])
    vertices, count = np.concatenate([face.mean, teeth]), face.count + 3

    def modes(basis, zeros):
        """[K + zeros, V, 3]; the last ones move the teeth alone."""
        out = np.zeros((basis.shape[-1] + zeros, count, 3), np.float32)
        out[: basis.shape[-1], : face.count] = np.moveaxis(basis, -1, 0) * _M
        out[basis.shape[-1] :, face.count :] = 0.001
        return out

    skin = np.arange(count) < face.count
    triangles = np.concatenate([face.triangles, [[face.count, face.count + 1, face.count + 2]]])
    uv = np.random.default_rng(0).random((count, 2))
    return face, {
        "version": np.array("3.0"),
        "variant": np.array("head"),
        "template_vertex_positions": (vertices * _M).astype(np.float32),
        "vertex_identity_basis": modes(face.shape, 2),
        "identity_names": np.array([*(f"head_{i:03d}" for i in range(5)), "eyes_000", "teeth_000"]),
        "expression_basis": modes(face.expression, 2),
        "expression_names": np.array(
            [
                *(f"{side}_eye_region_000" for side in ("left", "right")),
                *(f"lower_face_region_{i:03d}" for i in range(2)),
                *("tongue_mean", "pupils_000"),
            ]
        ),
        "triangles": triangles.astype(np.int32),
        "triangle_uvs": uv[triangles],
        "vertex_groups": np.stack([np.ones(count), skin]).astype(np.float32),
        "vertex_group_names": np.array(["head", "skin_exterior"]),
    }


def write_landmarks(path, face, order=None):
    """Rows `i0 w0 i1 w1 i2 w2`; the first vertex weighs most."""
    rows = []
    for vertex in face.landmarks[np.arange(68) if order is None else order]:
        triangle = face.triangles[(face.triangles == vertex).any(axis=1)][0]
        others = triangle[triangle != vertex]
        rows.append(f"{vertex} 0.7 {others[0]} 0.2 {others[1]} 0.1")
    path.write_text("\n".join(rows) + "\n")


def test_it_is_the_published_formula_for_head_and_face(tmp_path):
    face, arrays = gnm_arrays()
    np.savez(tmp_path / "gnm_head.npz", **arrays)
    write_landmarks(tmp_path / "head_sparse_68.txt", face)
    raw = read_gnm(tmp_path / "gnm_head.npz")
    assert raw.shape_basis.shape[-1] == 5 and raw.expression_basis.shape[-1] == 4
    rng = np.random.default_rng(1)
    identity, expression = np.zeros(7), np.zeros(6)
    identity[:5], expression[:4] = rng.normal(size=5), rng.normal(size=4)
    expected = (
        arrays["template_vertex_positions"]
        + np.einsum("i,ivd->vd", identity, arrays["vertex_identity_basis"])
        + np.einsum("e,evd->vd", expression, arrays["expression_basis"])
    )
    actual = raw.mean_shape + raw.shape_basis @ identity[:5] + raw.expression_basis @ expression[:4]
    np.testing.assert_allclose(actual * _M, expected, atol=1e-6)
    np.testing.assert_array_equal(raw.triangles, face.triangles)
    np.testing.assert_array_equal(raw.landmarks, face.landmarks)
    used = np.unique(face.triangles)
    assert raw.uv is not None and (raw.uv[used] != 0).any()


def test_a_jaw_line_listed_backwards_is_put_in_order(tmp_path):
    face, arrays = gnm_arrays()
    np.savez(tmp_path / "gnm_head.npz", **arrays)
    order = np.array([0, 1, 6, 5, 4, 3, 2, *range(7, 68)])
    write_landmarks(tmp_path / "mine.txt", face, order)
    raw = read_gnm(tmp_path / "gnm_head.npz", tmp_path / "mine.txt")
    np.testing.assert_array_equal(raw.landmarks, face.landmarks)


def test_texture_coordinates_with_a_seam_are_left_out(tmp_path):
    _, arrays = gnm_arrays()
    arrays["triangle_uvs"][0] += 0.5
    np.savez(tmp_path / "gnm_head.npz", **arrays)
    assert read_gnm(tmp_path / "gnm_head.npz").uv is None


def test_what_does_not_fit_is_one_sentence(tmp_path):
    face, arrays = gnm_arrays()
    path = tmp_path / "gnm_head.npz"

    def refused(pattern, landmarks=None, **changes):
        np.savez(path, **{k: v for k, v in {**arrays, **changes}.items() if v is not None})
        with pytest.raises(FaceModelError, match=pattern):
            read_gnm(path, landmarks)

    refused("no vertex_groups, which kind 'gnm' needs", vertex_groups=None)
    refused("no vertex group 'skin_exterior' or 'skin', found a, b", vertex_group_names=["a", "b"])
    refused(
        "expression_basis has shape .* expected", expression_basis=arrays["expression_basis"][1:]
    )
    refused("expression_names has none that begins with", expression_names=["x"] * 6)
    (tmp_path / "short.txt").write_text("1 0.5 2 0.5 3 0\n")
    refused(r"short\.txt: 1 rows of 6 numbers, expected 68", tmp_path / "short.txt")
    write_landmarks(tmp_path / "far.txt", face)
    text = (tmp_path / "far.txt").read_text()
    (tmp_path / "far.txt").write_text("99999" + text[text.index(" ") :])
    refused(r"far\.txt: .* expected 68 of three vertices below 444", tmp_path / "far.txt")
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(FaceModelError, match=r"gnm_head\.npz: a npz file that cannot be read"):
        read_gnm(path)
