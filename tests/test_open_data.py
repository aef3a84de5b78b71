"""A config's data, end to end: prepared corpora, mixed, from files or from the devices."""

import io
from itertools import islice

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from configs import default
from mofa_jax.data.corpora.record import SPLITS, corpus_features
from mofa_jax.data.feeds.cached_feed import CachedFeed
from mofa_jax.data.feeds.pipeline import open_data
from mofa_jax.data.feeds.prefetch import Prefetch

SIZES = {"train": 12, "eval": 5}


def crop(level: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(np.full((240, 240, 3), level, np.uint8)).save(file, "JPEG", quality=95)
    return io.BytesIO(file.getvalue())


class Greys(tfds.core.GeneratorBasedBuilder):
    """Crops of one grey each."""

    VERSION = tfds.core.Version("1.0.0")
    LEVEL = 50

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=corpus_features())

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        for i in range(SIZES[split]):
            name = f"{self.name}/{split}/{i}"
            yield (
                i,
                {
                    "image": crop(self.LEVEL),
                    "landmarks": np.full((68, 2), 120.0, np.float32),
                    "confidence": np.ones(68, np.float32),
                    "to_photograph": np.eye(2, 3, dtype=np.float32),
                    "box": np.zeros(4, np.float32),
                    "name": name,
                    "source": name,
                    "frame": -1,
                    "group": name,
                },
            )


class Whites(Greys):
    VERSION = tfds.core.Version("1.0.0")
    LEVEL = 250


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("corpora")
    builders = [each(data_dir=folder, file_format="array_record") for each in (Greys, Whites)]
    for builder in builders:
        builder.download_and_prepare()
    return [str(builder.data_dir) for builder in builders]


@pytest.fixture
def config(corpora):
    config = default.get_config()
    config.data.kind, config.batch_size = "tfds", 8
    config.data.mixture = f"{corpora[0]}=3,{corpora[1]}=1"
    return config


@pytest.mark.parametrize(("cache", "kind"), [("off", Prefetch), ("on", CachedFeed)])
def test_training_draws_from_each_corpus_by_its_weight(config, cache, kind, tmp_path):
    config.data.device_cache = cache
    data = open_data(config, None, None, tmp_path)
    assert isinstance(data.train, kind)
    batches = list(islice(iter(data.train), 6))
    data.train.close()
    names = [name for batch in batches for name in batch.names()]
    levels = np.concatenate([batch.images(8)[:, 0, 0, 0] for batch in batches]).astype(int)
    assert all("/train/" in name for name in names)
    assert sum(name.startswith("greys") for name in names) == 36
    for name, level in zip(names, levels, strict=True):
        assert abs(level - (50 if name.startswith("greys") else 250)) <= 1


def test_evaluation_sees_as_much_of_each_corpus(config, tmp_path):
    config.data.num_eval = 8
    data = open_data(config, None, None, tmp_path)
    names = [
        str(name)
        for batch in data.make_eval()
        for name, valid in zip(batch["name"], batch["valid"], strict=True)
        if valid
    ]
    assert len(set(names)) == len(names) == 8 and all("/eval/" in name for name in names)
    assert sum(name.startswith("greys") for name in names) == 4
    data.train.close()


def test_path_and_mixture_together_are_refused(config, corpora, tmp_path):
    config.data.path = corpora[0]
    with pytest.raises(ValueError, match=r"data\.mixture"):
        open_data(config, None, None, tmp_path)
