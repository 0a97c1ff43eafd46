"""Ways to weigh members, each a pure function from moments to weights.

Conventions: `moments` are those of M members in a fixed order (by trial id); the result is
(member,) float64, not negative, summing to 1. Equal CCCs (to 1e-12) go to the member that stands
first, so results repeat. A member whose CCC is not defined is never preferred. Only the moments are
used: no method reads a frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.moments import Moments
from va_search.ensemble.statistics import Vector

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

    Sorted start: the plain mean of the N best members with N in 1..`start` that scores highest.
    Then, `steps` times, the member whose addition (again, perhaps) gives the highest CCC; at the
    end the path's best ensemble is used. Weights are counts over their sum."""
    order = ranking(moments)
    path = _Path(moments, order[: _sorted_start(moments, order[:start])])
    used, highest = len(path.taken), path.ccc
    for _ in range(steps):
        path.take_next()
        if path.ccc > highest + TIE:
            used, highest = len(path.taken), path.ccc
    weights: Vector = np.bincount(path.taken[:used], minlength=len(moments.mean)) / used
    return weights


def ranking(moments: Moments) -> NDArray[np.intp]:
    """Members from the highest CCC to the lowest; the earlier one first where they are equal,
    undefined ones last."""
    return from_highest(moments.ccc_of_each())


def from_highest(ccc: Vector) -> NDArray[np.intp]:
    """Indexes (member,) from the highest CCC to the lowest, as in `ranking`."""
    each = np.nan_to_num(ccc, nan=-np.inf)
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
    """An ensemble that grows member by member, with the running sums that make a step O(members).

    A step is a few array operations in place and takes microseconds: thousands of selections are
    made for one ensemble. For k members taken whose sum has mean A (less the annotation's),
    variance V and covariance C with the annotation, the CCC is 2kC / (V + k²v + A²); with member j,
    V grows by `spread[j]` = var(j) + 2 cov(sum, j)."""

    def __init__(self, moments: Moments, first: NDArray[np.intp]) -> None:
        covariance = moments.covariance
        self.taken = first.tolist()
        self.label_variance = moments.label_variance
        self.bias_of = moments.mean - moments.label_mean
        self.with_label_of = moments.with_label
        self.twice = 2.0 * covariance
        self.spread = np.diag(covariance) + self.twice[first].sum(axis=0)
        self.bias = float(self.bias_of[first].sum())
        self.variance = float(covariance[np.ix_(first, first)].sum())
        self.with_label = float(moments.with_label[first].sum())
        self.ccc = moments.ccc(_equal(first, len(moments.mean)))
        self.above, self.below, self.square = (np.empty(len(moments.mean)) for _ in range(3))

    def take_next(self) -> None:
        """Take the member, again perhaps, with which the CCC is highest."""
        size = len(self.taken) + 1
        np.add(self.bias_of, self.bias, out=self.square)
        np.multiply(self.square, self.square, out=self.square)
        np.add(self.spread, self.variance + size**2 * self.label_variance, out=self.below)
        np.add(self.below, self.square, out=self.below)
        np.add(self.with_label_of, self.with_label, out=self.above)
        if not self.label_variance > 0.0:  # only then can there be nothing to divide by
            self.below[self.below <= 0.0] = np.nan
        np.divide(self.above, self.below, out=self.above)
        highest = self.above[self.above.argmax()]
        if np.isnan(highest):  # a member without a CCC
            self.above = np.nan_to_num(self.above, nan=-np.inf)
            highest = self.above.max()
        member = int((self.above >= highest - TIE / (2 * size)).argmax())
        self.ccc = 2 * size * float(self.above[member])
        self.variance += float(self.spread[member])
        self.bias += float(self.bias_of[member])
        self.with_label += float(self.with_label_of[member])
        self.spread += self.twice[member]
        self.taken.append(member)
