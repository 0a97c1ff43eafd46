"""The order of segments: every one once, states by position, equal counts together."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from va_search.training.batches import Chains, independent, side_by_side


def chains_of(counts: list[int]) -> Chains:
    count = np.array(counts, dtype=np.int64)
    return Chains(np.cumsum(count) - count, count)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=20), st.integers(1, 7), st.integers(0, 3))
def test_chains_go_through_whole_and_in_order(
    counts: list[int], batch_size: int, seed: int
) -> None:
    chains = chains_of(counts)
    batches = list(side_by_side(chains, batch_size, torch.Generator().manual_seed(seed)))
    assert len(batches) == chains.batches_in(batch_size)
    assert sorted(np.concatenate([b.segments for b in batches]).tolist()) == list(
        range(sum(counts))
    )
    starts = set(chains.start.tolist())
    before = np.array([], dtype=np.int64)
    for batch in batches:
        assert len(batch.segments) <= batch_size
        if batch.fresh:
            assert set(batch.segments.tolist()) <= starts
        else:  # each row one segment on from the same row of the batch before
            assert batch.segments.tolist() == (before[: len(batch.segments)] + 1).tolist()
            assert not set(batch.segments.tolist()) & starts
        before = batch.segments


def test_a_shuffle_mixes_equal_chains_and_repeats_with_its_seed() -> None:
    chains = chains_of([3] * 12)

    def groups(seed: int) -> list[list[int]]:
        drawn = side_by_side(chains, 4, torch.Generator().manual_seed(seed))
        return [batch.segments.tolist() for batch in drawn if batch.fresh]

    assert groups(1) == groups(1)
    assert sorted(map(sorted, groups(1))) != sorted(map(sorted, groups(2)))


def test_without_a_generator_the_order_is_the_chains_own() -> None:
    batches = list(side_by_side(chains_of([1, 3, 2]), 2))
    assert [b.segments.tolist() for b in batches] == [[1, 4], [2, 5], [3], [0]]
    assert [b.fresh for b in batches] == [True, False, False, True]


def test_independent_segments_come_once_each_the_last_batch_short() -> None:
    some = np.array([2, 3, 5, 7, 11])
    drawn = list(independent(some, 2, torch.Generator().manual_seed(0)))
    assert [len(batch.segments) for batch in drawn] == [2, 2, 1]  # nothing is dropped
    assert sorted(np.concatenate([b.segments for b in drawn]).tolist()) == some.tolist()
    assert all(batch.fresh for batch in drawn)
    assert np.concatenate([b.segments for b in independent(some, 2)]).tolist() == some.tolist()
