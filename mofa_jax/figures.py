"""Pictures for people: panels of a reconstruction, overlays on photographs, contact sheets.

Pictures are uint8 [H, W, 3] RGB, row 0 on top; points are continuous pixels (x, y), the center of
the top-left pixel at (0.5, 0.5).
"""

import math
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mofa_jax.camera import Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.files.writing import atomic_write
from mofa_jax.illumination import shade
from mofa_jax.numerics import product
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import rasterize_attributes
from mofa_jax.renderer import Rendering, compiled_render

PANELS = ("input", "overlay", "geometry", "reflectance", "light")

_SUPERSAMPLE = 2
_CLAY = (0.74, 0.75, 0.78)
_CLAY_LIGHT = (-0.25, 0.35, 0.90)  # from above, a little from the left, camera space
_GRAY = 0.6  # reflectance of the face that shows the light
_OVERLAY_FACTORS = (1, 1.5, 2, 2.5, 3, 4, 6, 8)  # of the crop's size: one of them is an overlay's
_DRAFT = 2 / 3  # of the photograph's resolution
_LANDMARK_COLOR = (40, 230, 90)
_TEXT_HEIGHT = 22  # px


def five_panels(
    photograph: np.ndarray, params: FaceParams, model: FaceModel, cam: Camera
) -> np.ndarray:
    """One face as in the paper's Fig. 2: input, overlay, geometry, reflectance, light.

    Args:
      photograph: [H, W, 3], the crop, uint8 or floating point in [0, 1]; of the camera's size.
      params: one face's code.
      model: the face model.
      cam: the camera.

    Returns:
      uint8 [H, 5 W, 3].

    Raises:
      ValueError: the photograph has not the camera's size.
    """
    batched = jax.tree.map(lambda field: jnp.asarray(field)[None], params)
    return _panel_rows(np.asarray(photograph)[None], batched, model, cam)[0]


def panels_grid(
    photographs: np.ndarray, params: FaceParams, model: FaceModel, cam: Camera
) -> np.ndarray:
    """The five panels of B faces, one below the other, under the panels' names.

    Args:
      photographs: [B, H, W, 3], uint8 or floating point in [0, 1]; of the camera's size.
      params: B codes, batched.
      model: the face model.
      cam: the camera.

    Returns:
      uint8 [B H + 22, 5 W, 3].

    Raises:
      ValueError: the photographs have not the camera's size.
    """
    return contact_sheet(_panel_rows(np.asarray(photographs), params, model, cam), header=PANELS)


def contact_sheet(
    rows: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    header: Sequence[str] | None = None,
) -> np.ndarray:
    """Pictures below each other on white, uint8.

    Args:
      rows: uint8 [h, w, 3] each; narrower ones are filled up with white.
      labels: a text for each row, written above it.
      header: texts for the columns, spread evenly over the width, written on top.
    """
    width = max(row.shape[1] for row in rows)
    parts = [] if header is None else [_text_line(header, width)]
    for k, row in enumerate(rows):
        if labels is not None:
            parts.append(_text_line([labels[k]], width))
        parts.append(np.pad(row, [(0, 0), (0, width - row.shape[1]), (0, 0)], constant_values=255))
    return np.concatenate(parts)


def overlay_on_photograph(
    photograph: np.ndarray,
    crop_to_photograph: np.ndarray,
    params: FaceParams,
    model: FaceModel,
    cam: Camera,
    draft: bool = False,
) -> np.ndarray:
    """The face over the photograph that it was cropped from, at the photograph's resolution.

    The face is drawn inside the crop's square, at up to eight times the camera's image size,
    averaged to the photograph's resolution and laid over it with soft edges.

    Args:
      photograph: uint8 [H, W, 3], of any size.
      crop_to_photograph: [2, 3], the affine map from the crop's pixels to the photograph's.
      params: one face's code.
      model: the face model.
      cam: the camera of the crop.
      draft: several times faster, for video: at two thirds of the resolution or more, its edges
        not smoothed but by the scaling.

    Returns:
      uint8 [H, W, 3].
    """
    affine = np.asarray(crop_to_photograph, np.float64)
    scale = math.sqrt(abs(np.linalg.det(affine[:, :2])))
    wanted = (_DRAFT if draft else _SUPERSAMPLE) * scale
    factor = next((f for f in _OVERLAY_FACTORS if f >= wanted), _OVERLAY_FACTORS[-1])
    face = np.array(_draw_face(params, model, cam.scaled(factor)))  # [h, w, 4]
    affine = affine @ np.diag([1 / factor, 1 / factor, 1.0])
    if scale < factor:
        height, width = (max(1, round(side * scale / factor)) for side in face.shape[:2])
        affine = affine @ np.diag([face.shape[1] / width, face.shape[0] / height, 1.0])
        face = cv2.resize(face, (width, height), interpolation=cv2.INTER_AREA)
    return _lay_over(photograph, face, affine)


def draw_landmarks(
    image: np.ndarray,
    points: np.ndarray,
    confidence: np.ndarray | None = None,
    color: tuple[int, int, int] = _LANDMARK_COLOR,
    radius: float = 2.0,
) -> np.ndarray:
    """A copy of `image` (uint8 [H, W, 3]) with dots at `points` [K, 2].

    Points that are not finite, far outside, or of confidence zero are left out.
    """
    image = np.ascontiguousarray(image).copy()
    points = np.asarray(points, np.float64)
    shown = np.all(np.abs(points) < 1e6, axis=1)
    if confidence is not None:
        shown &= np.asarray(confidence) > 0
    fraction = 4  # bits: OpenCV takes sixteenths of a pixel, counted from the first pixel's center
    for x, y in np.round((points[shown] - 0.5) * 2**fraction).astype(int).tolist():
        size = round(radius * 2**fraction)
        cv2.circle(image, (x, y), size, color, cv2.FILLED, cv2.LINE_AA, fraction)
    return image


def write_image(path: str | os.PathLike, image: np.ndarray) -> None:
    """Writes uint8 [H, W, 3] RGB, in the format of the path's ending (.jpg, .png, ...).

    The file is written to a temporary name first, so that no half file is left behind.

    Raises:
      ValueError: the ending names no image format.
    """
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{path}: '{path.suffix}' is no image format; end the name in .jpg or .png."
        )
    with atomic_write(path) as temporary:
        Image.fromarray(np.asarray(image)).save(temporary, kind, quality=92)


def _panel_rows(
    photographs: np.ndarray, params: FaceParams, model: FaceModel, cam: Camera
) -> np.ndarray:
    """uint8 [B, H, 5 W, 3]."""
    if photographs.shape[1:] != (*cam.image_size, 3):
        raise ValueError(
            f"photographs of shape {photographs.shape[1:]} do not fit the camera's image size "
            f"{cam.image_size}; crop and scale them to it."
        )
    if photographs.dtype != np.uint8:
        photographs = np.round(255 * np.clip(photographs, 0, 1)).astype(np.uint8)
    drawn = np.stack(
        [
            _draw_panels(photograph, params.face(k), model, cam)
            for k, photograph in enumerate(photographs)
        ]
    )
    return np.concatenate([photographs, *np.moveaxis(drawn, 1, 0)], axis=2)


def _draw_panels(photograph, params: FaceParams, model: FaceModel, cam: Camera) -> jax.Array:
    """Overlay, geometry, reflectance and light, uint8 [4, H, W, 3]."""
    rendering = compiled_render(params, model, cam)
    attributes = _looks(rendering, params, model)
    drawn, mask = rasterize_attributes(attributes, rendering, model, cam, _SUPERSAMPLE)
    return _lay_on_photograph_and_white(photograph, drawn, mask)


@jax.jit
def _lay_on_photograph_and_white(photograph, drawn: jax.Array, mask: jax.Array) -> jax.Array:
    drawn = jnp.moveaxis(drawn.reshape(*mask.shape, 4, 3), 2, 0)
    behind = jnp.ones_like(drawn).at[0].set(photograph.astype(drawn.dtype) / 255)
    return _to_bytes(drawn + (1 - mask[None, ..., None]) * behind)


@jax.jit
def _looks(rendering: Rendering, params: FaceParams, model: FaceModel) -> jax.Array:
    """The vertices' colors [N, 4 * 3], in [0, 1]: as seen, clay, without light, the light alone."""
    normals = rendering.normals
    light = jnp.array(_CLAY_LIGHT) / math.hypot(*_CLAY_LIGHT)
    clay = (0.2 + 0.8 * jnp.maximum(product(normals, light), 0.0))[:, None] * jnp.array([_CLAY])
    gray = shade(jnp.full_like(normals.T, _GRAY), normals.T, params.illumination).T
    looks = (rendering.color, clay, model.reflectance(params.reflectance), gray)
    return jnp.clip(jnp.concatenate(looks, axis=-1), 0.0, 1.0)


def _draw_face(params: FaceParams, model: FaceModel, cam: Camera) -> jax.Array:
    """The face, uint8 [H, W, 4]: RGB, then coverage."""
    rendering = compiled_render(params, model, cam)
    color = jnp.clip(rendering.color, 0.0, 1.0)
    image, mask = rasterize_attributes(color, rendering, model, cam)
    return _to_bytes(jnp.concatenate([image, mask[..., None]], axis=-1))


def _to_bytes(image: jax.Array) -> jax.Array:
    return jnp.round(255 * jnp.clip(image, 0.0, 1.0)).astype(jnp.uint8)


def _lay_over(photograph: np.ndarray, face: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """`face` [h, w, 4] over the photograph; `affine` [2, 3] maps the face's pixels to it."""
    height, width = face.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ affine[:, :2].T
    corners = corners + affine[:, 2]
    size = np.array(photograph.shape[1::-1])
    low = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, size).astype(int)
    photograph = photograph.copy()
    if (high <= low).any():
        return photograph
    part = photograph[low[1] : high[1], low[0] : high[0]]
    # Pixel i's center is at i + 0.5 in both pictures, OpenCV's maps speak of i.
    linear = affine[:, :2]
    offset = affine[:, 2] - low + linear @ (0.5, 0.5) - 0.5
    warped = cv2.warpAffine(
        face, np.column_stack([linear, offset]), part.shape[1::-1], flags=cv2.INTER_LINEAR
    ).astype(np.float32)
    part[:] = np.round(warped[..., :3] + part * (1 - warped[..., 3:] / 255)).clip(0, 255)
    return photograph


def _text_line(texts: Sequence[str], width: int) -> np.ndarray:
    """Texts in evenly spread columns, black on white, uint8 [22, width, 3]."""
    line = Image.new("RGB", (width, _TEXT_HEIGHT), (255, 255, 255))
    font = ImageFont.load_default(size=14)
    for k, text in enumerate(texts):
        place = (6 + k * width / len(texts), _TEXT_HEIGHT / 2)
        text = unicodedata.normalize("NFKD", text)  # the font has no letters beyond ASCII
        text = "".join(c for c in text if not unicodedata.combining(c))
        text = text.encode("ascii", "replace").decode()
        ImageDraw.Draw(line).text(place, text, fill=(0, 0, 0), font=font, anchor="lm")
    return np.asarray(line)
