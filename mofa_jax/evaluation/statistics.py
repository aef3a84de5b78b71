"""Statistics of errors: of all faces, and of groups of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from mofa_jax.evaluation.faces import UNITS, Face

QUANTILES = (0.05, 0.25, 0.75, 0.9, 0.95, 0.99)
_YAWS = (0, 15, 30, 60)  # degrees, where a range of |yaw| begins
_BALANCED_YAWS = (30, 60)  # degrees, where a range of |yaw| ends
_BALANCED_LABELS = ("0-30", "30-60", "60-90")

Groups = dict[str, list[Face]]


def summarize(faces: Sequence[Face]) -> dict[str, Any]:
    """Counts, and of every error that any face has its statistics (see `describe`), JSON-able."""
    errors = {key: values_of(faces, key) for key in UNITS}
    return {
        "num_faces": len(faces),
        "num_failed": sum(bool(face.failed) for face in faces),
        "errors": {
            key: {"unit": UNITS[key], **describe(values)}
            for key, values in errors.items()
            if len(values)
        },
    }


def describe(values: np.ndarray) -> dict[str, Any]:
    """Of values [N], N > 0: count, mean, median, standard deviation, extremes, quantiles."""
    quantiles = np.quantile(values, QUANTILES)
    return {
        "count": len(values),
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "standard_deviation": float(np.std(values)),
        "smallest": float(np.min(values)),
        "largest": float(np.max(values)),
        "quantiles": {str(q): float(value) for q, value in zip(QUANTILES, quantiles, strict=True)},
    }


def values_of(faces: Iterable[Face], key: str) -> np.ndarray:
    """The values of an error, of the faces that have it."""
    return np.array([face.errors[key] for face in faces if key in face.errors])


def by_yaw(faces: Iterable[Face]) -> Groups:
    """Faces by the range of their |yaw|, in degrees; those without a yaw as "unknown"."""
    ends = [f"-{end}" for end in _YAWS[1:]] + ["+"]
    labels = [f"{start}{end}" for start, end in zip(_YAWS, ends, strict=True)] + ["unknown"]
    groups: Groups = {label: [] for label in labels}
    for face in faces:
        known = np.isfinite(face.yaw)
        place = np.searchsorted(_YAWS, abs(face.yaw), side="right") - 1 if known else -1
        groups[labels[place]].append(face)
    return {label: members for label, members in groups.items() if members}


def balanced_over_yaw(faces: Sequence[Face], key: str = "nme_box") -> dict[str, float]:
    """The means of an error in three ranges of |yaw|, degrees, and the mean of the three.

    The protocol of AFLW2000-3D, where faces from the front would outweigh the others. Empty if a
    range has no face with that error.
    """
    known = [face for face in faces if key in face.errors and np.isfinite(face.yaw)]
    place = np.searchsorted(_BALANCED_YAWS, [abs(face.yaw) for face in known])
    values = values_of(known, key)
    if set(place) != {0, 1, 2}:
        return {}
    means = {label: values[place == k].mean() for k, label in enumerate(_BALANCED_LABELS)}
    means["mean"] = np.mean([*means.values()])
    return {label: float(mean) for label, mean in means.items()}


def by_corpus(faces: Iterable[Face]) -> Groups:
    """Faces by the set that they are of."""
    groups: Groups = {}
    for face in faces:
        groups.setdefault(face.corpus, []).append(face)
    return groups


def by_pattern(faces: Iterable[Face], expression: re.Pattern[str]) -> Groups:
    """Faces by what a regular expression's one group finds in their names; "" = nothing."""
    groups: Groups = {}
    for face in faces:
        found = expression.search(face.name)
        groups.setdefault((found and found[1]) or "", []).append(face)
    return dict(sorted(groups.items()))
