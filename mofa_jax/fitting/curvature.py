"""The curvature of Eq. 7 in the code: the Gauss-Newton matrices of its terms.

All but a few thousand of a face's 3 N color residuals say the same once more. So the photometric
matrix is estimated from vertices spread evenly over the visible face, each of which lends one of
its color channels in turn; the gradient, which decides where the minimum is, needs all of them.
"""

import jax
import jax.numpy as jnp
from flax import struct

from mofa_jax import losses
from mofa_jax.camera import Camera, project, rotation_matrix
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import sh_basis, shade
from mofa_jax.landmarks import NUM_LANDMARKS
from mofa_jax.mesh import area_normals
from mofa_jax.numerics import (
    dot_columns,
    einsum,
    materialize,
    normalize_columns,
    product,
    rows,
    safe_norm,
    turn,
)
from mofa_jax.params import FaceParams
from mofa_jax.renderer import Rendering, project_vertices, render
from mofa_jax.sampling import sample_bilinear

_SHORTEST = 0.01  # RGB distance below which a residual's weight grows no further


@struct.dataclass
class VertexSample:
    """The M vertices whose color residuals stand for all.

    Attributes:
      index: [M] int32, of the face model's vertices.
      model: the face model at these vertices.
      normal_modes: [S + X, 3, M]: how each mode of the geometry changes the vertices' normals,
        world space, of a certain face.
      share: of that face's vertices, how many are front-facing.
    """

    index: jax.Array
    model: FaceModel
    normal_modes: jax.Array
    share: jax.Array


def sample_vertices(
    params: FaceParams, model: FaceModel, cam: Camera, num_samples: int
) -> VertexSample:
    """Front-facing vertices of a face, evenly spread over the vertices' order.

    The normals' derivatives are the costly part of a Jacobian. They are worked out here, for this
    face, and kept while it is fitted.
    """
    front_facing = render(params, model, cam).front_facing
    count = jnp.sum(front_facing)
    order = jnp.argsort(~front_facing)  # stable: the front-facing ones first, else as they are
    index = order[jnp.arange(num_samples) * count // num_samples]
    vertices = model.geometry(params.shape, params.expression)
    return VertexSample(
        index=index,
        model=model.at_vertices(index),
        normal_modes=_normal_modes(vertices, model, index),
        share=(count / model.num_vertices).astype(vertices.dtype),
    )


def _normal_modes(vertices: jax.Array, model: FaceModel, index: jax.Array) -> jax.Array:
    """[S + X, 3, M]: sum_r (v_r-1 - v_r+1) x dv_r over the ring, by the area normal's length.

    Of a vertex without a closed ring they are zero.
    """
    ring = model.topology.ring[:, index]
    corners = [rows(vertices, neighbors).T for neighbors in ring]
    total = jnp.zeros((*model.geometry_modes.shape[:2], index.shape[0]), vertices.dtype)
    for r, neighbors in enumerate(ring):
        x, y, z = (corners[r - 1] - corners[(r + 1) % len(corners)])[:, None, :]
        a, b, c = jnp.moveaxis(model.geometry_modes[..., neighbors], 1, 0)
        cross = [y * c - z * b, z * a - x * c, x * b - y * a]
        total = materialize(total + jnp.stack(cross, axis=1))
    area = area_normals(vertices, model.topology)[:, index]
    _, _, inverse_length = normalize_columns(area)
    return total * inverse_length[None, None, :]


def photometric_curvature(
    params: FaceParams, rendering: Rendering, image: jax.Array, sample: VertexSample, cam: Camera
) -> jax.Array:
    """Of Eq. 8, by iteratively reweighted least squares: sum_i J_i^T J_i / (N ||r_i||), [D, D].

    ||r|| <= (||r||^2 / ||r_0|| + ||r_0||) / 2, and both sides have the same gradient at r_0.

    Args:
      params: one face.
      rendering: of `params`, whole.
      image: [H, W, 3], RGB in [0, 1].
      sample: of vertices.
      cam: the camera's intrinsics.
    """
    position, normal = rendering.vertices[sample.index].T, rendering.normals[sample.index].T
    reflectance = sample.model.reflectance(params.reflectance).T
    channel = jnp.eye(3, dtype=image.dtype)[:, jnp.arange(len(sample.index)) % 3]

    def chosen(position, normal, reflectance):
        color = shade(reflectance, normal, params.illumination)  # Eq. 4
        residual = sample_bilinear(image, project(position, cam).T).T - color  # I(u_i) - c_i
        return jnp.sum(channel * residual), residual

    slopes, residual = jax.grad(chosen, (0, 1, 2), has_aux=True)(position, normal, reflectance)
    weight = 3 * sample.share / (len(sample.index) * jnp.maximum(safe_norm(residual, 0), _SHORTEST))
    weight = jnp.where(rendering.front_facing[sample.index], weight, 0.0)
    root = jnp.sqrt(weight)[None, :]
    at_position, at_normal, at_reflectance = materialize([slope * root for slope in slopes])
    at_normal -= dot_columns(at_normal, normal)[None, :] * normal  # a normal's length stays one
    at_irradiance = -channel * reflectance * root
    jacobian = materialize(
        jnp.concatenate(
            [
                _geometry_rows(params, at_position, at_normal, sample),
                _dot(at_reflectance, sample.model.reflectance_modes),
                _rotation_rows(params, at_position, at_normal, position, normal, cam),
                -at_position,  # translation
                (sh_basis(normal)[:, None] * at_irradiance[None]).reshape(-1, len(sample.index)),
            ]
        )
    )
    return product(jacobian, jacobian.T)


def _geometry_rows(params: FaceParams, at_position, at_normal, sample: VertexSample) -> jax.Array:
    """[S + X, M], of slopes [3, M] in camera space."""
    rotation = rotation_matrix(params.rotation)
    at_position, at_normal = turn(rotation, at_position), turn(rotation, at_normal)
    at_position, at_normal = materialize((at_position, at_normal))
    at_vertices = _dot(at_position, sample.model.geometry_modes)
    return at_vertices + _dot(at_normal, sample.normal_modes)


def _rotation_rows(params: FaceParams, at_position, at_normal, position, normal, cam: Camera):
    """[3, M]: vertices and normals turn with the head, d(T^-1 v) = dT^-1 T (T^-1 v)."""
    rotation, derivative = rotation_matrix(params.rotation), jax.jacfwd(rotation_matrix)
    spins = einsum("jik,jl->kil", derivative(params.rotation), rotation)  # dT^-1 / dw_k T
    turned = (position + params.translation[:, None]).at[2].add(cam.distance)  # T^-1 v
    at_angles = [
        dot_columns(at_position, turn(spin, turned)) + dot_columns(at_normal, turn(spin, normal))
        for spin in spins
    ]
    return jnp.stack(at_angles)


def _dot(slopes: jax.Array, modes: jax.Array) -> jax.Array:
    """[K, M] the products of slopes [3, M] with modes [K, 3, M]."""
    return sum(slope[None, :] * modes[:, k] for k, slope in enumerate(slopes))


def landmark_curvature(
    params: FaceParams,
    confidence: jax.Array,
    landmarks: FaceModel,
    cam: Camera,
    landmark_weight: float,
    closure_weight: float,
) -> jax.Array:
    """Of Eq. 9 and of `losses.closure`, each times its weight, [D, D].

    Args:
      params: one face.
      confidence: c [68].
      landmarks: the face model at its landmarks, see `FaceModel.at_landmarks`.
      cam: the camera's intrinsics.
    """
    size = jnp.array(cam.image_size[::-1], confidence.dtype)
    nowhere = jnp.zeros((NUM_LANDMARKS, 2), confidence.dtype)
    compared = (
        (landmark_weight, losses.landmark_offsets),
        (closure_weight, losses.facing_offsets),
    )

    def residuals(code: jax.Array) -> jax.Array:
        screen = project_vertices(FaceParams.from_code(code, landmarks), landmarks, cam)
        parts = []
        for term_weight, offsets in compared:
            offset, weight = offsets(screen, landmarks, nowhere, confidence)
            parts.append(jnp.sqrt(term_weight * weight)[:, None] * offset / size[None, :])
        return jnp.concatenate(parts)

    return _gauss_newton(residuals, params.to_code())


def prior_curvature(
    params: FaceParams,
    model: FaceModel,
    reflectance_weight: float,
    expression_weight: float,
    light_weight: float,
) -> jax.Array:
    """Of Eq. 10 and, times its weight, of the prior on light, [D, D]."""

    def deviations(code: jax.Array) -> jax.Array:
        params = FaceParams.from_code(code, model)
        parts = (
            params.shape,
            jnp.sqrt(reflectance_weight) * params.reflectance,
            jnp.sqrt(expression_weight) * params.expression,
            jnp.sqrt(light_weight) * losses.light_deviations(params),
        )
        return jnp.concatenate(parts)

    return _gauss_newton(deviations, params.to_code())


def _gauss_newton(residuals, code: jax.Array) -> jax.Array:
    """2 J^T J of a sum of squared residuals."""
    jacobian = jax.jacfwd(residuals)(code).reshape(-1, len(code))
    return 2 * product(jacobian.T, jacobian)
