"""Whether this checkout is slower than the stored ratios say: a warning, never a failure.

    python -m benchmarks.compare_ratios
    python -m benchmarks.compare_ratios --update

Machines differ, so nothing is compared in seconds: each ratio is our time over that of a NumPy
product of matrices (the face model's bases with the codes and back, what a decoder cannot do
without), in alternating runs. `benchmarks/ratios.json` keeps them; `--update` writes it anew.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

import mofa_jax
from benchmarks.measuring import alternate, save
from benchmarks.ours import decoder_call

_FILE = flags.DEFINE_string("file", str(Path(__file__).with_name("ratios.json")), "The ratios.")
_UPDATE = flags.DEFINE_bool("update", False, "Writes the file.")
_RUNS = flags.DEFINE_integer("runs", 21, "Timed runs of each.")

_TOLERANCE = 0.2  # of a ratio


def measure(runs: int) -> dict[str, float]:
    """Our times over NumPy's, by name."""
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    value_and_grad, arguments = decoder_call(model, 5)
    rendering = jax.jit(mofa_jax.render)(mofa_jax.FaceParams.neutral(model), model, cam)
    functions = {
        "NumPy": _products(model, 5),
        "decoder and loss, batch 5": lambda: value_and_grad(*arguments),
        "rasterizer, 240 px": lambda: mofa_jax.rasterize(rendering, model, cam),
    }
    waiting = {name: lambda f=f: jax.block_until_ready(f()) for name, f in functions.items()}
    alternate(waiting, 2)  # compiles and warms up
    times = alternate(waiting, runs)
    bound = times.pop("NumPy")
    return {name: ms / bound for name, ms in times.items()}


def _products(model: mofa_jax.FaceModel, batch: int) -> Callable[[], np.ndarray]:
    """Codes times bases, and the result times the bases' transpose."""
    bases = np.concatenate([np.asarray(model.geometry_modes), np.asarray(model.reflectance_modes)])
    bases = bases.reshape(len(bases), -1)
    codes = np.ones((batch, len(bases)), np.float32)
    return lambda: (codes @ bases) @ bases.T


def warnings_of(measured: dict[str, float], stored: dict[str, float]) -> list[str]:
    """A sentence for each ratio that grew by more than a fifth."""
    return [
        f"warning: {name} takes {ratio:.2f} times NumPy's bound, stored is {stored[name]:.2f}"
        for name, ratio in measured.items()
        if name in stored and ratio > (1 + _TOLERANCE) * stored[name]
    ]


def main(_) -> None:
    measured = measure(_RUNS.value)
    for name, ratio in measured.items():
        print(f"{name}: {ratio:.2f} times NumPy's bound")
    if _UPDATE.value:
        save(_FILE.value, {"ratios": measured})
        return
    for warning in warnings_of(measured, json.loads(Path(_FILE.value).read_text())["ratios"]):
        print(warning)


if __name__ == "__main__":
    app.run(main)
