"""The endless feed of synthetic faces follows its config, its seed and its split."""

import jax
import numpy as np
import pytest

import mofa_jax
from configs import code_regression, default
from mofa_jax.data.feeds.mixture import FeedError
from mofa_jax.data.feeds.pipeline import open_data, open_split
from mofa_jax.data.feeds.synthetic import HeldOutFaces, SyntheticFeed
from mofa_jax.data.synthetic.distributions import SyntheticRanges, ranges_from_config
from mofa_jax.errors import InputError
from mofa_jax.renderer import compiled_render


@pytest.fixture(scope="module")
def cam():
    return mofa_jax.Camera().scaled(0.1)


CLEAR = SyntheticRanges(head=0.0, occluder=0.0, blur=0.0, noise=0.0, contrast=0.0)


def test_the_default_config_is_the_default_ranges():
    assert ranges_from_config(default.get_config().data.synthetic) == SyntheticRanges()


def test_every_range_can_be_set_in_the_config():
    config = default.get_config().data.synthetic
    for i, name in enumerate(set(config) - {"backgrounds", "num_backgrounds"}):
        config[name] = float(i)
    ranges = ranges_from_config(config)
    assert ranges.rotation == (config.pitch, config.yaw, config.roll)
    assert ranges.translation == tuple(config[f"translation_{axis}"] for axis in "xyz")
    assert ranges.directed == (config.directed_least, config.directed_most)
    assert ranges.elevation == (config.elevation, config.elevation_spread)
    for name in ("shape", "limit", "brightness", "azimuth", "occluder", "noise"):
        assert getattr(ranges, name) == config[name]


@pytest.mark.slow
def test_training_faces_come_with_their_codes_and_photographs_have_none(tiny_model, cam, tmp_path):
    config = code_regression.get_config()
    config.data.num_eval, config.batch_size = 4, 4
    batch = open_data(config, tiny_model, cam, tmp_path).train.take(1).arrays
    code = np.asarray(batch["code"]).reshape(4, -1)
    params = mofa_jax.FaceParams.from_code(jax.numpy.asarray(code[0]), tiny_model)
    landmarks = compiled_render(params, tiny_model, cam).screen[tiny_model.landmarks]
    drawn = np.asarray(batch["landmarks"]).reshape(4, 68, 2)[0]
    known = np.asarray(tiny_model.landmarks) >= 0
    np.testing.assert_allclose(landmarks[known], drawn[known], atol=1e-3)
    config.data.kind, config.data.path = "photographs", str(tmp_path)
    with pytest.raises(InputError, match=r"only faces rendered with .* have true codes"):
        open_data(config, tiny_model, cam, tmp_path)


@pytest.mark.slow
def test_photographs_of_the_config_stand_behind_the_faces_of_their_split(tiny_model, cam, tmp_path):
    from PIL import Image

    from mofa_jax.data.synthetic.backgrounds import load_backgrounds

    for i in range(40):
        Image.new("RGB", (50, 50), (0, 5 * i, 255)).save(tmp_path / f"{i}.png")
    config = default.get_config()
    config.data.kind, config.data.num_eval, config.batch_size = "synthetic", 4, 4
    config.data.synthetic.update(
        backgrounds=str(tmp_path), head=0.0, occluder=0.0, blur=0.0, noise=0.0, contrast=0.0
    )
    data = open_data(config, tiny_model, cam, tmp_path)
    pictures = {
        "train": data.train.take(1).examples(4)["image"],
        "eval": next(iter(data.make_eval()))["image"],
    }
    for split, images in pictures.items():
        paths = load_backgrounds(tmp_path, split, count=100, size=16).paths
        greens = {5 * int(path.stem) for path in paths}
        corners = images[:, [0, -1]][:, :, [0, -1]].reshape(-1, 3)
        found = {int(green) for red, green, blue in corners if (red, blue) == (0, 255)}
        assert found and found <= greens


@pytest.mark.slow
def test_augmentation_of_the_config_reaches_faces_that_are_rendered_in_training(tiny_model, cam):
    config = default.get_config()
    config.data.kind, config.data.num_eval, config.batch_size = "synthetic", 4, 4

    def first(**changes):
        config.data.augmentation = default.get_config().data.augmentation
        config.data.augmentation.update(changes)
        data = open_data(config, tiny_model, cam, None)
        batch = jax.tree.map(lambda x: np.asarray(x)[0, 0], data.train.take(1).arrays)
        return batch, next(iter(data.make_eval()))

    plain, held_out = first()
    lit, held_out_lit = first(exposure=1.0)
    np.testing.assert_array_equal(lit["landmarks"], plain["landmarks"])
    assert np.abs(lit["image"].astype(int) - plain["image"]).mean() > 5
    np.testing.assert_array_equal(held_out_lit["image"], held_out["image"])
    shifted, _ = first(shift=6.0)
    moved = shifted["landmarks"] - plain["landmarks"]
    assert np.abs(moved).max() > 0.5
    np.testing.assert_allclose(moved, np.broadcast_to(moved[:, :1], moved.shape), atol=1e-3)
    pose_and_light = np.isnan(shifted["code"]).all(axis=0)
    assert pose_and_light[-33:].all() and not pose_and_light[:-33].any()


def test_streams_repeat_from_their_seed_and_share_nothing(tiny_model, cam):
    def images(seed):
        feed = SyntheticFeed(tiny_model, cam, 4, CLEAR, None, seed)
        return np.concatenate([feed.take(1).examples(4)["image"] for _ in range(2)])

    train, again = images(0), images(0)
    np.testing.assert_array_equal(train, again)
    held_out = HeldOutFaces(tiny_model, cam, 4, CLEAR, None, num_eval=8).batches()
    held_out = np.concatenate([batch["image"] for batch in held_out])
    everything = np.concatenate([train, images(1), held_out])
    assert len(np.unique(everything, axis=0)) == len(everything) == 24


def test_held_out_faces_are_those_of_the_evaluations_in_any_order(tiny_model, cam, tmp_path):
    config = default.get_config()
    config.data.kind, config.data.num_eval, config.batch_size = "synthetic", 6, 4
    (faces,) = open_split(config, "eval", tiny_model, cam, tmp_path).values()
    batches = list(open_data(config, tiny_model, cam, tmp_path).make_eval())
    expected = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    assert len(faces) == len(expected["code"]) == 16  # a whole batch of an evaluation
    config.batch_size = 2  # of training: no matter
    (again,) = open_split(config, "eval", tiny_model, cam, tmp_path).values()
    for i in (5, 0, 15):
        for key, values in expected.items():
            np.testing.assert_array_equal(faces[i][key], values[i])
            np.testing.assert_array_equal(again[i][key], values[i])
    with pytest.raises(ValueError, match="only 'eval'"):
        open_split(config, "train", tiny_model, cam, tmp_path)


def test_restored_stream_goes_on_with_the_same_faces(tiny_model, cam):
    feed, resumed = (SyntheticFeed(tiny_model, cam, 4, CLEAR, None, 0) for _ in range(2))
    feed.take(1)
    resumed.set_state(feed.get_state())
    batch, expected = resumed.take(1), feed.take(1)
    assert batch.names(0) == expected.names(0) == [f"synthetic train 1:{i}" for i in range(4)]
    np.testing.assert_array_equal(batch.examples(4)["image"], expected.examples(4)["image"])


def test_batches_taken_together_are_those_taken_one_by_one(tiny_model, cam):
    one, together = (SyntheticFeed(tiny_model, cam, 4, CLEAR, None, 0) for _ in range(2))
    several, single = together.take(3), [one.take(1) for _ in range(3)]
    assert [several.names(k) for k in range(3)] == [batch.names(0) for batch in single]
    for key, array in several.arrays.items():
        expected = np.concatenate([batch.arrays[key] for batch in single], axis=1)
        np.testing.assert_allclose(array, expected, atol=1e-4 if key != "image" else 1)


def test_state_of_another_kind_of_feed_is_refused(tiny_model, cam):
    with pytest.raises(FeedError, match="device_cache=off"):
        SyntheticFeed(tiny_model, cam, 4, CLEAR, None, 0).set_state({"next_index": 3})


@pytest.mark.parametrize("process", [0, 1])
def test_each_process_renders_its_part_of_the_batch(tiny_model, cam, monkeypatch, process):
    whole = SyntheticFeed(tiny_model, cam, 4, CLEAR, None, 0).take(1)
    devices = jax.local_devices()[:1]
    for name, value in (("process_count", 2), ("process_index", process), ("device_count", 2)):
        monkeypatch.setattr(jax, name, lambda value=value: value)
    monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    part = SyntheticFeed(tiny_model, cam, 4, CLEAR, None, 0).take(1)
    assert part.names(0) == whole.names(0)[2 * process :][:2]
    expected = whole.examples(4)["image"][2 * process :][:2].astype(int)
    assert np.abs(part.examples(2)["image"] - expected).max() <= 1
