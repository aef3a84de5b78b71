"""From crops to codes on a CPU: our encoders beside PyTorch and ONNX Runtime.

    pip install onnx onnxscript onnxruntime
    python -m benchmarks.inference

Ours takes uint8 crops of 240 px and shrinks them itself; the rivals are given the shrunken images.
ONNX Runtime runs what PyTorch exports. Each runs in processes of its own, in turns; the medians
of their medians are printed.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from absl import app, flags

from benchmarks.measuring import in_a_process

_ENCODERS = flags.DEFINE_list("encoders", ["compact", "alexnet", "vgg_face"], "Which.")
_BATCHES = flags.DEFINE_list("batches", ["1", "16"], "Crops at once.")
_ROUNDS = flags.DEFINE_integer("rounds", 2, "Processes of each.")
_SECONDS = flags.DEFINE_float("seconds", 1.5, "That a process measures.")
_ONLY = flags.DEFINE_string("only", None, "Measure this one here.")

_NUM_OUTPUTS = 257


def ours(name: str, batch: int) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    import mofa_jax
    from mofa_jax.encoders import make_encoder
    from mofa_jax.training.initial_weights import random_weights

    encoder = make_encoder(name, _NUM_OUTPUTS)
    weights = random_weights(encoder, 0, mofa_jax.Camera())
    crops = np.random.default_rng(0).integers(0, 256, (batch, 240, 240, 3), np.uint8)
    encode = jax.jit(lambda w, x: encoder.apply(w, x.astype(jnp.float32) / 255))
    return lambda: jax.block_until_ready(encode(weights, crops))


def pytorch(name: str, batch: int) -> Callable[[], object]:
    import torch

    network, images = _torch(name, batch)

    def run():
        with torch.inference_mode():
            return network(images)

    return run


def onnx_runtime(name: str, batch: int) -> Callable[[], object]:
    import onnxruntime
    import torch

    network, images = _torch(name, batch)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        torch.onnx.export(network, (images,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, fed)


def _torch(name: str, batch: int):
    import torch

    from benchmarks.torch_encoders import NETWORKS

    network, side = NETWORKS[name]
    return network(_NUM_OUTPUTS).eval(), torch.rand(batch, 3, side, side)


_RIVALS = {"mofa_jax": ours, "PyTorch": pytorch, "ONNX Runtime": onnx_runtime}


def _milliseconds(run: Callable[[], object]) -> float:
    for _ in range(3):
        run()
    times = []
    while sum(times) < _SECONDS.value:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _in_a_process(rival: str, name: str, batch: str) -> float:
    arguments = [f"--only={rival}", f"--encoders={name}", f"--batches={batch}"]
    arguments.append(f"--seconds={_SECONDS.value}")
    return in_a_process("benchmarks.inference", arguments)


def main(_):
    if _ONLY.value:
        run = _RIVALS[_ONLY.value](_ENCODERS.value[0], int(_BATCHES.value[0]))
        print(_milliseconds(run))
        return
    print(f"ms a batch, {os.cpu_count()} cores: {', '.join(_RIVALS)}")
    for name in _ENCODERS.value:
        for batch in _BATCHES.value:
            rounds = [
                [_in_a_process(r, name, batch) for r in _RIVALS] for _ in range(_ROUNDS.value)
            ]
            medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
            print(f"{name}, batch {batch}: {', '.join(f'{ms:.1f}' for ms in medians)}", flush=True)


if __name__ == "__main__":
    app.run(main)
