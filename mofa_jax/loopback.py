"""Predictions drawn again: the encoder must find the faces that it has just given.

Genova et al., "Unsupervised Training for 3D Morphable Model Regression", CVPR 2018 (loopback); the
faces are changed before, as Kim et al. do, "InverseFaceNet", CVPR 2018. What is drawn has a known
place and size, poses and lights like photographs', and needs no label.
"""

import jax
import jax.numpy as jnp
from jax import random

from mofa_jax.camera import Camera
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.data.synthetic.examples import draw_example
from mofa_jax.face_model import FaceModel
from mofa_jax.params import FaceParams

# Standard deviations of how predictions are changed, in the units of `FaceParams`.
_CHANGES = {
    "shape": 0.5,
    "reflectance": 0.5,
    "rotation": 0.15,
    "translation": (0.05, 0.05, 0.3),
}


def loopback_examples(
    key: jax.Array, params: FaceParams, model: FaceModel, cam: Camera, ranges: SyntheticRanges
) -> dict:
    """Examples as of `draw_example` of half of B predictions, changed; none has a gradient.

    Each has the reflectance of the one before and the light of the one before that, if B is 3 or
    more.

    Args:
      key: a random key.
      params: B codes.
      model: the face model.
      cam: the camera.
      ranges: of what stands behind and before the faces, and of the pictures' faults.

    Returns:
      image [K, H, W, 3] in [0, 1], landmarks [K, 68, 2], confidence [K, 68] and params of K codes,
      K = B / 2 rounded down, but at least 1.
    """
    count = max(1, params.rotation.shape[0] // 2)
    changing, drawing = random.split(key)
    faces = jax.lax.stop_gradient(params)
    faces = faces.replace(
        reflectance=jnp.roll(faces.reflectance, 1, axis=0),
        illumination=jnp.roll(faces.illumination, 2, axis=0),
    )
    faces = jax.tree.map(lambda field: field[:count], faces)
    for key, (name, spread) in zip(
        random.split(changing, len(_CHANGES)), _CHANGES.items(), strict=True
    ):
        field = getattr(faces, name)
        change = jnp.broadcast_to(jnp.asarray(spread), field.shape) * random.normal(
            key, field.shape
        )
        faces = faces.replace(**{name: field + change})
    draw = jax.vmap(draw_example, (0, 0, None, None, None))
    examples = draw(random.split(drawing, count), faces, model, cam, ranges)
    return jax.lax.stop_gradient(examples)
