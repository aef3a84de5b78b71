"""Synthetic faces: images a second, the time of 100,000, and what each piece takes.

    python -m benchmarks.synthetic --batch=1,16,50 --runs=10

Medians on JAX's default device, of wall time and of processor time over all threads.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import mofa_jax
from mofa_jax.data.synthetic.backgrounds import photograph_background, procedural_background
from mofa_jax.data.synthetic.distributions import SyntheticRanges, sample_params
from mofa_jax.data.synthetic.examples import degrade, example_keys, synthetic_batch

_MODEL = flags.DEFINE_string("model", "open", "Face model: an npz file or a built-in name.")
_BATCH = flags.DEFINE_list("batch", ["1", "16", "50"], "Faces rendered together.")
_RUNS = flags.DEFINE_integer("runs", 10, "Timed runs of each.")
_PAPER = 100_000  # images of the paper's synthetic corpus


def _time(function, *arguments) -> tuple[float, float]:
    """Median seconds of wall and processor time of a call, after one that compiles."""
    jax.block_until_ready(function(*arguments))
    walls, processors = [], []
    for _ in range(_RUNS.value):
        wall, processor = time.perf_counter(), time.process_time()
        jax.block_until_ready(function(*arguments))
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    return statistics.median(walls), statistics.median(processors)


def _pieces(model, cam) -> dict:
    """The pieces of a face, each batched: (function, of which intermediate results)."""
    ranges = SyntheticRanges()

    def batched(function):
        return jax.jit(jax.vmap(function))

    return {
        "codes": (batched(lambda key: sample_params(key, model, ranges)), ["keys"]),
        "render": (batched(lambda params: mofa_jax.render(params, model, cam)), ["params"]),
        "rasterize": (batched(lambda r: mofa_jax.rasterize(r, model, cam)[0]), ["rendering"]),
        "procedural background": (
            batched(lambda key: procedural_background(key, cam.image_size)),
            ["keys"],
        ),
        "photograph background": (
            jax.jit(
                lambda keys, photographs: jax.vmap(
                    lambda key: photograph_background(key, photographs, cam.image_size)
                )(keys)
            ),
            ["keys", "photographs"],
        ),
        "degrade": (batched(lambda key, image: degrade(key, image, ranges)), ["keys", "image"]),
    }


def main(_):
    model, cam = mofa_jax.load_face_model(_MODEL.value), mofa_jax.Camera()
    photographs = np.random.default_rng(0).integers(0, 256, (100, 320, 320, 3), np.uint8)
    photographs = jnp.asarray(photographs)
    device = jax.devices()[0]
    print(f"{device.device_kind}: {model.num_vertices} vertices, {cam.image_size} px")
    pieces = _pieces(model, cam)
    for batch in map(int, _BATCH.value):
        keys = example_keys(0, 0, batch, "train")
        for name, behind in (("procedural", None), ("photograph", photographs)):
            wall, processor = _time(synthetic_batch, keys, model, cam, None, behind)
            print(
                f"batch {batch:3d}, {name} backgrounds: {batch / wall:7.1f} images/s, "
                f"{1e3 * processor / batch:5.1f} ms of processor time an image; "
                f"{_PAPER:,} in {_PAPER * wall / batch / 60:.1f} min"
            )
        found = {"keys": keys, "photographs": photographs}
        found["params"] = pieces["codes"][0](keys)
        found["rendering"] = pieces["render"][0](found["params"])
        found["image"] = pieces["rasterize"][0](found["rendering"])
        for name, (function, inputs) in pieces.items():
            wall, processor = _time(function, *(found[key] for key in inputs))
            print(
                f"    {name:22s} {1e3 * wall / batch:6.2f} ms an image, "
                f"{1e3 * processor / batch:6.2f} ms of processor time"
            )


if __name__ == "__main__":
    app.run(main)
