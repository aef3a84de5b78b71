"""Items searched for faces, piece by piece; finished pieces on disk survive a killed run.

A chunk is two files: `<digest>.blob`, the corpus's records and the report's pictures one after
another, and `<digest>.json`, what became of every item. The second is written last, under a
temporary name, then renamed: it is there when the chunk is whole. Nothing else comes back from
whatever does the work: threads, processes, or a cluster whose workers share the folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import json
import logging
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, BinaryIO

import cv2
import numpy as np
from tqdm import tqdm

from mofa_jax.data.corpora.recipe import Recipe, make_finder
from mofa_jax.data.corpora.record import corpus_features, to_record
from mofa_jax.data.faces.crop import FaceError, crop_square
from mofa_jax.data.faces.find import Face, Finder, Finding
from mofa_jax.data.faces.quality import change
from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.data.sources.items import UNITS, Item, Picture, SourceError, read_pictures
from mofa_jax.errors import InputError, one_line
from mofa_jax.files.writing import atomic_write, write_json

Place = tuple[str, int, int]  # of a record or picture: a chunk's blob, offset and length, bytes
_PICTURE_SIZE = 96  # px, of the pictures in the report
# How Beam words what workers raise on purpose: the message, or the end of a trace.
_BEAMS_WORDING = re.compile(
    r"^(?:[\w.]*\.)?(?:Source|LandmarkDetector|LandmarkFile)Error: (.+?)(?: \[while running .*)?$",
    re.MULTILINE,
)
_features = functools.cache(corpus_features)


class PreparationError(InputError):
    """A corpus cannot be made from what there is; the message says why and the fix."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """A piece of work: its items, and where its files go (a path without extension)."""

    items: tuple[Item, ...]
    stem: str

    @property
    def blob(self) -> str:
        return self.stem + ".blob"

    @property
    def index(self) -> str:
        return self.stem + ".json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of all items.

    num_pictures: how many were searched.
    kept: a dict of each face: name, group, annotated (whether it has landmarks), and record, a
      place.
    pruned: a dict of each face, picture or file that is left out: name, reason (see
      `quality.REASONS`), details, and picture, the place of a JPEG file, or None.
    """

    num_pictures: int
    kept: list[dict[str, Any]]
    pruned: list[dict[str, Any]]


def _is_staged(chunk: Chunk) -> bool:
    """Whether a chunk's two files are there: of a folder whose removal was killed, one may be."""
    return os.path.exists(chunk.index) and os.path.exists(chunk.blob)


def stage(chunk: Chunk, recipe: Recipe) -> None:
    """Search a chunk's items and write its two files, unless they are there.

    Raises:
      OSError: the disk is full. DetectorError, LandmarkFileError: see `make_finder`.
    """
    if _is_staged(chunk):
        return
    finder = make_finder(recipe)
    with atomic_write(chunk.blob) as temporary, open(temporary, "wb") as blob:
        found = [_search(item, recipe, finder, blob) for item in chunk.items]
    write_json(chunk.index, found, indent=None)


def stage_in_threads(chunks: Sequence[Chunk], recipe: Recipe, num_workers: int = 0) -> None:
    """Stage chunks in threads of this process; 0 = one a core. Raises what `stage` raises."""
    pool = ThreadPoolExecutor(num_workers or os.cpu_count())
    _run(pool, functools.partial(stage, recipe=recipe), chunks)


def stage_in_processes(chunks: Sequence[Chunk], recipe: Recipe, num_workers: int = 0) -> None:
    """Stage chunks in processes of this machine; 0 = one a core, 1 = this one.

    Raises:
      PreparationError: a process was killed; and what `stage` raises.
    """
    num_workers = num_workers or os.cpu_count() or 1
    if num_workers == 1:
        for chunk in chunks:
            stage(chunk, recipe)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=spawn)
    try:
        _run(pool, functools.partial(_stage_alone, recipe=recipe), chunks)
    except BrokenExecutor as error:
        raise PreparationError(
            f"{recipe.source.path}: a worker process was killed, perhaps for want of memory; start "
            "the command again, with a smaller --num_workers: it goes on from what is staged"
        ) from error


def stage_by_beam(chunks: Sequence[Chunk], recipe: Recipe, options: Sequence[str]) -> None:
    """Stage chunks by a runner of Apache Beam, of options such as ["--runner=FlinkRunner"].

    Raises:
      ImportError: Beam is not installed.
      PreparationError: what `stage` raises on purpose. Others: as Beam wraps them.
    """
    # Beam warns at import that packages for Google's cloud are not installed; what goes wrong
    # reaches this process as an exception, and the traces of workers say it again.
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(lambda record: "apitools" not in record.getMessage())
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    work = functools.partial(_stage_alone, recipe=recipe)
    try:
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            created = pipeline | apache_beam.Create(list(chunks)) | apache_beam.Reshuffle()
            _ = created | apache_beam.Map(work)
    except Exception as error:
        messages = _BEAMS_WORDING.findall(f"{type(error).__name__}: {error}")
        if not messages:
            raise
        raise PreparationError(messages[-1]) from error


@contextlib.contextmanager
def staging_bar(chunks: Sequence[Chunk], kind: str, shown: bool) -> Iterator[None]:
    """Watch chunks come in: a bar with the time left, whatever stages them."""
    total = sum(len(chunk.items) for chunk in chunks)
    bar = tqdm(total=total, desc="Finding faces", unit=UNITS[kind], disable=not shown)
    done = threading.Event()

    def watch() -> None:
        todo, ended = list(chunks), False
        while not ended:
            ended = done.wait(0.5)
            missing = [chunk for chunk in todo if not _is_staged(chunk)]
            bar.update(sum(len(c.items) for c in todo) - sum(len(c.items) for c in missing))
            todo = missing

    thread = threading.Thread(target=watch, daemon=True)
    with bar:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def read_outcome(chunks: Sequence[Chunk]) -> Outcome:
    """What became of the items of all chunks, which are whole; in their order."""
    num_pictures, kept, pruned = 0, [], []
    for chunk in chunks:
        with open(chunk.index, encoding="utf-8") as file:
            found = json.load(file)
        for item in found:
            num_pictures += item["num_pictures"]
            kept += ({**face, "record": (chunk.blob, *face["record"])} for face in item["kept"])
            for entry in item["pruned"]:
                picture = entry["picture"] and (chunk.blob, *entry["picture"])
                pruned.append({**entry, "picture": picture})
    return Outcome(num_pictures, kept, pruned)


def read_place(place: Place) -> bytes:
    """The record or picture at a place."""
    blob, offset, length = place
    with open(blob, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _stage_alone(chunk: Chunk, recipe: Recipe) -> None:
    """`stage` in a process that is one of several: OpenCV starts no threads of its own."""
    cv2.setNumThreads(1)
    stage(chunk, recipe)


def _run(pool: Executor, work: Callable[[Chunk], None], chunks: Sequence[Chunk]) -> None:
    """All the work; what fails ends the rest of it."""
    with pool:
        for _ in pool.map(work, chunks):
            pass


def _search(item: Item, recipe: Recipe, finder: Finder, blob: BinaryIO) -> dict[str, Any]:
    """The part of `Outcome` that is of one item; nothing that is wrong with it ends the work."""
    found = {"name": item.name, "num_pictures": 0, "kept": [], "pruned": []}
    last = None  # the crop last kept of a video
    try:
        for picture in read_pictures(item, recipe.source):
            found["num_pictures"] += 1
            number = 0
            for finding in finder.find(picture):
                name = f"{picture.name}#{number}" if number else picture.name
                if finding.face is not None and picture.frame >= 0 and number == 0:
                    if last and change(last, picture.image) < recipe.pruning.min_change:
                        finding = dataclasses.replace(finding, face=None, reason="duplicate")
                    else:
                        last = finding.face.crop
                number += finding.box is not None
                if finding.face is None:
                    found["pruned"].append(_pruned(name, picture.image, finding, blob))
                else:
                    found["kept"].append(_kept(name, item, picture, finding.face, recipe, blob))
    except SourceError:
        raise
    except (ValueError, MemoryError, cv2.error) as error:  # the errors of readers are ValueErrors
        path = item.path.decode("utf-8", "surrogateescape")
        details = one_line(error).removeprefix(f"{path}: ")
        details = details.encode("utf-8", "backslashreplace").decode()
        reason = {"reason": "unreadable", "details": details, "picture": None}
        found["pruned"].append({"name": item.name} | reason)
    return found


def _kept(
    name: str, item: Item, picture: Picture, face: Face, recipe: Recipe, blob: BinaryIO
) -> dict[str, Any]:
    crop = face.crop
    example = {
        "image": io.BytesIO(encode_photograph(crop.image, recipe.encoding, recipe.jpeg_quality)),
        "landmarks": face.landmarks,
        "confidence": face.confidence,
        "to_photograph": crop.to_photograph.astype(np.float32),
        "box": crop.box.astype(np.float32),
        "name": name,
        "source": item.name,
        "frame": picture.frame,
        "group": picture.group,
    }
    features = _features(recipe.encoding, recipe.options.image_size)
    return {
        "name": name,
        "group": picture.group,
        "annotated": bool(face.confidence.any()),
        "record": _append(blob, to_record(example, features)),
    }


def _pruned(name: str, image: np.ndarray, finding: Finding, blob: BinaryIO) -> dict[str, Any]:
    """The entry of a face that is left out, with a small picture of what was found."""
    box = finding.box
    if box is None:
        center, side = (image.shape[1] / 2, image.shape[0] / 2), max(image.shape[:2])
    else:
        center, side = box[:2] + box[2:] / 2, 1.3 * float(np.mean(box[2:]))
    try:
        small = crop_square(image, center, side, box=np.zeros(4), size=_PICTURE_SIZE).image
    except FaceError:  # landmarks off the photograph, or a single one, have no square
        if box is None:
            raise
        return _pruned(name, image, dataclasses.replace(finding, box=None), blob)
    return {
        "name": name,
        "reason": finding.reason,
        "details": finding.details,
        "picture": _append(blob, encode_photograph(small, "jpeg", 85)),
    }


def _append(blob: BinaryIO, content: bytes) -> tuple[int, int]:
    """Add a record or picture; returns its offset and length, bytes."""
    return blob.tell(), blob.write(content)
