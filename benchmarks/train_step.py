"""A train step of the paper's AlexNet, or of `compact`, beside PyTorch.

    python -m benchmarks.train_step --runs=9
    python -m benchmarks.train_step --config=compact --runs=9
    python -m benchmarks.train_step --config=compact --parts

Ours is the step that `main.py` takes: of configs/alexnet.py Eq. 7 without landmarks and AdaDelta,
of configs/compact.py landmarks and Adam with clipped gradients. The rival has the same network, the
decoder of `benchmarks/torch_decoder.py`, the same terms and PyTorch's optimizers. Each runs in
processes of its own (PyTorch's threads, waiting, take time from ours), in turns, with ordinary
pages and with the huge pages that `main.py` asks for; the medians of the processes' medians are
printed. `--parts` times the pieces of our step instead, each compiled alone.
"""

import functools
import json
import os
import statistics
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import app, flags
from ml_collections import ConfigDict

import mofa_jax
from benchmarks.measuring import alternate, in_a_process, milliseconds, print_table, save
from benchmarks.ours import training
from configs import alexnet, compact
from mofa_jax.autoencoder import objective
from mofa_jax.encoders import encoder_from_config
from mofa_jax.landmarks import LOSS_LANDMARKS
from mofa_jax.optimizer import make_optimizer
from mofa_jax.params import code_size
from mofa_jax.processes import HUGE_PAGES

_CONFIGS = {"alexnet": alexnet.get_config, "compact": compact.get_config}
_CONFIG = flags.DEFINE_enum("config", "alexnet", list(_CONFIGS), "The experiment.")
_BATCH = flags.DEFINE_integer("batch", 0, "Photographs a step; 0 = the config's.")
_RUNS = flags.DEFINE_integer("runs", 9, "Timed steps of each.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Processes of each.")
_PARTS = flags.DEFINE_bool("parts", False, "The pieces of our step.")
_ONLY = flags.DEFINE_enum("only", None, ["mofa_jax", "PyTorch", "parts"], "Measure this one here.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/train_step.json", "The numbers.")


def our_step(config: ConfigDict) -> Callable[[], None]:
    """A function that takes a step and waits for it."""
    config.steps_at_once = 1
    steps, state, decoder, batches = training(config)

    def step() -> None:
        nonlocal state
        state, metrics = steps(state, decoder, batches)
        jax.block_until_ready((state, metrics))

    return step


def torch_step(config: ConfigDict) -> Callable[[], None]:
    """The same by PyTorch."""
    import torch
    from torch import nn

    from benchmarks.torch_decoder import TorchDecoder
    from benchmarks.torch_encoders import NETWORKS

    model, (network, side) = mofa_jax.load_face_model("open"), NETWORKS[config.encoder.name]
    decoder, encoder = TorchDecoder(model, mofa_jax.Camera()), network(code_size(model))
    nn.init.zeros_(encoder[-1].weight)
    rate, clip = config.optimizer.learning_rate, config.optimizer.clip_norm
    if config.optimizer.name == "adam":
        optimizer = torch.optim.Adam(encoder.parameters(), lr=rate)
    else:
        optimizer = torch.optim.Adadelta(encoder.parameters(), lr=rate, rho=0.95, eps=1e-8)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (config.batch_size, 240, 240, 3), np.uint8)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    vertices = torch.from_numpy(np.array(model.landmarks)[LOSS_LANDMARKS])

    def step() -> None:
        small = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
        codes = encoder(255 * small - 117)
        photometric, screen = decoder.loss_and_screen(codes, images)
        loss = config.loss.photometric * photometric.mean()
        loss += config.loss.regularizer * codes.square().sum(1).mean()
        if config.loss.landmark:
            offset = (screen[:, vertices] - 120) / 240
            loss += config.loss.landmark * offset.square().sum((1, 2)).mean()
        optimizer.zero_grad()
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(encoder.parameters(), clip)
        optimizer.step()

    return step


def our_parts(config: ConfigDict) -> dict[str, Callable[[], object]]:
    """The pieces of a step, each compiled alone, and the step itself."""
    config.steps_at_once = 1
    _, state, decoder, batches = training(config)
    encoder = encoder_from_config(config.encoder, code_size(decoder.model))
    optimizer = make_optimizer(config.optimizer, config.num_steps, decoder.model)
    weights, batch = state.weights, {key: value[0, 0] for key, value in batches.items()}
    images = batch["image"].astype(jnp.float32) / 255.0
    forward = jax.jit(encoder.apply)
    codes = forward(weights, images)
    both_ways = jax.jit(lambda w, x: jax.vjp(lambda w: encoder.apply(w, x), w)[1](codes)[0])
    gradient = both_ways(weights, images)
    decode = jax.jit(
        lambda codes, batch, decoder: jax.grad(objective, has_aux=True)(
            codes, batch, decoder, lambda codes, _: codes, config.loss, None
        )
    )

    own = jax.tree.map(jnp.copy, (weights, state.opt_state))

    @functools.partial(jax.jit, donate_argnums=0)
    def updated(own, gradient):
        update, opt_state = optimizer.update(gradient, own[1], own[0])
        return optax.apply_updates(own[0], update), opt_state

    def update():
        nonlocal own
        own = updated(own, gradient)
        return own

    pieces = {
        "encoder forward": lambda: forward(weights, images),
        "encoder forward and backward": lambda: both_ways(weights, images),
        "decoder and loss, both ways": lambda: decode(codes, batch, decoder),
        "optimizer": update,
    }
    waiting = {name: lambda f=f: jax.block_until_ready(f()) for name, f in pieces.items()}
    return {**waiting, "the whole step": our_step(config)}


def _measure_here(config: ConfigDict) -> float | dict[str, float]:
    if _ONLY.value == "parts":
        parts = our_parts(config)
        alternate(parts, 2)  # compiles and warms up
        return alternate(parts, _RUNS.value)
    step = {"mofa_jax": our_step, "PyTorch": torch_step}[_ONLY.value]
    return milliseconds(step(config), _RUNS.value)


def _in_a_process(name: str, batch: int, pages: str):
    arguments = [f"--config={_CONFIG.value}", f"--batch={batch}", f"--runs={_RUNS.value}"]
    environment = HUGE_PAGES if pages == "huge" else {"GLIBC_TUNABLES": ""}
    return in_a_process("benchmarks.train_step", [f"--only={name}", *arguments], environment)


def _rows(batch: int) -> list[dict[str, object]]:
    """Of each kind of pages; milliseconds."""
    rows = []
    for pages in ("ordinary", "huge"):
        row = {"config": _CONFIG.value, "batch": batch, "pages": pages}
        if _PARTS.value:
            rows.append({**row, **_in_a_process("parts", batch, pages)})
            continue
        rounds = [
            [_in_a_process(name, batch, pages) for name in ("mofa_jax", "PyTorch")]
            for _ in range(_ROUNDS.value)
        ]
        ours, theirs = map(statistics.median, zip(*rounds, strict=True))
        rows.append({**row, "mofa_jax, ms": ours, "PyTorch, ms": theirs, "ratio": theirs / ours})
    return rows


def main(_):
    config = _CONFIGS[_CONFIG.value]()
    config.batch_size = _BATCH.value or config.batch_size
    if _ONLY.value:
        print(json.dumps(_measure_here(config)))
        return
    rows = _rows(config.batch_size)
    print(f"{os.cpu_count()} cores")
    print_table(rows)
    save(_OUTPUT.value, {"steps": rows})


if __name__ == "__main__":
    app.run(main)
