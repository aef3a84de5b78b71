"""The page of an evaluation: numbers, curves, the best, the median and the worst faces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.errors import one_line
from mofa_jax.evaluation.faces import MAIN_ERRORS, UNITS, Face, LabeledSource
from mofa_jax.evaluation.statistics import QUANTILES
from mofa_jax.figures import PANELS, draw_landmarks, five_panels
from mofa_jax.inference import Predictor
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.pages import Cell, drawing, figure, page, paragraph, section, table
from mofa_jax.params import FaceParams
from mofa_jax.turntable import turning_figure

_RANKED = ("landmark_error", "geometric_error", "photometric_error")  # the first that is known
_NUM_PICTURED = 5  # faces of each kind
_WIDTH = 1060  # px, of a face's pictures
_LEGEND = "From left to right: landmarks, annotated green and drawn orange; " + ", ".join(PANELS)
_DRAWN_COLOR = (255, 120, 30)  # of the reconstruction's landmarks


def evaluation_page(
    result: Mapping[str, Any],
    faces: Sequence[Face],
    sets: Mapping[str, LabeledSource],
    predict: Predictor,
    curves: Mapping[str, str],
) -> str:
    """The page, HTML.

    Args:
      result: what evaluation.json holds.
      faces: all that were evaluated.
      sets: where their pictures are.
      predict: draws them.
      curves: SVG files by their titles.
    """
    failed = [(face.name, face.failed) for face in faces if face.failed]
    counts = f"{len(faces)} faces of {', '.join(sets)}; {len(failed)} failed."
    shown = ("all", "nme_box_over_yaw", "groups", "failed")
    made = {key: result[key] for key in result if key not in shown}
    balanced = result["nme_box_over_yaw"]
    return page(
        "Evaluation",
        paragraph(f"Encoder: {result['encoder']}, step {result['step']}. {counts}"),
        section("Errors", _errors_table(result["all"])),
        *(
            section(f"Mean errors by {kind}", _groups_table(groups))
            for kind, groups in result["groups"].items()
        ),
        section("Landmark error in the box, %, by |yaw|", table([*balanced.items()]))
        if balanced
        else "",
        *(section(title, drawing(svg)) for title, svg in curves.items()),
        *_pictures(faces, sets, predict),
        section("Failed", table(failed)) if failed else "",
        section("How it was made", table([*_flat(made)])),
    )


def _errors_table(summary: Mapping[str, Any]) -> str:
    quantiles = [f"{q:.0%}" for q in QUANTILES]
    rows = []
    for key, error in summary["errors"].items():
        numbers = (error[k] for k in ("count", "mean", "median", "standard_deviation"))
        rows.append([_title(key), error["unit"], *numbers, *error["quantiles"].values()])
    return table(rows, ["", "unit", "faces", "mean", "median", "deviation", *quantiles])


def _groups_table(groups: Mapping[str, Any]) -> str:
    keys = [key for key in UNITS if any(key in group["errors"] for group in groups.values())]
    rows = [
        [label, group["num_faces"], group["num_failed"]]
        + [group["errors"].get(key, {}).get("mean", np.nan) for key in keys]
        for label, group in groups.items()
    ]
    return table(rows, ["", "faces", "failed", *map(_title, keys)])


def _pictures(
    faces: Sequence[Face], sets: Mapping[str, LabeledSource], predict: Predictor
) -> Iterator[str]:
    """Sections of the faces with the smallest, middle and largest errors."""
    key = next(key for key in _RANKED if any(key in face.errors for face in faces))
    ranked = sorted((face for face in faces if key in face.errors), key=lambda f: f.errors[key])
    middle = max(0, (len(ranked) - _NUM_PICTURED) // 2)
    parts = {
        "Best": ranked[:_NUM_PICTURED],
        "Middle": ranked[middle : middle + _NUM_PICTURED],
        "Worst": ranked[: -_NUM_PICTURED - 1 : -1],
    }
    for title, chosen in parts.items():
        drawn = [_picture(face, sets[face.corpus], predict) for face in chosen]
        turning = [_turning(face, predict) for face in chosen[:1]]
        heading = f"{title} faces by the {_title(key)}"
        yield section(heading, paragraph(_LEGEND), *drawn[:1], *turning, *drawn[1:])


def _picture(face: Face, source: LabeledSource, predict: Predictor) -> str:
    """The crop with annotated (green) and drawn (orange) landmarks, then the five panels."""
    try:
        example = source[face.index]
    except Exception as error:  # it could be read a moment ago: no reason to lose all numbers
        return paragraph(f"{face.name}: {one_line(error)}")
    model = predict.model
    known = (example["confidence"] > 0) & (np.asarray(model.landmarks) >= 0)
    shown = LOSS_LANDMARKS[known[LOSS_LANDMARKS]]
    (screen,) = predict.landmarks(face.code[None])
    marked = draw_landmarks(example["image"], example["landmarks"][shown])
    marked = draw_landmarks(marked, screen[shown], color=_DRAWN_COLOR)
    params = FaceParams.from_code(jnp.asarray(face.code), model)
    panels = five_panels(example["image"], params, model, predict.cam)
    jpeg = encode_photograph(np.concatenate([marked, panels], axis=1), "jpeg", 85)
    errors = (f"{_title(key)} {face.errors[key]:.4g}" for key in MAIN_ERRORS if key in face.errors)
    return figure(jpeg, f"{face.name}: {', '.join(errors)}, yaw {face.yaw:.0f} degrees", _WIDTH)


def _turning(face: Face, predict: Predictor) -> str:
    params = FaceParams.from_code(jnp.asarray(face.code), predict.model)
    return turning_figure(params, predict.model, predict.cam, face.name)


def _title(key: str) -> str:
    return key.replace("_", " ")


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[list[Cell]]:
    """Nested dictionaries as rows (name, value)."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield [prefix + key, str(value)]
