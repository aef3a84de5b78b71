"""A face's texture from its photograph, laid out in the model's texture coordinates."""

import dataclasses
import functools

import cv2
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


@dataclasses.dataclass(frozen=True)
class TextureLayout:
    """What the textures of all faces of a model have in common.

    Attributes:
      triangles: [F, 3] int32, the model's, counter-clockwise on the texture.
      ids, weights: [T, T] int32 and [T, T, 3], where each texel lies, see `rasterize_ids`.
      place: [T, T] int32, the texel that each takes its color from, counted row by row: itself if
        a triangle covers it, else the nearest one that is covered; T^2 where none is near.
    """

    triangles: jax.Array
    ids: jax.Array
    weights: jax.Array
    place: jax.Array


def texture_layout(model: FaceModel, size: int = 1024) -> TextureLayout:
    """The layout of a texture of `size` texels a side.

    Raises:
      TextureError: the model has no texture coordinates.
    """
    check_uv(model)
    texels, triangles = _lay_out(model, size)
    ids, weights = rasterize_ids(texels, jnp.ones_like(texels[:, 0]), triangles, (size, size))
    # The charts' colors go on around them, so that no border bleeds in.
    distance, nearest = ndimage.distance_transform_edt(np.asarray(ids < 0), return_indices=True)
    place = np.where(distance <= _MARGIN, nearest[0] * size + nearest[1], size * size)
    return TextureLayout(triangles, ids, weights, jnp.asarray(place, jnp.int32))


def photograph_texture(
    photograph: np.ndarray,
    crop_to_photograph: np.ndarray,
    params: FaceParams,
    model: FaceModel,
    cam: Camera,
    size: int = 1024,
    layout: TextureLayout | None = None,
) -> np.ndarray:
    """The photograph where it shows the face, completed by the model's colors in its light.

    Args:
      photograph: uint8 [H, W, 3] RGB.
      crop_to_photograph: [2, 3], the affine map from the crop's pixels to the photograph's.
      params: one face's code.
      model: with texture coordinates.
      cam: the camera of the crop.
      size: of the texture, texels.
      layout: the model's `texture_layout` of that size, made once for many faces.

    Returns:
      uint8 [size, size, 3], row 0 on top: texture coordinates have their origin at the bottom left.

    Raises:
      TextureError: the model has no texture coordinates.
    """
    layout = texture_layout(model, size) if layout is None else layout
    points, seen, color = _draw(params, model, cam, layout)
    points = np.asarray(points, np.float32) @ np.float32(crop_to_photograph[:, :2].T)
    points += np.float32(crop_to_photograph[:, 2])
    sampled = _sample(photograph, points)
    within = ((points >= 0) & (points <= photograph.shape[1::-1])).all(axis=-1)
    return np.asarray(_completed(sampled, seen * within, color, layout.place))


@jax.jit
def _completed(sampled: jax.Array, seen: jax.Array, color: jax.Array, place: jax.Array):
    """The texture, uint8 [T, T, 3], of what has been sampled [T, T, 3], how well it is seen [T, T],
    and the model's color [T, T, 3]."""
    seen = seen[..., None]
    # The model's colors take the photograph's tone, so that the border does not show.
    photographed, drawn = (jnp.sum(seen * x, (0, 1), keepdims=True) for x in (sampled, color))
    tone = photographed / jnp.maximum(drawn, 1e-3)
    texture = seen * sampled + (1 - seen) * jnp.clip(color * jnp.where(tone > 0, tone, 1.0), 0, 1)
    texture = jnp.round(255 * texture).astype(jnp.uint8).reshape(-1, 3)
    return texture.at[place].get(mode="fill", fill_value=0)


def check_uv(model: FaceModel) -> None:
    """Raises TextureError if the model has no texture coordinates."""
    if model.uv is None:
        raise TextureError(
            f"face model '{model.name}' has no texture coordinates; write meshes with vertex "
            "colors (--mesh=obj), or import the model with its uv."
        )


def _sample(photograph: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The photograph at points [T, T, 2], continuous px, in [0, 1]; its edge goes on beyond it."""
    points = points - np.float32(0.5)  # counted from the first pixel's center
    size = np.array(photograph.shape[1::-1])
    low = np.clip(np.floor(points.min(axis=(0, 1))), 0, size - 1).astype(int)
    high = np.clip(np.ceil(points.max(axis=(0, 1))) + 2, low + 1, size).astype(int)
    # OpenCV looks up pictures of at most 32,767 px a side: only what is seen is given to it.
    cut = np.float32(photograph[low[1] : high[1], low[0] : high[0]])
    column, row = np.moveaxis(points - np.float32(low), -1, 0)
    sampled = cv2.remap(cut, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled / np.float32(255)


def _draw(
    params: FaceParams, model: FaceModel, cam: Camera, layout: TextureLayout
) -> tuple[jax.Array, ...]:
    """Of each texel: its place in the crop [T, T, 2], px, how well it is seen [T, T], and the
    model's color [T, T, 3]."""
    rendering = compiled_render(params, model, cam)
    depth = -rendering.vertices[:, 2]
    height, width = cam.image_size
    fine_size = (_DEPTH_FACTOR * height, _DEPTH_FACTOR * width)
    seen = rasterize_ids(rendering.screen * _DEPTH_FACTOR, depth, model.triangles, fine_size)
    nearest = depth_picture(depth, model.triangles, *seen)
    where = (layout.triangles, layout.ids, layout.weights)
    points, visible, cosine, color = look_up(rendering, *where, nearest, _DEPTH_FACTOR)
    facing = jnp.clip((cosine - _SEEN_FROM) / (_SEEN_WHOLLY - _SEEN_FROM), 0, 1)
    return points, facing * visible * (layout.ids >= 0), color


@functools.partial(jax.jit, static_argnames="size")
def _lay_out(model: FaceModel, size: int) -> tuple[jax.Array, jax.Array]:
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
