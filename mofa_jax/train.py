"""Training: `run_experiment(config, workdir)`, the whole of what main.py does before it draws."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.autoencoder import check_loss
from mofa_jax.camera import make_camera
from mofa_jax.checkpoint import (
    DECODERS_OF_SEMANTIC_CODES,
    FIXED_DECODER,
    Checkpoints,
    check_face_model,
)
from mofa_jax.data.feeds.device_batch import DeviceBatches
from mofa_jax.data.feeds.pipeline import keep_places, open_data
from mofa_jax.encoders import encoder_from_config
from mofa_jax.errors import InputError
from mofa_jax.evaluation.errors import evaluate
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import lasting_name, load_face_model
from mofa_jax.files.writing import only_process, write_json
from mofa_jax.optimizer import make_optimizer
from mofa_jax.params import code_size
from mofa_jax.processes import StopSignal, agree, initialize_processes
from mofa_jax.training.divergence import check_divergence
from mofa_jax.training.initial_weights import initial_weights, is_trained
from mofa_jax.training.learner import Learner, make_learner
from mofa_jax.training.steps import TrainState, first_copy, make_train_steps, replicate
from mofa_jax.training.watch import Watch

_STEPS_AT_ONCE = 100  # of an accelerator at most
_logger = logging.getLogger(__name__)


def run_experiment(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, float] | None:
    """`train_and_evaluate`, after the experiment that `config.start` holds, if any.

    That one runs in `<workdir>/start`, with the same seed, face model, camera and encoder, unless
    `config.encoder.pretrained` names a run or the bundled encoder to start from, or this run has
    begun already; weights of a file are what the start begins with. Where the decoder is a learned
    one that is held fixed, the same holds of `config.decoder.pretrained`, and the encoder of the
    start is its own.
    """
    initialize_processes()
    workdir = Path(workdir)
    begun = any(path.name.isdigit() for path in (workdir / "checkpoints").glob("*"))
    config = config.copy_and_resolve_references()
    if not 0 <= config.seed < 2**32:
        raise InputError(f"seed is {config.seed}; give a whole number from 0 to 2^32 - 1.")
    if config.reconstruct and config.decoder.name not in DECODERS_OF_SEMANTIC_CODES:
        raise InputError(
            f"reconstruct is {config.reconstruct}, but with decoder.name {config.decoder.name} no "
            "encoder of semantic codes is trained, and there is no face to draw; leave it out."
        )
    shared = ["seed", "face_model", "camera"]
    if config.decoder.name == FIXED_DECODER:
        started, given = config.decoder, bool(config.decoder.pretrained)
    else:  # weights of a file are no run
        started, given = config.encoder, is_trained(config.encoder.pretrained)
        shared.append("encoder")
    if config.start.get("num_steps") and not given:
        start = config.start.copy_and_resolve_references()
        for name in shared:
            start[name] = config[name]
        if not begun:
            _check_before_start(config, workdir)
            if train_and_evaluate(start, workdir / "start") is None:
                return None
        started.pretrained = os.path.abspath(workdir / "start")
    return train_and_evaluate(config, workdir)


def _check_before_start(config: ConfigDict, workdir: Path) -> None:
    """Refuses what would end the experiment after the hours of its start.

    Raises:
      InputError: of any kind, as `train_and_evaluate`.
    """
    model, cam = load_face_model(config.face_model), make_camera(config.camera)
    check_loss(config.loss)
    if config.decoder.name == FIXED_DECODER:  # which is still to be learned
        initial_weights(encoder_from_config(config.encoder, code_size(model)), config, model, cam)
    else:
        make_learner(config, model, cam)
    make_optimizer(config.optimizer, config.num_steps, model)
    _steps_at_once(config)
    config = config.copy_and_resolve_references()
    keep_places(config.data)
    open_data(config, model, cam, workdir, fill=False).train.close()


def train_and_evaluate(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, float] | None:
    """Trains an encoder as `config` says, going on from the workdir's newest checkpoint.

    Args:
      config: see configs/default.py.
      workdir: takes the resolved config (config.json), checkpoints/, TensorBoard's files and
        pictures/.

    Returns:
      The held-out errors after the last step, also of a run that had finished before; None if a
      signal stopped the run.

    Raises:
      TrainingDivergedError: NaN or a loss above `config.max_loss`.
      FaceModelError, PhotographError, ... : the config names something unusable.
    """
    initialize_processes()
    workdir = Path(os.path.abspath(workdir))
    workdir.mkdir(parents=True, exist_ok=True)
    config = config.copy_and_resolve_references()
    config.face_model = lasting_name(config.face_model)
    model, cam = load_face_model(config.face_model), make_camera(config.camera)
    check_loss(config.loss)
    learner = make_learner(config, model, cam)
    optimizer = make_optimizer(config.optimizer, config.num_steps, model)
    train_steps = make_train_steps(learner.objective, optimizer)
    at_once = _steps_at_once(config)

    with _alone(workdir), Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        newest = checkpoints.latest_step
        before = None if newest is None else checkpoints.information(newest)
        keep_places(config.data, before and before["config"]["data"])
        # Before the photographs are looked for, which may take hours.
        state, place = _create_or_restore(checkpoints, before, learner, optimizer, model, config)
        data = open_data(config, model, cam, workdir)
        information = {
            "config": config.to_dict(),
            "face_model": model.identity(),
            "corpora": data.corpora,
        }
        _warn_of_other_faces((before or {}).get("corpora", {}), data.corpora)
        with contextlib.closing(data.train) as batches, StopSignal() as stop:
            if place is not None:
                batches.set_state(place)
            if jax.process_index() == 0:
                write_json(workdir / "config.json", information)
            watch = Watch(workdir, config, learner.picture, data.eval_examples)
            decoder, first = replicate(learner.decoder), int(state.step)
            state, errors = replicate(state), None

            def evaluated(step: int) -> dict[str, float]:
                weights = first_copy(state.weights)
                errors = evaluate(weights, data.make_eval(), learner.errors_of, learner.decoder)
                watch.evaluation(step, errors)
                return errors

            def save(step: int) -> None:
                feed = {str(jax.process_index()): batches.get_state()}
                checkpoints.save(step, state, {**information, "feed": feed})

            if first == 0 or first >= config.num_steps:
                errors = evaluated(first)
            step, pending, last_save = first, None, time.monotonic()
            with watch.progress(first, config.num_steps) as progress:

                def finish(step: int, metrics: dict, taken: DeviceBatches) -> None:
                    metrics = jax.device_get(metrics)
                    check_divergence(step, metrics, taken.names, config.max_loss, checkpoints)
                    metrics = jax.tree.map(lambda values: float(values[-1]), metrics)
                    progress.update(step, metrics)
                    if step % config.log_every == 0 or step == config.num_steps or stop.requested:
                        watch.scalars(step, metrics)

                while step < config.num_steps:
                    taken = batches.take(min(at_once - step % at_once, config.num_steps - step))
                    state, metrics = train_steps(state, decoder, taken.arrays)
                    step += len(taken)
                    if pending is not None:
                        finish(*pending)  # one dispatch late, so that the device never waits
                    pending = step, metrics, taken
                    overdue = time.monotonic() - last_save >= 60 * config.checkpoint_every_minutes
                    overdue, stopping = agree([overdue, stop.requested], step, config.log_every)
                    last = step == config.num_steps or stopping
                    shown = step % config.image_every == 0 or step % config.eval_every == 0
                    if last or overdue or shown:
                        finish(*pending)
                        pending = None
                    if last or overdue:
                        save(step)
                        last_save = time.monotonic()
                    if step % config.image_every == 0 or last:
                        watch.pictures(step, first_copy(state.weights), taken)
                    if step % config.eval_every == 0 or step == config.num_steps:
                        errors = evaluated(step)
                    if stopping:
                        break
            checkpoints.wait()
            data.report(_logger)
            (stopped,) = agree([stop.requested], step=0, period=1)  # if one process is, all are
            if stopped:
                done = int(state.step)
                _logger.warning("Stopped by a signal; the checkpoint of step %d is saved.", done)
            return None if stopped else errors


@contextlib.contextmanager
def _alone(workdir: Path) -> Iterator[None]:
    """`only_process` of all processes of a training: the first one holds the workdir.

    Raises:
      InputError: on all of them, if another training is at work there.
    """
    with contextlib.ExitStack() as stack:
        refusal = None
        if jax.process_index() == 0:
            try:
                stack.enter_context(only_process(workdir))
            except InputError as error:
                refusal = error
        (refused,) = agree([refusal is not None], step=0, period=1)
        if refused:
            raise refusal or InputError(f"{workdir}: another process is at work here.")
        yield


def _steps_at_once(config: ConfigDict) -> int:
    """How many steps the devices take in a row: whatever is due between two steps ends a row.

    Raises:
      InputError: there is no step, something would be due every 0 steps, or no checkpoint be kept.
    """
    for name in ("num_steps", "keep_checkpoints"):
        if config[name] < 1:
            raise InputError(f"{name} is {config[name]}; give 1 or more.")
    for name in ("log_every", "image_every", "eval_every"):
        if config[name] < 1:
            raise InputError(
                f"{name} is {config[name]}; give a number of steps from 1 on, one above num_steps "
                "for never."
            )
    wanted = config.steps_at_once or (1 if jax.default_backend() == "cpu" else _STEPS_AT_ONCE)
    return math.gcd(wanted, config.log_every, config.image_every, config.eval_every)


def _warn_of_changes(before: dict[str, Any], config: ConfigDict) -> None:
    """Says in which settings a run goes on otherwise than it began."""

    def fields(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for key, value in tree.items():
            if isinstance(value, dict):
                yield from fields(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    now = dict(fields(json.loads(json.dumps(config.to_dict()))))  # tuples as before: lists
    then = dict(fields(before))
    changed = [
        f"{key} {then[key]} -> {value}"
        for key, value in now.items()
        if key in then and value != then[key]
    ]
    # Of what there was not when the run began, a loss that is on.
    changed += [
        f"{key} (new) {value}"
        for key, value in now.items()
        if key not in then and key.startswith("loss.") and value
    ]
    of_start = [text for text in changed if text.startswith("start.")]
    if of_start:
        _logger.warning("Without effect, the start has ended: %s.", ", ".join(of_start))
    if changed := [text for text in changed if text not in of_start]:
        _logger.warning("Going on with other settings than before: %s.", ", ".join(changed))


def _warn_of_other_faces(before: Mapping[str, str], corpora: Mapping[str, str]) -> None:
    """Says which corpora hold other faces than before: the order of the faces is another, too."""
    if changed := [name for name, now in corpora.items() if before.get(name, now) != now]:
        _logger.warning(
            "Going on with other faces than before, in another order: %s.", ", ".join(changed)
        )


def _create_or_restore(
    checkpoints: Checkpoints,
    information: dict[str, Any] | None,
    learner: Learner,
    optimizer,
    model: FaceModel,
    config: ConfigDict,
) -> tuple[TrainState, dict[str, Any] | None]:
    """The state to go on from, and the place in the data, None at the start of a run.

    `information`: of the newest checkpoint, if there is one.

    Raises:
      CheckpointError, PretrainedWeightsError: what there is does not fit the config.
    """
    if information is None:
        weights = learner.initial_weights()
        return TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights)), None
    step = checkpoints.latest_step
    check_face_model(information["face_model"], model)
    weights = learner.random_weights()
    target = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    state = checkpoints.load(step, jax.tree.map(np.asarray, target))
    _logger.info("Going on after step %d.", step)
    _warn_of_changes(information["config"], config)
    places = information["feed"]
    return state, places.get(str(jax.process_index()), places["0"])
