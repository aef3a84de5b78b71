"""Batches put on the devices ahead of time: the feed's own, in order, resumable."""

import threading
import time

import jax
import numpy as np
import pytest

from mofa_jax.data.feeds.prefetch import Prefetch, shard

DEVICES = jax.local_device_count()


class Counting:
    """Batches that hold their number; the state is the number of the next one."""

    num_failed = 3

    def __init__(self, fails_at: int | None = None, error: type = OSError):
        self.number, self.fails_at, self.error = 0, fails_at, error

    def __next__(self) -> dict:
        if self.number == self.fails_at:
            raise self.error("the disk is gone")
        number, count = self.number, 2 * DEVICES
        self.number += 1
        return {
            "image": np.full((count, 4, 4, 3), number, np.uint8),
            "landmarks": np.arange(count * 136, dtype=np.float32).reshape(count, 68, 2),
            "confidence": np.full((count, 68), number, np.float32),
            "name": np.array([f"{number}:{i}" for i in range(count)]),
        }

    def get_state(self) -> dict:
        return {"number": self.number}

    def set_state(self, state: dict) -> None:
        self.number = state["number"]


@pytest.fixture
def prefetch():
    opened = []

    def make(*args, **options):
        opened.append(Prefetch(*args, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def numbers(feed, count: int) -> list[int]:
    return [int(next(feed).images(1)[0, 0, 0, 0]) for _ in range(count)]


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_batches_are_the_feeds_in_its_order(prefetch, ahead):
    assert numbers(prefetch(Counting(), ahead), 12) == list(range(12))


def test_each_device_holds_its_part(prefetch):
    batch, expected = next(prefetch(Counting())), next(Counting())
    assert batch.names() == expected["name"].tolist()
    for key, array in batch.arrays.items():
        assert array.shape == (DEVICES, 2, *expected[key].shape[1:])
        np.testing.assert_array_equal(np.asarray(array).reshape(expected[key].shape), expected[key])
        for d, piece in enumerate(sorted(array.addressable_shards, key=lambda s: s.device.id)):
            np.testing.assert_array_equal(piece.data[0], expected[key][2 * d : 2 * d + 2])


def test_train_steps_pmap_takes_the_batch_where_it_lies(prefetch):
    arrays = next(prefetch(Counting())).arrays
    doubled = jax.pmap(lambda batch: 2 * batch["confidence"], axis_name="batch")(arrays)
    assert doubled.shape == (DEVICES, 2, 68)


def test_state_is_the_place_after_the_last_batch_given_out(prefetch):
    feed = prefetch(Counting(), 4)
    assert feed.get_state() == {"number": 0}
    numbers(feed, 3)
    time.sleep(0.05)  # time to run ahead
    state = feed.get_state()
    assert state == {"number": 3}
    resumed = prefetch(Counting(), 2)
    resumed.set_state(state)
    assert numbers(resumed, 3) == numbers(feed, 3) == [3, 4, 5]


def test_state_can_be_set_back_on_a_feed_in_use(prefetch):
    feed = prefetch(Counting(), 3)
    numbers(feed, 5)
    feed.set_state({"number": 2})
    assert numbers(feed, 3) == [2, 3, 4]


def test_closed_feed_goes_on_without_a_gap(prefetch):
    feed = prefetch(Counting(), 3)
    numbers(feed, 2)
    feed.close()
    assert numbers(feed, 2) == [2, 3]


@pytest.mark.parametrize("error", [OSError, StopIteration])
def test_what_the_feed_raises_reaches_the_caller_after_the_good_batches(prefetch, error):
    feed = prefetch(Counting(fails_at=2, error=error), 4)
    assert numbers(feed, 2) == [0, 1]
    with pytest.raises(error, match="the disk is gone"):
        next(feed)


def test_no_thread_is_left_behind():
    feed = Prefetch(Counting(), 2)
    next(feed)
    feed.close()
    assert not any(thread.name == "prefetch" for thread in threading.enumerate())


def test_unreadable_records_are_counted_by_the_feed(prefetch):
    assert prefetch(Counting()).num_failed == 3


def test_batch_that_devices_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        shard({key: np.zeros(5) for key in ("image", "landmarks", "confidence")})


def test_without_a_thread_the_batches_are_the_same(prefetch):
    ahead, at_once = prefetch(Counting()), prefetch(Counting(), 0)
    for _ in range(3):
        first, second = next(ahead), next(at_once)
        np.testing.assert_array_equal(first.images(8), second.images(8))
        assert first.names() == second.names() and ahead.get_state() == at_once.get_state()


def test_negative_number_of_batches_ahead_is_refused():
    with pytest.raises(ValueError, match="batches_ahead"):
        Prefetch(Counting(), -1)
