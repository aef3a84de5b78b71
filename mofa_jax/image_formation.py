"""Eq. 4 and 5: from a face's geometry and reflectance to its vertices on the screen.

`form_image` is the plain computation, `form_image_fast` the same with its gradient written out: the
chain rule of Eq. 4 and 5, a handful of numbers a vertex. On a CPU that is several times faster: all
is worked out face by face in component arrays of length N, which stay in the cache, and every sum
over a vertex's neighbors is a gather.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mofa_jax.batching import face_by_face
from mofa_jax.camera import NEAR, Camera, project, to_camera_space
from mofa_jax.illumination import irradiance, irradiance_vjp, sh_basis, shade
from mofa_jax.mesh import Topology, area_normals, area_normals_vjp
from mofa_jax.numerics import (
    as_rows,
    dot_columns,
    materialize,
    normalize_columns,
    product,
    sum_of_outer_products,
    turn,
)

_SHARE = 1 / 6  # a vertex has a third of its triangles, and a triangle half of its cross product


class VertexImage(NamedTuple):
    """A face's vertices on the screen: fields of `renderer.Rendering`, as columns."""

    screen: jax.Array  # [2, N]
    color: jax.Array  # [3, N]
    vertices: jax.Array  # [3, N]
    normals: jax.Array  # [3, N]
    area: jax.Array  # [N]


def form_image(
    vertices: jax.Array,
    reflectance: jax.Array,
    rotation: jax.Array,
    translation: jax.Array,
    illumination: jax.Array,
    topology: Topology,
    cam: Camera,
) -> VertexImage:
    """The plain computation.

    Args:
      vertices: V [3, N], world space, dm.
      reflectance: R [3, N], RGB.
      rotation: T [3, 3].
      translation: t [3], dm.
      illumination: gamma [9, 3].
      topology: of the mesh.
      cam: the camera's intrinsics.
    """
    return _form_image(vertices, reflectance, rotation, translation, illumination, topology, cam)[0]


def _form_image(vertices, reflectance, rotation, translation, illumination, topology, cam):
    """The image, and the vertices' area normals [3, N] in camera space."""
    vertices_cam = to_camera_space(vertices, rotation, translation, cam.distance)  # Phi
    # Normals feel every rounding: they are worked out before the head is turned.
    areas = area_normals(as_rows(vertices), topology)
    areas = turn(rotation.T, areas)  # T^-1 n, not normalized
    vertices_cam, areas = materialize(vertices_cam), materialize(areas)
    normals = materialize(normalize_columns(areas)[0])
    color = shade(reflectance, normals, illumination)  # Eq. 4
    screen = project(vertices_cam, cam)  # Eq. 5: Pi(Phi(v))
    area = _screen_area(areas, vertices_cam, cam)
    return VertexImage(screen, color, vertices_cam, normals, area), areas


def _screen_area(areas: jax.Array, vertices: jax.Array, cam: Camera) -> jax.Array:
    """[N] px^2: f^2 (A . -p) / z^3 of a small area A at p, zero where it faces away."""
    facing = jnp.maximum(-dot_columns(areas, vertices), 0.0)
    return _SHARE * cam.focal**2 * facing / jnp.maximum(-vertices[2], NEAR) ** 3


_formed_face_by_face = face_by_face(_form_image)


@jax.custom_vjp
def form_image_fast(
    vertices: jax.Array,
    reflectance: jax.Array,
    rotation: jax.Array,
    translation: jax.Array,
    illumination: jax.Array,
    topology: Topology,
    cam: Camera,
) -> VertexImage:
    """`form_image` with its gradient by hand; of reverse mode only."""
    return _formed_face_by_face(
        vertices, reflectance, rotation, translation, illumination, topology, cam
    )[0]


def _forward(vertices, reflectance, rotation, translation, illumination, topology, cam):
    image, areas = _formed_face_by_face(
        vertices, reflectance, rotation, translation, illumination, topology, cam
    )
    arguments = vertices, reflectance, rotation, translation, illumination, topology, cam
    return image, (*arguments, image.vertices, areas)


@face_by_face
def _gradient(residuals, at: VertexImage):
    """The gradient at the arguments of `form_image` of the one at its image."""
    *arguments, topology, cam, vertices_cam, areas = residuals
    vertices, reflectance, rotation, _, illumination = arguments
    normals, _, inverse_length = normalize_columns(areas)
    at_reflectance = at.color * irradiance(normals, illumination)  # Eq. 4
    at_irradiance = materialize(at.color * reflectance)
    at_illumination = sum_of_outer_products(sh_basis(normals), at_irradiance)
    at_normals = at.normals + irradiance_vjp(normals, illumination, at_irradiance)

    at_position, at_areas, at_cam = _projection_gradient(vertices_cam, areas, cam, at)
    radial = dot_columns(at_normals, normals)
    at_areas += (at_normals - radial[None, :] * normals) * inverse_length[None, :]
    at_areas = materialize(at_areas)
    around = area_normals_vjp(as_rows(vertices), as_rows(turn(rotation, at_areas)), topology)
    gradient = (
        turn(rotation, at_position) + around,
        at_reflectance,
        sum_of_outer_products(vertices, at_position)
        + product(rotation, sum_of_outer_products(areas, at_areas)),
        -jnp.sum(at_position, axis=1),
        at_illumination,
        at_cam,
    )
    return jax.tree.map(
        lambda at, argument: at.astype(jnp.result_type(argument)), gradient, (*arguments, cam)
    )


def _projection_gradient(vertices, areas, cam, at: VertexImage):
    """Through Eq. 5 and the screen areas, at: camera-space vertices, area normals, the camera."""
    x, y, z = vertices
    inverse_depth = 1 / jnp.where(jnp.abs(z) < NEAR, NEAR, -z)
    slope_x, slope_y = x * inverse_depth, y * inverse_depth
    at_u, at_v = at.screen
    at_x, at_y = cam.focal * at_u * inverse_depth, -cam.focal * at_v * inverse_depth
    at_z = jnp.where(jnp.abs(z) < NEAR, 0.0, at_x * slope_x + at_y * slope_y)

    area, inverse_depth = _screen_area(areas, vertices, cam), 1 / jnp.maximum(-z, NEAR)
    per_facing = jnp.where(area > 0, at.area, 0.0) * _SHARE * cam.focal**2 * inverse_depth**3
    at_z += jnp.where(-z > NEAR, 3 * at.area * area * inverse_depth, 0.0)
    at_position = jnp.stack([at_x, at_y, at_z]) - per_facing[None, :] * areas + at.vertices
    at_focal = jnp.sum(at_u * slope_x - at_v * slope_y) + 2 * jnp.sum(at.area * area) / cam.focal
    at_cam = cam.replace(
        focal=at_focal,
        principal_point=(jnp.sum(at_u), jnp.sum(at_v)),
        distance=-jnp.sum(at_position[2]),
    )
    return materialize(at_position), -per_facing[None, :] * vertices, at_cam


def _backward(residuals, at: VertexImage):
    *rest, at_cam = _gradient(residuals, at)
    return (*rest, None, at_cam)


form_image_fast.defvjp(_forward, _backward)
