"""A config's data: training batches, held-out batches, and a few held-out pictures."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import (
    FeedError,
    ForgivingSource,
    Joined,
    Mixture,
    Spread,
    parse_mixture,
)
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache, use_cache
from mofa_jax.data.feeds.streamed import StreamedFeed, eval_batches
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel

if TYPE_CHECKING:  # TFDS takes a second to import, and synthetic faces need none of it
    from mofa_jax.data.corpora.reader import Corpus

_NUM_EXAMPLES = 4
_NUM_ASKED = 1000  # faces of a corpus that are asked for landmarks, where it does not say
_EVAL_BATCH = 16
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Data:
    """What training reads.

    Attributes:
      train: this process's endless batches on its devices (`DeviceBatch`), with get_state,
        set_state and close.
      make_eval: gives the held-out batches, one pass, the same on every process.
      eval_examples: [K, H, W, 3] uint8, some held-out faces.
      summary: one sentence about the source, for the end of the log.
    """

    train: Any
    make_eval: Callable[[], Iterable[dict]]
    eval_examples: np.ndarray
    summary: str

    def report(self, logger: logging.Logger) -> None:
        """Says at the end of a run what was left out of it."""
        logger.info("%s; %d records unreadable in training", self.summary, self.train.num_failed)


@dataclasses.dataclass(frozen=True)
class _Corpora:
    """Faces of photographs, by the name of each corpus.

    Attributes:
      train, held_out: the sources.
      weights: how often training draws from each.
      summary: see `Data`.
    """

    train: Mapping[str, "Corpus"]
    held_out: Mapping[str, "Corpus"]
    weights: Mapping[str, float]
    summary: str


def open_data(config: ConfigDict, model: FaceModel, cam: Camera, workdir: Path) -> Data:
    """The data that `config.data` names.

    Raises:
      InputError: an unknown kind, or a missing path; and the errors of the sources.
      FeedError: pictures of another size than the camera's, no landmarks for a loss that needs
        them, or a batch that the devices do not divide.
    """
    kind = config.data.kind
    if kind == "synthetic":
        return _synthetic(config, model, cam)
    if config.loss.code > 0:
        raise InputError(
            f"loss.code is {config.loss.code:g}, but only rendered faces have true codes; set "
            "data.kind to synthetic, or loss.code to 0."
        )
    if kind not in ("photographs", "tfds"):
        raise InputError(f"data.kind is {kind!r}; choose photographs, tfds or synthetic.")
    if config.data.mixture and (kind != "tfds" or config.data.path):
        raise InputError(
            "data.mixture names corpora of kind tfds instead of data.path; leave one of them empty."
        )
    if not config.data.path and not config.data.mixture:
        raise InputError(
            f"data.path is empty; give the {kind} to train on: --config.data.path=FOLDER."
        )
    if kind == "photographs":
        found = _folder(config.data, cam, workdir)
    else:
        found = _tfds(config.data, model)
    _check_size(found, cam)
    if config.loss.landmark > 0:
        _check_landmarks(found)
    each = max(1, config.data.num_eval // len(found.held_out))  # every corpus counts as much
    joined = Joined([Spread(source, each) for source in found.held_out.values()])
    held_out = ForgivingSource(joined)
    examples = Spread(held_out, _NUM_EXAMPLES)
    return Data(
        train=_train_feed(Mixture([*found.train.values()], [*found.weights.values()]), config),
        make_eval=lambda: eval_batches(held_out, min(len(held_out), _EVAL_BATCH)),
        eval_examples=np.stack([examples[i]["image"] for i in range(len(examples))]),
        summary=found.summary,
    )


def _folder(config: ConfigDict, cam: Camera, workdir: Path) -> _Corpora:
    from mofa_jax.data.corpora.prepare import prepare_folder
    from mofa_jax.data.corpora.reader import open_corpus

    height, width = cam.image_size
    if height != width:
        raise FeedError(f"the camera's image has {height} x {width} px; faces are square")
    cache = config.cache or workdir / "corpus"
    corpus = prepare_folder(config, cache, image_size=height, log=_logger.info)
    train, held_out = (open_corpus(corpus, split) for split in ("train", "eval"))
    left_out = train.metadata["num_left_out"]
    summary = f"{len(train) + len(held_out)} faces; {left_out} photographs or faces left out"
    return _Corpora({config.path: train}, {config.path: held_out}, {config.path: 1.0}, summary)


def _tfds(config: ConfigDict, model: FaceModel) -> _Corpora:
    from mofa_jax.data.corpora.reader import open_corpus
    from mofa_jax.data.synthetic.corpus import has_codes_of

    weights = parse_mixture(config.mixture) if config.mixture else {config.path: 1.0}
    train = {path: open_corpus(path, "train") for path in weights}
    held_out = {path: open_corpus(path, "eval") for path in weights}
    evals = held_out.values()
    if all(source.has_code and has_codes_of(source.metadata, model) for source in evals):
        held_out = {path: source.with_code() for path, source in held_out.items()}
    elif any(source.has_code for source in evals):
        _logger.warning(
            "No geometric error: not all corpora were rendered with the face model '%s' as it is.",
            model.name,
        )
    num_train, num_eval = (sum(map(len, sources.values())) for sources in (train, held_out))
    summary = f"{num_train} faces to train on, {num_eval} held out"
    return _Corpora(train, held_out, weights, summary)


def _synthetic(config: ConfigDict, model: FaceModel, cam: Camera) -> Data:
    from mofa_jax.data.feeds.synthetic import SyntheticFeed, synthetic_eval_batches
    from mofa_jax.data.synthetic.distributions import ranges_from_config
    from mofa_jax.data.synthetic.photographs import backgrounds_from_config

    common = model, cam, config.batch_size, ranges_from_config(config.data.synthetic)
    behind = backgrounds_from_config(config, cam, "train")
    train = SyntheticFeed(*common, behind, config.seed)
    behind_eval = backgrounds_from_config(config, cam, "eval")

    def make_eval() -> Iterable[dict]:
        return synthetic_eval_batches(*common, behind_eval, config.data.num_eval)

    examples = next(iter(make_eval()))["image"][:_NUM_EXAMPLES]
    return Data(train, make_eval, examples, "faces rendered from random codes")


def _train_feed(mixture: Mixture, config: ConfigDict) -> StreamedFeed | ResidentFeed:
    augmentation = Augmentation(**config.data.augmentation)
    if use_cache(config.data.device_cache, mixture):
        return ResidentFeed(load_cache(mixture), config.batch_size, config.seed, augmentation)
    return StreamedFeed(mixture, config.batch_size, config.seed, augmentation)


def _check_size(found: _Corpora, cam: Camera) -> None:
    for path, source in (*found.train.items(), *found.held_out.items()):
        size = source.image_size
        if (size, size) != cam.image_size:
            wanted = " x ".join(map(str, cam.image_size))
            raise FeedError(
                f"{path}: the faces have {size} x {size} px, but the camera's image has "
                f"{wanted}; set config.camera.image_size to the faces' size, or prepare the faces "
                "in the camera's"
            )


def _check_landmarks(found: _Corpora) -> None:
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


def _annotated(source: "Corpus", split: str) -> tuple[int, int]:
    """How many faces of a source have landmarks, and of how many: all, or some spread over it."""
    counts = source.metadata.get("num_annotated", {})
    if split in counts:
        return counts[split], len(source)
    asked = Spread(ForgivingSource(source), _NUM_ASKED)
    return sum(bool(np.any(asked[i]["confidence"] > 0)) for i in range(len(asked))), len(asked)
