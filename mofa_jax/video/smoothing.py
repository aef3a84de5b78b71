"""The one-euro filter: still where a signal rests, quick where it moves.

Casiez, Roussel and Vogel, "1€ Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012.
"""

import math

import numpy as np
from flax import struct

_SPEED_CUTOFF = 1.0  # Hz, of the filter on the speed itself


@struct.dataclass
class Smoothness:
    """How much is smoothed.

    Attributes:
      cutoff: of a signal at rest, Hz; lower is smoother.
      per_speed: what the cutoff grows by for each unit a second that the signal moves, Hz.
    """

    cutoff: float
    per_speed: float


@struct.dataclass
class Smoothed:
    """The filter's state.

    Attributes:
      value: the smoothed signal [D].
      speed: its smoothed speed [D], units a second.
    """

    value: np.ndarray
    speed: np.ndarray


def smoothed_further(
    before: Smoothed | None, value: np.ndarray, seconds: float, smoothness: Smoothness
) -> Smoothed:
    """The filter's next state.

    Args:
      before: the state `seconds` ago; None at the start.
      value: the signal [D] now.
      seconds: more than zero.
      smoothness: see `Smoothness`.
    """
    if before is None:
        return Smoothed(value, np.zeros_like(value))
    speed = (value - before.value) / seconds
    speed = before.speed + _weight(_SPEED_CUTOFF, seconds) * (speed - before.speed)
    weight = _weight(smoothness.cutoff + smoothness.per_speed * np.abs(speed), seconds)
    return Smoothed(before.value + weight * (value - before.value), speed)


def smoothed_without_lag(
    values: np.ndarray, times: np.ndarray, smoothness: Smoothness
) -> np.ndarray:
    """A signal [T, D] at rising times [T], s, filtered forwards and backwards: the mean [T, D]."""
    forwards = _filtered(values, np.diff(times), smoothness)
    backwards = _filtered(values[::-1], np.diff(times)[::-1], smoothness)[::-1]
    return (forwards + backwards) / 2


def _filtered(values: np.ndarray, steps: np.ndarray, smoothness: Smoothness) -> np.ndarray:
    state = smoothed_further(None, values[0], 0.0, smoothness)
    filtered = [state.value]
    for value, seconds in zip(values[1:], steps, strict=True):
        state = smoothed_further(state, value, seconds, smoothness)
        filtered.append(state.value)
    return np.stack(filtered)


def _weight(cutoff: float | np.ndarray, seconds: float) -> float | np.ndarray:
    """Of the newest value in a low-pass filter of first order."""
    return 1 / (1 + 1 / (2 * math.pi * cutoff * seconds))
