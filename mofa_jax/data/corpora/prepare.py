"""The whole preparation: files in, a data set and a report out."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from ml_collections import ConfigDict
from tqdm import tqdm

from mofa_jax.data.corpora.mofa_faces import EXAMPLES_A_SHARD, MofaFaces, PreparationError
from mofa_jax.data.corpora.recipe import Recipe, make_finder
from mofa_jax.data.corpora.report import write_report
from mofa_jax.data.corpora.staging import Chunk, all_outcomes
from mofa_jax.data.sources.items import chunks_of, list_items

# What workers raise on purpose, as Beam words it: the message, or the end of a trace.
_EXPECTED = re.compile(
    r"^(?:[\w.]*\.)?(?:Preparation|Source|LandmarkDetector|LandmarkFile)Error: "
    r"(.+?)(?: \[while running .*)?$",
    re.MULTILINE,
)
_logger = logging.getLogger(__name__)


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
      output: a folder: takes the data set (mofa_faces/1.0.0), report.html with left_out.csv, and
        while it is made staging/, as large as the data set; a cluster's workers must see it, too.
      num_workers: processes of the DirectRunner; 0 = one a core.
      beam_options: of another Beam runner, such as ["--runner=FlinkRunner", ...].
      progress: show a bar.

    Returns:
      The data set's folder.

    Raises:
      PreparationError: the output holds another corpus, nothing was found, or the disk is full.
      SourceError, RecipeError, PhotographError, LandmarkFileError, LandmarkDetectorError: the
      config names something unusable.
    """
    recipe, output = Recipe.from_config(config), Path(os.path.abspath(output))
    make_finder(recipe)
    items = list_items(recipe.source)
    staging = output / "staging"
    chunks = [
        Chunk(part, str(staging / recipe.digest(part)))
        for part in chunks_of(items, recipe.source.kind)
    ]
    names = "".join(sorted(Path(chunk.stem).name for chunk in chunks))
    fingerprint = hashlib.sha256(f"{recipe.to_dict()}{names}".encode()).hexdigest()
    builder = MofaFaces(
        recipe=recipe,
        chunks=chunks,
        fingerprint=fingerprint,
        data_dir=output,
        file_format="array_record",
    )
    folder = output / "mofa_faces" / str(MofaFaces.VERSION)
    if folder.exists():
        _check_same(folder, fingerprint)
        _logger.info("%s: is prepared already.", folder)
        return folder
    for stale in folder.parent.glob("incomplete.*"):
        shutil.rmtree(stale)
    staging.mkdir(parents=True, exist_ok=True)
    tfds.disable_progress_bar()
    options = tfds.download.DownloadConfig(
        beam_options=PipelineOptions(_runner(beam_options, num_workers)),
        num_shards=-(-len(items) // EXAMPLES_A_SHARD),
        try_download_gcs=False,
    )
    with _explained(output), _progress(chunks, recipe.source.kind, progress):
        builder.download_and_prepare(download_dir=staging, download_config=options)
        summary = write_report(output, recipe, builder.info, all_outcomes(chunks))
    shutil.rmtree(staging)
    _logger.info("%s; see %s", summary, output / "report.html")
    return folder


def _runner(beam_options: Sequence[str], num_workers: int) -> list[str]:
    if beam_options:
        return list(beam_options)
    num_workers = num_workers or os.cpu_count() or 1
    mode = "multi_processing" if num_workers > 1 else "in_memory"
    return [
        "--runner=DirectRunner",
        f"--direct_num_workers={num_workers}",
        f"--direct_running_mode={mode}",
        "--default_sdk_harness_log_level=WARNING",
        "--allow_unsafe_triggers",  # none is used; without it Beam would download its Prism runner
    ]


def _check_same(folder: Path, fingerprint: str) -> None:
    metadata = tfds.builder_from_directory(folder).info.metadata or {}
    if metadata.get("fingerprint") != fingerprint:
        raise PreparationError(
            f"{folder}: holds a corpus of other photographs or settings; give another --output, or "
            "remove it"
        )


@contextlib.contextmanager
def _explained(output: Path) -> Iterator[None]:
    """Make one sentence of what Beam wraps in its traces."""
    try:
        yield
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
    """Watch the staged chunks come in: a bar with the time left, whatever runs the pipeline."""
    total = sum(len(chunk.items) for chunk in chunks)
    bar = tqdm(total=total, desc="Finding faces", unit=kind.rstrip("s"), disable=not shown)
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
    thread.start()
    try:
        with bar:
            yield
            done.set()
            thread.join()
    finally:
        done.set()
