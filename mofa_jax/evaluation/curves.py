"""Curves of errors, by matplotlib: cumulative ones, and those over the steps of a training."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mofa_jax.evaluation.faces import MAIN_ERRORS, UNITS, Face
from mofa_jax.evaluation.statistics import by_yaw, values_of

_WIDTH, _HEIGHT = 4.2, 3.2  # of a panel, inches
_SHOWN = 0.99  # of the faces lie within the axis of a cumulative curve


def cumulative_curves(faces: Sequence[Face]) -> str:
    """The share of the faces whose error is at most so large, one panel an error: an SVG file.

    A face that failed counts with an error beyond all others. Drawn of all and by the head's yaw.
    """
    known = {key: values_of(faces, key) for key in MAIN_ERRORS}
    ranges = by_yaw(faces)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(ranges)))

    def panel(key: str, axes: Axes) -> None:
        for (label, members), color in zip(ranges.items(), colors, strict=True):
            _cumulative(axes, members, key, f"{label} degrees", color=color, linewidth=1)
        _cumulative(axes, faces, key, "all", color="black", linewidth=2)
        axes.set(xlim=(0, np.quantile(known[key], _SHOWN)), ylim=(0, 1))
        axes.set(xlabel=UNITS[key], ylabel="share of the faces")
        axes.legend(loc="lower right", fontsize="small")

    return _panels([key for key in known if len(known[key])], panel)


def training_curves(evaluations: Mapping[str, Mapping[int, float]], step: int) -> str:
    """Errors on held-out faces over the training steps (paper, Fig. 9 and 10): an SVG file.

    Args:
      evaluations: by error, its value by step.
      step: that of the checkpoint which was evaluated, marked by a line.
    """

    def panel(key: str, axes: Axes) -> None:
        values = evaluations[key]
        axes.plot([*values], [*values.values()], "o-", markersize=3, color="black")
        axes.axvline(step, color="tab:red", linewidth=1)
        axes.set(xlabel="training step", ylabel=UNITS[key])

    return _panels([key for key in (*MAIN_ERRORS, "scale_bias") if key in evaluations], panel)


def _cumulative(axes: Axes, faces: Sequence[Face], key: str, label: str, **style) -> None:
    values = np.sort(values_of(faces, key))
    count = sum(key in face.errors or bool(face.failed) for face in faces)
    if len(values):
        share = np.arange(len(values) + 1) / count
        axes.step(np.concatenate([[0], values]), share, where="post", label=label, **style)


def _panels(keys: Sequence[str], draw: Callable[[str, Axes], None]) -> str:
    """Panels side by side under the errors' names."""
    figure = Figure(figsize=(_WIDTH * len(keys), _HEIGHT), layout="constrained")
    for key, axes in zip(keys, figure.subplots(1, len(keys), squeeze=False)[0], strict=True):
        draw(key, axes)
        axes.set_title(key.replace("_", " "))
        axes.grid(alpha=0.3)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": draw.__qualname__}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()
