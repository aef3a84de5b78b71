"""A TFDS data set in ArrayRecord files, written shard by shard, so that a killed run goes on.

The shards are collected in `<folder>.incomplete`, each under a temporary name until it is whole.
The folder gets its own name when it holds all shards and TFDS's description of them.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from mofa_jax.errors import InputError
from mofa_jax.files.writing import atomic_write, remove_temporaries, write_json

SETTINGS = "settings.json"


class CorpusWriteError(InputError):
    """A data set cannot be written; the message says where, why and the fix."""


@dataclass(frozen=True)
class Shard:
    """One file of a split.

    split: its name. index: the shard's number. length: its examples.
    """

    split: str
    index: int
    length: int


class ShardedCorpus:
    """A data set on its way to `folder`.

    Args:
      folder: where it will stand when it is whole.
      name: of the data set, for TFDS.
      features: of an example.
      counts: how many examples each split has.
      shard_size: examples of every shard but a split's last one.
      settings: JSON-able: all that the examples depend on; the data set's metadata. A run goes on
        from what is there only with the same ones.

    Raises:
      CorpusWriteError: the folder has other content, or cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        name: str,
        features: tfds.features.FeaturesDict,
        counts: Mapping[str, int],
        shard_size: int,
        settings: Mapping[str, Any],
    ):
        self._folder = Path(os.path.abspath(folder))
        self._incomplete = incomplete_folder(self._folder)
        self._features = features
        self._settings = json.loads(json.dumps(settings))
        self.shards = {
            split: [
                Shard(split, index, min(shard_size, count - start))
                for index, start in enumerate(range(0, count, shard_size))
            ]
            for split, count in counts.items()
        }
        self._template = tfds.core.ShardedFileTemplate(
            data_dir=self._incomplete, dataset_name=name, filetype_suffix="array_record"
        )
        self.is_complete = self._folder.is_dir() and any(self._folder.iterdir())
        if self.is_complete:
            self._compare_settings(self._folder, "metadata.json")
        else:
            self._open()

    def missing(self) -> list[Shard]:
        """The shards that have not been written yet."""
        shards = [shard for split in self.shards.values() for shard in split]
        return [] if self.is_complete else [s for s in shards if not _is_whole(self._path(s), s)]

    def write(self, shard: Shard, records: Iterable[bytes]) -> None:
        """Writes a shard's examples, see `to_record`.

        Raises:
          CorpusWriteError: the disk is full or refuses to be written.
        """
        with contextlib.ExitStack() as stack:
            with self._naming_disk_errors():
                temporary = stack.enter_context(atomic_write(self._path(shard)))
                writer = ArrayRecordWriter(str(temporary), "group_size:1")
            for record in records:
                with self._naming_disk_errors():
                    writer.write(record)
            with self._naming_disk_errors():
                writer.close()
                stack.close()

    def finish(self, description: str) -> None:
        """Adds TFDS's description and puts the folder in its place; all shards must be there.

        Raises:
          CorpusWriteError: as of `write`.
        """
        splits = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[shard.length for shard in shards],
                num_bytes=sum(self._path(shard).stat().st_size for shard in shards),
                filename_template=self._template.replace(split=split),
            )
            for split, shards in self.shards.items()
        ]
        with self._naming_disk_errors():
            tfds.folder_dataset.write_metadata(
                data_dir=self._incomplete,
                features=self._features,
                split_infos=splits,
                filename_template=self._template,
                check_data=False,  # it would ask for TensorFlow
                description=description,
                metadata=tfds.core.MetadataDict(self._settings),
            )
            os.replace(self._incomplete, self._folder)
            (self._folder / SETTINGS).unlink()
        self.is_complete = True

    def _open(self) -> None:
        remove_temporaries(self._incomplete)
        if self._incomplete.is_dir() and any(self._incomplete.iterdir()):
            self._compare_settings(self._incomplete, SETTINGS)
            return
        with self._naming_disk_errors():
            self._incomplete.mkdir(parents=True, exist_ok=True)
            write_json(self._incomplete / SETTINGS, self._settings)

    def _compare_settings(self, folder: Path, file: str) -> None:
        found = read_settings(folder, file)
        if found is None:
            raise CorpusWriteError(
                f"{folder}: this folder holds something else than a corpus of this command; give "
                "another folder or remove it"
            )
        keys = sorted(found.keys() | self._settings.keys())
        others = [key for key in keys if found.get(key) != self._settings.get(key)]
        if others:
            raise CorpusWriteError(
                f"{folder}: the corpus here was begun with other settings ({', '.join(others)}); "
                "give the same ones to go on, or another folder"
            )

    def _path(self, shard: Shard) -> Path:
        template = self._template.replace(split=shard.split)
        count = len(self.shards[shard.split])
        return Path(template.sharded_filepath(shard_index=shard.index, num_shards=count))

    @contextlib.contextmanager
    def _naming_disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # ArrayRecord's are RuntimeErrors
            full = "No space left on device" in str(error)
            reason = "the disk is full" if full else f"this cannot be written ({error})"
            raise CorpusWriteError(
                f"{self._incomplete}: {reason}; mend that and start the same command again: it "
                f"goes on after the shards that are finished, {len(self.missing())} are missing"
            ) from error


def incomplete_folder(folder: Path) -> Path:
    """Where a data set is collected on its way to `folder`."""
    return folder.with_name(f"{folder.name}.incomplete")


def lock_file(folder: Path) -> Path:
    """What the command that makes the data set of `folder` holds, see `writing.locked`."""
    return folder.with_name(f".{folder.name}.lock")


def read_settings(folder: Path, file: str = "metadata.json") -> dict[str, Any] | None:
    """The settings that a data set was made with, or begun with; None if there is none."""
    try:
        return json.loads((folder / file).read_text())
    except (OSError, ValueError):
        return None


def _is_whole(path: Path, shard: Shard) -> bool:
    if not path.is_file():
        return False
    try:
        reader = ArrayRecordReader(str(path))
        return reader.num_records() == shard.length
    except (RuntimeError, ValueError, IndexError):  # a damaged file
        return False
