"""Faces of photographs and videos, reconstructed: overlays, pictures, meshes and parameters.

python -m mofa_jax.reconstruct --output=out photo.jpg more/*.png clip.mp4
"""

import functools
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict
from tqdm import tqdm

from mofa_jax import command_line
from mofa_jax.data.sources import video
from mofa_jax.data.sources.images import EXTENSIONS
from mofa_jax.errors import errors_as_sentences, report_failure
from mofa_jax.export.faces import MESHES, MeshWriter
from mofa_jax.figures import five_panels, overlay_on_photograph, write_image
from mofa_jax.files.writing import only_process
from mofa_jax.inference import REFINE_STEPS, Predictor, Reconstruction, load_for_inference
from mofa_jax.reconstruction.contact_sheets import ContactSheets
from mofa_jax.reconstruction.finished import (
    finished_faces,
    is_finished_video,
    others_results,
    remove_faces,
    remove_other_meshes,
)
from mofa_jax.reconstruction.found_faces import (
    PERSON_STEPS,
    FoundFaces,
    faces_of_one_person,
    found_faces,
)
from mofa_jax.reconstruction.input_files import find_photographs, unique_names
from mofa_jax.results.names import OVERLAY_JPG, PANELS_JPG
from mofa_jax.results.parameter_file import save_parameters
from mofa_jax.video.live import show_camera
from mofa_jax.video.reconstruct import reconstruct_videos

_logger = logging.getLogger(__name__)


class Summary(NamedTuple):
    """How many faces were reconstructed, in how many photographs; how many gave none (unreadable,
    without a face, or failed); how many paths named nothing; in how many videos there was a face;
    and how many photographs and videos failed: their results could not be drawn or written."""

    faces: int
    photographs: int
    skipped: int
    missing: int
    videos: int = 0
    failed: int = 0

    @property
    def complete(self) -> bool:
        """Whether there is a face, every path named something, and nothing failed."""
        return bool(self.photographs or self.videos) and not (self.missing or self.failed)


def reconstruct_all(
    predict: Predictor,
    patterns: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    refine_steps: int = 0,
    *,
    meshes: Sequence[str] = (),
    smooth: bool = True,
    same_person: bool = False,
    resume: bool = False,
) -> Summary:
    """Reconstructs every face of all photographs, and one of each video, and writes the results.

    Of `name`.jpg they are, with a number after the name if that is another photograph's already, in
    the folder `output`: name.overlay.jpg (all faces, put back into the photograph), and for each
    face k from 0, the largest first, name.k.panels.jpg (input, overlay, geometry, reflectance,
    light), name.k.json (the parameters, for `load_parameters`), and its mesh: name.k.glb (textured
    by the photograph; meters), name.k.obj or name.k.ply (vertex colors: the reflectance under the
    estimated light; millimeters). Of several faces also contact_sheet-1.jpg and on, see
    `ContactSheets`. Of videos see `reconstruct_video`. A path that names nothing, a file that
    cannot be read, one without a face and one whose results cannot be drawn or written are reported
    and skipped.

    Args:
      predict: a restored encoder.
      patterns: files, folders and globs; "astronaut" for NASA's portrait of Eileen Collins.
      output: a folder, made if need be.
      refine_steps: see `Predictor.faces` and `reconstruct_video`.
      meshes: kinds of `MESHES`; by default glTF, or OBJ if the model has no texture coordinates.
      smooth: whether a video's poses and expressions are smoothed over time.
      same_person: whether all photographs show one person, see `faces_of_one_person`.
      resume: whether photographs and videos whose results are in `output` are left as they are.

    Raises:
      TextureError: glTF files are wanted of a model without texture coordinates.
    """
    writer = MeshWriter.of(meshes, predict.model)
    Path(output).mkdir(parents=True, exist_ok=True)
    paths, missing = find_photographs(patterns, output, EXTENSIONS | video.EXTENSIONS)
    named = dict(zip(paths, unique_names(paths, others_results(Path(output))), strict=True))
    videos = {path: name for path, name in named.items() if video.is_video(path)}
    photographs = {path: name for path, name in named.items() if path not in videos}
    sheets = ContactSheets(output)
    counts = []  # faces of each photograph that has some; 0 if it failed
    photographs_left, videos_left = photographs, videos
    if resume:
        made_by = {"output": Path(output), "predict": predict, "refine_steps": refine_steps}
        finished = functools.partial(finished_faces, **made_by, meshes=writer.kinds)
        photographs_left, counts = _unfinished(photographs, finished, sheets)
        videos_left = {
            path: name
            for path, name in videos.items()
            if not is_finished_video(path, name, **made_by, smooth=smooth)
        }
    find = faces_of_one_person if same_person else found_faces
    write = functools.partial(
        _write_photograph, predict=predict, output=Path(output), meshes=writer
    )

    def collect(written: Iterable[list[tuple[str, np.ndarray]]]) -> None:
        for shown in written:
            counts.append(len(shown))
            sheets.add(shown)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        written = iter(())  # of the chunk before, while the next one is found
        try:
            for chunk in find(predict, photographs_left, refine_steps):
                collect(written)
                written = pool.map(write, [one for one in chunk if one.faces])
                for one in chunk:
                    if not one.faces:  # any more
                        remove_faces(one.name, Path(output))
        finally:  # at Ctrl-C, too
            collect(written)
            sheets.finish()
    followed, broken = reconstruct_videos(predict, videos_left, output, refine_steps, smooth)
    followed += len(videos) - len(videos_left)
    done = len(counts) - counts.count(0)
    failed = counts.count(0) + broken
    summary = Summary(sum(counts), done, len(paths) - done - followed, missing, followed, failed)
    found = []
    if photographs or not videos:
        found.append(f"{summary.faces} faces in {done} of {len(photographs)} photographs")
    if videos:
        found.append(f"a face in {followed} of {len(videos)} videos")
    before = len(named) - len(photographs_left) - len(videos_left)
    print(
        f"{' and '.join(found)} reconstructed into {output}"
        + (f" ({before} of them before)" if resume else "")
        + f"; {summary.skipped} skipped; {missing} paths name nothing."
    )
    return summary


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() in EXTENSIONS


def _unfinished(
    photographs: Mapping[Path, str], finished: Callable, sheets: ContactSheets
) -> tuple[dict[Path, str], list[int]]:
    """The photographs that have no results yet, and how many faces each of the others has, which
    are put on the sheets."""
    left, counts = {}, []
    for path, name in tqdm(photographs.items(), "Looking for results", unit="photo"):
        if shown := finished(path, name):
            counts.append(len(shown))
            sheets.add(shown)
        else:
            left[path] = name
    return left, counts


def _write_photograph(
    found: FoundFaces,
    predict: Predictor,
    output: Path,
    meshes: MeshWriter,
) -> list[tuple[str, np.ndarray]]:
    """Writes the results of a photograph; returns its faces' names and panels, none if it fails,
    which is reported."""
    path, name, photograph, faces = found
    overlay, shown = photograph, []
    try:
        (output / f"{name}{OVERLAY_JPG}").unlink(missing_ok=True)  # it is written last
        for k, face in enumerate(faces):
            overlay = overlay_on_photograph(
                overlay, face.crop.to_photograph, face.params, predict.model, predict.cam
            )
            stem = f"{output / name}.{k}"
            saved = predict.saved(face, path)
            remove_other_meshes(stem, saved)
            save_parameters(f"{stem}.json", saved)
            panels = _write_face(stem, face, photograph, predict, meshes)
            shown.append((f"{name}.{k}", panels))
        remove_faces(name, output, len(faces))
        write_image(f"{output / name}{OVERLAY_JPG}", overlay)
    except Exception as error:  # one photograph does not end the others
        report_failure(path, error)
        return []
    return shown


def _write_face(
    stem: str,
    face: Reconstruction,
    photograph: np.ndarray,
    predict: Predictor,
    meshes: MeshWriter,
) -> np.ndarray:
    """Writes a face's pictures and meshes; returns its panels."""
    params, crop, model, cam = face.params, face.crop, predict.model, predict.cam
    panels = five_panels(crop.image, params, model, cam)
    write_image(f"{stem}{PANELS_JPG}", panels)
    meshes.write(stem, params, photograph, crop.to_photograph, cam)
    return panels


def reconstruct_after_training(config: ConfigDict, workdir: str | os.PathLike) -> bool:
    """Reconstructs what `config.reconstruct` names into `<workdir>/reconstruction`, if anything;
    whether it could be.

    After a run of several processes, each of which Orbax waits for, the command is told instead.
    """
    if not config.reconstruct:
        return True
    output = Path(workdir) / "reconstruction"
    if jax.process_count() > 1:
        flags_given = [f"--workdir={workdir}", f"--output={output}", "--refine=0"]
        command = ["python", "-m", "mofa_jax.reconstruct", *flags_given, config.reconstruct]
        if jax.process_index() == 0:
            _logger.info("To reconstruct %s: %s", config.reconstruct, shlex.join(command))
        return True
    with only_process(output):
        return reconstruct_all(load_for_inference(workdir), [config.reconstruct], output).complete


def main(argv: Sequence[str]) -> None:
    if (len(argv) < 2) == (_CAMERA.value is None):
        raise app.UsageError("give photographs, videos, folders or globs, or --camera alone")
    live = _CAMERA.value is not None
    if _RESUME.value and _SAME_PERSON.value:
        raise app.UsageError("--resume: --same_person fits all photographs together; leave it out")
    of_photographs = (_MESH, _SAME_PERSON, *((_OUTPUT, _REFINE, _RESUME) if live else ()))
    unused = ", ".join(f"--{flag.name}" for flag in of_photographs if flag.present)
    if unused and all(video.is_video(Path(name)) for name in argv[1:]):
        source = "a camera" if live else "videos"
        raise app.UsageError(f"{unused}: {source} cannot be reconstructed so; leave it out")
    if _SMOOTH.present and not live and all(_is_photograph(Path(name)) for name in argv[1:]):
        raise app.UsageError("--smooth and --nosmooth are of videos and a camera; leave it out")
    for flag in (_HOST, _PORT):
        if flag.present and not live:
            raise app.UsageError(f"--{flag.name} is of the page of a --camera; leave it out")
    command_line.begin()
    steps = PERSON_STEPS if _SAME_PERSON.value else REFINE_STEPS
    with errors_as_sentences(_OUTPUT.value):
        predict = load_for_inference(_WORKDIR.value, _FACE_MODEL.value)
        if live:
            show_camera(predict, _CAMERA.value, _SMOOTH.value, _HOST.value, _PORT.value)
            return
        with only_process(_OUTPUT.value):
            summary = reconstruct_all(
                predict,
                argv[1:],
                _OUTPUT.value,
                steps if _REFINE.value is None else _REFINE.value,
                meshes=_MESH.value,
                smooth=_SMOOTH.value,
                same_person=_SAME_PERSON.value,
                resume=_RESUME.value,
            )
    if unused and summary.videos:
        print(f"{unused}: of photographs alone; videos are reconstructed without.")
    if not summary.complete:
        sys.exit(1)


if __name__ == "__main__":
    _WORKDIR, _FACE_MODEL = command_line.encoder_flags()
    _OUTPUT = flags.DEFINE_string("output", "out", "Folder for the results.")
    _REFINE = flags.DEFINE_integer(
        "refine",
        None,
        "Steps of `mofa_jax.fit` that make each face fit its photograph, and that of a video fit "
        f"its frames; by default {REFINE_STEPS}, and {PERSON_STEPS} with --same_person; 0: the "
        "encoder's alone.",
        lower_bound=0,
    )
    _MESH = flags.DEFINE_multi_enum(
        "mesh", [], MESHES, "Kind of a photograph's mesh; may be given again."
    )
    _SAME_PERSON = flags.DEFINE_bool(
        "same_person",
        False,
        "All photographs show one person: their largest faces are fitted, by --refine steps, with "
        "one shape and reflectance.",
    )
    _RESUME = flags.DEFINE_bool(
        "resume",
        False,
        "Go on with a command that was interrupted: photographs and videos whose results are in "
        "--output are left as they are.",
    )
    _SMOOTH = flags.DEFINE_bool(
        "smooth", True, "Smooth a video's poses and expressions over time by a one-euro filter."
    )
    _CAMERA = flags.DEFINE_string(
        "camera",
        None,
        "Number of a camera (or the address of a stream) whose face is shown live on a page.",
    )
    _HOST = flags.DEFINE_string("host", "127.0.0.1", "Address that the camera's page listens on.")
    _PORT = flags.DEFINE_integer("port", 8080, "Of that page; the next free one if it is taken.")
    command_line.run(main)
