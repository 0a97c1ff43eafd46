"""Intervals around out-of-fold scores: which other scores would other people have given?

Bootstrap (Efron 1979) of what is independent: the groups of recordings that are kept together in
folds (subjects, mostly), drawn with replacement, all recordings of a drawn one counted. From
per-recording sums one sample is a row of a matrix product; no frame is read, no weight chosen
again.

The kind of interval was chosen by how often it held the truth on simulated worlds: the CCC, on the
whole population, of the very ensemble whose out-of-fold score it is put around.
`benchmarks/coverage.py` prints the table; over its rows (3 to 60 people, 1 to 8 recordings each,
three recipes, 200 samples a row) a nominal 95 % held it

    65-94 %   plain percentiles, recordings drawn
    68-94 %   plain percentiles, people drawn
    51-94 %   BCa (Efron 1987), people drawn
    88-98 %   t times the bootstrap's standard deviation, on Fisher's scale
    89-97 %   t times the jackknife's standard error, on Fisher's scale
    90-98 %   widened percentiles: this one

Few people vary less than the population they stand for, so the percentiles (people drawn, on
Fisher's scale, artanh) are moved away from the estimate as many times as far as Student's t, with
one degree of freedom less than there are groups, lies beyond the normal distribution, times √(G /
(G − 1)) for the variance that a sample of G lacks. With six people that is 1.4 times as wide, with
sixty 1.03 times.

Conventions: `sums` (recording, 6) of out-of-fold predictions, as in sums.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble.sums import ccc

Vector = NDArray[np.float64]
SAMPLES = 2000
NORMAL = 1.959963985
"""The 97.5 % quantile of the normal distribution."""
STUDENT = (12.7062, 4.30265, 3.18245, 2.77645, 2.57058, 2.44691, 2.36462, 2.306, 2.26216, 2.22814)
"""The same of Student's t with 1, 2, … degrees of freedom."""


def samples(
    groups: Sequence[Sequence[int]], recordings: int, *, number: int = SAMPLES, seed: int = 0
) -> Vector:
    """(sample, recording) how often each recording counts when the groups are drawn with
    replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1.0 / len(groups)), size=number)
    member = np.zeros((len(groups), recordings))
    for index, group in enumerate(groups):
        member[index, list(group)] = 1.0
    return np.asarray(drawn @ member, dtype=np.float64)


def interval(sums: Sequence[Vector], drawn: Vector, groups: int) -> tuple[float, float] | None:
    """The 95 % interval around the mean of the CCCs of `sums`: one dimension's, or both for the
    score.

    `drawn` from `samples`, the same for both. None where a CCC is not defined, or there are fewer
    than two groups."""
    estimate = _mean_ccc([one.sum(axis=0) for one in sums])
    if groups < 2 or not abs(float(estimate)) < 1.0:
        return None
    middle = float(np.arctanh(estimate))
    values = _mean_ccc([drawn @ one for one in sums])
    known = values[np.isfinite(values)]
    if not known.size:
        return None
    ends = np.arctanh(np.clip(np.quantile(known, [0.025, 0.975]), -1.0 + 1e-12, 1.0 - 1e-12))
    low, high = np.tanh(middle + widening(groups) * (ends - middle)).tolist()
    return min(low, float(estimate)), max(high, float(estimate))


def difference(
    ones: Sequence[Vector], others: Sequence[Vector], drawn: Vector, groups: int
) -> tuple[float, tuple[float, float] | None]:
    """The mean CCC of `ones` less that of `others`, and the 95 % interval of that difference.

    Both are counted on the same samples `drawn` (paired). A difference lies between -2 and 2, so
    there is no scale of Fisher's; percentiles are widened as in `interval`. No interval where there
    are fewer than two groups."""
    totals = [[one.sum(axis=0) for one in side] for side in (ones, others)]
    value = float(_mean_ccc(totals[0]) - _mean_ccc(totals[1]))
    if groups < 2 or not math.isfinite(value):
        return value, None
    values = _mean_ccc([drawn @ one for one in ones]) - _mean_ccc([drawn @ one for one in others])
    known = values[np.isfinite(values)]
    if not known.size:
        return value, None
    low, high = (value + widening(groups) * (np.quantile(known, [0.025, 0.975]) - value)).tolist()
    return value, (min(low, value), max(high, value))


def widening(groups: int) -> float:
    """How many times as far as the percentiles the interval reaches: Student's t over the normal's,
    √(G / (G − 1))."""
    return student(groups - 1) / NORMAL * math.sqrt(groups / (groups - 1))


def student(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; from a table, beyond it by Cornish and Fisher's expansion
    (to 1e-4)."""
    if degrees <= len(STUDENT):
        return STUDENT[degrees - 1]
    z = NORMAL
    first = (z**3 + z) / (4 * degrees)
    second = (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
    return z + first + second + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)


def _mean_ccc(sums: Sequence[Vector]) -> Vector:
    return np.asarray(np.mean([ccc(one) for one in sums], axis=0))
