"""What a corpus is made from: photographs, videos, prepared TFDS data sets; listed, then read."""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from mofa_jax.data.sources import video
from mofa_jax.data.sources.images import (
    EXTENSIONS,
    PhotographError,
    decode_photograph,
    list_files,
    read_photograph,
)
from mofa_jax.data.sources.names import ends_of, root_of
from mofa_jax.errors import InputError, one_line

KINDS = ("photographs", "videos", "tfds")
UNITS = {"photographs": "photograph", "videos": "video", "tfds": "record"}  # one of each
GROUP_BY = ("name", "stem")
PICTURES_A_CHUNK = 16


class SourceError(InputError):
    """A source names nothing that can be used; the message says what, where and the fix."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where pictures come from.

    kind: "photographs", "videos" or "tfds".
    path: a folder, a glob, a file, or a text file `@list.txt` with one path a line, to whose folder
      the photographs' names are relative; of kind "tfds"
      the folder that holds the data set's dataset_info.json, or its name.
    group_pattern: a regular expression with one group: what it finds is the person; "" = every
      photograph, or video, is a group of its own.
    group_by: what it is searched in, the "name" (the path below the folder) or the file's "stem".
    group_file: a text file with lines "file-name person" instead.
    every: of a video, every how many-th frame is read.
    split, image, person: of a TFDS data set, the split, and the features that hold the picture and
      the person's name or number ("" = none).
    """

    kind: str = "photographs"
    path: str = ""
    group_pattern: str = ""
    group_by: str = "name"
    group_file: str = ""
    every: int = 1
    split: str = "train"
    image: str = "image"
    person: str = ""

    def __post_init__(self):
        if self.kind not in KINDS:
            raise SourceError(f"source.kind is {self.kind!r}; choose one of {', '.join(KINDS)}")
        if not self.path:
            raise SourceError("source.path is empty; give it: --config.source.path=FOLDER")
        if self.group_by not in GROUP_BY:
            raise SourceError(
                f"source.group_by is {self.group_by!r}; choose one of {', '.join(GROUP_BY)}"
            )
        if self.every < 1:
            raise SourceError(f"source.every is {self.every}; it must be at least 1")
        of_records, of_files = "source.person", "source.group_pattern or group_file"
        if self.kind == "tfds" and (self.group_pattern or self.group_file):
            raise SourceError(
                f"{of_files} has no effect on kind tfds; say who is shown by {of_records}"
            )
        if self.kind != "tfds" and self.person:
            raise SourceError(
                f"{of_records} has no effect on kind {self.kind}; say who is shown by {of_files}"
            )


@dataclasses.dataclass(frozen=True)
class Item:
    """One file, or one record, to be searched for faces.

    path: the file as bytes (names need not be UTF-8), or the TFDS data set's folder.
    name: its name below the source, valid text, unique. group: see `Source`.
    stamp: sizes and modification times, ns, of the file and of its annotations, or their sums over
    the data set's files, that tell changed ones. record: its number, -1 for a file.
    """

    path: bytes
    name: str
    group: str
    stamp: tuple[int, ...] = ()
    record: int = -1


@dataclasses.dataclass(frozen=True)
class Picture:
    """One upright picture.

    image: uint8 [H, W, 3] RGB. name: of the picture. frame: its number in a video, -1 otherwise.
    group: the person or clip. annotations: the files that its landmarks may be in, which need not
    be there.
    """

    image: np.ndarray
    name: str
    frame: int
    group: str
    annotations: tuple[Path, ...] = ()


def list_items(source: Source) -> list[Item]:
    """Return everything that a source names, sorted by name.

    Raises:
      SourceError, PhotographError: it names nothing, or its groups name nobody. ValueError: the
        group_pattern is wrong.
    """
    return _list_records(source) if source.kind == "tfds" else _list_files(source)


def chunks_of(items: list[Item], kind: str) -> list[tuple[Item, ...]]:
    """Cut the items into pieces of work: 16 pictures, or one video."""
    size = 1 if kind == "videos" else PICTURES_A_CHUNK
    return [tuple(items[k : k + size]) for k in range(0, len(items), size)]


def read_pictures(item: Item, source: Source) -> Iterator[Picture]:
    """Yield the pictures of one item, one at a time.

    Raises:
      PhotographError, VideoError: it cannot be read.
    """
    if source.kind == "tfds":
        yield _read_record(item, source)
        return
    path = Path(os.fsdecode(item.path))
    if source.kind == "photographs":
        yield Picture(read_photograph(path), item.name, -1, item.group, _annotations_of(path))
        return
    for number, _, frame in video.read_frames(path, source.every):
        name = f"{item.name}@{number:06d}"
        yield Picture(frame, name, number, item.group, (_frame_annotation(path, number),))


def group_rank(seed: int, group: str) -> float:
    """The place of a group (a person, a clip) in [0, 1): a hash of the seed and its name.

    The groups below a threshold are held out, so that adding photographs moves no group.
    """
    digest = hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _list_files(source: Source) -> list[Item]:
    extensions = video.EXTENSIONS if source.kind == "videos" else EXTENSIONS
    patterns, gone = _patterns(source)
    paths = list_files(patterns, extensions, UNITS[source.kind])
    root = root_of(source.path)
    group_of = _grouping(source)
    items = []
    for path in sorted({*paths, *gone}, key=str):
        name = _text(os.path.relpath(path, root)).replace(os.sep, "/")
        items.append(Item(os.fsencode(path), name, group_of(name), _stamp(path, source.kind)))
    if (source.group_file or source.group_pattern) and all(i.group == i.name for i in items):
        setting = "group_file" if source.group_file else "group_pattern"
        raise SourceError(
            f"{setting} {getattr(source, setting)!r} says of none of the {len(items)} files "
            f"who is shown, such as of {items[0].name!r}: people would be on both sides of the "
            "split; correct it, or leave it out"
        )
    return items


def _patterns(source: Source) -> tuple[str | list[str], list[Path]]:
    """What `list_files` takes, and those of a list's files that are not there: items like others,
    which cannot be read."""
    if not source.path.startswith("@"):
        return source.path, []
    file = Path(source.path[1:])
    try:
        lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as error:
        raise SourceError(f"{file}: the list of files cannot be read ({error.strerror})") from error
    named = [str(file.parent / line.strip()) for line in lines if line.strip()]
    gone = {name for name in named if not (os.path.lexists(name) or glob.has_magic(name))}
    there = [name for name in named if name not in gone]
    return (there, list(map(Path, gone))) if there else (named, [])


def _text(name: str) -> str:
    """Return a file's name as valid text: bytes that are not UTF-8 become \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _annotations_of(path: Path) -> tuple[Path, ...]:
    """What may hold the landmarks of a photograph: iBUG's .pts, and the .mat of AFLW2000-3D."""
    return path.with_suffix(".pts"), path.with_suffix(".mat")


def _frame_annotation(path: Path, frame: int) -> Path:
    """The .pts file of a video's frame, counted from 0."""
    return path.parent / "annot" / f"{frame + 1:06d}.pts"  # 300-VW's, which counts from 1


def _stamp(path: Path, kind: str) -> tuple[int, ...]:
    annotations = _annotations_of(path)
    if kind == "videos":
        annotations = sorted(_frame_annotation(path, 0).parent.glob("*.pts"))
    stamp: tuple[int, ...] = ()
    for file in (path, *annotations):
        try:
            status = os.stat(file)
            stamp += (status.st_size, status.st_mtime_ns)
        except OSError:
            stamp += (0, 0)
    return stamp


def _grouping(source: Source) -> Callable[[str], str]:
    """The function from an item's name to its group."""
    if source.group_file:
        table = _read_groups(Path(source.group_file))
        return lambda name: next((table[end] for end in ends_of(name) if end in table), name)
    if not source.group_pattern:
        return lambda name: name
    expression = one_group_expression(source.group_pattern, "group_pattern")

    def find(name: str) -> str:
        match = expression.search(PurePath(name).stem if source.group_by == "stem" else name)
        group = match[1] if match and match[1] is not None else name
        if group == "..":
            raise SourceError(
                f"group_pattern {source.group_pattern!r} finds '..' in {name!r}: names in a "
                "list are relative to the list's folder; search further on, such as in '/([^/]+)/'"
            )
        return group

    return find


def one_group_expression(pattern: str, name: str) -> re.Pattern[str]:
    """The regular expression with one group that a setting, called `name`, holds.

    Raises:
      SourceError: it is none.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SourceError(
            f"{name} {pattern!r} is no regular expression: {error}; such as r'(.+)_\\d+'"
        ) from error
    if expression.groups != 1:
        raise SourceError(
            f"{name} {pattern!r} has {expression.groups} groups; it needs exactly one, "
            r"such as r'(.+)_\d+'"
        )
    return expression


def _read_groups(file: Path) -> dict[str, str]:
    try:
        lines = map(str.strip, file.read_text(encoding="utf-8").splitlines())
        # Names may have spaces, people too where a tab comes before them.
        parts = (line.rsplit("\t" if "\t" in line else None, 1) for line in lines if line)
        return {name.strip(): group.strip() for name, group in parts}
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{file}: group_file must be a text file of lines 'file-name person' ({error})"
        ) from error


def _list_records(source: Source) -> list[Item]:
    information, records = _open_records(source)
    for field in ("image", "person"):
        name = getattr(source, field)
        if name and name not in information.features:
            raise SourceError(
                f"{source.path}: source.{field} is {name!r}, but its records have "
                f"{', '.join(sorted(information.features))}; choose one of these"
            )
    label = Path(source.path).name if os.path.isdir(source.path) else source.path
    files = [file.stat() for file in Path(information.data_dir).iterdir()]
    stamp = sum(file.st_size for file in files), sum(file.st_mtime_ns for file in files)
    return [
        Item(os.fsencode(source.path), name, name, stamp, record=i)
        for i in range(len(records))
        for name in [f"{label}/{source.split}/{i:07d}"]
    ]


def _read_record(item: Item, source: Source) -> Picture:
    try:
        record = _open_records(source)[1][item.record]
    except Exception as error:  # of a damaged file, in types of ArrayRecord's own
        raise PhotographError(f"{item.name}: the record is damaged ({one_line(error)})") from error
    image = decode_photograph(record[source.image], item.name)
    group = item.group
    if source.person:
        person = record[source.person]
        group = person.decode("utf-8", "replace") if isinstance(person, bytes) else str(person)
    return Picture(image, item.name, -1, group)


@functools.cache
def _open_records(source: Source) -> tuple[tfds.core.DatasetInfo, Any]:
    """What a prepared TFDS data set says of itself, and its records, pictures still encoded."""
    decoders = {source.image: tfds.decode.SkipDecoding()}
    return open_prepared(source.path, source.split, decoders=decoders)


def open_prepared(path: str, split: str, **how: Any) -> tuple[tfds.core.DatasetInfo, Any]:
    """What a prepared TFDS data set says of itself, and the records of a split.

    Args:
      path: the folder of its dataset_info.json, or its name in TFDS's own data folder.
      split: in TFDS's words.
      how: of TFDS's `as_data_source`.

    Raises:
      SourceError: there is no such data set or split, or its files are not ArrayRecord.
    """
    try:
        builder = tfds.builder_from_directory(path) if os.path.isdir(path) else tfds.builder(path)
        return builder.info, builder.as_data_source(split, **how)
    except Exception as error:  # TFDS raises its own types and NotImplementedError, all one here
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SourceError(
            f"{path}: split {split!r} of this data set cannot be opened ({reason}); prepare it "
            "with TFDS, file_format='array_record', and give the folder of dataset_info.json"
        ) from error
