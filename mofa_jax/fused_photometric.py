"""The photometric term (Eq. 2-8) of a batch, value and gradient in one pass, for the train step.

Equal to `losses.photometric(render(...))` and its gradient, several times faster on a CPU:

- The bases are stored modes first, [modes, 3N]: one matrix product a basis for the whole batch, in
  the orientation in which both the product and its adjoint stream through memory.
- All else is worked out face by face in component arrays of length N, which stay in the cache.
- The gradient is written out beside the value (the chain rule of Eq. 4-8, a handful of numbers a
  vertex), so nothing is stored for a backward pass, and every sum over neighbors is a gather.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax.camera import NEAR, Camera, rotation_matrix
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import sh_basis, with_ambient
from mofa_jax.mesh import Topology, area_normals, area_normals_vjp
from mofa_jax.numerics import TINY
from mofa_jax.params import FaceParams

_SQRT3, _SQRT5, _SQRT15 = math.sqrt(3.0), math.sqrt(5.0), math.sqrt(15.0)
_materialize = jax.lax.optimization_barrier  # keeps XLA from computing one array once per reader


@struct.dataclass
class StackedBases:
    """A face model as the train step reads it: modes first, component by component.

    Attributes:
      geometry: [S + X, 3N], the shape basis above the expression basis, dm.
      mean_geometry: [3N], dm.
      reflectance: [R, 3N].
      mean_reflectance: [3N].
      topology: of the mesh.
    """

    geometry: jax.Array
    mean_geometry: jax.Array
    reflectance: jax.Array
    mean_reflectance: jax.Array
    topology: Topology


def stack_bases(model: FaceModel) -> StackedBases:
    """The model's arrays in the order of `StackedBases`; made once, before training."""

    def modes_first(basis: jax.Array) -> np.ndarray:
        return np.asarray(basis).transpose(2, 1, 0).reshape(basis.shape[2], -1)

    bases = [modes_first(model.shape_basis), modes_first(model.expression_basis)]
    return StackedBases(
        geometry=jnp.asarray(np.concatenate(bases)),
        mean_geometry=jnp.asarray(np.asarray(model.mean_shape).T.ravel()),
        reflectance=jnp.asarray(modes_first(model.reflectance_basis)),
        mean_reflectance=jnp.asarray(np.asarray(model.mean_reflectance).T.ravel()),
        topology=model.topology,
    )


def photometric_batch(
    params: FaceParams, bases: StackedBases, cam: Camera, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Eq. 8 of each face of a batch.

    Differentiable in `params` alone: the images and the model get no gradient.

    Args:
      params: B faces.
      bases: the face model.
      cam: the camera's intrinsics.
      images: [B, H, W, 3], RGB in [0, 1].

    Returns:
      The losses [B] and each face's share of front-facing vertices [B] (their quotient is the
      photometric error of the metrics).
    """
    coefficients = jnp.concatenate([params.shape, params.expression], axis=-1)
    rotation = jax.vmap(rotation_matrix)(params.rotation)
    pose_and_light = (rotation, params.translation, params.illumination)
    return _photometric(coefficients, params.reflectance, pose_and_light, bases, cam, images)


def oriented_vertices(params: FaceParams, bases: StackedBases) -> jax.Array:
    """T^-1 V [B, N, 3], dm, of a batch: the faces in camera orientation, not translated."""
    coefficients = jnp.concatenate([params.shape, params.expression], axis=-1)
    vertices = coefficients @ bases.geometry + bases.mean_geometry[None, :]
    rotation = jax.vmap(rotation_matrix)(params.rotation)
    return jnp.einsum("bjn,bjk->bnk", vertices.reshape(len(vertices), 3, -1), rotation)


@jax.custom_vjp
def _photometric(coefficients, reflectance, pose_and_light, bases, cam, images):
    values, _ = _photometric_forward(coefficients, reflectance, pose_and_light, bases, cam, images)
    return values


def _photometric_forward(coefficients, reflectance, pose_and_light, bases, cam, images):
    batch = coefficients.shape[0]
    vertices = coefficients @ bases.geometry + bases.mean_geometry[None, :]  # Eq. 2
    albedo = reflectance @ bases.reflectance + bases.mean_reflectance[None, :]  # Eq. 3
    per_face = (vertices.reshape(batch, 3, -1), albedo.reshape(batch, 3, -1), pose_and_light)
    values, (at_vertices, at_albedo, at_pose_and_light) = _over_faces(
        lambda face: _one_face(*face[:2], *face[2], face[3], bases.topology, cam),
        (*per_face, images),
    )
    gradients = (
        (bases.geometry @ at_vertices.reshape(batch, -1).T).T,
        (bases.reflectance @ at_albedo.reshape(batch, -1).T).T,
        at_pose_and_light,
    )
    return values, gradients


def _photometric_backward(gradients, cotangents):
    weight, _ = cotangents  # the share of front-facing vertices is piecewise constant

    def weighted(gradient):
        return gradient * weight.reshape(-1, *[1] * (gradient.ndim - 1))

    return (*jax.tree.map(weighted, gradients), None, None, None)


_photometric.defvjp(_photometric_forward, _photometric_backward)


def _over_faces(function, faces):
    """One face after the other on a CPU, whose cache holds one; all at once on a GPU."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(function, faces)
    return jax.vmap(function)(faces)


def _one_face(vertices, albedo, rotation, translation, gamma, image, topology, cam):
    """Eq. 4-8 of one face, and the gradient by hand.

    Args:
      vertices, albedo: [3, N], world space, dm, and RGB.
      rotation: T [3, 3]; translation: t [3], dm; gamma: [9, 3]; image: [H, W, 3].

    Returns:
      (loss, front-facing share), and the loss's gradient with respect to vertices, albedo,
      (rotation, translation, gamma).
    """
    num_vertices = vertices.shape[1]
    turned = _materialize(rotation.T @ vertices)  # T^-1 v
    area = _materialize(area_normals(turned.T, topology).T)  # camera space, not normalized
    x, y, z = (turned[i] - translation[i] for i in range(3))
    position = (x, y, z - cam.distance)  # Phi(v)
    normal, inverse_length = _normalize(area)
    front = sum(n * p for n, p in zip(normal, position, strict=True)) < 0

    sampled, to_position = _sample_at_projection(position, image, cam)  # I(Pi(Phi(v)))
    basis = _materialize(sh_basis(jnp.stack(normal, axis=-1)).T)  # H_b [9, N]
    light = with_ambient(gamma)
    shading = _materialize(light.T @ basis)  # [3, N]
    residual = sampled - albedo * shading  # Eq. 4, 8
    length = jnp.sqrt(jnp.sum(residual**2, axis=0))
    counted = front & (length > TINY)
    loss = jnp.sum(jnp.where(counted, length, 0.0)) / num_vertices
    share = jnp.sum(front) / num_vertices

    weight = jnp.where(counted, 1 / jnp.where(counted, length, 1.0), 0.0) / num_vertices
    at_color = _materialize(-residual * weight[None, :])  # dE / dc [3, N]
    at_albedo = at_color * shading
    at_shading = _materialize(at_color * albedo)
    at_position = to_position(-at_color)
    at_area = _normal_gradient(light @ at_shading, normal, inverse_length)
    at_turned = at_position + area_normals_vjp(turned.T, at_area.T, topology).T
    at_turned = _materialize(at_turned)
    at_gamma = basis @ at_shading.T
    at_pose_and_light = (vertices @ at_turned.T, -jnp.sum(at_position, axis=1), at_gamma)
    return (loss, share), (rotation @ at_turned, at_albedo, at_pose_and_light)


def _normalize(area: jax.Array) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Unit normals as components [N], and the inverse lengths; zero where there is no area."""
    scale = jnp.max(jnp.abs(area), axis=0)
    nonzero = scale > TINY
    scaled = area / jnp.where(nonzero, scale, 1.0)[None, :]
    square = jnp.sum(scaled**2, axis=0)
    inverse = jnp.where(nonzero, jax.lax.rsqrt(jnp.where(nonzero, square, 1.0)), 0.0)
    normal = tuple(scaled[i] * inverse for i in range(3))
    return normal, inverse / jnp.where(nonzero, scale, 1.0)


def _sample_at_projection(position, image, cam):
    """I(u) [3, N] at u = Pi(position), and the map of dE/dI [3, N] to dE/dposition [3, N]."""
    height, width, channels = image.shape
    x, y, z = position
    at_camera = jnp.abs(z) < NEAR
    inverse_depth = 1 / jnp.where(at_camera, NEAR, -z)
    slope_x, slope_y = x * inverse_depth, y * inverse_depth
    u = cam.principal_point[0] + cam.focal * slope_x - 0.5  # Eq. 5, in units of pixel centers
    v = cam.principal_point[1] - cam.focal * slope_y - 0.5
    column, right, inside_x = _cell(u, width)
    row, down, inside_y = _cell(v, height)
    index, right, down = _materialize((row * width + column, right, down))
    pixels = image.reshape(height * width, channels)
    to_right, to_down = min(width - 1, 1), min(height - 1, 1) * width
    corners = (index, index + to_right, index + to_down, index + to_down + to_right)
    a, b, c, d = (_materialize(_rows(pixels, corner)).T for corner in corners)
    right, down = right[None, :], down[None, :]
    top, bottom = a + (b - a) * right, c + (d - c) * right
    along_x = (b - a) + ((d - c) - (b - a)) * down
    along_y = bottom - top

    def to_position(at_sample):
        at_u = jnp.where(inside_x, jnp.sum(at_sample * along_x, axis=0), 0.0)
        at_v = jnp.where(inside_y, jnp.sum(at_sample * along_y, axis=0), 0.0)
        at_x = cam.focal * at_u * inverse_depth
        at_y = -cam.focal * at_v * inverse_depth
        at_z = jnp.where(at_camera, 0.0, at_x * slope_x + at_y * slope_y)
        return _materialize(jnp.stack([at_x, at_y, at_z]))

    return _materialize(top + along_y * down), to_position


def _rows(table: jax.Array, index: jax.Array) -> jax.Array:
    return table.at[index].get(mode="promise_in_bounds")


def _cell(coordinate: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The pixel left of a coordinate, the way to the next one, and whether it is in the image."""
    clamped = jnp.clip(coordinate, 0.0, size - 1.0)
    corner = jnp.minimum(jnp.floor(clamped), max(size - 2, 0))
    inside = (coordinate >= 0) & (coordinate <= size - 1)
    return corner.astype(jnp.int32), clamped - corner, inside


def _normal_gradient(at_basis, normal, inverse_length):
    """dE/dH [9, N] through the SH polynomials and the normalization: dE/d(area normal) [3, N]."""
    x, y, z = normal
    _, h1, h2, h3, h4, h5, h6, h7, h8 = _materialize(at_basis)
    at_x = _SQRT3 * h3 + _SQRT15 * (y * h4 + z * h7 + x * h8)
    at_y = _SQRT3 * h1 + _SQRT15 * (x * h4 + z * h5 - y * h8)
    at_z = _SQRT3 * h2 + _SQRT15 * (y * h5 + x * h7) + 3 * _SQRT5 * z * h6
    radial = at_x * x + at_y * y + at_z * z
    pairs = zip((at_x, at_y, at_z), normal, strict=True)
    return _materialize(jnp.stack([(g - radial * n) * inverse_length for g, n in pairs]))
