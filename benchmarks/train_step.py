"""The paper's own train step: AlexNet, Eq. 7 without landmarks, AdaDelta; beside PyTorch.

    python -m benchmarks.train_step --batch=5 --runs=9

Ours is the step that `main.py` takes. The rival has the same network (bvlc_alexnet, 257 outputs),
the decoder of `benchmarks/torch_decoder.py` and `torch.optim.Adadelta`. Each runs in processes of
its own (PyTorch's threads, waiting, take time from ours), in turns, with ordinary pages and with
the huge pages that `main.py` asks for; the medians of the processes' medians are printed.
"""

import os
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
import torch
from absl import app, flags
from torch import nn

import mofa_jax
from benchmarks import torch_encoders
from benchmarks.ours import training
from benchmarks.torch_decoder import TorchDecoder
from configs import default
from mofa_jax.params import code_size
from mofa_jax.processes import HUGE_PAGES

_BATCH = flags.DEFINE_integer("batch", 5, "Photographs a step.")
_RUNS = flags.DEFINE_integer("runs", 9, "Timed steps of each.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes of each.")
_ONLY = flags.DEFINE_enum("only", None, ["mofa_jax", "PyTorch"], "Measure this one here.")

_INPUT_SIZE = 227


def our_step(batch: int):
    """A function that takes a step and waits for it."""
    config = default.get_config()
    config.batch_size, config.steps_at_once = batch, 1
    steps, state, decoder, batches = training(config)

    def step() -> None:
        nonlocal state
        state, metrics = steps(state, decoder, batches)
        jax.block_until_ready((state, metrics))

    return step


def torch_step(batch: int):
    """The same by PyTorch."""
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    decoder, encoder = TorchDecoder(model, cam), torch_encoders.alexnet(code_size(model))
    nn.init.zeros_(encoder[-1].weight)
    optimizer = torch.optim.Adadelta(encoder.parameters(), lr=0.1, rho=0.95, eps=1e-8)
    images = torch.from_numpy(_images(batch)).permute(0, 3, 1, 2).float() / 255

    def step() -> None:
        small = nn.functional.interpolate(
            images, (_INPUT_SIZE, _INPUT_SIZE), mode="bilinear", antialias=True
        )
        codes = encoder(255 * small - 117)
        loss = 1.92 * decoder.loss(codes, images).mean() + 2.9e-5 * codes.square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _images(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (batch, 240, 240, 3), np.uint8)


def _milliseconds(step) -> float:
    times = []
    for run in range(_RUNS.value + 2):
        start = time.perf_counter()
        step()
        if run > 1:  # the first two compile and warm up
            times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def _in_a_process(name: str, huge_pages: bool) -> float:
    environment = os.environ | (HUGE_PAGES if huge_pages else {})
    arguments = [f"--only={name}", f"--batch={_BATCH.value}", f"--runs={_RUNS.value}"]
    command = [sys.executable, "-m", "benchmarks.train_step", *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout)


def main(_):
    steps = {"mofa_jax": our_step, "PyTorch": torch_step}
    if _ONLY.value:
        print(_milliseconds(steps[_ONLY.value](_BATCH.value)))
        return
    for pages in ("ordinary", "huge"):
        rounds = [[_in_a_process(n, pages == "huge") for n in steps] for _ in range(_ROUNDS.value)]
        ours, theirs = map(statistics.median, zip(*rounds, strict=True))
        print(
            f"alexnet, batch {_BATCH.value}, {pages} pages, {os.cpu_count()} cores: mofa_jax "
            f"{ours:.0f} ms, PyTorch {theirs:.0f} ms, ratio {theirs / ours:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
