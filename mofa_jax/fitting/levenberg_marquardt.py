"""The Levenberg-Marquardt method, for an energy whose gradient and curvature are given."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

_DAMPING = 1e-2  # at the start, relative to the curvature's diagonal
_GROWTH, _DECAY = 4.0, 0.33  # of the damping after a step that was refused, and taken
_LEAST, _MOST = 1e-6, 1e6  # damping


class _State(NamedTuple):
    x: jax.Array
    step: jax.Array  # to be tried next
    energy: jax.Array
    gradient: jax.Array
    curvature: jax.Array
    damping: jax.Array


def minimize(
    value_and_grad: Callable[[jax.Array], tuple[tuple[jax.Array, Any], jax.Array]],
    curvature: Callable[[jax.Array, Any], jax.Array],
    start: jax.Array,
    num_steps: int | jax.Array,
    room: int,
) -> tuple[jax.Array, jax.Array]:
    """Damped Newton steps; one that would not lower the energy is not taken, and the next is
    shorter.

    The gradient decides where the minimum is, the curvature only how soon it is reached: an
    approximate one will do.

    Args:
      value_and_grad: of x, the energy, whatever `curvature` needs of it, and the gradient, as
        `jax.value_and_grad(..., has_aux=True)` gives them.
      curvature: of x and what `value_and_grad` gave it, the Hessian's approximation [D, D],
        positive semidefinite.
      start: x [D].
      num_steps: steps that are tried; may be traced, so that one program does for any number.
      room: for how many steps, at most.

    Returns:
      x [D], and the energy [room + 1] at the start and after each step, zero after the last; it
      never rises.
    """

    def attempt(k: jax.Array, carry: tuple[_State, jax.Array]):
        state, energies = carry
        tried = state.x + state.step
        (energy, auxiliary), gradient = value_and_grad(tried)
        lower = energy < state.energy

        def taken():
            damping = jnp.maximum(_DECAY * state.damping, _LEAST)
            return tried, energy, gradient, curvature(tried, auxiliary), damping

        def refused():
            damping = jnp.minimum(_GROWTH * state.damping, _MOST)
            return state.x, state.energy, state.gradient, state.curvature, damping

        x, energy, gradient, matrix, damping = jax.lax.cond(lower, taken, refused)
        step = _step(gradient, matrix, damping)
        return _State(x, step, energy, gradient, matrix, damping), energies.at[k].set(energy)

    size, dtype = start.shape[0], start.dtype
    zero, matrix = jnp.zeros_like(start), jnp.zeros((size, size), dtype)
    infinite, damping = jnp.array(jnp.inf, dtype), jnp.array(_DAMPING / _DECAY, dtype)
    state = _State(start, zero, infinite, zero, matrix, damping)
    energies = jnp.zeros(room + 1, dtype)
    state, energies = jax.lax.fori_loop(0, num_steps + 1, attempt, (state, energies))
    return state.x, energies


def _step(gradient: jax.Array, curvature: jax.Array, damping: jax.Array) -> jax.Array:
    """-(H + damping diag H)^-1 g, solved with the diagonal scaled to one."""
    diagonal = jnp.diagonal(curvature)
    floor = jnp.finfo(diagonal.dtype).tiny
    scale = jnp.where(diagonal > floor, jax.lax.rsqrt(jnp.maximum(diagonal, floor)), 0.0)
    scaled = scale[:, None] * curvature * scale[None, :]
    damped = scaled + damping * jnp.eye(len(scale), dtype=scale.dtype)
    return -scale * jnp.linalg.solve(damped, scale * gradient)
