"""The menu of methods: every way to weigh members, a pure function of the statistics.

Conventions: a method is `(statistics, each) -> weights`. `each` (recording,) float64 counts every
recording that many times (0 leaves it out), so the same method is run on all recordings, on a
fold's others, or on a bag; None counts each once. The result is (member,) float64, finite, summing
to 1, not negative except `ridge`'s. Members stand in the order of their trial ids and equal ones go
to the first; what is random is drawn over the sorted names of recordings and members with a fixed
seed, so results repeat and do not depend on an order. Options are keyword arguments
(`functools.partial` fixes them). No method reads a frame, and none fails on odd input: where no
member's CCC is defined or none covaries with the annotation, `best` (and with it the first member)
is what is left. `each` without one labelled frame is the caller's mistake: ValueError."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from va_search.ensemble import select
from va_search.ensemble.moments import Indexes, Moments, Statistics
from va_search.ensemble.simplex import Optimum, maximise_ccc, minimise
from va_search.ensemble.statistics import Vector

Method = Callable[[Statistics, Vector | None], Vector]
STRENGTH = 0.1
"""Of the least squares that weights are shrunk toward; chosen by `benchmarks/do_no_harm.py`."""


def best(statistics: Statistics, each: Vector | None = None) -> Vector:
    """All weight on the member with the highest CCC."""
    return select.best(statistics.total(each))


def mean(statistics: Statistics, each: Vector | None = None) -> Vector:
    """Equal weights on all members; `each` changes nothing."""
    return np.full(statistics.members, 1.0 / statistics.members)


def top_k(statistics: Statistics, each: Vector | None = None, *, k: int = 10) -> Vector:
    """Equal weights on the `k` members with the highest CCC (all of them when there are fewer)."""
    return select.top_k(statistics.total(each), k)


def greedy(
    statistics: Statistics, each: Vector | None = None, *, steps: int = 50, start: int = 1
) -> Vector:
    """Greedy selection with replacement, sorted start, best of the path (Caruana et al. 2004); see
    `select.greedy`."""
    return select.greedy(statistics.total(each), steps, start)


def bagged_greedy(
    statistics: Statistics,
    each: Vector | None = None,
    *,
    bags: int = 20,
    steps: int = 50,
    start: int = 1,
    members: float = 1.0,
    seed: int = 0,
) -> Vector:
    """The mean weights of `bags` greedy selections, each on a bootstrap sample of the recordings
    (Caruana et al. 2006).

    A bag draws as many recordings as there are, with replacement, among those that `each` counts.
    `members`: the part of the members, drawn without replacement, that each bag may choose from (1:
    all of them)."""
    rng = np.random.default_rng(seed)
    drawn = _bags(statistics, each, bags, rng)
    order = np.argsort(np.array(statistics.labels), kind="stable")
    weights = np.zeros(statistics.members)
    for moments in statistics.totals(drawn):
        allowed = _some(order, members, rng)
        chosen = moments if len(allowed) == statistics.members else moments.subset(allowed)
        weights[allowed] += select.greedy(chosen, steps, start)
    return weights / bags


def exact(statistics: Statistics, each: Vector | None = None) -> Vector:
    """The weights on the simplex with the highest CCC; `optimum` tells the optimality gap too."""
    return optimum(statistics.total(each)).weights


def ridge(statistics: Statistics, each: Vector | None = None, *, strength: float = 0.01) -> Vector:
    """Least squares to the annotation with an intercept, scaled to sum 1; weights may be negative.
    Then match.

    (S + strength * trace(S)/M * I)^-1 c: only the direction is meant, moment matching finds scale
    and offset. Where the weights do not add up to something clearly positive there is no such
    scale: then as `nnls`."""
    moments = statistics.total(each)
    gram = _regular(moments, strength)
    if not np.diag(gram).min() > 0.0:
        return select.best(moments)
    weights = np.linalg.solve(gram, moments.with_label)
    total = float(weights.sum())
    if not total > 0.05 * float(np.abs(weights).sum()):
        return nnls(statistics, each, strength=strength)
    return np.asarray(weights / total, dtype=np.float64)


def nnls(statistics: Statistics, each: Vector | None = None, *, strength: float = 0.0) -> Vector:
    """Nonnegative least squares to the annotation with an intercept, scaled to sum 1. Then match.

    `strength` as in `ridge`. `best` where no member covaries with the annotation.
    """
    moments = statistics.total(each)
    weights = minimise(_regular(moments, strength), moments.with_label, sum_to_one=False)
    total = float(weights.sum())
    return weights / total if total > 0.0 else select.best(moments)


METHODS: dict[str, Callable[..., Vector]] = {
    "best": best,
    "mean": mean,
    "top_k": top_k,
    "greedy": greedy,
    "bagged_greedy": bagged_greedy,
    "exact": exact,
    "ridge": ridge,
    "nnls": nnls,
}


TOWARD: dict[str, Method] = {"equal": mean, "nnls": partial(nnls, strength=STRENGTH)}
"""What weights may be shrunk toward."""


def optimum(moments: Moments) -> Optimum:
    """The highest CCC on the simplex, with its weights and Karush-Kuhn-Tucker gap; started from the
    best member."""
    return maximise_ccc(moments, select.best(moments))


def shrink(weights: Vector, toward: Vector, amount: float) -> Vector:
    """`amount` (0..1) of the way from `weights` to the weights `toward`."""
    if not 0.0 <= amount <= 1.0:
        raise ValueError(f"0 <= amount <= 1 must hold, but got {amount:g}")
    shrunk: Vector = (1.0 - amount) * weights + amount * toward
    return shrunk


def _bags(
    statistics: Statistics, each: Vector | None, bags: int, rng: np.random.Generator
) -> Vector:
    """(bag, recording) how often each recording counts in each bag; every bag has a labelled
    frame."""
    given = np.ones(statistics.recordings) if each is None else each
    order = np.argsort(np.array(statistics.names), kind="stable")
    usable = order[(given * statistics.counts)[order] > 0.0]
    if not usable.size:
        raise ValueError("at least one labelled frame is needed, but got none")
    drawn = np.zeros((bags, statistics.recordings))
    drawn[:, usable] = rng.multinomial(
        len(usable), np.full(len(usable), 1.0 / len(usable)), size=bags
    )
    return drawn * given


def _some(order: Indexes, part: float, rng: np.random.Generator) -> Indexes:
    """A drawn part of the members, in their own order: at least one."""
    if part >= 1.0:
        return np.arange(len(order))
    return np.sort(order[rng.permutation(len(order))[: max(1, round(part * len(order)))]])


def _regular(moments: Moments, strength: float) -> Vector:
    """The covariance with `strength` times its mean diagonal, and never less than rounding needs,
    added to it."""
    size = len(moments.mean)
    return moments.covariance + np.eye(size) * (
        max(strength, 1e-12) * float(np.trace(moments.covariance)) / size
    )
