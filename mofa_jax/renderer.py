"""The model-based decoder (paper, Sec. 5): a code vector in, a face out, no learned weight."""

import jax
from flax import struct

from mofa_jax.camera import Camera, project, rotation_matrix, to_camera_space
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import shade
from mofa_jax.image_formation import form_image, form_image_fast
from mofa_jax.numerics import dot_columns
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
      area: [N], px^2, a third of the screen area of the triangles around the vertex; zero where it
        faces away.
    """

    screen: jax.Array
    color: jax.Array
    vertices: jax.Array
    normals: jax.Array
    front_facing: jax.Array
    area: jax.Array


def render(
    params: FaceParams, model: FaceModel, cam: Camera, *, forward_mode: bool = False
) -> Rendering:
    """Eq. 2-5: image formation from a code vector.

    Pure and unbatched; jit, grad and vmap it. Gradients are finite for any finite code.

    Args:
      params: one face's code.
      model: the face model.
      cam: the camera's intrinsics.
      forward_mode: False: the gradient is written by hand, several times faster on a CPU than the
        derived one; True: also `jax.jvp` and `jax.jacfwd` work.
    """
    vertices = model.geometry(params.shape, params.expression)  # Eq. 2
    reflectance = model.reflectance(params.reflectance)  # Eq. 3
    rotation = rotation_matrix(params.rotation)  # T
    form = form_image if forward_mode else form_image_fast  # Eq. 4, 5
    image = form(
        vertices.T,
        reflectance.T,
        rotation,
        params.translation,
        params.illumination,
        model.topology,
        cam,
    )
    screen, color, vertices, normals = (columns.T for columns in image[:4])
    front_facing = is_front_facing(normals, vertices)
    return Rendering(screen, color, vertices, normals, front_facing, image.area)


def limit_geometry_gradient(
    rendering: Rendering, params: FaceParams, model: FaceModel, share: float
) -> Rendering:
    """The same rendering, of whose gradient only `share` reaches geometry and pose.

    With a share of zero a loss over it teaches reflectance and light alone.

    Args:
      rendering: of `params`.
      params: one face's code.
      model: the face model.
      share: in [0, 1].
    """

    def limited(x: jax.Array) -> jax.Array:
        fixed = jax.lax.stop_gradient(x)
        return fixed + share * (x - fixed)

    normals, reflectance = limited(rendering.normals), model.reflectance(params.reflectance)
    return rendering.replace(
        screen=limited(rendering.screen),
        color=shade(reflectance.T, normals.T, params.illumination).T,  # Eq. 4
        vertices=limited(rendering.vertices),
        normals=normals,
        area=limited(rendering.area),
    )


compiled_render = jax.jit(render, static_argnames="forward_mode")
"""One program for all who draw a face from Python, whatever the size of their pictures."""


def is_front_facing(normals: jax.Array, vertices: jax.Array) -> jax.Array:
    """[N] bool: the normal points against the view ray (not the axis: they differ off-center)."""
    return dot_columns(normals.T, vertices.T) < 0


def project_vertices(params: FaceParams, model: FaceModel, cam: Camera) -> jax.Array:
    """Eq. 2 and 5 alone: the vertices on the screen [N, 2], px, without normals and colors."""
    vertices = model.geometry(params.shape, params.expression)
    rotation = rotation_matrix(params.rotation)
    return project(to_camera_space(vertices.T, rotation, params.translation, cam.distance), cam).T
