"""Faces on the devices: all of them once an epoch, the same from any place on."""

import dataclasses
import json
from itertools import chain
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_processes import run_processes

from mofa_jax.data.feeds import resident
from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import FeedError, Mixture
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache, use_cache
from mofa_jax.data.feeds.streamed import StreamedFeed

DEVICES = jax.local_device_count()
on_processors = pytest.mark.skipif(
    jax.default_backend() != "cpu", reason="needs several simulated devices"
)
NOTHING = Augmentation()
CHANGES = Augmentation(flip=0.5, shift=3.0, exposure=0.3, occluder=0.5, jpeg=30.0)


class Numbers:
    """n pictures that hold their number."""

    def __init__(self, n: int = 23, corpus: str = "n", broken: tuple[int, ...] = ()):
        self.n, self.corpus, self.broken = n, corpus, broken

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict:
        if i in self.broken:
            raise OSError(f"example {i} is cut short")
        return {
            "image": np.full((16, 16, 3), i, np.uint8) + np.arange(16, dtype=np.uint8)[:, None],
            "landmarks": np.full((68, 2), i / 10, np.float32),
            "confidence": np.full(68, i, np.float32),
            "name": f"{self.corpus}{i}",
        }


@pytest.fixture(scope="module")
def cache():
    return load_cache(Numbers())


def drawn(feed, count: int) -> list[dict]:
    batches = [feed.take(1) for _ in range(count)]
    return [
        {key: np.asarray(array)[:, 0] for key, array in batch.arrays.items()}
        | {"name": batch.names(0)}
        for batch in batches
    ]


def assert_equal(batches, others) -> None:
    for batch, other in zip(batches, others, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


@on_processors
def test_batches_are_laid_out_as_the_train_step_takes_them(cache):
    batches = ResidentFeed(cache, 2 * DEVICES, 0, NOTHING).take(4)
    shapes = {key: (array.shape, str(array.dtype)) for key, array in batches.arrays.items()}
    assert shapes == {
        "image": ((DEVICES, 4, 2, 16, 16, 3), "uint8"),
        "landmarks": ((DEVICES, 4, 2, 68, 2), "float32"),
        "confidence": ((DEVICES, 4, 2, 68), "float32"),
    }
    homes = [shard.device for shard in batches.arrays["image"].addressable_shards]
    assert sorted(home.id for home in homes) == [device.id for device in jax.local_devices()]
    assert batches.examples(3)["image"].shape == (3, 16, 16, 3)


@pytest.mark.parametrize("augmentation", [NOTHING, CHANGES])
def test_batches_taken_together_are_those_taken_one_by_one(cache, augmentation):
    one, together = (ResidentFeed(cache, 2 * DEVICES, 3, augmentation) for _ in range(2))
    several, single = together.take(3), drawn(one, 3)
    assert one.get_state() == together.get_state() == {"batches": 3}
    for number, batch in enumerate(single):
        assert several.names(number) == batch.pop("name")
        for key, array in batch.items():
            np.testing.assert_array_equal(several.arrays[key][:, number], array)


def test_examples_are_those_of_the_source_under_their_names(cache):
    source = Numbers()
    for batch in drawn(ResidentFeed(cache, 2 * DEVICES, 0, NOTHING), 5):
        for i, name in enumerate(batch["name"]):
            example = source[int(name[1:])]
            for key in ("image", "landmarks", "confidence"):
                np.testing.assert_array_equal(batch[key][divmod(i, 2)], example[key])


def test_each_device_sees_each_of_its_examples_once_an_epoch_in_a_new_order(cache):
    """23 examples on 4 devices: 6, 6, 6 and 5 of them."""
    batches = drawn(ResidentFeed(cache, DEVICES, 3, NOTHING), 60)
    for device in range(DEVICES):
        own = [f"n{i}" for i in range(device, 23, DEVICES)]
        seen = [batch["name"][device] for batch in batches][len(own) - device :]
        epochs = [seen[at : at + len(own)] for at in range(0, len(seen) - len(own) + 1, len(own))]
        assert all(sorted(epoch) == sorted(own) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) > len(epochs) / 2


def test_seeds_give_different_orders(cache):
    first, second = (drawn(ResidentFeed(cache, DEVICES, seed, NOTHING), 10) for seed in (1, 2))
    assert [b["name"] for b in first] != [b["name"] for b in second]


@pytest.mark.parametrize("done", [0, 1, 7])
def test_restored_feed_goes_on_with_the_same_batches(cache, done):
    unbroken = drawn(ResidentFeed(cache, 2 * DEVICES, 7, CHANGES), done + 3)
    broken = ResidentFeed(cache, 2 * DEVICES, 7, CHANGES)
    if done:
        broken.take(done)
    resumed = ResidentFeed(cache, 2 * DEVICES, 7, CHANGES)
    resumed.set_state(json.loads(json.dumps(broken.get_state())))
    assert_equal(drawn(resumed, 3), unbroken[done:])


def test_augmentation_differs_from_epoch_to_epoch(cache):
    batches = drawn(ResidentFeed(cache, DEVICES, 1, CHANGES), 12)
    first, second = (
        {name: marks for b in some for name, marks in zip(b["name"], b["landmarks"], strict=True)}
        for some in (batches[:6], batches[6:])
    )
    assert all((first[name] != second[name]).any() for name in first.keys() & second.keys())


def test_mixture_is_drawn_by_its_weights_and_each_corpus_gone_through():
    source = Mixture([Numbers(40, "a"), Numbers(20, "b")], [0.75, 0.25])
    batches = drawn(ResidentFeed(load_cache(source), 4 * DEVICES, 0, NOTHING), 10)
    for device in range(DEVICES):
        names = [name for b in batches for name in b["name"][4 * device : 4 * device + 4]]
        a, b = ([name for name in names if name[0] == corpus] for corpus in "ab")
        assert (len(a), len(b)) == (30, 10)
        for own, size, gone in ((a, 10, 3 * device), (b, 5, device)):  # of the first epoch
            starts = range((size - gone) % size, len(own) - size + 1, size)
            assert all(len(set(own[at : at + size])) == size for at in starts)


def test_every_batch_holds_the_corpora_in_their_shares():
    """Rather than one corpus on all devices at once."""
    source = Mixture([Numbers(40, letter) for letter in "abc"], [0.5, 0.375, 0.125])
    for batch in drawn(ResidentFeed(load_cache(source), 2 * DEVICES, 0, NOTHING), 12):
        counts = [sum(name[0] == letter for name in batch["name"]) for letter in "abc"]
        assert np.abs(np.subtract(counts, [4, 3, 1])).max() <= 1


def test_unreadable_records_are_replaced_and_counted():
    lines: list[str] = []
    cache = load_cache(Numbers(12, broken=(5,)), log=lines.append)
    assert cache.num_failed == 1 and len(lines) == 1 and "cut short" in lines[0]
    assert sorted(filter(None, chain(*cache.names))) == sorted(
        f"n{6 if i == 5 else i}" for i in range(12)
    )


def test_faces_are_cached_whatever_the_size_of_a_chunk(cache, monkeypatch):
    monkeypatch.setattr(resident, "_CHUNK", 4)
    chunked = load_cache(Numbers(), num_threads=1)
    assert chunked.names == cache.names
    jax.tree.map(np.testing.assert_array_equal, chunked.arrays, cache.arrays)


@on_processors
def test_processor_keeps_no_cache_by_itself():
    assert not use_cache("auto", Numbers()) and not use_cache("off", Numbers())
    assert use_cache("on", Numbers())


@pytest.mark.parametrize(("room", "fits"), [(1e9, True), (1e3, False), (None, False)])
def test_accelerator_caches_what_fits(monkeypatch, room, fits):
    stats = None if room is None else {"bytes_limit": 3 * room, "bytes_in_use": 2 * room}
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert use_cache("auto", Numbers()) == fits
    if room == 1e3:
        with pytest.raises(FeedError, match=r"take .* GB a device"):
            use_cache("on", Numbers())


@on_processors
def test_state_of_another_kind_of_feed_is_refused(cache):
    cached, read = (
        ResidentFeed(cache, DEVICES, 0, NOTHING),
        StreamedFeed(Numbers(), DEVICES, 0, NOTHING),
    )
    with pytest.raises(FeedError, match="device_cache=off"):
        cached.set_state(read.get_state())
    with pytest.raises(FeedError, match="device_cache=on"):
        read.set_state(cached.get_state())
    for feed in (cached, read):
        with pytest.raises(FeedError, match=r"data\.kind=synthetic"):
            feed.set_state({"number": 3})  # of rendered faces
    read.close()


@on_processors
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda cache: ResidentFeed(cache, DEVICES + 1, 0, NOTHING), "multiple"),
        (lambda cache: use_cache("on", Numbers(DEVICES - 1)), "cannot be divided"),
        (lambda cache: use_cache("maybe", Numbers()), "choose auto, on, off"),
    ],
)
def test_impossible_cache_is_refused(cache, make, reason):
    with pytest.raises(FeedError, match=reason):
        make(cache)


def test_switching_on_more_does_not_change_the_motion(cache):
    moved = dataclasses.replace(CHANGES, exposure=0.0, occluder=0.0, jpeg=0.0)
    all_, some = (drawn(ResidentFeed(cache, DEVICES, 5, a), 3) for a in (CHANGES, moved))
    for batch, other in zip(all_, some, strict=True):
        np.testing.assert_array_equal(batch["landmarks"], other["landmarks"])


TWO_PROCESSES = """
import os, sys
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "tests")]
from mofa_jax.processes import initialize_processes
initialize_processes()
import jax
from test_resident import NOTHING, Numbers
from mofa_jax.data.feeds.resident import ResidentFeed, load_cache, use_cache
assert use_cache("on", Numbers())
feed = ResidentFeed(load_cache(Numbers()), 4, 3, NOTHING)
mean = jax.pmap(lambda c: jax.lax.pmean(c.mean(), "batch"), axis_name="batch", out_axes=None)
for _ in range(6):
    batch = feed.take(1)
    print("names", *batch.names(0), float(mean(batch.arrays["confidence"])))
"""


@pytest.mark.slow
@on_processors
def test_two_processes_draw_their_own_halves():
    """23 examples in batches of 4 on two devices; the second is a batch ahead."""
    outputs = run_processes(["-c", TWO_PROCESSES], 2)
    lines = [
        [line.split()[1:] for line in output.splitlines() if line.startswith("names")]
        for output in outputs
    ]
    for process, own in enumerate(lines):
        names = [name for line in own for name in line[:-1]]
        share = {f"n{i}" for i in range(process, 23, 2)}
        first_epoch = names[: len(share) - 2 * process]
        assert len(names) == 12 and set(names) <= share
        assert len(set(first_epoch)) == len(first_epoch)
    for first, second in zip(*lines, strict=True):
        numbers = [int(name[1:]) for name in first[:-1] + second[:-1]]
        assert float(first[-1]) == float(second[-1]) == pytest.approx(np.mean(numbers))
