"""Codes fitted to photographs by optimization: Eq. 7 minimized for each face, with or without an
encoder's code to start from."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax.batching import face_by_face
from mofa_jax.camera import Camera
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.fitting.curvature import sample_vertices
from mofa_jax.fitting.energy import (
    Energy,
    FitWeights,
    Target,
    joined,
    mean_over_faces,
    shared_places,
)
from mofa_jax.fitting.levenberg_marquardt import minimize
from mofa_jax.landmarks import LOSS_LANDMARKS, NUM_LANDMARKS
from mofa_jax.params import FaceParams, code_size

_SAMPLES = 3000  # vertices whose residuals the photometric curvature is estimated from
_BLIND_STEPS = 10  # on the landmarks alone, before the photograph is looked at
_ROOM = 64  # fits of up to so many steps are one program, of up to twice as many another
_DEFAULT_WEIGHTS = FitWeights()


@struct.dataclass
class Fit:
    """What has been fitted.

    Attributes:
      params: one face's code, or the codes of K photographs.
      energy: Eq. 7 [num_steps + 1], at the start and after each step; it never rises.
    """

    params: FaceParams
    energy: jax.Array


def fit(
    image: jax.Array | np.ndarray,
    model: FaceModel,
    cam: Camera,
    landmarks: jax.Array | np.ndarray | None = None,
    confidence: jax.Array | np.ndarray | None = None,
    init: FaceParams | None = None,
    num_steps: int = 50,
    weights: FitWeights = _DEFAULT_WEIGHTS,
) -> Fit:
    """The face of a photograph, by Levenberg-Marquardt steps on Eq. 7.

    It starts from `init`; or else from the average face, which, if there are landmarks, is first
    laid upon them. 35 ms a step on two CPU cores for the 25,539 vertices of the open model. jit and
    vmap it as you like; with the values unknown, only shapes are checked.

    Args:
      image: the crop of a face [H, W, 3], RGB, uint8 or floating point in [0, 1], of the camera's
        size.
      model: the face model.
      cam: the camera.
      landmarks: [68, 2], continuous px of the crop, NaN where one is absent; None without any.
      confidence: [68], in [0, 1], zero where a landmark is absent; by default one for each landmark
        that is finite.
      init: the code to start from, such as an encoder's.
      num_steps: 10 are enough from an encoder's code.
      weights: of the terms.

    Raises:
      InputError: something has another shape, image or confidence holds NaN or values outside
        [0, 1], `init` values that are not finite, a weight is negative, or all landmarks are
        absent.
    """
    images, landmarks, confidence = (
        None if x is None else jnp.asarray(x)[None] for x in (image, landmarks, confidence)
    )
    init = jax.tree.map(lambda x: jnp.asarray(x)[None], init)
    fitted = fit_person(images, model, cam, landmarks, confidence, init, num_steps, weights)
    return fitted.replace(params=fitted.params.face(0))


def fit_person(
    images: jax.Array | np.ndarray,
    model: FaceModel,
    cam: Camera,
    landmarks: jax.Array | np.ndarray | None = None,
    confidence: jax.Array | np.ndarray | None = None,
    init: FaceParams | None = None,
    num_steps: int = 50,
    weights: FitWeights = _DEFAULT_WEIGHTS,
) -> Fit:
    """`fit` of K photographs of one person, who has one shape and one reflectance in all of them.

    The mean of Eq. 7 over the photographs is minimized. Images, landmarks, confidence and the
    fields of `init` have K in front, and so have the fields of the fitted `params`.
    """
    targets = _targets(images, model, cam, landmarks, confidence)
    if num_steps < 0:
        raise InputError(f"num_steps is {num_steps}; give the number of steps, 0 or more.")
    expected = (len(targets.image), code_size(model))
    codes = jnp.zeros(expected) if init is None else init.to_code()
    if codes.shape != expected:
        raise InputError(
            f"init holds codes of shape {codes.shape}, expected {expected}: one code of face model "
            f"'{model.name}' for each image."
        )
    if not _holds(jnp.all(jnp.isfinite(codes))):
        raise InputError("init holds NaN or infinite values; give a code or leave it out.")
    for field in dataclasses.fields(weights):
        weight = getattr(weights, field.name)
        if not _holds(jnp.asarray(weight) >= 0):
            raise InputError(f"weights.{field.name} is {weight}; give a number from 0 on.")
    codes = codes.astype(targets.image.dtype)
    blind = init is None and landmarks is not None
    room = math.ceil(max(num_steps, 1) / _ROOM) * _ROOM
    codes, energy = _fit(codes, targets, weights, model, cam, num_steps, blind, room)
    return Fit(FaceParams.from_code(codes, model), energy[: num_steps + 1])


@partial(jax.jit, static_argnames=("blind", "room"))
def _fit(codes, targets, weights, model, cam, num_steps, blind: bool, room: int):
    """Codes [K, D] and the energy [room + 1] after so many steps, with blind ones before or not."""
    arguments = (codes, targets, weights, model, cam, num_steps)
    return face_by_face(partial(_fit_person, blind=blind, room=room))(*arguments)


def _fit_person(codes, targets, weights, model, cam, num_steps, blind, room):
    energy, places = Energy.of(model, cam, weights), shared_places(model, len(codes))
    unknowns = joined(codes, places)
    if blind:
        functions = mean_over_faces(
            lambda params, target: (energy.blind(params, target), None),
            lambda params, _, target: energy.blind_curvature(params, target),
            (targets,),
            places,
            model,
        )
        unknowns, _ = minimize(*functions, unknowns, _BLIND_STEPS, _BLIND_STEPS)
    num_samples = min(_SAMPLES, 3 * model.num_vertices)
    samples = jax.lax.map(
        lambda code: sample_vertices(FaceParams.from_code(code, model), model, cam, num_samples),
        unknowns[places],
    )
    functions = mean_over_faces(
        lambda params, target, sample: energy.value(params, target),
        energy.curvature,
        (targets, samples),
        places,
        model,
    )
    unknowns, energies = minimize(*functions, unknowns, num_steps, room)
    return unknowns[places], energies


def _targets(images, model, cam, landmarks, confidence) -> Target:
    """The arguments of `fit_person`, checked, as floating-point arrays."""
    images, dtype = jnp.asarray(images), model.mean_shape.dtype
    if images.ndim != 4 or images.shape[1:] != (*cam.image_size, 3) or not len(images):
        raise InputError(
            f"an image has shape {images.shape[1:]}, expected {(*cam.image_size, 3)}: cut the face "
            "out with mofa_jax.data.faces.crop, at the camera's image size."
        )
    images = images.astype(dtype) / (255 if images.dtype == jnp.uint8 else 1)
    if not _holds(jnp.all((images >= 0) & (images <= 1))):
        raise InputError("an image holds NaN or values outside [0, 1]; give uint8 or [0, 1].")
    expected = (len(images), NUM_LANDMARKS)
    if landmarks is None and confidence is not None:
        raise InputError("confidence is given without landmarks; give both, or leave it out.")
    if landmarks is None:
        return Target(images, jnp.zeros((*expected, 2), dtype), jnp.zeros(expected, dtype))
    landmarks = jnp.asarray(landmarks, dtype)
    finite = jnp.all(jnp.isfinite(landmarks), axis=-1)
    confidence = jnp.asarray(finite if confidence is None else confidence, dtype)
    if landmarks.shape != (*expected, 2) or confidence.shape != expected:
        raise InputError(
            f"landmarks {landmarks.shape[1:]} and confidence {confidence.shape[1:]} of "
            f"{len(landmarks)} images: expected (68, 2) and (68,) of {len(images)}."
        )
    confidence = jnp.where(finite, confidence, 0.0)
    if not _holds(jnp.all((confidence >= 0) & (confidence <= 1))):
        raise InputError("confidence holds NaN or values outside [0, 1]; give those of landmarks.")
    present = (confidence > 0) & (model.landmarks >= 0)[None, :]
    if not _holds(jnp.all(jnp.any(present[:, LOSS_LANDMARKS], axis=1))):
        raise InputError(
            f"an image has none of the landmarks of face model '{model.name}'; leave out "
            "`landmarks` to fit to the colors alone."
        )
    return Target(images, landmarks, confidence)


def _holds(condition: jax.Array) -> bool:
    """Whether a condition holds, or cannot be told yet since a function is being transformed."""
    return isinstance(condition, jax.core.Tracer) or bool(condition)
