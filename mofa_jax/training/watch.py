"""What a person sees of a run: a progress bar, the log, TensorBoard's curves, pictures."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto import event_pb2
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from mofa_jax.data.feeds.device_batch import DeviceBatches
from mofa_jax.evaluation.training_log import EVALUATION
from mofa_jax.figures import write_image
from mofa_jax.results.names import RUN_PICTURE

_logger = logging.getLogger(__name__)
_NUM_PICTURED = 4  # faces of each kind in a picture


class Watch:
    """Writes of a run for people; on the other processes than the first it does nothing.

    Held-out errors are on the disk at once, and a full disk is an OSError: tensorboardX's own
    writer keeps two minutes in a thread, whose end nobody would hear of.
    """

    def __init__(
        self,
        workdir: Path,
        config: ConfigDict,
        picture: Callable[[Any, dict[str, np.ndarray]], np.ndarray],
        eval_examples: dict[str, np.ndarray],
    ):
        """`picture`: see `Learner`; `eval_examples`: held-out faces that every picture shows."""
        self._active = jax.process_index() == 0
        self._events = EventsWriter(str(workdir / "events")) if self._active else None
        self._workdir, self._picture, self._config = workdir, picture, config
        self._eval_examples = {key: array[:_NUM_PICTURED] for key, array in eval_examples.items()}

    @contextmanager
    def progress(self, first: int, num_steps: int):
        """A bar with loss, images/s and the time left; at its end all curves are on the disk."""
        if first < num_steps:
            _logger.info("Training steps %d to %d.", first + 1, num_steps)
        bar = tqdm(
            total=num_steps, initial=first, unit="step", disable=not self._active, smoothing=0.1
        )
        try:
            with logging_redirect_tqdm(), bar:
                yield _Progress(bar, self._config.batch_size)
        finally:
            if self._active:
                self._events.close()

    def scalars(self, step: int, metrics: dict[str, Any]) -> None:
        """The loss and every term, error and norm of one training step (see `make_train_steps`)."""
        if self._active:
            values = {**metrics["terms"], **metrics["errors"], **metrics["norms"]}
            self._add(step, _scalars("train", {"loss": metrics["loss"], **values}))

    def evaluation(self, step: int, errors: dict[str, float]) -> None:
        """The held-out errors, to the log and to TensorBoard."""
        if not self._active:
            return
        shown = ", ".join(f"{key} {value:.4g}" for key, value in errors.items())
        level = logging.WARNING if errors["num_failed"] else logging.INFO
        _logger.log(level, "step %d, held out: %s", step, shown)
        self._add(step, _scalars(EVALUATION, errors))
        self._events.flush()

    def pictures(self, step: int, weights: Any, batches: DeviceBatches) -> None:
        """What the learner makes of some faces from training and of held-out ones."""
        if not self._active:
            return
        train_examples = batches.examples(_NUM_PICTURED)
        for kind, examples in (("train", train_examples), ("eval", self._eval_examples)):
            picture = self._picture(weights, examples)
            path = self._workdir / RUN_PICTURE.format(kind, f"{step:07d}")
            path.parent.mkdir(exist_ok=True)
            write_image(path, picture)
            self._add(step, [summary.image(kind, picture, dataformats="HWC")])

    def _add(self, step: int, summaries: Iterable[Any]) -> None:
        for each in summaries:
            event = event_pb2.Event(summary=each, step=step, wall_time=time.time())
            self._events.write_event(event)


def _scalars(group: str, values: Mapping[str, Any]) -> list[Any]:
    """TensorBoard's summaries of the values that are finite."""
    return [
        summary.scalar(f"{group}/{key}", float(value))
        for key, value in values.items()
        if np.isfinite(value)
    ]


class _Progress:
    """Updates the bar about once a second: reading a loss waits for the device."""

    def __init__(self, bar: tqdm, batch_size: int):
        self._bar, self._batch_size = bar, batch_size
        self._last_time, self._last_step = time.monotonic(), bar.n

    def update(self, step: int, metrics: dict[str, Any]) -> None:
        elapsed = time.monotonic() - self._last_time
        if elapsed < 1.0 and step != self._bar.total:
            return
        rate = (step - self._last_step) * self._batch_size / max(elapsed, 1e-9)
        self._bar.set_postfix_str(f"loss {float(metrics['loss']):.4f}, {rate:.0f} images/s")
        self._bar.update(step - self._bar.n)
        self._last_time, self._last_step = time.monotonic(), step
