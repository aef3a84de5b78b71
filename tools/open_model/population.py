"""Draws plausible people from MakeHuman's morph targets, as coarse face shapes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from tools.open_model.makehuman import MakeHumanAssets
from tools.open_model.region import Region

ANCESTRIES = ("african", "asian", "caucasian")
SEXES = ("female", "male")
AGES = ("child", "young", "old")
BODIES = ("min", "average", "max")
_OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("compress", "uncompress"),
)
# Standard deviations of the local targets' weights (1 is MakeHuman's slider at its end).
_SPREAD = {
    "head": 0.15,
    "forehead": 0.20,
    "eyebrows": 0.26,
    "eyes": 0.27,
    "nose": 0.30,
    "mouth": 0.27,
    "chin": 0.20,
    "cheek": 0.25,
    "neck": 0.15,
}
_FACE_SHAPES = (
    "diamond",
    "invertedtriangular",
    "oval",
    "rectangular",
    "round",
    "square",
    "triangular",
)
_UNUSED = (
    *("head-trans", "head-back", "head-angle"),
    *("measure-neck", "neck-back", "neck-trans", "neck-scale"),
)


@dataclass(frozen=True)
class Slider:
    """One signed control: displacement = max(w, 0) positive + max(-w, 0) negative.

    Attributes:
      positive, negative: [n, 3] coarse displacements (dm).
      spread: standard deviation of its weight over people.
    """

    positive: np.ndarray
    negative: np.ndarray
    spread: float


def average_adult(assets: MakeHumanAssets) -> np.ndarray:
    """[19158, 3] the base mesh morphed to the mean of ancestries and sexes, young adult."""
    vertices = assets.base_mesh().vertices.copy()
    for sex in SEXES:
        body = f"macrodetails/universal-{sex}-young-averagemuscle-averageweight"
        vertices += assets.target(body) / 2
        for ancestry in ANCESTRIES:
            vertices += assets.target(f"macrodetails/{ancestry}-{sex}-young") / 6
    return vertices


class Population:
    """Draws faces: sex, age, ancestry, body, local features, slight asymmetry, smooth variation.

    A face is `base + weights @ directions`.

    Attributes:
      base: [n, 3] coarse face of MakeHuman's base mesh.
      directions: [D, n, 3] displacements.
    """

    def __init__(self, assets: MakeHumanAssets, region: Region, smooth: np.ndarray):
        """`smooth` [G, n, 3]: modes of free smooth variation, each at one standard deviation."""
        self.base = region.coarse(assets.base_mesh().vertices)
        self._macro = list(product(ANCESTRIES, SEXES, AGES))
        self._body = list(product(SEXES, AGES, BODIES, BODIES))
        self._sliders = _sliders(assets, region)
        names = [f"macrodetails/{a}-{s}-{age}" for a, s, age in self._macro]
        names += [
            f"macrodetails/universal-{s}-{a}-{m}muscle-{w}weight" for s, a, m, w in self._body
        ]
        names += [f"head/head-{shape}" for shape in _FACE_SHAPES]
        ends = [end for pair in self._sliders for s in pair for end in (s.positive, s.negative)]
        self._num_smooth = len(smooth)
        self.directions = np.concatenate(
            [np.stack([region.coarse(assets.target(name)) for name in names]), ends, smooth]
        )

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One person's weights [D]."""
        shapes = np.zeros(len(_FACE_SHAPES))
        if rng.random() < 0.6:
            shapes[rng.integers(len(shapes))] = rng.uniform(0, 0.35)
        local = []
        for pair in self._sliders:
            common = rng.normal()
            for slider in pair:
                weight = np.clip(slider.spread * (common + 0.2 * rng.normal()), -1, 1)
                local += [max(weight, 0), max(-weight, 0)]
        return np.concatenate(
            [self._draw_macro(rng), shapes, local, rng.normal(size=self._num_smooth)]
        )

    def _draw_macro(self, rng: np.random.Generator) -> np.ndarray:
        ancestry = dict(zip(ANCESTRIES, rng.dirichlet([0.6, 0.6, 0.6]), strict=True))
        male = np.clip(rng.choice([0.08, 0.92]) + 0.1 * rng.normal(), 0, 1)
        sex = dict(zip(SEXES, (1 - male, male), strict=True))
        age = _between(AGES, 0.45 + 0.5 * rng.beta(1.2, 1.6))
        muscle = _between(BODIES, np.clip(rng.normal(0.5, 0.14), 0, 1))
        weight = _between(BODIES, np.clip(rng.normal(0.52, 0.16), 0, 1))
        macro = [ancestry[r] * sex[s] * age.get(a, 0) for r, s, a in self._macro]
        body = [
            sex[s] * age.get(a, 0) * muscle.get(m, 0) * weight.get(w, 0)
            for s, a, m, w in self._body
        ]
        return np.array(macro + body)


def _between(names: tuple[str, ...], position: float) -> dict[str, float]:
    """Linear weights of the two neighboring names at `position` in [0, 1]."""
    scaled = position * (len(names) - 1)
    lower = min(int(scaled), len(names) - 2)
    share = scaled - lower
    return {names[lower]: 1 - share, names[lower + 1]: share}


def _sliders(assets: MakeHumanAssets, region: Region) -> list[tuple[Slider, ...]]:
    """Local controls; a left and a right one that belong together come as a pair."""
    sliders = {}
    for folder, spread in _SPREAD.items():
        names = assets.names(folder)
        for name in names:
            partner = _opposite(name, names)
            if partner and not any(part in name for part in _UNUSED):
                pair = region.coarse(assets.target(name)), region.coarse(assets.target(partner))
                sliders[name] = Slider(*pair, spread)
    for name in assets.names("asym"):
        if name.endswith("-l") and not any(p in name for p in ("ear", "trunk", "breast")):
            pair = [region.coarse(assets.target(name[:-1] + side)) for side in "lr"]
            sliders[name] = Slider(*pair, 0.12)
    return [
        (slider, sliders[name.replace("/l-", "/r-")]) if "/l-" in name else (slider,)
        for name, slider in sliders.items()
        if "/r-" not in name
    ]


def _opposite(name: str, names: list[str]) -> str | None:
    """The target at the other end of the control whose positive end `name` is, if it is one."""
    for positive, negative in _OPPOSITES:
        if name.endswith(f"-{positive}"):
            other = name.removesuffix(positive) + negative
            return other if other in names else None
    return None
