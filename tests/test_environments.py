"""Environment maps: Radiance files and photographs, or one sentence."""

import cv2
import numpy as np
import pytest

from mofa_jax.data.sources.images import PhotographError, read_environment


def sky(height=64, scale=7.0):
    """Radiance that grows to the right in red, and is brighter above in blue."""
    rows, columns = np.mgrid[:height, : 2 * height] / height
    return scale * np.stack([columns / 2, np.full_like(rows, 0.5), 1 - rows], -1).astype(np.float32)


def test_a_radiance_file_keeps_its_scale_and_its_order_of_colors(tmp_path):
    cv2.imwrite(str(tmp_path / "sky.hdr"), sky()[..., ::-1])
    panorama = read_environment(tmp_path / "sky.hdr")
    assert panorama.shape == (128, 256, 3) and panorama.dtype == np.float32
    np.testing.assert_allclose(panorama[::8, ::8], sky(16), atol=0.3)


def test_a_photograph_is_taken_as_it_is(tmp_path):
    cv2.imwrite(str(tmp_path / "sky.png"), 255 * sky(200, scale=1.0)[..., ::-1])
    panorama = read_environment(tmp_path / "sky.png")
    np.testing.assert_allclose(panorama[::8, ::8], sky(16, scale=1.0), atol=0.05)


def header(text):
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header(b"-Y 100000 +X 200000\n"), "at most 150 million"),
        (header(b"+X 20 -Y 10\n"), "save it anew"),
        (header(b"-Y 10 +X 20\n"), "damaged"),
        (cv2.imencode(".png", np.zeros((50, 60, 3), np.uint8))[1].tobytes(), "twice as wide"),
        (b"no picture", "not a JPEG"),
    ],
)
def test_what_is_no_environment_is_one_sentence(tmp_path, content, message):
    (tmp_path / "sky.hdr").write_bytes(content)
    with pytest.raises(PhotographError, match=message) as error:
        read_environment(tmp_path / "sky.hdr")
    assert str(tmp_path / "sky.hdr") in str(error.value) and "\n" not in str(error.value)
