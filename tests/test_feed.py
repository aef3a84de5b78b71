"""The feed from files: one sequence of examples whatever reads it, restored at any batch."""

import json
import threading
import time
from contextlib import closing

import jax
import numpy as np
import pytest

from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import FeedError, ForgivingSource, Mixture, as_mixture
from mofa_jax.data.feeds.streamed import StreamedFeed, eval_batches, read_ahead, training_batches

DEVICES = jax.local_device_count()
NOTHING = Augmentation()
CHANGES = Augmentation(flip=0.5, scale=0.1, shift=4.0, rotation=10.0, exposure=0.3)


class Numbers:
    """n examples whose pictures hold their number."""

    def __init__(self, n: int = 23, broken: tuple[int, ...] = ()):
        self.n, self.broken = n, broken

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict:
        if i in self.broken:
            raise OSError(f"example {i} is cut short")
        return {
            "image": np.full((24, 24, 3), i % 200, np.uint8)
            + np.arange(24, dtype=np.uint8)[:, None],
            "landmarks": np.full((68, 2), 10 + i / 10, np.float32),
            "confidence": np.ones(68, np.float32),
            "name": f"n{i}",
        }


@pytest.fixture
def feed():
    """Makes feeds and closes them."""
    opened = []

    def make(source=None, batch_size=2 * DEVICES, seed=7, augmentation=CHANGES, num_threads=2):
        source = Numbers() if source is None else source
        opened.append(StreamedFeed(source, batch_size, seed, augmentation, num_threads))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def take(feed, count: int) -> list[dict]:
    batches = [feed.take(1) for _ in range(count)]
    return [
        {key: np.asarray(array)[:, 0] for key, array in batch.arrays.items()}
        | {"name": batch.names(0)}
        for batch in batches
    ]


def on_host(count: int, batch_size: int = 8, source=None, seed=7, **process) -> list[dict]:
    """The first batches before they go to the devices."""
    mixture = as_mixture(Numbers() if source is None else source)
    batches = training_batches(mixture, batch_size, seed, **process)
    with closing(iter(read_ahead(batches, 0))) as iterator:
        return [next(iterator) for _ in range(count)]


def assert_equal(batches, others) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def names(batches) -> list[str]:
    return [str(name) for batch in batches for name in batch["name"]]


def test_each_device_holds_its_part_of_the_batch(feed):
    batch, (expected,) = feed(augmentation=NOTHING).take(1), on_host(1, 2 * DEVICES)
    assert batch.names(0) == expected["name"].tolist()
    assert batch.arrays.keys() == {"image", "landmarks", "confidence"}
    for key, array in batch.arrays.items():
        assert array.shape == (DEVICES, 1, 2, *expected[key].shape[1:])
        assert array.dtype == expected[key].dtype
        for d, piece in enumerate(sorted(array.addressable_shards, key=lambda s: s.device.id)):
            np.testing.assert_array_equal(piece.data[0, 0], expected[key][2 * d : 2 * d + 2])
    np.testing.assert_array_equal(batch.examples(3)["image"], expected["image"][:3])


@pytest.mark.parametrize("augmentation", [NOTHING, CHANGES])
def test_train_steps_pmap_takes_the_batch_where_it_lies(feed, augmentation):
    arrays = feed(augmentation=augmentation).take(3).arrays
    doubled = jax.pmap(lambda batch: 2 * batch["confidence"], axis_name="batch")(arrays)
    assert doubled.shape == (DEVICES, 3, 2, 68)


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_thread_count_changes_nothing(feed, num_threads):
    assert_equal(take(feed(num_threads=num_threads), 8), take(feed(), 8))


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own():
    seen = names(on_host(15, 4, Numbers(20), seed=3))
    epochs = [seen[:20], seen[20:40], seen[40:]]
    for epoch in epochs:
        assert sorted(epoch) == sorted(f"n{i}" for i in range(20))
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[0])


def test_seeds_give_different_orders_and_augmentations(feed):
    first, second = (take(feed(seed=seed), 4) for seed in (1, 2))
    assert names(first) != names(second)
    same = Numbers(1)
    first, second = (take(feed(same, seed=seed), 1)[0]["landmarks"] for seed in (1, 2))
    assert (first != second).any(axis=(-1, -2)).all()


def test_augmentation_differs_from_epoch_to_epoch(feed):
    seen = take(feed(Numbers(2 * DEVICES)), 2)
    first, second = (
        dict(zip(batch["name"], batch["landmarks"].reshape(-1, 136), strict=True)) for batch in seen
    )
    assert first.keys() == second.keys()
    assert all((first[name] != second[name]).any() for name in first)


@pytest.mark.parametrize("num_threads", [0, 3])
@pytest.mark.parametrize("done", [0, 1, 4])
def test_restored_feed_goes_on_with_the_same_batches(feed, done, num_threads):
    """Four batches of 8 pass the end of the first epoch of 23."""
    unbroken = take(feed(), done + 4)
    broken = feed()
    take(broken, done)
    time.sleep(0.05)  # time to run ahead
    state = json.loads(json.dumps(broken.get_state()))
    resumed = feed(num_threads=num_threads)
    resumed.set_state(state)
    assert_equal(take(resumed, 4), unbroken[done:])


def test_state_can_be_set_back_on_a_feed_in_use(feed):
    used = feed()
    take(used, 2)
    state = used.get_state()
    first = take(used, 3)
    used.set_state(state)
    assert_equal(take(used, 3), first)


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_parts_together_are_the_global_batch(process_count):
    whole = on_host(3)
    parts = [on_host(3, process_index=p, process_count=process_count) for p in range(process_count)]
    for batch, *pieces in zip(whole, *parts, strict=True):
        joined = {key: np.concatenate([piece[key] for piece in pieces]) for key in batch}
        order = np.argsort(joined["number"])
        assert_equal([{key: value[order] for key, value in joined.items()}], [batch])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23])
def test_one_pass_fills_the_last_batch_and_marks_it(n):
    batches = list(eval_batches(Numbers(n), 8))
    assert len(batches) == -(-n // 8)
    assert all(batch["image"].shape == (8, 24, 24, 3) for batch in batches)
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert valid.sum() == n and valid[:n].all()
    assert names(batches)[:n] == [f"n{i}" for i in range(n)]


@pytest.mark.parametrize("num_threads", [0, 3])
def test_unreadable_records_are_replaced_named_once_counted_and_not_evaluated(num_threads):
    lines: list[str] = []
    source = ForgivingSource(Numbers(10, broken=(3, 4, 9)), lines.append)
    for _ in range(2):
        found = names(eval_batches(source, 5, num_threads))
        assert found == ["n0", "n1", "n2", "n5", "n5", "n5", "n6", "n7", "n8", "n0"]
        valid = np.concatenate([batch["valid"] for batch in eval_batches(source, 5, num_threads)])
        assert np.flatnonzero(valid).tolist() == [0, 1, 2, 5, 6, 7, 8]
    assert source.num_failed == 3
    assert len(lines) == 3
    assert {line.split(":")[0] for line in lines} == {"record 3", "record 4", "record 9"}
    assert all("cut short" in line for line in lines)


def test_training_goes_on_over_unreadable_records(feed, caplog):
    broken = feed(Numbers(2 * DEVICES, broken=(3,)))
    assert "n3" not in names(take(broken, 3))
    assert broken.num_failed == 1 and caplog.text.count("cut short") == 1


def test_source_without_a_readable_record_is_one_clear_error(feed):
    with pytest.raises(FeedError, match="cannot be read"):
        feed(Numbers(4, broken=(0, 1, 2, 3))).take(1)


def test_no_thread_is_left_behind(feed):
    before = set(threading.enumerate())
    endless, held_out = feed(), eval_batches(Numbers(), 8)
    for each, start in ((endless, lambda: endless.take(1)), (held_out, lambda: next(held_out))):
        start()
        assert set(threading.enumerate()) - before
        each.close()
        for thread in set(threading.enumerate()) - before:
            if thread.name.startswith("grain"):
                thread.join(timeout=5)
                assert not thread.is_alive()


def test_feed_from_seventeen_large_corpora_starts_and_resumes_at_once(feed):
    """No order of an epoch is worked out whole."""
    source = Mixture([Numbers(10_000_000)] * 17, [1.0] * 17)
    start = time.monotonic()
    resumed = feed(source, 4 * DEVICES, augmentation=NOTHING)
    resumed.set_state({"next_index": 10**7})
    take(resumed, 20)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("batch_size", [0, DEVICES + 1])
def test_batch_that_devices_do_not_divide_is_refused(feed, batch_size):
    with pytest.raises(FeedError, match="multiple"):
        feed(batch_size=batch_size)


def test_empty_source_is_refused(feed):
    with pytest.raises(FeedError, match="no examples"):
        feed(Numbers(0))
