"""Several people's annotations of one recording: one annotation out of them, and how far they
agree.

Conventions: a matrix is (frames, raters) on the target's scale, NaN where a rater has no label. A
frame takes those raters who labelled it.

mean    the mean of the raters
ewe     the evaluator-weighted estimator (Grimm and Kroschel, "Evaluation of natural emotions using
        self assessment manikins", ASRU 2005): x(n) = sum_k r_k x_k(n) / sum_k r_k, where r_k is the
        correlation of rater k with the mean of the other raters over the recording, and 0 where
        that is negative or undefined. (The paper correlates with the mean of all, which has the
        rater's own noise in it.) Where no rater agrees with the others it is the mean."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from va_search.data.arrays import Floats
from va_search.metrics import ccc

LEAST = 3
"""Frames that two raters must share for a correlation."""


@dataclass(frozen=True)
class Agreement:
    """Agreement of a recording's raters on one target: means over pairs of raters of the CCC and of
    Pearson's r, None where no pair has one; the weight of each rater, which sum to 1."""

    raters: int
    ccc: float | None
    r: float | None
    weights: dict[str, float]


def fuse(matrix: Floats, how: str) -> tuple[Floats, Floats]:
    """(frames,) one annotation of (frames, raters), NaN where no rater labelled; (raters,) weights
    that sum to 1."""
    raters = matrix.shape[1]
    weights = np.full(raters, 1 / raters)
    if how == "ewe":
        agreeing = ewe_weights(matrix)
        if agreeing.sum() > 0:
            weights = agreeing / agreeing.sum()
    # A frame that some raters left out has the weights of the others alone.
    labelled = np.isfinite(matrix)
    total = (labelled * weights).sum(axis=1)
    # Frames that only raters without weight labelled have no label.
    sums = (np.where(labelled, matrix, 0.0) * weights).sum(axis=1)
    annotation = np.full(len(matrix), np.nan)
    np.divide(sums, total, out=annotation, where=total > 0)
    return annotation, weights


def ewe_weights(matrix: Floats) -> Floats:
    """(raters,) correlation of each rater with the mean of the others, 0 where negative."""
    raters = matrix.shape[1]
    weights = np.zeros(raters)
    for rater in range(raters):
        others = np.delete(matrix, rater, axis=1)
        counts = np.isfinite(others).sum(axis=1)
        mean = np.full(len(matrix), np.nan)
        np.divide(np.nansum(others, axis=1), counts, out=mean, where=counts > 0)
        r = correlation(matrix[:, rater], mean)
        if r is not None:
            weights[rater] = max(r, 0.0)
    return weights


def correlation(a: Floats, b: Floats) -> float | None:
    """Pearson's r over the frames that both have; None for too few, or where one is constant."""
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < LEAST:
        return None
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 0 else None


def agreement(matrix: Floats, weights: Floats, names: list[str]) -> Agreement:
    """Agreement of the raters `names` of (frames, raters)."""
    correlations, concordances = [], []
    for first, second in combinations(range(matrix.shape[1]), 2):
        a, b = matrix[:, first], matrix[:, second]
        both = np.isfinite(a) & np.isfinite(b)
        r = correlation(a, b)
        if r is not None:
            correlations.append(r)
        concordance = float("nan") if both.sum() < LEAST else ccc(a[both], b[both])
        if np.isfinite(concordance):
            concordances.append(concordance)
    return Agreement(
        matrix.shape[1],
        float(np.mean(concordances)) if concordances else None,
        float(np.mean(correlations)) if correlations else None,
        dict(zip(names, weights.tolist(), strict=True)),
    )
