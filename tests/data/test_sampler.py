"""The order of a run: each epoch each sample once, the same for whoever asks, windows bounded."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinlens.data.sampler import (
    MIXTURE_BLOCK,
    SHUFFLE_WINDOW,
    EpochSampler,
    MixtureSampler,
    block_counts,
    training_sampler,
)
from twinlens.data.samples import Dataset, Source
from twinlens.errors import DataError

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=12).filter(any)


def dataset(size: int, **fields: Any) -> Dataset:
    return Dataset(name="noise", samples=range(size), **fields)  # pyright: ignore


@given(sizes=SIZES, seed=st.integers(0, 2**63), window=st.integers(1, 60))
def test_each_epoch_visits_each_sample_once(sizes: list[int], seed: int, window: int):
    order = EpochSampler(sizes, (seed,), window)
    for epoch in range(3):
        positions = range(epoch * sum(sizes), (epoch + 1) * sum(sizes))
        assert sorted(map(order.sample_index, positions)) == list(range(sum(sizes)))


@given(sizes=SIZES, seed=st.integers(0, 99), window=st.integers(1, 60), data=st.data())
def test_a_position_is_the_same_however_it_is_reached(
    sizes: list[int], seed: int, window: int, data: st.DataObject
):
    order = EpochSampler(sizes, (seed,), window)
    straight = [order.sample_index(position) for position in range(3 * sum(sizes))]
    places = data.draw(st.lists(st.integers(0, len(straight) - 1), max_size=20))
    fresh = EpochSampler(sizes, (seed,), window)
    assert [fresh.sample_index(place) for place in places] == [straight[place] for place in places]


@given(sizes=SIZES, window=st.integers(1, 60))
def test_windows_are_bounded_and_of_whole_shards(sizes: list[int], window: int):
    order = EpochSampler(sizes, (0,), window)
    windows = np.diff(order._make_windows(0)[1], prepend=0).tolist()
    assert sum(windows) == sum(sizes)
    assert all(window <= size < window + max(sizes) for size in windows[:-1])
    if sum(sizes) <= window:
        return
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    seen: set[int] = set()
    start = 0
    for size in windows:
        shards = {int(shard_of[order.sample_index(place)]) for place in range(start, start + size)}
        assert not shards & seen
        assert sum(sizes[shard] for shard in shards) == size
        seen |= shards
        start += size


def test_epochs_windows_and_seeds_differ():
    orders = [
        tuple(
            EpochSampler([50] * 8, (seed,), 100).sample_index(place + epoch * 400)
            for place in range(400)
        )
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 4
    assert orders[0] != tuple(range(400))


@given(size=st.integers(1, 300), seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_a_small_set_is_one_permutation(size: int, seed: int, epoch: int):
    expected = np.random.default_rng([seed, epoch]).permutation(size).tolist()
    for sizes in (None, [size], [1] * size):
        order = training_sampler(dataset(size, shard_sizes=sizes), seed)
        assert [order.sample_index(epoch * size + place) for place in range(size)] == expected


def test_a_large_set_is_shuffled_in_windows():
    order = training_sampler(
        dataset(3 * SHUFFLE_WINDOW, shard_sizes=[SHUFFLE_WINDOW // 2] * 6), seed=0
    )
    first = {
        order.sample_index(place) // (SHUFFLE_WINDOW // 2)
        for place in range(0, SHUFFLE_WINDOW, 500)
    }
    later = {
        order.sample_index(place) // (SHUFFLE_WINDOW // 2)
        for place in range(SHUFFLE_WINDOW, 2 * SHUFFLE_WINDOW, 500)
    }
    assert (len(first), len(later), first & later) == (2, 2, set())


# Mixtures


@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=8))
def test_shares_fill_a_block_and_are_near_the_weights(weights: list[float]):
    counts = block_counts(weights)
    assert sum(counts) == MIXTURE_BLOCK
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - weight / sum(weights) * MIXTURE_BLOCK) < 1


def test_a_mixture_has_exact_shares_in_each_block():
    order = MixtureSampler([0.7, 0.2, 0.1], [[5, 6], [3], [4]], seed=1)
    for block in (0, 1, 77):
        found = [order.locate(block * MIXTURE_BLOCK + place) for place in range(MIXTURE_BLOCK)]
        assert Counter(source for source, _ in found) == {0: 700, 1: 200, 2: 100}
        for source, count in enumerate((700, 200, 100)):
            places = [place for number, place in found if number == source]
            assert places == list(range(block * count, (block + 1) * count))


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 99),
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=4),
    data=st.data(),
)
def test_each_source_has_epochs_of_its_own(seed: int, sizes: list[int], data: st.DataObject):
    weights = data.draw(st.lists(st.floats(0.1, 1), min_size=len(sizes), max_size=len(sizes)))
    sources = tuple(Source(weight=w, shard_sizes=[n]) for w, n in zip(weights, sizes, strict=True))
    order = training_sampler(dataset(sum(sizes), sources=sources), seed)
    stream = [order.sample_index(position) for position in range(2 * MIXTURE_BLOCK)]
    start = 0
    for size in sizes:
        own = [index - start for index in stream if start <= index < start + size]
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size]) == list(range(size))
        start += size
    assert stream[1500] == training_sampler(
        dataset(sum(sizes), sources=sources), seed
    ).sample_index(1500)


def test_sources_of_one_size_have_orders_of_their_own():
    order = MixtureSampler([1, 1], [[40], [40]], seed=0)
    one, two = (
        [order._sources[number].sample_index(place) for place in range(40)]  # pyright: ignore
        for number in (0, 1)
    )
    assert one != two


def test_a_share_too_small_is_an_error():
    with pytest.raises(DataError, match=r"weights: got 1, 0\.0001, expected each to be at least"):
        MixtureSampler([1, 0.0001], [[4], [4]], seed=0)
