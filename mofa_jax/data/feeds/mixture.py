"""What a feed reads: sources of examples; mixed, spread out, or forgiven bad records.

A source has `len(source)` and `source[i] -> dict(image uint8 [H, W, 3], landmarks float32 [68, 2]
px, confidence float32 [68], name str)`, perhaps also the true code float32 [D], NaN where unknown.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import grain
import numpy as np

from mofa_jax.errors import InputError, one_line

Example = dict[str, Any]
SMALLEST_SHARE = 1e-3  # of a mixture's weights; a corpus of a smaller one would hardly be seen
_MAX_REPLACEMENTS = 1000
_logger = logging.getLogger(__name__)


class FeedError(InputError):
    """A feed cannot be made from these sources and sizes, or nothing in them can be read."""


class ExampleSource(Protocol):
    """Random access to examples."""

    def __len__(self) -> int: ...

    def __getitem__(self, i: int, /) -> Example: ...


class ForgivingSource:
    """A source whose unreadable records are replaced by the next readable one.

    Every example says by `replacement`, bool, whether it stands in for another. `log` is told of
    each that is replaced once; `num_failed` counts them.
    """

    def __init__(self, source: ExampleSource, log: Callable[[str], None] = _logger.warning):
        self._source, self._log = source, log
        self._failed: set[int] = set()
        self._lock = threading.Lock()

    @property
    def num_failed(self) -> int:
        return len(self._failed)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example:
        """Raises FeedError when a thousand records in a row cannot be read."""
        count = len(self._source)
        for k in range(min(count, _MAX_REPLACEMENTS)):
            index = (int(i) + k) % count
            try:
                return {**self._source[index], "replacement": k > 0}
            except Exception as error:  # whatever a decoder raises, the run goes on
                self._note(index, error)
        raise FeedError(
            f"{min(count, _MAX_REPLACEMENTS)} records in a row, from number {i}, cannot be read "
            "(see the log); prepare the data set again"
        )

    def _note(self, index: int, error: Exception) -> None:
        with self._lock:
            if index in self._failed:
                return
            self._failed.add(index)
        reason = one_line(error)
        self._log(f"record {index}: replaced by the next one: {reason}")


class WithoutCode:
    """A source's examples with a `code` [D] of which nothing is known, beside sources with one."""

    def __init__(self, source: ExampleSource, size: int):
        self._source, self._code = source, np.full(size, np.nan, np.float32)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, i: int) -> Example:
        return {**self._source[i], "code": self._code}


class Mixture:
    """Sources that training draws from as often as their weights say; each repeats by itself.

    Raises:
      FeedError: a source without examples, a weight that is not positive or too small beside the
        others.
    """

    def __init__(self, sources: Sequence[ExampleSource], weights: Sequence[float]):
        if not all(0 < weight < math.inf for weight in weights):
            raise FeedError(f"the weights of a mixture are positive numbers, not {list(weights)}")
        if min(weights) < SMALLEST_SHARE * sum(weights):
            raise FeedError(
                f"a corpus with less than {SMALLEST_SHARE:g} of the mixture's weights "
                f"{list(weights)} would hardly be seen; give it more weight or leave it out"
            )
        if not all(map(len, sources)):
            raise FeedError("a source has no examples; add photographs or change the split")
        self.sources, self.weights = tuple(sources), tuple(weights)

    def __len__(self) -> int:
        """Examples of all sources together."""
        return sum(map(len, self.sources))


def as_mixture(source: ExampleSource | Mixture) -> Mixture:
    """A `Mixture` as it is; a single source as the whole of one."""
    return source if isinstance(source, Mixture) else Mixture([source], [1.0])


def parse_mixture(text: str) -> dict[str, float]:
    """`DIRECTORY=WEIGHT,DIRECTORY=WEIGHT` -> directory: weight.

    Raises:
      FeedError: it is not of that form, or names a directory twice.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        directory, _, weight = part.strip().rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            directory = ""
        if not directory or directory in found:
            raise FeedError(
                f"data.mixture: {part.strip()!r} is not a further DIRECTORY=WEIGHT; write it like "
                "corpora/a=0.7,corpora/b=0.3"
            )
        found[directory] = number
    return found


def spread(source: ExampleSource, count: int) -> grain.MapDataset:
    """At most `count` examples of a source, evenly spread over it."""
    places = np.linspace(0, len(source) - 1, min(count, len(source))).round().astype(int)
    return grain.MapDataset.source(places.tolist()).map(source.__getitem__)
