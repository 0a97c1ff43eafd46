"""Every method against its definition on frames, and what all methods promise."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from va_search.ensemble import select
from va_search.ensemble.recipe import METHODS
from va_search.ensemble.statistics import Moments, measure
from va_search.metrics import ccc

N = 400


def predictions(seed: int = 0, members: int = 8) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=N).cumsum() / 10
    shared = rng.normal(size=N)
    noise = rng.uniform(0.2, 1.5, size=members)
    found = [y * 0.6 + (shared * 0.5 + rng.normal(size=N)) * s + rng.normal() * 0.3 for s in noise]
    return found, y


def moments_of(found: list[NDArray[np.float64]], y: NDArray[np.float64]) -> Moments:
    return measure(found, y, [("r", len(y))], [str(i) for i in range(len(found))]).total()


def greedy_on_frames(found: list[NDArray[np.float64]], y: NDArray[np.float64], steps: int, start: int) -> list[float]:
    """The definition, slowly: every candidate's ensemble is made frame by frame and scored with the metric."""
    order = sorted(range(len(found)), key=lambda i: (-ccc(found[i], y), i))
    starts = [ccc(np.mean([found[i] for i in order[: n + 1]], axis=0), y) for n in range(min(start, len(found)))]
    chosen = order[: int(np.argmax(starts)) + 1]
    best = (ccc(np.mean([found[i] for i in chosen], axis=0), y), list(chosen))
    for _ in range(steps):
        scores = [ccc(np.mean([found[i] for i in [*chosen, j]], axis=0), y) for j in range(len(found))]
        chosen = [*chosen, int(np.argmax(scores))]
        if max(scores) > best[0] + 1e-12:
            best = (max(scores), list(chosen))
    return [best[1].count(i) / len(best[1]) for i in range(len(found))]


@pytest.mark.parametrize("start", [1, 4])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_greedy_on_frames(seed: int, start: int) -> None:
    found, y = predictions(seed)
    expected = greedy_on_frames(found, y, steps=20, start=start)
    np.testing.assert_allclose(select.greedy(moments_of(found, y), 20, start), expected, atol=1e-12)


def test_greedy_uses_the_best_ensemble_of_its_path() -> None:
    found, y = predictions(3)
    moments = moments_of(found, y)
    scores = [moments.ccc(select.greedy(moments, steps)) for steps in range(40)]
    assert all(b >= a - 1e-12 for a, b in pairwise(scores))
    assert scores[-1] > max(moments.ccc_of_each())


def test_greedy_takes_a_member_again() -> None:
    weights = select.greedy(moments_of(*predictions(1)), 50)
    taken = weights[weights > 0]
    assert len(np.unique(np.round(taken, 9))) > 1  # counts differ, so some were taken more than once


def test_best_and_top_k_rank_by_ccc() -> None:
    found, y = predictions()
    moments = moments_of(found, y)
    order = np.argsort([-ccc(p, y) for p in found])
    assert select.best(moments)[order[0]] == 1.0
    assert set(np.flatnonzero(select.top_k(moments, 3))) == set(order[:3])
    np.testing.assert_allclose(select.top_k(moments, 99), select.mean(moments))


@pytest.mark.parametrize("rule", [select.best, lambda m: select.greedy(m, 0), lambda m: select.top_k(m, 1)])
def test_ties_go_to_the_first_member(rule: Callable[[Moments], NDArray[np.float64]]) -> None:
    found, y = predictions()
    best = int(np.argmax([ccc(p, y) for p in found]))
    twins = [found[best].copy(), *[p for i, p in enumerate(found) if i != best], found[best].copy()]
    weights = rule(moments_of(twins, y))
    assert weights[0] == 1.0 and weights[-1] == 0.0


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_weights(method: str) -> None:
    chosen = METHODS[method]()
    for members in (1, 2, 8):
        moments = moments_of(*predictions(2, members))
        weights = chosen.weights(moments)
        assert weights.shape == (members,)
        assert weights.min() >= 0.0 and weights.sum() == pytest.approx(1.0)
        np.testing.assert_array_equal(chosen.weights(moments), weights)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_changes_nothing(method: str) -> None:
    found, y = predictions(4)
    order = np.random.default_rng(0).permutation(len(found))
    weights = METHODS[method]().weights(moments_of(found, y))
    shuffled = METHODS[method]().weights(moments_of([found[i] for i in order], y))
    np.testing.assert_allclose(shuffled, weights[order], atol=1e-12)


@pytest.mark.parametrize("method", ["best", "greedy"])
def test_a_constant_member_is_never_preferred(method: str) -> None:
    found, y = predictions(5, 3)
    flat = [np.full(N, y.mean()), *found]
    assert METHODS[method]().weights(moments_of(flat, y))[0] < 0.5
    constant = np.full(N, 2.0)  # annotation constant too: no CCC is defined
    assert METHODS[method]().weights(moments_of([constant, *found], constant)).sum() == pytest.approx(1.0)
