"""How well and how fast `mofa_jax.fit` fits photographs with known landmarks, from several starts.

    python -m benchmarks.fit --photographs=lfpw_test --output=fit

Each face is fitted with its landmarks, in the crop about them, and without, in the detector's
square; then the encoder's start is held by the landmarks that the encoder has found. Prints a table
of errors and of a face's seconds; the baseline is the bundled encoder alone. Started again, it
goes on where it was stopped. Writes fit.json (the numbers of every face, with the energy after each
step), faces.jpg (fits of the first faces) and, with matplotlib, curves.png.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

import mofa_jax
from mofa_jax.autoencoder import face_errors
from mofa_jax.errors import InputError, one_line
from mofa_jax.evaluation.photographs import PhotographFaces
from mofa_jax.evaluation.statistics import describe
from mofa_jax.figures import panels_grid, write_image
from mofa_jax.files.writing import write_json
from mofa_jax.params import FaceParams
from mofa_jax.provenance import provenance

_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "A folder with landmarks.", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "Folder of the results.", required=True)
_EVERY = flags.DEFINE_integer("every", 1, "Every so many faces only.", lower_bound=1)
_STEPS = flags.DEFINE_multi_integer("steps", [10, 50], "Numbers of steps.")

CROPS = {"with landmarks": "landmarks", "without landmarks": "haar"}
_ERRORS = ("landmark_error", "photometric_error", "scale_bias")
_TIMES = ("seconds", "processor_seconds")  # of the clock; of all threads
_PICTURES = 8  # faces that are drawn
_errors_of = jax.jit(face_errors)


def _starts(
    predict: mofa_jax.Predictor, example: dict[str, Any], kind: str
) -> dict[str, dict[str, Any]]:
    """From where a face is fitted: by name, `fit`'s landmarks, confidence and init."""
    encoded = _first(predict(example["image"][None]))
    average = FaceParams.neutral(predict.model)
    if kind == "without landmarks":
        found = predict.landmarks(encoded.to_code()[None])[0]
        return {"average face": {"init": average}, "encoder": {"init": encoded, "landmarks": found}}
    known = {key: example[key] for key in ("landmarks", "confidence")}
    return {
        "average face": known | {"init": average},
        "laid on the landmarks": known,
        "encoder": known | {"init": encoded},
    }


def _measure(predict, example: dict[str, Any], kind: str) -> dict[str, dict]:
    """One face's numbers by row."""
    starts = _starts(predict, example, kind)
    rows = {"encoder, 0 steps": _errors(predict, example, starts["encoder"]["init"])}
    for name, arguments in starts.items():
        for steps in _STEPS.value:
            wall, processor = time.perf_counter(), time.process_time()
            fitted = _fit(predict, example, steps, arguments)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            rows[f"{name}, {steps} steps"] = {
                **_errors(predict, example, fitted.params),
                "seconds": round(wall, 4),
                "processor_seconds": round(processor, 4),
                "energy": [round(float(energy), 6) for energy in fitted.energy],
            }
    return rows


def _fit(predict, example: dict[str, Any], steps: int, arguments: dict) -> mofa_jax.Fit:
    image, model, cam = example["image"], predict.model, predict.cam
    return jax.block_until_ready(mofa_jax.fit(image, model, cam, num_steps=steps, **arguments))


def _errors(predict, example: dict[str, Any], params: FaceParams) -> dict[str, float]:
    batch = {key: example[key][None] for key in ("landmarks", "confidence")}
    image, params = (
        example["image"][None] / np.float32(255),
        jax.tree.map(lambda x: x[None], params),
    )
    errors = _errors_of(params, batch, image, predict.decoder)
    return {name: float(errors[name][0]) for name in _ERRORS}


def _name(source: PhotographFaces, i: int) -> str:
    """Of a face: its photograph's alone may show several."""
    return f"{source.label_of(i)} {i}"


def _first(params: FaceParams) -> FaceParams:
    return jax.tree.map(lambda x: x[0], params)


def _measure_all(predict, kind: str, faces: dict[str, dict], save) -> None:
    """Adds the faces that are not among `faces`, and saves after each."""
    source = PhotographFaces(_PHOTOGRAPHS.value, predict, CROPS[kind])
    chosen = range(0, len(source), _EVERY.value)
    missing = [i for i in chosen if _name(source, i) not in faces]
    compiled = False
    for i in tqdm(missing, desc=kind, unit="face"):
        try:
            example = source[i]
        except InputError as error:
            faces[_name(source, i)] = {"failed": one_line(error)}
            continue
        if not compiled:  # the first call's time is the compiler's
            compiled = bool(_measure(predict, example, kind))
        faces[_name(source, i)] = _measure(predict, example, kind)
        save()


def _statistics(faces: dict[str, dict]) -> dict[str, dict[str, Any]]:
    """Of each row."""
    measured = [face for face in faces.values() if "failed" not in face]
    return {
        name: {
            key: describe(np.array([face[name][key] for face in measured]))
            for key in (*_ERRORS, *_TIMES)
            if key in row
        }
        for name, row in measured[0].items()
    }


def _print_table(kind: str, rows: dict[str, dict[str, Any]]) -> None:
    print(f"| {kind} | faces | landmarks, px | colors | scale | seconds | of processor |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        landmark, color = row["landmark_error"], row["photometric_error"]
        seconds = [f"{row[key]['median']:.2f}" if key in row else "-" for key in _TIMES]
        print(
            f"| {name} | {landmark['count']} | {landmark['mean']:.2f} ({landmark['median']:.2f}) "
            f"| {color['mean']:.3f} | {row['scale_bias']['mean']:.3f} | {' | '.join(seconds)} |"
        )


def _draw_curves(path: Path, results: dict[str, dict]) -> None:
    """The energy against the step, by start: the median face, and the middle half of the faces."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(results), figsize=(10, 4), layout="constrained")
    for axes, (kind, faces) in zip(panels, results.items(), strict=True):
        measured = [face for face in faces.values() if "failed" not in face]
        for name in measured[0]:
            if name.endswith(f" {max(_STEPS.value)} steps"):
                curves = np.array([face[name]["energy"] for face in measured])
                low, middle, high = np.quantile(curves, (0.25, 0.5, 0.75), axis=0)
                (line,) = axes.plot(middle, label=name.split(",")[0])
                steps = np.arange(len(middle))
                axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.2)
        axes.set(xlabel="step", ylabel="energy (Eq. 7)", title=kind, yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend()
    figure.savefig(path, dpi=110)


def _draw_faces(path: Path, predict) -> None:
    """The first faces, laid on their landmarks."""
    source = PhotographFaces(_PHOTOGRAPHS.value, predict, CROPS["with landmarks"])
    images, fitted = [], []
    for i in range(0, len(source), _EVERY.value)[:_PICTURES]:
        example = source[i]
        arguments = {key: example[key] for key in ("landmarks", "confidence")}
        images.append(example["image"])
        fitted.append(_fit(predict, example, max(_STEPS.value), arguments).params)
    params = jax.tree.map(lambda *fields: np.stack(fields), *fitted)
    write_image(path, panels_grid(np.stack(images), params, predict.model, predict.cam))


def main(_) -> None:
    predict, output = mofa_jax.load_for_inference(), Path(_OUTPUT.value)
    output.mkdir(parents=True, exist_ok=True)
    path, results = output / "fit.json", {kind: {} for kind in CROPS}
    photographs = Path(_PHOTOGRAPHS.value).resolve().name
    settings = {"photographs": photographs, "every": _EVERY.value, "steps": _STEPS.value}
    if path.exists():
        before = json.loads(path.read_text())
        if before.get("settings") != settings:
            sys.exit(f"error: {path}: its faces are of other settings; give another --output.")
        results |= before["faces"]
    statistics: dict[str, dict] = {}

    def save() -> None:
        kept = {"settings": settings, "statistics": statistics, "faces": results}
        write_json(path, {**provenance(), **kept})

    for kind, faces in results.items():
        _measure_all(predict, kind, faces, save)
        statistics[kind] = _statistics(faces)
        _print_table(kind, statistics[kind])
    save()
    _draw_faces(output / "faces.jpg", predict)
    if importlib.util.find_spec("matplotlib"):
        _draw_curves(output / "curves.png", results)


if __name__ == "__main__":
    app.run(main)
