"""Backgrounds: every photograph on one side, bad files left out by name, pixels true."""

import numpy as np
import pytest
from PIL import Image

from configs import default
from mofa_jax.camera import Camera
from mofa_jax.data.sources.images import PhotographError
from mofa_jax.data.synthetic.backgrounds import backgrounds_from_config, load_backgrounds
from mofa_jax.errors import InputError

NUM_PHOTOGRAPHS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photographs of one color each, of several sizes."""
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(NUM_PHOTOGRAPHS):
        size = (30 + i, 20 + 2 * i)
        Image.new("RGB", size, (4 * i, 255 - 4 * i, 7)).save(folder / f"{i}.png")
    return folder


def load(source, split, **options):
    return load_backgrounds(source, split, **{"count": 1000, "size": 16, **options})


def test_training_and_evaluation_share_no_photograph_and_leave_none_out(folder):
    train, held_out = (load(folder, split) for split in ("train", "eval"))
    assert not set(train.paths) & set(held_out.paths)
    assert len(train.paths) + len(held_out.paths) == NUM_PHOTOGRAPHS
    assert 0 < len(held_out.paths) < len(train.paths)


def test_a_photograph_stays_on_its_side_wherever_it_lies_and_with_whatever(folder, tmp_path):
    held_out = {path.name for path in load(folder, "eval").paths}
    moved = tmp_path / "elsewhere" / folder.name
    moved.mkdir(parents=True)
    for i in range(0, NUM_PHOTOGRAPHS, 2):
        (moved / f"{i}.png").symlink_to(folder / f"{i}.png")
    found = {path.name for path in load(tmp_path, "train").paths}
    assert found and not found & held_out


def test_the_choice_is_bounded_and_follows_the_seed(folder):
    first, again, other = (load(folder, "train", count=7, seed=seed) for seed in (3, 3, 4))
    assert len(first.paths) == 7 and first.images.shape == (7, 16, 16, 3)
    assert first.paths == again.paths != other.paths
    np.testing.assert_array_equal(first.images, again.images)


def test_pictures_are_those_of_the_paths(folder):
    backgrounds = load(folder, "train")
    for path, image in zip(backgrounds.paths, backgrounds.images, strict=True):
        i = int(path.stem)
        assert image.dtype == np.uint8 and (image == (4 * i, 255 - 4 * i, 7)).all()


def test_the_middle_square_is_kept_and_scaled(tmp_path):
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 30:70] = (0, 200, 0)  # the middle square; its left half is brighter
    pixels[:, 30:50, 0] = 100
    for i in range(20):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    image = load(tmp_path, "train", count=1, size=20).images[0]
    np.testing.assert_array_equal(image[:, :10], np.broadcast_to([100, 200, 0], (20, 10, 3)))
    np.testing.assert_array_equal(image[:, 10:], np.broadcast_to([0, 200, 0], (20, 10, 3)))


def test_unreadable_files_are_named_counted_and_replaced_by_others(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    for i in range(40):
        (tmp_path / f"bad{i}.jpg").write_bytes(b"no picture")
    lines = []
    backgrounds = load(tmp_path, "train", log=lines.append)
    bad = [path.name for path, _ in backgrounds.skipped]
    assert len(bad) > 20 and all(name.startswith("bad") for name in bad)
    assert len(backgrounds.paths) > 40
    for path, reason in backgrounds.skipped:
        assert f"{path}: skipped as a background: {reason}" in lines and "\n" not in reason
    assert f"{len(bad)} unreadable" in lines[-1]
    few = load(tmp_path, "train", count=10)
    assert len(few.paths) == 10  # bad ones in the choice make room for others


def test_a_folder_without_a_readable_photograph_is_one_sentence(tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    for split in ("train", "eval"):
        with pytest.raises(PhotographError, match="can be a background") as caught:
            load(tmp_path, split)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_background_at_all_is_refused(folder):
    with pytest.raises(InputError, match="num_backgrounds is 0"):
        load(folder, "train", count=0)


def test_the_config_names_the_photographs_or_none(folder):
    config, cam = default.get_config(), Camera().scaled(0.1)
    assert backgrounds_from_config(config, cam, "train") is None
    config.data.synthetic.backgrounds, config.data.synthetic.num_backgrounds = str(folder), 3
    assert backgrounds_from_config(config, cam, "train").shape == (3, 32, 32, 3)
