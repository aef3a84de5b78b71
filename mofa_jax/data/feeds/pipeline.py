"""A config's data: training batches, held-out batches, and a few held-out pictures."""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.corpora.prepare import prepare_folder
from mofa_jax.data.corpora.record import Corpus, open_corpus
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import (
    ExampleSource,
    FeedError,
    ForgivingSource,
    Mixture,
    WithoutCode,
    parse_mixture,
    spread,
)
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache, use_cache
from mofa_jax.data.feeds.streamed import StreamedFeed, eval_batches
from mofa_jax.data.feeds.synthetic import HeldOutFaces, SyntheticFeed
from mofa_jax.data.sources.landmark_files import find_landmark_file
from mofa_jax.data.synthetic.backgrounds import backgrounds_from_config
from mofa_jax.data.synthetic.distributions import ranges_from_config
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.params import code_size

_NUM_EXAMPLES = 4
_EVAL_BATCH = 16
_NUM_ASKED = 1000  # faces of a corpus that are asked for landmarks, where it does not say
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Data:
    """What training reads.

    Attributes:
      train: this process's endless batches on its devices (`DeviceBatches`).
      make_eval: gives the held-out batches, one pass, the same on every process.
      eval_examples: some held-out faces: image [K, H, W, 3] uint8; of faces that are rendered in
        training everything that a batch holds.
      summary: one sentence about the source, for the end of the log.
      held_out: what `make_eval` reads, if these are records.
      corpora: what is in each corpus that is trained on, by name: other faces, other fingerprints.
    """

    train: StreamedFeed | ResidentFeed | SyntheticFeed
    make_eval: Callable[[], Iterable[dict]]
    eval_examples: dict[str, np.ndarray]
    summary: str
    held_out: ForgivingSource | None = None
    corpora: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def report(self, logger: logging.Logger) -> None:
        """Says at the end of a run what was left out of it."""
        failed = self.train.num_failed, self.held_out.num_failed if self.held_out else 0
        logger.info("%s; unreadable records: %d in training, %d held out", self.summary, *failed)


def keep_places(data: ConfigDict, before: Mapping[str, Any] | None = None) -> None:
    """Changes what `config.data` names to be found from other folders as well.

    Names of TFDS's data folder, and what is not there, stay as they are. The landmark file in a
    folder of photographs gets its name.

    Args:
      data: the config's.
      before: that of the run that goes on. What is spelled as it was stays so: a corpus is known by
        its spelling.

    Raises:
      FeedError: the mixture is not written as one.
    """
    kept = {name: _lasting(data[name]) for name in ("path", "landmarks")}
    if data.kind == "photographs" and data.path and not data.landmarks:
        kept["landmarks"] = os.fspath(find_landmark_file(kept["path"]) or "")
    kept["cache"] = data.cache and os.path.abspath(data.cache)
    if data.mixture:
        weights = parse_mixture(data.mixture).items()
        kept["mixture"] = ",".join(f"{_lasting(folder)}={weight!r}" for folder, weight in weights)
        if kept["mixture"].count(",") >= len(weights):  # a comma in a folder's name
            del kept["mixture"]
    for name, value in kept.items():
        if before is None or before.get(name) != data[name]:
            data[name] = value
    data.synthetic.backgrounds = _lasting(data.synthetic.backgrounds)


def _lasting(place: str) -> str:
    """A file, a folder, a glob or `@list.txt`, by a name that is good in other folders, too."""
    mark = "@" if place.startswith("@") else ""
    name = place.removeprefix(mark)
    if os.path.lexists(name):
        return mark + os.path.abspath(name)
    if glob.has_magic(name):
        return os.path.join(glob.escape(os.getcwd()), name)
    return place


def open_data(
    config: ConfigDict, model: FaceModel, cam: Camera, workdir: Path, fill: bool = True
) -> Data:
    """The data that `config.data` names; a folder of photographs is prepared first.

    Held-out faces have their true `code` if all of them were rendered with `model`. `fill`: whether
    faces that are to be held on the devices are put there; without, that they fit is checked alone.

    Raises:
      InputError: an unknown kind, or a missing path.
      FeedError: pictures of another size than the camera's, no landmarks or codes for a loss that
        needs them, or a batch that the devices do not divide.
      CorpusError: a corpus cannot be opened. PreparationError, ...: see `prepare_folder`.
    """
    if config.data.num_eval < 1:
        raise InputError(f"data.num_eval is {config.data.num_eval}; give a number from 1 on.")
    if config.data.kind == "synthetic":
        if config.data.mixture:
            raise InputError(
                "data.mixture names corpora, but data.kind is synthetic; leave out one."
            )
        return _synthetic(config, model, cam)
    if config.loss.code > 0 and config.data.kind == "photographs":
        raise _codes_unknown(config.loss.code, model)
    folders = _corpus_folders(config.data, cam, workdir)
    train = {name: _open(folder, "train", cam) for name, folder in folders.items()}
    held_out = {name: _open(folder, "eval", cam) for name, folder in folders.items()}
    if all(_tells_codes(corpus, model) for corpus in held_out.values()):
        held_out = {name: corpus.with_code() for name, corpus in held_out.items()}
    elif any(corpus.has_code for corpus in held_out.values()):
        _warn_of_codes("not all corpora were", model)
    _warn_of_preparation(config.data, train)
    if config.loss.landmark > 0 or config.loss.closure > 0:
        _check_landmarks(train, held_out)
    sources = [*train.values()]
    if config.loss.code > 0:
        sources = _with_codes(sources, model, cam, config.loss.code)
    weights = parse_mixture(config.data.mixture) if config.data.mixture else {config.data.path: 1.0}
    each = max(1, config.data.num_eval // len(held_out))  # every corpus counts as much
    some = [spread(corpus, each) for corpus in held_out.values()]
    evaluated = ForgivingSource(grain.MapDataset.concatenate(some))
    examples = spread(evaluated, _NUM_EXAMPLES)
    return Data(
        train=_train_feed(Mixture(sources, [*weights.values()]), config, fill),
        make_eval=lambda: eval_batches(evaluated, min(len(evaluated), _EVAL_BATCH)),
        eval_examples={"image": np.stack([face["image"] for face in examples])},
        summary=_summary(train, held_out),
        held_out=evaluated,
        corpora={name: _fingerprint(corpus) for name, corpus in train.items()},
    )


def _fingerprint(corpus: Corpus) -> str:
    """What a corpus says of how it was made, and of how many faces it has."""
    if known := corpus.metadata.get("fingerprint"):
        return known
    content = json.dumps([len(corpus), dict(corpus.metadata)], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def open_split(
    config: ConfigDict, split: str, model: FaceModel, cam: Camera, workdir: Path
) -> dict[str, ExampleSource]:
    """All faces of a split of what `config.data` names, by corpus, with true codes where known.

    A folder of photographs that a run has prepared is taken as the run left it.

    Raises:
      InputError: rendered faces of another split than "eval"; and as `open_data`.
    """
    if config.data.kind != "synthetic":
        folders = _corpus_folders(config.data, cam, workdir, keep=True)
        return {name: open_faces(folder, split, model, cam) for name, folder in folders.items()}
    if split != "eval":
        raise InputError(
            f"split is {split!r}, but of faces that are rendered in training only 'eval' can be "
            "opened; give a corpus of rendered faces."
        )
    return {"rendered faces": _rendered_faces(config, model, cam)}


def open_faces(folder: str | Path, split: str, model: FaceModel, cam: Camera) -> Corpus:
    """A split of one corpus, its faces with their true `code` if it was rendered with `model`.

    Raises:
      CorpusError: there is no such corpus or split.
      FeedError: its pictures have another size than the camera's.
    """
    corpus = _open(folder, split, cam)
    if _tells_codes(corpus, model):
        return corpus.with_code()
    if corpus.has_code:
        _warn_of_codes(f"{folder} was not", model)
    return corpus


def _warn_of_codes(which: str, model: FaceModel) -> None:
    _logger.warning(
        "No geometric error: %s rendered with the face model '%s' as it is.", which, model.name
    )


def _synthetic(config: ConfigDict, model: FaceModel, cam: Camera) -> Data:
    ranges = ranges_from_config(config.data.synthetic)
    behind = backgrounds_from_config(config, cam, "train")
    held_out = _rendered_faces(config, model, cam)
    first = next(held_out.batches())
    augmentation = Augmentation(**config.data.augmentation)
    return Data(
        train=SyntheticFeed(
            model, cam, config.batch_size, ranges, behind, config.seed, augmentation
        ),
        make_eval=held_out.batches,
        eval_examples={key: array[:_NUM_EXAMPLES] for key, array in first.items()},
        summary="faces rendered from random codes",
    )


def _rendered_faces(config: ConfigDict, model: FaceModel, cam: Camera) -> HeldOutFaces:
    ranges = ranges_from_config(config.data.synthetic)
    behind = backgrounds_from_config(config, cam, "eval")
    return HeldOutFaces(model, cam, _EVAL_BATCH, ranges, behind, config.data.num_eval)


def _train_feed(mixture: Mixture, config: ConfigDict, fill: bool) -> StreamedFeed | ResidentFeed:
    augmentation = Augmentation(**config.data.augmentation)
    if use_cache(config.data.device_cache, mixture) and fill:
        return ResidentFeed(load_cache(mixture), config.batch_size, config.seed, augmentation)
    return StreamedFeed(mixture, config.batch_size, config.seed, augmentation)


def _corpus_folders(
    config: ConfigDict, cam: Camera, workdir: Path, keep: bool = False
) -> dict[str, str | Path]:
    """The prepared corpora of `config.data`, by name; a folder of photographs is prepared first,
    see `prepare_folder`."""
    kind = config.kind
    if kind not in ("photographs", "tfds"):
        raise InputError(f"data.kind is {kind!r}; choose photographs, tfds or synthetic.")
    if config.mixture and (kind != "tfds" or config.path):
        raise InputError(
            "data.mixture names corpora of kind tfds instead of data.path; leave one of them empty."
        )
    if config.mixture:
        return {folder: folder for folder in parse_mixture(config.mixture)}
    if not config.path:
        raise InputError(
            f"data.path is empty; give the {kind} to train on: --config.data.path=FOLDER."
        )
    if kind == "tfds":
        return {config.path: config.path}
    height, width = cam.image_size
    if height != width:
        raise FeedError(f"the camera's image has {height} x {width} px; faces are square")
    cache = config.cache or workdir / "corpus"
    folder = prepare_folder(config, cache, image_size=height, keep=keep, log=_logger.info)
    return {config.path: folder}


OF_PHOTOGRAPHS = {
    "cache": "",
    "landmarks": "",
    "pixel_centers": "integer",
    "only_clean": False,
    "require_landmarks": False,
    "faces": "all",
    "group_pattern": "",
    "eval_fraction": 0.04,
}
"""Fields of `data` that say how photographs are prepared, and what they are by default."""


def _warn_of_preparation(data: ConfigDict, corpora: Mapping[str, Corpus]) -> None:
    """Says which fields of `data` do nothing, or not what they say, for prepared corpora."""
    if data.kind != "tfds":
        return
    unused = [key for key, usual in OF_PHOTOGRAPHS.items() if data[key] != usual]
    if unused:
        _logger.warning(
            "Without effect on prepared corpora, which keep all of their faces: data.%s.",
            ", data.".join(unused),
        )
    for name, corpus in corpora.items():
        crop = corpus.metadata.get("recipe", {}).get("options", {}).get("crop", data.crop)
        if crop != data.crop and not data.augmentation.shift:
            _logger.warning(
                "%s: its faces lie in the squares of crop '%s', but photographs to reconstruct "
                "are cut by data.crop '%s'; set --config.data.crop=%s.",
                *(name, crop, data.crop, crop),
            )


def _open(folder: str | Path, split: str, cam: Camera) -> Corpus:
    corpus = open_corpus(folder, split)
    size = corpus.image_size
    if (size, size) != cam.image_size:
        wanted = " x ".join(map(str, cam.image_size))
        raise FeedError(
            f"{folder}: the faces have {size} x {size} px, but the camera's image has {wanted}; "
            "set config.camera.image_size to the faces' size, or prepare the faces in the camera's"
        )
    return corpus


def _tells_codes(corpus: Corpus, model: FaceModel) -> bool:
    """Whether a corpus holds true codes, and they are those of `model`."""
    return corpus.has_code and model.is_model_of(corpus.metadata.get("face_model", {}))


def _with_codes(
    sources: Sequence[Corpus], model: FaceModel, cam: Camera, weight: float
) -> list[ExampleSource]:
    """All with their true codes; those of photographs and of faces that were rendered with another
    model or camera are unknown."""
    camera = json.loads(json.dumps(dataclasses.asdict(cam)))
    known = [
        _tells_codes(corpus, model) and corpus.metadata.get("camera") == camera
        for corpus in sources
    ]
    if not any(known):
        raise _codes_unknown(weight, model)
    size = code_size(model)
    return [
        corpus.with_code() if knows else WithoutCode(corpus, size)
        for corpus, knows in zip(sources, known, strict=True)
    ]


def _codes_unknown(weight: float, model: FaceModel) -> FeedError:
    return FeedError(
        f"loss.code is {weight:g}, but only faces rendered with the face model '{model.name}' and "
        "the config's camera have true codes; set data.kind to synthetic, or to tfds with a corpus "
        "of `render_corpus`, or loss.code to 0"
    )


def _summary(train: Mapping[str, Corpus], held_out: Mapping[str, Corpus]) -> str:
    num_train, num_eval = (sum(map(len, corpora.values())) for corpora in (train, held_out))
    left_out = sum(corpus.metadata.get("num_left_out", 0) for corpus in train.values())
    summary = f"{num_train} faces to train on, {num_eval} held out"
    return summary + (f"; {left_out} photographs or faces left out" if left_out else "")


def _check_landmarks(train: Mapping[str, Corpus], held_out: Mapping[str, Corpus]) -> None:
    """Says how many faces have landmarks; FeedError if no training face has any."""
    shares = {name: _annotated(corpus, "train") for name, corpus in train.items()}
    if not any(annotated for annotated, _ in shares.values()):
        asked = sum(asked for _, asked in shares.values())
        raise FeedError(
            f"{', '.join(shares)}: none of {asked:,} training faces has landmarks, which the "
            "landmark losses need; give a landmark file that names these photographs, prepare the "
            "corpus with a landmark detector, or train without: --config.loss.landmark=0 "
            "--config.loss.closure=0"
        )
    evals = {name: _annotated(corpus, "eval") for name, corpus in held_out.items()}
    for kind, counts in (("training", shares), ("held-out", evals)):
        for name, (annotated, asked) in counts.items():
            _logger.info(f"{name}: {annotated:,} of {asked:,} {kind} faces have landmarks")


def _annotated(corpus: Corpus, split: str) -> tuple[int, int]:
    """How many faces of a corpus have landmarks, and of how many: all, or some spread over it."""
    counts = corpus.metadata.get("num_annotated", {})
    if split in counts:
        return counts[split], len(corpus)
    asked = spread(ForgivingSource(corpus), _NUM_ASKED)
    return sum(bool(np.any(face["confidence"] > 0)) for face in asked), len(asked)
