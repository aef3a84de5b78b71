"""What a reconstruction has done already, and what an earlier one left behind."""

import contextlib
import dataclasses
import functools
import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mofa_jax.data.sources.images import read_photograph
from mofa_jax.data.sources.video import is_video
from mofa_jax.errors import InputError
from mofa_jax.export.faces import MESHES
from mofa_jax.inference import Predictor
from mofa_jax.results.clip import Clip, load_clip
from mofa_jax.results.names import OVERLAY_JPG, OVERLAY_MP4, PANELS_JPG
from mofa_jax.results.parameter_file import SavedFace, load_parameters, save_parameters


def finished_faces(
    path: Path,
    name: str,
    output: Path,
    predict: Predictor,
    refine_steps: int,
    meshes: Sequence[str],
) -> list[tuple[str, np.ndarray]]:
    """The names and panels of a photograph's faces, if all of its results are there: the overlay,
    which is written last, parameters that name the photograph, the encoder, the face model and the
    steps of the fit, and meshes; else none. A photograph whose content was changed since then has
    none; the parameters of one that was moved name its new place.

    Args:
      path: the photograph.
      name: what its results are called.
      output: their folder.
      predict: the encoder.
      refine_steps: of the fit that follows it.
      meshes: the kinds of meshes that are wanted.
    """
    if not (output / f"{name}{OVERLAY_JPG}").exists():
        return []
    shown, moved = [], {}
    try:
        for k in itertools.count():
            stem = f"{name}.{k}"
            parameters = output / f"{stem}.json"
            if not parameters.exists():
                break
            saved = load_parameters(parameters)
            if not _is_photograph_of(saved, path):
                return []
            if _is_newer(path, parameters) and not saved.shows_content_of(path):
                return []
            if saved.photograph != os.path.abspath(path):
                moved[parameters] = dataclasses.replace(saved, photograph=os.path.abspath(path))
            if saved.same_person or not _is_made_by(saved, predict, refine_steps):
                return []
            if not all((output / f"{stem}.{kind}").exists() for kind in meshes):
                return []
            shown.append((stem, read_photograph(output / f"{stem}{PANELS_JPG}")))
    except (InputError, OSError):  # damaged, or gone: it is done again
        return []
    for parameters, saved in moved.items():
        save_parameters(parameters, saved)
    return shown


def remove_other_meshes(stem: str, face: SavedFace) -> None:
    """Removes the meshes of a face that stand beside other parameters than `face`, so that nobody
    takes them for those of the new ones."""
    try:
        before = load_parameters(f"{stem}.json")
        same = before.photograph == face.photograph and np.array_equal(before.box, face.box)
        same = same and before.photograph_checksum == face.photograph_checksum
        same = same and _maker(before) == _maker(face)
        same = same and not (before.same_person or face.same_person)
    except InputError:
        same = False
    if not same:
        remove_meshes(stem)


def remove_meshes(stem: str) -> None:
    """Removes a face's meshes of all kinds."""
    for kind in MESHES:
        Path(f"{stem}.{kind}").unlink(missing_ok=True)


def others_results(output: Path) -> Callable[[str, Path], bool]:
    """The function that says whether results of a name in a folder are, by what they say, another
    photograph's or video's than the one of a path, which a photograph may have been moved to."""

    @functools.cache
    def results_of(name: str, of_video: bool) -> SavedFace | Clip | None:
        face, clip = (load_parameters, ".0.json"), (load_clip, ".npz")
        # The meshes of the face x.0 of x.jpg, and of a video x.0.mp4, have one name.
        if of_video:
            results = face, (load_parameters, ".json"), clip
        else:
            results = face, clip, (load_clip, ".0.npz")
        for load, ending in results:
            with contextlib.suppress(InputError):
                return load(output / f"{name}{ending}")
        return None

    def are_of_another(name: str, path: Path) -> bool:
        found = results_of(name, is_video(path))
        if isinstance(found, SavedFace):
            return found.photograph is not None and not _is_photograph_of(found, path)
        return found is not None and found.video not in ("", os.path.abspath(path))

    return are_of_another


def _is_photograph_of(face: SavedFace, path: Path) -> bool:
    """Whether a face was reconstructed from a file: by its path, by another name that leads to it,
    or by its content, if the photograph is not where it was."""
    before = face.photograph or ""
    if os.path.lexists(before):
        return os.path.realpath(before) == os.path.realpath(path)
    return before == os.path.abspath(path) or face.shows_content_of(path)


def _is_newer(path: Path, result: Path) -> bool:
    """Whether a file was written, or put in its place, after a result was."""
    status = path.stat()
    return max(status.st_mtime_ns, status.st_ctime_ns) > result.stat().st_mtime_ns


def remove_faces(name: str, output: Path, first: int = 0) -> None:
    """Removes what an earlier reconstruction of a photograph has written of the faces from the
    number `first` on, so that nobody takes them for those of this one; with all faces the overlay,
    too."""
    if not first:
        (output / f"{name}{OVERLAY_JPG}").unlink(missing_ok=True)
    for k in itertools.count(first):
        stem = f"{name}.{k}"
        if not (output / f"{stem}.json").exists():
            return
        remove_meshes(f"{output / stem}")
        for ending in (".json", PANELS_JPG):
            (output / f"{stem}{ending}").unlink(missing_ok=True)


def remove_video(stem: str) -> None:
    """Removes a video's results."""
    for ending in (".npz", OVERLAY_MP4, ".glb"):
        Path(f"{stem}{ending}").unlink(missing_ok=True)


def _maker(result: SavedFace | Clip) -> tuple[str | None, str | None, int | None]:
    return result.encoder_checksum, result.face_model_checksum, result.refine_steps


def _is_made_by(result: SavedFace | Clip, predict: Predictor, refine_steps: int) -> bool:
    return _maker(result) == (predict.encoder_checksum, predict.model.checksum(), refine_steps)


def is_finished_video(
    path: Path, name: str, output: Path, predict: Predictor, refine_steps: int, smooth: bool
) -> bool:
    """Whether a video's results are all there, and the clip's file, which is written last, names
    the video, the encoder, the face model, the steps of the fit and whether it was smoothed, and is
    newer."""
    result = output / f"{name}.npz"
    try:
        clip = load_clip(result)
        if _is_newer(path, result):
            return False
    except (InputError, OSError):
        return False
    same = (clip.video, clip.smooth) == (os.path.abspath(path), smooth)
    others = [OVERLAY_MP4] if predict.model.uv is None else [OVERLAY_MP4, ".glb"]
    same = same and all((output / f"{name}{ending}").exists() for ending in others)
    return same and _is_made_by(clip, predict, refine_steps)
