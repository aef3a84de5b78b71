"""On an accelerator: that everything works there as on a CPU, and how fast.

    python -m benchmarks.gpu --output=runs/gpu
    python -m benchmarks.gpu --output=runs/gpu --parts=train_alexnet,inference

Each part's numbers are added to OUTPUT/gpu.json as soon as they are there, and a part that is there
is not run again; of a part that fails its error is said, and the others go on. `--short` runs
every part in its smallest form, which a CPU does in a few minutes.
"""

import collections
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

import mofa_jax
from benchmarks.ours import codes_and_images, decoder_call, training
from configs import default
from mofa_jax.autoencoder import Decoder, objective
from mofa_jax.camera import make_camera
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache
from mofa_jax.data.feeds.synthetic import SyntheticFeed
from mofa_jax.data.synthetic.distributions import SyntheticRanges
from mofa_jax.data.synthetic.examples import example_keys, synthetic_batch
from mofa_jax.encoders import encoder_from_config
from mofa_jax.evaluation.training_log import logged_evaluations
from mofa_jax.files.writing import write_json
from mofa_jax.params import code_size
from mofa_jax.provenance import provenance
from mofa_jax.rasterizer import rasterize_ids
from mofa_jax.training.initial_weights import random_weights

_OUTPUT = flags.DEFINE_string("output", "runs/gpu", "Folder for gpu.json.")
_PARTS = flags.DEFINE_list(
    "parts", [], "Some of the parts, or what their names begin with; all of them if none is named."
)
_SHORT = flags.DEFINE_bool("short", False, "Every part in its smallest form.")

_ROOT = Path(__file__).resolve().parents[1]
# Of the tests, those that compare with NumPy float64, brute force or closed forms.
_TESTS = ("decoder", "rasterizer", "camera", "illumination", "mesh", "sampling", "metrics")
_TESTS += ("alignment_losses", "resident", "synthetic", "fitting")
_SECONDS = 0.3  # that a measurement lasts
_UPDATE_BYTES = 40  # a weight: read forward, backward and in the update, its gradient written and
# read, AdaDelta's two averages and the weight itself read and written
_VERTEX_BYTES = 192  # a vertex and face: position, reflectance, image and their gradients, once


class Case(NamedTuple):
    """A training that is timed."""

    encoder: str
    dtype: str
    batch: int
    steps: int  # in one dispatch


_CASES = [
    Case("alexnet", "float32", 5, 20),
    Case("alexnet", "float32", 64, 10),
    Case("alexnet", "bfloat16", 512, 2),
    Case("vgg_face", "float32", 5, 10),
    Case("vgg_face", "bfloat16", 64, 2),
    Case("vgg_face", "bfloat16", 512, 2),
    Case("compact", "float32", 16, 20),
    Case("compact", "bfloat16", 64, 10),
]


def tests() -> dict[str, Any]:
    """The tests against independent oracles, their arrays on the accelerator."""
    names = ("camera",) if _SHORT.value else _TESTS
    files = [f"tests/test_{name}.py" for name in names]
    workers = ["-n", str(min(6, os.cpu_count() or 1)), "-p", "no:benchmark"]
    command = ["-m", "pytest", "-q", *workers, "-p", "no:cacheprovider", *files]
    platform = {"gpu": "cuda,cpu"}.get(jax.default_backend(), jax.default_backend())
    done = _run(command, platform, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode:
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        raise RuntimeError("; ".join(failed) or done.stderr[-500:])
    return {"summary": lines[-1]}


def pictures() -> dict[str, Any]:
    """How many pixels the rasterizer gives to another triangle than on the CPU."""
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    batch = synthetic_batch(example_keys(0, 0, 4, "eval"), model, cam)
    rendering = jax.vmap(lambda p: mofa_jax.render(p, model, cam))(batch["params"])
    arguments = rendering.screen, -rendering.vertices[..., 2], model.triangles
    drawn = []
    for device in (jax.devices()[0], jax.devices("cpu")[0]):
        with jax.default_device(device):
            placed = jax.device_put(arguments, device)
            draw = jax.vmap(lambda s, d, t: rasterize_ids(s, d, t, (240, 240))[0], (0, 0, None))
            drawn.append(np.asarray(jax.jit(draw)(*placed)))
    return {"pixels": drawn[0].size, "different": int((drawn[0] != drawn[1]).sum())}


def gradients() -> dict[str, Any]:
    """The train step's gradient on the accelerator against the CPU's, in norms over all weights."""
    rows, names = {}, ("compact",) if _SHORT.value else ("compact", "alexnet")
    for name in names:
        for dtype, precision in (("float32", "highest"), ("float32", None), ("bfloat16", None)):
            config = _config(Case(name, dtype, 4, 1))
            with jax.default_matmul_precision(precision):
                here = _gradient(config, jax.devices()[0])
            config.encoder.dtype = "float32"
            there = _gradient(config, jax.devices("cpu")[0])
            difference = [np.sum((a - b) ** 2) for a, b in zip(here, there, strict=True)]
            norm = np.sqrt(sum(np.sum(b**2) for b in there))
            key = f"{name} {dtype}, {precision or 'default'} precision"
            rows[key] = float(np.sqrt(sum(difference)) / norm)
    return rows


def _gradient(config, device) -> list[np.ndarray]:
    """Of Eq. 7 at random weights, on synthetic faces, in float64 for comparing."""
    with jax.default_device(jax.devices("cpu")[0]):
        model, cam = mofa_jax.load_face_model("open"), make_camera(config.camera)
        encoder = encoder_from_config(config.encoder, code_size(model))
        weights, rng = random_weights(encoder, 0, cam), np.random.default_rng(0)
        weights = jax.tree.map(
            lambda w: np.asarray(w) + 0.003 * rng.normal(size=w.shape).astype(np.float32), weights
        )
        batch = synthetic_batch(example_keys(1, 0, config.batch_size, "train"), model, cam)
        batch = {
            "image": jnp.round(255 * batch["image"]).astype(jnp.uint8),
            "landmarks": batch["landmarks"],
            "confidence": batch["confidence"],
        }
    with jax.default_device(device):
        placed = jax.device_put((weights, batch, Decoder(model, cam)), device)
        of_loss = jax.jit(
            lambda *args: jax.grad(objective, has_aux=True)(*args, encoder.apply, config.loss)[0]
        )
        return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(of_loss(*placed))]


def transfers() -> dict[str, Any]:
    """Steps on faces that lie on the device, with every hidden copy between it and the host
    forbidden."""
    config = _config(Case("compact", "float32", 8, 2))
    steps, state, decoder, _ = training(config)
    feeds = {
        "resident": ResidentFeed(load_cache(_Faces(64)), 8, 0, Augmentation(flip=0.5, shift=3.0)),
        "rendered": SyntheticFeed(
            mofa_jax.load_face_model("open"), mofa_jax.Camera(), 8, SyntheticRanges(), None, 0
        ),
    }
    for feed in feeds.values():
        state, _ = steps(state, decoder, _of_photographs(feed.take(2).arrays))  # compiles
        with jax.transfer_guard("disallow"):
            for _ in range(3):
                state, metrics = steps(state, decoder, _of_photographs(feed.take(2).arrays))
            jax.device_get(metrics)
    return {"feeds": list(feeds), "hidden copies": 0}


def checkpoints() -> dict[str, Any]:
    """A run that begins here, goes on on the CPU and ends here, by the command that people type."""
    folder, errors = Path(_OUTPUT.value) / "checkpoints", {}
    shutil.rmtree(folder, ignore_errors=True)  # of a call that failed
    for platform, num_steps in ((None, 4), ("cpu", 8), (None, 12)):
        command = ["main.py", "--config=configs/quickstart.py", f"--workdir={folder}"]
        command += [f"--config.num_steps={num_steps}", "--config.data.num_eval=8"]
        command += ["--config.batch_size=4", "--config.log_every=4", "--config.reconstruct="]
        _run(command, platform)
        error = logged_evaluations(folder)["landmark_error"][num_steps]
        errors[f"px after {num_steps} steps, {platform or jax.default_backend()}"] = error
    return errors


def reconstruction() -> dict[str, Any]:
    """The astronaut's parameters here and on the CPU, by the command that people type."""
    codes, seconds = [], []
    for platform in (None, "cpu"):
        folder = Path(_OUTPUT.value) / f"reconstruction_{platform or 'here'}"
        start = time.perf_counter()
        _run(["-m", "mofa_jax.reconstruct", f"--output={folder}", "astronaut"], platform)
        seconds.append(round(time.perf_counter() - start, 1))
        (file,) = folder.rglob("*.json")
        codes.append(np.asarray(mofa_jax.load_parameters(file).params.to_code()))
    difference = float(np.abs(codes[0] - codes[1]).max())
    return {"largest difference of the code": difference, "seconds here, CPU": seconds}


def ceilings() -> dict[str, Any]:
    """Bytes a second of a copy within the memory, and operations a second of a product."""
    side, rows = 512 if _SHORT.value else 8192, {"TB/s": _bandwidth() / 1e12}
    for dtype in ("float32", "bfloat16"):
        a = jax.random.normal(jax.random.key(0), (side, side)).astype(dtype)
        for precision in ("highest", "default") if dtype == "float32" else ("default",):
            product = jax.jit(lambda a, p=precision: jnp.matmul(a, a, precision=p))
            ms = _milliseconds(product, a)
            rows[f"TFLOP/s {dtype} {precision}"] = 2 * side**3 / ms / 1e9
    return rows


def decoder() -> list[dict[str, Any]]:
    """Decoder and photometric loss, value and gradient, as `benchmarks/decoder.py` calls them."""
    bandwidth, rows, model = _bandwidth(), [], mofa_jax.load_face_model("open")
    batches = (1, 2) if _SHORT.value else (1, 5, 64, 512)
    calls = _compiled({batch: decoder_call(model, batch) for batch in batches})
    for batch, (value_and_grad, arguments) in calls.items():
        ms = _milliseconds(value_and_grad, *arguments)
        bases = model.geometry_modes.nbytes + model.reflectance_modes.nbytes
        needed = 2 * bases + batch * model.num_vertices * _VERTEX_BYTES
        rows.append(
            {
                "batch": batch,
                "ms": ms,
                "faces/s": 1e3 * batch / ms,
                "of the card's bytes/s": needed / bandwidth / (ms / 1e3),
            }
        )
    return rows


def pytorch() -> list[dict[str, Any]]:
    """The same as in `decoder`, by PyTorch on the same card."""
    import torch

    from benchmarks.torch_decoder import TorchDecoder

    on_card = torch.cuda.is_available()
    torch.set_default_device("cuda" if on_card else "cpu")
    model, rows = mofa_jax.load_face_model("open"), []
    rival = TorchDecoder(model, mofa_jax.Camera())
    for batch in (1, 2) if _SHORT.value else (1, 5, 64, 512):
        codes, images = (torch.tensor(np.array(x)) for x in codes_and_images(model, batch))
        images = images.permute(0, 3, 1, 2).contiguous()

        def run(codes=codes, images=images):
            result = rival.value_and_grad(codes, images)
            if on_card:
                torch.cuda.synchronize()
            return result

        rows.append({"batch": batch, "ms": _milliseconds(run)})
    return rows


def train(encoder: str) -> list[dict[str, Any]]:
    """The train step on faces that lie on the device, several in one dispatch."""
    cases = [case for case in _CASES if case.encoder == encoder]
    if _SHORT.value:
        cases = [Case(encoder, "float32", 2, 2)]
    bandwidth, rows, start = _bandwidth(), [], time.perf_counter()
    programs = {}
    for case in cases:  # described by shapes: not all weights fit on the card together
        steps, *arguments = training(_config(case))
        programs[case] = steps, jax.tree.map(_shape_of, arguments)
        del arguments
    compiled, seconds = _compiled(programs), time.perf_counter() - start
    for case, (program, _) in compiled.items():
        _, state, decoder, batches = training(_config(case))
        numbers = sum(leaf.size for leaf in jax.tree.leaves(state.weights))
        state, metrics = jax.block_until_ready(program(state, decoder, batches))
        times = []
        while sum(times) < 5 * _SECONDS:
            start = time.perf_counter()
            state, metrics = jax.block_until_ready(program(state, decoder, batches))
            times.append(time.perf_counter() - start)
        step = statistics.median(times) / case.steps
        rows.append(
            {
                **case._asdict(),
                "compile s, all together": seconds,
                "steps/s": 1 / step,
                "images/s": case.batch / step,
                "of the floor": numbers * _UPDATE_BYTES / bandwidth / step,
                "loss": float(metrics["loss"][-1]),
            }
        )
        del state, decoder, batches
    return rows


def kernels() -> dict[str, Any]:
    """Where the time goes: the kernels that take most of it, in microseconds a step or call.

    Beside gpu.json, each program is left as XLA compiled it (kernels_*.txt.gz).
    """
    decoders = (1,) if _SHORT.value else (5, 512)
    case = Case("compact", "float32", 2, 2) if _SHORT.value else Case("alexnet", "float32", 5, 20)
    model = mofa_jax.load_face_model("open")
    programs = {f"decoder, batch {batch}": decoder_call(model, batch) for batch in decoders}
    steps, *arguments = training(_config(case))
    name = f"{case.encoder}, batch {case.batch}"
    programs[name] = steps, arguments
    rows = {}
    for name, (program, arguments) in _compiled(programs).items():
        file = Path(_OUTPUT.value) / f"kernels_{name.split(',')[0]}_{len(rows)}.txt.gz"
        file.write_bytes(gzip.compress(program.as_text().encode()))
        trains = not name.startswith("decoder")
        calls, steps_a_call = (3, case.steps) if trains else (20, 1)
        spent = _kernel_times(program, arguments, calls, donated=trains)
        per_step = {k: 1e-3 * ns / calls / steps_a_call for k, ns in spent.items()}
        longest = sorted(per_step.items(), key=lambda item: -item[1])[:40]
        rows[name] = {"all kernels": sum(per_step.values()), **dict(longest)}
    return rows


def _kernel_times(program: Callable, arguments, calls: int, donated: bool) -> dict[str, float]:
    """Nanoseconds in each kernel, by name: as often as it ran, its median.

    A donated first argument is replaced by the first result.
    """

    def call(arguments):
        results = jax.block_until_ready(program(*arguments))
        return [results[0], *arguments[1:]] if donated else arguments

    arguments, spent = call(arguments), collections.defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(calls):
                arguments = call(arguments)
        (file,) = Path(folder).rglob("*.xplane.pb")
        for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
            if plane.name.startswith("/device:GPU"):
                for line in plane.lines:
                    for event in line.events if line.name.startswith("Stream") else ():
                        spent[event.name].append(event.duration_ns)
    return {name: len(times) * statistics.median(times) for name, times in spent.items()}


def inference() -> list[dict[str, Any]]:
    """Codes of crops that lie on the device: one by one, and many at once."""
    rows, programs, cam, num_outputs = [], {}, mofa_jax.Camera(), 257
    names = ("compact",) if _SHORT.value else ("alexnet", "vgg_face", "compact")
    for name in names:
        for dtype, batch in (("float32", 1), ("bfloat16", 1), ("bfloat16", 512)):
            config = _config(Case(name, dtype, batch, 1)).encoder
            encoder = encoder_from_config(config, num_outputs)
            weights = random_weights(encoder, 0, cam)
            size = 2 if _SHORT.value and batch > 1 else batch
            images = jax.random.bits(jax.random.key(0), (size, 240, 240, 3), jnp.uint8)
            encode = jax.jit(lambda w, x, e=encoder: e.apply(w, x.astype(jnp.float32) / 255))
            programs[name, dtype, size] = encode, (weights, images)
    for (name, dtype, size), (encode, arguments) in _compiled(programs).items():
        ms = _milliseconds(encode, *arguments)
        row = {"encoder": name, "dtype": dtype, "batch": size, "ms": ms}
        rows.append({**row, "images/s": 1e3 * size / ms})
    return rows


def synthetic() -> dict[str, Any]:
    """Faces rendered before procedural backgrounds, and how long 100,000 of them take."""
    batch, count = (2, 1) if _SHORT.value else (64, 8)
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    feed = SyntheticFeed(model, cam, batch, SyntheticRanges(), None, 0)
    ms = _milliseconds(lambda: feed.take(count).arrays)
    rate = 1e3 * batch * count / ms
    return {"batch": batch, "faces/s": rate, "seconds for 100,000": 1e5 / rate}


def feed() -> dict[str, Any]:
    """Faces drawn from the device's memory, as they are and with every augmentation."""
    batch, count, faces = (4, 1, 16) if _SHORT.value else (64, 10, 4096)
    cache, rows = load_cache(_Faces(faces)), {}
    everything = Augmentation(
        flip=0.5, scale=0.1, shift=10.0, rotation=10.0, occluder=0.3, exposure=0.3, contrast=0.2,
        color=0.1, jpeg=50.0,
    )  # fmt: skip
    for name, augmentation in (("as they are", Augmentation()), ("augmented", everything)):
        drawn = ResidentFeed(cache, batch, 0, augmentation)
        ms = _milliseconds(lambda drawn=drawn: drawn.take(count).arrays)
        rows[f"{name}, faces/s"] = 1e3 * batch * count / ms
    return rows


def rasterizer() -> list[dict[str, Any]]:
    """Z-buffered pictures of rendered faces."""
    model, cam = mofa_jax.load_face_model("open"), mofa_jax.Camera()
    rows, programs = [], {}
    for side, batch in ((240, 1),) if _SHORT.value else ((240, 1), (240, 64), (1024, 1), (1024, 8)):
        scaled = cam.scaled(side / 240)
        faces = synthetic_batch(example_keys(0, 0, batch, "eval"), model, cam)
        draw = jax.vmap(
            lambda p, m, c=scaled: mofa_jax.rasterize(mofa_jax.render(p, m, c), m, c), (0, None)
        )
        programs[side, batch] = jax.jit(draw), (faces["params"], model)
    for (side, batch), (draw, arguments) in _compiled(programs).items():
        ms = _milliseconds(draw, *arguments)
        rows.append({"side": side, "batch": batch, "ms": ms, "pictures/s": 1e3 * batch / ms})
    return rows


_EVERY_PART: dict[str, Callable[[], Any]] = {
    "ceilings": ceilings,
    "decoder": decoder,
    "pytorch": pytorch,
    "synthetic": synthetic,
    "feed": feed,
    "rasterizer": rasterizer,
    "inference": inference,
    # XLA tries out kernels for a minute a network: each is a part, so that little is lost
    **{
        f"train_{encoder}": partial(train, encoder)
        for encoder in ("compact", "alexnet", "vgg_face")
    },
    "kernels": kernels,
    "tests": tests,
    "pictures": pictures,
    "gradients": gradients,
    "transfers": transfers,
    "reconstruction": reconstruction,
    "checkpoints": checkpoints,
}


class _Faces:
    """A source of noise pictures."""

    def __init__(self, count: int):
        self._count = count
        self._image = np.random.default_rng(0).integers(0, 256, (240, 240, 3), np.uint8)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, i: int) -> dict[str, Any]:
        landmarks = np.full((68, 2), 120.0, np.float32)
        confidence = np.ones(68, np.float32)
        return {
            "image": self._image,
            "landmarks": landmarks,
            "confidence": confidence,
            "name": f"noise {i}",
        }

    def label_of(self, i: int) -> str:
        return f"noise {i}"


def _run(
    arguments: list[str], platform: str | None, check: bool = True
) -> subprocess.CompletedProcess:
    """Runs Python in the checkout, sharing the card with this process; on the default platform if
    None.

    Raises:
      RuntimeError: it failed; with the end of what it printed.
    """
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if platform:
        environment["JAX_PLATFORMS"] = platform
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        env=environment,
        check=False,
    )
    if check and done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])
    return done


def _config(case: Case):
    config = default.get_config()
    config.encoder.name, config.encoder.dtype = case.encoder, case.dtype
    config.batch_size, config.steps_at_once = case.batch, case.steps
    return config


def _compiled(programs: dict[Any, tuple[Callable, Sequence]]) -> dict[Any, tuple]:
    """Programs, each with its arguments, compiled side by side: XLA needs seconds for each."""
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda p: p[0].lower(*p[1]).compile(), programs.values())
        compiled = dict(zip(programs, done, strict=True))
    return {name: (compiled[name], arguments) for name, (_, arguments) in programs.items()}


def _shape_of(leaf: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def _of_photographs(arrays: dict) -> dict:
    return {key: arrays[key] for key in ("image", "landmarks", "confidence")}


def _bandwidth() -> float:
    """Bytes a second of a copy within the device's memory, read and written."""
    x = jnp.ones(1 << (22 if _SHORT.value else 30), jnp.float32)
    return 2 * x.nbytes / (_milliseconds(jax.jit(lambda x: x + 1), x) / 1e3)


def _milliseconds(function: Callable, *arguments) -> float:
    """Median time of a call, after two that compile and warm up."""
    for _ in range(2):
        _wait(function(*arguments))
    times = []
    while sum(times) < _SECONDS:
        start = time.perf_counter()
        _wait(function(*arguments))
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _wait(result: Any) -> None:
    jax.block_until_ready([leaf for leaf in jax.tree.leaves(result) if isinstance(leaf, jax.Array)])


def main(_):
    wanted = set()
    for given in _PARTS.value:
        named = {name for name in _EVERY_PART if f"{name}_".startswith(f"{given}_")}
        if not named:
            sys.exit(f"error: --parts={given}: there are {', '.join(_EVERY_PART)}.")
        wanted |= named
    path = Path(_OUTPUT.value) / "gpu.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text()) if path.is_file() else {}
    failed = []
    for name, part in _EVERY_PART.items():
        if name in results or (wanted and name not in wanted):
            continue
        start = time.perf_counter()
        try:
            results[name] = part()
        except Exception as error:  # one part that fails does not end the others
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            failed.append(name)
            continue
        seconds = round(time.perf_counter() - start, 1)
        results[f"{name} took"] = {"seconds": seconds, **provenance()}
        write_json(path, results)
        print(f"{name}, {seconds} s: {_text(results[name])}", flush=True)
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed; the same command tries them again.")


def _text(result: Any) -> str:
    if isinstance(result, list):
        return "".join(f"\n  {_text(row)}" for row in result)
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in result.items()}
    return ", ".join(f"{key} {value}" for key, value in shown.items())


if __name__ == "__main__":
    app.run(main)
