"""Draws plausible faces' reflectance: skin by its optics, and the parts that faces have."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from tools.open_model.places import IRIS_RADIUS, Places, smoothstep
from tools.open_model.skin import decode, encode, skin_spectrum, to_srgb

_LOG_MELANIN = np.linspace(np.log(0.002), np.log(0.8), 33)
_LOG_BLOOD = np.linspace(np.log(0.0008), np.log(0.4), 25)
# Hair from dark to light, and gray, sRGB.
_HAIR = np.array([[0.07, 0.06, 0.06], [0.15, 0.11, 0.09], [0.27, 0.19, 0.13], [0.50, 0.38, 0.25]])
_GRAY_HAIR = np.array([0.58, 0.57, 0.55])
_TEETH = 0.86, 0.83, 0.77
_IRISES = np.array([[0.13, 0.08, 0.06], [0.27, 0.17, 0.10], [0.33, 0.33, 0.22], [0.36, 0.45, 0.53]])


class SkinColors:
    """Linear RGB of skin by melanin and blood, looked up in a table."""

    def __init__(self) -> None:
        melanin, blood = np.meshgrid(np.exp(_LOG_MELANIN), np.exp(_LOG_BLOOD), indexing="ij")
        table = decode(to_srgb(skin_spectrum(melanin, blood)))
        self._look_up = RegularGridInterpolator((_LOG_MELANIN, _LOG_BLOOD), table)

    def __call__(self, log_melanin: np.ndarray, log_blood: np.ndarray) -> np.ndarray:
        """[N, 3] linear RGB in daylight, of the body of the skin (without the surface's sheen)."""
        place = np.stack(
            [
                np.clip(log_melanin, _LOG_MELANIN[0], _LOG_MELANIN[-1]),
                np.clip(log_blood, _LOG_BLOOD[0], _LOG_BLOOD[-1]),
            ],
            -1,
        )
        return self._look_up(place)


class Complexions:
    """Draws reflectances [N, 3] in the image's own (sRGB) values."""

    def __init__(self, places: Places, fields: np.ndarray, rng: np.random.Generator):
        """`fields` [G, N]: modes of a smooth random field over the face, of unit variance."""
        self._places, self._fields, self._skin = places, fields, SkinColors()
        self._lips, self._beard = places.lips(), places.beard()
        self._moustache = places.moustache()
        self._nostrils, self._eyes, self._mouth = places.nostrils(), places.eyes(), places.mouth()
        self._lashes = np.stack([places.lid_line(True, 0.013), places.lid_line(False, 0.009)])
        self._waterline = places.lid_line(False, 0.008) * 0.6
        self._crease = smoothstep(places.concavity(30), 0.002, 0.03)
        self._folds = smoothstep(places.concavity(150), 0.004, 0.06)
        self._lid_shade = places.lid_line(True, 0.045, 0.03)
        self._circles = places.lid_line(False, 0.035, 0.055)
        self._cheeks = places.bump(0.40, 7.02, 0.14, 0.13)
        self._nose = places.bump(0, 6.99, 0.09, 0.08) * (places.points[:, 2] > 1.35)
        self._chin = places.bump(0, 6.40, 0.12, 0.08)
        self._forehead = places.bump(0, 7.80, 0.40, 0.16)
        self._caruncle = places.bump(0.172, 7.322, 0.014) * (places.points[:, 2] > 1.2)
        self._freckles = [places.freckles(rng, 420) for _ in range(2)]
        noise = places.smooth(rng.normal(size=(len(places.points), 2)), 1)
        self._hairs = np.clip(1 + 0.16 * noise / noise.std(0), 0.3, 1.4).T

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """One person's reflectance [N, 3]."""
        tone = rng.beta(1.05, 0.95)  # from the lightest to the darkest skin
        male = rng.random() < 0.5
        gray = max(rng.uniform(-4.0, 0.8), 0)
        lightness = rng.beta(1.2, 3.0) * (1 - tone) ** 0.7 + 0.04 * rng.normal()
        hair = (1 - gray) * _ramp(_HAIR, np.clip(lightness, 0, 1)) + gray * _GRAY_HAIR
        color = self._draw_skin(rng, tone)
        color = self._draw_beard(rng, color, hair, male)
        color = self._draw_brows(rng, color, hair * 0.9)
        color = self._draw_eyes(rng, color, tone)
        color = self._blend(color, self._mouth[0], self._inside_mouth())
        dark = color * np.array([0.30, 0.20, 0.17])
        return self._blend(color, self._nostrils * rng.uniform(0.6, 1.0), dark)

    def _draw_skin(self, rng: np.random.Generator, tone: float) -> np.ndarray:
        melanin = np.log(0.004) + np.log(108.0) * tone + 0.12 * self._field(rng)
        melanin = melanin + 0.08 * rng.normal() * self._forehead
        melanin = melanin + self._circles * rng.normal(0.10, 0.10)
        for spots in self._freckles:
            melanin = melanin + spots * max(rng.normal(0.05, 0.35), 0) * (1.2 - tone)
        blood = np.log(0.013) + 0.47 * rng.normal() + 0.18 * self._field(rng)
        blood = blood + self._cheeks * rng.normal(0.35, 0.25) + self._nose * rng.normal(0.30, 0.25)
        blood = blood + self._chin * rng.normal(0.12, 0.12) + self._circles * rng.normal(0.15, 0.15)
        lips = np.clip(rng.normal(0.85, 0.20), 0, 1.8)
        blood = blood + self._lips * 1.5 * lips + 0.35 * self._lid_shade + 1.2 * self._waterline
        melanin = melanin + self._lips * rng.normal(0.05, 0.12)
        melanin = melanin + self._lid_shade * rng.normal(0.10, 0.08)
        shade = 0.04 * self._field(rng) - self._crease * rng.normal(0.30, 0.12)
        shade = shade - self._folds * rng.normal(0.22, 0.10) - 0.08 * self._lips
        surface = rng.uniform(0.015, 0.048)  # Fresnel reflection at the skin's surface
        linear = surface + (1 - surface) * self._skin(melanin, blood)
        return self._photograph(rng, linear * np.exp(shade)[:, None], tone)

    @staticmethod
    def _photograph(rng: np.random.Generator, linear: np.ndarray, tone: float) -> np.ndarray:
        """The camera's part: exposure and white balance."""
        exposure = 1.34 * np.exp(0.13 * rng.normal() - 1.5 * tone**2)
        balance = np.exp(
            0.05 * rng.normal() * np.array([0.8, 0, -1.2]) + 0.027 * rng.normal(size=3)
        )
        return encode(linear * exposure * balance)

    def _field(self, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(size=len(self._fields)) @ self._fields

    def teeth(self) -> np.ndarray:
        """[N, 3, 2]: what the upper and the lower teeth add to the inside of the mouth, which
        `draw` leaves dark; together they fill it but for its corners' and lower edge's shadow."""
        inside, share = self._mouth
        lower = smoothstep(share, 0.42, 0.58)
        shown = np.stack([1 - lower, lower * smoothstep(-share, -0.95, -0.80)], axis=-1)
        added = np.array(_TEETH) - self._inside_mouth()
        return (inside[:, None] * added)[..., None] * shown[:, None]

    def _inside_mouth(self) -> np.ndarray:
        """[N, 3]."""
        return np.outer(1 - 0.5 * self._mouth[1], [0.24, 0.10, 0.09])

    def _draw_beard(self, rng, color: np.ndarray, hair: np.ndarray, male: bool) -> np.ndarray:
        stubble = rng.normal(0.10, 0.04) if male else rng.normal(0.02, 0.01)
        beard, moustache = np.clip(stubble * np.exp(0.2 * rng.normal(size=2)), 0, 1)
        bearded, moustached = rng.random(2) < [0.10, 0.10]
        if male and bearded:
            beard, moustache = rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.6)
        if male and moustached:
            moustache = rng.uniform(0.2, 0.6)
        cover = np.maximum(self._beard * beard, self._moustache * moustache) * self._hairs[0]
        shadow = 0.75 * hair + 0.25 * np.array([0.24, 0.25, 0.27])
        return self._blend(color, np.clip(cover, 0, 0.95), shadow)

    def _draw_brows(self, rng, color: np.ndarray, hair: np.ndarray) -> np.ndarray:
        strength = np.clip(rng.normal(0.66, 0.20), 0, 0.98)
        brow = self._places.brow(rng.uniform(0.88, 1.18), 0.004 * rng.normal())
        return self._blend(color, np.clip(brow * strength * self._hairs[1], 0, 0.96), hair)

    def _draw_eyes(self, rng, color: np.ndarray, tone: float) -> np.ndarray:
        lash = self._lashes.T @ [rng.uniform(0.35, 0.95), rng.uniform(0.1, 0.5)]
        color = self._blend(color, np.clip(lash, 0, 0.95), [0.09, 0.07, 0.065])
        inside, share = self._eyes
        distance = self._places.iris((0.013 * rng.normal(), 0.004 * rng.normal()), IRIS_RADIUS)
        white = np.array([0.80, 0.76, 0.73]) * rng.uniform(0.85, 1.08)
        ball = np.broadcast_to(white - tone * np.array([0.06, 0.08, 0.1]), color.shape)
        iris = _ramp(_IRISES, np.clip(rng.beta(0.9, 1.3) * (1 - tone) ** 0.5 + 0.03, 0, 1))
        ball = self._blend(ball, 1 - smoothstep(distance, 0.88, 1.06), iris * 0.55)
        ball = self._blend(ball, 1 - smoothstep(distance, 0.70, 0.92), iris)
        ball = self._blend(ball, 1 - smoothstep(distance, 0.30, 0.46), [0.03, 0.03, 0.03])
        lid_shade = 0.45 * np.exp(-((share / 0.28) ** 2)) + 0.12 * smoothstep(share, 0.8, 1)
        color = self._blend(color, inside, ball * (1 - lid_shade)[:, None])
        flesh = np.array([0.62, 0.36, 0.33]) * (1 - 0.4 * tone)
        return self._blend(color, self._caruncle * 0.6, flesh)

    @staticmethod
    def _blend(under: np.ndarray, cover: np.ndarray, over) -> np.ndarray:
        """`over` [3] or [N, 3] laid on `under` [N, 3] with opacity `cover` [N]."""
        return under + cover[:, None] * (np.asarray(over) - under)


def _ramp(colors: np.ndarray, position: float) -> np.ndarray:
    """The color at `position` in [0, 1] along a row of colors."""
    places = np.linspace(0, 1, len(colors))
    return np.array([np.interp(position, places, colors[:, k]) for k in range(3)])
