"""What the viewer's sliders show and change of a code."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax import editing
from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import front_mean, with_ambient, without_ambient
from mofa_jax.params import FaceParams

_MODES = {"shape": 8, "expression": 8, "reflectance": 6}  # how many have a slider
_FARTHEST_MODE = 4.0  # standard deviations
_BRIGHTEST, _STRONGEST = 2.0, 1.5  # of the light's mean and of its bands
_LIGHT_BANDS = {"from the right": 3, "from above": 1, "from the front": 2}
_DARKEST = 0.05  # ambient light that is not divided by

_pose_angles = jax.jit(editing.pose_angles)
_repose = jax.jit(editing.repose)


@dataclasses.dataclass(frozen=True)
class Control:
    """A slider: a number of a code that can be read and written.

    Attributes:
      group: the folder it stands in.
      label: what it is called there.
      low, high: its ends.
      read: the number of a code.
      write: the code with another number.
    """

    group: str
    label: str
    low: float
    high: float
    read: Callable[[FaceParams], float]
    write: Callable[[FaceParams, float], FaceParams]


def controls_of(model: FaceModel) -> list[Control]:
    """The sliders of a face model's codes: leading modes, pose, light."""
    sizes = dict(zip(_MODES, model.code_sizes, strict=True))
    modes = [_mode(f, k) for f, count in _MODES.items() for k in range(min(count, sizes[f]))]
    pose = [_angle(label, axis) for axis, label in enumerate(("yaw", "pitch", "roll"))]
    lights = [_light(label, band) for label, band in _LIGHT_BANDS.items()]
    brightness = Control("light", "brightness", 0.1, _BRIGHTEST, _brightness, _with_brightness)
    return [*modes, *pose, brightness, *lights]


def _mode(field: str, k: int) -> Control:
    def write(params: FaceParams, value: float) -> FaceParams:
        coefficients = np.array(getattr(params, field))
        coefficients[k] = value
        return params.replace(**{field: jnp.asarray(coefficients)})

    ends = (-_FARTHEST_MODE, _FARTHEST_MODE)
    return Control(field, f"mode {k + 1}", *ends, lambda p: float(getattr(p, field)[k]), write)


def _angle(label: str, axis: int) -> Control:
    def write(params: FaceParams, value: float) -> FaceParams:
        angles = np.array(_pose_angles(params))
        angles[axis] = math.radians(value)
        return _repose(params, jnp.asarray(angles))

    return Control("pose", label, -60.0, 60.0, lambda p: _degrees(p, axis), write)


def _degrees(params: FaceParams, axis: int) -> float:
    return math.degrees(float(_pose_angles(params)[axis]))


def _brightness(params: FaceParams) -> float:
    return float(np.mean(front_mean(np.asarray(with_ambient(params.illumination)))))


def _with_brightness(params: FaceParams, value: float) -> FaceParams:
    light = np.asarray(with_ambient(params.illumination)) * value
    return _lit(params, light / max(_brightness(params), _DARKEST))


def _light(label: str, band: int) -> Control:
    """A band of the light relative to the ambient one, averaged over the colors."""

    def read(params: FaceParams) -> float:
        light = np.asarray(with_ambient(params.illumination))
        return float(np.mean(light[band]) / max(np.mean(light[0]), _DARKEST))

    def write(params: FaceParams, value: float) -> FaceParams:
        light = np.array(with_ambient(params.illumination))
        light[band] = value * np.maximum(light[0], _DARKEST)
        return _lit(params, light)

    return Control("light", label, -_STRONGEST, _STRONGEST, read, write)


def _lit(params: FaceParams, light: np.ndarray) -> FaceParams:
    return params.replace(illumination=without_ambient(np.asarray(light, np.float32)))
