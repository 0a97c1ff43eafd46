"""Population moments of members and annotation: the whole of what CCC(w) needs.

Conventions: for p = sum of w_i p_i over the labelled frames

    CCC(w) = 2 w.c / (w' S w + v + (w.m - mu)^2)

depends on the frames only through the member means m, their population covariance S, the covariance c with the
annotation and the annotation's mean mu and variance v (all divide by n, as the challenge's metric does).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Indexes = NDArray[np.intp]


@dataclass(frozen=True)
class Moments:
    """Population moments of M members and the annotation over some frames: all that CCC(w) needs."""

    frames: float
    mean: Vector  # (member,)
    covariance: Vector  # (member, member)
    with_label: Vector  # (member,) covariance with the annotation
    label_mean: float
    label_variance: float

    def ccc(self, weights: Vector) -> float:
        """CCC of the weighted sum of the members; NaN where the denominator is zero."""
        variance = float(weights @ self.covariance @ weights)
        bias = float(weights @ self.mean) - self.label_mean
        denominator = variance + self.label_variance + bias**2
        return 2.0 * float(weights @ self.with_label) / denominator if denominator > 0.0 else float("nan")

    def ccc_of_each(self) -> Vector:
        """(member,) CCC of every member alone."""
        denominator = np.diag(self.covariance) + self.label_variance + (self.mean - self.label_mean) ** 2
        each: Vector = np.full(len(denominator), np.nan)
        np.divide(2.0 * self.with_label, denominator, out=each, where=denominator > 0.0)
        return each

    def subset(self, members: Indexes) -> Moments:
        """The moments of some members, in the order of `members` (indexes)."""
        return Moments(
            frames=self.frames,
            mean=self.mean[members],
            covariance=self.covariance[np.ix_(members, members)],
            with_label=self.with_label[members],
            label_mean=self.label_mean,
            label_variance=self.label_variance,
        )
