"""Edits the face of photographs: its light, pose, expression and identity.

python -m mofa_jax.edit --output=out --relight=left photo.jpg
python -m mofa_jax.edit --output=out --expression_from=smile.jpg photo.jpg
"""

import contextlib
import dataclasses
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from tqdm import tqdm

from mofa_jax import command_line, editing
from mofa_jax.data.faces.crop import resample
from mofa_jax.data.faces.detectors import DetectorError
from mofa_jax.data.sources.images import read_environment
from mofa_jax.data.sources.video import is_video
from mofa_jax.editing.repaint import edited_photograph, morphed_photograph
from mofa_jax.errors import InputError, errors_as_sentences, report_failure
from mofa_jax.export.faces import MESHES, MeshWriter
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import contact_sheet, overlay_on_photograph, write_image
from mofa_jax.files.writing import file_checksum, only_process
from mofa_jax.illumination import environment_light
from mofa_jax.inference import REFINE_STEPS
from mofa_jax.params import FaceParams
from mofa_jax.reconstruction.finished import remove_meshes
from mofa_jax.reconstruction.input_files import find_photographs, named_photograph, unique_names
from mofa_jax.reconstruction.pictured_face import FaceLoader, PicturedFace
from mofa_jax.results.names import EDITED_JPG, EDITED_JSON, PANELS_JPG
from mofa_jax.results.parameter_file import load_parameters, save_parameters
from mofa_jax.texture import TextureError

PANELS = ("photograph", "edited", "reconstruction", "edited reconstruction")

_PANEL_FACTOR = 2  # of the crop's size


@dataclasses.dataclass(frozen=True)
class Edits:
    """What is changed, in this order.

    Attributes:
      morph_with: another face, and `t`, how far the way to it goes: 0 to 1.
      expression_from: whose expression the face gets.
      expression, shape: factors; 0 gives the average face's.
      angles: yaw, pitch and roll of the head, degrees; None leaves an angle as it is.
      light_from: in whose light the face is then.
      light: [9, 3] that it is relit by, ambient included.
    """

    morph_with: PicturedFace | None = None
    t: float = 0.5
    expression_from: FaceParams | None = None
    expression: float = 1.0
    shape: float = 1.0
    angles: tuple[float | None, float | None, float | None] = (None, None, None)
    light_from: FaceParams | None = None
    light: jax.Array | None = None

    def __call__(self, params: FaceParams) -> FaceParams:
        """The edited code."""
        if self.morph_with is not None:
            params = editing.morph(params, self.morph_with.params, self.t)
        if self.expression_from is not None:
            params = editing.transfer_expression(params, self.expression_from)
        params = editing.exaggerate(params, self.shape, self.expression)
        if any(angle is not None for angle in self.angles):
            angles = zip(self.angles, editing.pose_angles(params), strict=True)
            angles = [now if angle is None else math.radians(angle) for angle, now in angles]
            params = editing.repose(params, jnp.array(angles))
        if self.light_from is not None:
            params = params.replace(illumination=self.light_from.illumination)
        return params if self.light is None else editing.relight(params, self.light)


def draw_edit(face: PicturedFace, edits: Edits, model: FaceModel) -> tuple[FaceParams, np.ndarray]:
    """The edited code, and the photograph with the edited face, uint8 [H, W, 3].

    Raises:
      InputError: the face to morph with was seen by another camera.
    """
    if edits.morph_with is not None and edits.morph_with.cam != face.cam:
        cams = (face.cam, edits.morph_with.cam)
        cams = (f"{cam.image_size} px with focal length {cam.focal:g}" for cam in cams)
        raise InputError(
            "the face and the one to morph with were reconstructed with two cameras, of "
            f"{' and '.join(cams)}; reconstruct both with one encoder."
        )
    after = edits(face.params)
    if edits.morph_with is None:
        return after, edited_photograph(face, after, model)
    return after, morphed_photograph(face, edits.morph_with, after, edits.t, model)


def edit_face(
    face: PicturedFace,
    edits: Edits,
    model: FaceModel,
    stem: str | os.PathLike,
    meshes: MeshWriter,
    source: str | os.PathLike | None = None,
) -> None:
    """Edits a face and writes the results.

    They are `stem`.edited.jpg (see `edited_photograph`), `stem`.edited.panels.jpg (the face before
    and after, in the photograph and as reconstructed), `stem`.edited.json (its parameters, which
    may be edited again), and its mesh, `stem`.edited.glb, .obj or .ply.

    Args:
      face: see `FaceLoader`.
      edits: what is changed.
      model: the face model.
      stem: the files' path without their endings.
      meshes: what writes those that are wanted.
      source: the file that is edited, which the parameters name.
    """
    after, picture = draw_edit(face, edits, model)
    file = f"{stem}{EDITED_JPG}"
    write_image(file, picture)
    write_image(f"{stem}.edited{PANELS_JPG}", _panels(face, after, picture, model))
    saved = dataclasses.replace(
        face.saved,
        params=after,
        photograph=Path(file).name,
        photograph_checksum=file_checksum(file),
        edited_from=source and os.path.abspath(source),
        correlation=None,  # it was that of the face before
    )
    remove_meshes(f"{stem}.edited")  # of an earlier edit
    save_parameters(f"{stem}{EDITED_JSON}", saved)
    meshes.write(f"{stem}.edited", after, picture, face.crop_to_photograph, face.cam)


def _panels(
    face: PicturedFace, after: FaceParams, picture: np.ndarray, model: FaceModel
) -> np.ndarray:
    """The `PANELS` side by side under their names."""
    size = _PANEL_FACTOR * face.cam.image_size[0]
    to_photograph = face.crop_to_photograph @ np.diag([1 / _PANEL_FACTOR, 1 / _PANEL_FACTOR, 1.0])
    panels = [resample(image, to_photograph, size) for image in (face.photograph, picture)]
    white, to_panel = np.full_like(panels[0], 255), np.diag([_PANEL_FACTOR, _PANEL_FACTOR, 1.0])
    for params in (face.params, after):
        panels.append(overlay_on_photograph(white, to_panel[:2], params, model, face.cam))
    return contact_sheet([np.concatenate(panels, axis=1)], header=PANELS)


def edit_all(
    loader: FaceLoader,
    edits: Edits,
    patterns: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    index: int = 0,
    meshes: Sequence[str] = (),
) -> bool:
    """Edits a face of each photograph, and writes the results into the folder `output`.

    What cannot be read, shows no such face, or cannot be drawn or written is reported and skipped.

    Args:
      loader: gives the faces.
      edits: see `Edits`.
      patterns: photographs, .json files of parameters, folders and globs; "astronaut" for NASA's
        portrait of Eileen Collins.
      output: made if need be.
      index: which of a photograph's faces, counted from the largest; from the second on it is
        part of the results' names.
      meshes: kinds of `MESHES`, see `MeshWriter.of`.

    Returns:
      Whether every path named a photograph, some face was edited, and no edit failed.

    Raises:
      TextureError: glTF files are wanted of a model without texture coordinates.
      DetectorError: the OpenCV that is installed has no cascades.
    """
    Path(output).mkdir(parents=True, exist_ok=True)
    paths, missing = find_photographs(patterns, output)
    count, failed, writer = 0, 0, None

    def stem_of(name: str) -> str:
        return f"{Path(output) / name}" + (f".{index}" if index else "")

    def is_of_another(name: str, path: Path) -> bool:
        return _edited_from(stem_of(name)) not in (None, os.path.abspath(path))

    bar = tqdm(paths, desc="Editing", unit="photo")
    for path, name in zip(bar, unique_names(paths, is_of_another), strict=True):
        try:
            if is_video(path):
                raise InputError(f"{path}: videos are not edited; give a photograph or a .json")
            face = loader.load(path, index)
            writer = MeshWriter.of(meshes, loader.model) if writer is None else writer
            edit_face(face, edits, loader.model, stem_of(name), writer, path)
            count += 1
        except (DetectorError, TextureError):  # of every photograph
            raise
        except InputError as error:
            bar.write(f"skipped: {error}", file=sys.stderr)
        except Exception as error:  # one photograph does not end the others
            report_failure(path, error)
            failed += 1
    print(f"{count} faces of {len(paths)} files edited into {output}.")
    return bool(count) and not (missing or failed)


def _edited_from(stem: str) -> str | None:
    """The file whose edit has this path without its endings; None if there is none, or it does not
    say."""
    with contextlib.suppress(InputError):
        return load_parameters(f"{stem}{EDITED_JSON}").edited_from
    return None


def _edits_from_flags(loader: FaceLoader) -> Edits:
    """What the flags say.

    Raises:
      InputError: they say nothing or half of something, or name a file that cannot be used.
    """
    if not any(flag.present for flag in _EDITS):
        names = ", ".join(f"--{flag.name}" for flag in _EDITS)
        raise InputError(f"nothing is to be edited; give one of {names}.")
    for flag, other in ((_T, _MORPH_WITH), (_ENVIRONMENT_TURN, _ENVIRONMENT)):
        if flag.present and not other.present:
            raise InputError(f"--{flag.name} changes nothing without --{other.name}; give both.")
    for flag in (_EXPRESSION_FROM, _EXAGGERATE_EXPRESSION):
        if flag.present and _NEUTRAL.value:
            raise InputError(f"--neutral takes away what --{flag.name} does; give one of them.")
    others = [
        None if flag.value is None else loader.load(named_photograph(flag.value, _OUTPUT.value))
        for flag in (_MORPH_WITH, _EXPRESSION_FROM, _LIGHT_FROM)
    ]
    return Edits(
        others[0],
        _T.value,
        expression_from=others[1] and others[1].params,
        expression=0.0 if _NEUTRAL.value else _EXAGGERATE_EXPRESSION.value,
        shape=_EXAGGERATE.value,
        angles=(_YAW.value, _PITCH.value, _ROLL.value),
        light_from=others[2] and others[2].params,
        light=_light_from_flags(),
    )


def _light_from_flags() -> jax.Array | None:
    if _ENVIRONMENT.value is None:
        return None if _RELIGHT.value is None else editing.named_light(_RELIGHT.value)
    panorama = read_environment(_ENVIRONMENT.value)
    turn = round(_ENVIRONMENT_TURN.value / 360 * panorama.shape[1])
    return environment_light(np.roll(panorama, turn, axis=1))


def main(argv: Sequence[str]) -> None:
    if len(argv) < 2:
        raise app.UsageError("give photographs, or .json files of python -m mofa_jax.reconstruct")
    others = (_MORPH_WITH.value, _EXPRESSION_FROM.value, _LIGHT_FROM.value)
    named = [*argv[1:], *filter(None, others)]
    if _REFINE.present and all(name.lower().endswith(".json") for name in named):
        raise app.UsageError("--refine is of photographs; a .json file is taken as it is")
    command_line.begin()
    with errors_as_sentences(_OUTPUT.value):
        loader = FaceLoader(_WORKDIR.value, _FACE_MODEL.value, _REFINE.value)
        edits = _edits_from_flags(loader)
        with only_process(_OUTPUT.value):
            done = edit_all(loader, edits, argv[1:], _OUTPUT.value, _FACE.value, _MESH.value)
    if not done:
        sys.exit(1)


if __name__ == "__main__":
    _RELIGHT = flags.DEFINE_enum("relight", None, list(editing.LIGHTS), "Where the light is from.")
    _LIGHT_FROM = flags.DEFINE_string(
        "light_from", None, "A photograph (or .json file) whose light the face is put in."
    )
    _ENVIRONMENT = flags.DEFINE_string(
        "environment",
        None,
        "An equirectangular picture of the surroundings (.hdr, .jpg, ...) as light; its middle is "
        "behind the head.",
    )
    _ENVIRONMENT_TURN = flags.DEFINE_float(
        "environment_turn", 0.0, "Degrees by which that picture is moved to the right."
    )
    _YAW = flags.DEFINE_float("yaw", None, "Degrees; 0 from the front, positive to the left.")
    _PITCH = flags.DEFINE_float("pitch", None, "Degrees; positive looks up.")
    _ROLL = flags.DEFINE_float("roll", None, "Degrees; positive clockwise.")
    _EXPRESSION_FROM = flags.DEFINE_string(
        "expression_from", None, "A photograph (or .json file) whose expression the face gets."
    )
    _NEUTRAL = flags.DEFINE_bool("neutral", False, "Takes the expression away.")
    _EXAGGERATE_EXPRESSION = flags.DEFINE_float(
        "exaggerate_expression", 1.0, "Factor of the expression."
    )
    _EXAGGERATE = flags.DEFINE_float(
        "exaggerate", 1.0, "Factor of the shape's distance from the average; 0 is the average."
    )
    _MORPH_WITH = flags.DEFINE_string(
        "morph_with", None, "Another person's photograph (or .json file)."
    )
    _T = flags.DEFINE_float(
        "t", 0.5, "How far to go to that person.", lower_bound=0.0, upper_bound=1.0
    )
    _EDITS = (_RELIGHT, _LIGHT_FROM, _ENVIRONMENT, _YAW, _PITCH, _ROLL, _EXPRESSION_FROM)
    _EDITS += (_NEUTRAL, _EXAGGERATE_EXPRESSION, _EXAGGERATE, _MORPH_WITH)
    _FACE = flags.DEFINE_integer(
        "face", 0, "Which of a photograph's faces; 0 is the largest.", lower_bound=0
    )
    _OUTPUT = flags.DEFINE_string(
        "output",
        "out",
        "Folder for the results; an earlier edit of a photograph is replaced.",
    )
    _REFINE = flags.DEFINE_integer(
        "refine",
        REFINE_STEPS,
        "Steps that make each face fit its photograph first, as of `reconstruct`.",
        lower_bound=0,
    )
    _MESH = flags.DEFINE_multi_enum("mesh", [], MESHES, "Kind of mesh; may be given again.")
    _WORKDIR, _FACE_MODEL = command_line.encoder_flags()
    flags.mark_flags_as_mutual_exclusive(["relight", "light_from", "environment"])
    command_line.run(main)
