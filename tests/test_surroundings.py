"""What is painted around and before synthetic faces lies where it belongs, and moves no label."""

import jax
import numpy as np
import pytest

import mofa_jax
from mofa_jax.data.synthetic.distributions import SyntheticRanges, sample_params, sample_smile
from mofa_jax.data.synthetic.examples import example_keys, synthetic_batch

PLAIN = SyntheticRanges(
    rotation=(0.0, 0.0, 0.0), head=0.0, occluder=0.0, blur=0.0, noise=0.0, contrast=0.0
)
BATCH = 4


@pytest.fixture(scope="module")
def cam():
    return mofa_jax.Camera().scaled(0.5)


@pytest.fixture(scope="module")
def changes(tiny_model, cam):
    """(ranges, model) -> the faces, and where their pictures differ from plain ones [B, H, W]."""
    keys = example_keys(3, 7, BATCH, "train")

    def of(ranges, model=tiny_model):
        plain, dressed = (synthetic_batch(keys, model, cam, r) for r in (PLAIN, ranges))
        jax.tree.map(np.testing.assert_array_equal, plain["params"], dressed["params"])
        np.testing.assert_array_equal(plain["landmarks"], dressed["landmarks"])
        difference = np.asarray(plain["image"]) - np.asarray(dressed["image"])
        return plain, np.abs(difference).max(axis=-1) > 1e-3

    return of


def test_a_fringe_covers_the_forehead_and_leaves_eyes_nose_and_mouth(changes):
    faces, changed = changes(PLAIN.replace(fringe=1.0))
    for points, where in zip(np.asarray(faces["landmarks"]), changed, strict=True):
        brows, nose = points[17:27].mean(axis=0), points[27:31].mean(axis=0)
        top = np.clip(brows + (brows - nose), 0, 119).astype(int)
        assert where[: top[1], top[0]].any()
        x, y = np.clip(points[[27, 30, 33, 51, 57]], 0, 119).astype(int).T
        assert not where[y, x].any()


def test_glasses_lie_around_the_eyes_alone(changes):
    faces, changed = changes(PLAIN.replace(glasses=1.0))
    for points, where in zip(np.asarray(faces["landmarks"]), changed, strict=True):
        eyes = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
        row, column = np.nonzero(where)
        pixels = np.stack([column, row], axis=-1) + 0.5
        distances = [np.linalg.norm(pixels - eye, axis=-1) for eye in eyes]
        reach = np.linalg.norm(eyes[1] - eyes[0])
        assert min(map(len, distances)) > 10
        assert (np.minimum(*distances) < 0.75 * reach + 2).all()
        assert all((d < 0.75 * reach + 2).any() for d in distances)


def test_without_landmarks_of_the_eyes_nobody_wears_glasses(changes, tiny_model):
    model = tiny_model.replace(landmarks=tiny_model.landmarks.at[38].set(-1))
    _, changed = changes(PLAIN.replace(glasses=1.0), model)
    assert not changed.any()


def test_a_smile_draws_the_corners_of_the_mouth_apart_and_up():
    model = mofa_jax.load_face_model("open")
    keys = jax.random.split(jax.random.key(0), 32)
    smiles = jax.vmap(sample_smile, (0, None, None))(keys, model, SyntheticRanges(smile=1.0))
    corners = np.asarray(model.landmarks)[[48, 54]]
    modes = np.asarray(model.geometry_modes, np.float64)[model.num_shape_modes :][:, :, corners]
    moved = np.einsum("bx,xcv->bvc", smiles, modes)  # dm
    side = np.sign(np.asarray(model.mean_shape)[corners, 0])
    up, apart = moved[..., 1], moved[..., 0] * side
    assert up.min() > 0 and apart.min() > 0
    assert 0.06 < up.max() < 0.09 and 0.05 < apart.max() < 0.1
    np.testing.assert_allclose(up[:, 0], up[:, 1], atol=0.005)
    np.testing.assert_allclose(apart[:, 0], apart[:, 1], atol=0.005)


def test_a_face_without_expressions_does_not_smile():
    model = mofa_jax.load_face_model("open")
    still = model.replace(geometry_modes=model.geometry_modes[: model.num_shape_modes])
    assert sample_smile(jax.random.key(0), still, SyntheticRanges(smile=1.0)).shape == (0,)


def test_a_smile_is_the_likeliest_expression_that_moves_the_mouth_so():
    model = mofa_jax.load_face_model("open")
    smile = np.asarray(sample_smile(jax.random.key(1), model, SyntheticRanges(smile=1.0)))
    vertices = np.asarray(model.landmarks)[[48, 54, 62, 66]]
    modes = np.asarray(model.geometry_modes, np.float64)[model.num_shape_modes :][:, :, vertices]
    modes = modes.reshape(len(modes), -1)
    # Every expression that moves these vertices alike is this one and a part they do not see.
    seen, *_ = np.linalg.lstsq(modes.T, modes.T @ smile, rcond=None)
    np.testing.assert_allclose(smile, seen, atol=1e-3)


def test_nobody_smiles_where_smiles_are_off_or_the_model_lacks_the_mouth(tiny_model):
    keys = jax.random.split(jax.random.key(0), 8)
    draw = jax.vmap(sample_params, (0, None, None))
    plain = draw(keys, tiny_model, SyntheticRanges())
    silent = tiny_model.replace(landmarks=tiny_model.landmarks.at[48].set(-1))
    without = draw(keys, silent, SyntheticRanges(smile=1.0))
    np.testing.assert_array_equal(plain.expression, without.expression)
    smiling = draw(keys, tiny_model, SyntheticRanges(smile=1.0))
    assert np.abs(smiling.expression - plain.expression).max() > 0.1
    np.testing.assert_array_equal(smiling.shape, plain.shape)
