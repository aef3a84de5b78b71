"""A face's texture from its photograph, laid out in the model's texture coordinates."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mofa_jax.camera import Camera
from mofa_jax.errors import InputError
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import doubled_areas, interpolate, rasterize_ids
from mofa_jax.renderer import Rendering, compiled_render

_SEEN_FROM, _SEEN_WHOLLY = 0.2, 0.5  # cosine of the angle between surface and view
_BEHIND = 0.03  # dm that a point may lie behind the nearest surface and still be seen
_MARGIN = 8  # texels around the charts that are filled with the nearest color
_DEPTH_FACTOR = 2  # of the picture in which what hides what is looked up


class TextureError(InputError):
    """No texture can be made: the face model has no texture coordinates."""


def photograph_texture(
    photograph: np.ndarray,
    crop_to_photograph: np.ndarray,
    params: FaceParams,
    model: FaceModel,
    cam: Camera,
    size: int = 1024,
) -> np.ndarray:
    """The photograph where it shows the face, completed by the model's colors in its light.

    Args:
      photograph: uint8 [H, W, 3] RGB.
      crop_to_photograph: [2, 3], the affine map from the crop's pixels to the photograph's.
      params: one face's code.
      model: with texture coordinates.
      cam: the camera of the crop.
      size: of the texture, texels.

    Returns:
      uint8 [size, size, 3], row 0 on top: texture coordinates have their origin at the bottom left.

    Raises:
      TextureError: the model has no texture coordinates.
    """
    check_uv(model)
    drawn = _draw(params, model, cam, size)
    inside, points, seen, color = (np.asarray(array) for array in drawn)
    points = points @ crop_to_photograph[:, :2].T + crop_to_photograph[:, 2]
    place = np.moveaxis(points[..., ::-1] - 0.5, -1, 0)  # row and column of pixel centers
    channels = [
        ndimage.map_coordinates(photograph[..., k], place, np.float32, order=1, mode="nearest")
        for k in range(3)
    ]
    sampled = np.stack(channels, axis=-1) / 255
    height, width = photograph.shape[:2]
    within = ((points >= 0) & (points <= [width, height])).all(axis=-1)
    seen = np.where(inside & within, seen, 0.0)[..., None]
    # The model's colors take the photograph's tone, so that the border does not show.
    tone = (seen * sampled).sum((0, 1)) / np.maximum((seen * color).sum((0, 1)), 1e-3)
    texture = seen * sampled + (1 - seen) * np.clip(color * np.where(tone > 0, tone, 1.0), 0, 1)
    return np.rint(255 * _spread(texture, inside)).astype(np.uint8)


def check_uv(model: FaceModel) -> None:
    """Raises TextureError if the model has no texture coordinates."""
    if model.uv is None:
        raise TextureError(
            f"face model '{model.name}' has no texture coordinates; write meshes with vertex "
            "colors (--mesh=obj), or import the model with its uv."
        )


def _draw(params: FaceParams, model: FaceModel, cam: Camera, size: int) -> tuple[jax.Array, ...]:
    """Of each texel: whether the face is there [T, T], its place in the crop [T, T, 2], px, how
    well it is seen [T, T], and the model's color [T, T, 3]."""
    rendering = compiled_render(params, model, cam)
    texels, triangles = _layout(model, size)
    ids, weights = rasterize_ids(texels, jnp.ones_like(texels[:, 0]), triangles, (size, size))
    depth = -rendering.vertices[:, 2]
    height, width = cam.image_size
    fine_size = (_DEPTH_FACTOR * height, _DEPTH_FACTOR * width)
    seen = rasterize_ids(rendering.screen * _DEPTH_FACTOR, depth, model.triangles, fine_size)
    nearest = depth_picture(depth, model.triangles, *seen)
    found = look_up(rendering, triangles, ids, weights, nearest, _DEPTH_FACTOR)
    points, visible, cosine, color = found
    facing = jnp.clip((cosine - _SEEN_FROM) / (_SEEN_WHOLLY - _SEEN_FROM), 0, 1)
    return ids >= 0, points, facing * visible, color


@functools.partial(jax.jit, static_argnames="size")
def _layout(model: FaceModel, size: int) -> tuple[jax.Array, jax.Array]:
    """The vertices' places on the texture [N, 2], and the triangles [F, 3], all counter-clockwise
    for who looks at it."""
    texels = jnp.stack([model.uv[:, 0], 1 - model.uv[:, 1]], axis=1) * size
    a, b, c = (texels[model.triangles[:, k]] for k in range(3))
    turned = model.triangles[:, jnp.array([0, 2, 1])]
    return texels, jnp.where((doubled_areas(a, b, c) > 0)[:, None], turned, model.triangles)


@jax.jit
def depth_picture(depth: jax.Array, triangles: jax.Array, ids: jax.Array, weights: jax.Array):
    """The depth of the nearest surface [H, W], dm, far where there is none; of vertices' depths [N]
    and what `rasterize_ids` found."""
    picture = interpolate(depth[:, None], triangles, ids, weights)[..., 0]
    return jnp.where(ids >= 0, picture, 1e6)


@jax.jit
def look_up(
    rendering: Rendering,
    triangles: jax.Array,
    ids: jax.Array,
    weights: jax.Array,
    nearest: jax.Array,
    scale: float,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """How a rendering shows the surface that another picture of the same mesh shows.

    Args:
      rendering: in which it is looked up.
      triangles: [F, 3] int32.
      ids, weights: the other picture, [T, U] and [T, U, 3], see `rasterize_ids`.
      nearest: the rendering's `depth_picture`.
      scale: its pixels in a pixel of the screen.

    Returns:
      The place on the screen [T, U, 2], px; whether nothing hides it [T, U]; the cosine of the
      angle under which it is seen [T, U]; the rendering's color [T, U, 3], clipped.
    """
    to_camera = -rendering.vertices
    distance = jnp.sqrt(jnp.sum(to_camera**2, axis=-1, keepdims=True))
    cosine = jnp.sum(rendering.normals * to_camera / distance, axis=-1, keepdims=True)
    attributes = (rendering.screen, to_camera[:, 2:], cosine, jnp.clip(rendering.color, 0, 1))
    drawn = interpolate(jnp.concatenate(attributes, axis=1), triangles, ids, weights)
    points, depth, cosine, color = jnp.split(drawn, [2, 3, 4], axis=-1)
    height, width = nearest.shape
    column = jnp.clip(points[..., 0] * scale, 0, width - 1).astype(jnp.int32)
    row = jnp.clip(points[..., 1] * scale, 0, height - 1).astype(jnp.int32)
    visible = depth[..., 0] < nearest[row, column] + _BEHIND
    return points, visible, cosine[..., 0], color


def _spread(texture: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """`texture` with the charts' colors going on around them, so that no border bleeds in."""
    distance, (row, column) = ndimage.distance_transform_edt(~inside, return_indices=True)
    return np.where((distance <= _MARGIN)[..., None], texture[row, column], 0.0)
