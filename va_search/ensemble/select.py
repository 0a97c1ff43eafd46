"""Ways to weigh members, each a pure function from moments to weights.

Conventions: `moments` are those of M members in a fixed order (by trial id); the result is (member,) float64, not
negative, summing to 1. Equal CCCs (to 1e-12) go to the member that stands first, so results repeat. A member whose
CCC is not defined is never preferred. Only the moments are used: no method reads a frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.statistics import Moments, Vector

TIE = 1e-12


def best(moments: Moments) -> Vector:
    """All weight on the member with the highest CCC."""
    return _equal(ranking(moments)[:1], len(moments.mean))


def top_k(moments: Moments, k: int) -> Vector:
    """Equal weights on the `k` members with the highest CCC (all of them when there are fewer)."""
    return _equal(ranking(moments)[:k], len(moments.mean))


def mean(moments: Moments) -> Vector:
    """Equal weights on all members."""
    return _equal(np.arange(len(moments.mean)), len(moments.mean))


def greedy(moments: Moments, steps: int, start: int = 1) -> Vector:
    """Greedy selection with replacement (Caruana et al. 2004), O(members) per step.

    Sorted start: the plain mean of the N best members with N in 1..`start` that scores highest. Then, `steps` times,
    the member whose addition (again, perhaps) gives the highest CCC; at the end the path's best ensemble is used.
    Weights are counts over their sum.
    """
    path = _Path(moments)
    order = ranking(moments)
    path.take(order[: _sorted_start(moments, order[:start])])
    used, highest = path.counts.copy(), path.ccc()
    for _ in range(steps):
        path.take(np.array([first_highest(path.ccc_with_each())]))
        if path.ccc() > highest + TIE:
            used, highest = path.counts.copy(), path.ccc()
    weights: Vector = used / used.sum()
    return weights


def ranking(moments: Moments) -> NDArray[np.intp]:
    """Members from the highest CCC to the lowest; the earlier one first where they are equal, undefined ones last."""
    each = np.nan_to_num(moments.ccc_of_each(), nan=-np.inf)
    order: NDArray[np.intp] = np.argsort(-np.round(each / TIE) * TIE, kind="stable")
    return order


def first_highest(values: Vector) -> int:
    """Index of the first value that is equal to the highest, to 1e-12."""
    values = np.nan_to_num(values, nan=-np.inf)
    return int(np.argmax(values >= values.max() - TIE))


def _equal(members: NDArray[np.intp], of: int) -> Vector:
    weights = np.zeros(of)
    weights[members] = 1.0 / len(members)
    return weights


def _sorted_start(moments: Moments, order: NDArray[np.intp]) -> int:
    scores = [moments.ccc(_equal(order[: n + 1], len(moments.mean))) for n in range(len(order))]
    return first_highest(np.array(scores)) + 1


class _Path:
    """An ensemble that grows member by member, with the running sums that make a step O(members)."""

    def __init__(self, moments: Moments) -> None:
        self.moments = moments
        self.counts = np.zeros(len(moments.mean))
        self.size = 0
        self.mean = 0.0  # of the sum of the members taken so far
        self.variance = 0.0
        self.with_label = 0.0
        self.with_each = np.zeros(len(moments.mean))  # covariance of that sum with every member
        self.variances = np.diag(moments.covariance).copy()

    def take(self, members: NDArray[np.intp]) -> None:
        for member in members:
            self.variance += 2.0 * self.with_each[member] + self.variances[member]
            self.with_each += self.moments.covariance[member]
            self.mean += self.moments.mean[member]
            self.with_label += self.moments.with_label[member]
            self.counts[member] += 1.0
            self.size += 1

    def ccc(self) -> float:
        m = self.moments
        bias = self.mean / self.size - m.label_mean
        denominator = self.variance / self.size**2 + m.label_variance + bias**2
        return float(2.0 * self.with_label / self.size / denominator) if denominator > 0.0 else float("nan")

    def ccc_with_each(self) -> Vector:
        """(member,) CCC of the ensemble after adding that member."""
        m, size = self.moments, self.size + 1
        bias = (self.mean + m.mean) / size - m.label_mean
        variance = (self.variance + 2.0 * self.with_each + self.variances) / size**2
        denominator = variance + m.label_variance + bias**2
        ccc: Vector = np.full(len(bias), np.nan)
        np.divide(2.0 * (self.with_label + m.with_label) / size, denominator, out=ccc, where=denominator > 0.0)
        return ccc
