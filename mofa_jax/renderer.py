"""The model-based decoder (paper, Sec. 5): a code vector in, a face out, no learned weight."""

import jax
import jax.numpy as jnp
from flax import struct

from mofa_jax.camera import Camera, project, rotation_matrix, to_camera_space
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import shade
from mofa_jax.mesh import vertex_normals
from mofa_jax.params import FaceParams


@struct.dataclass
class Rendering:
    """A face on the screen, vertex by vertex.

    Attributes:
      screen: u [N, 2], continuous pixels.
      color: c [N, 3], RGB, not clipped.
      vertices: [N, 3], camera space, dm.
      normals: [N, 3], camera space, unit length.
      front_facing: [N] bool: whether the surface at the vertex faces the camera's center.
    """

    screen: jax.Array
    color: jax.Array
    vertices: jax.Array
    normals: jax.Array
    front_facing: jax.Array


def render(params: FaceParams, model: FaceModel, cam: Camera) -> Rendering:
    """Eq. 2-5: image formation from a code vector.

    Pure and unbatched; jit, grad and vmap it. Gradients are finite for any finite code.

    Args:
      params: one face's code.
      model: the face model.
      cam: the camera's intrinsics.
    """
    vertices = model.geometry(params.shape, params.expression)  # Eq. 2
    reflectance = model.reflectance(params.reflectance)  # Eq. 3
    rotation = rotation_matrix(params.rotation)  # T
    vertices_cam = to_camera_space(vertices, rotation, params.translation, cam.distance)  # Phi
    normals = vertex_normals(vertices, model.topology) @ rotation  # T^-1 n
    color = shade(reflectance, normals, params.illumination)  # Eq. 4
    screen = project(vertices_cam, cam)  # Eq. 5: Pi(Phi(v))
    return Rendering(screen, color, vertices_cam, normals, is_front_facing(normals, vertices_cam))


compiled_render = jax.jit(render)
"""One program for all who draw a face from Python, whatever the size of their pictures."""


def is_front_facing(normals: jax.Array, vertices: jax.Array) -> jax.Array:
    """[N] bool: the normal points against the view ray (not the axis: they differ off-center)."""
    return jnp.sum(normals * vertices, axis=-1) < 0


def project_vertices(params: FaceParams, model: FaceModel, cam: Camera) -> jax.Array:
    """Eq. 2 and 5 alone: the vertices on the screen [N, 2], px, without normals and colors."""
    vertices = model.geometry(params.shape, params.expression)
    rotation = rotation_matrix(params.rotation)
    return project(to_camera_space(vertices, rotation, params.translation, cam.distance), cam)
