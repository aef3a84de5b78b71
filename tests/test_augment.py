"""Augmentation: landmarks stay on their pixels, off means untouched, NumPy gives the same."""

import dataclasses
import functools

import cv2
import jax
import numpy as np
import pytest

from mofa_jax.data.feeds.augment import (
    Augmentation,
    apply_changes,
    augment,
    draw_changes,
    jpeg_noise,
)

MOTION = Augmentation(flip=0.5, scale=0.2, shift=15.0, rotation=30.0)
TONE = {"exposure": 0.5, "contrast": 0.2, "color": 0.1}
ALL = dataclasses.replace(MOTION, **TONE)


def example(seed: int = 0, size: int = 240) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (size, size, 3)).astype(np.uint8),
        "landmarks": rng.uniform(size / 4, 3 * size / 4, (68, 2)).astype(np.float32),
        "confidence": rng.uniform(0.1, 1, 68).astype(np.float32),
    }


@functools.cache
def compiled(options: Augmentation):
    return jax.jit(lambda before, key: augment(before, key, options))


def augmented(options: Augmentation, before: dict, seed: int) -> dict:
    return jax.device_get(compiled(options)(before, jax.random.key(seed)))


@functools.cache
def many_changes(options: Augmentation, count: int, image_size=(240, 240)):
    keys = jax.random.split(jax.random.key(0), count)
    draw = jax.jit(jax.vmap(lambda key: draw_changes(key, options, image_size)))
    return jax.device_get(draw(keys))


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


def in_numpy(before: dict, changes, options: Augmentation) -> dict:
    """The same changes without JPEG by NumPy, in double precision, pixel by pixel."""
    image = before["image"].astype(np.float64)
    height, width, _ = image.shape
    motion = np.float64(changes.motion)
    y, x = np.mgrid[:height, :width] + 0.5
    landmarks, confidence = before["landmarks"] @ motion[:, :2].T + motion[:, 2], None
    partner = mirrored_index() if changes.mirrored else np.arange(68)
    landmarks, confidence = landmarks[partner], before["confidence"][partner]
    at = (np.stack([x, y], axis=-1) - motion[:, 2]) @ np.linalg.inv(motion[:, :2]).T - 0.5
    at = np.clip(at, 0, [width - 1, height - 1])
    low = np.minimum(np.floor(at).astype(int), [width - 2, height - 2])
    part = at - low
    image = sum(
        image[low[..., 1] + down, low[..., 0] + right]
        * (np.abs(1 - right - part[..., :1]) * np.abs(1 - down - part[..., 1:]))
        for down in (0, 1)
        for right in (0, 1)
    )
    image = np.rint(image)
    shape = changes.occluder
    if options.occluder and shape.opacity:
        turn = np.array(
            [
                [np.cos(shape.angle), np.sin(shape.angle)],
                [-np.sin(shape.angle), np.cos(shape.angle)],
            ]
        )
        away = np.abs((np.stack([x, y], axis=-1) - shape.center) @ turn.T) / shape.radius
        away = away.max(axis=-1) if shape.box else np.hypot(away[..., 0], away[..., 1])
        cover = np.clip(0.5 + (1 - away) * shape.radius.min() / shape.softness, 0, 1)[..., None]
        texture = cv2.resize(shape.color, (width, height), interpolation=cv2.INTER_LINEAR)
        image = np.rint(image + cover * (texture - image))
    if options.changes_tone:
        image = np.clip(np.rint(image * changes.slope + changes.offset), 0, 255)
    return {"image": image, "landmarks": landmarks, "confidence": confidence}


@pytest.mark.parametrize("size", [64, 47])
@pytest.mark.parametrize(
    ("options", "levels"),
    [
        (Augmentation(flip=0.5), 0),
        (Augmentation(**TONE), 1),  # ties are rounded in another precision
        (Augmentation(occluder=0.7), 1),
        (MOTION, 1),
        (dataclasses.replace(ALL, occluder=0.5), 2),
    ],
)
def test_changes_are_those_of_numpy(options, levels, size):
    changes = many_changes(options, 8, (size, size))
    apply = jax.jit(lambda before, changes: apply_changes(before, changes, options))
    for k in range(8):
        before, one = example(k, size), jax.tree.map(lambda array, k=k: array[k], changes)
        found, expected = jax.device_get(apply(before, one)), in_numpy(before, one, options)
        difference = np.abs(found["image"].astype(int) - expected["image"])
        assert difference.max() <= levels and difference.mean() < 0.05
        np.testing.assert_allclose(found["landmarks"], expected["landmarks"], atol=1e-3)
        np.testing.assert_array_equal(found["confidence"], expected["confidence"])


def test_everything_off_is_noop():
    before, after = example(), augmented(Augmentation(), example(), 0)
    for key in before:
        np.testing.assert_array_equal(after[key], before[key])


def test_mirroring_is_exact_and_renames_left_and_right():
    before = example()
    after = augmented(Augmentation(flip=1.0), before, 0)
    np.testing.assert_array_equal(after["image"], before["image"][:, ::-1])
    partner = mirrored_index()
    expected = before["landmarks"][partner] * [-1, 1] + [240, 0]
    np.testing.assert_allclose(after["landmarks"], expected, atol=1e-4)
    np.testing.assert_array_equal(after["confidence"], before["confidence"][partner])


def test_landmarks_stay_on_what_they_mark():
    """Spots move with their landmarks to 0.05 px, whatever is drawn."""
    partner = mirrored_index()
    for seed in range(20):
        before = example(seed) | {"confidence": np.arange(1, 69, dtype=np.float32)}
        before["landmarks"][[30, 36, 54]] = [[120, 115], [90, 95], [140, 150]]
        before["image"] = spots(before["landmarks"][[30, 36, 54]])
        after = augmented(MOTION, before, seed)
        flipped = after["confidence"][36] != 37
        marks = partner[[30, 36, 54]] if flipped else [30, 36, 54]
        error = centroids(after["image"]) - after["landmarks"][marks]
        assert np.abs(error).max() < 0.05


@pytest.mark.parametrize(
    ("options", "known"),
    [
        (Augmentation(occluder=0.5, jpeg=20.0), 40),  # the picture of the same face in that light
        (dataclasses.replace(MOTION, flip=0.0), 7),
        (Augmentation(**TONE), 7),
        (dataclasses.replace(ALL, flip=1.0), 0),
    ],
)
def test_of_a_true_code_stays_what_the_changes_leave_true(options, known):
    before = {**example(), "code": np.arange(40, dtype=np.float32)}
    code = augmented(options, before, 3)["code"]
    np.testing.assert_array_equal(code[:known], before["code"][:known])
    assert np.isnan(code[known:]).all()


def test_sizes_are_kept_within_their_limits():
    motion = many_changes(dataclasses.replace(MOTION, flip=0.0), 500).motion.astype(np.float64)
    scales = np.sqrt(np.linalg.det(motion[:, :, :2]))
    angles = np.degrees(np.arctan2(motion[:, 1, 0], motion[:, 0, 0]))
    shifts = motion @ [120, 120, 1] - 120
    assert 1 / 1.2 <= scales.min() + 1e-6 < 0.86 and 1.16 < scales.max() <= 1.2 + 1e-6
    assert -30 <= angles.min() + 1e-3 < -27 and 27 < angles.max() <= 30 + 1e-3
    assert 13 < np.abs(shifts).max() <= 15 + 1e-3
    assert np.abs(np.mean(shifts, axis=0)).max() < 2


def test_mirroring_comes_with_its_probability():
    assert 0.25 < many_changes(Augmentation(flip=0.3), 1000).mirrored.mean() < 0.35


def test_beyond_the_border_the_edge_color_goes_on():
    before = example() | {"image": np.full((240, 240, 3), 77, np.uint8)}
    for seed in range(5):
        after = augmented(Augmentation(scale=0.5, shift=50.0, rotation=45.0), before, seed)
        assert (after["image"] == 77).all()


def test_light_changes_each_value_as_the_formula_says():
    """Exposure and contrast alone: one increasing curve of the old value for all channels."""
    before = example()
    for seed in range(10):
        after = augmented(Augmentation(exposure=0.5, contrast=0.2), before, seed)
        after, old = after["image"].astype(float), before["image"].astype(float)
        inside = (after > 0) & (after < 255)
        slope, offset = np.polyfit(old[inside], after[inside], 1)
        assert np.abs(slope * old + offset - after)[inside].max() < 0.6
        factor = 1 - offset / 127.5
        assert 1 / 1.2 - 0.02 < factor < 1.2 + 0.02
        assert 2**-0.5 - 0.02 < slope / factor < 2**0.5 + 0.02


def test_color_changes_each_channel_by_itself():
    after = augmented(Augmentation(color=0.3), example(), 1)["image"]
    means = after.mean(axis=(0, 1)) / example()["image"].mean(axis=(0, 1))
    assert np.ptp(means) > 0.02
    assert (means > 1 / 1.3 - 0.01).all() and (means < 1.31).all()


def test_same_key_gives_the_same_example_and_another_key_another():
    first, second, other = (augmented(ALL, example(), seed) for seed in (5, 5, 6))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])
    assert (first["landmarks"] != other["landmarks"]).any()


@pytest.mark.parametrize("options", [MOTION, dataclasses.replace(ALL, occluder=1.0, jpeg=50.0)])
def test_switching_on_or_off_other_changes_does_not_alter_the_motion(options):
    for seed in range(3):
        np.testing.assert_array_equal(
            augmented(ALL, example(), seed)["landmarks"],
            augmented(options, example(), seed)["landmarks"],
        )


@pytest.mark.parametrize(
    "options", [{"shift": -1.0}, {"flip": 1.5}, {"scale": np.nan}, {"occluder": 1.1}, {"jpeg": 100}]
)
def test_senseless_size_is_named(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        Augmentation(**options)


def test_types_are_kept():
    after = augmented(dataclasses.replace(ALL, occluder=1.0, jpeg=50.0), example(), 0)
    assert after["image"].dtype == np.uint8
    assert after["landmarks"].dtype == np.float32 and after["confidence"].dtype == np.float32


def test_occluder_covers_a_part_of_the_pixels_and_moves_no_landmark():
    before = example() | {"image": np.full((240, 240, 3), 77, np.uint8)}
    parts = []
    for seed in range(100):
        after = augmented(Augmentation(occluder=1.0), before, seed)
        np.testing.assert_array_equal(after["landmarks"], before["landmarks"])
        np.testing.assert_array_equal(after["confidence"], before["confidence"])
        parts.append((np.abs(after["image"].astype(int) - 77).max(axis=2) > 2).mean())
    assert min(parts) > 0.003 and max(parts) < 0.3 and 0.03 < np.mean(parts) < 0.15


def test_occluder_comes_with_its_probability():
    present = many_changes(Augmentation(occluder=0.3), 1000).occluder.opacity
    assert 0.25 < present.mean() < 0.35


def test_jpeg_noise_is_small_and_grows_with_the_loss_allowed():
    before = example() | {"image": spots(np.array([[60, 60], [120, 150], [200, 90]], float))}
    errors = []
    for loss in (1.0, 40.0, 99.0):
        afters = [augmented(Augmentation(jpeg=loss), before, seed)["image"] for seed in range(20)]
        errors.append(np.mean([np.abs(a.astype(int) - before["image"]).mean() for a in afters]))
    assert 0 < errors[0] < errors[1] < errors[2] < 12


def test_jpeg_qualities_fill_their_range():
    quality = many_changes(Augmentation(jpeg=90.0), 1000).quality
    assert (quality == np.rint(quality)).all() and (quality.min(), quality.max()) == (10, 100)


@pytest.mark.parametrize("quality", [95, 75, 50, 30, 10])
def test_jpeg_noise_is_that_of_a_jpeg_file(quality):
    """Against OpenCV's encoder and decoder, on a size that is no multiple of a block."""
    rng = np.random.default_rng(2)
    image = cv2.resize(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8), (72, 60))
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB).astype(float)
    found = np.asarray(jax.jit(jpeg_noise)(image.astype(np.float32), np.float32(quality)))
    noise = np.abs(expected - image).mean()
    assert np.abs(found - expected).mean() < 0.25 * noise + 0.3
    assert np.abs(found - image).mean() == pytest.approx(noise, rel=0.1)
