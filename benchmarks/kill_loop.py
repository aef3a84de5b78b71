"""Kills training, preparation and rendering at random moments until they have ended anyway.

python -m benchmarks.kill_loop --kills=100 --photographs=FOLDER --output=reliability.json

Each job is run once undisturbed. Then, in rounds, it is started in an empty folder, killed with
SIGKILL (all of its processes) after a random time, and started again by the same command, several
times over; the last start is left alone. What a round leaves must be bit for bit what the
undisturbed run left, or else the exit status is 1 and both are kept. The result is written down in
docs/reliability.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from mofa_jax.files.writing import write_json

_KILLS = flags.DEFINE_integer("kills", 102, "SIGKILLs in all, divided among the jobs.")
_A_ROUND = flags.DEFINE_integer("a_round", 4, "SIGKILLs before a round is left to end.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments.")
_PHOTOGRAPHS = flags.DEFINE_string("photographs", None, "Folder of photographs with faces.")
_JOBS = flags.DEFINE_multi_string("job", [], "Only these jobs; repeat it.")
_OUTPUT = flags.DEFINE_string("output", None, "JSON file of the result.")


_ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Job:
    """A command and what must be the same after every run of it.

    command: the arguments, given the folder to write. result: a digest of what was left, given the
    folder that holds that one alone.
    """

    command: Callable[[Path], list[str]]
    result: Callable[[Path], str]


def jobs(photographs: str) -> dict[str, Job]:
    """The commands that go on where they were killed."""
    python, small_face = sys.executable, "--config.face_model=analytic"
    return {
        "training": Job(
            lambda folder: [
                *(python, "main.py", "--config=configs/compact_synthetic.py", small_face),
                *(f"--workdir={folder}", "--config.num_steps=60", "--config.eval_every=60"),
                *("--config.batch_size=4", "--config.data.num_eval=4"),
                "--config.checkpoint_every_minutes=0.02",
            ],
            _weights,
        ),
        "preparation": Job(
            lambda folder: [
                *(python, "-m", "mofa_jax.prepare_corpus", f"--output={folder}"),
                *("--config=configs/corpora/folder.py", f"--config.source.path={photographs}"),
                "--config.eval_fraction=0.2",
            ],
            _files,
        ),
        "rendering": Job(
            lambda folder: [
                *(python, "-m", "mofa_jax.render_corpus", f"--output={folder}"),
                *("--config=configs/synthetic.py", small_face, "--count=2040", "--eval_count=40"),
            ],
            _files,
        ),
    }


def _files(folder: Path) -> str:
    """All files with their names."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _weights(folder: Path) -> str:
    """The weights that a run's newest checkpoint gives back, and its step."""
    code = (
        "import hashlib, jax, numpy as np, sys, mofa_jax\n"
        "run = mofa_jax.load_for_inference(sys.argv[1])\n"
        "leaves = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(run.weights)]\n"
        "print(run.step, hashlib.sha256(b''.join(leaves)).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "output")],
        cwd=_ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.splitlines()[-1]


def _start(command: list[str], log: Path) -> subprocess.Popen:
    with open(log, "wb") as file:
        return subprocess.Popen(
            command, cwd=_ROOT, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(process: subprocess.Popen, log: Path, seconds: float | None = None) -> None:
    """Raises TimeoutExpired, or RuntimeError if the command has failed."""
    if process.wait(seconds) != 0:
        end = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(process.args)}: exit status {process.returncode}\n{end}")


def _disturbed(
    command: list[str], duration: float, kills: int, rng: random.Random, log: Path
) -> int:
    """Runs a command to its end after `kills` kills at most; returns how many there were."""
    for killed in range(kills):
        process = _start(command, log)
        try:
            _wait(process, log, rng.uniform(0.0, duration))
            return killed
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    _wait(_start(command, log), log)
    return kills


def _disturb(name: str, job: Job, share: int, rng: random.Random) -> dict[str, float]:
    """Kills a job `share` times, in rounds; counts of kills, of rounds, and of bit-equal ones."""
    scratch = Path(tempfile.mkdtemp(prefix=f"kill_loop_{name}_"))
    log, undisturbed, folder = scratch / "log", scratch / "undisturbed", scratch / "disturbed"
    undisturbed.mkdir()
    start = time.monotonic()
    command = job.command(undisturbed / "output")
    _wait(_start(command, log), log)
    duration = time.monotonic() - start
    expected = job.result(undisturbed)
    kills = rounds = equal = 0
    with tqdm(total=share, desc=name, unit="kill") as bar:
        while kills < share:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            command = job.command(folder / "output")
            killed = _disturbed(command, duration, min(_A_ROUND.value, share - kills), rng, log)
            kills, rounds = kills + killed, rounds + 1
            same = job.result(folder) == expected
            equal += same
            bar.update(killed)
            if not same:
                kept = folder.rename(scratch / f"different_{rounds}")
                bar.write(f"{name}: round {rounds} ended otherwise, see {kept} and {undisturbed}")
    if equal == rounds:
        shutil.rmtree(scratch)
    return {"kills": kills, "rounds": rounds, "bit_equal": equal, "seconds": round(duration, 1)}


def main(argv: list[str]) -> None:
    del argv
    rng = random.Random(_SEED.value)
    photographs = os.path.abspath(_PHOTOGRAPHS.value)
    chosen = {k: v for k, v in jobs(photographs).items() if k in (_JOBS.value or [k])}
    share = -(-_KILLS.value // len(chosen))
    report = {name: _disturb(name, job, share, rng) for name, job in chosen.items()}
    for name, result in report.items():
        print(
            f"{name}: {result['kills']} kills in {result['rounds']} rounds, "
            f"{result['bit_equal']} rounds ended bit-equal"
        )
    if _OUTPUT.value:
        write_json(_OUTPUT.value, report)
    sys.exit(any(result["bit_equal"] < result["rounds"] for result in report.values()))


if __name__ == "__main__":
    flags.mark_flags_as_required(["photographs"])
    app.run(main)
