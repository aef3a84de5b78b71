"""A face that turns from side to side: what no single picture of a mesh shows."""

import functools
import io
import math

import jax.numpy as jnp
import numpy as np
from PIL import Image

from mofa_jax.camera import Camera
from mofa_jax.editing import repose
from mofa_jax.face_model import FaceModel
from mofa_jax.figures import PANELS, five_panels
from mofa_jax.pages import figure
from mofa_jax.params import FaceParams

NUM_VIEWS = 24
WIDEST = 50.0  # degrees to each side; farther round there is no head
_SHOWN = ("overlay", "geometry")
_MILLISECONDS = 90  # a view
_WIDTH = 480  # px on a page


def turntable(
    params: FaceParams, model: FaceModel, cam: Camera, num_views: int = NUM_VIEWS
) -> np.ndarray:
    """A face in the middle of the picture, turned about the vertical axis there and back.

    Args:
      params: one face's code.
      model: the face model.
      cam: the camera.
      num_views: of the whole swing, V.

    Returns:
      uint8 [V, H, 2 W, 3]: in its colors under its light, and its geometry alone, on white.
    """
    white = np.full((*cam.image_size, 3), 255, np.uint8)
    centered = params.replace(translation=jnp.zeros(3))

    @functools.cache  # what is seen on the way there is seen on the way back
    def view(share: float) -> np.ndarray:
        turned = repose(centered, jnp.array([share * math.radians(WIDEST), 0.0, 0.0]))
        drawn = np.split(five_panels(white, turned, model, cam), len(PANELS), axis=1)
        panels = dict(zip(PANELS, drawn, strict=True))
        return np.concatenate([panels[name] for name in _SHOWN], axis=1)

    swing = (math.sin(2 * math.pi * k / num_views) for k in range(num_views))
    return np.stack([view(round(share, 6)) for share in swing])


def turning_figure(params: FaceParams, model: FaceModel, cam: Camera, caption: str = "") -> str:
    """The turntable as a part of a page, see `pages`."""
    return figure(moving_picture(turntable(params, model, cam)), caption, _WIDTH, "webp")


def moving_picture(views: np.ndarray) -> bytes:
    """Views [V, H, W, 3], uint8, as an animated WebP file that runs for ever."""
    first, *rest = map(Image.fromarray, views)
    file = io.BytesIO()
    first.save(
        file, "webp", save_all=True, append_images=rest, duration=_MILLISECONDS, loop=0, quality=75
    )
    return file.getvalue()
