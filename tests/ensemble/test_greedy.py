"""Selections on moments against their definition on frames."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from va_search.ensemble import methods
from va_search.ensemble.measure import measure
from va_search.ensemble.statistics import Moments
from va_search.metrics import ccc

N = 400


def predictions(
    seed: int = 0, members: int = 8
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=N).cumsum() / 10
    shared = rng.normal(size=N)
    noise = rng.uniform(0.2, 1.5, size=members)
    found = [y * 0.6 + (shared * 0.5 + rng.normal(size=N)) * s + rng.normal() * 0.3 for s in noise]
    return found, y


def moments_of(found: list[NDArray[np.float64]], y: NDArray[np.float64]) -> Moments:
    return measure(found, y, [("r", len(y))], [str(i) for i in range(len(found))]).total()


def greedy_on_frames(
    found: list[NDArray[np.float64]], y: NDArray[np.float64], steps: int, start: int
) -> list[float]:
    """The definition, slowly: every candidate's ensemble is made frame by frame and scored with the
    metric."""
    order = sorted(range(len(found)), key=lambda i: (-ccc(found[i], y), i))
    starts = [
        ccc(np.mean([found[i] for i in order[: n + 1]], axis=0), y)
        for n in range(min(start, len(found)))
    ]
    chosen = order[: int(np.argmax(starts)) + 1]
    best = (ccc(np.mean([found[i] for i in chosen], axis=0), y), list(chosen))
    for _ in range(steps):
        scores = [
            ccc(np.mean([found[i] for i in [*chosen, j]], axis=0), y) for j in range(len(found))
        ]
        chosen = [*chosen, int(np.argmax(scores))]
        if max(scores) > best[0] + 1e-12:
            best = (max(scores), list(chosen))
    return [best[1].count(i) / len(best[1]) for i in range(len(found))]


@pytest.mark.parametrize("start", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_greedy_on_frames(seed: int, start: int) -> None:
    found, y = predictions(seed)
    expected = greedy_on_frames(found, y, steps=20, start=start)
    np.testing.assert_allclose(
        methods.select_greedily(moments_of(found, y), 20, start), expected, atol=1e-12
    )


def test_greedy_uses_the_best_ensemble_of_its_path() -> None:
    found, y = predictions(3)
    moments = moments_of(found, y)
    scores = [moments.ccc(methods.select_greedily(moments, steps)) for steps in range(40)]
    assert all(b >= a - 1e-12 for a, b in pairwise(scores))
    assert scores[-1] > max(moments.ccc_of_each())


def test_greedy_takes_a_member_again() -> None:
    weights = methods.select_greedily(moments_of(*predictions(1)), 50)
    taken = weights[weights > 0]
    assert (
        len(np.unique(np.round(taken, 9))) > 1
    )  # counts differ, so some were taken more than once


def test_best_and_top_k_rank_by_ccc() -> None:
    found, y = predictions()
    moments = moments_of(found, y)
    order = np.argsort([-ccc(p, y) for p in found])
    assert methods.top_members(moments, 1)[order[0]] == 1.0
    assert set(np.flatnonzero(methods.top_members(moments, 3))) == set(order[:3])
    np.testing.assert_allclose(
        methods.top_members(moments, 99), np.full(len(found), 1 / len(found))
    )


@pytest.mark.parametrize(
    "rule", [lambda m: methods.select_greedily(m, 0), lambda m: methods.top_members(m, 1)]
)
def test_ties_go_to_the_first_member(rule: Callable[[Moments], NDArray[np.float64]]) -> None:
    found, y = predictions()
    best = int(np.argmax([ccc(p, y) for p in found]))
    twins = [found[best].copy(), *[p for i, p in enumerate(found) if i != best], found[best].copy()]
    weights = rule(moments_of(twins, y))
    assert weights[0] == 1.0 and weights[-1] == 0.0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 10),
    start=st.integers(1, 12),
    offset=st.floats(-50, 50),
)
def test_greedy_reaches_the_ccc_of_greedy_on_frames(
    seed: int, members: int, start: int, offset: float
) -> None:
    found, y = predictions(seed, members)
    found = [p + offset for p in found]
    expected = np.array(greedy_on_frames(found, y, steps=12, start=start))
    moments = moments_of(found, y)
    weights = methods.select_greedily(moments, 12, start)
    assert moments.ccc(weights) == pytest.approx(
        ccc(np.tensordot(expected, found, axes=1), y), abs=1e-9
    )
    np.testing.assert_allclose(weights, expected, atol=1e-9)
