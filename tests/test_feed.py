"""The feed: one sequence of examples whatever reads it, stored and restored at any batch."""

import json

import numpy as np
import pytest

from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.streamed import FeedError, make_feed


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
            "image": np.full((24, 24, 3), i, np.uint8) + np.arange(24, dtype=np.uint8)[:, None],
            "landmarks": np.full((68, 2), 10 + i / 10, np.float32),
            "confidence": np.ones(68, np.float32),
            "name": f"n{i}",
        }


AUGMENTATION = Augmentation(flip=0.5, scale=0.1, shift=4.0, rotation=10.0, exposure=0.3)


def take(feed, count: int) -> list[dict]:
    return [next(feed) for _ in range(count)]


def assert_equal(batches, others) -> None:
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def names(batches) -> list[str]:
    return [str(name) for batch in batches for name in batch["name"]]


def test_batches_have_the_documented_shapes():
    batch = next(make_feed(Numbers(), 4, seed=1))
    kinds = {key: (value.shape, value.dtype.kind) for key, value in batch.items()}
    assert kinds == {
        "image": ((4, 24, 24, 3), "u"),
        "landmarks": ((4, 68, 2), "f"),
        "confidence": ((4, 68), "f"),
        "name": ((4,), "U"),
        "valid": ((4,), "b"),
    }
    assert batch["image"].dtype == np.uint8 and batch["landmarks"].dtype == np.float32


@pytest.mark.parametrize("num_threads", [0, 1, 4])
def test_thread_count_changes_nothing(num_threads):
    expected = take(make_feed(Numbers(), 5, 7, AUGMENTATION, num_threads=2), 12)
    found = take(make_feed(Numbers(), 5, 7, AUGMENTATION, num_threads=num_threads), 12)
    assert_equal(found, expected)


def test_each_epoch_holds_every_example_once_in_an_order_of_its_own():
    seen = names(take(make_feed(Numbers(20), 4, seed=3), 15))
    epochs = [seen[:20], seen[20:40], seen[40:]]
    for epoch in epochs:
        assert sorted(epoch) == sorted(f"n{i}" for i in range(20))
    assert epochs[0] != epochs[1] != epochs[2] != sorted(epochs[0])


def test_seeds_give_different_orders_and_augmentations():
    first, second = (next(make_feed(Numbers(), 23, seed, AUGMENTATION)) for seed in (1, 2))
    assert first["name"].tolist() != second["name"].tolist()
    plain = [next(make_feed(Numbers(), 23, s, AUGMENTATION, shuffle=False)) for s in (1, 2)]
    assert plain[0]["name"].tolist() == plain[1]["name"].tolist()
    assert (plain[0]["landmarks"] != plain[1]["landmarks"]).any()


def test_augmentation_differs_from_epoch_to_epoch():
    feed = make_feed(Numbers(4), 4, 1, AUGMENTATION, shuffle=False)
    first, second = take(feed, 2)
    assert (first["name"] == second["name"]).all()
    assert (first["landmarks"] != second["landmarks"]).any(axis=(1, 2)).all()


@pytest.mark.parametrize("num_threads", [0, 3])
@pytest.mark.parametrize("done", [0, 1, 6])
def test_restored_feed_goes_on_with_the_same_batches(done, num_threads):
    """Six batches of 5 pass the end of the first epoch of 23."""
    unbroken = take(make_feed(Numbers(), 5, 7, AUGMENTATION), done + 4)
    broken = make_feed(Numbers(), 5, 7, AUGMENTATION)
    take(broken, done)
    state = json.loads(json.dumps(broken.get_state()))
    resumed = make_feed(Numbers(), 5, 7, AUGMENTATION, num_threads=num_threads)
    resumed.set_state(state)
    assert_equal(take(resumed, 4), unbroken[done:])


def test_state_can_be_set_back_on_a_feed_in_use():
    feed = make_feed(Numbers(), 5, 7, AUGMENTATION)
    take(feed, 2)
    state = feed.get_state()
    first = take(feed, 3)
    feed.set_state(state)
    assert_equal(take(feed, 3), first)


@pytest.mark.parametrize("process_count", [2, 4])
@pytest.mark.parametrize("repeat", [True, False])
def test_processes_batches_one_after_another_are_the_global_batch(process_count, repeat):
    options = {"augmentation": AUGMENTATION, "repeat": repeat}
    whole = make_feed(Numbers(), 8, 7, **options)
    parts = [
        make_feed(Numbers(), 8, 7, process_index=p, process_count=process_count, **options)
        for p in range(process_count)
    ]
    for _ in range(3):
        batches = [next(part) for part in parts]
        joined = {key: np.concatenate([b[key] for b in batches]) for key in batches[0]}
        assert_equal([joined], [next(whole)])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 23])
def test_one_epoch_fills_the_last_batch_and_marks_it(n):
    feed = make_feed(Numbers(n), 8, repeat=False, shuffle=False)
    batches = list(feed)
    assert len(batches) == len(feed) == -(-n // 8)
    assert all(batch["image"].shape[0] == 8 for batch in batches)
    valid = np.concatenate([batch["valid"] for batch in batches])
    assert valid.sum() == n and valid[:n].all()
    assert names(batches)[:n] == [f"n{i}" for i in range(n)]


def test_endless_feed_has_no_length():
    with pytest.raises(TypeError, match="no length"):
        len(make_feed(Numbers(), 2))


@pytest.mark.parametrize("num_threads", [0, 3])
def test_unreadable_records_are_replaced_named_once_and_counted(num_threads):
    lines: list[str] = []
    source = Numbers(10, broken=(3, 4, 9))
    feed = make_feed(source, 5, shuffle=False, num_threads=num_threads, log=lines.append)
    found = names(take(feed, 6))
    epoch = ["n0", "n1", "n2", "n5", "n5", "n5", "n6", "n7", "n8", "n0"]
    assert found == epoch * 3
    assert feed.num_failed == 3
    assert len(lines) == 3
    assert {line.split(":")[0] for line in lines} == {"record 3", "record 4", "record 9"}
    assert all("cut short" in line for line in lines)


def test_source_without_a_readable_record_is_one_clear_error():
    feed = make_feed(Numbers(4, broken=(0, 1, 2, 3)), 2, log=lambda _: None)
    with pytest.raises(FeedError, match="cannot be read"):
        next(feed)


@pytest.mark.parametrize(
    ("n", "batch_size", "process_index", "process_count"),
    [(0, 4, 0, 1), (5, 0, 0, 1), (5, 5, 0, 2), (5, 4, 2, 2)],
)
def test_impossible_feed_is_refused(n, batch_size, process_index, process_count):
    with pytest.raises(FeedError):
        make_feed(Numbers(n), batch_size, process_index=process_index, process_count=process_count)
