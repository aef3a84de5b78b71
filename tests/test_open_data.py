"""A config's data, end to end: corpora and folders, from files or from the devices, or refused."""

import io
import logging

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from skimage.data import astronaut

from configs import default
from mofa_jax.camera import Camera
from mofa_jax.data.corpora.record import SPLITS, Corpus, corpus_features, open_corpus
from mofa_jax.data.feeds.mixture import parse_mixture
from mofa_jax.data.feeds.pipeline import OF_PHOTOGRAPHS, keep_places, open_data, open_split
from mofa_jax.data.feeds.resident import ResidentFeed
from mofa_jax.data.feeds.streamed import StreamedFeed
from mofa_jax.data.sources.images import list_photographs

SIZES = {"train": 12, "eval": 5}
CAM = Camera()


def crop(level: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(np.full((240, 240, 3), level, np.uint8)).save(file, "JPEG", quality=95)
    return io.BytesIO(file.getvalue())


class Grays(tfds.core.GeneratorBasedBuilder):
    """Crops of one gray each."""

    VERSION = tfds.core.Version("1.0.0")
    LEVEL, CONFIDENCE = 50, 1.0
    CROP = "haar"

    def _info(self):
        metadata = tfds.core.MetadataDict(recipe={"options": {"crop": self.CROP}})
        return tfds.core.DatasetInfo(builder=self, features=corpus_features(), metadata=metadata)

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
                    "confidence": np.full(68, self.CONFIDENCE, np.float32),
                    "to_photograph": np.eye(2, 3, dtype=np.float32),
                    "box": np.zeros(4, np.float32),
                    "name": name,
                    "source": name,
                    "frame": -1,
                    "group": name,
                },
            )


class Whites(Grays):
    VERSION = tfds.core.Version("1.0.0")
    LEVEL = 250


class Blanks(Grays):
    """Crops without a landmark."""

    VERSION = tfds.core.Version("1.0.0")
    CONFIDENCE = 0.0


class AboutLandmarks(Grays):
    """Crops that were cut about landmarks."""

    VERSION = tfds.core.Version("1.0.0")
    CROP = "landmarks"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("corpora")
    builders = [
        each(data_dir=folder, file_format="array_record")
        for each in (Grays, Whites, Blanks, AboutLandmarks)
    ]
    for builder in builders:
        builder.download_and_prepare()
    return [str(builder.data_dir) for builder in builders]


@pytest.fixture
def config(corpora):
    config = default.get_config()
    config.data.kind, config.batch_size = "tfds", 8
    config.data.mixture = f"{corpora[0]}=3,{corpora[1]}=1"
    return config


@pytest.mark.parametrize(("cache", "kind"), [("off", StreamedFeed), ("on", ResidentFeed)])
def test_training_draws_from_each_corpus_by_its_weight(config, cache, kind, tmp_path):
    config.data.device_cache = cache
    data = open_data(config, None, CAM, tmp_path)
    assert isinstance(data.train, kind)
    batches = [data.train.take(1) for _ in range(6)]
    data.train.close()
    names = [name for batch in batches for name in batch.names(0)]
    levels = np.concatenate([batch.examples(8)["image"][:, 0, 0, 0] for batch in batches]).astype(
        int
    )
    assert all("/train/" in name for name in names)
    assert sum(name.startswith("grays") for name in names) == 36
    for name, level in zip(names, levels, strict=True):
        assert abs(level - (50 if name.startswith("grays") else 250)) <= 1


def test_evaluation_sees_as_much_of_each_corpus(config, tmp_path):
    config.data.num_eval = 8
    data = open_data(config, None, CAM, tmp_path)
    names = [
        str(name)
        for batch in data.make_eval()
        for name, valid in zip(batch["name"], batch["valid"], strict=True)
        if valid
    ]
    assert len(set(names)) == len(names) == 8 and all("/eval/" in name for name in names)
    assert sum(name.startswith("grays") for name in names) == 4
    data.train.close()


def test_all_faces_of_a_split_are_opened_by_corpus(config, corpora, tmp_path):
    for split, size in SIZES.items():
        found = open_split(config, split, None, CAM, tmp_path)
        assert {name: len(source) for name, source in found.items()} == dict.fromkeys(
            corpora[:2], size
        )
        assert found[corpora[1]][0]["name"].startswith(f"whites/{split}/")
    with pytest.raises(ValueError, match="nothing_here"):
        open_split(config, "nothing_here", None, CAM, tmp_path)


def test_path_and_mixture_together_are_refused(config, corpora, tmp_path):
    config.data.path = corpora[0]
    with pytest.raises(ValueError, match=r"data\.mixture"):
        open_data(config, None, CAM, tmp_path)


@pytest.fixture
def people(tmp_path):
    """Copies of one portrait; a face is found in each."""
    folder = tmp_path / "people"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(astronaut()).save(folder / f"{i:02d}.jpg")
    return folder


def use_corpus_without_landmarks(config, corpora, people):
    config.data.kind, config.data.mixture, config.data.path = "tfds", "", corpora[2]


def use_folder_without_landmarks(config, corpora, people):
    config.data.kind, config.data.mixture, config.data.path = "photographs", "", str(people)
    config.data.eval_fraction = 0.3


def use_landmarks_of_other_photographs(config, corpora, people):
    use_folder_without_landmarks(config, corpora, people)
    np.savez(people / "landmarks.npz", files=["other.jpg"], landmarks=np.full((1, 68, 2), 100.0))


@pytest.mark.parametrize("cache", ["off", "on"])
@pytest.mark.parametrize(
    "use",
    [
        use_corpus_without_landmarks,
        use_folder_without_landmarks,
        use_landmarks_of_other_photographs,
    ],
)
def test_landmark_loss_without_any_landmark_is_refused(
    config, corpora, people, tmp_path, use, cache
):
    use(config, corpora, people)
    config.data.device_cache, config.loss.landmark = cache, 1.0
    with pytest.raises(ValueError, match="landmark") as caught:
        open_data(config, None, CAM, tmp_path)
    message = str(caught.value)
    assert (
        "\n" not in message
        and config.data.path in message
        and "--config.loss.landmark=0 --config.loss.closure=0" in message
    )
    config.loss.landmark, config.loss.closure = 0.0, 1.0
    with pytest.raises(ValueError, match="landmark"):
        open_data(config, None, CAM, tmp_path)


def test_share_of_faces_with_landmarks_is_said(config, corpora, tmp_path, caplog):
    config.loss.landmark = 1.0
    config.data.mixture = f"{corpora[0]}=3,{corpora[2]}=1"
    with caplog.at_level(logging.INFO):
        open_data(config, None, CAM, tmp_path).train.close()
    for corpus, train, held_out in ((corpora[0], 12, 5), (corpora[2], 0, 0)):
        assert f"{corpus}: {train} of 12 training faces have landmarks" in caplog.text
        assert f"{corpus}: {held_out} of 5 held-out faces have landmarks" in caplog.text


@pytest.mark.parametrize("shift", [0.0, 10.0])
def test_squares_that_reconstruction_would_not_cut_are_named(
    config, corpora, tmp_path, caplog, shift
):
    config.data.mixture, config.data.augmentation.shift = f"{corpora[0]}=1,{corpora[3]}=1", shift
    open_data(config, None, CAM, tmp_path).train.close()
    named = f"{corpora[3]}: its faces lie in the squares of crop 'landmarks'" in caplog.text
    assert named == (not shift) and f"{corpora[0]}: its faces lie" not in caplog.text


def test_fields_without_effect_on_a_corpus_are_named(config, tmp_path, caplog):
    open_data(config, None, CAM, tmp_path).train.close()
    assert "Without effect" not in caplog.text
    config.data.require_landmarks, config.data.faces = True, "central"
    open_data(config, None, CAM, tmp_path).train.close()
    assert "Without effect" in caplog.text and "data.require_landmarks, data.faces." in caplog.text
    assert {key: default.get_config().data[key] for key in OF_PHOTOGRAPHS} == OF_PHOTOGRAPHS


def test_unsupervised_training_asks_for_no_landmark(config, corpora, tmp_path):
    config.data.mixture, config.data.path = "", corpora[2]
    open_data(config, None, CAM, tmp_path).train.close()


@pytest.mark.parametrize("cache", ["off", "on"])
def test_corpus_of_another_size_than_the_cameras_is_refused(config, tmp_path, cache):
    config.data.device_cache = cache
    with pytest.raises(ValueError, match=r"240 x 240.*camera.*120 x 120") as caught:
        open_data(config, None, CAM.scaled(0.5), tmp_path)
    assert "\n" not in str(caught.value)


def test_unreadable_held_out_face_is_named_once_in_all_evaluations(
    config, corpora, tmp_path, monkeypatch, caplog
):
    read, bad = Corpus.__getitem__, tfds_names(corpora[0])[2]

    def damaged(self, i):
        example = read(self, i)
        if example["name"] == bad:
            raise ValueError("cut short")
        return example

    monkeypatch.setattr(Corpus, "__getitem__", damaged)
    config.data.mixture, config.data.path = "", corpora[0]
    data = open_data(config, None, CAM, tmp_path)
    data.train.close()
    for _ in range(2):
        (batch,) = data.make_eval()
        assert batch["valid"].sum() == 4 and bad not in batch["name"]
    assert caplog.text.count("cut short") == 1


def test_evaluation_is_spread_over_the_whole_split(config, corpora, tmp_path):
    config.data.mixture, config.data.path, config.data.num_eval = "", corpora[0], 3
    data = open_data(config, None, CAM, tmp_path)
    data.train.close()
    (batch,) = data.make_eval()
    order = [tfds_names(corpora[0])[i] for i in (0, 2, 4)]
    assert batch["name"].tolist() == order


def tfds_names(folder):
    source = open_corpus(folder, "eval")
    return [source[i]["name"] for i in range(len(source))]


def as_one_of_two_processes(monkeypatch):
    """What JAX says to the first of two processes with a device each."""
    devices = jax.local_devices()[:1]
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: devices)


@pytest.mark.parametrize("kind", ["tfds", "synthetic"])
def test_batch_that_two_processes_cannot_share_is_refused(
    config, tiny_model, tmp_path, monkeypatch, kind
):
    as_one_of_two_processes(monkeypatch)
    config.data.kind, config.batch_size = kind, 5
    config.data.mixture = "" if kind == "synthetic" else config.data.mixture
    cam = CAM.scaled(0.1) if kind == "synthetic" else CAM
    with pytest.raises(ValueError, match="a batch of 5 photographs cannot be divided among 2"):
        next(open_data(config, tiny_model, cam, tmp_path).train)


def test_places_are_kept_by_names_that_are_good_elsewhere(tmp_path, monkeypatch):
    here = tmp_path / "p [2020]"
    (here / "corpora" / "a").mkdir(parents=True)
    (here / "photo.jpg").touch()
    monkeypatch.chdir(here)
    data = default.get_config().data
    data.path, data.landmarks, data.cache = "*.jpg", "@photo.jpg", "not_there_yet"
    data.mixture = "corpora/a=0.6,mofa_faces:1.0.0=0.4"  # the second is TFDS's name
    data.synthetic.backgrounds = "corpora"
    keep_places(data)
    monkeypatch.chdir("/")
    assert list_photographs(data.path) == [here / "photo.jpg"]
    assert data.landmarks == f"@{here / 'photo.jpg'}" and data.cache == str(here / "not_there_yet")
    assert parse_mixture(data.mixture) == {str(here / "corpora/a"): 0.6, "mofa_faces:1.0.0": 0.4}
    assert data.synthetic.backgrounds == str(here / "corpora")
