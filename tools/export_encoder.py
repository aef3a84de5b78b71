"""Writes a run's newest encoder as the one that is part of the package.

python -m tools.export_encoder --workdir=runs/built_in
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from mofa_jax.checkpoint import CheckpointError, Checkpoints
from mofa_jax.encoders.trained import ASSET, write_trained
from mofa_jax.errors import InputError
from mofa_jax.face_models.load import load_face_model
from mofa_jax.inference import load_for_inference
from mofa_jax.processes import configure_logging

_PLACES = ("path", "mixture", "cache", "landmarks")  # of the config's data, on one machine


def export_encoder(workdir: str, output: str | Path = ASSET) -> None:
    """Raises CheckpointError if the run has no checkpoint, or one of another face model."""
    predict = load_for_inference(workdir)
    model = load_face_model("open")
    with Checkpoints.existing(workdir) as run:
        trained_with = run.information(predict.step)["face_model"]
    if not model.is_model_of(trained_with):
        raise CheckpointError(
            f"{workdir}: trained with face model '{trained_with['name']}', not with the open one "
            "as it is; train it again."
        )
    config = predict.config.to_dict()
    config["data"].update(dict.fromkeys(_PLACES, ""))
    config["data"]["synthetic"]["backgrounds"] = config["reconstruct"] = ""
    config["face_model"], config["encoder"]["pretrained"], config["start"] = "open", "", {}
    information = {"config": config, "face_model": model.identity(), "step": predict.step}
    write_trained(output, predict.weights, information)


def main(argv: Sequence[str]) -> None:
    del argv
    configure_logging()
    try:
        export_encoder(_WORKDIR.value, _OUTPUT.value)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(f"{_OUTPUT.value}: {Path(_OUTPUT.value).stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    _WORKDIR = flags.DEFINE_string("workdir", None, "Of the run.")
    _OUTPUT = flags.DEFINE_string("output", str(ASSET), "The file.")
    flags.mark_flag_as_required("workdir")
    app.run(main)
