"""The training objective (paper, Sec. 6, Eq. 6-10), for one face; vmap and average for a batch."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.camera import Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import with_ambient
from mofa_jax.landmarks import FACING_LANDMARKS, LOSS_LANDMARKS, NUM_LANDMARKS
from mofa_jax.numerics import normalize_columns, safe_norm
from mofa_jax.params import FaceParams
from mofa_jax.renderer import Rendering
from mofa_jax.sampling import sample_bilinear

PHOTOMETRIC_WEIGHT = 1.92  # w_photo (paper, Sec. 6)
REFLECTANCE_WEIGHT = 1.7e-3  # w_beta
EXPRESSION_WEIGHT = 0.8  # w_delta

# Real light: 18 CC0 panoramas in 16 turns each, cosine-filtered; the bands y, z, x, xy, yz,
# 3z^2 - 1, xz, x^2 - y^2 relative to the ambient light, and the spread of its logarithm, of which
# a camera's white balance leaves half.
DIRECTED_MEAN = np.array([0.42, 0, 0, 0, 0, 0, 0, 0], np.float32)
DIRECTED_SPREAD = np.array([0.18, 0.31, 0.31, 0.10, 0.10, 0.12, 0.12, 0.13], np.float32)
COLOR_SPREAD = 0.5 * np.array([0.22, 0.09, 0.25], np.float32)
TINT_SPREAD = 0.4  # ours: of what a band has in one channel more than in all, in DIRECTED_SPREADs
# Ours: the prior on reflectance draws skin to the average brown and leaves the rest to the light;
# about this middle, faces fitted to photographs are lit by 1 on average.
AMBIENT_MEAN, EXPOSURE_SPREAD = 0.7, 0.15
AREA_THRESHOLD = 0.10  # tau of RGB in [0, 1]
_FLAT = 1e-5  # added to variances of gray values: a patch without contrast correlates with nothing
CODE_SPREAD = {  # of faces, by part of the code
    "shape": 1.0,  # standard deviations
    "expression": 1.0,
    "reflectance": 1.0,
    "rotation": 0.2,  # radians
    "translation": 0.2,  # dm
    "illumination": 0.2,
}
_DARKEST = 0.05  # ambient light below which its logarithm falls no further


def photometric(rendering: Rendering, image: jax.Array) -> jax.Array:
    """Eq. 8: the robust l2,1 distance of the rendered colors to the photograph.

    E = 1/N sum over front-facing vertices of ||I(u_i) - c_i||_2. Whether a vertex is front-facing
    carries no gradient.

    Args:
      rendering: N vertices.
      image: [H, W, 3], RGB in [0, 1].

    Raises:
      ValueError: the image is not [H, W, 3], or not of floats.
    """
    residuals = photometric_residuals(rendering, image)
    return jnp.sum(residuals) / residuals.shape[0]


def photometric_residuals(rendering: Rendering, image: jax.Array) -> jax.Array:
    """[N]: ||I(u_i) - c_i||_2 of the front-facing vertices, zero of the others."""
    return jnp.where(rendering.front_facing, _color_distances(rendering, image), 0.0)


def _check_image(image: jax.Array) -> None:
    if image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"image has shape {image.shape}, expected [H, W, 3].")
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"image is {image.dtype}, expected floats in [0, 1]: divide by 255.")


def _color_distances(rendering: Rendering, image: jax.Array) -> jax.Array:
    _check_image(image)
    difference = sample_bilinear(image, rendering.screen) - rendering.color
    return normalize_columns(difference.T)[1]


def area_photometric(
    rendering: Rendering, image: jax.Array, threshold: float = AREA_THRESHOLD
) -> jax.Array:
    """1 / A sum_i a_i (min(d_i, tau) - tau): the distance d_i of Eq. 8, truncated at tau, over the
    part of the image that the face covers.

    Eq. 8 is least for a face drawn 5 % too small, which meets less of the hair and the background.
    Here every pixel that the face does not cover costs as much as the worst that it does (after the
    constant background of Schoenborn et al., "Background modeling for generative image models",
    2015), and the screen areas a_i carry a gradient: the face grows as far as it explains the
    photograph. Vertices off the image do not count, and A is the image's area H W, or the face's
    where it is larger: a face that has come too near to the camera gains nothing more.

    Args:
      rendering: N vertices.
      image: [H, W, 3], RGB in [0, 1].
      threshold: tau.

    Raises:
      ValueError: the image is not [H, W, 3], or not of floats.
    """
    distance = jnp.minimum(_color_distances(rendering, image), threshold)
    height, width = image.shape[:2]
    x, y = rendering.screen.T
    area = jnp.where((x >= 0) & (x <= width) & (y >= 0) & (y <= height), rendering.area, 0.0)
    return jnp.sum(area * (distance - threshold)) / jnp.maximum(jnp.sum(area), height * width)


def patch_correlation(rendering: Rendering, image: jax.Array, patches: jax.Array) -> jax.Array:
    """1 - the normalized cross-correlation of gray values, averaged over the patches of a face.

    Blind to the light and to what a patch's reflectance is on average, it sees where things are.
    Only front-facing vertices count, a patch as much as the share of it that is front-facing.

    Args:
      rendering: N vertices.
      image: [H, W, 3], RGB in [0, 1].
      patches: [P, M] int32, the vertices of each patch.

    Raises:
      ValueError: the image is not [H, W, 3], or not of floats.
    """
    _check_image(image)
    screen = rendering.screen[patches.ravel()]
    seen = jnp.mean(sample_bilinear(image, screen), axis=-1).reshape(patches.shape)
    drawn = jnp.mean(rendering.color[patches], axis=-1)
    counted = rendering.front_facing[patches].astype(drawn.dtype)
    share = jnp.mean(counted, axis=-1)
    weight = counted / jnp.maximum(jnp.sum(counted, axis=-1, keepdims=True), 1.0)

    def centered(values: jax.Array) -> jax.Array:
        return values - jnp.sum(weight * values, axis=-1, keepdims=True)

    seen, drawn = centered(seen), centered(drawn)
    variances = [jnp.sum(weight * x**2, axis=-1) + _FLAT for x in (seen, drawn)]
    correlation = jnp.sum(weight * seen * drawn, axis=-1) / jnp.sqrt(variances[0] * variances[1])
    return jnp.sum(share * (1 - correlation)) / jnp.maximum(jnp.sum(share), 1.0)


def landmark(
    rendering: Rendering,
    model: FaceModel,
    points: jax.Array,
    confidence: jax.Array,
    cam: Camera,
) -> jax.Array:
    """Eq. 9: sum_j c_j ||u_kj - s_j||^2 over the 46 landmarks.

    Screen distances are divided by the image's width and height. Landmarks that the model lacks, or
    whose confidence is zero, do not count, whatever their points hold (NaN too).

    Args:
      rendering: of `model`.
      model: its `landmarks` name the vertices.
      points: s [68, 2], continuous pixels.
      confidence: c [68], in [0, 1].
      cam: gives the image's size.

    Raises:
      ValueError: points or confidence have other shapes.
    """
    offset, weight = landmark_offsets(rendering.screen, model, points, confidence)
    return weighted_landmark_distance(offset, weight, cam)


def closure(
    rendering: Rendering,
    model: FaceModel,
    points: jax.Array,
    confidence: jax.Array,
    cam: Camera,
) -> jax.Array:
    """How differently from the annotation eyes and mouth are open or closed:
    sum_j c_j ||(u_a - u_b) - (s_a - s_b)||^2 over seven pairs (a, b) of lids and lips that face
    each other.

    As Eq. 9, whose 46 landmarks hardly see it: lips that are 5 px apart instead of closed cost no
    more than a chin that is 4 px off. After the lids of DECA (Feng et al., SIGGRAPH 2021) and the
    lips of EMOCA (Danecek et al., CVPR 2022). c_j is the smaller confidence of the two.

    Args and Raises: see `landmark`.
    """
    offset, weight = facing_offsets(rendering.screen, model, points, confidence)
    return weighted_landmark_distance(offset, weight, cam)


def landmark_offsets(
    screen: jax.Array,
    model: FaceModel,
    points: jax.Array,
    confidence: jax.Array,
    which: np.ndarray = LOSS_LANDMARKS,
) -> tuple[jax.Array, jax.Array]:
    """u_kj - s_j [K, 2], px, and the weights c_j [K] of landmarks, the 46 by default; both zero
    where one is absent."""
    if points.shape != (NUM_LANDMARKS, 2) or confidence.shape != (NUM_LANDMARKS,):
        raise ValueError(
            f"points {points.shape} and confidence {confidence.shape}: expected (68, 2) and (68,)."
        )
    vertex = model.landmarks[which]
    weight = jnp.where(vertex >= 0, confidence[which], 0.0)
    present = (weight > 0)[:, None]
    target = jnp.where(present, points[which], 0.0)
    return jnp.where(present, screen[vertex] - target, 0.0), weight


def facing_offsets(
    screen: jax.Array, model: FaceModel, points: jax.Array, confidence: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """(u_a - u_b) - (s_a - s_b) [7, 2], px, of the pairs of `closure`, and their weights [7], zero
    where one of the two landmarks is absent."""
    (upper, upper_weight), (lower, lower_weight) = (
        landmark_offsets(screen, model, points, confidence, which) for which in FACING_LANDMARKS.T
    )
    return upper - lower, jnp.minimum(upper_weight, lower_weight)


def weighted_landmark_distance(offset: jax.Array, weight: jax.Array, cam: Camera) -> jax.Array:
    """Eq. 9 of offsets [K, 2], px, with weights [K]: their squares relative to the image's size."""
    height, width = cam.image_size
    relative = offset / jnp.array([[width, height]], offset.dtype)
    return jnp.sum(weight * jnp.sum(relative**2, axis=-1))


def mean_landmark_distance(offset: jax.Array, weight: jax.Array) -> jax.Array:
    """Mean length, px, of the offsets that are present; NaN without any."""
    return jnp.sum(safe_norm(offset)) / jnp.sum(weight > 0)


def code_distance(params: FaceParams, true: FaceParams) -> jax.Array:
    """Mean squared difference of two faces' codes, each part in units of how far faces spread.

    Entries of `true` that are NaN are not known and do not count; zero if none is known.

    What networks learn from that are trained on rendered faces with known codes (Richardson et al.,
    "3D face reconstruction by learning from synthetic data", 2016): the paper's Fig. 4 and 5
    compare with them.
    """
    parts = []
    for name, spread in CODE_SPREAD.items():
        difference = (getattr(params, name) - getattr(true, name)) / spread
        parts.append(difference.ravel())
    difference = jnp.concatenate(parts)
    known = ~jnp.isnan(difference)
    squares = jnp.where(known, difference, 0.0) ** 2
    return jnp.sum(squares) / jnp.maximum(jnp.sum(known), 1)


def regularizer(
    params: FaceParams,
    reflectance_weight: float = REFLECTANCE_WEIGHT,
    expression_weight: float = EXPRESSION_WEIGHT,
) -> jax.Array:
    """Eq. 10: sum alpha^2 + w_beta sum beta^2 + w_delta sum delta^2, the face model's prior."""
    return (
        jnp.sum(params.shape**2)
        + reflectance_weight * jnp.sum(params.reflectance**2)
        + expression_weight * jnp.sum(params.expression**2)
    )


def prior_terms(
    params: FaceParams, config: ConfigDict, axis_name: str | None
) -> dict[str, jax.Array]:
    """The terms of Eq. 7 that see the codes alone, by name, weighted; of weight 0 left out.

    Args:
      params: of a batch of B faces.
      config: the default config's `loss`.
      axis_name: of the devices that share the batch, if any.
    """
    prior = jax.vmap(regularizer, (0, None, None))(params, config.reflectance, config.expression)
    terms = {"regularizer": config.regularizer * jnp.mean(prior)}
    if config.light:
        light = jnp.mean(jax.vmap(light_prior)(params))
        terms["light"] = config.regularizer * config.light * light
    if config.population_pose:
        pose = jnp.concatenate([params.rotation, params.translation], axis=-1)
        terms["population_pose"] = config.population_pose * squared_mean(pose, axis_name)
    return terms


def light_prior(params: FaceParams) -> jax.Array:
    """How unlike the light of photographs a light is: its squared `light_deviations`, summed.

    A face's color is the product of skin and light; this prior tells them apart.
    """
    return jnp.sum(light_deviations(params) ** 2)


def light_deviations(params: FaceParams) -> jax.Array:
    """Where a face's light lies among the lights of photographs [36], in standard deviations.

    The bands are taken relative to the ambient light of their channel, whose logarithm is an
    exposure, common to the channels, and a color. A band is what the channels have in common, and
    a tint.
    """
    light = with_ambient(params.illumination)
    ambient = jnp.maximum(light[0], _DARKEST)
    bands = (light[1:] / ambient[None, :] - DIRECTED_MEAN[:, None]) / DIRECTED_SPREAD[:, None]
    directed = jnp.mean(bands, axis=1)
    tint = (bands - directed[:, None]) / TINT_SPREAD
    exposure = jnp.mean(jnp.log(ambient))
    color = (jnp.log(ambient) - exposure) / COLOR_SPREAD
    exposure = (exposure - math.log(AMBIENT_MEAN)) / EXPOSURE_SPREAD
    return jnp.concatenate([directed, tint.ravel(), exposure[None], color])


def squared_mean(samples: jax.Array, axis_name: str | None = None) -> jax.Array:
    """An unbiased estimate of ||E x||^2 from a batch: the mean product of two different samples.

    The batch's own squared mean would hold a share 1 / B of the variance, and shrink the samples.

    Args:
      samples: x [B, D].
      axis_name: of the devices that share the batch, if any.
    """
    total, squares, count = jnp.sum(samples, axis=0), jnp.sum(samples**2), samples.shape[0]
    if axis_name is not None:
        total, squares = jax.lax.psum((total, squares), axis_name)
        count *= jax.lax.axis_size(axis_name)
    return (jnp.sum(total**2) - squares) / max(count * (count - 1), 1)
