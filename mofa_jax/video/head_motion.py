"""How a clip's face moves: where it is in the frames whatever the crops, smoothed, as keyframes.

A place is the projection of the head's center (the world's origin) to a frame, px, and the
logarithm of how large a decimeter is there, px: (x, y, log size).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from scipy.spatial.transform import Rotation

from mofa_jax.export.gltf import Animation
from mofa_jax.params import NUM_BANDS
from mofa_jax.results.clip import Clip
from mofa_jax.video.smoothing import Smoothness, smoothed_without_lag

# A head at rest is held still, one that moves by a radian or a decimeter a second nearly follows;
# expressions change fast, light does not.
SMOOTHNESS: Mapping[str, Smoothness] = {
    "rotation": Smoothness(1.0, 5.0),
    "place": Smoothness(1.0, 5.0),
    "expression": Smoothness(1.5, 0.3),
    "illumination": Smoothness(0.5, 0.0),
}
"""How much each of a clip's `signals` is smoothed."""


def smoothed(clip: Clip) -> Clip:
    """The clip without the encoder's trembling: pose, place, expression and light are filtered."""
    times, unit = clip.times, decimeter(clip)
    filtered = {
        name: smoothed_without_lag(values, times, SMOOTHNESS[name])
        for name, values in signals(clip, unit).items()
    }
    return with_signals(clip, filtered, unit)


def signals(clip: Clip, unit: float) -> dict[str, np.ndarray]:
    """What moves in a clip, [T, D] each: the codes' parts, and the place in units of `unit` px."""
    parts = {name: np.asarray(getattr(clip.params, name)) for name in SMOOTHNESS if name != "place"}
    parts["place"] = places(clip) / [unit, unit, 1.0]
    return {name: values.reshape(len(values), -1) for name, values in parts.items()}


def with_signals(clip: Clip, values: Mapping[str, np.ndarray], unit: float) -> Clip:
    """The clip with other `signals`."""
    codes = {name: rows for name, rows in values.items() if name != "place"}
    codes["illumination"] = codes["illumination"].reshape(-1, NUM_BANDS, 3)
    clip = dataclasses.replace(clip, params=clip.params.replace(**codes))
    return placed(clip, values["place"] * [unit, unit, 1.0])


def decimeter(clip: Clip) -> float:
    """How large a decimeter of the face is in the frames, px; the median."""
    return float(np.exp(np.median(places(clip)[:, 2])))


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
        times=clip.times - clip.times[0],
        weights=np.asarray(clip.params.expression),
        rotations=_continuous(Rotation.from_rotvec(clip.params.rotation).inv().as_quat()),
        translations=position - position.mean(axis=0),
    )


def _continuous(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions [T, 4] with signs such that each is near the one before."""
    turns = np.sum(quaternions[1:] * quaternions[:-1], axis=1) < 0
    signs = np.cumprod([1, *np.where(turns, -1, 1)])
    return quaternions * signs[:, None]
