"""Adam's steps down an energy, for the benchmarks that fit codes."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def descend(energy: Callable[[Any], jax.Array], start: Any, num_steps: int, rate: float) -> Any:
    """Where the energy of a pytree is lower: after so many steps, whose rate falls to zero."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, num_steps))

    def step(_, carry):
        value, state = carry
        update, state = optimizer.update(jax.grad(energy)(value), state)
        return optax.apply_updates(value, update), state

    return jax.lax.fori_loop(0, num_steps, step, (start, optimizer.init(start)))[0]
