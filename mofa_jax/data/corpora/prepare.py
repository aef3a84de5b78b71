"""The whole preparation: files in, a data set and a report out.

The pieces of work are staged by whatever runs them (`runners`). Then this process reads what was
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
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from tqdm import tqdm

from mofa_jax.data.corpora.recipe import Recipe, landmark_stamp, make_finder
from mofa_jax.data.corpora.record import SPLITS, corpus_features
from mofa_jax.data.corpora.report import write_report
from mofa_jax.data.corpora.runners import Runner, beam, processes, threads
from mofa_jax.data.corpora.staging import Chunk, all_outcomes, read_place, stage, stage_alone
from mofa_jax.data.corpora.writer import (
    SETTINGS,
    CorpusWriteError,
    ShardedCorpus,
    incomplete_folder,
    read_settings,
)
from mofa_jax.data.faces.crop import CROP_SIZE
from mofa_jax.data.sources.groups import group_rank
from mofa_jax.data.sources.items import UNITS, Item, chunks_of, list_items
from mofa_jax.errors import InputError
from mofa_jax.files import locked, remove_temporaries

NAME = "mofa_faces"
SHARD_SIZE = 1024
_FOLDER_CHUNK = 16  # photographs
# What workers raise on purpose, as Beam words it: the message, or the end of a trace.
_EXPECTED = re.compile(
    r"^(?:[\w.]*\.)?(?:Preparation|Source|LandmarkDetector|LandmarkFile)Error: "
    r"(.+?)(?: \[while running .*)?$",
    re.MULTILINE,
)
_logger = logging.getLogger(__name__)


class PreparationError(InputError):
    """A corpus cannot be made from what there is; the message says why and the mend."""


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
      PreparationError: the output holds another corpus, nothing was found, or the disk is full.
      SourceError, RecipeError, PhotographError, LandmarkFileError, LandmarkDetectorError: the
      config names something unusable.
    """
    recipe, output = Recipe.from_config(config), Path(os.path.abspath(output))
    items = _list_items(recipe)
    if recipe.landmark_file and not _num_named(items, recipe):
        raise PreparationError(
            f"{recipe.landmark_file}: names none of the {len(items)} {recipe.source.kind} of "
            f"{recipe.source.path}, such as {items[0].name}; give the file that belongs to them"
        )
    runner = beam(beam_options) if beam_options else processes(num_workers)
    with locked(_lock_of(output)):
        work = functools.partial(stage_alone, recipe=recipe)
        _prepare(recipe, items, output, work, runner, progress)
    return output


def prepare_folder(
    data: ConfigDict,
    folder: str | os.PathLike[str],
    *,
    image_size: int = CROP_SIZE,
    log: Callable[[str], None] = _logger.warning,
    progress: bool = True,
    num_workers: int = 0,
) -> Path:
    """Make the corpus of a folder of photographs, unless it is there and nothing has changed.

    Args:
      data: `config.data`, see configs/default.py.
      folder: takes the corpora, one for each choice of options.
      image_size: side of the crops, px.
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
    items = _list_items(recipe)
    options = json.dumps([os.path.abspath(data.path), recipe.to_dict()], sort_keys=True)
    name = f"faces-{hashlib.sha256(options.encode()).hexdigest()[:16]}"
    output = Path(os.path.abspath(folder)) / name
    work = functools.partial(stage, recipe=recipe)
    with locked(_lock_of(output)):
        if read_settings(output) and not _is_prepared(output, _chunks(recipe, items, output)[1]):
            shutil.rmtree(output)  # the photographs have changed
        if _prepare(recipe, items, output, work, threads(num_workers), progress, _FOLDER_CHUNK):
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
            "photographs or change the share"
        )
    return threshold


def _list_items(recipe: Recipe) -> list[Item]:
    make_finder(recipe)  # a missing detector or landmark file is said before the long work
    return list_items(recipe.source)


def _num_named(items: list[Item], recipe: Recipe) -> int:
    """How many items a recipe's landmark file names; frames of videos are taken for named."""
    if recipe.source.kind == "videos":
        return len(items)
    table = make_finder(recipe).table
    return sum(bool(table.find(item.name)) for item in items)


def _lock_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.lock")


def _staging_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.staging")


def _chunks(
    recipe: Recipe, items: list[Item], output: Path, size: int = 0
) -> tuple[list[Chunk], str]:
    """The pieces of work, and a name for all that the corpus depends on."""
    staging, stamp = _staging_of(output), landmark_stamp(recipe)
    chunks = [
        Chunk(part, str(staging / recipe.digest(part, stamp)))
        for part in chunks_of(items, recipe.source.kind, size)
    ]
    settings = recipe.to_dict()
    settings["source"].pop("path")
    whole = [settings, recipe.digest(tuple(items), stamp)]
    return chunks, hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _is_prepared(output: Path, fingerprint: str) -> bool:
    return (read_settings(output) or {}).get("fingerprint") == fingerprint


def _prepare(
    recipe: Recipe,
    items: list[Item],
    output: Path,
    work: Callable[[Chunk], None],
    runner: Runner,
    progress: bool,
    chunk_size: int = 0,
) -> bool:
    """Make the corpus; False if it is there already. The caller holds the lock."""
    chunks, fingerprint = _chunks(recipe, items, output, chunk_size)
    staging = _staging_of(output)
    if output.is_dir() and any(output.iterdir()):
        if not _is_prepared(output, fingerprint):
            raise PreparationError(
                f"{output}: holds a corpus of other photographs or settings, or something else; "
                "give another folder, or remove it"
            )
        shutil.rmtree(staging, ignore_errors=True)
        _logger.info("%s: is prepared already.", output)
        return False
    incomplete = incomplete_folder(output)
    begun = read_settings(incomplete, SETTINGS)
    if begun and begun.get("fingerprint") != fingerprint:
        shutil.rmtree(incomplete)
    with _explained(output):
        staging.mkdir(parents=True, exist_ok=True)
        remove_temporaries(staging)
        with _progress(chunks, recipe.source.kind, progress):
            runner(work, chunks)
        summary = _write(recipe, chunks, fingerprint, output)
    shutil.rmtree(staging)
    _logger.info("%s; see %s", summary, output / "report.html")
    return True


def _write(recipe: Recipe, chunks: list[Chunk], fingerprint: str, output: Path) -> str:
    """Write what was staged as a data set with its report; returns a sentence of the counts."""
    faces: list[dict[str, Any]] = []
    left_out, example = 0, ""
    for chunk, outcome in all_outcomes(chunks):
        faces += ({**kept, "blob": chunk.blob} for kept in outcome["kept"])
        left_out += len(outcome["pruned"])
        if outcome["pruned"] and not example:
            first = outcome["pruned"][0]
            example = f" (first: {first['name']}: {first['details'] or first['reason']})"
    if not faces:
        raise PreparationError(
            f"{recipe.source.path}: no face was kept of {sum(len(c.items) for c in chunks)} "
            f"{recipe.source.kind}{example}; give photographs with faces seen from the front, or "
            "loosen config.pruning"
        )
    threshold = hold_out_threshold([*Counter(f["group"] for f in faces).items()], recipe)
    faces.sort(key=lambda face: (group_rank(recipe.seed, f"order {face['name']}"), face["name"]))
    splits: dict[str, list] = {split: [] for split in SPLITS}
    for face in faces:
        held_out = group_rank(recipe.seed, face["group"]) < threshold
        splits["eval" if held_out else "train"].append(face)
    counts = {split: len(members) for split, members in splits.items()}
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
            "num_left_out": left_out,
        },
    )
    for shard in corpus.missing():
        start = shard.index * SHARD_SIZE
        members = splits[shard.split][start : start + shard.length]
        corpus.write_records(shard, (read_place(f["blob"], *f["record"]) for f in members))
    summary = write_report(incomplete_folder(output), recipe, counts, all_outcomes(chunks))
    corpus.finish(f"Face crops of {size} x {size} px for training mofa_jax.")
    return summary


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Make one sentence of what runs out, and of what Beam wraps in its traces."""
    try:
        yield
    except PreparationError:
        raise
    except CorpusWriteError as error:
        raise PreparationError(str(error)) from error
    except BrokenExecutor as error:
        raise PreparationError(
            f"{output}: a worker process was killed, perhaps for want of memory; start the command "
            "again, with a smaller --num_workers: it goes on from what is staged"
        ) from error
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if "[Errno 28]" in text or "No space left" in text:
            reason = (
                "the disk is full; free some space and start the command again: it goes on from "
                "what is staged"
            )
        elif found := _EXPECTED.findall(text):
            reason = found[-1]
        else:
            raise
        raise PreparationError(f"{output}: {reason}") from error


@contextlib.contextmanager
def _progress(chunks: list[Chunk], kind: str, shown: bool) -> Iterator[None]:
    """Watch the staged chunks come in: a bar with the time left, whatever runs the work."""
    total = sum(len(chunk.items) for chunk in chunks)
    bar = tqdm(total=total, desc="Finding faces", unit=UNITS[kind], disable=not shown)
    done = threading.Event()

    def watch() -> None:
        todo = {Path(chunk.index): len(chunk.items) for chunk in chunks}
        while True:
            ended = done.wait(0.5)
            for file in [file for file in todo if file.exists()]:
                bar.update(todo.pop(file))
            if ended:
                return

    thread = threading.Thread(target=watch, daemon=True)
    with bar:
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
