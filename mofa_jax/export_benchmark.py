r"""Meshes of a benchmark's photographs, in the layout that the benchmark's own evaluation reads.

python -m mofa_jax.export_benchmark --benchmark=now --output=OUT \
    --images=NoW_Dataset/final_release_version --list=imagepathsvalidation.txt
python -m mofa_jax.export_benchmark --benchmark=realy --output=OUT --images=REALY_image

The same command again goes on with the photographs that have no mesh yet. See docs/evaluation.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

from mofa_jax import command_line
from mofa_jax.data.faces.crop import Crop, FaceError, crop_from_box
from mofa_jax.data.faces.detectors import DetectorError, TwoDetectors
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.data.sources.photographs import in_chunks
from mofa_jax.errors import InputError, errors_as_sentences, one_line
from mofa_jax.export.benchmarks import (
    BENCHMARKS,
    TEMPLATE,
    Prediction,
    now_predictions,
    read_box,
    realy_predictions,
    write_prediction,
    write_template,
)
from mofa_jax.files.writing import only_process, write_json
from mofa_jax.inference import Predictor, load_for_inference
from mofa_jax.params import FaceParams

_SETTINGS = "settings.json"  # in the folder of the meshes


def export_benchmark(
    predict: Predictor,
    benchmark: str,
    images: str | os.PathLike[str],
    output: str | os.PathLike[str],
    image_list: str | os.PathLike[str] | None = None,
    refine_steps: int = 0,
) -> int:
    """Writes the meshes that are not in `output` yet.

    A photograph that cannot be read, and one without a face, is named and left out.

    Args:
      predict: a restored encoder.
      benchmark: one of `BENCHMARKS`.
      images: the benchmark's folder of photographs, see `now_predictions` and `realy_predictions`.
      output: the folder of the meshes.
      image_list: a text file with a photograph a line; NoW needs it.
      refine_steps: see `Predictor.faces`.

    Returns:
      How many photographs have no mesh.

    Raises:
      InputError: the list, the folder or the face model cannot be used, or `output` holds meshes of
        another benchmark, folder, encoder, face model or number of steps.
      OSError: the files cannot be written.
    """
    images, output = Path(images), Path(output)
    lines = _lines(image_list) if image_list else []
    if benchmark == "now":
        predictions = now_predictions(images, lines, output, predict.model)
    else:
        predictions = realy_predictions(images, lines, output)
    made_of = {"benchmark": benchmark, "folder": os.path.abspath(images)}
    _keep_settings(output, predict, refine_steps, made_of)
    if benchmark == "realy":
        write_template(output, predict.model)
    missing = [prediction for prediction in predictions if not prediction.is_written]
    total, failed = len(predictions), []
    with tqdm(total=total, initial=total - len(missing), desc="Exporting", unit="photo") as bar:
        for prediction, found in _reconstructed(predict, missing, refine_steps):
            try:
                if isinstance(found, InputError):
                    raise found
                write_prediction(prediction, found, predict.model)
            except InputError as error:
                failed.append(prediction)
                bar.write(f"failed: {one_line(error)}", file=sys.stderr)
            bar.update()
    print(f"{total - len(failed)} of {total} photographs have a mesh in {output}.")
    return len(failed)


def _keep_settings(
    output: Path, predict: Predictor, refine_steps: int, made_of: Mapping[str, str]
) -> None:
    """Writes what the meshes of a folder are made of and by; refuses a folder that has others."""
    settings = {
        **made_of,
        "encoder": predict.encoder_checksum,
        "face_model": predict.model.identity(),
        "refine_steps": refine_steps,
    }
    file = output / _SETTINGS
    if any(path != output / TEMPLATE for path in output.rglob("*.obj")):  # of other lists, too
        try:
            before = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"{file}: what the meshes here were made by cannot be read ({one_line(error)}); "
                "give another --output, or remove the folder."
            ) from error
        if changed := [name for name in settings if before.get(name) != settings[name]]:
            raise InputError(
                f"{output}: its meshes are of another {' and '.join(changed)}; give another "
                "--output, or remove the folder."
            )
    output.mkdir(parents=True, exist_ok=True)
    write_json(file, settings)


def _lines(path: str | os.PathLike[str]) -> list[str]:
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeError) as error:
        raise InputError(f"{path}: the list of images cannot be read ({error}).") from error
    return [line for line in lines if line]


def _reconstructed(
    predict: Predictor, predictions: Sequence[Prediction], refine_steps: int
) -> Iterator[tuple[Prediction, FaceParams | InputError]]:
    """The code of the face of each photograph, or why there is none."""
    detector, size = TwoDetectors(), predict.cam.image_size[0]
    failed: list[tuple[Prediction, InputError]] = []

    def cut_out() -> Iterator[tuple[tuple[Prediction, Crop], np.ndarray]]:
        for prediction in predictions:
            try:
                photograph = read_photograph(prediction.photograph)
                box = _face_box(prediction, photograph, detector, predict.knows_moved_squares)
                yield (prediction, crop_from_box(photograph, box, size)), photograph
            except DetectorError:  # of every photograph
                raise
            except InputError as error:
                failed.append((prediction, error))

    for chunk in in_chunks(cut_out()):
        keys, photographs = zip(*chunk, strict=True)
        crops, codes = predict.settled(photographs, [crop for _, crop in keys])
        if refine_steps:
            codes = predict.refined(codes, np.array([crop.image for crop in crops]), refine_steps)
        for (prediction, _), code in zip(keys, codes, strict=True):
            yield prediction, FaceParams.from_code(jnp.asarray(code), predict.model)
        yield from failed
        failed.clear()
    yield from failed


def _face_box(
    prediction: Prediction, photograph: np.ndarray, detector: TwoDetectors, knows_moved: bool
) -> np.ndarray:
    """The benchmark's box (x, y, w, h) of the face, or where it gives none the largest found.

    The benchmark's is of another detector: `Predictor.settled` cuts out again if need be, but not
    for an encoder that knows our detector's squares alone, which gets the one about the same face.
    """
    if prediction.box is None or not prediction.box.is_file():
        boxes = detector.detect(photograph)
        if not len(boxes):
            raise FaceError(f"{prediction.photograph}: no face was found")
        return boxes[0]
    given = read_box(prediction.box)
    if knows_moved:
        return given
    boxes = detector.detect(photograph)
    middles = boxes[:, :2] + boxes[:, 2:] / 2 - (given[:2] + given[2:] / 2)
    same = boxes[(np.abs(middles) < given[2:] / 2).all(axis=1)]
    return same[0] if len(same) else given


def main(argv: Sequence[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    command_line.begin()
    stopped = "Stopped; the same command goes on with the photographs that have no mesh yet."
    with errors_as_sentences(_OUTPUT.value, stopped), only_process(_OUTPUT.value):
        failed = export_benchmark(
            load_for_inference(_WORKDIR.value, _FACE_MODEL.value),
            _BENCHMARK.value,
            _IMAGES.value,
            _OUTPUT.value,
            _LIST.value,
            _REFINE.value,
        )
    if failed:
        sys.exit(f"error: {failed} photographs have no mesh; they are named above.")


if __name__ == "__main__":
    _BENCHMARK = flags.DEFINE_enum("benchmark", None, BENCHMARKS, "Whose layout.", required=True)
    _IMAGES = flags.DEFINE_string("images", None, "Its folder of photographs.", required=True)
    _LIST = flags.DEFINE_string("list", None, "Text file with a photograph a line; NoW's list.")
    _OUTPUT = flags.DEFINE_string("output", None, "Folder of the meshes.", required=True)
    _REFINE = flags.DEFINE_integer(
        "refine", 0, "Steps of refinement after the encoder, as of `reconstruct`.", lower_bound=0
    )
    _WORKDIR, _FACE_MODEL = command_line.encoder_flags()
    command_line.run(main)
