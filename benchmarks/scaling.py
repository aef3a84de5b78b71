"""Time and peak memory over the size of the problem, with fitted exponents.

    python -m benchmarks.scaling
    python -m benchmarks.scaling --tables=train_step,step_memory

Decoder and photometric loss, value and gradient, over the batch, the vertices and the modes (of
analytic faces) and the side of the photograph; the train step of configs/compact.py over the
batch. Each row has a process of its own. `program` is what XLA reserves: temporaries, arguments
and outputs, without the outputs that take the arguments' place; `process` is the largest resident
size of all, the making of the face model included. The exponents are slopes of logarithms at the
three largest sizes. `step_memory` sets the program's memory beside what the tensors of a step must
take.
"""

import json
import resource
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import app, flags

import mofa_jax
from benchmarks.measuring import exponent, in_a_process, milliseconds, print_table, save
from benchmarks.ours import decoder_call, training
from configs import alexnet, compact
from mofa_jax.encoders import encoder_from_config
from mofa_jax.face_model import face_model_from_arrays
from mofa_jax.face_models.analytic import analytic_face
from mofa_jax.params import code_size

_SIZES = {
    "batch": [1, 2, 4, 8, 16, 32],
    "vertices": [6400, 12769, 25600, 51076],  # squares
    "modes": [56, 112, 224, 448],  # of shape, expression and reflectance
    "side": [120, 240, 480, 960],
    "train_step": [4, 8, 16, 32],
    "step_memory": ["compact", "alexnet"],
}
_TABLES = flags.DEFINE_list("tables", list(_SIZES), "Which.")
_RUNS = flags.DEFINE_integer("runs", 9, "Timed runs.")
_ROW = flags.DEFINE_string("row", None, "Measure this table's row here, TABLE:SIZE.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks/scaling.json", "The numbers.")

_MB = 1e6
_BATCH = 5
_VERTICES = 25600
_VERTEX_NUMBERS = 48  # a vertex and face: position, reflectance, image and their gradients, once


def _analytic(sizes: dict[str, int]) -> mofa_jax.FaceModel:
    """The analytic face, its modes divided as the open model's."""
    most = sizes["modes"] * 80 // 224
    resolution = round(sizes["vertices"] ** 0.5)
    arrays = analytic_face(resolution, most, sizes["modes"] - 2 * most, most)
    return face_model_from_arrays(arrays, "analytic face")


def measure(table: str, size: int) -> dict[str, float]:
    """Milliseconds, and the memory of program and process, MB."""
    if table == "train_step":
        config = compact.get_config()
        config.batch_size, config.steps_at_once = size, 1
        function, *arguments = training(config)
    else:
        sizes = {"batch": _BATCH, "vertices": _VERTICES, "modes": 224, "side": 240, table: size}
        analytic = table in ("vertices", "modes")
        model = _analytic(sizes) if analytic else mofa_jax.load_face_model("open")
        function, arguments = decoder_call(model, sizes["batch"], sizes["side"])
    program = function.lower(*arguments).compile()
    memory = program_memory(program)
    ms = milliseconds(_repeated(program, arguments, table == "train_step"), _RUNS.value)
    sizes = {table: size, "ms": ms, "program, MB": memory["program"]}
    return {**sizes, "process, MB": _resident()}


def _repeated(function: Callable, arguments, donated: bool) -> Callable[[], None]:
    """Calls and waits; a donated first argument is replaced by the first result."""

    def call() -> None:
        results = jax.block_until_ready(function(*arguments))
        if donated:
            arguments[0] = results[0]

    return call


def program_memory(program: jax.stages.Compiled) -> dict[str, float]:
    """What XLA reserves for a program, MB."""
    analysis = program.memory_analysis()
    sizes = {
        "arguments": analysis.argument_size_in_bytes,
        "outputs": analysis.output_size_in_bytes,
        "aliased": analysis.alias_size_in_bytes,
        "temporaries": analysis.temp_size_in_bytes,
    }
    sizes["program"] = sum(sizes.values()) - 2 * sizes["aliased"]
    return {name: size / _MB for name, size in sizes.items()}


def step_memory(name: str) -> dict[str, Any]:
    """A step's program, MB, beside what its tensors must take."""
    config = {"alexnet": alexnet, "compact": compact}[name].get_config()
    config.steps_at_once = 1
    steps, state, decoder, batches = training(config)
    encoder = encoder_from_config(config.encoder, code_size(decoder.model))
    images = jax.ShapeDtypeStruct((config.batch_size, *decoder.cam.image_size, 3), jnp.float32)
    _, inside = jax.eval_shape(
        lambda w, x: encoder.apply(w, x, capture_intermediates=True), state.weights, images
    )
    needed = {
        "weights": _bytes(state.weights),
        "optimizer": _bytes(state.opt_state),
        "gradient": _bytes(state.weights),
        "face model": _bytes(decoder),
        "activations": _bytes(inside) + _bytes(images),
        "vertices": 4 * _VERTEX_NUMBERS * config.batch_size * decoder.model.num_vertices,
    }
    needed = {key: size / _MB for key, size in needed.items()}
    row = {
        "config": name,
        "batch": config.batch_size,
        **needed,
        "all of these": sum(needed.values()),
    }
    memory = program_memory(steps.lower(state, decoder, batches).compile())
    state_size = (_bytes(state.weights) + _bytes(state.opt_state)) / _MB
    share = memory["aliased"] / state_size
    return {
        **row,
        **memory,
        "times what is needed": memory["program"] / row["all of these"],
        "donated, of the state": share,
    }


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _resident() -> float:
    """The largest resident size of this process so far, MB."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB


def main(_) -> None:
    if _ROW.value:
        table, size = _ROW.value.split(":")
        row = step_memory(size) if table == "step_memory" else measure(table, int(size))
        print(json.dumps(row))
        return
    tables, exponents = {}, {}
    for table in _TABLES.value:
        rows = [
            in_a_process("benchmarks.scaling", [f"--row={table}:{size}", f"--runs={_RUNS.value}"])
            for size in _SIZES[table]
        ]
        tables[table] = rows
        print_table(rows)
        if table != "step_memory":
            sizes = [row[table] for row in rows]
            costs = {key: [row[key] for row in rows] for key in rows[0] if key != table}
            exponents[table] = {key: exponent(sizes, values) for key, values in costs.items()}
            print(f"exponents over {table}: {exponents[table]}\n", flush=True)
    save(_OUTPUT.value, {**tables, "exponents": exponents})


if __name__ == "__main__":
    app.run(main)
