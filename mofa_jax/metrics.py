"""The three errors of the paper's evaluation (Sec. 7), and biases, for one face."""

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.face_model import MM_PER_DM, FaceModel
from mofa_jax.landmarks import LOSS_LANDMARKS, OUTER_EYE_CORNERS
from mofa_jax.losses import landmark_offsets, mean_landmark_distance, photometric_residuals
from mofa_jax.numerics import safe_norm
from mofa_jax.renderer import Rendering


def geometric_error(estimated: jax.Array, true: jax.Array) -> jax.Array:
    """Mean distance of corresponding vertices, mm, after the best translation and scale.

    The estimate is moved and scaled (isotropically, in closed form) to minimize the squared
    distance; its rotation counts.

    Args:
      estimated: [N, 3], camera orientation, dm.
      true: [N, 3], camera orientation, dm.

    Raises:
      ValueError: the two have different shapes.
    """
    if estimated.shape != true.shape:
        raise ValueError(f"estimated {estimated.shape} and true {true.shape} must have one shape.")
    estimated = estimated - jnp.mean(estimated, axis=0, keepdims=True)
    true = true - jnp.mean(true, axis=0, keepdims=True)
    spread = jnp.sum(estimated**2)
    scale = jnp.sum(estimated * true) / jnp.where(spread > 0, spread, 1.0)
    return MM_PER_DM * jnp.mean(safe_norm(scale * estimated - true))


def photometric_error(rendering: Rendering, image: jax.Array) -> jax.Array:
    """Mean over the front-facing vertices of ||I(u_i) - c_i||_2, RGB in [0, 1]; NaN without any."""
    return jnp.sum(photometric_residuals(rendering, image)) / jnp.sum(rendering.front_facing)


def landmark_error(
    rendering: Rendering, model: FaceModel, points: jax.Array, confidence: jax.Array
) -> jax.Array:
    """Mean distance, px of the camera's image, of those of the 46 landmarks that are present; NaN
    without any. Errors in tables and logs are px of a 240 px crop.

    Args:
      rendering: of `model`.
      model: its `landmarks` name the vertices.
      points: [68, 2], continuous pixels.
      confidence: [68]; landmarks of confidence zero do not count.
    """
    return mean_landmark_distance(*landmark_offsets(rendering.screen, model, points, confidence))


def outer_eye_distance(points: jax.Array, confidence: jax.Array) -> jax.Array:
    """Distance of the outer eye corners among points [68, 2]; NaN where one has confidence zero."""
    corners = jnp.array(OUTER_EYE_CORNERS)
    right, left = points[corners]
    return jnp.where(jnp.all(confidence[corners] > 0), safe_norm(left - right), jnp.nan)


def box_normalized_error(
    screen: jax.Array, model: FaceModel, points: jax.Array, confidence: jax.Array
) -> jax.Array:
    """The normalized mean error of AFLW2000-3D: over the square root of the landmarks' box's area.

    Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016.

    Args:
      screen: [68, 2], px, the landmarks as they are drawn.
      model: those of the 68 that it has count.
      points: [68, 2], continuous pixels.
      confidence: [68]; landmarks of confidence zero do not count.

    Returns:
      The mean distance over sqrt(width x height) of the box of `points`; NaN without any.
    """
    annotated = (confidence > 0)[:, None]
    low = jnp.min(jnp.where(annotated, points, jnp.inf), axis=0)
    high = jnp.max(jnp.where(annotated, points, -jnp.inf), axis=0)
    counts = annotated[:, 0] & (model.landmarks >= 0)
    distance = safe_norm(jnp.where(counts[:, None], screen - points, 0.0))
    return jnp.sum(distance) / jnp.sum(counts) / jnp.sqrt(jnp.prod(high - low))


def landmark_bias(
    screen: jax.Array, model: FaceModel, points: jax.Array, confidence: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How much larger, and how far away, the present ones of the 46 landmarks are drawn.

    Args:
      screen: [N, 2], px, of `model`'s vertices.
      model: its `landmarks` name the vertices.
      points: [68, 2], continuous pixels.
      confidence: [68]; landmarks of confidence zero do not count.

    Returns:
      The spread of the drawn landmarks over that of the annotated ones, where a spread is the root
      mean square distance from the centroid: below 1 the face has shrunk; NaN with fewer than two.
      And where the drawn landmarks' centroid lies, seen from the annotated ones' [2], px, x right,
      y down; NaN without any.
    """
    offset, weight = landmark_offsets(screen, model, points, confidence)
    present = (weight > 0)[:, None]
    annotated = jnp.where(present, points[LOSS_LANDMARKS], 0.0)
    center, spread = _center_and_spread(annotated, present)
    drawn_center, drawn_spread = _center_and_spread(annotated + offset, present)
    return drawn_spread / spread, drawn_center - center


def opening_bias(
    screen: jax.Array,
    model: FaceModel,
    points: jax.Array,
    confidence: jax.Array,
    facing: np.ndarray,
) -> jax.Array:
    """How much further apart landmarks that face each other are drawn than they are annotated.

    Args:
      screen: [N, 2], px, of `model`'s vertices.
      model: its `landmarks` name the vertices.
      points: [68, 2], continuous pixels.
      confidence: [68]; landmarks of confidence zero do not count.
      facing: pairs [K, 2] of the 68, `landmarks.FACING_LIDS` or `FACING_LIPS`.

    Returns:
      The mean over the pairs that are present, px; below 0 an eye or the mouth is drawn too far
      closed; NaN without any.
    """
    vertices = model.landmarks[facing]
    present = jnp.all((vertices >= 0) & (confidence[facing] > 0), axis=1)
    ends = jnp.where(present[:, None, None], points[facing], 0.0)
    annotated = safe_norm(ends[:, 0] - ends[:, 1])
    drawn = safe_norm(screen[vertices[:, 0]] - screen[vertices[:, 1]])
    return jnp.sum(jnp.where(present, drawn - annotated, 0.0)) / jnp.sum(present)


def _center_and_spread(points: jax.Array, present: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of those of the points [K, 2] that are present [K, 1] (the others are zero)."""
    count = jnp.sum(present)
    center = jnp.sum(points, axis=0) / count
    squares = jnp.where(present, points - center[None, :], 0.0) ** 2
    return center, jnp.sqrt(jnp.sum(squares) / count)
