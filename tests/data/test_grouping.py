"""Divisions: as even as can be, the same every time, no part empty."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from va_search.data.grouping import cost, divide


def test_small_divisions_are_the_best_there_are() -> None:
    random = np.random.default_rng(1)
    for groups, parts in ((6, 2), (7, 3)):
        amounts = random.lognormal(0.0, 1.0, (groups, 3))
        every = itertools.product(range(parts), repeat=groups)
        best = min(cost(amounts, np.array(one), parts) for one in every)
        assert cost(amounts, divide(amounts, parts), parts) == pytest.approx(best)


def test_improving_beats_the_random_divisions_it_starts_from() -> None:
    amounts = np.random.default_rng(2).lognormal(0.0, 1.0, (60, 8))
    random = [np.random.default_rng(seed).integers(5, size=60) for seed in range(300)]
    assert cost(amounts, divide(amounts, 5, tries=10), 5) < 0.2 * min(
        cost(amounts, one, 5) for one in random
    )


def test_many_groups_are_moved_without_exchanges() -> None:
    amounts = np.random.default_rng(3).lognormal(0.0, 1.0, (1200, 2))
    frames = np.bincount(divide(amounts, 6, tries=3), weights=amounts[:, 0])
    assert np.abs(frames / frames.mean() - 1).max() < 0.01


def test_parts_count_from_the_first_group_and_none_is_empty() -> None:
    amounts = np.array([[1000.0], [1.0], [1.0], [1.0]])
    assert divide(amounts, 4).tolist() == [0, 1, 2, 3]
    assert divide(amounts, 2).tolist() == [0, 1, 1, 1]
    with pytest.raises(ValueError, match="parts=5, groups=4"):
        divide(amounts, 5)


def test_the_seed_decides() -> None:
    amounts = np.random.default_rng(4).lognormal(0.0, 1.0, (200, 21))
    assert divide(amounts, 5, seed=7).tolist() == divide(amounts, 5, seed=7).tolist()
    assert divide(amounts, 5, seed=7).tolist() != divide(amounts, 5, seed=8).tolist()
