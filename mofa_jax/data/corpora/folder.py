"""A folder of photographs turned once into face crops on disk, then read at random."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import cv2
from tqdm import tqdm

from mofa_jax.data.corpora.crop_store import CropWriter, FolderCorpus, FolderError, load_crops
from mofa_jax.data.faces.crop import FaceDetector
from mofa_jax.data.faces.extract import ExtractOptions, Face, extract_faces
from mofa_jax.data.sources.groups import group_finder
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph, root_of
from mofa_jax.data.sources.landmark_files import (
    LandmarkFileError,
    LandmarkTable,
    find_landmark_file,
    read_landmark_file,
    read_pts,
)

__all__ = ["FolderCorpus", "FolderError", "prepare_folder"]

_FORMAT = 1  # of the stored crops; a higher number makes every cache anew
_logger = logging.getLogger(__name__)
Source = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def prepare_folder(
    source: Source,
    cache_dir: str | os.PathLike[str],
    *,
    landmarks: str | os.PathLike[str] | None = None,
    pixel_centers: str = "integer",
    require_landmarks: bool = False,
    crop: str = "haar",
    faces: str = "all",
    only_clean: bool = False,
    group_pattern: str = "",
    progress: bool = True,
    num_workers: int | None = None,
    log: Callable[[str], None] = _logger.warning,
) -> FolderCorpus:
    """Find the faces of photographs, cut them out and keep them under `cache_dir`.

    The next call with the same files, sizes, times and options reads the stored crops.

    Args:
      source: a folder (searched below too), files or globs.
      cache_dir: 173 kB a face are stored here.
      landmarks: a landmark file; by default `landmarks.json` or `landmarks.npz` in the folder, if
        any. A photograph that it does not name takes the `.pts` file beside it, if any. Points are
        those of the upright photograph.
      pixel_centers: where that file puts pixel centres, "integer" or "half" (+0.5, as here).
      require_landmarks, crop, faces, only_clean: see `ExtractOptions`.
      group_pattern: a regular expression with one group, searched in the file's stem: what it finds
        is who the photograph shows (r"(.+)_\\d+" for LFW); by default every photograph is alone.
      progress: show a bar. num_workers: threads, by default one a processor.
      log: told once of every photograph that gives no face, and of the counts at the end.

    Raises:
      PhotographError: the source names nothing. LandmarkFileError: the landmark file is not as
      expected. FolderError: no face at all. ValueError: an option is wrong.
    """
    options = ExtractOptions(crop, faces, require_landmarks, only_clean)
    find_group = group_finder(group_pattern)
    paths = list_photographs(source)
    root = root_of(source, paths)
    names = {path: Path(os.path.relpath(path, root)).as_posix() for path in paths}
    table_path = Path(landmarks) if landmarks is not None else find_landmark_file(root)
    table = read_landmark_file(table_path, pixel_centers) if table_path else LandmarkTable({})
    if only_clean and not table.has_clean:
        raise LandmarkFileError(
            f"{table_path or root}: only_clean needs a landmark file with the key 'clean'"
        )

    settings = [dataclasses.asdict(options), group_pattern, pixel_centers]
    stem = Path(cache_dir) / f"crops-{_digest([os.path.abspath(root), *settings])[:16]}"
    known_files = [*paths, *([table_path] if table_path else [])]
    fingerprint = _digest([_FORMAT, settings, [_stamp(p) for p in known_files]])
    corpus = load_crops(stem, fingerprint)
    if corpus is None:
        Path(cache_dir).mkdir(parents=True, exist_ok=True)
        known = _Known(table, options, names)
        if only_clean:
            paths = [path for path in paths if known.find(path)]
        with CropWriter(stem) as writer:
            skipped = []
            for path, result in _extract_all(paths, known, options, num_workers, progress):
                if isinstance(result, str):
                    skipped.append((names[path], result))
                    log(f"{names[path]}: skipped: {result}")
                    continue
                _add(writer, path, names[path], find_group(path.stem, names[path]), result)
            if not len(writer):
                raise FolderError(_no_face(source, len(paths), skipped))
            writer.close(fingerprint, skipped)
        corpus = load_crops(stem, fingerprint)
    log(_summary(corpus, source))
    return corpus


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is known of each photograph's faces beforehand."""

    table: LandmarkTable
    options: ExtractOptions
    names: dict[Path, str]

    def find(self, path: Path):
        found = self.table.find(self.names[path])
        pts = path.with_suffix(".pts")
        if not found and pts.is_file():
            found = (read_pts(pts),)
        return [face for face in found if face.clean or not self.options.only_clean]


def _extract_all(
    paths: list[Path],
    known: _Known,
    options: ExtractOptions,
    num_workers: int | None,
    progress: bool,
) -> Iterator[tuple[Path, list[Face] | str]]:
    """Yield each photograph with its faces, or with the reason why it has none, in order.

    Threads do: reading, searching and resampling all release the interpreter's lock.
    """
    detector = FaceDetector()

    def work(path: Path) -> list[Face] | str:
        try:
            return extract_faces(read_photograph(path), known.find(path), detector, options)
        except PhotographError as error:
            return str(error).removeprefix(f"{path}: ")
        except (ValueError, MemoryError, cv2.error) as error:
            return str(error)

    num_workers = num_workers or os.cpu_count() or 1
    bar = tqdm(total=len(paths), desc="Finding faces", unit="photo", disable=not progress)
    with ThreadPoolExecutor(num_workers) as pool, bar:
        todo = iter(paths)
        waiting = [(path, pool.submit(work, path)) for path in islice(todo, 4 * num_workers)]
        while waiting:
            path, future = waiting.pop(0)
            yield path, future.result()
            bar.update()
            waiting += [(path, pool.submit(work, path)) for path in islice(todo, 1)]


def _add(writer: CropWriter, path: Path, name: str, group: str, faces: list[Face]) -> None:
    for k, face in enumerate(faces):
        face_name = f"{name}#{k}" if k else name
        writer.add(face, name=face_name, source=str(path), group=group)


def _stamp(path: Path) -> list:
    """Return what tells a changed file from an unchanged one, its `.pts` included."""
    stamp = [path.as_posix()]
    for file in (path, path.with_suffix(".pts")):
        try:
            status = os.stat(file)
            stamp += [status.st_size, status.st_mtime_ns]
        except OSError:
            stamp += [None]
    return stamp


def _digest(content: list) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _no_face(source: Source, count: int, skipped: list[tuple[str, str]]) -> str:
    example = f" (first: {skipped[0][0]}: {skipped[0][1]})" if skipped else ""
    return (
        f"{source}: no face in {count} photographs{example}; give photographs with faces of at "
        "least 30 pixels seen from the front"
    )


def _summary(corpus: FolderCorpus, source: Source) -> str:
    used = len(set(corpus.sources.tolist()))
    return (
        f"{source}: {len(corpus)} faces in {used} photographs; "
        f"{len(corpus.skipped)} photographs without a usable face were left out"
    )
