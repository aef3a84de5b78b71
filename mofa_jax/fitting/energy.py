"""Eq. 7 as fitting minimizes it: of one face, or of all photographs of a person."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax import losses
from mofa_jax.camera import Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.fitting.curvature import (
    VertexSample,
    landmark_curvature,
    photometric_curvature,
    prior_curvature,
)
from mofa_jax.params import FaceParams, code_size, code_slices
from mofa_jax.renderer import Rendering, project_vertices, render


@struct.dataclass
class FitWeights:
    """Of the terms of Eq. 7; those of the regularizer's parts are within w_reg.

    The default keeps faces plausible. `FitWeights(landmark=1, regularizer=2.9e-5,
    reflectance=1.7e-3, light=0)` is the paper's.

    Attributes:
      photometric: w_photo.
      landmark: w_land.
      closure: of how differently from the landmarks eyes and mouth are open, `losses.closure`.
      regularizer: w_reg.
      reflectance: w_beta.
      expression: w_delta.
      light: of the prior on light, `losses.light_prior`.
    """

    photometric: float = losses.PHOTOMETRIC_WEIGHT
    landmark: float = 4.0
    closure: float = 0.0
    regularizer: float = 1e-4
    reflectance: float = 0.15
    expression: float = losses.EXPRESSION_WEIGHT
    light: float = 30.0


@struct.dataclass
class Target:
    """What a face is fitted to.

    Attributes:
      image: [H, W, 3], RGB in [0, 1].
      landmarks: [68, 2], px.
      confidence: [68], zero where a landmark is absent.
    """

    image: jax.Array
    landmarks: jax.Array
    confidence: jax.Array


@struct.dataclass
class Energy:
    """Eq. 7 of one face, with the curvature of its terms.

    Its blind part has no photometric term: where the landmarks are and how faces are in general.

    Attributes:
      model: the face model.
      landmarks: the face model at its landmarks.
      cam: the camera's intrinsics.
      weights: of the terms.
    """

    model: FaceModel
    landmarks: FaceModel
    cam: Camera
    weights: FitWeights

    @classmethod
    def of(cls, model: FaceModel, cam: Camera, weights: FitWeights) -> "Energy":
        return cls(model, model.at_landmarks(), cam, weights)

    def blind(self, params: FaceParams, target: Target) -> jax.Array:
        """The terms of Eq. 9 and 10, of closure and the prior on light."""
        screen = project_vertices(params, self.landmarks, self.cam)
        points = screen, self.landmarks, target.landmarks, target.confidence
        landmark, closure = (
            losses.weighted_landmark_distance(*offsets(*points), self.cam)
            for offsets in (losses.landmark_offsets, losses.facing_offsets)
        )
        weights = self.weights
        prior = losses.regularizer(params, weights.reflectance, weights.expression)
        prior += weights.light * losses.light_prior(params)
        places = weights.landmark * landmark + weights.closure * closure
        return places + weights.regularizer * prior

    def blind_curvature(self, params: FaceParams, target: Target) -> jax.Array:
        """[D, D]."""
        weights = self.weights
        priors = (weights.reflectance, weights.expression, weights.light)
        prior = prior_curvature(params, self.model, *priors)
        places = landmark_curvature(
            params, target.confidence, self.landmarks, self.cam, weights.landmark, weights.closure
        )
        return places + weights.regularizer * prior

    def value(self, params: FaceParams, target: Target) -> tuple[jax.Array, Rendering]:
        """Eq. 7, and the rendering that it looks at."""
        rendering = render(params, self.model, self.cam)
        photometric = self.weights.photometric * losses.photometric(rendering, target.image)
        return photometric + self.blind(params, target), rendering

    def curvature(
        self, params: FaceParams, rendering: Rendering, target: Target, sample: VertexSample
    ) -> jax.Array:
        """[D, D]."""
        matrix = photometric_curvature(params, rendering, target.image, sample, self.cam)
        return self.weights.photometric * matrix + self.blind_curvature(params, target)


def shared_places(model: FaceModel, count: int) -> np.ndarray:
    """[K, D]: where the entries of a person's K codes stand among the unknowns; all codes share
    shape and reflectance."""
    slices, size = code_slices(model), code_size(model)
    shared = np.zeros(size, bool)
    shared[slices["shape"]] = shared[slices["reflectance"]] = True
    num_shared = np.count_nonzero(shared)
    places = np.empty((count, size), np.int32)
    places[:, shared] = np.arange(num_shared)
    places[:, ~shared] = num_shared + np.arange(count * (size - num_shared)).reshape(count, -1)
    return places


def joined(codes: jax.Array, places: np.ndarray) -> jax.Array:
    """The unknowns of codes [K, D]: the means of what they share."""
    count = np.bincount(places.ravel())
    return jnp.zeros(len(count), codes.dtype).at[places].add(codes) / count


def mean_over_faces(
    value: Callable, curvature: Callable, faces: tuple, places: np.ndarray, model: FaceModel
) -> tuple[Callable, Callable]:
    """An energy's mean over K faces with its gradient, and its curvature, of the unknowns.

    Args:
      value: (params, *face) -> the energy, and what `curvature` needs of it.
      curvature: (params, that, *face) -> [D, D].
      faces: what the two take of a face, with K in front.
      places: [K, D], where the codes' entries stand among the unknowns.
      model: the face model.

    Returns:
      The functions that `levenberg_marquardt.minimize` takes.
    """

    def mean(unknowns: jax.Array):
        params = FaceParams.from_code(unknowns[places], model)
        values, auxiliary = _over_faces(value)(params, *faces)
        return jnp.mean(values), auxiliary

    def mean_curvature(unknowns: jax.Array, auxiliary) -> jax.Array:
        params = FaceParams.from_code(unknowns[places], model)
        matrices = _over_faces(curvature, in_turn=True)(params, auxiliary, *faces)
        total = jnp.zeros((len(unknowns), len(unknowns)), unknowns.dtype)
        total = total.at[places[:, :, None], places[:, None, :]].add(matrices)
        return total / len(places)

    return jax.value_and_grad(mean, has_aux=True), mean_curvature


def _over_faces(function: Callable, in_turn: bool = False) -> Callable:
    """`function` of one face as a function of K faces, whose arrays have K in front.

    A single face is not batched, which would take a second longer to trace.
    """

    def mapped(*faces):
        if len(jax.tree.leaves(faces)[0]) == 1:
            out = function(*jax.tree.map(lambda array: array[0], faces))
            return jax.tree.map(lambda array: array[None], out)
        if in_turn:
            return jax.lax.map(lambda face: function(*face), faces)
        return jax.vmap(function)(*faces)

    return mapped
