"""The train step: the gradient of every device's part of a batch, averaged, and the update."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct


@struct.dataclass
class TrainState:
    """What a step changes.

    Attributes:
      step: [] int32, steps done.
      weights: what is learned: the encoder's variables.
      opt_state: the optimizer's state.
    """

    step: jax.Array
    weights: Any
    opt_state: optax.OptState


def make_train_steps(objective: Callable, optimizer: optax.GradientTransformation) -> Callable:
    """(state, decoder, batches [devices, K, B / devices, ...]) -> (state, metrics), on all devices.

    K steps in a row down the gradient of `objective` (see `Learner`), without the host. The
    metrics, [K] each, are the loss, its `terms` by name, the `errors` (NaN without anything to
    compare) and the `norms` of the gradients; [1] each, the `norms` of the weights and of their way
    in the whole row. (In every step, these two would add half as much again to AdaDelta's time on a
    GPU.)
    Each device works out the gradient of its part of a batch; the parts are averaged. The state
    goes in and comes out the same on every device, and its memory is used again.
    """

    def step(state: TrainState, decoder: Any, batch: dict):
        gradient_of = jax.grad(objective, has_aux=True)
        gradient, (terms, errors) = gradient_of(
            state.weights, batch, state.step, decoder, axis_name="batch"
        )
        gradient, terms, errors = jax.lax.pmean((gradient, terms, errors), axis_name="batch")
        update, opt_state = optimizer.update(gradient, state.opt_state, state.weights)
        weights = optax.apply_updates(state.weights, update)
        metrics = {
            "loss": sum(terms.values()),
            "terms": terms,
            "errors": errors,
            "norms": {"gradient_norm": optax.tree.norm(gradient)},
        }
        return TrainState(state.step + 1, weights, opt_state), metrics, update

    def steps(state: TrainState, decoder: Any, batches: dict):
        if batches["image"].shape[0] == 1:  # on a CPU, loops keep convolutions from all cores
            after, metrics, way = step(state, decoder, jax.tree.map(lambda x: x[0], batches))
            metrics = jax.tree.map(lambda x: x[None], metrics)
        else:
            after, metrics = jax.lax.scan(lambda s, b: step(s, decoder, b)[:2], state, batches)
            way = jax.tree.map(jnp.subtract, after.weights, state.weights)
        metrics["norms"] |= {
            "weight_norm": optax.tree.norm(after.weights)[None],
            "update_norm": optax.tree.norm(way)[None],
        }
        return after, metrics

    return jax.pmap(
        steps, axis_name="batch", in_axes=(None, None, 0), out_axes=None, donate_argnums=(0,)
    )


def replicate(tree: Any) -> Any:
    """A pytree's copy on every local device, as the train step takes it without moving it again."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    return jax.device_put(tree, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec()))


def first_copy(tree: Any) -> Any:
    """The first local device's copy of what `replicate` has given every one."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
