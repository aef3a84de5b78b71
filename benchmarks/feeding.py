"""What feeding costs: the feeds' images/s, the augmentation, the train step's waiting, memory.

    python -m benchmarks.feeding --corpus=CORPUS

CORPUS is the folder of a prepared corpus (docs/corpora.md); without one, a small corpus of smooth
random pictures is written to a temporary folder. Prints

- images/s of the feed from files and of the feed from the devices, by what is augmented, and the
  time of the augmentation alone;
- resident memory over an epoch of the feed from files;
- the share of its time that a training with `compact` waits for `feed.take`.
"""

import io
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from absl import app, flags

from configs import compact
from mofa_jax.camera import make_camera
from mofa_jax.data.corpora.record import corpus_features, open_corpus
from mofa_jax.data.feeds.augment import Augmentation, augment
from mofa_jax.data.feeds.mixture import ExampleSource
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache
from mofa_jax.data.feeds.streamed import StreamedFeed
from mofa_jax.face_models.load import load_face_model
from mofa_jax.optimizer import make_optimizer
from mofa_jax.training.learner import make_learner
from mofa_jax.training.steps import TrainState, make_train_steps, replicate

_CORPUS = flags.DEFINE_string("corpus", "", "Folder of a prepared corpus; '' = a temporary one.")
_MODEL = flags.DEFINE_string("model", "open", "Face model of the training: a file or a name.")
_SECONDS = flags.DEFINE_float("seconds", 3.0, "Time of each measurement of a feed.")
_STEPS = flags.DEFINE_integer("steps", 40, "Timed training steps; 0 leaves the training out.")

_BATCH = 16  # a device

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
        source = open_corpus(_CORPUS.value or _write_corpus(folder), "train")
        print(f"{len(source)} examples, {os.cpu_count()} cores, {jax.devices()[0].device_kind}")
        measure_feeds(source)
        measure_memory(source)
        if _STEPS.value:
            measure_waiting(source)


def measure_feeds(source: ExampleSource) -> None:
    """Prints images/s of both feeds, and what the augmentation takes of them."""
    batch_size, cache = _BATCH * jax.device_count(), load_cache(source)
    batch = {key: array[0, :_BATCH] for key, array in cache.arrays.items()}
    keys = jax.random.split(jax.random.key(0), _BATCH)
    for name, options in _AUGMENTATIONS.items():
        change = jax.jit(jax.vmap(lambda e, key, options=options: augment(e, key, options)))
        alone = 1e3 / _calls_a_second(lambda change=change: change(batch, keys))
        streamed = StreamedFeed(source, batch_size, 0, options)
        resident = ResidentFeed(cache, batch_size, 0, options)
        rates = [
            batch_size * _calls_a_second(lambda feed=feed: feed.take(1).arrays)
            for feed in (streamed, resident)
        ]
        streamed.close()
        print(
            f"{name:12s} from files {rates[0]:6.0f} images/s, from the devices {rates[1]:6.0f}; "
            f"augmentation alone {alone:6.1f} ms for {_BATCH} images"
        )


def measure_memory(source: ExampleSource) -> None:
    """Prints resident memory in an epoch of the feed from files, from its tenth batch on."""
    batch_size = _BATCH * jax.device_count()
    resident = []
    with closing(StreamedFeed(source, batch_size, 0, _AUGMENTATIONS["mirrored"])) as feed:
        for _ in range(len(source) // batch_size):
            jax.block_until_ready(feed.take(1).arrays)
            resident.append(_resident_mebibytes())
    steady = resident[10:] or resident
    print(
        f"resident memory over an epoch: {steady[0]:.0f} MiB after 10 batches, "
        f"{min(steady):.0f} to {max(steady):.0f}, {steady[-1]:.0f} MiB at the end"
    )


def measure_waiting(source: ExampleSource) -> None:
    """Prints how long a training with the compact config waits for its batches."""
    config = compact.get_config()
    config.batch_size *= jax.device_count()
    model, cam = load_face_model(_MODEL.value), make_camera(config.camera)
    learner = make_learner(config, model, cam)
    weights = learner.initial_weights()
    optimizer = make_optimizer(config.optimizer, config.num_steps, model)
    state = TrainState(jnp.zeros((), jnp.int32), weights, optimizer.init(weights))
    step = make_train_steps(learner.objective, optimizer)
    state, decoder = replicate(state), replicate(learner.decoder)
    augmentation = Augmentation(**config.data.augmentation)
    waited, pending = 0.0, None
    with closing(StreamedFeed(source, config.batch_size, 0, augmentation)) as feed:
        for number in range(_STEPS.value + 3):
            if number == 3:  # compiled and started
                waited, begin = 0.0, time.perf_counter()
            start = time.perf_counter()
            batch = feed.take(1)
            waited += time.perf_counter() - start
            state, metrics = step(state, decoder, batch.arrays)
            if pending is not None:
                float(pending["loss"])  # one step late, as in training
            pending = metrics
        jax.block_until_ready(state)
    total = time.perf_counter() - begin
    print(
        f"compact, batch {config.batch_size}: {1e3 * total / _STEPS.value:.0f} ms a step, "
        f"{100 * waited / total:.2f} % of it waiting for input"
    )


def _calls_a_second(function: Callable) -> float:
    """How often a function's result is ready in a second, after one call that compiles it."""
    jax.block_until_ready(function())
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < _SECONDS.value:
        jax.block_until_ready(function())
        count += 1
    return count / (time.perf_counter() - start)


def _write_corpus(folder: str) -> str:
    tfds.disable_progress_bar()
    builder = RandomPictures(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_dir)


def _resident_mebibytes() -> float:
    """This process's resident memory; Linux only."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    app.run(main)
