"""An encoder evaluated: its errors measured and written as numbers, tables, curves and a page."""

from __future__ import annotations

import contextlib
import csv
import importlib.util
import io
import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mofa_jax.data.sources.items import one_group_expression
from mofa_jax.errors import InputError
from mofa_jax.evaluation.faces import UNITS, Face, LabeledSource, measure
from mofa_jax.evaluation.page import evaluation_page
from mofa_jax.evaluation.statistics import (
    balanced_over_yaw,
    by_corpus,
    by_pattern,
    by_yaw,
    summarize,
)
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.extras import install_command
from mofa_jax.files.writing import atomic_write
from mofa_jax.inference import Predictor
from mofa_jax.provenance import provenance

_CUMULATIVE, _TRAINING = "cumulative_errors", "training"  # the drawings
_logger = logging.getLogger(__name__)


def evaluate_encoder(
    predict: Predictor,
    sets: Mapping[str, LabeledSource],
    output: str | os.PathLike[str],
    *,
    workdir: str | os.PathLike[str] | None = None,
    refine_steps: int = 0,
    group: str = "",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Evaluates an encoder on all faces of some sets and writes what it found.

    In the folder `output`: evaluation.json, faces.csv (a row a face), report.html, and the curves,
    cumulative_errors.svg and training.svg. All are written at the end, or none.

    Args:
      predict: the encoder.
      sets: examples by the set's name.
      output: the folder, made if need be.
      workdir: of the encoder's run, None for the bundled one.
      refine_steps: see `Predictor.faces`.
      group: a regular expression with one group, see `by_pattern`; "" = none.
      settings: how the faces were chosen, for evaluation.json.

    Returns:
      What evaluation.json holds.

    Raises:
      InputError: no face could be evaluated, or `group` is no such expression.
      OSError: the files cannot be written.
    """
    expression = one_group_expression(group, "group") if group else None
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=output):  # rather than to fail after all the work
        pass
    start = time.monotonic()
    faces = list(measure(predict, sets, refine_steps))
    if not any(face.errors for face in faces):
        reason = f" ({faces[0].failed})" if faces else ""
        raise InputError(
            f"{', '.join(sets)}: none of {len(faces)} faces could be evaluated{reason}; give others"
        )
    groups = {"yaw, degrees": by_yaw(faces)}
    if len(sets) > 1:
        groups["corpus"] = by_corpus(faces)
    if expression:
        groups[f"name ({group})"] = by_pattern(faces, expression)
    result = {
        "encoder": "the bundled encoder" if workdir is None else os.fspath(workdir),
        "step": predict.step,
        "seed": predict.config.seed,
        "face_model": predict.model.identity(),
        "data": {"faces": {name: len(source) for name, source in sets.items()}, **(settings or {})},
        "refine_steps": refine_steps,
        **provenance(),
        "seconds": round(time.monotonic() - start, 1),
        "all": summarize(faces),
        "nme_box_over_yaw": balanced_over_yaw(faces),
        "groups": {
            kind: {label: summarize(members) for label, members in parts.items()}
            for kind, parts in groups.items()
        },
        "failed": [
            {"corpus": face.corpus, "name": face.name, "reason": face.failed}
            for face in faces
            if face.failed
        ],
    }
    curves = _curves(faces, logged_evaluations(workdir) if workdir else {}, predict.step)
    _write_all(
        output,
        {
            "evaluation.json": json.dumps(result, indent=1, allow_nan=False) + "\n",
            "faces.csv": _table(faces),
            **{f"{name}.svg": svg for name, (_, svg) in curves.items()},
            "report.html": evaluation_page(result, faces, sets, predict, dict(curves.values())),
        },
    )
    return result


def _curves(
    faces: Sequence[Face], evaluations: Mapping[str, Mapping[int, float]], step: int
) -> dict[str, tuple[str, str]]:
    """The title and the SVG file of each drawing, by the file's name; none without matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        _logger.warning("No curves: %s", install_command("evaluate"))
        return {}
    from mofa_jax.evaluation.curves import cumulative_curves, training_curves

    curves = {_CUMULATIVE: ("Cumulative errors", cumulative_curves(faces))}
    if evaluations:
        title = "Errors on held-out faces in training"
        curves[_TRAINING] = (title, training_curves(evaluations, step))
    return curves


def _table(faces: Sequence[Face]) -> str:
    """A row a face, CSV."""
    keys = [key for key in UNITS if any(key in face.errors for face in faces)]
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["corpus", "index", "name", "failed", "yaw", *keys])
    for face in faces:
        yaw = "" if face.code is None else face.yaw
        errors = (face.errors.get(key, "") for key in keys)
        table.writerow([face.corpus, face.index, face.name, face.failed, yaw, *errors])
    return file.getvalue()


def _write_all(folder: Path, files: Mapping[str, str]) -> None:
    """Writes all files, or none if one cannot be written; drawings of an evaluation before go."""
    with contextlib.ExitStack() as stack:
        for name, text in files.items():
            temporary = stack.enter_context(atomic_write(folder / name))
            temporary.write_text(text, encoding="utf-8")
    for name in (_CUMULATIVE, _TRAINING):
        if f"{name}.svg" not in files:
            (folder / f"{name}.svg").unlink(missing_ok=True)
