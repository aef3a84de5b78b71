"""The optimizer: the paper's AdaDelta or Adam, with a rate for each part of the code (Sec. 6.4)."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from mofa_jax.encoders.layers import CODE_LAYER
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.params import code_size, code_slices


def make_optimizer(config: ConfigDict, num_steps: int, model: FaceModel):
    """The gradient transformation that `config` (the default config's `optimizer`) describes.

    Raises:
      InputError: an unknown optimizer or schedule.
    """
    rate = _learning_rate(config, num_steps)
    if config.name == "adadelta":
        # Equal to Caffe's, whose rate multiplies the finished update too.
        update = optax.adadelta(rate, rho=config.rho, eps=config.eps)
    elif config.name == "adam":
        update = optax.adam(rate)
    else:
        raise InputError(f"optimizer.name is {config.name!r}; choose adadelta or adam.")
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    return optax.chain(clip, update, scale_code_updates(code_factors(config.factors, model)))


def _learning_rate(config: ConfigDict, num_steps: int) -> optax.Schedule:
    rate, warmup = config.learning_rate, config.warmup_steps
    if config.schedule == "constant":
        if warmup:
            return optax.warmup_constant_schedule(0.0, rate, warmup)
        return optax.constant_schedule(rate)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(0.0, rate, warmup, max(num_steps, warmup + 1))
    raise InputError(f"optimizer.schedule is {config.schedule!r}; choose constant or cosine.")


def code_factors(factors: Mapping[str, float], model: FaceModel) -> np.ndarray:
    """[D] the factor of each code entry's rate, from one number a part of the code."""
    vector = np.ones(code_size(model), np.float32)
    for name, span in code_slices(model).items():
        if name == "translation":
            xy, z = factors["translation_xy"], factors["translation_z"]
            vector[span] = xy, xy, z
        else:
            vector[span] = factors[name]
    return vector


def scale_code_updates(factors: np.ndarray) -> optax.GradientTransformation:
    """Multiplies the last layer's update, column by column, by `factors` [D]."""

    def scale(path: tuple, update: jax.Array) -> jax.Array:
        in_code_layer = any(getattr(key, "key", None) == CODE_LAYER for key in path)
        if not in_code_layer:
            return update
        return update * jnp.asarray(factors).reshape((1,) * (update.ndim - 1) + (-1,))

    def update_fn(updates, state, params=None):
        del params
        return jax.tree_util.tree_map_with_path(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update_fn)
