"""Trained encoders: from photographs to faces, on any number of devices."""

import dataclasses
import functools
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mofa_jax import losses
from mofa_jax.autoencoder import Decoder, project_landmarks
from mofa_jax.camera import Camera, make_camera
from mofa_jax.checkpoint import (
    Checkpoints,
    check_codes,
    check_face_model,
    checksum_of,
    on_first_device,
)
from mofa_jax.data.faces.crop import Crop, crop_again, crop_from_box
from mofa_jax.data.faces.detectors import TwoDetectors
from mofa_jax.data.sources.photographs import each_photograph, in_chunks
from mofa_jax.encoders import encoder_from_config
from mofa_jax.encoders.trained import OPEN_ENCODER, read_trained
from mofa_jax.face_model import FaceModel
from mofa_jax.face_models.load import lasting_name, load_face_model
from mofa_jax.files.writing import file_checksum
from mofa_jax.fitting.energy import FitWeights
from mofa_jax.fitting.optimize import fit
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.params import FaceParams, code_size
from mofa_jax.patches import surface_patches
from mofa_jax.renderer import render
from mofa_jax.results.parameter_file import SavedFace

_logger = logging.getLogger(__name__)

REFINE_STEPS = 5  # of the commands that people use: a face becomes the one in its photograph
# Of fits that the encoder's landmarks hold in place: at a weight of 4 colors drag them off by 0.1
# px, and without closure they part closed lips by 1.2 px.
HELD = FitWeights(landmark=25.0, closure=100.0)
_BATCH = 16  # faces that go through the encoder at once
_RECROPS = 2  # times that a badly cut face is cut out again at most


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """A face of a photograph.

    Attributes:
      params: its code; fields without a batch axis.
      crop: the square that the code describes, and the map back into the photograph; its box is the
        detector's.
      source: the photograph's path, or its place in the list of arrays.
      refine_steps: of the fit to the photograph that followed the encoder.
      correlation: of the encoder's face with the crop, before the fit, see
        `Predictor.correlations`; None if it was not measured.
      same_person: whether it was fitted together with other photographs of the person.
    """

    params: FaceParams
    crop: Crop
    source: str | int
    refine_steps: int = 0
    correlation: float | None = None
    same_person: bool = False


@dataclasses.dataclass(frozen=True)
class Predictor:
    """A trained encoder. Call it with face crops to get their codes, or see `photographs`.

    Attributes:
      model: the face model that the encoder was trained with.
      cam: the camera that it was trained with.
      config: the run's resolved config.
      step: optimizer steps of the checkpoint.
      weights: the encoder's variables.
    """

    model: FaceModel
    cam: Camera
    config: ConfigDict
    step: int
    weights: Any
    _encode: Callable[[Any, jax.Array], jax.Array]
    _detector: TwoDetectors = dataclasses.field(default_factory=TwoDetectors)

    def __call__(self, images: np.ndarray | jax.Array) -> FaceParams:
        """The codes of crops [B, H, W, 3], RGB, uint8 or floats in [0, 1]; fields have B in front.

        Raises:
          ValueError: another shape, or floats outside [0, 1].
        """
        height, width = self.cam.image_size
        images = np.asarray(images)
        if images.ndim != 4 or images.shape[1:] != (height, width, 3) or not len(images):
            raise ValueError(
                f"images have shape {images.shape}, expected [B, {height}, {width}, 3]: crop the "
                "faces with mofa_jax.data.faces.crop first, or use `photographs`."
            )
        if images.dtype == np.uint8:
            images = images.astype(np.float32) / 255.0
        elif not (images.min(initial=0) >= 0 and images.max(initial=0) <= 1):
            raise ValueError("images must be uint8, or floats in [0, 1] without NaN.")
        codes = self._encode(self.weights, jnp.asarray(images, jnp.float32))
        return FaceParams.from_code(codes, self.model)

    def photographs(
        self,
        photographs: str | os.PathLike | Iterable[str | os.PathLike] | Sequence[np.ndarray],
        refine_steps: int = 0,
    ) -> list[Reconstruction]:
        """All faces of some photographs, those of one photograph from the largest to the smallest.

        Args:
          photographs: files, folders and globs, or arrays uint8 [H, W, 3] RGB and PIL's images. A
            file that cannot be read, or shows no face, is named in a warning and left out.
          refine_steps: see `faces`.

        Raises:
          PhotographError: a path names nothing.
          ValueError: an array of another shape or type, or names and arrays together.
        """
        reconstructions = []
        for chunk in in_chunks(each_photograph(photographs)):
            faces = self.faces([photograph for _, photograph in chunk], refine_steps)
            for (source, _), found in zip(chunk, faces, strict=True):
                if not found:
                    _logger.warning("%s: no face found", source)
                reconstructions += [dataclasses.replace(face, source=source) for face in found]
        return reconstructions

    def faces(
        self, photographs: Sequence[np.ndarray], refine_steps: int = 0
    ) -> list[list[Reconstruction]]:
        """The faces of each photograph, uint8 [H, W, 3] RGB.

        Faces are found by the detector. Where its square lies farther from the landmarks that the
        encoder finds in it than the squares of training, the face is cut out again about these
        landmarks, at most twice. An encoder that was trained on the detector's squares alone knows
        no others: its are left as they are.

        Args:
          photographs: of any sizes.
          refine_steps: of `mofa_jax.fit` on each face after the encoder, 5 to 10; 0 = none.

        Raises:
          ValueError: a photograph of another shape or type.
          DetectorError: the OpenCV that is installed has no cascades.
        """
        for photograph in photographs:
            if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3:
                raise ValueError(
                    f"a photograph is {photograph.dtype} {photograph.shape}, expected uint8 "
                    "[H, W, 3], RGB."
                )
        size = self.cam.image_size[0]
        owners, crops = [], []
        for i, photograph in enumerate(photographs):
            for box in self._detector.detect(photograph):
                owners.append(i)
                crops.append(crop_from_box(photograph, box, size))
        found = [[] for _ in photographs]
        if not crops:
            return found
        crops, codes = self.settled([photographs[i] for i in owners], crops)
        correlations = self.correlations(codes, np.array([crop.image for crop in crops]))
        faces = [
            Reconstruction(
                FaceParams.from_code(jnp.asarray(code), self.model), crop, i, 0, float(correlation)
            )
            for i, code, crop, correlation in zip(owners, codes, crops, correlations, strict=True)
        ]
        for face in self.fitted(faces, refine_steps):
            found[face.source].append(face)
        return found

    def settled(
        self, photographs: Sequence[np.ndarray], crops: Sequence[Crop]
    ) -> tuple[list[Crop], np.ndarray]:
        """The codes [N, D] of N crops, one of each photograph, and the crops that they describe:
        those that were badly cut are cut out again, as `faces` says."""
        crops = list(crops)
        codes = self._codes(crops)
        for _ in range(self._recrops if crops else 0):
            squares = [
                crop_again(photograph, crop, points)
                for photograph, crop, points in zip(
                    photographs, crops, self.landmarks(codes), strict=True
                )
            ]
            again = [k for k, crop in enumerate(crops) if self._is_off(crop, squares[k])]
            if not again:
                break
            for k in again:
                crops[k] = squares[k]
            codes[again] = self._codes([crops[k] for k in again])
        return crops, codes

    def fitted(self, faces: Sequence[Reconstruction], num_steps: int) -> list[Reconstruction]:
        """Faces of the encoder alone after steps of the fit, see `refined`; 0 = as they are."""
        if not (num_steps and faces):
            return list(faces)
        codes = np.array([face.params.to_code() for face in faces])
        codes = self.refined(codes, np.array([face.crop.image for face in faces]), num_steps)
        return [
            dataclasses.replace(
                face,
                params=FaceParams.from_code(jnp.asarray(code), self.model),
                refine_steps=num_steps,
            )
            for face, code in zip(faces, codes, strict=True)
        ]

    def refined(self, codes: np.ndarray, images: np.ndarray, num_steps: int) -> np.ndarray:
        """Codes [N, D] fitted to their crops uint8 [N, H, W, 3], [N, D].

        The landmarks that the codes draw hold the faces in place, see `mofa_jax.fit`.
        """
        refine = functools.partial(_refined, model=self.model, cam=self.cam, num_steps=num_steps)
        faces = codes, images, self.landmarks(codes)
        if jax.default_backend() == "cpu":  # which works face by face anyway
            return np.stack([refine(*face) for face in zip(*faces, strict=True)])
        return _in_batches(jax.vmap(refine), *faces)

    def correlations(self, codes: np.ndarray, images: np.ndarray) -> np.ndarray:
        """How well codes [N, D] of an encoder resemble their crops uint8 [N, H, W, 3]: [N], at most
        1, see `losses.patch_correlation`.

        By the bundled encoder 0.27 at least, mostly 0.5, of 70 photographs of LFPW; of these on
        their side or upside down, where a face was found at all, 0.36 at most, mostly 0.2.
        """

        def correlate(codes: np.ndarray, images: np.ndarray) -> jax.Array:
            return _correlate(codes, images, self._patches, self.model, self.cam)

        return _in_batches(correlate, codes, images)

    def landmarks(self, codes: np.ndarray) -> np.ndarray:
        """Where codes [N, D] draw the 68 landmarks, px of the crop [N, 68, 2].

        Those that the face model lacks (see `FaceModel.landmarks`) lie anywhere.
        """
        project = functools.partial(_project, landmarks=self._landmark_model, cam=self.cam)
        return _in_batches(project, codes)

    def saved(self, face: Reconstruction, photograph: str | os.PathLike | None = None) -> SavedFace:
        """What a file of parameters keeps of a face; `save_parameters` writes it.

        Args:
          face: one of `photographs` or `faces`.
          photograph: its file, if it has one.

        Raises:
          OSError: the file is there and cannot be read.
        """
        known = photograph is not None and os.path.isfile(photograph)
        return SavedFace(
            params=face.params,
            cam=self.cam,
            crop_to_photograph=face.crop.to_photograph,
            box=face.crop.box,
            photograph=None if photograph is None else os.path.abspath(photograph),
            face_model=self.config.face_model,
            face_model_name=self.model.name,
            step=self.step,
            face_model_checksum=self.model.checksum(),
            refine_steps=face.refine_steps,
            correlation=face.correlation,
            same_person=face.same_person,
            encoder_checksum=self.encoder_checksum,
            photograph_checksum=file_checksum(photograph) if known else None,
        )

    @functools.cached_property
    def encoder_checksum(self) -> str:
        """Of the weights: two runs may end at the same step."""
        return checksum_of(self.weights)

    @functools.cached_property
    def decoder(self) -> Decoder:
        """The decoder of the face model and the camera, as training uses it."""
        return Decoder(self.model, self.cam)

    @functools.cached_property
    def _patches(self) -> jax.Array:
        return surface_patches(self.model)

    @functools.cached_property
    def _landmark_model(self) -> FaceModel:
        return self.model.at_landmarks()

    @functools.cached_property
    def has_landmarks(self) -> bool:
        """Whether the model has some of those that faces are fitted to."""
        return bool((self.model.landmarks[LOSS_LANDMARKS] >= 0).any())

    @functools.cached_property
    def has_all_landmarks(self) -> bool:
        """Whether the model has all 68, which tell where a face's square is."""
        return bool((self.model.landmarks >= 0).all())

    @property
    def knows_moved_squares(self) -> bool:
        """Whether the encoder has learned other squares than the detector's."""
        data = self.config.data
        return data.crop == "landmarks" or data.augmentation.shift > 0

    @property
    def _recrops(self) -> int:
        """How often a face may be cut out again; 0 if the encoder knows the detector's squares
        alone, or the model has too few landmarks to tell where its square is."""
        return _RECROPS if self.knows_moved_squares and self.has_all_landmarks else 0

    def _is_off(self, crop: Crop, square: Crop) -> bool:
        """Whether a crop lies farther from the square about its landmarks than in training."""
        data, size = self.config.data, self.cam.image_size[0]
        moved = (square.to_photograph - crop.to_photograph) @ [size / 2, size / 2, 1]
        side, other = crop.to_photograph[0, 0], square.to_photograph[0, 0]
        shift = np.abs(moved).max() / side  # of the middles, px of the crop
        scale = max(side / other, other / side)
        return shift > data.augmentation.shift or scale > 1 + data.augmentation.scale

    def _codes(self, crops: Sequence[Crop]) -> np.ndarray:
        """[N, D]."""
        images = np.array([crop.image for crop in crops])
        return _in_batches(lambda batch: self(batch).to_code(), images)


def load_for_inference(
    workdir: str | os.PathLike | None = None, face_model: str | os.PathLike | None = None
) -> Predictor:
    """A trained encoder: the bundled one, or that of a run's newest checkpoint.

    Args:
      workdir: of the run; None or "open" for the encoder that is part of the package.
      face_model: where the face model is now; by default where it was in training.

    Raises:
      CheckpointError: no checkpoint there, or it does not fit the face model, or the run has
        learned something else than semantic codes.
      FaceModelError: the face model cannot be loaded.
      TrainedEncoderError: the bundled encoder is damaged.
    """
    if workdir is None or workdir == OPEN_ENCODER:
        weights, information = read_trained()
        config, model, cam, encoder = _untrained(information, face_model)
        step = information["step"]
    else:
        with Checkpoints.existing(workdir) as checkpoints:
            step = checkpoints.latest_step
            information = checkpoints.information(step)
            check_codes(information, workdir)
            config, model, cam, encoder = _untrained(information, face_model)
            image = jax.ShapeDtypeStruct((1, *cam.image_size, 3), jnp.float32)
            target = jax.eval_shape(encoder.init, jax.random.key(0), image)
            weights = checkpoints.load_part(step, {"weights": on_first_device(target)})["weights"]
    weights = jax.device_put(weights, jax.local_devices()[0])
    return Predictor(model, cam, config, step, weights, jax.jit(encoder.apply))


def _untrained(information: dict[str, Any], face_model: str | os.PathLike | None):
    """The config, face model, camera and encoder that a checkpoint's information names."""
    config = ConfigDict(information["config"])
    config.face_model = lasting_name(face_model or config.face_model)
    model = load_face_model(config.face_model)
    check_face_model(information["face_model"], model)
    encoder = encoder_from_config(config.encoder, code_size(model))
    return config, model, make_camera(config.camera), encoder


def _in_batches(function: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """`function` of arrays with a common first axis, in batches of 1 or of 16, filled up, so that
    two programs are compiled."""
    count = len(arrays[0])
    if not count:
        return np.zeros((0, 0), np.float32)
    size = 1 if count == 1 else _BATCH
    parts = []
    for first in range(0, count, size):
        batch = [array[first : first + size] for array in arrays]
        fill = size - len(batch[0])
        batch = [np.concatenate([part, np.repeat(part[:1], fill, axis=0)]) for part in batch]
        parts.append(np.asarray(function(*batch)))
    return np.concatenate(parts)[:count]


@jax.jit
def _project(codes: jax.Array, landmarks: FaceModel, cam: Camera) -> jax.Array:
    return project_landmarks(FaceParams.from_code(codes, landmarks), landmarks, cam)


@jax.jit
@functools.partial(jax.vmap, in_axes=(0, 0, None, None, None))
def _correlate(
    code: jax.Array, image: jax.Array, patches: jax.Array, model: FaceModel, cam: Camera
) -> jax.Array:
    rendering = render(FaceParams.from_code(code, model), model, cam)
    return 1 - losses.patch_correlation(rendering, image.astype(code.dtype) / 255, patches)


@functools.partial(jax.jit, static_argnames="num_steps")
def _refined(
    code: jax.Array,
    image: jax.Array,
    points: jax.Array,
    model: FaceModel,
    cam: Camera,
    num_steps: int,
) -> jax.Array:
    params = FaceParams.from_code(code, model)
    fitted = fit(image, model, cam, points, init=params, num_steps=num_steps, weights=HELD)
    return fitted.params.to_code()
