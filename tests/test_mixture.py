"""Mixtures: each corpus as often as its weight says, all of it before any of it again."""

import json

import numpy as np
import pytest

from mofa_jax.data.feeds.augment import Augmentation
from mofa_jax.data.feeds.mixture import Joined, Mixture, MixtureError, make_schedule, parse_mixture
from mofa_jax.data.feeds.streamed import FeedError, make_feed


class Named:
    """n examples of one corpus."""

    def __init__(self, corpus: str, n: int):
        self.corpus, self.n = corpus, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict:
        return {
            "image": np.full((24, 24, 3), i, np.uint8),
            "landmarks": np.full((68, 2), 10.0, np.float32),
            "confidence": np.ones(68, np.float32),
            "name": f"{self.corpus}{i}",
        }


def mixture() -> Mixture:
    return Mixture([Named("a", 10), Named("b", 7), Named("c", 30)], [0.5, 0.3, 0.2])


def names(feed, count: int) -> list[str]:
    return [str(name) for _ in range(count) for name in next(feed)["name"]]


@pytest.mark.parametrize(
    ("weights", "shares"),
    [
        ([1.0], [1.0]),
        ([0.7, 0.3], [0.7, 0.3]),
        ([3, 1], [0.75, 0.25]),
        ([1, 1, 1], [0.333, 0.333, 0.333]),
        ([0.001, 0.999], [0.001, 0.999]),
        ([2.5, 0.7, 11.3], [0.1724, 0.0483, 0.7793]),
    ],
)
def test_every_stretch_of_places_holds_the_corpora_in_their_shares(weights, shares):
    schedule = make_schedule(weights)
    corpora = np.array([schedule(place)[0] for place in range(3000)])
    for corpus, share in enumerate(shares):
        drawn = np.cumsum(corpora == corpus)
        assert np.abs(drawn - share * np.arange(1, 3001)).max() < 0.0015 * 3000


def test_each_corpus_is_gone_through_without_a_gap():
    schedule = make_schedule([0.61, 0.27, 0.12])
    positions: dict[int, list[int]] = {}
    for place in range(2500):
        corpus, position = schedule(place)
        positions.setdefault(corpus, []).append(position)
    for found in positions.values():
        assert found == list(range(len(found)))


def test_simple_weights_give_a_short_pattern():
    assert len(make_schedule([0.75, 0.25]).corpus) == 4
    assert make_schedule([5.0]).corpus.tolist() == [0]


def test_feed_draws_from_each_corpus_by_its_weight_and_each_epoch_of_it_holds_all():
    seen = names(make_feed(mixture(), 10, seed=1), 20)
    for corpus, size, share in (("a", 10, 0.5), ("b", 7, 0.3), ("c", 30, 0.2)):
        own = [name for name in seen if name[0] == corpus]
        assert len(own) == share * 200
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start : start + size])) == size


def test_mixture_of_one_is_the_feed_of_the_source():
    one = names(make_feed(Mixture([Named("a", 10)], [3.0]), 4, seed=5), 6)
    assert one == names(make_feed(Named("a", 10), 4, seed=5), 6)


@pytest.mark.parametrize("num_threads", [0, 3])
def test_restored_mixture_goes_on_with_the_same_batches(num_threads):
    augmentation = Augmentation(shift=5.0)
    unbroken = make_feed(mixture(), 6, 2, augmentation)
    for _ in range(5):
        next(unbroken)
    resumed = make_feed(mixture(), 6, 2, augmentation, num_threads=num_threads)
    resumed.set_state(json.loads(json.dumps(unbroken.get_state())))
    for _ in range(4):
        batch, expected = next(resumed), next(unbroken)
        for key in batch:
            np.testing.assert_array_equal(batch[key], expected[key])


def test_processes_batches_one_after_another_are_the_global_batch():
    whole = make_feed(mixture(), 8, 7)
    parts = [make_feed(mixture(), 8, 7, process_index=p, process_count=2) for p in range(2)]
    for _ in range(4):
        joined = [name for part in parts for name in names(part, 1)]
        assert joined == names(whole, 1)


def test_corpora_of_one_size_have_orders_of_their_own():
    both = Mixture([Named("a", 20), Named("b", 20)], [1, 1])
    seen = names(make_feed(both, 40, seed=3), 1)
    first, second = ([name[1:] for name in seen if name[0] == corpus] for corpus in "ab")
    assert sorted(first) == sorted(second) and first != second


def test_joined_sources_come_one_after_another():
    joined = Joined([Named("a", 2), Named("b", 1), Named("c", 3)])
    found = [joined[i]["name"] for i in range(len(joined))]
    assert found == ["a0", "a1", "b0", "c0", "c1", "c2"]


def test_mixture_is_read_from_the_command_lines_text():
    assert parse_mixture("x/a=0.7, y=b/c=3") == {"x/a": 0.7, "y=b/c": 3.0}


@pytest.mark.parametrize("text", ["a", "a=x", "=1", "a=1,a=2", "a=1,"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(MixtureError, match="DIRECTORY=WEIGHT"):
        parse_mixture(text)


@pytest.mark.parametrize("weights", [[1, 0], [1, -2], [float("nan"), 1], [1, 1e-5]])
def test_senseless_weights_are_refused(weights):
    with pytest.raises(MixtureError, match="weight"):
        make_schedule(weights)


def test_epoch_of_a_mixture_is_refused():
    with pytest.raises(FeedError, match="no end"):
        make_feed(mixture(), 4, repeat=False)
