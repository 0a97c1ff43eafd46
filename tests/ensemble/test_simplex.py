"""The exact optimum is an optimum: no weights on the simplex do better, and the gap says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize, nnls

from va_search.ensemble import methods
from va_search.ensemble.measure import measure
from va_search.ensemble.simplex import kkt_gap, maximise_ccc, minimise
from va_search.ensemble.statistics import Moments


def moments_of(seed: int, members: int, twins: bool = False, offset: float = 0.0) -> Moments:
    rng = np.random.default_rng(seed)
    n = 300
    y = rng.normal(size=n).cumsum() / 10
    shared = rng.normal(size=(3, n))
    x = rng.uniform(-0.2, 1.0, size=(members, 1)) * y + rng.normal(size=(members, 3)) @ shared
    x += rng.normal(size=(members, 1)) * 0.5 + rng.normal(size=(members, n)) * rng.uniform(0.1, 2.0)
    if twins:
        x = np.vstack([x, x])
    return measure(
        list(x + offset), y + offset, [("r", n)], [str(i) for i in range(len(x))]
    ).total()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    members=st.integers(1, 30),
    twins=st.booleans(),
    offset=st.sampled_from([0.0, 100.0]),
)
def test_no_small_move_gains(seed: int, members: int, twins: bool, offset: float) -> None:
    moments = moments_of(seed, members, twins, offset)
    found = maximise_ccc(moments, methods.top_members(moments, 1))
    assert found.weights.min() >= 0.0 and found.weights.sum() == pytest.approx(1.0, abs=1e-9)
    if moments.with_label.max() > 0.0:
        assert found.gap < 1e-9
        assert kkt_gap(moments, found.weights, found.ccc) == found.gap
        assert found.ccc >= moments.ccc(methods.select_greedily(moments, 50)) - 1e-12
        assert found.ccc >= moments.ccc(np.full(len(moments.mean), 1 / len(moments.mean))) - 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_a_general_optimiser_finds_nothing_better(seed: int) -> None:
    moments = moments_of(seed, 6)

    def worse(w: NDArray[np.float64]) -> float:
        return -moments.ccc(w)

    rows = {"type": "eq", "fun": lambda w: w.sum() - 1.0}
    start = np.full(6, 1 / 6)
    other = minimize(
        worse,
        start,
        bounds=[(0, 1)] * 6,
        constraints=[rows],
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    found = maximise_ccc(moments, methods.top_members(moments, 1))
    assert found.ccc == pytest.approx(-other.fun, abs=1e-7)
    assert found.ccc >= -other.fun - 1e-12


def test_the_start_comes_back_where_no_member_helps() -> None:
    moments = moments_of(0, 3)
    against = Moments(300, moments.mean, moments.covariance, -np.abs(moments.with_label), 0.0, 1.0)
    start = np.array([0.0, 1.0, 0.0])
    found = maximise_ccc(against, start)
    np.testing.assert_array_equal(found.weights, start)
    assert found.iterations == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 80), rows=st.integers(1, 90))
def test_nonnegative_least_squares_is_scipys(seed: int, size: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(rows, size)), rng.normal(size=rows)  # fewer rows than unknowns too
    ours = minimise(a.T @ a, a.T @ b, sum_to_one=False)
    theirs = nnls(a, b)[0]
    assert ours.min() >= 0.0
    squares = [float(np.sum((a @ w - b) ** 2)) for w in (ours, theirs)]
    assert squares[0] == pytest.approx(squares[1], rel=1e-9, abs=1e-9 * float(b @ b))


def test_a_far_optimum_is_found_from_a_single_member() -> None:
    gram = np.eye(200)
    np.testing.assert_allclose(minimise(gram, np.zeros(200)), np.full(200, 1 / 200), atol=1e-12)
