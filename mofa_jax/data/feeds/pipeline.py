"""A config's data: training batches, held-out batches, and a few held-out pictures."""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.cached_feed import CachedFeed
from mofa_jax.data.feeds.device_cache import load_cache, use_cache
from mofa_jax.data.feeds.mixture import Joined, Mixture, parse_mixture
from mofa_jax.data.feeds.prefetch import Prefetch
from mofa_jax.data.feeds.streamed import Feed, Source, make_feed
from mofa_jax.face_model import FaceModel

_NUM_EXAMPLES = 4
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Data:
    """What training reads.

    Attributes:
      train: this process's endless batches on its devices (`DeviceBatch`), with get_state,
        set_state and close.
      make_eval: gives the held-out batches, one pass.
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


def open_data(config: ConfigDict, model: FaceModel, cam: Camera, workdir: Path) -> Data:
    """The data that `config.data` names.

    Raises:
      ValueError: an unknown kind, or a missing path; and the errors of the sources.
    """
    kind = config.data.kind
    if kind == "synthetic":
        data = _synthetic(config, model, cam)
        return dataclasses.replace(data, train=Prefetch(data.train, 0))
    if kind not in ("photographs", "tfds"):
        raise ValueError(f"data.kind is {kind!r}; choose photographs, tfds or synthetic.")
    if config.data.mixture and (kind != "tfds" or config.data.path):
        raise ValueError(
            "data.mixture names corpora of kind tfds instead of data.path; leave one of them empty."
        )
    if not config.data.path and not config.data.mixture:
        raise ValueError(
            f"data.path is empty; give the {kind} to train on: --config.data.path=FOLDER."
        )
    if kind == "photographs":
        train, held_out, summary = _photographs(config.data, workdir)
    else:
        train, held_out, summary = _tfds(config.data, model)
    return Data(
        train=_train_feed(train, config),
        make_eval=lambda: _eval_feed(held_out, config),
        eval_examples=np.stack([held_out[i]["image"] for i in _spread(len(held_out))]),
        summary=summary,
    )


def _photographs(config: ConfigDict, workdir: Path) -> tuple[Source, Source, str]:
    from mofa_jax.data.corpora.folder import prepare_folder

    corpus = prepare_folder(
        config.path,
        config.cache or workdir / "crops",
        landmarks=config.landmarks or None,
        pixel_centers=config.pixel_centers,
        require_landmarks=config.require_landmarks,
        crop=config.crop,
        faces=config.faces,
        only_clean=config.only_clean,
        group_pattern=config.group_pattern,
        log=_logger.info,
    )
    train, held_out = corpus.split(eval_fraction=config.eval_fraction)
    skipped = len(corpus.skipped)
    return train, held_out, f"{len(corpus)} faces; {skipped} photographs left out"


def _tfds(config: ConfigDict, model: FaceModel) -> tuple[Source | Mixture, Source, str]:
    from mofa_jax.data.corpora.reader import tfds_source
    from mofa_jax.data.synthetic.corpus import has_codes_of

    weights = parse_mixture(config.mixture) if config.mixture else {config.path: 1.0}
    train = Mixture([tfds_source(path, "train") for path in weights], list(weights.values()))
    evals = [tfds_source(path, "eval") for path in weights]
    if all(source.has_code and has_codes_of(source.metadata, model) for source in evals):
        evals = [source.with_code() for source in evals]
    elif any(source.has_code for source in evals):
        _logger.warning(
            "No geometric error: not all corpora were rendered with the face model '%s' as it is.",
            model.name,
        )
    each = max(1, config.num_eval // len(evals))  # every corpus counts as much in an evaluation
    held_out = Joined([_First(source, each) for source in evals])
    num_eval = sum(map(len, evals))
    return train, held_out, f"{len(train)} faces to train on, {num_eval} held out"


def _synthetic(config: ConfigDict, model: FaceModel, cam: Camera) -> Data:
    from mofa_jax.data.feeds.synthetic_feed import SyntheticFeed
    from mofa_jax.data.synthetic.backgrounds import backgrounds_from_config
    from mofa_jax.data.synthetic.distributions import ranges_from_config

    ranges = ranges_from_config(config.data.synthetic)
    photographs = {
        split: backgrounds_from_config(config, split) for split in ("train", "evaluation")
    }

    def make_eval() -> Iterable[dict]:
        behind = photographs["evaluation"]
        batches = SyntheticFeed(
            model, cam, config.batch_size, ranges, behind, seed=0, split="evaluation"
        )
        return islice(batches, -(-config.data.num_eval // config.batch_size))

    train = SyntheticFeed(
        model,
        cam,
        config.batch_size,
        ranges,
        photographs["train"],
        seed=config.seed,
        split="train",
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    examples = next(iter(make_eval()))["image"][:_NUM_EXAMPLES]
    return Data(train, make_eval, examples, "faces rendered from random codes")


def _train_feed(source: Source | Mixture, config: ConfigDict) -> Prefetch | CachedFeed:
    augmentation = Augmentation(**config.data.augmentation)
    if use_cache(config.data.device_cache, source):
        cache = load_cache(source, config.data.num_threads)
        return CachedFeed(cache, config.batch_size, config.seed, augmentation)
    feed = make_feed(
        source,
        config.batch_size,
        config.seed,
        augmentation if augmentation != Augmentation() else None,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_threads=config.data.num_threads,
    )
    return Prefetch(feed, config.data.batches_ahead)


def _eval_feed(source: Source, config: ConfigDict) -> Feed:
    """The first `num_eval` held-out faces, the same on every process."""
    some = _First(source, config.data.num_eval)
    size = min(len(some), 16)
    return make_feed(some, size, shuffle=False, repeat=False, num_threads=config.data.num_threads)


class _First:
    """A source's first examples."""

    def __init__(self, source: Source, count: int):
        self._source, self._count = source, min(count, len(source))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> dict:
        return self._source[i]


def _spread(length: int) -> np.ndarray:
    return np.unique(np.linspace(0, length - 1, _NUM_EXAMPLES).astype(int))
