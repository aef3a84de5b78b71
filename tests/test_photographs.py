"""Reading photographs: every kind of file gives upright RGB or one clear sentence."""

import io
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mofa_jax.data.sources import images as photographs
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    """A smooth picture that no flip or rotation leaves as it is."""
    y, x = np.mgrid[:height, :width]
    return np.stack([8 * x, 12 * y, 4 * (x + y)], axis=-1).astype(np.uint8)


def save(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def rgb16_png(pixels: np.ndarray) -> bytes:
    """Encode uint16 [H, W, 3] as a PNG of 16 bits a channel, which Pillow cannot write."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("suffix", ["png", "webp", "bmp", "tiff"])
def test_lossless_formats_give_the_same_pixels(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(gradient()), lossless=True)
    image = read_photograph(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, gradient())


def test_jpeg_is_close_and_rgb(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(gradient()), quality=98, subsampling=0)
    assert np.abs(read_photograph(path).astype(int) - gradient()).mean() < 2


def test_extension_need_not_tell_the_truth(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(gradient()), format="PNG")
    np.testing.assert_array_equal(read_photograph(path), gradient())


def test_gray_is_the_same_in_all_channels(tmp_path):
    path = save(tmp_path / "a.png", Image.fromarray(gradient()[..., 0]))
    np.testing.assert_array_equal(read_photograph(path), gradient()[..., [0, 0, 0]])


def test_sixteen_bit_gray_is_rounded_to_eight(tmp_path):
    gray = np.linspace(0, 65535, 600).reshape(20, 30).astype(np.uint16)
    path = save(tmp_path / "a.png", Image.fromarray(gray))
    np.testing.assert_array_equal(read_photograph(path)[..., 1], np.rint(gray / 257))


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_thirty_two_bits_are_refused_and_not_read_as_black(tmp_path, dtype):
    path = save(tmp_path / "a.tiff", Image.fromarray(np.ones((20, 30), dtype)))
    with pytest.raises(PhotographError, match=r"a\.tiff: its pixels have 32 bits"):
        read_photograph(path)


def test_sixteen_bit_color_keeps_its_brightness(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(rgb16_png(gradient().astype(np.uint16) * 257))
    np.testing.assert_array_equal(read_photograph(path), gradient())


def test_transparency_is_laid_on_white(tmp_path):
    rgba = np.dstack([gradient(), np.full((20, 30), 51, np.uint8)])
    path = save(tmp_path / "a.png", Image.fromarray(rgba))
    expected = 0.2 * gradient() + 0.8 * 255
    assert np.abs(read_photograph(path) - expected).max() <= 1


def test_transparent_palette_is_laid_on_white(tmp_path):
    palette = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode=None).convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60])
    path = save(tmp_path / "a.png", palette, transparency=b"\xff\x00")
    expected = [[[10, 20, 30], [255] * 3], [[255] * 3, [10, 20, 30]]]
    np.testing.assert_array_equal(read_photograph(path), expected)


def test_cmyk_looks_like_its_rgb(tmp_path):
    image = Image.fromarray(gradient()).convert("CMYK")
    path = save(tmp_path / "a.jpg", image, quality=98)
    assert np.abs(read_photograph(path).astype(int) - gradient()).mean() < 4


# Where the upright picture's top-left corner and its right neighbor are in the stored one.
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](gradient())))
    path = save(tmp_path / "a.png", stored, exif=exif)
    np.testing.assert_array_equal(read_photograph(path), gradient())


def test_broken_exif_does_not_hide_the_picture(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff"
    path = save(tmp_path / "a.jpg", Image.fromarray(gradient()), exif=exif)
    assert read_photograph(path).shape == gradient().shape


def test_one_pixel_is_a_photograph(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (1, 1), (1, 2, 3)))
    np.testing.assert_array_equal(read_photograph(path), [[[1, 2, 3]]])


def test_panorama_of_12000_pixels_is_read_without_a_warning(tmp_path, monkeypatch):
    """Pillow would warn: its limit is set to two thirds of the panorama's pixels."""
    path = save(tmp_path / "a.png", Image.new("1", (12_000, 1_500)), compress_level=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12_000_000)
    assert read_photograph(path).shape == (1_500, 12_000, 3)


def bomb(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"x")


def cut_jpeg() -> bytes:
    file = io.BytesIO()
    Image.fromarray(gradient(200, 300)).save(file, "JPEG")
    return file.getvalue()[: file.tell() // 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is text", "not a JPEG"),
        (cut_jpeg(), "cut short"),
        (rgb16_png(np.zeros((50, 50, 3)))[:60], "cut short"),
        (bomb(13_000, 12_500), "million pixels"),
        (bomb(100_000, 100_000), "million pixels"),
    ],
    ids=["empty", "text", "cut-jpeg", "cut-png", "large", "bomb"],
)
def test_bad_content_is_named_with_the_reason(tmp_path, content, reason):
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotographError, match=reason) as caught:
        read_photograph(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_no_cut_of_a_file_raises_anything_else(tmp_path, kind):
    path = tmp_path / "a"
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path, kind, lossless=True, method=0)
    content = path.read_bytes()
    for length in range(0, len(content) - 16, len(content) // 30):
        path.write_bytes(content[:length])
        with pytest.raises(PhotographError):
            read_photograph(path)


def test_missing_folder_and_dangling_link_are_named(tmp_path):
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nothing.jpg")
    for path, reason in [
        (tmp_path, "folder"),
        (tmp_path / "none.jpg", "no such file"),
        (tmp_path / "link.jpg", "link points to no file"),
    ]:
        with pytest.raises(PhotographError, match=reason):
            read_photograph(path)


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    path = save(tmp_path / "a.png", Image.fromarray(gradient()))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(photographs, "open", refuse, raising=False)
    with pytest.raises(PhotographError, match=r"a\.png: .*Permission denied"):
        read_photograph(path)


def test_file_of_any_size_is_refused_unread(tmp_path):
    """A sparse file of 600 MB ends in a sentence, in no memory."""
    path = tmp_path / "large.jpg"
    with open(path, "wb") as file:
        file.truncate(600_000_000)
    tracemalloc.start()
    with pytest.raises(PhotographError, match=r"large\.jpg: the file has 600 MB"):
        read_photograph(path)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_listing_is_sorted_distinct_and_skips_what_is_hidden(tmp_path):
    for name in ["b.JPG", "a.png", "sub/deep/c.webp", ".d.jpg", ".e/f.jpg", "text.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "z.jpg").symlink_to("nothing")
    found = list_photographs([tmp_path, tmp_path / "a.png", str(tmp_path / "*.png")])
    names = [os.path.relpath(path, tmp_path) for path in found]
    assert names == ["a.png", "b.JPG", "sub/deep/c.webp", "z.jpg"]


def test_our_own_results_below_a_folder_are_no_photographs(tmp_path):
    results = ["a.overlay.jpg", "a.0.panels.jpg", "a.edited.jpg", "contact_sheet-1.jpg"]
    of_a_run = ["run/pictures/train-0000500.jpg", "run/pictures/eval-0000500.jpg"]
    photographs = ["a.jpg", "pictures/train-1.jpg", "train-0000500.jpg"]
    for name in [*photographs, *(f"out/{name}" for name in results), *of_a_run]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in list_photographs(tmp_path)]
    assert found == photographs
    with pytest.raises(PhotographError, match="own results left out"):
        list_photographs(tmp_path / "out")


def test_a_glob_does_not_name_the_landmarks_beside_photographs(tmp_path):
    for name in ("a.jpg", "landmarks.json", "landmarks.npz"):
        (tmp_path / name).touch()
    assert list_photographs(tmp_path / "*") == [tmp_path / "a.jpg"]


def test_names_with_brackets_are_not_globs(tmp_path):
    (tmp_path / "a[1].jpg").touch()
    assert list_photographs(tmp_path / "a[1].jpg") == [tmp_path / "a[1].jpg"]


@pytest.mark.parametrize("pattern", ["none", "*.jpg", "sub"])
def test_listing_nothing_is_an_error(tmp_path, pattern):
    (tmp_path / "sub").mkdir()
    with pytest.raises(PhotographError, match="there is no photograph"):
        list_photographs(tmp_path / pattern)
