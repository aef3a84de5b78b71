"""Makes a training set: `python -m mofa_jax.prepare_corpus --config=configs/corpora/folder.py`.

dlib's landmarks and Apache Beam need requirements-corpus.txt. See docs/corpora.md.
"""

import sys

from absl import app, flags
from ml_collections import config_flags

from mofa_jax import command_line
from mofa_jax.data.corpora.prepare import prepare_corpus
from mofa_jax.errors import errors_as_sentences
from mofa_jax.extras import install_command
from mofa_jax.processes import configure_logging

_CONFIG = config_flags.DEFINE_config_file("config", None, "The corpus.", lock_config=True)
_OUTPUT = flags.DEFINE_string("output", None, "The folder that the corpus is written to.")
_NUM_WORKERS = flags.DEFINE_integer("num_workers", 0, "Processes; 0 = one a core.")
_BEAM = flags.DEFINE_multi_string(
    "beam", [], "An option of a Beam runner, such as --beam=--runner=FlinkRunner; repeat it."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    configure_logging()
    how = {"num_workers": _NUM_WORKERS.value, "beam_options": _BEAM.value}
    stopped = "Stopped; the same command goes on after the finished pieces."
    with errors_as_sentences(_OUTPUT.value, stopped):
        try:
            prepare_corpus(_CONFIG.value, _OUTPUT.value, **how)
        except ImportError as error:
            sys.exit(f"{error.name} is missing: {install_command('corpus')}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "output"])
    command_line.run(main)
