"""Learning from all pixels: a learner whose pictures are compared with the photographs."""

from abc import ABC, abstractmethod

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mofa_jax.figures import contact_sheet
from mofa_jax.numerics import as_floats, safe_norm


def pixel_error(drawn: jax.Array, images: jax.Array) -> jax.Array:
    """The pixels' counterpart of Eq. 8 [B]: the mean over the pixels of ||I - drawn||_2.

    Args:
      drawn: [B, H, W, 3].
      images: [B, H, W, 3], RGB in [0, 1].
    """
    return jnp.mean(safe_norm(drawn - images), axis=(1, 2))


def as_bytes(drawn: jax.Array) -> np.ndarray:
    """Pictures of floats about [0, 1] as uint8."""
    return np.asarray(jnp.round(255 * jnp.clip(drawn, 0.0, 1.0)).astype(jnp.uint8))


class PixelLearner(ABC):
    """A `Learner` all of whose drawing is learned: no face model, the pixel error is its loss."""

    decoder = None

    def __init__(self, config: ConfigDict):
        self.config = config
        self.errors_of = jax.jit(self._errors)
        self._draw = jax.jit(self.draw)

    @abstractmethod
    def random_weights(self) -> dict: ...

    @abstractmethod
    def draw(self, weights: dict, batch: dict[str, jax.Array]) -> jax.Array:
        """The pictures [B, H, W, 3] that are to be those of a batch."""

    def initial_weights(self) -> dict:
        return self.random_weights()

    def objective(self, weights, batch, step, decoder, axis_name):
        error = jnp.mean(self._errors(weights, batch, decoder)["pixel_error"])
        terms = {"pixels": self.config.loss.photometric * error}
        return terms["pixels"], (terms, {"pixel_error": error})

    def picture(self, weights: dict, examples: dict[str, np.ndarray]) -> np.ndarray:
        """Input and output, side by side."""
        drawn = as_bytes(self._draw(weights, examples))
        rows = np.concatenate([examples["image"], drawn], axis=2)
        return contact_sheet(rows, header=("input", "output"))

    def _errors(self, weights, batch, decoder) -> dict[str, jax.Array]:
        error = pixel_error(self.draw(weights, batch), as_floats(batch["image"]))
        failed = ~jnp.isfinite(error)
        return {"pixel_error": error, "annotated": jnp.zeros_like(failed), "failed": failed}
