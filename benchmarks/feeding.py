"""What feeding costs: reading against bare decoding, the train step's waiting, memory, the cache.

    python benchmarks/feeding.py --corpus=CORPUS --figure=memory.png

CORPUS is the folder of a prepared corpus (docs/corpora.md); without one, a small corpus of smooth
random pictures is written to a temporary folder. Prints

- decoded and augmented examples/s of the feed against a loop of `cv2.imdecode` alone over the same
  records, with one and with two threads, in alternating rounds;
- the share of its time that a training with `alexnet` at batch 5 waits for `next(feed)`;
- resident memory over an epoch of the feed, also as a figure;
- batches/s of the feed from the device cache.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags

from configs import alexnet
from mofa_jax.autoencoder import initial_weights, make_decoder
from mofa_jax.camera import make_camera
from mofa_jax.data.corpora.reader import TfdsSource, tfds_source
from mofa_jax.data.corpora.record import corpus_features
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.cached_feed import CachedFeed
from mofa_jax.data.feeds.device_cache import load_cache
from mofa_jax.data.feeds.prefetch import Prefetch
from mofa_jax.data.feeds.streamed import Source, make_feed
from mofa_jax.encoders import encoder_from_config
from mofa_jax.face_model import load_face_model
from mofa_jax.figures import write_image
from mofa_jax.optimizer import make_optimizer
from mofa_jax.params import code_size
from mofa_jax.train import TrainState, make_train_step, replicate

_CORPUS = flags.DEFINE_string("corpus", "", "Folder of a prepared corpus; '' = a temporary one.")
_MODEL = flags.DEFINE_string("model", "open", "Face model of the training: a file or a name.")
_THREADS = flags.DEFINE_integer("threads", 2, "Threads of the feed.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Alternating rounds of the reading.")
_EXAMPLES = flags.DEFINE_integer("examples", 1024, "Examples a round.")
_STEPS = flags.DEFINE_integer("steps", 40, "Timed training steps; 0 leaves the training out.")
_FIGURE = flags.DEFINE_string("figure", "", "PNG that takes the figure of memory; '' = none.")

_BATCH = 16
_AUGMENTATIONS = {
    "as it is": Augmentation(),
    "mirrored": Augmentation(flip=0.5),
    "moved": Augmentation(flip=0.5, scale=0.1, shift=8.0, rotation=15.0),
    "moved, light": Augmentation(
        flip=0.5, scale=0.1, shift=8.0, rotation=15.0, exposure=0.3, contrast=0.1
    ),
    "everything": Augmentation(
        flip=0.5, scale=0.1, shift=8.0, rotation=15.0, exposure=0.3, contrast=0.1, color=0.1,
        occluder=0.2, jpeg=40.0,
    ),
}  # fmt: skip


class RandomPictures(tfds.core.GeneratorBasedBuilder):
    """Smooth random pictures, about as large in JPEG as crops of faces."""

    VERSION = tfds.core.Version("1.0.0")
    SIZES = {"train": 2048, "eval": 16}  # noqa: RUF012 read only

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=corpus_features())

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in self.SIZES}

    def _generate_examples(self, split):
        rng = np.random.default_rng(len(split))
        for i in range(self.SIZES[split]):
            coarse = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
            picture = cv2.resize(coarse, (240, 240), interpolation=cv2.INTER_CUBIC)
            content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            yield (
                i,
                {
                    "image": io.BytesIO(content.tobytes()),
                    "landmarks": rng.uniform(60, 180, (68, 2)).astype(np.float32),
                    "confidence": np.ones(68, np.float32),
                    "to_photograph": np.eye(2, 3, dtype=np.float32),
                    "box": np.zeros(4, np.float32),
                    "name": f"{split} {i}",
                    "source": "",
                    "frame": -1,
                    "group": str(i),
                },
            )


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        corpus = _CORPUS.value or _write_corpus(folder)
        source = tfds_source(corpus, "train")
        print(f"{len(source)} examples, {os.cpu_count()} cores, {jax.default_backend()}")
        measure_reading(source)
        measure_memory(source)
        if _STEPS.value:
            measure_waiting(source)
        measure_cache(source)


def measure_reading(source: TfdsSource) -> None:
    """Prints examples/s of bare decoding and of the feed, and their ratios."""
    count = min(_EXAMPLES.value, len(source)) // (2 * _BATCH) * 2 * _BATCH
    contents = [source.image_file(i) for i in range(count)]
    feeds = {
        name: make_feed(source, _BATCH, 0, None if a == Augmentation() else a,
                        num_threads=_THREADS.value)
        for name, a in _AUGMENTATIONS.items()
    }  # fmt: skip
    for feed in feeds.values():
        next(feed)  # its threads have started
    tasks = {
        "bare decoding, 1 thread": lambda: _decode(contents),
        "bare decoding, 2 threads": lambda: _decode_in_two(contents),
    } | {
        f"feed, {name}": lambda feed=feed: [next(feed) for _ in range(count // _BATCH)]
        for name, feed in feeds.items()
    }
    costs = _costs(tasks, count)
    (one, _), (two, _) = list(costs.values())[:2]
    for name, (wall, processor) in costs.items():
        print(
            f"{name:26s} {1e6 / wall:6.0f} examples/s, {one / wall:4.2f} and {two / wall:4.2f} of "
            f"bare decoding in 1 and 2 threads; processor time {processor:4.0f} us"
        )


def measure_memory(source: Source) -> None:
    """Prints resident memory in an epoch of the feed, from its tenth batch on."""
    feed = make_feed(source, _BATCH, 0, _AUGMENTATIONS["everything"], num_threads=_THREADS.value)
    resident = []
    for _ in range(len(source) // _BATCH):
        next(feed)
        resident.append(_resident_mebibytes())
    steady = resident[10:] or resident
    print(
        f"resident memory over an epoch: {steady[0]:.0f} MiB after 10 batches, "
        f"{min(steady):.0f} to {max(steady):.0f}, {steady[-1]:.0f} MiB at the end"
    )
    if _FIGURE.value:
        write_image(_FIGURE.value, _plot(resident, "resident memory, MiB", "batches of an epoch"))


def measure_waiting(source: Source) -> None:
    """Prints how long a training with AlexNet at batch 5 waits for its batches."""
    config = alexnet.get_config()
    config.batch_size = 5 * jax.device_count()
    model, cam = load_face_model(_MODEL.value), make_camera(config.camera)
    encoder = encoder_from_config(config.encoder, code_size(model))
    weights = initial_weights(encoder, config, cam)
    optimizer = make_optimizer(config.optimizer, config.num_steps, model)
    state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    step = make_train_step(encoder.apply, optimizer, config)
    state, decoder = replicate(state), replicate(make_decoder(model, cam))
    feed = make_feed(
        source, config.batch_size, 0, _AUGMENTATIONS["everything"], num_threads=_THREADS.value
    )
    waited, pending = 0.0, None
    with closing(Prefetch(feed, config.data.batches_ahead)) as batches:
        for number in range(_STEPS.value + 3):
            if number == 3:  # compiled and started
                waited, begin = 0.0, time.perf_counter()
            start = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - start
            state, metrics = step(state, decoder, batch.arrays)
            if pending is not None:
                float(pending["loss"])  # one step late, as in training
            pending = metrics
        jax.block_until_ready(state)
    total = time.perf_counter() - begin
    print(
        f"alexnet, batch {config.batch_size}: {1e3 * total / _STEPS.value:.0f} ms a step, "
        f"{100 * waited / total:.2f} % of it waiting for input"
    )


def measure_cache(source: Source) -> None:
    """Prints batches/s from the device cache."""
    cache = load_cache(source, _THREADS.value)
    for name in ("as it is", "mirrored", "moved, light", "everything"):
        feed = CachedFeed(cache, 5 * jax.device_count(), 0, _AUGMENTATIONS[name])
        jax.block_until_ready(next(feed).arrays)
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 2.0:
            batch = next(feed)
            count += 1
            if count % 20 == 0:
                jax.block_until_ready(batch.arrays)
        jax.block_until_ready(batch.arrays)
        rate = count / (time.perf_counter() - start)
        print(f"device cache, batches of 5 a device, {name}: {rate:.0f} batches/s")


def _write_corpus(folder: str) -> str:
    tfds.disable_progress_bar()
    builder = RandomPictures(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def _decode(contents: list[bytes]) -> None:
    for content in contents:
        cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def _decode_in_two(contents: list[bytes]) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(_decode, (contents[::2], contents[1::2])))


def _costs(tasks: dict[str, Callable], count: int) -> dict[str, tuple[float, float]]:
    """Median (wall, processor) time of an example in each task, us; the tasks are done in turn."""
    times = {name: [] for name in tasks}
    for _ in range(_ROUNDS.value):
        for name, task in tasks.items():
            start = time.perf_counter(), time.process_time()
            task()
            end = time.perf_counter(), time.process_time()
            times[name].append([1e6 * (b - a) / count for a, b in zip(start, end, strict=True)])
    return {name: tuple(np.median(values, axis=0)) for name, values in times.items()}


def _resident_mebibytes() -> float:
    """This process's resident memory; Linux only."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def _plot(values: list[float], label: str, below: str) -> np.ndarray:
    """A line from zero up over the places of `values`: uint8 [300, 640, 3]."""
    picture = np.full((300, 640, 3), 255, np.uint8)
    top = 1.25 * max(values)
    x = 60 + 560 * np.arange(len(values)) / max(len(values) - 1, 1)
    y = 260 - 230 * np.array(values) / top
    write = {"fontFace": cv2.FONT_HERSHEY_SIMPLEX, "fontScale": 0.42, "color": (60, 60, 60)}
    for level in np.linspace(0, top, 5):
        at = round(260 - 230 * level / top)
        cv2.line(picture, (60, at), (620, at), (225, 225, 225), 1)
        cv2.putText(picture, f"{level:.0f}", (15, at + 4), lineType=cv2.LINE_AA, **write)
    points = np.stack([x, y], axis=1).round().astype(np.int32)
    cv2.polylines(picture, [points], False, (30, 90, 200), 2, cv2.LINE_AA)
    cv2.putText(picture, label, (60, 20), lineType=cv2.LINE_AA, **write)
    cv2.putText(picture, f"{len(values)} {below}", (430, 285), lineType=cv2.LINE_AA, **write)
    return picture


if __name__ == "__main__":
    app.run(main)
