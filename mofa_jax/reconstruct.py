"""Faces of photographs, reconstructed: overlays, pictures, meshes and parameters.

python -m mofa_jax.reconstruct --workdir=runs/x --output=out photo.jpg more/*.png
"""

import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import skimage.data
from absl import app, flags
from ml_collections import ConfigDict
from tqdm import tqdm

from mofa_jax.data.faces.crop import Crop, FaceDetector, crop_from_box
from mofa_jax.data.sources.images import PhotographError, list_photographs, read_photograph
from mofa_jax.export.meshes import write_obj
from mofa_jax.figures import five_panels, overlay_on_photograph, write_image
from mofa_jax.inference import Predictor, load_for_inference
from mofa_jax.params import FaceParams
from mofa_jax.processes import configure_logging
from mofa_jax.renderer import render


def reconstruct_photograph(
    predict: Predictor, path: str | os.PathLike, output: str | os.PathLike, name: str | None = None
) -> int:
    """Reconstructs every face of a photograph and writes the results.

    Of `name`.jpg they are, in the folder `output`: name.overlay.jpg (all faces, put back into the
    photograph), and for each face k from 0, the largest first, name.k.panels.jpg (input, overlay,
    geometry, reflectance, light), name.k.obj (vertex colours: the reflectance under the estimated
    light; millimetres) and name.k.json (the parameters).

    Args:
      predict: a restored encoder.
      path: the photograph.
      output: a folder that exists.
      name: of the results; by default the photograph's stem.

    Returns:
      How many faces were found.

    Raises:
      PhotographError: the photograph cannot be read.
    """
    photograph = read_photograph(path)
    boxes = FaceDetector().detect(photograph)
    boxes = boxes[np.argsort(-boxes[:, 2], kind="stable")]
    if not len(boxes):
        return 0
    stem = Path(output) / (name or Path(path).stem)
    overlay = photograph
    for k, box in enumerate(boxes):
        crop = crop_from_box(photograph, box)
        batch = predict(crop.image[None])
        params = jax.tree.map(lambda field: field[0], batch)
        overlay = overlay_on_photograph(
            overlay, crop.to_photograph, params, predict.model, predict.cam
        )
        _write_face(f"{stem}.{k}", crop, params, predict)
    write_image(f"{stem}.overlay.jpg", overlay)
    return len(boxes)


def _write_face(stem: str, crop: Crop, params: FaceParams, predict: Predictor) -> None:
    model, cam = predict.model, predict.cam
    write_image(f"{stem}.panels.jpg", five_panels(crop.image, params, model, cam))
    vertices = model.geometry(params.shape, params.expression)
    color = render(params, model, cam).color
    write_obj(f"{stem}.obj", vertices, model.triangles, color, model.uv)
    _write_json(f"{stem}.json", describe(params, crop, predict))


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
            "translation": "decimetres",
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


def _write_json(path: str, content: dict) -> None:
    temporary = f"{path}.tmp"
    Path(temporary).write_text(json.dumps(content, indent=1) + "\n")
    os.replace(temporary, path)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each photograph's results: its stem, with a number where stems repeat."""
    names, seen = [], {}
    for path in paths:
        count = seen[path.stem] = seen.get(path.stem, -1) + 1
        names.append(f"{path.stem}-{count}" if count else path.stem)
    return names


def reconstruct_all(predict: Predictor, patterns: Sequence[str], output: str | os.PathLike) -> int:
    """Reconstructs all photographs, one by one; a bad one is reported and skipped.

    Returns:
      How many photographs gave at least one face.
    """
    paths = list_photographs(patterns)
    Path(output).mkdir(parents=True, exist_ok=True)
    worked = faces = 0
    bar = tqdm(paths, desc="Reconstructing", unit="photo")
    for path, name in zip(bar, unique_names(paths), strict=True):
        try:
            found = reconstruct_photograph(predict, path, output, name)
        except PhotographError as error:
            bar.write(f"skipped: {error}", file=sys.stderr)
            continue
        if not found:
            bar.write(f"skipped: {path}: no face found", file=sys.stderr)
        worked, faces = worked + bool(found), faces + found
    print(
        f"{faces} faces in {worked} of {len(paths)} photographs reconstructed into {output}; "
        f"{len(paths) - worked} skipped."
    )
    return worked


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
    predict = load_for_inference(_WORKDIR.value, _FACE_MODEL.value)
    if not reconstruct_all(predict, argv[1:], _OUTPUT.value):
        sys.exit(1)


if __name__ == "__main__":
    _WORKDIR = flags.DEFINE_string("workdir", None, "Of the run whose encoder is used.")
    _OUTPUT = flags.DEFINE_string("output", "out", "Folder for the results.")
    _FACE_MODEL = flags.DEFINE_string(
        "face_model", None, "Where the face model is now, if not where it was in training."
    )
    flags.mark_flag_as_required("workdir")
    app.run(main)
