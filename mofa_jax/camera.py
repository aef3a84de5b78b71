"""Pinhole camera and rigid head pose (paper, Sec. 5.1).

Camera space is right-handed: x right, y up, looking down -z. The unit is the decimeter. Screen
points are continuous pixel coordinates, x right and y down: the image's top-left corner is (0, 0)
and the center of its top-left pixel is (0.5, 0.5). Many points are columns, [3, N] and [2, N].
"""

import jax
import jax.numpy as jnp
from flax import struct
from ml_collections import ConfigDict

from mofa_jax.errors import InputError
from mofa_jax.numerics import product, safe_norm, turn

REFERENCE_SIZE = 240  # px: the side of the crop in whose pixels focal length and errors are given
NEAR = 1e-3  # dm: smaller depths are replaced by this one, so that no projection divides by zero


@struct.dataclass
class Camera:
    """Intrinsics and the distance around which the camera orbits the face.

    Attributes:
      focal: focal length, px.
      principal_point: (x, y), px.
      image_size: (height, width), px.
      distance: from the camera's center to the world's origin at the zero code, dm.
    """

    focal: float = 1087.5
    principal_point: tuple[float, float] = (120.0, 120.0)
    image_size: tuple[int, int] = struct.field(pytree_node=False, default=(240, 240))
    distance: float = 10.0

    def scaled(self, factor: float) -> "Camera":
        """The camera of the same view whose image is `factor` times as wide and high."""
        height, width = self.image_size
        return self.replace(
            focal=self.focal * factor,
            principal_point=(self.principal_point[0] * factor, self.principal_point[1] * factor),
            image_size=(round(height * factor), round(width * factor)),
        )


def make_camera(config: ConfigDict) -> Camera:
    """The camera of a config's `camera`: the same view whatever its `image_size`.

    Raises:
      InputError: the image size is no positive integer.
    """
    if config.image_size < 1:
        raise InputError(f"camera.image_size is {config.image_size}; give a positive number of px.")
    reference = Camera(focal=config.focal, distance=config.distance)
    return reference.scaled(config.image_size / REFERENCE_SIZE)


def rotation_matrix(axis_angle: jax.Array) -> jax.Array:
    """T = exp([w]_x) [3, 3] of an axis-angle vector w [3], rad (Rodrigues' formula).

    Smooth at zero: below a thousandth of a radian the series of sin(a)/a and (1 - cos(a))/a^2.
    """
    x, y, z = axis_angle
    zero = jnp.zeros_like(x)
    cross = jnp.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    angle = safe_norm(axis_angle)
    small = angle < 1e-3
    # Each side is given harmless operands where the other one is chosen: the gradient of a `where`
    # multiplies the side not chosen by zero, and must find it finite.
    near = jnp.where(small, cross, 0.0)
    square = jnp.sum(jnp.where(small, axis_angle, 0.0) ** 2)
    series = near * (1 - square / 6) + product(near, near) * (0.5 - square / 24)
    unit = cross / jnp.where(small, 1.0, angle)
    closed = unit * jnp.sin(angle) + product(unit, unit) * (1 - jnp.cos(angle))
    return jnp.eye(3, dtype=axis_angle.dtype) + jnp.where(small, series, closed)


def head_yaw(axis_angle: jax.Array) -> jax.Array:
    """How far the head of a rotation [3], rad, is turned to the side, rad.

    The angle between the camera's axis and the face's direction in the horizontal plane; positive
    where the face looks to the left of the image, as in `editing.pose_angles`.
    """
    x, _, z = rotation_matrix(axis_angle)[2]  # T^-1 (0, 0, 1)
    return jnp.arctan2(-x, z)


def to_camera_space(
    points: jax.Array, rotation: jax.Array, translation: jax.Array, distance: float
) -> jax.Array:
    """Phi (paper, Sec. 5.1): world points [3, N] to camera space [3, N], dm.

    Phi(v) = T^-1 (v - T (d + t)) = T^-1 v - d - t with d = (0, 0, distance): the camera orbits the
    face, so a rotation turns the head in place.

    Args:
      points: [3, N], world space, dm.
      rotation: T [3, 3].
      translation: t [3], dm.
      distance: dm.
    """
    offset = translation + jnp.zeros_like(translation).at[2].set(distance)
    return turn(rotation.T, points) - offset[:, None]


def project(points: jax.Array, cam: Camera) -> jax.Array:
    """Pi (paper, Sec. 5.1): camera-space points [3, N], dm, to the screen [2, N], px.

    A point nearer than `NEAR` to the camera's plane is projected from that distance.
    """
    x, y, z = points
    depth = jnp.where(jnp.abs(z) < NEAR, NEAR, -z)
    u = cam.principal_point[0] + cam.focal * x / depth
    v = cam.principal_point[1] - cam.focal * y / depth
    return jnp.stack([u, v])
