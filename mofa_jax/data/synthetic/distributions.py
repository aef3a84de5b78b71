"""Random codes: how faces, poses and lights of photographs are spread."""

import dataclasses
import math

import jax
import jax.numpy as jnp
from flax import struct
from jax import random
from ml_collections import ConfigDict

from mofa_jax.face_model import FaceModel
from mofa_jax.illumination import directed_light, without_ambient
from mofa_jax.numerics import einsum, product
from mofa_jax.params import NUM_BANDS, FaceParams

# A broad smile, dm: how far the corners of the mouth and the lips between them move, x away from
# the face's middle, y up, z forward; the lips by no more than that part of `parted`.
_CORNERS, _LIPS = (48, 54), (62, 66)
_CORNER_MOVES = (0.09, 0.08, -0.05)
_LIP_MOVES = ((0.0, 0.02, -0.02), (0.0, -0.08, -0.02))
_LOOSE = 0.01  # dm: the points come that close to where they are moved


@struct.dataclass
class SyntheticRanges:
    """How the random faces, lights and pictures are spread.

    The defaults are those of photographs: rotation, place, size and brightness of 300-W and LFW
    faces in the crops of the face detector. Spreads are standard deviations of a normal
    distribution that is cut off at `limit` of them. Smiles, fringes and glasses are static: what is
    zero is left out of the compiled program.

    Attributes:
      shape, expression, reflectance: of the coefficients, model's standard deviations.
      smile: how often a face smiles, by anything up to a broad smile, with lips that are closed or
        parted; added to the spread of the expression.
      rotation: of the axis-angle vector's x (pitch), y (yaw) and z (roll), degrees.
      translation: along x, y, z, dm; 0.01 in x is 1.1 px, 1 in z is a tenth of the face's size.
      limit: where all normal distributions end, standard deviations.
      brightness: median of the light on the face, 1 = the reflectance itself.
      brightness_spread: of the light's logarithm.
      tint_spread: of the logarithm of each light's red, green and blue.
      directed: least and greatest share of the light that comes from one direction.
      azimuth: of that direction, to the sides, degrees.
      elevation: its mean and spread, upwards, degrees.
      head: how often something like hair, neck and clothes is drawn around the face.
      fringe: how often hair falls over the forehead; over each side 0.4 times as often.
      glasses: how often glasses are drawn, where the model has the eyes' landmarks.
      feather: greatest standard deviation of the softening of the face's boundary, px.
      occluder: how often something is in front of the face.
      blur: greatest standard deviation of the blur, px.
      noise: greatest standard deviation of the pixel noise.
      contrast: spread of the logarithm of the exponent of the picture's tone curve.
    """

    shape: float = 1.0
    expression: float = 1.0
    reflectance: float = 0.8
    smile: float = struct.field(pytree_node=False, default=0.0)
    rotation: tuple[float, float, float] = (12.0, 20.0, 8.0)
    translation: tuple[float, float, float] = (0.045, 0.045, 0.8)
    limit: float = 2.5
    brightness: float = 0.95
    brightness_spread: float = 0.15
    tint_spread: float = 0.05
    directed: tuple[float, float] = (0.0, 0.7)
    azimuth: float = 40.0
    elevation: tuple[float, float] = (20.0, 20.0)
    head: float = 0.8
    fringe: float = struct.field(pytree_node=False, default=0.0)
    glasses: float = struct.field(pytree_node=False, default=0.0)
    feather: float = 3.0
    occluder: float = 0.3
    blur: float = 1.8
    noise: float = 0.03
    contrast: float = 0.1


def ranges_from_config(config: ConfigDict) -> SyntheticRanges:
    """The ranges of a config's `data.synthetic`."""
    grouped = {
        "rotation": (config.pitch, config.yaw, config.roll),
        "translation": (config.translation_x, config.translation_y, config.translation_z),
        "directed": (config.directed_least, config.directed_most),
        "elevation": (config.elevation, config.elevation_spread),
    }
    single = [f for f in dataclasses.fields(SyntheticRanges) if f.name not in grouped]
    values = {f.name: config.get(f.name, f.default) for f in single}  # of earlier runs not all
    return SyntheticRanges(**grouped, **values)


def sample_params(
    key: jax.Array, model: FaceModel, ranges: SyntheticRanges | None = None
) -> FaceParams:
    """A random face's code (unbatched; vmap over keys).

    Args:
      key: a random key.
      model: gives the code's sizes.
      ranges: of the distributions; the default ones if None.
    """
    ranges = SyntheticRanges() if ranges is None else ranges
    code_key, light_key = random.split(key)
    sizes = model.code_sizes
    values = spread_normal(code_key, (sum(sizes) + 6,), ranges)
    shape, expression, reflectance, rotation, translation = jnp.split(
        values, [sum(sizes[:1]), sum(sizes[:2]), sum(sizes), sum(sizes) + 3]
    )
    expression *= ranges.expression
    if ranges.smile:
        expression += sample_smile(random.fold_in(key, 2), model, ranges)
    return FaceParams(
        shape=ranges.shape * shape,
        expression=expression,
        reflectance=ranges.reflectance * reflectance,
        rotation=jnp.radians(jnp.array(ranges.rotation)) * rotation,
        translation=jnp.array(ranges.translation) * translation,
        illumination=sample_illumination(light_key, ranges),
    )


def sample_smile(key: jax.Array, model: FaceModel, ranges: SyntheticRanges) -> jax.Array:
    """What a random smile adds to delta [X]; zeros where the model lacks a landmark of the mouth.

    It is the likeliest expression in which the corners of the mouth and the lips have moved so far:
    the mean of the model's normal distribution, given the places of these four vertices.
    """
    present, amount, parted = random.uniform(key, (3,))
    amount = jnp.where(present < ranges.smile, amount, 0.0)
    vertices = model.landmarks[jnp.array(_CORNERS + _LIPS)]
    side = jnp.sign(model.mean_shape[vertices[:2], 0])
    corners = jnp.array([_CORNER_MOVES]) * jnp.stack([side, *jnp.ones((2, 2))], axis=-1)
    moves = jnp.concatenate([corners, parted * jnp.array(_LIP_MOVES)]) * amount
    modes = model.geometry_modes[model.num_shape_modes :, :, vertices]
    modes = jnp.moveaxis(modes, 1, -1).reshape(len(modes), 3 * len(vertices))  # [X, 4 x 3]
    seen = product(modes.T, modes) + _LOOSE**2 * jnp.eye(modes.shape[1])
    smile = product(modes, jnp.linalg.solve(seen, moves.ravel()))
    return jnp.where(jnp.all(vertices >= 0), smile, 0.0)


def sample_illumination(key: jax.Array, ranges: SyntheticRanges) -> jax.Array:
    """A random gamma [9, 3]: ambient light and a light from one direction, each with its tint.

    The mean over the normals that face the camera is the brightness, wherever the light is.
    """
    share_key, normal_key = random.split(key)
    level, azimuth, elevation, *tints = spread_normal(normal_key, (9,), ranges)
    level = ranges.brightness * jnp.exp(ranges.brightness_spread * level)
    tints = jnp.exp(ranges.tint_spread * jnp.stack(tints).reshape(2, 3))
    low, high = ranges.directed
    share = random.uniform(share_key, minval=low, maxval=high)
    azimuth = jnp.radians(ranges.azimuth) * azimuth
    mean, spread = ranges.elevation
    elevation = jnp.clip(jnp.radians(mean + spread * elevation), -math.pi / 2, math.pi / 2)
    ambient = jnp.zeros(NUM_BANDS).at[0].set(1.0)
    lights = jnp.stack([(1 - share) * ambient, share * directed_light(azimuth, elevation)])
    gamma = level * einsum("lb,lc->bc", lights, tints)
    return without_ambient(gamma)  # the renderer adds it


def spread_normal(key: jax.Array, shape: tuple[int, ...], ranges: SyntheticRanges) -> jax.Array:
    """Standard normal values, cut off at the ranges' limit."""
    return random.truncated_normal(key, -ranges.limit, ranges.limit, shape)
