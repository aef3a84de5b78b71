"""The TFDS data set `mofa_faces`, made by an Apache Beam pipeline.

Beam's own runners keep what a pipeline groups in memory. So the records stay in the staged chunks:
what is shuffled is their places, and the writer of the ArrayRecord files fetches them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import tensorflow_datasets as tfds
from apache_beam.pvalue import AsSingleton
from tensorflow_datasets.core import writer as tfds_writer
from tensorflow_datasets.proto import tf_example_pb2

from mofa_jax.data.corpora.recipe import Recipe
from mofa_jax.data.corpora.record import SPLITS, corpus_features
from mofa_jax.data.corpora.staging import (
    BlobReader,
    Chunk,
    stage,
    staged_outcomes,
)
from mofa_jax.data.sources.groups import group_rank

EXAMPLES_A_SHARD = 1024  # ArrayRecord keeps a file that it writes in memory


class PreparationError(ValueError):
    """A corpus cannot be made from what there is; the message says why and the mend."""


class MofaFaces(tfds.core.GeneratorBasedBuilder):
    """Face crops with landmarks, the map to the photograph, and the group that splits keep whole.

    See `corpus_features`. The records and the split follow from the files and the recipe alone,
    whatever the runner and the number of its workers.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, recipe: Recipe, chunks: list[Chunk], fingerprint: str, **options: Any):
        self._recipe, self._chunks, self._fingerprint = recipe, chunks, fingerprint
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Face crops of 240 x 240 px for training mofa_jax.",
            features=corpus_features(self._recipe.encoding),
            metadata=tfds.core.MetadataDict(
                recipe=self._recipe.to_dict(), fingerprint=self._fingerprint
            ),
        )

    def _split_generators(self, dl_manager, pipeline: beam.Pipeline) -> dict[str, Any]:
        recipe = self._recipe
        faces = (
            pipeline
            | "Chunks" >> beam.Create(self._chunks)
            | "Spread" >> beam.Reshuffle()
            | "FindFaces" >> beam.FlatMap(_found_faces, recipe=recipe)
        )
        threshold = (
            faces
            | "Groups" >> beam.Map(lambda face: face["group"])
            | "CountGroups" >> beam.combiners.Count.PerElement()
            | "AllGroups" >> beam.combiners.ToList()
            | "HoldOut" >> beam.Map(hold_out_threshold, recipe=recipe)
        )
        split = functools.partial(_split_of, seed=recipe.seed)
        parts = faces | "Split" >> beam.Partition(split, len(SPLITS), AsSingleton(threshold))
        return {
            name: part | f"Examples_{name}" >> self._generate_examples()
            for name, part in zip(SPLITS, parts, strict=True)
        }

    def _generate_examples(self) -> beam.PTransform:
        return beam.Map(_example)

    def _example_writer(self) -> tfds_writer.ExampleWriter:
        return _RecordWriter(self.info.file_format)

    def _generate_splits(self, dl_manager, download_config) -> list[tfds.core.SplitInfo]:
        # While the pipeline runs, an example is a place; the files' own features come back after.
        places = tfds.features.FeaturesDict({"place": tfds.features.Text()})
        with tfds.core.utils.temporary_assignment(self.info, "_features", places):
            splits = super()._generate_splits(dl_manager, download_config)
        return [split.replace(num_bytes=_size_on_disk(split)) for split in splits]


def hold_out_threshold(groups: list[tuple[str, int]], recipe: Recipe) -> float:
    """The rank below which a group is held out.

    Args:
      groups: (name, number of faces) of all.
      recipe: gives the share, or the number of faces, that is held out.

    Raises:
      PreparationError: nothing would be left on one of the two sides.
    """
    if not groups:
        raise PreparationError(
            "no face was kept; give photographs with faces seen from the front, or loosen "
            "config.pruning"
        )
    ranked = sorted((group_rank(recipe.seed, name), count) for name, count in groups)
    threshold = recipe.eval_fraction
    if recipe.eval_count:
        held_out, threshold = 0, 1.0
        for rank, count in ranked:
            if held_out >= recipe.eval_count:
                threshold = rank
                break
            held_out += count
    below = sum(rank < threshold for rank, _ in ranked)
    if below == 0 or below == len(ranked):
        raise PreparationError(
            f"{sum(count for _, count in ranked)} faces of {len(ranked)} people or clips cannot be "
            f"split into training and evaluation (eval_count={recipe.eval_count}, "
            f"eval_fraction={recipe.eval_fraction}); add photographs or change the share"
        )
    return threshold


def _found_faces(chunk: Chunk, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Search a chunk, unless that has been done, and yield its kept faces with their blob."""
    stage(chunk, recipe)
    for outcome in staged_outcomes(chunk):
        for kept in outcome["kept"]:
            yield {**kept, "blob": chunk.blob}


def _split_of(face: dict[str, Any], num_splits: int, threshold: float, seed: int) -> int:
    return SPLITS.index("eval" if group_rank(seed, face["group"]) < threshold else "train")


def _example(face: dict[str, Any]) -> tuple[str, dict[str, bytes]]:
    """A face's key, and its record's place."""
    return face["name"], {"place": json.dumps([face["blob"], *face["record"]])}


class _RecordWriter(tfds_writer.ExampleWriter):
    """Writes a shard: the records whose places it is given."""

    def write(self, path, examples: Iterable[tuple[Any, bytes]]):
        with BlobReader() as reader:
            return super().write(path, ((key, _fetch(e, reader)) for key, e in examples))


def _fetch(serialized: bytes, reader: BlobReader) -> bytes:
    example = tf_example_pb2.Example.FromString(serialized)
    return reader.read(*json.loads(example.features.feature["place"].bytes_list.value[0]))


def _size_on_disk(split: tfds.core.SplitInfo) -> int:
    files = split.filename_template.sharded_filepaths(len(split.shard_lengths))
    return sum(file.stat().length for file in files)
