"""Mixtures: each corpus as often as its weight says, all of it before any of it again."""

import json
from contextlib import closing

import numpy as np
import pytest

from mofa_jax.data.feeds.mixture import FeedError, Mixture, parse_mixture, spread
from mofa_jax.data.feeds.streamed import read_ahead, training_batches


class Named:
    """n examples of one corpus."""

    def __init__(self, corpus: str, n: int):
        self.corpus, self.n = corpus, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> dict:
        return {
            "image": np.full((4, 4, 3), i, np.uint8),
            "landmarks": np.full((68, 2), 10.0, np.float32),
            "confidence": np.ones(68, np.float32),
            "name": f"{self.corpus}{i}",
        }


def mixture() -> Mixture:
    return Mixture([Named("a", 10), Named("b", 7), Named("c", 30)], [0.5, 0.3, 0.2])


def names(source: Mixture, batch_size: int, count: int, seed: int = 1, **process) -> list[str]:
    batches = training_batches(source, batch_size, seed, **process)
    return [str(name) for k in range(count) for name in batches[k]["name"]]


WEIGHTS = [
    ([1.0], [1.0]),
    ([0.7, 0.3], [0.7, 0.3]),
    ([3, 1], [0.75, 0.25]),
    ([1, 1, 1], [1 / 3, 1 / 3, 1 / 3]),
    ([0.001, 0.999], [0.001, 0.999]),
    ([2.5, 0.7, 11.3], [0.1724, 0.0483, 0.7793]),
    ([0.5, 0.499, 0.001], [0.5, 0.499, 0.001]),
]


@pytest.mark.parametrize(("weights", "shares"), WEIGHTS)
def test_every_stretch_of_places_holds_the_corpora_in_their_shares(weights, shares):
    sources = [Named("abc"[k], 250) for k in range(len(weights))]
    letters = np.array([name[0] for name in names(Mixture(sources, weights), 100, 30)])
    for corpus, share in enumerate(shares):
        drawn = np.cumsum(letters == "abc"[corpus])
        assert np.abs(drawn - share * np.arange(1, 3001)).max() < 0.0015 * 3000


def test_feed_draws_from_each_corpus_by_its_weight_and_each_epoch_of_it_holds_all():
    seen = names(mixture(), 10, 20)
    for corpus, size, share in (("a", 10, 0.5), ("b", 7, 0.3), ("c", 30, 0.2)):
        own = [name for name in seen if name[0] == corpus]
        assert len(own) == share * 200
        for start in range(0, len(own) - size + 1, size):
            assert len(set(own[start : start + size])) == size


def test_weight_of_a_single_source_does_not_matter():
    one, other = (Mixture([Named("a", 10)], [weight]) for weight in (1.0, 3.0))
    assert names(one, 4, 6) == names(other, 4, 6)


@pytest.mark.parametrize("num_threads", [0, 3])
def test_restored_mixture_goes_on_with_the_same_batches(num_threads):
    def batches(num_threads):
        return closing(iter(read_ahead(training_batches(mixture(), 6, 2), num_threads)))

    with batches(2) as unbroken, batches(num_threads) as resumed:
        for _ in range(5):
            next(unbroken)
        resumed.set_state(json.loads(json.dumps(unbroken.get_state())))
        for _ in range(4):
            batch, expected = next(resumed), next(unbroken)
            for key in batch:
                np.testing.assert_array_equal(batch[key], expected[key])


def test_processes_parts_together_are_the_global_batch():
    for k in range(4):
        parts = [names(mixture(), 8, k + 1, process_index=p, process_count=2) for p in (0, 1)]
        whole = names(mixture(), 8, k + 1)[-8:]
        assert sorted(name for part in parts for name in part[-4:]) == sorted(whole)


def test_corpora_of_one_size_have_orders_of_their_own():
    both = Mixture([Named("a", 20), Named("b", 20)], [1, 1])
    seen = names(both, 40, 1, seed=3)
    first, second = ([name[1:] for name in seen if name[0] == corpus] for corpus in "ab")
    assert sorted(first) == sorted(second) and first != second


@pytest.mark.parametrize(
    ("n", "count", "expected"), [(9, 3, [0, 4, 8]), (3, 5, [0, 1, 2]), (4, 1, [0])]
)
def test_some_examples_are_spread_evenly(n, count, expected):
    some = spread(Named("a", n), count)
    assert [some[i]["name"] for i in range(len(some))] == [f"a{i}" for i in expected]


def test_mixture_is_read_from_the_command_lines_text():
    assert parse_mixture("x/a=0.7, y=b/c=3") == {"x/a": 0.7, "y=b/c": 3.0}


@pytest.mark.parametrize("text", ["a", "a=x", "=1", "a=1,a=2", "a=1,"])
def test_text_of_another_form_is_refused(text):
    with pytest.raises(FeedError, match="DIRECTORY=WEIGHT"):
        parse_mixture(text)


@pytest.mark.parametrize("weights", [[1, 0], [1, -2], [float("nan"), 1], [1, 1e-5]])
def test_senseless_weights_are_refused(weights):
    with pytest.raises(FeedError, match="weight"):
        Mixture([Named("a", 3), Named("b", 3)], weights)
