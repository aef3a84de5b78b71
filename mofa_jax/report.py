"""A page about reconstructed faces: each beside its photograph, turning, with its numbers.

python -m mofa_jax.report out

`out` is the folder that `mofa_jax.reconstruct` has written; out/report.html holds all its pictures
itself, so that one file can be passed on. A run is reported on by `mofa_jax.evaluate`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app
from tqdm import tqdm

from mofa_jax import command_line
from mofa_jax.data.faces.crop import resample
from mofa_jax.data.sources.images import encode_photograph
from mofa_jax.data.sources.landmark_files import FILE_NAMES
from mofa_jax.editing import pose_angles
from mofa_jax.errors import InputError, errors_as_sentences
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import PANELS, five_panels
from mofa_jax.files.writing import atomic_write
from mofa_jax.illumination import with_ambient
from mofa_jax.metrics import photometric_error
from mofa_jax.numerics import as_floats
from mofa_jax.pages import figure, page, paragraph, section, table
from mofa_jax.reconstruction.found_faces import DOUBTFUL
from mofa_jax.reconstruction.pictured_face import FaceLoader, PicturedFace
from mofa_jax.renderer import compiled_render
from mofa_jax.turntable import turning_figure

_PANELS_WIDTH = 1060  # px on the page
_STRONGEST = 5  # expression modes that are named
_FILES = (".glb", ".obj", ".ply", ".json")


def write_report(folder: str | Path, face_model: str | None = None) -> tuple[Path, int, int]:
    """Writes report.html about the faces of a folder.

    Args:
      folder: holds files of parameters, `*.json`, and the photographs' files if they are not where
        they were; landmark files are left out.
      face_model: where the face model is now, if not where it was.

    Returns:
      The page, how many faces it shows, and how many files could not be read or drawn.

    Raises:
      InputError: there is no face in the folder.
    """
    folder = Path(folder)
    loader, sections, failed = FaceLoader(face_model=face_model), [], []
    files = [path for path in sorted(folder.glob("*.json")) if path.name not in FILE_NAMES]
    for path in tqdm(files, "Drawing", unit="face"):
        try:
            face = loader.load(path)
            sections.append(section(path.stem, *_about(face, path, loader.model)))
        except InputError as error:
            failed.append((path.name, str(error)))
    if not sections:
        what = "no file of parameters of a face in this folder"
        if failed:
            what = f"none of {len(failed)} .json files is a face that can be drawn ({failed[0][1]})"
        raise InputError(
            f"{folder}: {what}; give the --output of `python -m mofa_jax.reconstruct` with "
            "photographs."
        )
    legend = f"Pictures from left to right: {', '.join(PANELS)}; below, the face turning."
    counts = f"{len(sections)} faces" + (f"; {len(failed)} files failed" if failed else "")
    last = section("Failed", table(failed)) if failed else ""
    html = page(
        f"Faces of {folder.resolve().name}", paragraph(f"{counts}. {legend}"), *sections, last
    )
    with atomic_write(folder / "report.html") as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace")
    return folder / "report.html", len(sections), len(failed)


def _about(face: PicturedFace, path: Path, model: FaceModel) -> list[str]:
    """Pictures and numbers of a face."""
    params, cam = face.params, face.cam
    crop = resample(face.photograph, face.crop_to_photograph, cam.image_size[0])
    panels = encode_photograph(five_panels(crop, params, model, cam), "jpeg", 88)
    where = Path(face.saved.photograph).name if face.saved.photograph else "not there any more"
    beside = (path.with_name(path.stem + ending).name for ending in _FILES)
    return [
        figure(panels, f"Photograph: {where}", _PANELS_WIDTH),
        turning_figure(params, model, cam),
        table(_numbers(face, crop, model)),
        paragraph("Files: " + ", ".join(name for name in beside if (path.parent / name).exists())),
    ]


def _numbers(face: PicturedFace, crop: np.ndarray, model: FaceModel) -> list[tuple[str, str]]:
    params = face.params
    yaw, pitch, roll = np.degrees(pose_angles(params))
    modes = np.asarray(params.expression)
    strongest = np.argsort(-np.abs(modes))[:_STRONGEST]
    light = with_ambient(params.illumination)[0]
    numbers = []
    if face.saved.photograph is not None:
        rendering = compiled_render(params, model, face.cam)
        error = photometric_error(rendering, as_floats(crop))
        numbers.append(("color error", f"{float(error):.3f} (distance of RGB in [0, 1])"))
    if (correlation := face.saved.correlation) is not None:
        verdict = " (doubtful)" if correlation < DOUBTFUL else ""
        numbers.append(("correlation before the fit", f"{correlation:.2f}{verdict}"))
    return [
        *numbers,
        ("pose", f"yaw {yaw:.0f}, pitch {pitch:.0f}, roll {roll:.0f} degrees"),
        ("expression", ", ".join(f"mode {k + 1}: {modes[k]:+.1f}" for k in sorted(strongest))),
        ("light from all sides", "RGB " + ", ".join(f"{c:.2f}" for c in light)),
    ]


def main(argv: Sequence[str]) -> None:
    if len(argv) != 2:
        raise app.UsageError("give one folder that `python -m mofa_jax.reconstruct` has written")
    command_line.begin()
    with errors_as_sentences(argv[1]):
        path, shown, failed = write_report(argv[1], _FACE_MODEL.value)
    print(f"{path}: {shown} faces, {path.stat().st_size / 1e6:.1f} MB; {failed} files failed.")
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    _FACE_MODEL = command_line.face_model_flag()
    command_line.run(main)
