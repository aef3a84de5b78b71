"""Color of human skin from the absorption of melanin and haemoglobin.

Two layers: an absorbing epidermis that light crosses twice, and a dermis that scatters it back:
R(wavelength) = T_epidermis^2 R_dermis, with R_dermis by Kubelka and Munk's infinitely thick layer,
as in Alotaibi and Smith, "A Biophysical 3D Morphable Model of Face Appearance", ICCV Workshops
2017.
Absorption and scattering: Jacques, "Skin Optics", Oregon Medical Laser Center News, 1998, and
"Optical properties of biological tissues: a review", Phys. Med. Biol. 58, 2013.
"""

from __future__ import annotations

import numpy as np

WAVELENGTHS = np.arange(400, 701, 10).astype(float)  # nm


def _table(numbers: str) -> np.ndarray:
    return np.array([float(number) for number in numbers.split()])


# Molar extinction of haemoglobin, 1/(cm mol/l), every 10 nm from 400 to 700 nm; compiled by
# S. Prahl, Oregon Medical Laser Center, 1998, from W. B. Gratzer and N. Kollias.
_OXYGENATED = _table(
    "266232 466840 480360 246072 102580 62816 44480 33209 26629 23684 20933 20035 24202 39957 "
    "53236 43016 32613 44496 50104 14401 3200 1506 942 610 442 368 320 294 278 276 290"
)
_DEOXYGENATED = _table(
    "223296 303956 407560 528600 413280 103292 23389 16156 14550 16684 20862 25774 31590 39036 "
    "46592 53412 53788 45072 37020 28324 14677 9444 6510 5149 4345 3750 3227 2795 2408 2052 1794"
)
_HAEMOGLOBIN = 150.0 / 64500.0  # mol/l in whole blood: 150 g/l, 64,500 g/mol
_OXYGENATION = 0.75
_EPIDERMIS = 0.0120  # cm, the path through the epidermis: about 0.01 thick, crossed obliquely
# CIE standard illuminant D65, relative power, every 10 nm from 400 to 700 nm.
_D65 = _table(
    "82.75 91.49 93.43 86.68 104.86 117.01 117.81 114.86 115.92 108.81 109.35 107.80 104.79 "
    "107.69 104.41 104.05 100.00 96.33 95.79 88.69 90.01 89.60 87.70 83.29 83.70 80.03 80.21 "
    "82.28 78.28 69.72 71.61"
)
_XYZ_TO_SRGB = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
)


def melanosome_absorption() -> np.ndarray:
    """1/cm at WAVELENGTHS, of the melanosome's interior (Jacques 1998): 6.6e11 wavelength^-3.33."""
    return 6.6e11 * WAVELENGTHS**-3.33


def blood_absorption() -> np.ndarray:
    """1/cm at WAVELENGTHS, of whole blood at 75 % oxygenation."""
    extinction = _OXYGENATION * _OXYGENATED + (1 - _OXYGENATION) * _DEOXYGENATED
    return np.log(10) * extinction * _HAEMOGLOBIN


def skin_spectrum(melanin: np.ndarray, blood: np.ndarray) -> np.ndarray:
    """Diffuse reflectance at WAVELENGTHS [..., 31].

    Args:
      melanin: volume fraction of melanosomes in the epidermis [...]; 0.01 very light, 0.43
        very dark.
      blood: volume fraction of blood in the dermis [...]; 0.002 to 0.07, lips up to 0.15.
    """
    melanin, blood = np.asarray(melanin)[..., None], np.asarray(blood)[..., None]
    baseline = 0.244 + 85.3 * np.exp(-(WAVELENGTHS - 154) / 66.2)  # 1/cm, Jacques 1998
    epidermis = melanin * melanosome_absorption() + (1 - melanin) * baseline
    dermis = blood * blood_absorption() + (1 - blood) * baseline
    scattering = 2e5 * WAVELENGTHS**-1.5 + 2e12 * WAVELENGTHS**-4  # reduced, 1/cm, Jacques 1998
    # Kubelka-Munk: K = 2 mu_a, S = 3/4 mu_s' - 1/4 mu_a
    ratio = 2 * dermis / np.maximum(0.75 * scattering - 0.25 * dermis, 0.05 * scattering)
    reflected = 1 + ratio - np.sqrt(ratio**2 + 2 * ratio)
    return np.exp(-2 * epidermis * _EPIDERMIS) * reflected


def to_srgb(spectrum: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in [0, 1] of a reflectance spectrum [..., 31] in daylight (D65)."""
    matching = _matching_functions() * _D65[:, None]
    xyz = spectrum @ matching / matching[:, 1].sum()
    return encode(xyz @ _XYZ_TO_SRGB.T)


def encode(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: linear light to sRGB values, clipped to [0, 1]."""
    linear = np.clip(linear, 0, 1)
    curve = 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def decode(values: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1: sRGB values in [0, 1] to linear light."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _matching_functions() -> np.ndarray:
    """CIE 1931 x, y, z [31, 3]: the analytic fit of Wyman, Sloan and Shirley, JCGT 2(2), 2013."""

    def lobe(scale: float, center: float, below: float, above: float) -> np.ndarray:
        offset = WAVELENGTHS - center
        return scale * np.exp(-0.5 * (offset * np.where(offset < 0, below, above)) ** 2)

    x = (
        lobe(0.362, 442.0, 0.0624, 0.0374)
        + lobe(1.056, 599.8, 0.0264, 0.0323)
        + lobe(-0.065, 501.1, 0.0490, 0.0382)
    )
    y = lobe(0.821, 568.8, 0.0213, 0.0247) + lobe(0.286, 530.9, 0.0613, 0.0322)
    z = lobe(1.217, 437.0, 0.0845, 0.0278) + lobe(0.681, 459.0, 0.0385, 0.0725)
    return np.stack([x, y, z], axis=-1)
