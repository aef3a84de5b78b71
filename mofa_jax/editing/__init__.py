"""Edits of a reconstructed face: its light, pose, expression and identity, as functions of codes.

All are pure and unbatched. Angles come from jax.scipy's Rotation, whose gradient at the zero
rotation is NaN.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.scipy.spatial.transform import Rotation, Slerp

from mofa_jax.errors import InputError
from mofa_jax.illumination import directed_light, front_mean, with_ambient, without_ambient
from mofa_jax.params import NUM_BANDS, FaceParams

LIGHTS: Mapping[str, tuple[float, float] | None] = {
    "ambient": None,
    "front": (0.0, 0.0),
    "left": (-55.0, 15.0),
    "right": (55.0, 15.0),
    "above": (0.0, 60.0),
    "below": (0.0, -60.0),
}
"""Named lights: azimuth to the viewer's right and elevation, degrees; None for no direction."""

_DIRECTED_SHARE = 0.5  # of a named light; the rest is ambient
_DARKEST = 0.05  # mean light over the front that is not divided by


def named_light(name: str) -> jax.Array:
    """One of `LIGHTS` as coefficients [9, 3]: white, of mean one over the front, ambient included.

    Raises:
      InputError: there is no such light.
    """
    if name not in LIGHTS:
        raise InputError(f"there is no light '{name}'; choose one of {', '.join(LIGHTS)}.")
    light = jnp.zeros(NUM_BANDS).at[0].set(1.0)
    if LIGHTS[name] is not None:
        azimuth, elevation = (jnp.asarray(math.radians(angle)) for angle in LIGHTS[name])
        directed = directed_light(azimuth, elevation)
        light = (1 - _DIRECTED_SHARE) * light + _DIRECTED_SHARE * directed
    return jnp.repeat(light[:, None], 3, axis=1)


def relight(params: FaceParams, light: jax.Array) -> FaceParams:
    """The face in a light of another direction and color, as bright as it was.

    The light that the face was in counts as white: what an encoder takes for its color is partly
    the skin's.

    Args:
      params: one face's code.
      light: [9, 3], ambient included, of any brightness: a `named_light`, an `environment_light`.
    """
    brightness = jnp.maximum(jnp.mean(front_mean(light)), _DARKEST)
    white = jnp.maximum(front_mean(with_ambient(params.illumination)), _DARKEST)
    return params.replace(illumination=without_ambient(light / brightness * white[None, :]))


def pose_angles(params: FaceParams) -> jax.Array:
    """Yaw, pitch and roll of the head [3], rad: T = R_y(yaw) R_x(pitch) R_z(roll).

    Positive yaw turns the face to the viewer's left, positive pitch up, positive roll clockwise; of
    small rotations they are y, x and z of the axis-angle vector.
    """
    return Rotation.from_rotvec(params.rotation).as_euler("YXZ")


def repose(params: FaceParams, angles: jax.Array) -> FaceParams:
    """The head turned to yaw, pitch and roll [3], rad, in its place: see `pose_angles`."""
    return params.replace(rotation=Rotation.from_euler("YXZ", angles).as_rotvec())


def turn_between(params: FaceParams, other: FaceParams) -> jax.Array:
    """The angle of the shortest turn from one head's pose to the other's [], rad."""
    first, second = (Rotation.from_rotvec(face.rotation) for face in (params, other))
    return (first.inv() * second).magnitude()


def transfer_expression(params: FaceParams, source: FaceParams) -> FaceParams:
    """The face with another one's expression; both codes are of one face model."""
    return params.replace(expression=source.expression)


def exaggerate(
    params: FaceParams,
    shape: float | jax.Array = 1.0,
    expression: float | jax.Array = 1.0,
    reflectance: float | jax.Array = 1.0,
) -> FaceParams:
    """A caricature: each part's distance from the average face times a factor; 0 is the average."""
    return params.replace(
        shape=shape * params.shape,
        expression=expression * params.expression,
        reflectance=reflectance * params.reflectance,
    )


def morph(start: FaceParams, end: FaceParams, t: float | jax.Array) -> FaceParams:
    """The face a part t of the way from `start` to `end`: 0 is the one, 1 the other.

    Rotations are interpolated along the shortest turn between them (slerp), all else linearly.
    """
    between = jax.tree.map(lambda a, b: (1 - t) * a + t * b, start, end)
    ends = Rotation.from_rotvec(jnp.stack([start.rotation, end.rotation]))
    turn = Slerp.init(jnp.arange(2.0), ends)
    return between.replace(rotation=turn(jnp.asarray(t, jnp.float32)).as_rotvec())
