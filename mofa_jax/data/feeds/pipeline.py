"""A config's data: training batches, held-out batches, and a few held-out pictures."""

import dataclasses
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import (
    ExampleSource,
    ForgivingSource,
    Joined,
    Mixture,
    Spread,
)
from mofa_jax.data.feeds.named_corpora import (
    check_landmarks,
    corpus_folders,
    open_corpora,
    open_faces,
)
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache, use_cache
from mofa_jax.data.feeds.streamed import StreamedFeed, eval_batches
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel

_NUM_EXAMPLES = 4
_EVAL_BATCH = 16


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


def open_data(config: ConfigDict, model: FaceModel, cam: Camera, workdir: Path) -> Data:
    """The data that `config.data` names.

    Raises:
      InputError: an unknown kind, or a missing path; and the errors of the sources.
      FeedError: pictures of another size than the camera's, no landmarks for a loss that needs
        them, or a batch that the devices do not divide.
    """
    if config.data.kind == "synthetic":
        return _synthetic(config, model, cam)
    if config.loss.code > 0:
        raise InputError(
            f"loss.code is {config.loss.code:g}, but only rendered faces have true codes; set "
            "data.kind to synthetic, or loss.code to 0."
        )
    found = open_corpora(config.data, model, cam, workdir)
    if config.loss.landmark > 0:
        check_landmarks(found)
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


def open_split(
    config: ConfigDict, split: str, model: FaceModel, cam: Camera, workdir: Path
) -> dict[str, ExampleSource]:
    """All faces of a split of what `config.data` names, by corpus, with true codes where known.

    Raises:
      InputError: rendered faces of another split than "eval"; and as `open_data`.
    """
    if config.data.kind != "synthetic":
        folders = corpus_folders(config.data, cam, workdir)
        return {
            name: open_faces(name, folder, split, model, cam) for name, folder in folders.items()
        }
    if split != "eval":
        raise InputError(
            f"split is {split!r}, but of faces that are rendered in training only 'eval' can be "
            "opened; give a corpus of rendered faces."
        )
    from mofa_jax.data.feeds.synthetic import HeldOutFaces

    return {"rendered faces": HeldOutFaces(*_held_out_settings(config, model, cam))}


def _synthetic(config: ConfigDict, model: FaceModel, cam: Camera) -> Data:
    from mofa_jax.data.feeds.synthetic import SyntheticFeed, synthetic_eval_batches
    from mofa_jax.data.synthetic.photographs import backgrounds_from_config

    *common, behind_eval, num_eval = _held_out_settings(config, model, cam)
    behind = backgrounds_from_config(config, cam, "train")
    train = SyntheticFeed(*common, behind, config.seed)

    def make_eval() -> Iterable[dict]:
        return synthetic_eval_batches(*common, behind_eval, num_eval)

    examples = next(iter(make_eval()))["image"][:_NUM_EXAMPLES]
    return Data(train, make_eval, examples, "faces rendered from random codes")


def _held_out_settings(config: ConfigDict, model: FaceModel, cam: Camera) -> tuple:
    """What `synthetic_eval_batches` is called with."""
    from mofa_jax.data.synthetic.distributions import ranges_from_config
    from mofa_jax.data.synthetic.photographs import backgrounds_from_config

    ranges = ranges_from_config(config.data.synthetic)
    behind = backgrounds_from_config(config, cam, "eval")
    return model, cam, config.batch_size, ranges, behind, config.data.num_eval


def _train_feed(mixture: Mixture, config: ConfigDict) -> StreamedFeed | ResidentFeed:
    augmentation = Augmentation(**config.data.augmentation)
    if use_cache(config.data.device_cache, mixture):
        return ResidentFeed(load_cache(mixture), config.batch_size, config.seed, augmentation)
    return StreamedFeed(mixture, config.batch_size, config.seed, augmentation)
