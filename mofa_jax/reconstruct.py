"""Faces of photographs, reconstructed: overlays, pictures, meshes and parameters.

python -m mofa_jax.reconstruct --workdir=runs/x --output=out photo.jpg more/*.png
"""

import dataclasses
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from absl import app, flags
from ml_collections import ConfigDict
from tqdm import tqdm

from mofa_jax.data.faces.crop import Crop, FaceDetector, crop_from_box
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph
from mofa_jax.errors import InputError
from mofa_jax.export.meshes import write_obj
from mofa_jax.figures import five_panels, overlay_on_photograph, write_image
from mofa_jax.files import write_json
from mofa_jax.inference import Predictor, load_for_inference
from mofa_jax.params import FaceParams
from mofa_jax.processes import configure_logging
from mofa_jax.renderer import render

_logger = logging.getLogger(__name__)

_CHUNK_FACES = 16  # that go through the encoder at once
_CHUNK_PIXELS = 50_000_000  # of the photographs that wait for it


class Summary(NamedTuple):
    """How many faces were reconstructed, in how many photographs; how many gave none (unreadable,
    or without a face); and how many paths named no photograph."""

    faces: int
    photographs: int
    skipped: int
    missing: int


class _Found(NamedTuple):
    """A photograph with its faces, the largest first, and the name of its results."""

    photograph: np.ndarray
    crops: list[Crop]
    name: str


def reconstruct_all(
    predict: Predictor, patterns: Sequence[str | os.PathLike], output: str | os.PathLike
) -> Summary:
    """Reconstructs every face of all photographs and writes the results.

    Of `name`.jpg they are, in the folder `output`: name.overlay.jpg (all faces, put back into the
    photograph), and for each face k from 0, the largest first, name.k.panels.jpg (input, overlay,
    geometry, reflectance, light), name.k.obj (vertex colors: the reflectance under the estimated
    light; millimeters) and name.k.json (the parameters). A path that names nothing, a photograph
    that cannot be read and one without a face are reported and skipped.

    Args:
      predict: a restored encoder.
      patterns: photographs, folders and globs.
      output: a folder, made if need be.
    """
    if predict.config.data.crop != "haar":
        _logger.warning(
            "The run was trained on crops around known landmarks; here faces are cropped by the "
            "detector's boxes, and the results may be worse."
        )
    paths, missing = _existing(patterns)
    Path(output).mkdir(parents=True, exist_ok=True)
    faces, photographs, waiting = 0, 0, []
    bar = tqdm(
        zip(paths, unique_names(paths), strict=True),
        desc="Reconstructing",
        unit="photo",
        total=len(paths),
    )
    for found in _find(bar, predict):
        faces, photographs = faces + len(found.crops), photographs + 1
        waiting.append(found)
        pixels = sum(other.photograph.shape[0] * other.photograph.shape[1] for other in waiting)
        if sum(len(o.crops) for o in waiting) >= _CHUNK_FACES or pixels >= _CHUNK_PIXELS:
            _reconstruct(waiting, predict, Path(output))
            waiting = []
    _reconstruct(waiting, predict, Path(output))
    summary = Summary(faces, photographs, len(paths) - photographs, missing)
    print(
        f"{faces} faces in {photographs} of {len(paths)} photographs reconstructed into {output}; "
        f"{summary.skipped} skipped; {missing} paths name no photograph."
    )
    return summary


def _existing(patterns: Sequence[str | os.PathLike]) -> tuple[list[Path], int]:
    """The photographs that the patterns name, and how many patterns name none."""
    paths, missing = {}, 0
    for pattern in patterns:
        try:
            paths |= dict.fromkeys(list_photographs(pattern))
        except PhotographError as error:
            missing += 1
            print(f"missing: {error}", file=sys.stderr)
    return list(paths), missing


def _find(bar: tqdm, predict: Predictor) -> Iterator[_Found]:
    """The photographs that can be read and show a face; the others are reported."""
    detector, size = FaceDetector(), predict.cam.image_size[0]
    for path, name in bar:
        try:
            photograph = read_photograph(path)
        except PhotographError as error:
            bar.write(f"skipped: {error}", file=sys.stderr)
            continue
        boxes = detector.detect(photograph)
        if len(boxes):
            crops = [crop_from_box(photograph, box, size) for box in boxes]
            yield _Found(photograph, crops, name)
        else:
            bar.write(f"skipped: {path}: no face found", file=sys.stderr)


def _reconstruct(waiting: Sequence[_Found], predict: Predictor, output: Path) -> None:
    """Writes the results of some photographs, whose faces go through the encoder together."""
    images = [crop.image for found in waiting for crop in found.crops]
    codes = iter(_codes(images, predict))
    for found in waiting:
        overlay = found.photograph
        for k, crop in enumerate(found.crops):
            params = FaceParams.from_code(jnp.asarray(next(codes)), predict.model)
            overlay = overlay_on_photograph(
                overlay, crop.to_photograph, params, predict.model, predict.cam
            )
            _write_face(f"{output / found.name}.{k}", crop, params, predict)
        write_image(f"{output / found.name}.overlay.jpg", overlay)


def _codes(images: Sequence[np.ndarray], predict: Predictor) -> np.ndarray:
    """[N, D] codes, in batches filled up to a power of two, so that few sizes are compiled."""
    parts = []
    for first in range(0, len(images), _CHUNK_FACES):
        batch = np.stack(images[first : first + _CHUNK_FACES])
        filled = np.zeros((1 << (len(batch) - 1).bit_length(), *batch.shape[1:]), batch.dtype)
        filled[: len(batch)] = batch
        parts.append(np.asarray(predict(filled).to_code())[: len(batch)])
    return np.concatenate(parts) if parts else np.zeros((0, 0))


def _write_face(stem: str, crop: Crop, params: FaceParams, predict: Predictor) -> None:
    model, cam = predict.model, predict.cam
    write_image(f"{stem}.panels.jpg", five_panels(crop.image, params, model, cam))
    vertices = model.geometry(params.shape, params.expression)
    color = render(params, model, cam).color
    write_obj(f"{stem}.obj", vertices, model.triangles, color, model.uv)
    write_json(f"{stem}.json", describe(params, crop, predict))


def describe(params: FaceParams, crop: Crop, predict: Predictor) -> dict:
    """One face's parameters by name, with units, and how to put it back into the photograph."""
    fields = dataclasses.fields(params)
    return {
        "parameters": {f.name: np.asarray(getattr(params, f.name)).tolist() for f in fields},
        "units": {
            "shape": "standard deviations",
            "expression": "standard deviations",
            "reflectance": "standard deviations",
            "rotation": "axis-angle, radians",
            "translation": "decimeters",
            "illumination": "[9 spherical-harmonics bands, RGB], without the ambient 0.7",
        },
        "crop_to_photograph": np.asarray(crop.to_photograph).tolist(),
        "detector_box": np.asarray(crop.box).tolist(),
        "camera": {
            "focal": predict.cam.focal,
            "principal_point": list(predict.cam.principal_point),
            "image_size": list(predict.cam.image_size),
            "distance": predict.cam.distance,
        },
        "face_model": predict.model.name,
        "checkpoint_step": predict.step,
    }


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each photograph's results: its stem, with a number where stems repeat."""
    names, taken = [], {path.stem for path in paths}
    for path in paths:
        name = path.stem
        if name in names:
            name = next(n for k in count(1) if (n := f"{path.stem}-{k}") not in taken)
            taken.add(name)
        names.append(name)
    return names


def reconstruct_after_training(config: ConfigDict, workdir: str | os.PathLike) -> None:
    """Reconstructs what `config.reconstruct` names into `<workdir>/reconstruction`, if anything."""
    if not config.reconstruct or jax.process_index() != 0:
        return
    photograph, output = config.reconstruct, Path(workdir) / "reconstruction"
    if photograph == "astronaut":
        output.mkdir(parents=True, exist_ok=True)
        photograph = output / "astronaut.png"
        write_image(photograph, skimage.data.astronaut())
    reconstruct_all(load_for_inference(workdir), [photograph], output)


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("give photographs, folders or globs")
    configure_logging()
    try:
        predict = load_for_inference(_WORKDIR.value, _FACE_MODEL.value)
    except InputError as error:
        sys.exit(f"error: {error}")
    summary = reconstruct_all(predict, argv[1:], _OUTPUT.value)
    if summary.missing or not summary.photographs:
        sys.exit(1)


if __name__ == "__main__":
    _WORKDIR = flags.DEFINE_string("workdir", None, "Of the run whose encoder is used.")
    _OUTPUT = flags.DEFINE_string("output", "out", "Folder for the results.")
    _FACE_MODEL = flags.DEFINE_string(
        "face_model", None, "Where the face model is now, if not where it was in training."
    )
    flags.mark_flag_as_required("workdir")
    app.run(main)
