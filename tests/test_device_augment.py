"""Augmentation on the device is that of the host, given the same random numbers."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.augment_draws import NUM_DRAWS
from mofa_jax.data.feeds.device_augment import augment_batch
from mofa_jax.data.feeds.jpeg import jpeg_noise

SIZE = 64
MOTION = {"flip": 0.5, "scale": 0.2, "shift": 6.0, "rotation": 30.0}
TONE = {"exposure": 0.5, "contrast": 0.2, "color": 0.2}


def batch(count: int = 12) -> dict[str, np.ndarray]:
    """Smooth random pictures, as photographs are."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)
    smooth = [cv2.normalize(cv2.GaussianBlur(n, (0, 0), 3), None, 0, 255, 32) for n in noise]
    return {
        "image": np.stack(smooth),
        "landmarks": rng.uniform(10, 54, (count, 68, 2)).astype(np.float32),
        "confidence": rng.uniform(0.1, 1, (count, 68)).astype(np.float32),
    }


def both(options: Augmentation):
    """(device's, host's) batch for the same random numbers."""
    before = batch()
    unit = np.random.default_rng(1).uniform(-1, 1, (len(before["image"]), NUM_DRAWS))
    unit = unit.astype(np.float32)
    on_device = jax.jit(lambda b, u: augment_batch(options, b, u))(before, unit)
    examples = [
        options.apply({key: value[i] for key, value in before.items()}, unit[i].astype(float))
        for i in range(len(unit))
    ]
    on_host = {key: np.stack([e[key] for e in examples]) for key in before}
    return jax.device_get(on_device), on_host


@pytest.mark.parametrize(
    ("options", "levels"),
    [
        ({"flip": 0.5}, 0),
        (TONE, 1),  # ties are rounded in another precision
        ({"occluder": 0.7}, 1),
        (MOTION, 3),  # OpenCV knows 1/32 px
        ({**MOTION, **TONE, "occluder": 0.5}, 6),
    ],
)
def test_device_and_host_agree(options, levels):
    device, host = both(Augmentation(**options))
    assert device["image"].dtype == np.uint8
    difference = np.abs(device["image"].astype(int) - host["image"])
    assert difference.max() <= levels and difference.mean() < 0.4
    np.testing.assert_allclose(device["landmarks"], host["landmarks"], atol=1e-3)
    np.testing.assert_array_equal(device["confidence"], host["confidence"])


def test_everything_off_returns_the_batch():
    before = batch()
    assert augment_batch(Augmentation(), before, jnp.zeros((12, NUM_DRAWS))) is before


@pytest.mark.parametrize("quality", [95, 75, 50, 30, 10])
def test_jpeg_noise_is_that_of_a_jpeg_file(quality):
    """Against OpenCV's encoder and decoder, on a size that is no multiple of a block."""
    rng = np.random.default_rng(2)
    image = cv2.resize(rng.integers(0, 256, (20, 20, 3)).astype(np.uint8), (72, 60))
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    expected = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB).astype(float)
    found = np.asarray(jax.jit(jpeg_noise)(image.astype(np.float32), jnp.float32(quality)))
    noise = np.abs(expected - image).mean()
    assert np.abs(found - expected).mean() < 0.25 * noise + 0.3
    assert np.abs(found - image).mean() == pytest.approx(noise, rel=0.1)


def test_jpeg_noise_differs_by_the_quality_drawn():
    device, host = both(Augmentation(jpeg=90.0))
    before = batch()["image"].astype(int)
    noise_device, noise_host = (
        np.abs(after["image"] - before).mean(axis=(1, 2, 3)) for after in (device, host)
    )
    assert np.corrcoef(noise_device, noise_host)[0, 1] > 0.98
