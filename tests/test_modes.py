"""Scaled, orthogonal modes, and plausible expressions."""

import numpy as np
import pytest
from face_files import second_moment

from mofa_jax.face_model import FaceModelError
from mofa_jax.face_models.orthogonal_modes import (
    blendshape_modes,
    orthogonal_modes,
    plausible_weights,
    scaled_basis,
)

NAMES = ["eyeBlink_L", "eyeBlink_R", "eyeWide_L", "eyeWide_R", "jawOpen", "mouthClose"]
NAMES += [
    "eyeLookIn_L",
    "eyeLookIn_R",
    "eyeLookOut_L",
    "eyeLookOut_R",
    "cheekPuff_L",
    "cheekPuff_R",
]


def test_orthogonal_modes_keep_the_second_moment():
    basis = np.random.default_rng(0).normal(size=(30, 3, 6)) * [3, 1, 0.5, 2, 1, 1]
    modes, kept = orthogonal_modes(basis, 10)
    assert modes.shape == (30, 3, 6) and kept == pytest.approx(1)
    np.testing.assert_allclose(second_moment(modes), second_moment(basis), atol=1e-4)
    gram = modes.reshape(-1, 6).T @ modes.reshape(-1, 6)
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-3)
    assert (np.diff(np.diag(gram)) < 0).all()


def test_fewer_modes_are_the_best_ones_and_null_ones_are_left_out():
    rng = np.random.default_rng(1)
    basis = rng.normal(size=(40, 3, 5))
    modes, kept = orthogonal_modes(basis, 2)
    singular = np.linalg.svd(basis.reshape(-1, 5), compute_uv=False)
    assert kept == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())
    lengths = np.linalg.norm(modes.reshape(-1, 2), axis=0)
    np.testing.assert_allclose(lengths, singular[:2], rtol=1e-5)
    doubled = np.concatenate([basis, basis], axis=-1)
    assert orthogonal_modes(doubled, 10)[0].shape[-1] == 5


@pytest.mark.parametrize("basis", [np.zeros((40, 3, 0)), np.zeros((40, 3, 5))])
def test_a_basis_without_variance_has_no_modes(basis):
    modes, kept = orthogonal_modes(basis, 4)
    assert modes.shape == (40, 3, 0) and kept == 1


def test_a_basis_is_scaled_once_whichever_way_the_file_keeps_it():
    rng = np.random.default_rng(2)
    columns = np.linalg.qr(rng.normal(size=(30, 4)))[0]
    deviations = np.array([9.0, 5, 3, 2])
    np.testing.assert_allclose(scaled_basis(columns, deviations, "b", "f"), columns * deviations)
    np.testing.assert_allclose(
        scaled_basis(columns * deviations, deviations, "b", "f"), columns * deviations
    )
    with pytest.raises(FaceModelError, match=r"f: b is not scaled as expected: .* lengths 2 to 2"):
        scaled_basis(2 * columns, deviations, "b", "f")


def test_plausible_expressions_keep_the_rules():
    weights = plausible_weights(NAMES, 3000, np.random.default_rng(3))
    of = {name: weights[:, i] for i, name in enumerate(NAMES)}
    assert weights.min() == 0 and 0.9 < weights.max() <= 1
    assert (of["mouthClose"] <= of["jawOpen"]).all() and of["mouthClose"].max() > 0.1
    for side in ("L", "R"):
        assert not ((of[f"eyeBlink_{side}"] > 0) & (of[f"eyeWide_{side}"] > 0)).any()
    assert not ((of["eyeLookIn_L"] > 0) & (of["eyeLookIn_R"] > 0)).any()
    np.testing.assert_array_equal(of["eyeLookIn_L"], of["eyeLookOut_R"])
    np.testing.assert_array_equal(of["eyeLookIn_R"], of["eyeLookOut_L"])
    active = (weights > 0).mean(axis=0)
    assert (active < 0.2).all() and (active > 0.02).all()  # sparse
    alike = of["cheekPuff_L"] == of["cheekPuff_R"]
    assert 0.7 < alike[of["cheekPuff_L"] > 0].mean() < 1


def test_blendshape_modes_have_the_second_moment_of_the_drawn_expressions():
    rng = np.random.default_rng(4)
    shapes = rng.normal(size=(20, 3, len(NAMES)))
    modes = blendshape_modes(shapes, NAMES, seed=7)
    weights = plausible_weights(NAMES, 4000, np.random.default_rng(7))
    motions = weights @ shapes.reshape(-1, len(NAMES)).T
    np.testing.assert_allclose(second_moment(modes), motions.T @ motions / 4000, atol=1e-10)
    np.testing.assert_array_equal(modes, blendshape_modes(shapes, NAMES, seed=7))
