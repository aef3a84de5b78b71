"""The errors of an encoder on held-out faces."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mofa_jax.autoencoder import Decoder, face_errors
from mofa_jax.params import FaceParams


def evaluate(
    weights: Any, batches: Iterable[dict], encode: Callable, decoder: Decoder
) -> dict[str, float]:
    """Means over all faces of `batches`, each face once.

    Args:
      weights: the encoder's.
      batches: as the feed gives them; faces whose `valid` is False do not count.
      encode: (weights, images) -> codes.
      decoder: see `Decoder`.

    Returns:
      photometric_error; landmark_error, px, over the faces that have landmarks (absent without
      any); geometric_error, mm, where the batches hold the true `code`; num_faces.
    """
    errors = jax.jit(lambda weights, batch, decoder: _errors(weights, batch, decoder, encode))
    keys = ("image", "landmarks", "confidence", "code")
    collected: dict[str, list] = {}
    for batch in batches:
        arrays = {key: batch[key] for key in keys if key in batch}
        valid = np.asarray(batch.get("valid", np.ones(len(batch["image"]), bool)))
        for key, values in errors(weights, arrays, decoder).items():
            collected.setdefault(key, []).append(np.asarray(values)[valid])
    all_values = {key: np.concatenate(values) for key, values in collected.items()}
    means = {
        key: float(np.nanmean(values))
        for key, values in all_values.items()
        if np.isfinite(values).any()
    }
    return {**means, "num_faces": len(all_values["photometric_error"])}


def _errors(weights, batch: dict, decoder: Decoder, encode: Callable) -> dict[str, jax.Array]:
    images = batch["image"].astype(jnp.float32) / 255.0
    params = FaceParams.from_code(encode(weights, images), decoder.landmarks)
    return face_errors(params, batch, images, decoder)
