"""Trains MoFA: `python main.py --config=configs/compact.py --workdir=runs/x`."""

import sys

from absl import app, flags
from ml_collections import config_flags

from mofa_jax import command_line
from mofa_jax.errors import errors_as_sentences
from mofa_jax.processes import STOPPED, use_huge_pages
from mofa_jax.reconstruct import reconstruct_after_training
from mofa_jax.train import run_experiment
from mofa_jax.training.divergence import TrainingDivergedError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The experiment.", lock_config=True)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and pictures go.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    command_line.begin()
    with errors_as_sentences(_WORKDIR.value, "Stopped; the same command goes on."):
        try:
            errors = run_experiment(_CONFIG.value, _WORKDIR.value)
            if errors is None:
                sys.exit(STOPPED)
            if not reconstruct_after_training(_CONFIG.value, _WORKDIR.value):
                sys.exit(1)
        except TrainingDivergedError as error:
            sys.exit(f"error: {error}")


if __name__ == "__main__":
    use_huge_pages()
    flags.mark_flags_as_required(["config", "workdir"])
    command_line.run(main)
