"""A TFDS data set in ArrayRecord files is read back as it was written, without TensorFlow."""

import io
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from mofa_jax.data.corpora.record import CorpusError, open_corpus
from mofa_jax.data.feeds.mixture import ForgivingSource
from mofa_jax.data.feeds.streamed import eval_batches

NUM_EXAMPLES = 6
CUT_EXAMPLE = 2


def picture(i: int, size: int = 240) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    return np.stack([x, y, np.full_like(x, 40 * i)], axis=-1).astype(np.uint8)


def encoded(i: int, size: int = 240, length: int | None = None) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(picture(i, size)).save(file, "PNG")
    return io.BytesIO(file.getvalue()[:length])


def features(shape=(240, 240, 3), **more) -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=shape, encoding_format="png"),
            "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
            **more,
        }
    )


CONFIDENCE = {"confidence": tfds.features.Tensor(shape=(68,), dtype=np.float32)}
NAME = {"name": tfds.features.Text()}


class Crops(tfds.core.GeneratorBasedBuilder):
    """Face crops, written as a user would; the record `CUT_EXAMPLE` is damaged."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = features(**CONFIDENCE, **NAME)
    SIZE = 240
    CUT = CUT_EXAMPLE

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self.FEATURES)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(NUM_EXAMPLES):
            example = {
                "image": encoded(i, self.SIZE, 400 if i == self.CUT else None),
                "landmarks": np.full((68, 2), i + 0.25, np.float32),
                "confidence": np.full(68, i / 10, np.float32),
                "name": f"person {i}",
            }
            yield i, {key: example[key] for key in self.FEATURES}


class Unnamed(Crops):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = features(**CONFIDENCE)
    CUT = None


class Unsure(Crops):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = features(**NAME)


class Large(Crops):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = features(shape=(256, 256, 3), **CONFIDENCE)
    SIZE = 256


class Oblong(Crops):
    VERSION = tfds.core.Version("1.0.0")
    FEATURES = features(shape=(256, 240, 3), **CONFIDENCE)


@pytest.fixture(scope="module")
def write(tmp_path_factory):
    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("tfds")

    def write_with(builder_class):
        builder = builder_class(data_dir=folder, file_format="array_record")
        builder.download_and_prepare()
        return str(builder.data_dir)

    return write_with


@pytest.fixture(scope="module")
def crops(write) -> str:
    return write(Crops)


def read_good(source) -> dict[str, dict]:
    found = {}
    for i in range(len(source)):
        try:
            example = source[i]
        except ValueError as error:
            assert f"person {CUT_EXAMPLE}: " in str(error)
        else:
            found[example["name"]] = example
    return found


def test_examples_are_what_was_written(crops):
    found = read_good(open_corpus(crops, "train"))
    assert len(found) == NUM_EXAMPLES - 1
    for name, example in found.items():
        i = int(name.split()[1])
        np.testing.assert_array_equal(example["image"], picture(i))
        np.testing.assert_array_equal(example["landmarks"], np.full((68, 2), i + 0.25))
        np.testing.assert_allclose(example["confidence"], np.full(68, i / 10), rtol=1e-6)
        assert example["landmarks"].dtype == example["confidence"].dtype == np.float32


def test_split_may_be_a_part(crops):
    first, second = open_corpus(crops, "train[:2]"), open_corpus(crops, "train[2:]")
    assert (len(first), len(second)) == (2, NUM_EXAMPLES - 2)
    assert not set(read_good(first)) & set(read_good(second))


def test_examples_without_a_name_are_named_by_place(write):
    source = open_corpus(write(Unnamed), "train[5:]")
    assert source[0]["name"].endswith("train[5:][0]")


def test_feed_replaces_the_damaged_record_and_evaluates_the_others(crops):
    lines: list[str] = []
    source = ForgivingSource(open_corpus(crops, "train"), lines.append)
    batches = eval_batches(source, 3)
    found = [str(n) for b in batches for n in np.array(b["name"])[b["valid"]]]
    assert len(found) == NUM_EXAMPLES - 1 and f"person {CUT_EXAMPLE}" not in found
    assert source.num_failed == 1 and len(lines) == 1 and f"person {CUT_EXAMPLE}: " in lines[0]


def test_reading_needs_no_tensorflow(crops):
    read = (
        "import sys; from mofa_jax.data.corpora.record import open_corpus; "
        "print(open_corpus(sys.argv[1], 'train')[0]['image'].shape, 'tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", read, crops]  # what other tests imported does not count
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "(240, 240, 3) False\n", done.stderr


@pytest.mark.parametrize(
    ("builder", "reason"), [(Unsure, "'confidence' is missing"), (Oblong, r"256, 240")]
)
def test_other_features_are_named(write, builder, reason):
    with pytest.raises(CorpusError, match=reason):
        open_corpus(write(builder), "train")


def test_pictures_may_have_another_size(write):
    source = open_corpus(write(Large), "train")
    assert source.image_size == 256 and source[0]["image"].shape == (256, 256, 3)


def test_corpus_of_an_earlier_version_is_opened_by_its_output_folder(crops, tmp_path):
    shutil.copytree(crops, tmp_path / "mofa_faces" / "1.0.0")
    assert len(read_good(open_corpus(tmp_path, "train"))) == NUM_EXAMPLES - 1


def test_missing_set_and_split_are_named(crops, tmp_path):
    for name, split in [(crops, "test"), (str(tmp_path), "train"), ("nothing_here", "train")]:
        with pytest.raises(CorpusError, match="cannot be opened") as caught:
            open_corpus(name, split)
        assert name in str(caught.value) and "\n" not in str(caught.value)
