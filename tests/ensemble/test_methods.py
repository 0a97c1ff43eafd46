"""One contract for the whole menu: what every method promises, whatever the members are like."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import Field

from va_search.ensemble import methods
from va_search.ensemble.measure import measure
from va_search.ensemble.methods import METHODS
from va_search.ensemble.pipeline import shrink
from va_search.ensemble.recipe import read_recipe
from va_search.ensemble.statistics import Statistics
from va_search.errors import InputError
from va_search.metrics import ccc

LENGTHS = (60, 45, 80, 30, 70, 55)
SIGNED = {"ridge"}
Frames = tuple[NDArray[np.float64], NDArray[np.float64]]


def frames(seed: int = 0, members: int = 8) -> Frames:
    """(member, frame) predictions and the annotation; each member has errors of its own and in each
    recording."""
    rng = np.random.default_rng(seed)
    n = sum(LENGTHS)
    y = rng.normal(size=n).cumsum() / 10
    bias = np.repeat(rng.normal(size=(members, len(LENGTHS))), LENGTHS, axis=1)
    noise = rng.uniform(0.2, 1.5, size=(members, 1))
    return 0.6 * y + 0.3 * bias + noise * (
        rng.normal(size=(members, n)) + 0.5 * rng.normal(size=n)
    ), y


def statistics_of(
    data: Frames, members: list[str] | None = None, order: list[int] | None = None
) -> Statistics:
    """`order`: the recordings' order, r0 to r5 keeping their names and frames."""
    x, y = data
    order = list(range(len(LENGTHS))) if order is None else order
    pieces = np.split(np.arange(len(y)), np.cumsum(LENGTHS)[:-1])
    rows = np.concatenate([pieces[i] for i in order])
    names = [f"m{i:02}" for i in range(len(x))] if members is None else members
    return measure(list(x[:, rows]), y[rows], [(f"r{i}", LENGTHS[i]) for i in order], names)


def check(name: str, weights: NDArray[np.float64], members: int) -> None:
    assert weights.shape == (members,) and weights.dtype == np.float64
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-9)
    if name not in SIGNED:
        assert weights.min() >= 0.0


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_finite_sum_to_one_and_repeat(name: str) -> None:
    for members in (1, 2, 8):
        statistics = statistics_of(frames(2, members))
        weights = METHODS[name](statistics)
        check(name, weights, members)
        np.testing.assert_array_equal(METHODS[name](statistics), weights)
        np.testing.assert_array_equal(METHODS[name](statistics, np.ones(len(LENGTHS))), weights)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_members_and_recordings_changes_nothing(name: str) -> None:
    x, y = frames(4)
    weights = METHODS[name](statistics_of((x, y)))
    order = np.random.default_rng(0).permutation(len(x))
    members = [f"m{i:02}" for i in order]
    shuffled = METHODS[name](statistics_of((x[order], y), members, [3, 0, 5, 1, 4, 2]))
    np.testing.assert_allclose(shuffled, weights[order], atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_each_tells_which_recordings_are_seen(name: str) -> None:
    x, y = frames(5)
    each = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    weights = METHODS[name](statistics_of((x, y)), each)
    inside = np.repeat(each, LENGTHS) > 0.0
    spoilt = x.copy()
    spoilt[:, ~inside] = np.random.default_rng(0).normal(size=(len(x), int((~inside).sum()))) * 50.0
    np.testing.assert_allclose(METHODS[name](statistics_of((spoilt, y)), each), weights, atol=1e-7)
    if name != "mean":  # which looks at no recording
        with pytest.raises(ValueError, match="labelled frame"):
            METHODS[name](statistics_of((x, y)), np.zeros(len(LENGTHS)))


@pytest.mark.parametrize("name", METHODS)
def test_odd_members_are_tolerated(name: str) -> None:
    x, y = frames(6, 3)
    flat = np.full(len(y), y.mean())
    worlds = {
        "a constant member": np.vstack([flat, x]),
        "only constant members": np.stack([flat, flat + 1.0]),
        "two identical members": np.vstack([x, x[:1]]),
        "all identical": np.stack([x[0]] * 4),
        "one is the annotation": np.vstack([x, y]),
        "all against the annotation": -x,
        "one far off": np.vstack([x, x[:1] + 1e4]),
        "more members than frames would need": np.vstack([x, x + 1.0, 2.0 * x, x[:1] + x[1:2]]),
    }
    for what, predictions in worlds.items():
        statistics = statistics_of((predictions, y))
        weights = METHODS[name](statistics)
        check(f"{name}", weights, len(predictions))
        assert not (
            what == "a constant member"
            and name not in ("mean", "top_k", "exact")
            and weights[0] > 0.5
        )


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_annotation_still_gives_weights(name: str) -> None:
    """A fold's others may be constant although the whole is not; the whole is refused where
    statistics are made."""
    x, y = frames(7)
    check(name, METHODS[name](statistics_of((x, np.full(len(y), 2.0)))), len(x))


@pytest.mark.parametrize("name", ["best", "top_k", "greedy", "bagged_greedy"])
def test_ties_go_to_the_first_trial(name: str) -> None:
    x, y = frames(8)
    first = int(np.argmax([ccc(p, y) for p in x]))
    twins = np.vstack([x[first], np.delete(x, first, axis=0), x[first]])
    few = {"top_k": {"k": 1}, "greedy": {"steps": 3}, "bagged_greedy": {"steps": 3}}
    weights = METHODS[name](statistics_of((twins, y)), **few.get(name, {}))
    assert weights[0] > 0.0 and weights[-1] == 0.0


def test_bagged_greedy_is_the_mean_of_greedy_on_bags() -> None:
    statistics = statistics_of(frames(9))
    each = np.array([1.0, 5.0, 1.0, 1.0, 0.0, 1.0])
    weights = methods.bagged_greedy(statistics, each, bags=7, steps=9, seed=3)
    drawn = np.zeros((7, 6))
    drawn[:, each > 0] = np.random.default_rng(3).multinomial(5, np.full(5, 1 / 5), size=7)
    single = [methods.select_greedily(statistics.total(bag * each), 9, 1) for bag in drawn]
    np.testing.assert_allclose(weights, np.mean(single, axis=0), atol=1e-12)
    assert not np.allclose(
        weights, methods.bagged_greedy(statistics, each, bags=7, steps=9, seed=4)
    )


def test_bags_over_members_let_weaker_members_in() -> None:
    statistics = statistics_of(frames(10))
    whole = methods.bagged_greedy(statistics, bags=40, steps=10)
    halves = methods.bagged_greedy(statistics, bags=40, steps=10, member_part=0.5)
    check("bagged_greedy", halves, statistics.members)
    assert np.count_nonzero(halves) > np.count_nonzero(whole)


def test_bags_in_pieces_are_the_same_bags(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = statistics_of(frames(11))
    weights = methods.bagged_greedy(statistics)
    monkeypatch.setattr("va_search.ensemble.statistics.AT_ONCE", 3 * 8 * 8 * 8)
    np.testing.assert_allclose(methods.bagged_greedy(statistics), weights, atol=1e-12)


def test_bagged_greedy_is_fast_on_many_members() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=3000)
    members = [y + rng.normal(size=3000) for _ in range(500)]
    statistics = measure(
        members, y, [(f"r{i}", 300) for i in range(10)], [str(i) for i in range(500)]
    )
    seconds = []
    for _ in range(3):
        start = time.process_time()
        methods.bagged_greedy(statistics, bags=20, steps=50)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 1.0


def test_ridge_and_nnls_are_least_squares_to_the_annotation() -> None:
    x, y = frames(12)
    centred, wanted = x - x.mean(axis=1, keepdims=True), y - y.mean()
    free = np.linalg.lstsq(centred.T, wanted, rcond=None)[0]
    statistics = statistics_of((x, y))
    np.testing.assert_allclose(
        methods.ridge(statistics, strength=0.0), free / free.sum(), atol=1e-8
    )
    from scipy.optimize import nnls

    positive = nnls(centred.T, wanted)[0]
    np.testing.assert_allclose(methods.nnls(statistics), positive / positive.sum(), atol=1e-8)


def test_a_strong_ridge_only_asks_for_the_covariance() -> None:
    statistics = statistics_of(frames(13))
    direction = statistics.total().with_label
    np.testing.assert_allclose(
        methods.ridge(statistics, strength=1e9), direction / direction.sum(), atol=1e-6
    )


def test_shrinkage_goes_from_the_weights_to_others() -> None:
    weights, others = np.array([0.7, 0.3, 0.0]), np.array([0.5, 0.0, 0.5])
    np.testing.assert_allclose(shrink(weights, others, 0.0), weights)
    np.testing.assert_allclose(shrink(weights, others, 1.0), others)
    np.testing.assert_allclose(shrink(weights, others, 0.5), [0.6, 0.15, 0.25])
    with pytest.raises(ValueError, match="amount"):
        shrink(weights, others, 1.5)


def first_few(
    statistics: Statistics,
    times: NDArray[np.float64] | None = None,
    *,
    count: Annotated[int, Field(ge=1)] = 2,
) -> NDArray[np.float64]:
    """A method of the test's own."""
    weights = np.zeros(statistics.members)
    weights[:count] = 1.0 / count
    return weights


def test_a_method_on_the_menu_can_be_named_in_a_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "first_few", first_few)
    monkeypatch.setitem(methods.OPTIONS, "first_few", methods.options_of(first_few))
    plan = read_recipe("r", {"method": "first_few", "count": 4}).plan("valence")
    assert plan.document()["count"] == 4
    np.testing.assert_allclose(plan.options.weigh(statistics_of(frames()))[:5], [0.25] * 4 + [0.0])
    with pytest.raises(InputError, match="count"):
        read_recipe("r", {"method": "first_few", "count": 0})
    with pytest.raises(InputError, match=r"'cuont'; did you mean 'count'\?"):
        read_recipe("r", {"method": "first_few", "cuont": 3})


def test_options_are_fixed_with_partial() -> None:
    method: methods.Method = partial(METHODS["top_k"], k=2)
    assert np.count_nonzero(method(statistics_of(frames()), None)) == 2
