"""Paired comparison of configurations, person by person, on the same recordings.

Conventions: a person's share of a score is its jackknife value, n times the score of all n people
less n - 1 times the score without this one (Tukey 1958): they average to nearly the score, and may
be compared person by person. A score is the mean of the targets' CCCs, pooled over labelled frames;
a CCC that is not defined counts 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.sums import ccc

FEWEST_PEOPLE = 6
"""With fewer pairs the test says little, whatever they are."""
LEVEL = 0.1

Values = NDArray[np.floating]


@dataclass(frozen=True)
class PairedDifference:
    """Differences of `pairs`: their mean, its 95 % interval (Student's t; None with fewer than two
    pairs), and p of Wilcoxon's signed-rank test (two-sided; None with fewer than `FEWEST_PEOPLE`,
    and where all are zero). `better` and `worse`: pairs above and below zero."""

    pairs: int
    mean: float | None
    interval: tuple[float, float] | None
    p: float | None
    better: int
    worse: int

    @classmethod
    def of(cls, differences: Sequence[float]) -> PairedDifference:
        """Return the comparison of these differences, one a pair."""
        from scipy.special import stdtrit
        from scipy.stats import wilcoxon

        values = np.asarray(differences, dtype=np.float64)
        count = len(values)
        interval, p = None, None
        if count > 1:
            half = float(stdtrit(count - 1, 0.975)) * float(values.std(ddof=1)) / np.sqrt(count)
            interval = (float(values.mean() - half), float(values.mean() + half))
        if count >= FEWEST_PEOPLE and values.any():
            p = float(wilcoxon(values).pvalue)
        return cls(
            pairs=count,
            mean=float(values.mean()) if count else None,
            interval=interval,
            p=p,
            better=int((values > 0).sum()),
            worse=int((values < 0).sum()),
        )


def shares(predictions: Values, annotations: Values, people: Sequence[str]) -> NDArray[np.float64]:
    """(people,) shares of a score, in the order of their names, of predictions (frames, targets);
    `annotations` alike, NaN where there is no label, and `people` (frames,) the person of each
    frame."""
    names, person_of_frame = np.unique(np.asarray(people), return_inverse=True)
    count = len(names)
    of_target: list[NDArray[np.float64]] = []
    for prediction, annotation in zip(predictions.T, annotations.T, strict=True):
        labelled = ~np.isnan(annotation)
        label = annotation[labelled].astype(np.float64)
        predicted = prediction[labelled].astype(np.float64)
        centre = label.mean() if len(label) else 0.0
        p, y = predicted - centre, label - centre
        columns = (np.ones_like(p), p, y, p * p, p * y, y * y)
        sums = np.zeros((count, len(columns)))
        for index, column in enumerate(columns):
            sums[:, index] = np.bincount(person_of_frame[labelled], column, count)
        whole = np.nan_to_num(ccc(sums.sum(axis=0)))
        without = np.nan_to_num(ccc(sums.sum(axis=0) - sums))
        of_target.append(count * whole - (count - 1) * without)
    return np.asarray(np.mean(of_target, axis=0))


def losers(of_each: Values, *, level: float = LEVEL) -> list[int]:
    """Return the rows of `of_each` (configurations, people) that lose to the best one: Wilcoxon's
    signed-rank test of the pairs gives a p below `level`. None with fewer people than
    `FEWEST_PEOPLE`."""
    from scipy.stats import wilcoxon

    if of_each.shape[1] < FEWEST_PEOPLE:
        return []
    best = int(np.argmax(of_each.mean(axis=1)))
    lost: list[int] = []
    for row, values in enumerate(of_each):
        differences = of_each[best] - values
        # equal everywhere: nothing to test
        if row == best or not differences.any():
            continue
        if wilcoxon(differences, alternative="greater").pvalue < level:
            lost.append(row)
    return lost
