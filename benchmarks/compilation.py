"""From `python main.py` to the first step, without and with a cache of compiled programs.

    python -m benchmarks.compilation --config=quickstart --config=compact --corpus=corpora/lfw

Each run takes one step, in a process and a workdir of its own, with a cache folder that is empty
the first time and filled the second. Without --corpus, rendered faces stand for the photographs.
The end of such a run has compiled all that a long one does: evaluation and pictures, too.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from benchmarks.measuring import print_table, save

_CONFIG = flags.DEFINE_multi_string(
    "config",
    ["quickstart", "compact", "compact_unsupervised", "alexnet"],
    "A name of configs/; may be repeated.",
)
_CORPUS = flags.DEFINE_string("corpus", None, "Prepared photographs.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/compilation.json", "The numbers.")

_ROOT = Path(__file__).resolve().parents[1]
_FIRST_STEP = b"step, loss "  # in the progress bar, as soon as a step is done
_SHORT = ("--config.num_steps=1", "--config.data.num_eval=16", "--config.reconstruct=")
_SHORT_START = ("--config.start.num_steps=1", "--config.start.data.num_eval=16")


def command(name: str, corpus: str | None, workdir: Path) -> list[str]:
    """The shortest training that a config has."""
    kind = ["--config.data.kind=synthetic"]
    if corpus is not None and name != "quickstart":
        kind = ["--config.data.kind=tfds", f"--config.data.path={corpus}"]
    start = _SHORT_START if name == "compact_unsupervised" else ()
    config = [f"--config=configs/{name}.py", f"--workdir={workdir}"]
    return [sys.executable, "main.py", *config, *_SHORT, *kind, *start]


def run(arguments: list[str], cache: Path) -> tuple[float, float]:
    """Seconds to the first step, and to the end.

    Raises:
      RuntimeError: the run failed; with the end of what it wrote.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    begin, first, log = time.perf_counter(), None, b""
    with subprocess.Popen(
        arguments, cwd=_ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        while text := process.stderr.read1():
            log += text
            if first is None and _FIRST_STEP in log:
                first = time.perf_counter() - begin
    if process.returncode or first is None:
        raise RuntimeError(f"{' '.join(arguments)}: {log[-2000:].decode(errors='replace')}")
    return first, time.perf_counter() - begin


def measure(name: str, corpus: str | None) -> dict[str, object]:
    """Seconds of a config, twice."""
    row: dict[str, object] = {"config": name}
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "filled"):
            arguments = command(name, corpus, Path(folder, cache))
            first, end = run(arguments, Path(folder, "cache"))
            row |= {f"{cache} cache: first step, s": first, f"{cache} cache: end, s": end}
    return row


def main(_) -> None:
    rows = [measure(name, _CORPUS.value) for name in _CONFIG.value]
    print_table(rows)
    save(_OUTPUT.value, {"runs": rows})


if __name__ == "__main__":
    app.run(main)
