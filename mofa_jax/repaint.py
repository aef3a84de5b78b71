"""A photograph whose face is edited: its own pixels, moved and relit as the code has changed."""

import dataclasses
import math
from collections.abc import Iterator

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mofa_jax.camera import Camera
from mofa_jax.data.faces.crop import invert_affine, transform_points, warp
from mofa_jax.editing import turn_between
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.pictured_face import PicturedFace
from mofa_jax.rasterizer import interpolate, rasterize_ids
from mofa_jax.renderer import Rendering, compiled_render
from mofa_jax.texture import depth_picture, seen_surface, view_cosines

_FACTOR = 2  # of the crop's size: the picture in which the change is drawn
_MARGIN = 0.25  # around the crop in that picture, of the crop's side
# How far around the face what is there moves and is relit with it, of the crop's side.
_MOVED_REACH, _LIT_REACH = 0.2, 0.07
_SOFT = 0.03  # of the crop's side: standard deviation of what evens out the change there
# The code's geometry is coarse: a crease of it need not be the photograph's.
_GAIN_SOFT, _LARGEST_GAIN = 0.015, 4.0  # standard deviation, of the crop's side; either way
_DARKEST = 0.05  # colors below it are not divided by
_FARTHEST_TURN = 20.0  # degrees, beyond which the face stands alone
_BAND = 256  # rows of the photograph that are painted at once


@dataclasses.dataclass(frozen=True)
class _Change:
    """What an edit does to the picture of a face; float32, of one size.

    Attributes:
      moved: [H, W, 2], where the surface was before, from where it is now, px of the crop.
      gain: [H, W, 3], its color now by that before.
      inside: [H, W], in [0, 1]: whether the face is there.
      hidden: [H, W], in [0, 1]: the part of the surface that was not to be seen before.
      color: [H, W, 3], the model's color now, in [0, 1].
    """

    moved: np.ndarray
    gain: np.ndarray
    inside: np.ndarray
    hidden: np.ndarray
    color: np.ndarray


def edited_photograph(face: PicturedFace, after: FaceParams, model: FaceModel) -> np.ndarray:
    """The photograph with the face's code `after` in the place of its own, at full resolution.

    Every pixel is the photograph's at the place where the same piece of skin was before, times the
    ratio of the two renderings' colors there: pores, beard and glasses stay. What was hidden has
    the model's color in the photograph's tone. Around the face the change fades. Nothing is known
    of hair, ears and neck: a head that is turned by more than 20 degrees stands alone on white.

    Args:
      face: as it was.
      after: the edited code, of the same face model.
      model: the face model.

    Returns:
      uint8, of the photograph's shape.
    """
    alone = _is_turned(face, after)
    edited = np.full_like(face.photograph, 255) if alone else face.photograph.copy()
    for part, painted, cover in _painted(face, face, after, model):
        edited[part] = np.rint(255 + cover * (painted - 255) if alone else painted)
    return edited


def morphed_photograph(
    face: PicturedFace,
    other: PicturedFace,
    after: FaceParams,
    share: float,
    model: FaceModel,
) -> np.ndarray:
    """The photograph of `face`, edited to show `after`, with the other face's skin dissolved in.

    See `edited_photograph`.

    Args:
      face: whose photograph it is.
      other: of the same face model and camera.
      after: a code between both, see `editing.morph`.
      share: of the other face's colors, in [0, 1].
      model: the face model.

    Returns:
      uint8, of the photograph's shape.
    """
    alone = _is_turned(face, after)
    edited = np.full_like(face.photograph, 255) if alone else face.photograph.copy()
    both = zip(
        _painted(face, face, after, model),
        _painted(other, face, after, model),
        strict=True,
    )
    for (part, own, cover), (_, others, _) in both:
        dissolved = own + share * cover * (others - own)
        edited[part] = np.rint(255 + cover * (dissolved - 255) if alone else dissolved)
    return edited


def _is_turned(face: PicturedFace, after: FaceParams) -> bool:
    """Whether what is around the face no longer fits it."""
    return float(turn_between(face.params, after)) > math.radians(_FARTHEST_TURN)


def _painted(
    source: PicturedFace, canvas: PicturedFace, after: FaceParams, model: FaceModel
) -> Iterator[tuple[tuple[slice, slice], np.ndarray, np.ndarray]]:
    """The source's pixels as `after`, painted where the canvas has its face: parts of it, their
    colors [h, w, 3] in [0, 255], and where the face is [h, w, 1], with soft edges."""
    wide, to_crop = _widened(source.cam)
    change = _change(source.params, after, model, wide)
    change = _in_tone(change, source, to_crop)
    to_canvas = _then(to_crop, canvas.crop_to_photograph)
    height, width = change.inside.shape
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]])
    corners = transform_points(to_canvas, corners)
    size = canvas.photograph.shape[1::-1]
    left, upper = np.clip(np.floor(corners.min(axis=0)), 0, size).astype(int).tolist()
    right, lower = np.clip(np.ceil(corners.max(axis=0)), 0, size).astype(int).tolist()
    if left == right:
        return
    for top in range(upper, lower, _BAND):
        part = slice(top, min(top + _BAND, lower)), slice(left, right)
        yield part, *_paint(source, change, to_crop, canvas.crop_to_photograph, part)


def _widened(cam: Camera) -> tuple[Camera, np.ndarray]:
    """A camera of the same view with more around it, in finer pixels; their map to the crop's."""
    margins = [round(_MARGIN * side) for side in cam.image_size[::-1]]
    fine = cam.scaled(_FACTOR)
    x, y = (c + _FACTOR * m for c, m in zip(fine.principal_point, margins, strict=True))
    width, height = (
        s + 2 * _FACTOR * m for s, m in zip(fine.image_size[::-1], margins, strict=True)
    )
    wide = fine.replace(principal_point=(x, y), image_size=(height, width))
    return wide, np.column_stack([np.eye(2) / _FACTOR, -np.array(margins, np.float64)])


def _then(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The affine map [2, 3] that does one after the other."""
    return np.column_stack([second[:, :2] @ first[:, :2], transform_points(second, first[:, 2])])


def _change(before: FaceParams, after: FaceParams, model: FaceModel, wide: Camera) -> _Change:
    old, new = (compiled_render(params, model, wide) for params in (before, after))
    drawn_old, drawn = (
        rasterize_ids(face.screen, -face.vertices[:, 2], model.triangles, wide.image_size)
        for face in (old, new)
    )
    nearest = depth_picture(-old.vertices[:, 2], model.triangles, *drawn_old)
    fields = _fields(old, new, model.triangles, *drawn, nearest)
    moved, gain, seen, color = (np.asarray(field) for field in fields)
    around = _Surroundings(np.asarray(drawn[0]) >= 0, wide.image_size[0] / (1 + 2 * _MARGIN))
    inside, limit = around.inside.astype(np.float32), math.log(_LARGEST_GAIN)
    return _Change(
        moved=around.fading(moved, _MOVED_REACH) / _FACTOR,
        gain=np.exp(around.fading(gain.clip(-limit, limit), _LIT_REACH, _GAIN_SOFT)),
        inside=inside,
        hidden=inside * (1 - seen),
        color=around.continued(color),
    )


@jax.jit
def _fields(old: Rendering, new: Rendering, triangles, ids, weights, nearest):
    """The fields of `_Change` where the face is; the gain's logarithm, and seen for hidden."""
    place, seen, _ = seen_surface(old, triangles, ids, weights, nearest, 1.0, view_cosines(new))
    color, previous = (jnp.maximum(face.color, _DARKEST) for face in (new, old))
    attributes = (new.screen, jnp.log(color / previous), jnp.clip(new.color, 0, 1))
    drawn = interpolate(jnp.concatenate(attributes, axis=1), triangles, ids, weights)
    screen, gain, color = jnp.split(drawn, [2, 5], axis=-1)
    return place - screen, gain, seen, color


class _Surroundings:
    """How fields go on around a face: of its mask [H, W] and its crop's side, px."""

    def __init__(self, inside: np.ndarray, side: float):
        self.inside, self._side = inside, side
        self._distance, self._nearest = ndimage.distance_transform_edt(~inside, return_indices=True)

    def continued(self, field: np.ndarray, soft: float = 0.0) -> np.ndarray:
        """A field [H, W, C] with the border's values around the face, the evener the farther.

        `soft`: of the crop's side, standard deviation by which it is smoothed everywhere.
        """
        field = field[tuple(self._nearest)]
        if soft:
            field = cv2.GaussianBlur(field, (0, 0), soft * self._side)
        sigma = _SOFT * self._side
        even = cv2.GaussianBlur(field, (0, 0), sigma)
        share = np.clip(self._distance / (2 * sigma), 0, 1).astype(np.float32)
        return field + share[..., None] * (even - field)

    def fading(self, field: np.ndarray, reach: float, soft: float = 0.0) -> np.ndarray:
        """The same, less and less until it is zero from `reach` on, of the crop's side."""
        share = np.clip(1 - self._distance / (reach * self._side), 0, 1)
        share = (share**2 * (3 - 2 * share)).astype(np.float32)
        return self.continued(field, soft) * share[..., None]


def _in_tone(change: _Change, source: PicturedFace, to_crop: np.ndarray) -> _Change:
    """The change with the model's colors in the tone of what is seen of the face."""
    painted = _looked_up(source, change.moved, to_crop) * change.gain
    seen = (change.inside - change.hidden)[..., None]
    tone = (seen * painted).sum((0, 1)) / np.maximum((seen * 255 * change.color).sum((0, 1)), 1)
    return dataclasses.replace(change, color=change.color * np.where(tone > 0, tone, 1))


def _paint(
    source: PicturedFace,
    change: _Change,
    to_crop: np.ndarray,
    crop_to_canvas: np.ndarray,
    part: tuple[slice, slice],
) -> tuple[np.ndarray, np.ndarray]:
    """The colors [h, w, 3] and the cover [h, w, 1] of a part of the canvas."""
    rows, columns = part
    part_to_crop = invert_affine(crop_to_canvas)
    part_to_crop[:, 2] = transform_points(part_to_crop, np.array([columns.start, rows.start]))
    to_change = _then(part_to_crop, invert_affine(to_crop))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    moved, gain, inside, hidden, color = (
        warp(field.astype(np.float32), to_change, size) for field in vars(change).values()
    )
    painted = _relit(_looked_up(source, moved, part_to_crop), gain)
    painted += hidden[..., None] * (255 * color - painted)
    return painted, inside[..., None]


def _relit(colors: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """Colors [h, w, 3] in [0, 255] times a gain; what brightens keeps its hue, short of white."""
    relit = colors * gain
    before, after = (array.max(axis=-1, keepdims=True) for array in (colors, relit))
    room = 255.001 - before
    limited = before + room * -np.expm1(-np.maximum(after - before, 0) / room)
    return relit * np.where(after > before, limited / np.maximum(after, 1e-3), 1)


def _looked_up(source: PicturedFace, moved: np.ndarray, to_crop: np.ndarray) -> np.ndarray:
    """The source's colors, float32 [h, w, 3], where the pixels of a picture are in it.

    Args:
      source: gives the photograph.
      moved: [h, w, 2], added to the pixels' places in the crop, px.
      to_crop: from the picture's pixels to the crop's.
    """
    affine = _then(to_crop, source.crop_to_photograph)
    rows, columns = np.mgrid[: moved.shape[0], : moved.shape[1]] + 0.5
    place = transform_points(affine, np.stack([columns, rows], axis=-1)) - 0.5
    place += moved @ source.crop_to_photograph[:, :2].T
    low = np.clip(np.floor(place.min(axis=(0, 1))), 0, None).astype(int)
    high = np.ceil(place.max(axis=(0, 1))).astype(int) + 2
    # OpenCV looks up pictures of at most 32,767 px a side: only what is seen is given to it.
    cut = source.photograph[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
    x, y = np.moveaxis((place - low).astype(np.float32), -1, 0)
    border = cv2.BORDER_REPLICATE
    return cv2.remap(cut, x, y, cv2.INTER_LINEAR, borderMode=border).astype(np.float32)
