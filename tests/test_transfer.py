"""Registration of one face onto another, and what is transferred through it."""

from dataclasses import replace

import numpy as np
import pytest
from face_files import small_face

from mofa_jax.face_models.raw_model import RawModel, no_landmarks
from mofa_jax.face_models.registration import register, similarity
from mofa_jax.face_models.transfer import (
    ReferenceFace,
    spread_smoothly,
    transfer_landmarks,
    transfer_reflectance,
)

SHIFT = np.array([0.3, -0.2, 1.0])  # dm


def rotation_z(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def another_person(points):
    """A smooth change of the face: wider above, longer below, a little larger."""
    x, y, z = points.T
    wider = x * (1 + 0.06 * np.tanh(2 * y))
    return 1.03 * np.stack([wider, y - 0.03 * np.cos(2 * y), z + 0.02 * np.sin(3 * x)], axis=1)


def colors_of(points):
    """Smooth colors that tell places on the neutral face apart, [N, 3]."""
    return 0.5 + 0.3 * np.sin(3 * points + [0, 1, 2])


@pytest.fixture(scope="module")
def reference():
    face = small_face(41)
    basis = np.stack([colors_of(2 * face.mean), colors_of(3 * face.mean)], axis=-1)
    color = colors_of(face.mean)
    return ReferenceFace(
        face.mean, face.triangles, face.landmarks, color, basis, "reference", "CC0"
    )


def person(resolution=33):
    """Another mesh of another person, and where its vertices lie on the reference face."""
    face = small_face(resolution)
    raw = RawModel(
        another_person(face.mean) + SHIFT,
        face.shape,
        face.expression,
        face.triangles,
        "person",
        "MIT",
        face.landmarks,
    )
    return raw, face.mean


def test_a_similarity_is_found_exactly():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    turn, shift = rotation_z(0.7), np.array([1.0, -2, 0.5])
    scale, rotation, translation = similarity(points, 1.7 * points @ turn.T + shift)
    assert scale == pytest.approx(1.7)
    np.testing.assert_allclose(rotation, turn, atol=1e-12)
    np.testing.assert_allclose(translation, shift, atol=1e-12)


def test_a_mirror_image_is_no_rotation():
    points = np.random.default_rng(1).normal(size=(20, 3))
    _, rotation, _ = similarity(points, points * [-1, 1, 1])
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_registration_lays_the_face_on_the_other_one(reference):
    raw, _ = person()
    laid = reference.laid_on(raw)
    expected = another_person(reference.vertices) + SHIFT
    away = np.linalg.norm(laid - expected, axis=1)
    assert np.median(away) < 0.03 and np.quantile(away, 0.95) < 0.08  # dm


def test_reflectance_is_that_of_the_same_place(reference):
    raw, places = person()
    model = transfer_reflectance(raw, reference)
    middle = np.linalg.norm(places[:, :2], axis=1) < 0.6
    error = np.abs(model.mean_reflectance - colors_of(places))[middle]
    assert np.median(error) < 0.01 and np.quantile(error, 0.95) < 0.03
    expected = np.stack([colors_of(2 * places), colors_of(3 * places)], axis=-1)
    error = np.abs(model.reflectance_basis - expected)[middle]
    assert np.median(error) < 0.02
    assert model.license == "geometry: MIT; reflectance: CC0"
    assert "mm away in the middle" in model.notes[-1]


@pytest.mark.parametrize("known", [[], [8, 30, 36, 39, 42, 45, 48, 54, 51, 57, 62, 66]])
def test_missing_landmarks_are_found_with_few_or_none_known(reference, known):
    raw, _ = person()
    landmarks = no_landmarks()
    landmarks[known] = raw.landmarks[known]
    found = transfer_landmarks(replace(raw, landmarks=landmarks), reference)
    away = np.linalg.norm(found.mean_shape[found.landmarks] - raw.mean_shape[raw.landmarks], axis=1)
    assert (found.landmarks[known] == raw.landmarks[known]).all()
    assert np.median(away[17:]) < 0.03 and np.quantile(away[17:], 0.9) < 0.1  # dm


def test_a_turned_and_scaled_face_is_registered_by_its_landmarks(reference):
    raw, _ = person()
    turn = rotation_z(0.4)
    moved = 1.2 * raw.mean_shape @ turn.T
    landmarks = moved[raw.landmarks]
    source = reference.vertices, reference.triangles, reference.vertices[reference.landmarks]
    laid = register(*source, moved, raw.triangles, landmarks)
    expected = 1.2 * (another_person(reference.vertices) + SHIFT) @ turn.T
    assert np.median(np.linalg.norm(laid - expected, axis=1)) < 0.03


@pytest.mark.parametrize("together", [[36, 37, 38, 39, 40, 41], list(range(68))])
def test_landmarks_at_one_place_count_once(reference, together):
    raw, _ = person()
    landmarks = reference.landmarks.copy()
    landmarks[together] = landmarks[together[0]]
    laid = replace(reference, landmarks=landmarks).laid_on(raw)
    away = np.linalg.norm(laid - another_person(reference.vertices) - SHIFT, axis=1)
    assert np.median(away) < 0.05  # dm


def test_values_are_spread_harmonically():
    """Each unknown value is its neighbors' mean; known ones stay."""
    face = small_face(21)
    values = np.random.default_rng(3).normal(size=(face.count, 2))
    known = np.arange(face.count) % 21 < 8
    spread = spread_smoothly(values, known, face.triangles)
    np.testing.assert_array_equal(spread[known], values[known])
    for vertex in np.flatnonzero(~known)[::17]:
        ring = np.unique(face.triangles[(face.triangles == vertex).any(axis=1)])
        neighbors = spread[ring[ring != vertex]]
        np.testing.assert_allclose(spread[vertex], neighbors.mean(axis=0), atol=1e-6)
