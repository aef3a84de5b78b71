"""Draws plausible facial expressions from MakeHuman's expression units."""

from __future__ import annotations

import numpy as np

from tools.open_model.makehuman import MakeHumanAssets
from tools.open_model.places import smoothstep
from tools.open_model.population import ANCESTRIES
from tools.open_model.region import Region

_EXCLUSIVE = (
    ("eye-{}-closure", "eye-{}-opened-up"),
    ("eye-{}-closure", "eye-{}-slit"),
    ("eyebrows-{}-down", "eyebrows-{}-up"),
    ("eyebrows-{}-down", "eyebrows-{}-extern-up"),
    ("mouth-compression", "mouth-open"),
    ("mouth-pursing", "mouth-retraction"),
    ("mouth-pursing", "mouth-corner-puller"),
    ("mouth-protusion", "mouth-retraction"),
    ("mouth-corner-puller", "mouth-depression"),
    ("mouth-elevation", "mouth-open"),
)
_LIKELY = {"mouth-open": 0.35, "mouth-corner-puller": 0.35, "eye-{}-slit": 0.25}
_BASE_RATE = 0.14
_STRONGEST = {"mouth-open": 0.55}
_ONE_SIDED = 0.15  # share of two-sided actions that happen on one side only
_CROOKED = 0.12  # how much stronger an action of the middle is on one side, standard deviation
_MIDDLE = 0.25  # dm from the midline over which a side's share of such an action rises


class Expressions:
    """Sparse combinations of the 34 units, each in a mixture of its three variants.

    Attributes:
      directions: [D, n, 3] displacements; an expression is `weights @ directions`.
    """

    def __init__(self, assets: MakeHumanAssets, region: Region, average: np.ndarray):
        """`average` [19158, 3]: the shape that says which side a vertex is on."""
        folder = "expression/units/"
        names = [n.rsplit("/", 1)[1] for n in assets.names(folder + ANCESTRIES[0])]
        side = 2 * smoothstep(region.coarse(average)[:, 0], -_MIDDLE, _MIDDLE) - 1
        self._place: dict[str, int] = {}
        directions: list[np.ndarray] = []
        for name in names:
            self._place[name] = len(directions)
            unit = [region.coarse(assets.target(f"{folder}{a}/{name}")) for a in ANCESTRIES]
            directions += unit
            if _is_middle(name):
                directions += [variant * side[:, None] for variant in unit]
        self.directions = np.stack(directions)
        self._actions = sorted({n.replace("left", "{}").replace("right", "{}") for n in names})

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One expression's weights [D]."""
        mixture = rng.dirichlet([0.6, 0.6, 0.6])
        total = np.zeros(len(self.directions))
        for name, weight in self._draw_weights(rng).items():
            first = self._place[name]
            total[first : first + 3] = weight * mixture
            if _is_middle(name):
                total[first + 3 : first + 6] = weight * mixture * _CROOKED * rng.normal()
        return total

    def _draw_weights(self, rng: np.random.Generator) -> dict[str, float]:
        chosen: dict[str, float] = {}
        for action in rng.permutation(self._actions):
            rivals = {other for pair in _EXCLUSIVE if action in pair for other in pair} - {action}
            if rivals & set(chosen) or rng.random() > _LIKELY.get(action, _BASE_RATE):
                continue
            chosen[action] = _STRONGEST.get(action, 0.8) * rng.beta(1.4, 2.0)
        weights = {}
        for action, weight in chosen.items():
            if "{}" not in action:
                weights[action] = weight
                continue
            sides = rng.permutation(["left", "right"])[: 1 if rng.random() < _ONE_SIDED else 2]
            for side in sides:
                weights[action.format(side)] = float(np.clip(weight + 0.12 * rng.normal(), 0, 1))
        return weights


def _is_middle(name: str) -> bool:
    return "left" not in name and "right" not in name
