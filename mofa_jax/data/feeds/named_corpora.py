"""The prepared corpora that a config's `data` names, opened and checked."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.feeds.mixture import FeedError, ForgivingSource, Spread, parse_mixture
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel

if TYPE_CHECKING:  # TFDS takes a second to import, and synthetic faces need none of it
    from mofa_jax.data.corpora.record import Corpus

_NUM_ASKED = 1000  # faces of a corpus that are asked for landmarks, where it does not say
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Corpora:
    """Faces of photographs, by the name of each corpus.

    Attributes:
      train, held_out: the sources.
      weights: how often training draws from each.
      summary: see `Data`.
    """

    train: Mapping[str, Corpus]
    held_out: Mapping[str, Corpus]
    weights: Mapping[str, float]
    summary: str


def open_corpora(config: ConfigDict, model: FaceModel, cam: Camera, workdir: Path) -> Corpora:
    """All corpora that `config`, the default config's `data`, names.

    Held-out faces have their true `code` if all of them were rendered with `model`.

    Raises:
      InputError, ... : see `corpus_folders`.
      CorpusError: a corpus cannot be opened.
      FeedError: its pictures have another size than the camera's.
    """
    folders = corpus_folders(config, cam, workdir)
    train = {name: _open(name, folder, "train", cam) for name, folder in folders.items()}
    held_out = {name: _open(name, folder, "eval", cam) for name, folder in folders.items()}
    if all(_tells_codes(source, model) for source in held_out.values()):
        held_out = {name: source.with_code() for name, source in held_out.items()}
    elif any(source.has_code for source in held_out.values()):
        _logger.warning(
            "No geometric error: not all corpora were rendered with the face model '%s' as it is.",
            model.name,
        )
    num_train, num_eval = (sum(map(len, sources.values())) for sources in (train, held_out))
    left_out = sum(source.metadata.get("num_left_out", 0) for source in train.values())
    summary = f"{num_train} faces to train on, {num_eval} held out"
    summary += f"; {left_out} photographs or faces left out" if left_out else ""
    weights = parse_mixture(config.mixture) if config.mixture else dict.fromkeys(folders, 1.0)
    return Corpora(train, held_out, weights, summary)


def open_faces(name: str, folder: str | Path, split: str, model: FaceModel, cam: Camera) -> Corpus:
    """A split of one corpus, its faces with their true `code` if it was rendered with `model`.

    Raises:
      CorpusError: there is no such corpus or split.
      FeedError: its pictures have another size than the camera's.
    """
    source = _open(name, folder, split, cam)
    return source.with_code() if _tells_codes(source, model) else source


def corpus_folders(config: ConfigDict, cam: Camera, workdir: Path) -> dict[str, str | Path]:
    """The prepared corpora of `config`, by name; a folder of photographs is prepared first.

    Raises:
      InputError: an unknown kind, or a missing path.
      FeedError: a camera whose image is not square.
      PreparationError, ... : see `prepare_folder`.
    """
    kind = config.kind
    if kind not in ("photographs", "tfds"):
        raise InputError(f"data.kind is {kind!r}; choose photographs, tfds or synthetic.")
    if config.mixture and (kind != "tfds" or config.path):
        raise InputError(
            "data.mixture names corpora of kind tfds instead of data.path; leave one of them empty."
        )
    if not config.path and not config.mixture:
        raise InputError(
            f"data.path is empty; give the {kind} to train on: --config.data.path=FOLDER."
        )
    if kind == "tfds":
        paths = parse_mixture(config.mixture) if config.mixture else [config.path]
        return {path: path for path in paths}
    from mofa_jax.data.corpora.prepare import prepare_folder

    height, width = cam.image_size
    if height != width:
        raise FeedError(f"the camera's image has {height} x {width} px; faces are square")
    cache = config.cache or workdir / "corpus"
    return {config.path: prepare_folder(config, cache, image_size=height, log=_logger.info)}


def check_landmarks(found: Corpora) -> None:
    """Says how many faces have landmarks; FeedError if no training face has any."""
    shares = {path: _annotated(source, "train") for path, source in found.train.items()}
    if not any(annotated for annotated, _ in shares.values()):
        asked = sum(asked for _, asked in shares.values())
        raise FeedError(
            f"{', '.join(shares)}: none of {asked:,} training faces has landmarks, which the "
            "landmark loss needs; give a landmark file that names these photographs, prepare the "
            "corpus with a landmark detector, or train without: --config.loss.landmark=0"
        )
    evals = {path: _annotated(source, "eval") for path, source in found.held_out.items()}
    for kind, counts in (("training", shares), ("held-out", evals)):
        for path, (annotated, asked) in counts.items():
            _logger.info(f"{path}: {annotated:,} of {asked:,} {kind} faces have landmarks")


def _open(name: str, folder: str | Path, split: str, cam: Camera) -> Corpus:
    from mofa_jax.data.corpora.record import open_corpus

    source = open_corpus(folder, split)
    size = source.image_size
    if (size, size) != cam.image_size:
        wanted = " x ".join(map(str, cam.image_size))
        raise FeedError(
            f"{name}: the faces have {size} x {size} px, but the camera's image has {wanted}; set "
            "config.camera.image_size to the faces' size, or prepare the faces in the camera's"
        )
    return source


def _tells_codes(source: Corpus, model: FaceModel) -> bool:
    """Whether a corpus holds true codes, and they are those of `model`."""
    from mofa_jax.data.synthetic.corpus import has_codes_of

    return source.has_code and has_codes_of(source.metadata, model)


def _annotated(source: Corpus, split: str) -> tuple[int, int]:
    """How many faces of a source have landmarks, and of how many: all, or some spread over it."""
    counts = source.metadata.get("num_annotated", {})
    if split in counts:
        return counts[split], len(source)
    asked = Spread(ForgivingSource(source), _NUM_ASKED)
    return sum(bool(np.any(asked[i]["confidence"] > 0)) for i in range(len(asked))), len(asked)
