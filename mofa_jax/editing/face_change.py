"""What an edit does to the picture of a face: where its surface moves, how its color changes."""

import dataclasses
import math

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from mofa_jax.camera import Camera
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams
from mofa_jax.rasterizer import doubled_areas, interpolate, rasterize_ids
from mofa_jax.renderer import Rendering, compiled_render
from mofa_jax.texture import depth_picture, look_up

# How far around the face what is there moves and is relit with it, of the crop's side.
_MOVED_REACH, _LIT_REACH = 0.2, 0.07
_SOFT = 0.03  # of the crop's side: standard deviation of what evens out the change there
# The code's geometry is coarse: a crease of it need not be the photograph's.
_GAIN_SOFT, _LARGEST_GAIN = 0.015, 4.0  # standard deviation, of the crop's side; either way
# A triangle's area before by that after the edit, below which nothing, and from which all of it, is
# taken from the photograph; the area that is divided by at least, px^2.
_HIDDEN_BELOW, _SEEN_FROM, _SMALLEST_AREA = 0.1, 0.25, 1e-6
_HIDDEN_SOFT = 2.0  # px: standard deviation of the border between both
_DARKEST = 0.05  # colors below it are not divided by


@dataclasses.dataclass(frozen=True)
class FaceChange:
    """What an edit does to the picture of a face; float32, of one size.

    Attributes:
      moved: [H, W, 2], where the surface was before, from where it is now, px.
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


def face_change(
    before: FaceParams, after: FaceParams, model: FaceModel, cam: Camera, side: float
) -> FaceChange:
    """What an edit does to the picture of a face.

    Args:
      before, after: one face's codes.
      model: the face model.
      cam: of the picture.
      side: of the face's crop in it, px.
    """
    old, new = (compiled_render(params, model, cam) for params in (before, after))
    drawn_old, drawn = (
        rasterize_ids(face.screen, -face.vertices[:, 2], model.triangles, cam.image_size)
        for face in (old, new)
    )
    nearest = depth_picture(-old.vertices[:, 2], model.triangles, *drawn_old)
    fields = _fields(old, new, model.triangles, *drawn, nearest)
    moved, gain, seen, color = (np.asarray(field) for field in fields)
    around = _Surroundings(np.asarray(drawn[0]) >= 0, side)
    inside, limit = around.inside.astype(np.float32), math.log(_LARGEST_GAIN)
    return FaceChange(
        moved=around.fading(moved, _MOVED_REACH),
        gain=np.exp(around.fading(gain.clip(-limit, limit), _LIT_REACH, _GAIN_SOFT)),
        inside=inside,
        hidden=inside * cv2.GaussianBlur(1 - seen, (0, 0), _HIDDEN_SOFT),
        color=around.continued(color),
    )


@jax.jit
def _fields(old: Rendering, new: Rendering, triangles, ids, weights, nearest):
    """The fields of `FaceChange` where the face is; the gain's logarithm, and seen for hidden."""
    place, visible, _, _ = look_up(old, triangles, ids, weights, nearest, 1.0)
    color, previous = (jnp.maximum(face.color, _DARKEST) for face in (new, old))
    attributes = (new.screen, jnp.log(color / previous), jnp.clip(new.color, 0, 1))
    drawn = interpolate(jnp.concatenate(attributes, axis=1), triangles, ids, weights)
    screen, gain, color = jnp.split(drawn, [2, 5], axis=-1)
    # What was turned away, or squeezed, as the mouth's inside by closed lips, cannot be spread out.
    before, after = (
        doubled_areas(*(face.screen[triangles[:, k]] for k in range(3))) for face in (old, new)
    )
    size = (before / jnp.minimum(after, -_SMALLEST_AREA))[jnp.maximum(ids, 0)]
    seen = jnp.clip((size - _HIDDEN_BELOW) / (_SEEN_FROM - _HIDDEN_BELOW), 0, 1) * visible
    return place - screen, gain, jnp.where(ids >= 0, seen, 1.0), color


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
