"""The semantic code vector x = (alpha, delta, beta, T, t, gamma) (paper, Eq. 1)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mofa_jax.face_model import FaceModel

NUM_BANDS = 9  # spherical-harmonics coefficients a color channel


@struct.dataclass
class FaceParams:
    """What the decoder renders: one face, or a batch of them with leading axes on every field.

    Attributes:
      shape: alpha [S], standard deviations.
      expression: delta [X], standard deviations.
      reflectance: beta [R], standard deviations.
      rotation: T [3], axis-angle, radians.
      translation: t [3], decimeters.
      illumination: gamma [9, 3], spherical-harmonics bands by RGB, without the ambient constant.
    """

    shape: jax.Array
    expression: jax.Array
    reflectance: jax.Array
    rotation: jax.Array
    translation: jax.Array
    illumination: jax.Array

    @classmethod
    def neutral(cls, model: FaceModel) -> "FaceParams":
        """The zero code: the average face from the front, lit by ambient light only."""
        return cls.from_code(jnp.zeros(code_size(model), model.mean_shape.dtype), model)

    @classmethod
    def from_code(cls, code: jax.Array, model: FaceModel) -> "FaceParams":
        """The inverse of `to_code`.

        Args:
          code: [..., S + X + R + 33].
          model: gives the sizes S, X, R.

        Raises:
          ValueError: the code's length is not the model's.
        """
        if code.shape[-1] != code_size(model):
            raise ValueError(
                f"the code has {code.shape[-1]} entries, but face model '{model.name}' needs "
                f"{code_size(model)}: it was made with another face model."
            )
        parts = {name: code[..., span] for name, span in code_slices(model).items()}
        illumination = parts["illumination"]
        parts["illumination"] = illumination.reshape(*illumination.shape[:-1], NUM_BANDS, 3)
        return cls(**parts)

    def face(self, k: int) -> "FaceParams":
        """Face k of a batch."""
        return jax.tree.map(lambda field: field[k], self)

    def to_code(self) -> jax.Array:
        """The flat code [..., S + X + R + 33]."""
        gamma = self.illumination.reshape(*self.illumination.shape[:-2], NUM_BANDS * 3)
        parts = (self.shape, self.expression, self.reflectance, self.rotation, self.translation)
        return jnp.concatenate([*parts, gamma], axis=-1)


def group_sizes(model: FaceModel) -> dict[str, int]:
    """The length of each part of the code, in the code's order."""
    shape, expression, reflectance = model.code_sizes
    return {
        "shape": shape,
        "expression": expression,
        "reflectance": reflectance,
        "rotation": 3,
        "translation": 3,
        "illumination": 3 * NUM_BANDS,
    }


def code_size(model: FaceModel) -> int:
    """How many entries a code of this model has: 257 with the paper's sizes."""
    return sum(group_sizes(model).values())


def code_slices(model: FaceModel) -> dict[str, slice]:
    """Where each part of the code stands in it."""
    sizes = group_sizes(model)
    ends = np.cumsum(list(sizes.values())).tolist()
    return {
        name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)
    }
