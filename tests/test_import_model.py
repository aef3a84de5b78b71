"""The import command, the steps that all kinds share, and what is refused with one sentence."""

import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from face_files import second_moment, small_face

import mofa_jax
from mofa_jax.face_model import FaceModelError, face_model_from_arrays
from mofa_jax.face_models import model_checks
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.face_models.assemble import Assembly, assemble
from mofa_jax.face_models.frontal_face import frontal_face
from mofa_jax.face_models.landmark_vertices import read_landmark_vertices
from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.transfer import ReferenceFace
from mofa_jax.import_model import main


def raw_face(resolution=21, **changes):
    face = small_face(resolution)
    raw = RawModel(
        face.mean + np.array([1.0, 2.0, 3.0]),
        face.shape,
        face.expression,
        face.triangles,
        "small",
        "CC0",
        face.landmarks,
        mean_reflectance=face.color,
        reflectance_basis=face.color_basis,
    )
    return replace(raw, **changes)


def refuse_reference():
    raise AssertionError("nothing is missing, so no other model is needed")


def assembled(raw, **how):
    return assemble(raw, "test.bin", refuse_reference, Assembly(**{"subdivisions": 0, **how}))


@pytest.fixture(scope="module")
def arrays_file(tmp_path_factory):
    """Kind npz, millimeters, without reflectance and landmarks of its own choice."""
    face = small_face()
    path = tmp_path_factory.mktemp("source") / "mine.npz"
    np.savez(
        path,
        mean_shape=face.mean * 100,
        shape_basis=face.shape * 100,
        expression_basis=face.expression * 100,
        triangles=face.triangles[:, ::-1],
        landmarks=face.landmarks,
    )
    return path


@pytest.mark.slow
def test_the_command_writes_a_model_and_a_sheet_and_says_what_it_did(arrays_file, tmp_path, capsys):
    output = tmp_path / "new" / "mine.npz"
    flags = [
        "--unit=mm",
        "--reflectance-from=analytic",
        "--subdivide=0",
        "--keep-all",
        "--name=Mine",
    ]
    main(["npz", str(arrays_file), str(output), *flags, "--license=mine too"])
    said = capsys.readouterr().out
    for part in ("unit mm", "turned the triangles", "orthogonal modes", "contact sheet", "Mine"):
        assert part in said
    model, face = mofa_jax.load_face_model(output), small_face()
    assert model.name == "Mine" and "reflectance: Apache-2.0" in model.license
    np.testing.assert_allclose(
        second_moment(model.shape_basis), second_moment(face.shape), atol=1e-4
    )
    center = np.asarray(model.mean_shape)[np.asarray(model.landmarks)[17:]].mean(axis=0)
    np.testing.assert_allclose(center, [0, 0.04, 0], atol=1e-5)
    sheet = cv2.imread(str(output.with_suffix(".sheet.png")))
    assert sheet.shape[1] == 8 * 192 and sheet.std() > 10
    assert sorted(path.name for path in output.parent.iterdir()) == ["mine.npz", "mine.sheet.png"]


def test_the_same_import_is_the_same_to_the_bit(arrays_file, tmp_path):
    flags = ["--unit=mm", "--reflectance-from=analytic", "--subdivide=0", "--no-sheet"]
    for name in ("a.npz", "b.npz"):
        main(["npz", str(arrays_file), str(tmp_path / name), *flags])
    one, other = (mofa_jax.load_face_model(tmp_path / name) for name in ("a.npz", "b.npz"))
    assert one.checksum() == other.checksum()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["bfm2009"], "a npz file, but kind 'bfm2009' reads a MATLAB file"),
        (["bfm2017"], "a npz file, but kind 'bfm2017' reads a HDF5 file"),
        (["gnm"], "no template_vertex_positions, .* which kind 'gnm' needs"),
        (["flame"], "no v_template, .* which kind 'flame' needs"),
        (["ict"], "reads a FaceXModel folder of OBJ files, found no folder"),
        (["npz", "--unit=m"], r"the outer eye corners are 8\.\d+e\+04 mm apart"),
        (["npz", "--unit=mm", "--axes=-x+y-z"], "the subject's right eye is on the viewer's right"),
        (["npz", "--unit=mm", "--landmarks=missing.txt"], r"missing\.txt: there is no such file"),
        (["npz", "--unit=mm", "--reflectance-from=gone.npz"], r"gone\.npz: no such face model"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence_and_leaves_no_file(
    arrays_file, tmp_path, arguments, reason
):
    kind, *flags = arguments
    output = tmp_path / "out.npz"
    with pytest.raises(SystemExit) as ended:
        main([kind, str(arrays_file), str(output), "--subdivide=0", *flags])
    said = str(ended.value)
    assert said.startswith("error: ") and "\n" not in said
    assert re.search(reason, said), said
    assert not any(tmp_path.iterdir())


def test_a_flag_of_another_kind_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["bfm2017", "model.h5", "out.npz", "--unit=mm"])
    assert "--unit is of kind npz; kind bfm2017 is read" in capsys.readouterr().err


def test_help_names_every_kind(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    for kind in ("bfm2009", "bfm2017", "ict", "gnm", "flame", "npz", "--keep-all", "--axes"):
        assert kind in said


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["out.obj"], "OUTPUT must end in .npz"),
        (["out.npz", "--expression=shapes"], "--expression is of kind bfm2009"),
        (["out.npz", "--subdivide=-1"], "--subdivide is -1"),
        (["out.npz", "--num-shape=-3"], "--num-shape is -3"),
        (["out.npz", "--seed=-1"], "--seed is -1"),
        (["./mine.npz"], "OUTPUT is SOURCE, which would be lost"),
    ],
)
def test_flags_that_cannot_be_followed_are_refused_before_anything_is_read(
    capsys, arguments, reason
):
    with pytest.raises(SystemExit, match="2"):
        main(["npz", "mine.npz", *arguments])
    assert reason in capsys.readouterr().err


def test_the_face_is_cut_out_of_the_head_unless_all_is_kept():
    raw = raw_face(33)
    far = raw.mean_shape[:3] * 0.1 + [0, 0, -2]
    behind = RawModel(
        **{
            **vars(raw),
            "mean_shape": np.concatenate([raw.mean_shape, far]),
            **{
                key: np.concatenate([getattr(raw, key), getattr(raw, key)[:3]])
                for key in (
                    "shape_basis",
                    "expression_basis",
                    "mean_reflectance",
                    "reflectance_basis",
                )
            },
            "triangles": np.concatenate([raw.triangles, [[33 * 33, 33 * 33 + 1, 33 * 33 + 2]]]),
        }
    )
    cut, notes = assembled(behind)
    assert cut.num_vertices < 33 * 33 and any("cut the frontal face" in note for note in notes)
    whole, _ = assembled(behind, keep_all=True)
    assert whole.num_vertices == 33 * 33
    assert (np.asarray(whole.landmarks) == raw.landmarks).all()


def test_a_contour_of_missing_landmarks_is_one_sentence():
    raw = raw_face(33)
    points = raw.landmark_positions()
    points[[0, 16]] = np.nan
    with pytest.raises(FaceModelError, match="no triangle lies within the face's contour"):
        frontal_face(raw.mean_shape, raw.triangles, points)


def test_subdivision_keeps_the_landmarks_and_refines_the_surface():
    raw = raw_face()
    coarse, _ = assembled(raw, keep_all=True)
    fine, notes = assembled(raw, keep_all=True, subdivisions=1)
    assert len(fine.triangles) == 4 * len(coarse.triangles)
    np.testing.assert_array_equal(fine.landmarks, coarse.landmarks)
    away = np.asarray(fine.mean_shape)[: coarse.num_vertices] - np.asarray(coarse.mean_shape)
    assert np.abs(away).max() < 0.06
    _, automatic = assembled(raw, keep_all=True, subdivisions=None)
    assert any("subdivided 3 x (Loop)" in note for note in automatic)
    assert any("subdivided 1 x (Loop)" in note for note in notes)


def test_landmarks_settle_on_the_vertices_nearest_to_their_exact_points():
    raw = raw_face()
    start = raw.landmarks[30]
    points, goal = np.full((68, 3), np.nan), start + 3  # three edges along the grid
    points[30] = raw.mean_shape[goal] + 0.001
    model, _ = assembled(replace(raw, landmark_points=points), keep_all=True)
    assert model.landmarks[30] == goal
    others = np.arange(68) != 30
    np.testing.assert_array_equal(np.asarray(model.landmarks)[others], raw.landmarks[others])


def test_the_publishers_modes_stay_in_order_on_demand():
    raw = raw_face()
    model, _ = assembled(raw, keep_all=True, keep_modes=True, num_shape=3)
    np.testing.assert_allclose(model.shape_basis, raw.shape_basis[..., :3], atol=1e-6)


def test_a_model_without_reflectance_gets_that_of_the_reference_face():
    reference = ReferenceFace.from_model(
        face_model_from_arrays(analytic_face(33, 3, 3, 6), "reference")
    )
    raw = raw_face(mean_reflectance=None, reflectance_basis=None)
    model, _ = assemble(raw, "x", lambda: reference, Assembly(subdivisions=0, keep_all=True))
    error = np.abs(np.asarray(model.mean_reflectance) - small_face().color)
    assert model.code_sizes[2] == 6 and np.median(error) < 0.02


def nan_at(values):
    out = values.copy()
    out.flat[5] = np.nan
    return out


def with_fins(triangles):
    fins = triangles[:80].copy()
    fins[:, 2] = 300
    return np.concatenate([triangles, fins])


FACE = small_face()
ORTHONORMAL = np.linalg.qr(FACE.shape.reshape(-1, 5))[0].reshape(FACE.shape.shape)
BAD = {
    "mean_shape holds 1 NaN or infinite values": {"mean_shape": nan_at(FACE.mean)},
    "expression_basis holds 1 NaN or infinite values": {
        "expression_basis": nan_at(FACE.expression)
    },
    r"shape_basis has shape \(9, 3, 5\), expected \(441, 3, 5\)": {"shape_basis": FACE.shape[:9]},
    r"mean_reflectance has shape \(7, 3\), expected": {"mean_reflectance": FACE.color[:7]},
    r"uv has shape \(500, 2\), expected \(441, 2\)": {"uv": np.zeros((500, 2), np.float32)},
    "triangles name vertices 1 to 441, expected 0 to 440; .* count from one": {
        "triangles": FACE.triangles + 1
    },
    "landmarks name vertices .* expected -1 to 440": {"landmarks": FACE.landmarks + 300},
    "triangles meet at edges shared by more than two, expected a manifold": {
        "triangles": with_fins(FACE.triangles)
    },
    "all modes of the shape basis have the same length, so it is not scaled": {
        "shape_basis": ORTHONORMAL
    },
    "the strongest mode of the expression basis moves the face by .* expected some": {
        "expression_basis": FACE.expression * 1000
    },
    "the expression basis has no modes": {"expression_basis": FACE.expression[..., :0]},
    r"the outer eye corners are 0\.8\d* mm apart, expected 70 to 110; the unit is wrong": {
        "mean_shape": FACE.mean / 100
    },
    "the nose points backwards": {"mean_shape": FACE.mean * [1, 1, -1]},
    "the subject's right eye is on the viewer's right": {"mean_shape": FACE.mean * [-1, 1, 1]},
    "the chin is above the nose": {"mean_shape": FACE.mean * [1, -1, 1]},
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_model_is_refused_with_the_file_and_the_mend(reason):
    with pytest.raises(FaceModelError, match=rf"^test\.bin: .*{reason}") as refused:
        assembled(raw_face(**BAD[reason]))
    message = str(refused.value)
    assert "expected" in message and message.endswith(".") and "\n" not in message


def test_a_moebius_strip_is_refused():
    i = np.arange(9)
    upper, lower = 2 * i, 2 * i + 1
    after_upper, after_lower = np.roll(upper, -1), np.roll(lower, -1)
    after_upper[-1], after_lower[-1] = lower[0], upper[0]
    strip = [
        np.stack([upper, lower, after_upper], 1),
        np.stack([lower, after_lower, after_upper], 1),
    ]
    with pytest.raises(FaceModelError, match="cannot all be wound the same way"):
        model_checks.mended_surface(np.concatenate(strip), "strip")


def test_a_few_doubled_triangles_are_dropped_and_reported():
    raw = raw_face()
    doubled = np.concatenate([raw.triangles, raw.triangles[:2], [[4, 4, 5]]])
    model, notes = assembled(replace(raw, triangles=doubled), keep_all=True)
    assert len(model.triangles) == len(raw.triangles)
    assert "dropped 3 degenerate or doubled triangles" in notes


@pytest.mark.parametrize("form", ["npy", "txt", "anl"])
def test_landmark_files_of_every_form_are_read(tmp_path, form):
    path, landmarks = tmp_path / f"landmarks.{form}", np.arange(68) * 3
    if form == "npy":
        np.save(path, landmarks)
    elif form == "txt":
        path.write_text(" ".join(map(str, landmarks)))
    else:
        path.write_text("%68 landmarks\n" + "\n".join(str(i + 1) for i in landmarks))
    np.testing.assert_array_equal(read_landmark_vertices(path), landmarks)
    path.write_text("1 2 3")
    with pytest.raises(FaceModelError, match="3 values, expected the 68 whole numbers"):
        read_landmark_vertices(path)


def test_no_landmarks_at_all_are_found_by_registration():
    reference = ReferenceFace.from_model(
        face_model_from_arrays(analytic_face(33, 3, 3, 3), "reference")
    )
    raw = raw_face(33, landmarks=no_landmarks())
    model, _ = assemble(raw, "x", lambda: reference, Assembly(subdivisions=0, keep_all=True))
    expected = raw_face(33).landmarks
    away = np.linalg.norm(
        raw.mean_shape[np.asarray(model.landmarks)] - raw.mean_shape[expected], axis=1
    )
    assert np.median(away) < 0.02
