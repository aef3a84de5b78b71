"""The whole preparation: files in, a data set and a report out.

The pieces of work are staged by whatever runs them (`staging`). Then this process reads what was
found, decides who is held out, and writes the records in an order that a hash gives: the corpus
follows from the files and the recipe alone.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import hashlib
import json
import logging
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from mofa_jax.data.corpora.recipe import Recipe, landmark_stamp, make_finder
from mofa_jax.data.corpora.record import SPLITS, corpus_features
from mofa_jax.data.corpora.report import write_report
from mofa_jax.data.corpora.staging import (
    Chunk,
    Outcome,
    PreparationError,
    read_outcome,
    read_place,
    stage_by_beam,
    stage_in_processes,
    stage_in_threads,
    staging_bar,
)
from mofa_jax.data.corpora.writer import (
    SETTINGS,
    ShardedCorpus,
    incomplete_folder,
    lock_file,
    read_settings,
)
from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.faces.quality import NO_PRUNING
from mofa_jax.data.sources.items import Item, chunks_of, group_rank, list_items
from mofa_jax.errors import InputError
from mofa_jax.files.writing import locked, remove_temporaries

NAME = "mofa_faces"
SHARD_SIZE = 1024
_logger = logging.getLogger(__name__)
_Stage = Callable[[Sequence[Chunk], Recipe], None]


def prepare_corpus(
    config: ConfigDict,
    output: str | os.PathLike[str],
    *,
    num_workers: int = 0,
    beam_options: Sequence[str] = (),
    progress: bool = True,
) -> Path:
    """Make the corpus of a config; the same call goes on with one that was interrupted.

    Args:
      config: see configs/corpora/default.py.
      output: the folder that the data set gets, with report.html and left_out.csv. While it is
        made, `<output>.staging` holds as much again; a cluster's workers must see it, too.
      num_workers: processes of this machine; 0 = one a core.
      beam_options: of a runner of Apache Beam instead, such as ["--runner=FlinkRunner", ...].
      progress: show a bar.

    Returns:
      The data set's folder.

    Raises:
      PreparationError, CorpusWriteError: the output holds another corpus, nothing was found, or the
      disk is full.
      SourceError, RecipeError, PhotographError, LandmarkFileError, DetectorError: the
      config names something unusable.
    """
    recipe, output = Recipe.from_config(config), Path(os.path.abspath(output))
    finder, items = make_finder(recipe), list_items(recipe.source)
    if (
        recipe.landmark_file
        and recipe.source.kind != "videos"  # whose frames the file names
        and not any(finder.table.find(item.name) for item in items)
    ):
        raise PreparationError(
            f"{recipe.landmark_file}: names none of the {len(items)} {recipe.source.kind} of "
            f"{recipe.source.path}, such as {items[0].name}; give the file that belongs to them"
        )
    stage = functools.partial(stage_in_processes, num_workers=num_workers)
    if beam_options:
        stage = functools.partial(stage_by_beam, options=beam_options)
    _prepare(recipe, items, output, stage, progress)
    return output


def prepare_folder(
    data: ConfigDict,
    folder: str | os.PathLike[str],
    *,
    image_size: int = CROP_SIZE,
    keep: bool = False,
    log: Callable[[str], None] = _logger.warning,
    progress: bool = True,
    num_workers: int = 0,
) -> Path:
    """Make the corpus of a folder of photographs, unless it is there and nothing has changed.

    That of other photographs in the same folder is replaced when the new one is whole.

    Args:
      data: `config.data`, see configs/default.py.
      folder: takes the corpora, one for each choice of options.
      image_size: side of the crops, px.
      keep: a corpus that is there is taken as it is, whatever became of the photographs.
      log: told once of every photograph that gives no face, and of the counts.
      progress: show a bar. num_workers: threads, 0 = one a core.

    Returns:
      The data set's folder.

    Raises:
      PreparationError: no face at all, or too few to hold any out.
      SourceError, RecipeError, PhotographError, LandmarkFileError: the config names something
      unusable.
    """
    recipe = Recipe.of_folder(data, image_size)
    path = os.path.abspath(data.path.removeprefix("@"))
    options = json.dumps([path, recipe.to_dict()], sort_keys=True)
    name = f"faces-{hashlib.sha256(options.encode()).hexdigest()[:16]}"
    output = Path(os.path.abspath(folder)) / name
    if keep and read_settings(output):
        return output
    make_finder(recipe)  # a wrong landmark file is said before the long work
    items = list_items(recipe.source)
    stage = functools.partial(stage_in_threads, num_workers=num_workers)
    if _prepare(recipe, items, output, stage, progress, replace=True):
        with open(output / "left_out.csv", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                log(f"{row['name']}: left out: {row['reason']}. {row['details']}".rstrip(". "))
    settings = read_settings(output)
    log(
        f"{data.path}: {sum(settings['count'].values())} faces in {len(items)} photographs, "
        f"{sum(settings['num_annotated'].values())} with landmarks; {settings['num_left_out']} "
        "photographs or faces were left out"
    )
    return output


def hold_out_threshold(groups: Sequence[tuple[str, int]], recipe: Recipe) -> float:
    """The rank below which a group is held out.

    Args:
      groups: (name, number of faces) of all.
      recipe: gives the share, or the number of faces, that is held out.

    Raises:
      PreparationError: nothing would be left on one of the two sides.
    """
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
            f"{recipe.source.path}: {sum(count for _, count in ranked)} faces of {len(ranked)} "
            "people or clips cannot be split into training and evaluation "
            f"(eval_count={recipe.eval_count}, eval_fraction={recipe.eval_fraction}); add "
            "photographs" + _share_that_splits(recipe, ranked)
        )
    return threshold


def _share_that_splits(recipe: Recipe, ranked: list[tuple[float, int]]) -> str:
    """What to change about the share, if there is one that leaves groups on both sides."""
    if recipe.eval_count:
        return ", or give a smaller eval_count"
    share = math.floor(1000 * ranked[0][0] + 1) / 1000
    if ranked[-1][0] < share:
        return ""
    held_out = sum(count for rank, count in ranked if rank < share)
    return f", or change the share: eval_fraction={share:g} holds out {held_out}"


def _prepare(
    recipe: Recipe,
    items: list[Item],
    output: Path,
    stage: _Stage,
    progress: bool,
    replace: bool = False,
) -> bool:
    """Make the corpus; False if it is there already.

    A corpus of other photographs or settings is in the way, or goes if `replace`.
    """
    stamp = landmark_stamp(recipe)
    staging = output.with_name(f"{output.name}.staging")
    chunks = [
        Chunk(part, str(staging / recipe.digest(part, stamp)))
        for part in chunks_of(items, recipe.source.kind)
    ]
    fingerprint = recipe.fingerprint(tuple(items), stamp)
    with locked(lock_file(output)) as alone, _naming_a_full_disk(output):
        if output.is_dir() and any(output.iterdir()):
            found = read_settings(output)
            if (found or {}).get("fingerprint") == fingerprint:
                shutil.rmtree(staging, ignore_errors=True)
                _logger.info("%s: is prepared already.", output)
                return False
            if not (found and replace):
                raise PreparationError(
                    f"{output}: holds a corpus of other photographs or settings, or something "
                    "else; give another folder, or remove it"
                )
        if not alone and jax.process_count() > 1:
            raise PreparationError(
                f"{output}: this file system has no locks, by which the processes of a training "
                "take turns; prepare the corpus once by `python -m mofa_jax.prepare_corpus`, and "
                "give it: --config.data.kind=tfds --config.data.path=CORPUS"
            )
        begun = read_settings(incomplete_folder(output), SETTINGS)
        if begun and begun.get("fingerprint") != fingerprint:
            shutil.rmtree(incomplete_folder(output))
        staging.mkdir(parents=True, exist_ok=True)
        remove_temporaries(staging)
        with staging_bar(chunks, recipe.source.kind, progress):
            stage(chunks, recipe)
        with _set_aside(output):
            summary = _write(recipe, len(items), read_outcome(chunks), fingerprint, output)
        shutil.rmtree(staging)
    _logger.info("%s; see %s", summary, output / "report.html")
    return True


def _write(recipe: Recipe, num_items: int, outcome: Outcome, fingerprint: str, output: Path) -> str:
    """Write what was staged as a data set with its report; returns a sentence of the counts."""
    if not outcome.kept:
        example = "".join(
            f" (first: {first['name']}: {first['details'] or first['reason']})"
            for first in outcome.pruned[:1]
        )
        raise PreparationError(
            f"{recipe.source.path}: no face was kept of {num_items} {recipe.source.kind}{example}; "
            "give photographs with faces seen from the front"
            + (", or loosen config.pruning" if recipe.pruning != NO_PRUNING else "")
        )
    splits = _split(recipe, outcome.kept)
    counts = {split: len(faces) for split, faces in splits.items()}
    size = recipe.options.image_size
    corpus = ShardedCorpus(
        output,
        NAME,
        corpus_features(recipe.encoding, size),
        counts,
        SHARD_SIZE,
        {
            "recipe": recipe.to_dict(),
            "fingerprint": fingerprint,
            "count": counts,
            "num_annotated": {s: sum(f["annotated"] for f in m) for s, m in splits.items()},
            "num_left_out": len(outcome.pruned),
        },
    )
    for shard in corpus.missing():
        start = shard.index * SHARD_SIZE
        faces = splits[shard.split][start : start + shard.length]
        corpus.write(shard, (read_place(face["record"]) for face in faces))
    summary = write_report(incomplete_folder(output), recipe, counts, num_items, outcome)
    corpus.finish(f"Face crops of {size} x {size} px for training mofa_jax.")
    return summary


def _split(recipe: Recipe, faces: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The faces of each split, in the order of a hash."""
    threshold = hold_out_threshold([*Counter(face["group"] for face in faces).items()], recipe)
    splits: dict[str, list] = {split: [] for split in SPLITS}
    ranks = {face["name"]: group_rank(recipe.seed, f"order {face['name']}") for face in faces}
    for face in sorted(faces, key=lambda face: (ranks[face["name"]], face["name"])):
        held_out = group_rank(recipe.seed, face["group"]) < threshold
        splits["eval" if held_out else "train"].append(face)
    return splits


@contextlib.contextmanager
def _set_aside(output: Path) -> Iterator[None]:
    """Removes a corpus once another one has taken its place; it comes back if none does."""
    aside = output.with_name(f"{output.name}.replaced")
    if output.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(output, aside)
    try:
        yield
    except BaseException:
        if aside.exists():
            os.replace(aside, output)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _naming_a_full_disk(output: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # Beam wraps those of its workers
        if isinstance(error, InputError) or "No space left on device" not in str(error):
            raise
        raise PreparationError(
            f"{output}: the disk is full; free some space and start the command again: it goes on "
            "from what is staged"
        ) from error
