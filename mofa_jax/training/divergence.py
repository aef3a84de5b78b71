"""A training that is lost: told at the step where it happens."""

from collections.abc import Callable

import numpy as np

from mofa_jax.checkpoint import Checkpoints


class TrainingDivergedError(RuntimeError):
    """The loss or a gradient became NaN or too large; the message says when, which and on what."""


def check_divergence(
    step: int, metrics: dict, names_of: Callable, max_loss: float, checkpoints: Checkpoints
) -> None:
    """Raises TrainingDivergedError if a loss, a term of it or its gradient is unusable.

    Args:
      step: the last of the K that are checked.
      metrics: [K] each, on the host.
      names_of: gives the names of the faces of one of the K batches.
      max_loss: a larger loss, of either sign, is unusable.
      checkpoints: of the run.
    """
    terms, gradient_norms = metrics["terms"], metrics["norms"]["gradient_norm"]
    values = {"loss": metrics["loss"], **terms, "gradient_norm": gradient_norms}
    unusable = ~np.isfinite(np.array([*values.values()])) | (np.abs(values["loss"]) > max_loss)
    if unusable.any():
        number = int(unusable.any(axis=0).argmax())
        values = {key: float(value[number]) for key, value in values.items()}
        bad = [key for key, value in values.items() if not np.isfinite(value)]
        bad = bad or [max(terms, key=lambda name: abs(values[name]))]
        kept = checkpoints.latest_step
        raise TrainingDivergedError(
            f"step {step - len(metrics['loss']) + number + 1}: "
            f"{', '.join(f'{key} = {values[key]:g}' for key in bad)} on the batch "
            f"{', '.join(names_of(number))}; the last good checkpoint is "
            f"{'none yet' if kept is None else f'that of step {kept}'}: lower "
            "config.optimizer.learning_rate, set config.optimizer.clip_norm, or remove a file."
        )
