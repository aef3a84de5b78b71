"""What is around and before a synthetic face: the rest of the head, hair, glasses, anything else.

All of it is painted on the picture, placed by the rendered face. Colors are RGB in [0, 1].
"""

import jax
import jax.numpy as jnp
from jax import random

from mofa_jax.data.synthetic.backgrounds import Shapes, random_shapes, soft_cover
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.face_model import FaceModel
from mofa_jax.renderer import Rendering

_NUM_OCCLUDERS = 2
_HAIR = 2  # its place among the shapes of a head
_EYES = (slice(36, 42), slice(42, 48))  # their landmarks


def head(key: jax.Array, rendering: Rendering, ranges: SyntheticRanges) -> Shapes:
    """Clothes, neck, hair and the rest of the head: shapes of about their size and color."""
    visible_key, jitter_key, color_key = random.split(key, 3)
    center, half = _face_box(rendering)
    # Center and radius of clothes, neck, hair, head, in halves of the face's width and height.
    places = jnp.array([[0.0, 2.3], [0.0, 1.2], [0.0, -0.25], [0.0, -0.15]])
    radii = jnp.array([[2.2, 1.0], [0.65, 0.9], [1.3, 1.3], [1.12, 1.15]])
    jitter = random.uniform(jitter_key, (2, 4, 2), minval=-0.15, maxval=0.15)
    skin = jnp.clip(jnp.mean(rendering.color, axis=0), 0.02, 0.98)
    red, green, blue, hair = random.uniform(color_key, (4,))
    hair = jnp.clip(jnp.array([1.05, 0.84, 0.66]) * hair**2, 0.0, 1.0)
    any_head, *present = random.uniform(visible_key, (5,))
    visible = (any_head < ranges.head) & (jnp.stack(present) < 0.85)
    return Shapes(
        center=center + half * (places + jitter[0]),
        radius=half * radii * (1 + jitter[1]),
        angle=jnp.zeros(4),
        box=jnp.array([False, True, False, False]),
        color=jnp.stack([jnp.stack([red, green, blue]), 0.8 * skin, hair, 0.9 * skin]),
        opacity=visible.astype(skin.dtype),
        softness=jnp.full(4, 6.0),
    )


def fringe(key: jax.Array, rendering: Rendering, behind: Shapes, ranges: SyntheticRanges) -> Shapes:
    """Hair before the face, over the forehead and at both sides, of the color of that `behind`."""
    hair = behind.color[_HAIR]
    present_key, place_key = random.split(key)
    center, half = _face_box(rendering)
    depth, left, right, tilt, softness, shade = random.uniform(place_key, (6,))
    present = random.uniform(present_key, (3,)) < ranges.fringe * jnp.array([1.0, 0.4, 0.4])
    places = jnp.array([[0.0, -1.05], [-1.15, -0.2], [1.15, -0.2]])
    radii = jnp.stack([1.2, 0.15 + 0.45 * depth, 0.15 + 0.2 * left, 1.2, 0.15 + 0.2 * right, 1.2])
    return Shapes(
        center=center + half * places,
        radius=half * radii.reshape(3, 2),
        angle=jnp.array([0.5, 0.2, 0.2]) * (tilt - 0.5),
        box=jnp.zeros(3, bool),
        color=jnp.tile(hair * (0.8 + 0.4 * shade), (3, 1)),
        opacity=present.astype(hair.dtype),
        softness=jnp.full(3, 2.0 + 10.0 * softness),
    )


def put_on_glasses(
    key: jax.Array,
    image: jax.Array,
    rendering: Rendering,
    model: FaceModel,
    ranges: SyntheticRanges,
) -> jax.Array:
    """`image` [H, W, 3], at times with glasses, if the model has the landmarks of the eyes."""
    eyes = jnp.stack([model.landmarks[eye] for eye in _EYES])
    centers = jnp.mean(rendering.screen[eyes], axis=1)
    across = centers[1] - centers[0]
    distance = jnp.linalg.norm(across)
    present, width, height, thickness, tint, light, round_ = random.uniform(key, (7,))
    outer = distance * jnp.stack([0.38 + 0.1 * width, 0.22 + 0.16 * height])
    frame = 1.0 + 3.0 * thickness
    lens = Shapes(
        center=centers,
        radius=jnp.tile(outer, (2, 1)),
        angle=jnp.full(2, jnp.arctan2(across[1], across[0])),
        box=jnp.full(2, round_ < 0.5),
        color=jnp.full((2, 3), light**3),
        opacity=jnp.ones(2),
        softness=jnp.full(2, 1.5),
    )
    x = jnp.arange(image.shape[1], dtype=image.dtype)[None, :] + 0.5
    y = jnp.arange(image.shape[0], dtype=image.dtype)[:, None] + 0.5
    cover = jax.vmap(soft_cover, (0, None, None))
    whole, inside = cover(lens, x, y), cover(lens.replace(radius=lens.radius - frame), x, y)
    worn = jnp.max(whole - (1 - 0.3 * tint**2) * inside, axis=0)[..., None]
    shown = (present < ranges.glasses) & jnp.all(eyes >= 0)
    return jnp.where(shown, image + worn * (lens.color[:1, None] - image), image)


def occluders(key: jax.Array, rendering: Rendering, ranges: SyntheticRanges) -> Shapes:
    """Things before the face, anywhere on it, each up to a third of its size."""
    present_key, shapes_key = random.split(key)
    center, half = _face_box(rendering)
    shapes = random_shapes(shapes_key, _NUM_OCCLUDERS, center - half, center + half, (0.05, 0.3))
    present = random.bernoulli(present_key, ranges.occluder, (_NUM_OCCLUDERS,))
    return shapes.replace(opacity=jnp.where(present, shapes.opacity, 0.0))


def _face_box(rendering: Rendering) -> tuple[jax.Array, jax.Array]:
    """Center and half the extent of the face on the screen, each [1, 2], px."""
    low, high = (f(rendering.screen, axis=0, keepdims=True) for f in (jnp.min, jnp.max))
    return (low + high) / 2, (high - low) / 2
