"""Training: `train_and_evaluate(config, workdir)`, the whole of what main.py does."""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from ml_collections import ConfigDict

from mofa_jax.autoencoder import (
    Decoder,
    initial_weights,
    make_camera,
    make_decoder,
    make_encoder,
    objective,
)
from mofa_jax.checkpoint import Checkpoints
from mofa_jax.data.feeds.pipeline import open_data
from mofa_jax.evaluate import evaluate
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import load_face_model
from mofa_jax.inference import check_face_model
from mofa_jax.optimizer import make_optimizer
from mofa_jax.params import code_size
from mofa_jax.processes import StopSignal, agree, initialize_processes
from mofa_jax.watch import Watch

_logger = logging.getLogger(__name__)
LOSS_TERMS = ("loss", "photometric", "landmark", "regularizer")


class TrainingDivergedError(RuntimeError):
    """The loss or a gradient became NaN or too large; the message says when, which and on what."""


@struct.dataclass
class TrainState:
    """What a step changes.

    Attributes:
      step: [] int32, steps done.
      weights: the encoder's variables.
      optimizer: the optimiser's state.
    """

    step: jax.Array
    weights: Any
    optimizer: optax.OptState


def train_and_evaluate(config: ConfigDict, workdir: str | os.PathLike) -> dict[str, float]:
    """Trains an encoder as `config` says, going on from the workdir's newest checkpoint.

    Args:
      config: see configs/default.py.
      workdir: takes the resolved config (config.json), checkpoints/, TensorBoard's files and
        pictures/.

    Returns:
      The held-out errors after the last step.

    Raises:
      TrainingDivergedError: NaN or a loss above `config.max_loss`.
      FaceModelError, PhotographError, ... : the config names something unusable.
    """
    initialize_processes()
    workdir = Path(os.path.abspath(workdir))
    workdir.mkdir(parents=True, exist_ok=True)
    model = load_face_model(config.face_model)
    cam = make_camera(config.camera)
    data = open_data(config, model, cam, workdir)
    encoder = make_encoder(config.encoder, code_size(model))
    weights = initial_weights(encoder, config, cam)
    optimizer = make_optimizer(config.optimizer, config.num_steps, model)
    state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    decoder = make_decoder(model, cam)
    information = _run_information(config, model)
    if jax.process_index() == 0:
        _write_json(workdir / "config.json", information)

    with closing(data.train), Checkpoints(workdir, config.keep_checkpoints) as checkpoints:
        if checkpoints.latest_step is not None:
            state = _resume(checkpoints, state, data.train, model)
        watch = Watch(workdir, config, encoder.apply, model, cam, data.eval_examples)
        loop = _Loop(
            config, encoder.apply, optimizer, decoder, data, checkpoints, information, watch
        )
        return loop.run(state)


def make_train_step(
    encode: Callable, optimizer: optax.GradientTransformation, config: ConfigDict
) -> Callable:
    """(state, decoder, batch [devices, B / devices, ...]) -> (state, metrics), on all devices.

    Each device works out the gradient of its part of the batch; the parts are averaged. The state
    goes in and comes out the same on every device, and its memory is used again.
    """

    def step(state: TrainState, decoder: Decoder, batch: dict):
        gradient_of = jax.grad(objective, has_aux=True)
        gradient, metrics = gradient_of(
            state.weights, batch, state.step, decoder, encode, config.loss, "batch"
        )
        gradient, metrics = jax.lax.pmean((gradient, metrics), axis_name="batch")
        update, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
        weights = optax.apply_updates(state.weights, update)
        norms = {
            "gradient_norm": optax.tree.norm(gradient),
            "weight_norm": optax.tree.norm(weights),
            "update_norm": optax.tree.norm(update),
        }
        return TrainState(state.step + 1, weights, optimizer_state), metrics | norms

    return jax.pmap(
        step, axis_name="batch", in_axes=(None, None, 0), out_axes=None, donate_argnums=(0,)
    )


def replicate(tree: Any) -> Any:
    """A pytree's copy on every local device, as the train step takes it without moving it again."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


class _Loop:
    """One run: steps, checks, evaluations and checkpoints."""

    def __init__(self, config, encode, optimizer, decoder, data, checkpoints, information, watch):
        self._config, self._encode, self._decoder = config, encode, decoder
        self._data, self._checkpoints, self._information = data, checkpoints, information
        self._watch = watch
        self._train_step = make_train_step(encode, optimizer, config)

    def run(self, state: TrainState) -> dict[str, float]:
        config, decoder = self._config, replicate(self._decoder)
        errors, last_save = {}, time.monotonic()
        first = int(state.step)
        if first == 0:
            self._watch.evaluation(0, self._evaluate(state))
        state = replicate(state)
        with StopSignal() as stop, self._watch.progress(first, config.num_steps) as progress:
            pending = None
            for step in range(first + 1, config.num_steps + 1):
                batch = next(self._data.train)
                state, metrics = self._train_step(state, decoder, batch.arrays)
                if pending is not None:
                    self._check(*pending)  # one step late, so that the device never waits
                pending = step, metrics, batch.name_of
                progress.update(step, metrics)
                overdue = time.monotonic() - last_save >= 60 * config.checkpoint_every_minutes
                overdue, stopping = agree([overdue, stop.requested], step, config.log_every)
                last = step == config.num_steps or stopping
                if last or overdue or _shown(step, config):
                    self._check(*pending)
                if step % config.log_every == 0 or last:
                    self._watch.scalars(step, metrics)
                if last or overdue:
                    self._save(step, state)
                    last_save = time.monotonic()
                if step % config.image_every == 0 or last:
                    self._watch.pictures(step, _host(state.weights), batch)
                if step % config.eval_every == 0 or step == config.num_steps:
                    errors = self._evaluate(state)
                    self._watch.evaluation(step, errors)
                if stopping:
                    _logger.warning("Stopped by a signal after step %d; checkpoint saved.", step)
                    break
        self._data.report(_logger)
        return errors

    def _evaluate(self, state: TrainState) -> dict[str, float]:
        return evaluate(_host(state.weights), self._data.make_eval(), self._encode, self._decoder)

    def _save(self, step: int, state: TrainState) -> None:
        feed = {str(jax.process_index()): self._data.train.get_state()}
        self._checkpoints.save(step, state, {**self._information, "feed": feed})

    def _check(self, step: int, metrics: dict, name_of: Callable) -> None:
        values = {key: float(metrics[key]) for key in (*LOSS_TERMS, "gradient_norm")}
        bad = [key for key, value in values.items() if not np.isfinite(value)]
        if not bad and values["loss"] > self._config.max_loss:
            bad = [max(LOSS_TERMS[1:], key=values.__getitem__)]
        if bad:
            kept = self._checkpoints.latest_step
            raise TrainingDivergedError(
                f"step {step}: {', '.join(f'{key} = {values[key]:g}' for key in bad)} on the batch "
                f"{', '.join(map(str, name_of()))}; the last good checkpoint is "
                f"{'none yet' if kept is None else f'that of step {kept}'}: lower "
                "config.optimizer.learning_rate, set config.optimizer.clip_norm, or remove a file."
            )


def _shown(step: int, config: ConfigDict) -> bool:
    return any(step % period == 0 for period in (config.image_every, config.eval_every))


def _host(weights: Any) -> Any:
    return jax.tree.map(np.asarray, jax.device_get(weights))


def _run_information(config: ConfigDict, model: FaceModel) -> dict[str, Any]:
    """What a checkpoint and config.json say of the run, JSON-able."""
    return {
        "config": config.to_dict(),
        "face_model": {
            "name": model.name,
            "checksum": model.checksum(),
            "code_sizes": list(model.code_sizes),
        },
    }


def _resume(checkpoints: Checkpoints, state: TrainState, feed, model: FaceModel) -> TrainState:
    step = checkpoints.latest_step
    information = checkpoints.information(step)
    check_face_model(information["face_model"], model)
    state = checkpoints.load(step, jax.tree.map(np.asarray, state))
    places = information["feed"]
    feed.set_state(places.get(str(jax.process_index()), places["0"]))
    _logger.info("Going on after step %d.", step)
    return state


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    os.replace(temporary, path)
