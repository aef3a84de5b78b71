"""The mean errors of an encoder on held-out faces, as training watches them."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from mofa_jax.autoencoder import Decoder, face_errors
from mofa_jax.data.feeds.device_batch import keys_of
from mofa_jax.numerics import as_floats
from mofa_jax.params import FaceParams

_OF_LANDMARKS = (
    "landmark_error",
    "scale_bias",
    "offset_x",
    "offset_y",
    "eye_opening_bias",
    "mouth_opening_bias",
)


def make_errors_of(encode: Callable) -> Callable:
    """(weights, batch, decoder) -> `face_errors`, compiled once for all evaluations of a run.

    Args:
      encode: (weights, images [B, H, W, 3] in [0, 1]) -> codes [B, D].
    """

    @jax.jit
    def errors_of(weights: Any, batch: dict, decoder: Decoder) -> dict[str, jax.Array]:
        images = as_floats(batch["image"])
        params = FaceParams.from_code(encode(weights, images), decoder.model)
        return face_errors(params, batch, images, decoder)

    return errors_of


def evaluate(
    weights: Any, batches: Iterable[dict], errors_of: Callable, decoder: Decoder
) -> dict[str, float]:
    """Means over the faces of `batches`, each face once.

    Args:
      weights: the encoder's.
      batches: as the feed gives them; faces whose `valid` is False do not count.
      errors_of: see `make_errors_of`.
      decoder: see `Decoder`.

    Returns:
      photometric_error; over the faces that have landmarks (absent without any) landmark_error,
      px of a 240 px crop, and the biases scale_bias, 1 for faces drawn as large as they are,
      offset_x and offset_y, and eye_opening_bias and mouth_opening_bias, px of a 240 px crop;
      geometric_error, mm, where the batches hold the true `code`; num_faces; num_annotated, those
      with landmarks, where not all have any; num_failed, the faces with an error that is not
      finite, which the means leave out.
    """
    collected: dict[str, list] = {}
    for batch in batches:
        arrays = {key: batch[key] for key in keys_of(batch)}
        valid = np.asarray(batch.get("valid", np.ones(len(batch["image"]), bool)))
        for key, values in errors_of(weights, arrays, decoder).items():
            collected.setdefault(key, []).append(np.asarray(values)[valid])
    values = {key: np.concatenate(parts) for key, parts in collected.items()}
    failed, annotated = values.pop("failed"), values.pop("annotated")
    means = {key: _mean_of_finite(errors) for key, errors in values.items()}
    if not annotated.any():
        means = {key: mean for key, mean in means.items() if key not in _OF_LANDMARKS}
    counts = {"num_faces": len(failed), "num_failed": int(failed.sum())}
    if annotated.any() and not annotated.all():
        counts["num_annotated"] = int(annotated.sum())
    return {**means, **counts}


def _mean_of_finite(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
