"""Reading photographs of any common kind and environment maps, and finding the files.

A photograph is uint8 [H, W, 3] RGB, row 0 on top, turned as its EXIF orientation says. Whatever
cannot be read raises `PhotographError` with one sentence; no warning reaches the caller.
"""

from __future__ import annotations

import contextlib
import glob
import io
import os
import re
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mofa_jax.data.sources.landmark_files import FILE_NAMES
from mofa_jax.errors import InputError, one_line
from mofa_jax.results.names import is_result

try:  # iPhones' photographs, where somebody has installed it
    import pillow_heif
except ImportError:
    HEIF = False
else:
    pillow_heif.register_heif_opener()
    HEIF = True

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".heic", ".heif"}
)
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", *(["HEIF"] if HEIF else []))
MAX_PIXELS = 150_000_000
"""Width times height above which a file is refused (450 MB decoded)."""

MAX_BYTES = 500_000_000
"""Size of a file above which it is refused unread."""

_BITS = 258  # TIFF's tag of a pixel's bits, by channel
_ANIMATED = ("GIF", "WEBP", "PNG")
_ENVIRONMENT_SIZE = 256, 128  # of an environment map, px: nine harmonics need no more
_RADIANCE = (b"#?RADIANCE", b"#?RGBE")
_RESOLUTION = re.compile(rb"\n-Y (\d{1,9}) \+X (\d{1,9})\n")
# The filters of `warnings` belong to the process: one thread at a time may exchange them.
_WARNINGS_LOCK = threading.Lock()


class PhotographError(InputError):
    """A photograph cannot be read or found; the message names the file, the reason, the fix."""


def read_photograph(path: str | os.PathLike[str]) -> np.ndarray:
    """Read one photograph as uint8 [H, W, 3] RGB, upright by its EXIF orientation.

    Raises:
      PhotographError: missing, not a file, not readable, or as `decode_photograph` says.
    """
    return decode_photograph(read_bytes(path), path)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """A regular file's content, of at most `MAX_BYTES`.

    Raises:
      PhotographError: missing, not a file, not readable or larger.
    """
    path = Path(path)
    try:
        _check_file(path)
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PhotographError(
            f"{path}: the file cannot be read ({error.strerror or error}); "
            "check its permissions and the disk"
        ) from error


def decode_photograph(content: bytes, name: str | os.PathLike[str]) -> np.ndarray:
    """Decode a file's bytes as uint8 [H, W, 3] RGB, upright by its EXIF orientation.

    Gray, palette, CMYK and 16-bit images are converted (16 bits to 8 by rounding); transparency is
    laid on white. Color profiles are not applied. `name` is for messages.

    Raises:
      PhotographError: empty, not an image, damaged, cut short or larger than `MAX_PIXELS`.
    """
    if not content:
        raise PhotographError(f"{name}: the file is empty; copy or download it again")
    try:
        with _without_warnings():
            image = Image.open(io.BytesIO(content), formats=FORMATS)  # reads the header
        if image.width * image.height > MAX_PIXELS:
            raise PhotographError(_too_large(name, f" ({image.width} x {image.height})"))
        if image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1:
            raise PhotographError(
                f"{name}: this is an animation of {image.n_frames} frames; save one as a "
                "photograph, or prepare it as a video"
            )
        depth = max(image.tag_v2.get(_BITS, (0,))) if image.format == "TIFF" else 0
        if image.mode == "F" or depth > 16:
            raise PhotographError(
                f"{name}: its pixels have 32 bits, and nothing says which value is white; save it "
                "with 8 or 16 bits"
            )
        image.load()
        return upright_rgb(image)
    except PhotographError:
        raise
    except UnidentifiedImageError as error:
        raise PhotographError(
            f"{name}: the content is not a JPEG, PNG, WebP, BMP, GIF or TIFF image"
            f"{'' if HEIF else ' (HEIC needs the package pillow-heif)'}; "
            "remove the file or save it again in one of these formats"
        ) from error
    except Image.DecompressionBombError as error:
        raise PhotographError(_too_large(name)) from error
    except Exception as error:  # decoders raise many types; every one means a damaged file
        reason = one_line(error)
        raise PhotographError(
            f"{name}: the image is damaged or cut short ({reason}); copy or download it again"
        ) from error


def upright_rgb(image: Image.Image) -> np.ndarray:
    """Pillow's image as uint8 [H, W, 3] RGB, converted as `decode_photograph` says."""
    return _to_rgb(_upright(image))


def read_environment(path: str | os.PathLike[str]) -> np.ndarray:
    """An environment map as float32 [128, 256, 3] RGB, row 0 straight above.

    A Radiance file (.hdr) holds radiance of any scale; a photograph's colors, in [0, 1], are taken
    as they are, as everywhere in this project.

    Raises:
      PhotographError: missing, damaged, too large, or not twice as wide as high.
    """
    path = Path(path)
    content = read_bytes(path)
    if content.startswith(_RADIANCE):
        panorama = _decode_radiance(content, path)
    else:
        panorama = read_photograph(path).astype(np.float32) / 255
    height, width = panorama.shape[:2]
    if abs(width - 2 * height) > 0.02 * width:
        raise PhotographError(
            f"{path}: {width} x {height} pixels are no equirectangular picture; give one that is "
            "twice as wide as high"
        )
    return cv2.resize(panorama, _ENVIRONMENT_SIZE, interpolation=cv2.INTER_AREA)


def encode_photograph(image: np.ndarray, encoding: str, jpeg_quality: int = 95) -> bytes:
    """A picture uint8 [H, W, 3] RGB as the content of a "jpeg" or "png" file."""
    if encoding == "jpeg":
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    else:
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1]  # much faster, hardly larger
    _, content = cv2.imencode(f".{encoding}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return content.tobytes()


def list_photographs(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
) -> list[Path]:
    """Return the sorted, distinct photographs that files, folders and globs name.

    See `list_files`, with `EXTENSIONS`.
    """
    return list_files(patterns, EXTENSIONS, "photograph")


def list_files(
    patterns: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    extensions: frozenset[str],
    kind: str,
) -> list[Path]:
    """Return the sorted, distinct paths that files, folders and globs name.

    A folder gives everything below it whose name ends in one of `extensions` (hidden ones, linked
    folders and what has a result's name, see `is_result`, are left out); a file is taken as it is;
    anything else is a glob (`**` goes down), which names neither results nor landmark files. `kind`
    is for the message.

    Raises:
      PhotographError: a pattern names nothing.
    """
    if isinstance(patterns, (str, os.PathLike)):
        patterns = [patterns]
    found: set[Path] = set()
    for pattern in patterns:
        if os.path.lexists(pattern):
            matches = [Path(pattern)]
        else:
            found_by_glob = map(Path, glob.glob(str(pattern), recursive=True))
            matches = [p for p in found_by_glob if p.name not in FILE_NAMES and not is_result(p)]
        files = [file for match in matches for file in _files_of(match, extensions)]
        if not files:
            raise PhotographError(
                f"{pattern}: there is no {kind} here, our own results left out; give a file, a "
                f"folder or a glob ({', '.join(sorted(extensions))})"
            )
        found.update(files)
    return sorted(found, key=lambda path: path.as_posix())


def _files_of(path: Path, extensions: frozenset[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    return [
        file
        for file in path.rglob("*")
        if file.suffix.lower() in extensions
        and not is_result(file)
        and not any(part.startswith(".") for part in file.relative_to(path).parts)
    ]


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise PhotographError(f"{path}: this is a folder, not a photograph; give a file in it")
    if not path.exists():
        what = "the link points to no file" if path.is_symlink() else "there is no such file"
        raise PhotographError(f"{path}: {what}; check the path")
    if not path.is_file():
        raise PhotographError(f"{path}: this is not a regular file; give a photograph")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise PhotographError(
            f"{path}: the file has {size / 1e6:,.0f} MB, more than {MAX_BYTES // 1_000_000}; save "
            "a smaller copy"
        )


def _upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says."""
    with _without_warnings():
        try:
            return ImageOps.exif_transpose(image)
        except Exception:  # a broken EXIF block says nothing about the pixels
            return image


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)  # broken EXIF
        yield


def _too_large(name: str | os.PathLike[str], size: str = "") -> str:
    return (
        f"{name}: the image{size} has more than {MAX_PIXELS // 1_000_000} million pixels; "
        "save a smaller copy"
    )


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16-bit gray
        gray = np.clip(np.asarray(image, np.int64), 0, 65535)
        gray = ((gray + 128) // 257).astype(np.uint8)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return np.array(image.convert("RGB"))


def _decode_radiance(content: bytes, path: Path) -> np.ndarray:
    size = _RESOLUTION.search(content[:10_000])
    if size is None:
        raise PhotographError(f"{path}: a Radiance file without '-Y height +X width'; save it anew")
    height, width = int(size[1]), int(size[2])
    if not 0 < height * width <= MAX_PIXELS:
        raise PhotographError(
            f"{path}: {width} x {height} pixels, of at most {MAX_PIXELS // 1_000_000} million; "
            "save a smaller copy"
        )
    try:
        panorama = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        panorama = None
    if panorama is None or panorama.shape != (height, width, 3) or not np.isfinite(panorama).all():
        raise PhotographError(f"{path}: the Radiance file is damaged; copy or download it again")
    return panorama[..., ::-1].astype(np.float32)
