"""A photograph whose face is edited: its own pixels, moved and relit as the code has changed."""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from mofa_jax.camera import Camera
from mofa_jax.data.faces.crop import invert_affine, transform_points, warp
from mofa_jax.editing import turn_between
from mofa_jax.editing.face_change import FaceChange, face_change
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.reconstruction.pictured_face import PicturedFace

_FACTOR = 2  # of the crop's size: the picture in which the change is drawn
_MARGIN = 0.25  # around the crop in that picture, of the crop's side
_FARTHEST_TURN = 20.0  # degrees, beyond which the face stands alone
_BAND = 256  # rows of the photograph that are painted at once
_Painted = tuple[tuple[slice, slice], np.ndarray, np.ndarray]  # see `_painted`


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
    return _composed(face, after, _painted(face, face, after, model))


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
    both = zip(
        _painted(face, face, after, model),
        _painted(other, face, after, model),
        strict=True,
    )
    dissolved = (
        (part, own + share * cover * (others - own), cover)
        for (part, own, cover), (_, others, _) in both
    )
    return _composed(face, after, dissolved)


def _composed(face: PicturedFace, after: FaceParams, painted: Iterable[_Painted]) -> np.ndarray:
    """The photograph with what `_painted` gives; where what is around the face no longer fits it,
    the face alone on white."""
    turn = float(turn_between(face.params, after))
    alone = face.is_drawn or turn > math.radians(_FARTHEST_TURN)
    picture = np.full_like(face.photograph, 255) if alone else face.photograph.copy()
    for part, colors, cover in painted:
        picture[part] = np.rint(255 + cover * (colors - 255) if alone else colors)
    return picture


def _painted(
    source: PicturedFace, canvas: PicturedFace, after: FaceParams, model: FaceModel
) -> Iterator[_Painted]:
    """The source's pixels as `after`, painted where the canvas has its face: parts of it, their
    colors [h, w, 3] in [0, 255], and where the face is [h, w, 1], with soft edges."""
    wide, to_crop = _widened(source.cam)
    side = _FACTOR * source.cam.image_size[0]
    change = face_change(source.params, after, model, wide, side)
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


def _in_tone(change: FaceChange, source: PicturedFace, to_crop: np.ndarray) -> FaceChange:
    """The change with the model's colors in the tone of what is seen of the face."""
    painted = _looked_up(source, change.moved / _FACTOR, to_crop) * change.gain
    seen = (change.inside - change.hidden)[..., None]
    tone = (seen * painted).sum((0, 1)) / np.maximum((seen * 255 * change.color).sum((0, 1)), 1)
    color = change.color * np.where(tone > 0, tone, 1)
    return dataclasses.replace(change, color=np.clip(color, 0, 1))


def _paint(
    source: PicturedFace,
    change: FaceChange,
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
    painted = _relit(_looked_up(source, moved / _FACTOR, part_to_crop), gain)
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
    last = np.array(source.photograph.shape[1::-1]) - 1
    low = np.clip(np.floor(place.min(axis=(0, 1))), 0, last).astype(int)
    high = np.ceil(place.max(axis=(0, 1))).astype(int) + 2
    # OpenCV looks up pictures of at most 32,767 px a side: only what is seen is given to it.
    cut = source.photograph[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
    x, y = np.moveaxis((place - low).astype(np.float32), -1, 0)
    border = cv2.BORDER_REPLICATE
    return cv2.remap(cut, x, y, cv2.INTER_LINEAR, borderMode=border).astype(np.float32)
