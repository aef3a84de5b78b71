"""How a clip's face moves: where it is in the frames whatever the crops, smoothed, as keyframes.

A place is the projection of the head's center (the world's origin) to a frame, px, and the
logarithm of how large a decimeter is there, px: (x, y, log size).
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from mofa_jax.clip import Clip
from mofa_jax.export.gltf import Animation
from mofa_jax.smoothing import Smoothness, smoothed_without_lag

# A head at rest is held still, one that moves by a radian or a decimeter a second nearly follows;
# expressions change fast, light does not.
_POSE, _PLACE = Smoothness(1.0, 5.0), Smoothness(1.0, 5.0)
_EXPRESSION, _LIGHT = Smoothness(1.5, 0.3), Smoothness(0.5, 0.0)


def smoothed(clip: Clip) -> Clip:
    """The clip without the encoder's trembling: pose, place, expression and light are filtered."""
    times, params = clip.frames / clip.rate, clip.params

    def filtered(values: np.ndarray, smoothness: Smoothness) -> np.ndarray:
        rows = np.asarray(values).reshape(len(times), -1)
        return smoothed_without_lag(rows, times, smoothness).reshape(np.shape(values))

    params = params.replace(
        rotation=filtered(params.rotation, _POSE),
        expression=filtered(params.expression, _EXPRESSION),
        illumination=filtered(params.illumination, _LIGHT),
    )
    place = places(clip)
    unit = np.array([*[np.exp(np.median(place[:, 2]))] * 2, 1.0])  # px in a decimeter
    place = unit * filtered(place / unit, _PLACE)
    return placed(dataclasses.replace(clip, params=params), place)


def places(clip: Clip) -> np.ndarray:
    """The face's places in the frames [T, 3]."""
    cam, scale, corner = clip.cam, clip.crop_to_photograph[:, 0, 0], clip.crop_to_photograph[..., 2]
    x, y, z = np.asarray(clip.params.translation).T
    size = cam.focal / (cam.distance + z)  # px of the crop; the center lies at -d - t
    center = np.column_stack([-size * x, size * y]) + cam.principal_point
    return np.column_stack([scale[:, None] * center + corner, np.log(scale * size)])


def placed(clip: Clip, place: np.ndarray) -> Clip:
    """The clip with translations by which its places are `place` [T, 3]."""
    cam, scale, corner = clip.cam, clip.crop_to_photograph[:, 0, 0], clip.crop_to_photograph[..., 2]
    size = np.exp(place[:, 2]) / scale
    center = (place[:, :2] - corner) / scale[:, None] - cam.principal_point
    x, y = -center[:, 0] / size, center[:, 1] / size
    translation = np.column_stack([x, y, cam.focal / size - cam.distance])
    return dataclasses.replace(clip, params=clip.params.replace(translation=translation))


def animation(clip: Clip) -> Animation:
    """The clip as keyframes of a face whose modes of expression are morph targets.

    The head moves about its place on average, as seen by a camera that does not move, and for which
    it is as far away on average as for the crop's.
    """
    place = places(clip)
    size = np.exp(place[:, 2])
    aside = (place[:, :2] - np.array(clip.frame_size[::-1]) / 2) / size[:, None]
    depth = clip.cam.distance * np.exp(np.mean(place[:, 2])) / size
    position = np.column_stack([aside[:, 0], -aside[:, 1], -depth])
    return Animation(
        times=(clip.frames - clip.frames[0]) / clip.rate,
        weights=np.asarray(clip.params.expression),
        rotations=_continuous(Rotation.from_rotvec(clip.params.rotation).inv().as_quat()),
        translations=position - position.mean(axis=0),
    )


def _continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions [T, 4] with signs such that each is near the one before."""
    turns = np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0
    signs = np.cumprod([1, *np.where(turns, -1, 1)])
    return quaternions * signs[:, None]
