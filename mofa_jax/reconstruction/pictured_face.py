"""Faces together with the pictures that show them, from photographs and files of parameters."""

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.data.sources.images import read_photograph
from mofa_jax.data.sources.names import ends_of
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import load_face_model
from mofa_jax.figures import overlay_on_photograph
from mofa_jax.inference import Predictor, load_for_inference
from mofa_jax.params import FaceParams
from mofa_jax.results.parameter_file import SavedFace, load_parameters

_logger = logging.getLogger(__name__)
_DRAWN_FACTOR = 4  # of the crop's size: a picture of a face whose photograph is gone


class NoFaceError(InputError):
    """A photograph does not show the face that is asked for."""


@dataclasses.dataclass(frozen=True)
class PicturedFace:
    """A face and the photograph that shows it.

    Attributes:
      saved: its parameters, camera and place in the photograph.
      photograph: uint8 [H, W, 3] RGB.
      is_drawn: whether the photograph is gone, and is the reconstruction on white.
    """

    saved: SavedFace
    photograph: np.ndarray
    is_drawn: bool = False

    @property
    def params(self) -> FaceParams:
        return self.saved.params

    @property
    def cam(self) -> Camera:
        return self.saved.cam

    @property
    def crop_to_photograph(self) -> np.ndarray:
        return self.saved.crop_to_photograph


class FaceLoader:
    """Loads faces of one face model; the encoder only when there is a photograph."""

    def __init__(
        self,
        workdir: str | os.PathLike | None = None,
        face_model: str | os.PathLike | None = None,
        refine_steps: int = 0,
    ):
        """See `load_for_inference` and `Predictor.faces`."""
        self._workdir, self._face_model = workdir, face_model
        self._refine_steps = refine_steps
        self._model: FaceModel | None = None
        self._checksums: set[str | None] = set()  # of the model, that have been compared

    def load(self, path: str | os.PathLike, index: int = 0) -> PicturedFace:
        """A face of a photograph, or the one of a .json file.

        Args:
          path: of either.
          index: which of a photograph's faces, counted from the largest.

        Raises:
          InputError: the file cannot be read, shows no such face, or is of another face model than
            those before.
        """
        path = Path(path)
        if path.suffix.lower() == ".json":
            if index:
                raise NoFaceError(f"{path}: a .json file holds one face; leave out --face.")
            return self._from_parameters(path)
        return self.find(read_photograph(path), path, index)

    def find(
        self, photograph: np.ndarray, path: str | os.PathLike | None = None, index: int = 0
    ) -> PicturedFace:
        """A face of a photograph, uint8 [H, W, 3] RGB, whose file is `path`.

        Raises:
          NoFaceError: it shows no such face.
        """
        faces = self._predict.faces([photograph])[0]
        if len(faces) <= index:
            where = "the photograph" if path is None else path
            raise NoFaceError(
                f"{where}: {len(faces)} faces found; choose one by --face, the largest is 0."
                if faces
                else f"{where}: no face found; give a photograph of a face from the front."
            )
        (face,) = self._predict.fitted([faces[index]], self._refine_steps)
        saved = self._predict.saved(face, path)
        saved.check_model(self.model)
        return PicturedFace(saved, photograph)

    @property
    def model(self) -> FaceModel:
        """The face model of the faces: that of the first file of parameters, or the encoder's."""
        if self._model is None:
            self._model = self._predict.model
        return self._model

    @functools.cached_property
    def _predict(self) -> Predictor:
        return load_for_inference(self._workdir, self._face_model)

    def _from_parameters(self, path: Path) -> PicturedFace:
        saved = load_parameters(path)
        if self._model is None:
            self._model = load_face_model(self._face_model or saved.face_model)
        saved.check_model(self._model)
        if saved.face_model_checksum not in self._checksums:
            self._checksums.add(saved.face_model_checksum)
            saved.warn_of_changes(self._model)
        file = Path(saved.photograph or "")
        places = [p for p in (path.parent / file, path.parent / file.name) if p.is_file()]
        for place in places:
            if saved.photograph_checksum is None or saved.shows_content_of(place):
                return PicturedFace(saved, read_photograph(place))
        for place in _moved_together(file, path):
            if place.is_file() and saved.shows_content_of(place):
                return PicturedFace(saved, read_photograph(place))
        if places:
            _logger.warning(
                "%s: its photograph %s is not the file that it was reconstructed from; reconstruct "
                "it again if the face lies beside its place.",
                path,
                places[0],
            )
            return PicturedFace(saved, read_photograph(places[0]))
        if saved.photograph is not None:
            _logger.warning(
                "%s: its photograph %s is not there any more; the face is drawn on white.",
                path,
                saved.photograph,
            )
        return _drawn(saved, self._model)


def _moved_together(photograph: Path, parameters: Path) -> Iterator[Path]:
    """Where a photograph may be if a folder that holds both it and the parameters was moved."""
    for folder in parameters.absolute().parents:
        yield from (folder / end for end in ends_of(photograph.relative_to(photograph.anchor)))


def _drawn(saved: SavedFace, model: FaceModel) -> PicturedFace:
    """A face without a photograph: its reconstruction on white is one."""
    height, width = (_DRAWN_FACTOR * side for side in saved.cam.image_size)
    white = np.full((height, width, 3), 255, np.uint8)
    to_picture = np.diag([_DRAWN_FACTOR, _DRAWN_FACTOR, 1.0])[:2]
    picture = overlay_on_photograph(white, to_picture, saved.params, model, saved.cam)
    box = np.array([0.0, 0.0, width, height])
    place = {"crop_to_photograph": to_picture, "box": box}
    saved = dataclasses.replace(saved, **place, photograph=None, photograph_checksum=None)
    return PicturedFace(saved, picture, is_drawn=True)
