"""Landmarks, their confidence, and the measures by which faces are left out."""

import cv2
import numpy as np
import pytest
from skimage import data as pictures

from mofa_jax.data.faces.crop import crop_from_box
from mofa_jax.data.faces.detectors import FaceDetector, make_landmark_detector
from mofa_jax.data.faces.quality import (
    Pruned,
    Pruning,
    box_disagreement,
    change,
    check_box,
    check_landmarks,
    check_picture,
    sharpness,
)
from mofa_jax.data.sources.images import list_photographs, read_photograph
from mofa_jax.data.sources.landmark_files import FaceLandmarks

ASTRONAUT = pictures.astronaut()[0:320, 60:380]


@pytest.fixture(scope="module")
def box() -> np.ndarray:
    return FaceDetector().detect(ASTRONAUT)[0]


@pytest.fixture(scope="module")
def crop(box) -> np.ndarray:
    return crop_from_box(ASTRONAUT, box).image


@pytest.fixture(scope="module")
def dlib_landmarks():
    pytest.importorskip("dlib", reason="needs requirements-corpus.txt")
    return make_landmark_detector("dlib")


def test_landmarks_of_a_face_are_sure_and_in_their_places(dlib_landmarks, box):
    found = dlib_landmarks.detect(ASTRONAUT, box)
    assert found.confidence.mean() > 0.9
    eyes, mouth = found.points[36:48].mean(axis=0), found.points[48:].mean(axis=0)
    # Read off the photograph by eye: the eyes' middle and the mouth's.
    np.testing.assert_allclose(eyes, (165, 102), atol=3)
    np.testing.assert_allclose(mouth, (163, 146), atol=4)
    assert box_disagreement(found.points, box) < 0.15


def test_landmarks_follow_the_photograph(dlib_landmarks, box):
    moved = cv2.copyMakeBorder(ASTRONAUT, 30, 0, 50, 0, cv2.BORDER_REPLICATE)
    first = dlib_landmarks.detect(ASTRONAUT, box)
    second = dlib_landmarks.detect(moved, box + np.array([50, 30, 0, 0], np.float32))
    np.testing.assert_allclose(second.points, first.points + np.array([50, 30]), atol=1.5)


def test_landmarks_of_noise_are_unsure(dlib_landmarks):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    found = dlib_landmarks.detect(noise, np.array([50, 50, 200, 200], np.float32))
    assert found.confidence.mean() < 0.85


def test_sharpness_falls_with_blur_and_ignores_contrast(crop):
    values = [sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (0.5, 2, 5, 10)]
    assert values == sorted(values, reverse=True) and values[0] > 5 * values[-1]
    faint = (100 + 0.5 * (crop.astype(float) - 100)).round().astype(np.uint8)
    np.testing.assert_allclose(sharpness(faint), sharpness(crop), rtol=0.1)
    assert sharpness(np.full((240, 240, 3), 80, np.uint8)) == 0


def test_blurred_pictures_are_left_out(crop):
    check_picture(crop, Pruning())
    with pytest.raises(Pruned) as caught:
        check_picture(cv2.GaussianBlur(crop, (0, 0), 25), Pruning())
    assert caught.value.reason == "blurred"


def test_every_blur_of_8_px_is_left_out_and_sharp_photographs_are_kept(shared):
    """50 photographs of LFW as they are, and blurred by a Gaussian."""
    detector, kept = FaceDetector(), {0: 0, 8: 0, 12: 0}
    paths = list_photographs(shared / "data/photos/lfw")[::190][:50]
    images = [read_photograph(path) for path in paths]
    found = [(image, boxes[0]) for image in images if len(boxes := detector.detect(image))]
    for image, box in found:
        crop = crop_from_box(image, box).image
        for sigma in kept:
            blurred = cv2.GaussianBlur(crop, (0, 0), sigma) if sigma else crop
            try:
                check_picture(blurred, Pruning())
            except Pruned:
                continue
            kept[sigma] += 1
    assert kept == {0: len(found), 8: 0, 12: 0} and len(found) >= 45


def test_small_boxes_are_left_out():
    check_box(np.array([5, 5, 40, 40]), Pruning())
    with pytest.raises(Pruned) as caught:
        check_box(np.array([5, 5, 39, 39]), Pruning())
    assert caught.value.reason == "too small"


@pytest.mark.parametrize(
    ("offset", "scale", "reason"),
    [((0, 0), 1.0, None), ((45, 0), 1.0, "disagreement"), ((0, 0), 0.4, "disagreement")],
)
def test_landmarks_away_from_the_box_are_left_out(offset, scale, reason):
    box = np.array([100.0, 100.0, 100.0, 100.0])
    grid = np.random.default_rng(0).uniform(-0.5, 0.5, (68, 2))
    grid = (grid - grid.min(axis=0)) / np.ptp(grid, axis=0) - 0.5
    points = 88 * scale * grid + (150, 168) + offset
    landmarks = FaceLandmarks(points.astype(np.float32), np.ones(68, np.float32))
    if reason is None:
        check_landmarks(landmarks, box, Pruning())
        return
    with pytest.raises(Pruned) as caught:
        check_landmarks(landmarks, box, Pruning())
    assert caught.value.reason == reason


def test_absent_landmarks_are_not_judged():
    nothing = FaceLandmarks(np.zeros((68, 2), np.float32), np.zeros(68, np.float32))
    check_landmarks(nothing, np.array([0.0, 0.0, 50.0, 50.0]), Pruning())


def test_change_is_zero_for_the_same_picture_and_large_for_another(box):
    crop = crop_from_box(ASTRONAUT, box)
    assert change(crop, ASTRONAUT) == 0
    assert change(crop, np.ascontiguousarray(ASTRONAUT[:, ::-1])) > 4


def test_second_opinion_tells_a_face_from_its_surroundings(dlib_landmarks, box):
    assert dlib_landmarks.confirm(ASTRONAUT, box)
    assert not dlib_landmarks.confirm(ASTRONAUT, box + np.array([90, 100, 0, 0], np.float32))
