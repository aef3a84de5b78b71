"""Augmentation: landmarks stay on their pixels, and off means untouched."""

import dataclasses

import numpy as np
import pytest

from mofa_jax.data.feeds.augment import Augmentation

ALL = Augmentation(
    flip=0.5, scale=0.2, shift=15.0, rotation=30.0, exposure=0.5, contrast=0.2, color=0.1
)


def example(seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (240, 240, 3)).astype(np.uint8),
        "landmarks": rng.uniform(60, 180, (68, 2)).astype(np.float32),
        "confidence": rng.uniform(0.1, 1, 68).astype(np.float32),
        "name": "a",
    }


def spots(points: np.ndarray) -> np.ndarray:
    """Three Gaussian spots at points [3, 2], one in each channel, on black."""
    y, x = np.mgrid[:240, :240][:, :, :, None] + 0.5
    squared = (x - points[:, 0]) ** 2 + (y - points[:, 1]) ** 2
    return np.rint(250 * np.exp(-squared / (2 * 5.0**2))).astype(np.uint8)


def centroids(image: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[:240, :240][:, :, :, None] + 0.5
    weight = image.astype(np.float64)
    return np.stack([(w * weight).sum((0, 1)) / weight.sum((0, 1)) for w in (x, y)], axis=1)


def mirrored_index() -> np.ndarray:
    """The iBUG scheme's mirror partners, written out from its drawing."""
    jaw = list(range(16, -1, -1))
    brows = list(range(26, 16, -1))
    nose = [27, 28, 29, 30, 35, 34, 33, 32, 31]
    eyes = [45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40]
    outer_lips = [54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55]
    inner_lips = [64, 63, 62, 61, 60, 67, 66, 65]
    return np.array(jaw + brows + nose + eyes + outer_lips + inner_lips)


def test_everything_off_is_noop():
    before = example()
    after = Augmentation()(before, np.random.default_rng(0))
    for key in before:
        np.testing.assert_array_equal(after[key], before[key])


def test_mirroring_is_exact_and_renames_left_and_right():
    before = example()
    after = Augmentation(flip=1.0)(before, np.random.default_rng(0))
    np.testing.assert_array_equal(after["image"], before["image"][:, ::-1])
    partner = mirrored_index()
    expected = before["landmarks"][partner] * [-1, 1] + [240, 0]
    np.testing.assert_allclose(after["landmarks"], expected, atol=1e-4)
    np.testing.assert_array_equal(after["confidence"], before["confidence"][partner])


def test_landmarks_stay_on_what_they_mark():
    """Spots move with their landmarks to 0.05 px, whatever is drawn."""
    motion = dataclasses.replace(ALL, exposure=0.0, contrast=0.0, color=0.0)
    partner = mirrored_index()
    for seed in range(20):
        before = example(seed) | {"confidence": np.arange(1, 69, dtype=np.float32)}
        before["landmarks"][[30, 36, 54]] = [[120, 115], [90, 95], [140, 150]]
        before["image"] = spots(before["landmarks"][[30, 36, 54]])
        after = motion(before, np.random.default_rng(seed))
        flipped = after["confidence"][36] != 37
        marks = partner[[30, 36, 54]] if flipped else [30, 36, 54]
        error = centroids(after["image"]) - after["landmarks"][marks]
        assert np.abs(error).max() < 0.05


def test_sizes_are_kept_within_their_limits():
    square = np.array([[0, 0], [1, 0], [0, 1]]) * 100 + 70
    scales, angles, shifts = [], [], []
    for seed in range(200):
        before = example() | {"landmarks": np.resize(square, (68, 2)).astype(np.float32)}
        options = Augmentation(scale=0.2, shift=15.0, rotation=30.0)
        after = options(before, np.random.default_rng(seed))["landmarks"].astype(np.float64)
        edge = (after[1] - after[0]) / 100
        scales.append(np.hypot(*edge))
        angles.append(np.degrees(np.arctan2(edge[1], edge[0])))
        middle = (after[1] + after[2]) / 2
        shifts.append(middle - 120)
    assert 1 / 1.2 <= min(scales) < 0.86 and 1.16 < max(scales) <= 1.2
    assert -30 <= min(angles) < -27 and 27 < max(angles) <= 30
    assert 13 < np.abs(shifts).max() <= 15
    assert np.abs(np.mean(shifts, axis=0)).max() < 2


def test_beyond_the_border_the_edge_color_goes_on():
    before = example() | {"image": np.full((240, 240, 3), 77, np.uint8)}
    for seed in range(5):
        after = Augmentation(scale=0.5, shift=50.0, rotation=45.0)(
            before, np.random.default_rng(seed)
        )
        assert (after["image"] == 77).all()


def test_light_changes_each_value_as_the_formula_says():
    """Exposure and contrast alone: one increasing curve of the old value for all channels."""
    before = example()
    for seed in range(10):
        rng = np.random.default_rng(seed)
        after = Augmentation(exposure=0.5, contrast=0.2)(before, rng)["image"].astype(float)
        old = before["image"].astype(float)
        inside = (after > 0) & (after < 255)
        slope, offset = np.polyfit(old[inside], after[inside], 1)
        assert np.abs(slope * old + offset - after)[inside].max() < 0.6
        factor = 1 - offset / 127.5
        assert 1 / 1.2 - 0.02 < factor < 1.2 + 0.02
        assert 2**-0.5 - 0.02 < slope / factor < 2**0.5 + 0.02


def test_color_changes_each_channel_by_itself():
    after = Augmentation(color=0.3)(example(), np.random.default_rng(1))["image"]
    means = after.mean(axis=(0, 1)) / example()["image"].mean(axis=(0, 1))
    assert np.ptp(means) > 0.02
    assert (means > 1 / 1.3 - 0.01).all() and (means < 1.31).all()


def test_same_generator_gives_the_same_example_and_leaves_the_input_alone():
    before = example()
    first = ALL(before, np.random.default_rng(5))
    second = ALL(before, np.random.default_rng(5))
    for key in before:
        np.testing.assert_array_equal(first[key], second[key])
        np.testing.assert_array_equal(before[key], example()[key])


def test_switching_light_off_does_not_change_the_motion():
    motion = dataclasses.replace(ALL, exposure=0.0, contrast=0.0, color=0.0)
    for seed in range(5):
        np.testing.assert_array_equal(
            ALL(example(), np.random.default_rng(seed))["landmarks"],
            motion(example(), np.random.default_rng(seed))["landmarks"],
        )


@pytest.mark.parametrize("options", [{"shift": -1.0}, {"flip": 1.5}, {"scale": float("nan")}])
def test_senseless_size_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Augmentation(**options)


def test_types_are_kept():
    after = ALL(example(), np.random.default_rng(0))
    assert after["image"].dtype == np.uint8
    assert after["landmarks"].dtype == np.float32 and after["confidence"].dtype == np.float32


def test_switching_on_more_does_not_change_the_motion_drawn_before():
    """The first numbers of the generator are those of the motion, whatever else is on."""
    more = dataclasses.replace(ALL, occluder=1.0, jpeg=50.0)
    for seed in range(5):
        np.testing.assert_array_equal(
            ALL(example(), np.random.default_rng(seed))["landmarks"],
            more(example(), np.random.default_rng(seed))["landmarks"],
        )


def test_occluder_covers_a_part_of_the_pixels_and_moves_no_landmark():
    before = example() | {"image": np.full((240, 240, 3), 77, np.uint8)}
    parts = []
    for seed in range(100):
        after = Augmentation(occluder=1.0)(before, np.random.default_rng(seed))
        np.testing.assert_array_equal(after["landmarks"], before["landmarks"])
        np.testing.assert_array_equal(after["confidence"], before["confidence"])
        parts.append((np.abs(after["image"].astype(int) - 77).max(axis=2) > 2).mean())
    assert min(parts) > 0.003 and max(parts) < 0.3 and 0.03 < np.mean(parts) < 0.15


def test_occluder_comes_with_its_probability():
    before = example()
    changed = [
        (
            Augmentation(occluder=0.3)(before, np.random.default_rng(seed))["image"]
            != before["image"]
        ).any()
        for seed in range(400)
    ]
    assert 0.23 < np.mean(changed) < 0.37


def test_jpeg_noise_is_small_and_grows_with_the_loss_allowed():
    before = example() | {"image": spots(np.array([[60, 60], [120, 150], [200, 90]], float))}
    errors = []
    for loss in (1.0, 40.0, 99.0):
        afters = [
            Augmentation(jpeg=loss)(before, np.random.default_rng(seed))["image"]
            for seed in range(20)
        ]
        errors.append(np.mean([np.abs(a.astype(int) - before["image"]).mean() for a in afters]))
    assert 0 < errors[0] < errors[1] < errors[2] < 12


@pytest.mark.parametrize("options", [{"occluder": 1.1}, {"jpeg": 100.0}])
def test_impossible_probability_or_quality_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Augmentation(**options)
