"""Mixing several corpora: which one each place of the endless sequence of examples comes from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_PERIOD = 1000  # places at most after which the pattern of corpora comes again


class MixtureError(ValueError):
    """A mixture of corpora is written down wrongly."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """A pattern of P places that repeats; C corpora.

    Attributes:
      corpus: [P] int32, which corpus a place comes from.
      rank: [P] int32, how many places of the pattern before it come from the same corpus.
      count: [C] int32, places of the pattern that come from each corpus.
    """

    corpus: np.ndarray
    rank: np.ndarray
    count: np.ndarray

    def __call__(self, place: int) -> tuple[int, int]:
        """(corpus, position in that corpus' own endless sequence) of a place."""
        period, place = divmod(place, len(self.corpus))
        corpus = int(self.corpus[place])
        return corpus, period * int(self.count[corpus]) + int(self.rank[place])


def make_schedule(weights: Sequence[float]) -> Schedule:
    """The pattern with corpora as often as their weights say, to a thousandth, evenly spread.

    Raises:
      MixtureError: a weight that is not positive, or too small beside the others.
    """
    if not all(0 < weight < math.inf for weight in weights):
        raise MixtureError(f"the weights of a mixture are positive numbers, not {list(weights)}")
    share = np.asarray(weights, np.float64) / sum(weights)
    exact = _PERIOD * share
    count = np.floor(exact + 1e-9).astype(int)
    missing = _PERIOD - count.sum()
    count[np.argsort(count - exact, kind="stable")[:missing]] += 1
    if not count.all():
        raise MixtureError(
            f"a corpus with less than 1/{_PERIOD} of the mixture's weights {list(weights)} would "
            "never be seen; give it more weight or leave it out"
        )
    count //= math.gcd(*count.tolist())
    corpus = np.repeat(np.arange(len(count)), count)
    rank = np.concatenate([np.arange(n) for n in count])
    order = np.argsort((rank + 0.5) / count[corpus], kind="stable")
    return Schedule(*(array.astype(np.int32) for array in (corpus[order], rank[order], count)))


def parse_mixture(text: str) -> dict[str, float]:
    """`DIRECTORY=WEIGHT,DIRECTORY=WEIGHT` -> directory: weight.

    Raises:
      MixtureError: it is not of that form, or names a directory twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        directory, _, weight = part.strip().rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            directory = ""
        if not directory or directory in found:
            raise MixtureError(
                f"data.mixture: {part.strip()!r} is not a further DIRECTORY=WEIGHT; write it like "
                "corpora/a=0.7,corpora/b=0.3"
            )
        found[directory] = number
    return found


class Mixture:
    """Sources that training draws from as often as their weights say; each repeats by itself."""

    def __init__(self, sources: Sequence, weights: Sequence[float]):
        """Raises MixtureError as `make_schedule` does."""
        self.sources = tuple(sources)
        self.schedule = make_schedule(weights)

    def __len__(self) -> int:
        """Examples of all sources together."""
        return sum(map(len, self.sources))


class Joined:
    """Sources one after another, as one source."""

    def __init__(self, sources: Sequence):
        self._sources = tuple(sources)
        self._ends = np.cumsum([len(source) for source in self._sources])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, i: int) -> dict:
        which = int(np.searchsorted(self._ends, i, side="right"))
        start = self._ends[which - 1] if which else 0
        return self._sources[which][int(i - start)]


def as_mixture(source: Any) -> Mixture:
    """A `Mixture` as it is; a single source as the whole of one."""
    return source if isinstance(source, Mixture) else Mixture([source], [1.0])
