"""Checkpoints under damage and full disks: the very same arrays, or one sentence."""

import gc
import shutil
import threading

import jax.numpy as jnp
import numpy as np
import pytest

from mofa_jax.checkpoint import CheckpointError, Checkpoints, on_first_device

INFORMATION = {"config": {"seed": 3, "loss": {"photometric": 1.92}}, "feed": {"0": {"batches": 7}}}


def state(seed=0):
    rng = np.random.default_rng(seed)
    layers = {
        name: {"kernel": rng.normal(size=(6, 5)), "bias": rng.normal(size=5)} for name in "ab"
    }
    floats = {n: {k: jnp.asarray(v, jnp.float32) for k, v in p.items()} for n, p in layers.items()}
    return {"step": jnp.asarray(4, jnp.int32), "weights": floats, "opt_state": {"mu": jnp.ones(3)}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("saved")
    with Checkpoints(workdir, 3) as checkpoints:
        checkpoints.save(4, state(), INFORMATION)
    return workdir


def load(workdir):
    with Checkpoints.existing(workdir) as checkpoints:
        step = checkpoints.latest_step
        whole = checkpoints.load(step, state(1))
    with Checkpoints.existing(workdir) as checkpoints:
        part = checkpoints.load_part(step, on_first_device({"weights": state()["weights"]}))
        return checkpoints.information(step), whole, part


def assert_same(a, b):
    assert str(a.keys()) == str(b.keys())
    for name, layer in a.items():
        for key, array in layer.items():
            np.testing.assert_array_equal(array, b[name][key])


def test_information_and_arrays_come_back_whole_and_in_part(saved):
    information, whole, part = load(saved)
    assert information == INFORMATION
    assert whole["step"] == 4 and np.all(whole["opt_state"]["mu"] == 1)
    assert_same(whole["weights"], state()["weights"])
    assert_same(part["weights"], state()["weights"])


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


# Orbax's threads report to an event loop that a failed read has closed.
_orbax_threads = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@_orbax_threads
@pytest.mark.slow
def test_a_flipped_byte_gives_an_error_or_the_very_same_arrays(saved, tmp_path):
    rng = np.random.default_rng(0)
    refused = kept = 0
    for original in files_of(saved):
        size = original.stat().st_size
        for position in sorted(rng.choice(size, min(size, 16), replace=False).tolist()):
            workdir = tmp_path / "damaged"
            shutil.copytree(saved, workdir)
            path = workdir / original.relative_to(saved)
            content = bytearray(path.read_bytes())
            content[position] ^= 1 << int(rng.integers(8))
            path.write_bytes(content)
            try:
                information, whole, part = load(workdir)
            except CheckpointError as error:
                assert "\n" not in str(error)
                refused += 1
            else:
                assert information == INFORMATION, path
                assert whole["step"] == 4
                assert_same(whole["weights"], state()["weights"])
                assert_same(part["weights"], state()["weights"])
                kept += 1
            shutil.rmtree(workdir)
    assert refused > 20 and kept > 0, (refused, kept)
    gc.collect()


@_orbax_threads
@pytest.mark.slow
@pytest.mark.parametrize("damage", ["emptied", "cut short", "removed", "text"])
def test_a_damaged_file_gives_an_error_or_the_very_same_arrays(saved, tmp_path, damage):
    for i, original in enumerate(files_of(saved)):
        workdir = tmp_path / str(i)
        shutil.copytree(saved, workdir)
        path = workdir / original.relative_to(saved)
        content = path.read_bytes()
        new = {"emptied": b"", "cut short": content[: len(content) // 2], "text": b"no more"}
        path.unlink() if damage == "removed" else path.write_bytes(new[damage])
        try:
            information, whole, part = load(workdir)
        except CheckpointError as error:
            assert "\n" not in str(error)
        else:
            assert information == INFORMATION, path
            assert_same(whole["weights"], state()["weights"])
            assert_same(part["weights"], state()["weights"])
    gc.collect()


def test_other_weights_than_were_saved_are_refused(saved, tmp_path):
    """The arrays' files of another checkpoint, whole in themselves, under this one's metadata."""
    workdir = tmp_path / "mixed"
    shutil.copytree(saved, workdir)
    with Checkpoints(tmp_path / "other", 3) as other:
        other.save(4, state(2), INFORMATION)
    arrays = [p for p in (workdir / "checkpoints/4").iterdir() if p.is_dir()]
    for folder in arrays:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "other/checkpoints/4" / folder.name, folder)
    with pytest.raises(CheckpointError, match="checksum of its weights"):
        load(workdir)


def test_checkpoint_without_checksums_is_still_read(tmp_path, monkeypatch):
    monkeypatch.setattr("mofa_jax.checkpoint.FORMAT", 1)
    with Checkpoints(tmp_path, 3) as checkpoints:
        checkpoints._checkpointer.save(4, state(), custom_metadata={"format": 1, **INFORMATION})
    information, whole, _ = load(tmp_path)
    assert information == INFORMATION
    assert_same(whole["weights"], state()["weights"])


def test_checkpoint_that_cannot_be_written_is_one_sentence(tmp_path):
    threads = threading.active_count()
    checkpoints = Checkpoints(tmp_path, 3)
    (tmp_path / "checkpoints").rmdir()
    (tmp_path / "checkpoints").write_text("no folder")
    with pytest.raises(CheckpointError, match="cannot be written") as error, checkpoints:
        checkpoints.save(4, state(), INFORMATION)
        checkpoints.wait()
    assert "\n" not in str(error.value)
    assert threading.active_count() <= threads  # a waiting one would keep the command from ending


def test_what_a_killed_run_left_half_written_is_cleared_away(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "run")
    half = tmp_path / "run/checkpoints/5.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "run/checkpoints/4", half)
    with Checkpoints(tmp_path / "run", 3) as checkpoints:
        assert checkpoints.latest_step == 4
    assert not half.exists()
    half.touch()  # a file, which is none of ours
    with pytest.raises(CheckpointError, match=r"cannot be opened .* check what is in it"):
        Checkpoints(tmp_path / "run", 3)
