"""The paper's trainings, and the recipes besides, in pieces of some minutes each.

    python -m benchmarks.experiments --run=alexnet --corpus=corpora/lfw --minutes=9

Each call goes on where the last one ended: `main.py` is stopped by SIGTERM after so many minutes
and keeps its checkpoint. What it took and reached so far goes to OUTPUT/RUN.json, with the
commands; further overrides of the config follow after `--`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from absl import app, flags

from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.files.writing import write_json
from mofa_jax.processes import STOPPED
from mofa_jax.provenance import provenance

RUNS = {
    "alexnet": ["--config=configs/alexnet.py"],
    "alexnet_surrogate": ["--config=configs/alexnet_landmarks.py"],
    "vgg_face": ["--config=configs/vgg.py"],
    "vgg_face_surrogate": ["--config=configs/vgg_landmarks.py"],
    "alexnet_truth": ["--config=configs/synthetic_unsupervised.py:alexnet"],
    "compact_truth": ["--config=configs/synthetic_unsupervised.py"],
    "code_regression": ["--config=configs/code_regression.py"],
    "compact": ["--config=configs/compact.py"],
    "compact_unsupervised": ["--config=configs/compact_unsupervised.py"],
    "compact_unsupervised_long": [  # ten times what two CPU cores do in an hour
        "--config=configs/compact_unsupervised.py",
        "--config.batch_size=64",
        "--config.num_steps=5000",
        "--config.start.batch_size=64",
        "--config.start.num_steps=3500",
    ],
    "alexnet_unsupervised": ["--config=configs/alexnet_unsupervised.py"],
}
_RUN = flags.DEFINE_enum("run", None, list(RUNS), "Which.", required=True)
_CORPUS = flags.DEFINE_string("corpus", None, "Prepared photographs (rendered faces need none).")
_MINUTES = flags.DEFINE_float("minutes", 9.0, "After which it is stopped.")
_OUTPUT = flags.DEFINE_string("output", "runs/experiments", "Folder of the runs.")
_LIKE_A_CARD = ("--config.log_every=100", "--config.image_every=1000000")


def command(run: str, corpus: str | None, workdir: Path, more: list[str]) -> list[str]:
    """What is typed. `more`: further overrides of the config."""
    reads = [] if corpus is None else ["--config.data.kind=tfds", f"--config.data.path={corpus}"]
    return ["main.py", *RUNS[run], f"--workdir={workdir}", *_LIKE_A_CARD, *reads, *more]


def train_for(arguments: list[str], minutes: float, log: Path) -> tuple[float, int]:
    """Runs a command of Python for so long; the seconds that it took, and its exit status, 0 if it
    was stopped, from where it goes on."""
    start = time.monotonic()
    with open(log, "ab") as file:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=file, stderr=subprocess.STDOUT
        )
        try:
            process.wait(60 * minutes)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)
            process.wait()
    seconds = time.monotonic() - start
    stopped = process.returncode in (STOPPED, -signal.SIGTERM)  # in its loop, or before
    return seconds, 0 if stopped else process.returncode


def steps_done(workdir: Path) -> int:
    """By a run, and by the one that it starts from, as their newest checkpoints say."""
    total = 0
    for run in (workdir, workdir / "start"):
        steps = [int(p.name) for p in run.glob("checkpoints/*") if p.name.isdigit()]
        total += max(steps, default=0)
    return total


def _seed(workdir: Path) -> int | None:
    """Of the run; None of one that failed before it had a config."""
    path = workdir / "config.json"
    return json.loads(path.read_text())["config"]["seed"] if path.is_file() else None


def main(argv: list[str]) -> None:
    output = Path(_OUTPUT.value)
    workdir, path = output / _RUN.value, output / f"{_RUN.value}.json"
    workdir.mkdir(parents=True, exist_ok=True)
    calls = json.loads(path.read_text())["calls"] if path.is_file() else []
    arguments = command(_RUN.value, _CORPUS.value, workdir, argv[1:])
    before = steps_done(workdir)
    seconds, status = train_for(arguments, _MINUTES.value, output / f"{_RUN.value}.log")
    steps = steps_done(workdir) - before
    calls.append({"seconds": seconds, "steps": steps, "status": status, **provenance()})
    evaluations = logged_evaluations(workdir)
    result = {
        "command": ["python", *arguments],
        "seed": _seed(workdir),
        "calls": calls,
        "held_out": evaluations,
    }
    write_json(path, result)
    last = {key: [*values.values()][-1] for key, values in evaluations.items() if values}
    total = sum(call["seconds"] for call in calls)
    print(
        f"{_RUN.value}: {before + steps} steps in {total / 60:.1f} minutes, compiling included; "
        f"{steps / seconds:.1f} steps/s in this call; "
        + ", ".join(f"{key} {value:.4g}" for key, value in last.items())
    )
    if status:
        sys.exit(f"error: main.py ended with status {status}; see {output / _RUN.value}.log")


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parents[1])
    app.run(main)
