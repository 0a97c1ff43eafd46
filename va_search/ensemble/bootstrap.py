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

Conventions: `sums` (recording, 6) of out-of-fold predictions, as in sums.py. Two models are
compared on the same recordings and on the same samples of people, so what makes a sample hard is
hard for both and cancels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from va_search.ensemble import sums as series_sums
from va_search.ensemble.statistics import Vector

Interval = tuple[float, float]
SAMPLES = 2000
TAILS = (0.025, 0.975)
FLAT = 1e-12
"""A variance within a recording that is none."""


@dataclass(frozen=True)
class Difference:
    """The out-of-fold CCC of one model less that of another; `interval`: 95 %, paired."""

    value: float
    interval: Interval | None


@dataclass(frozen=True)
class RecordingSpread:
    """Quartiles of the CCCs of single recordings, out-of-fold; `undefined` ones are counted and
    left out.

    Undefined where a recording's annotation, or prediction and annotation, do not vary.
    `correlation`: the median correlation of prediction and annotation within a recording, which
    says whether time is followed there."""

    low: float | None
    median: float | None
    high: float | None
    recordings: int
    undefined: int
    correlation: float | None = None


def samples(
    groups: Sequence[Sequence[int]], recordings: int, *, number: int = SAMPLES, seed: int = 0
) -> Vector:
    """(sample, recording) how often each recording counts when the groups are drawn with
    replacement."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(groups), np.full(len(groups), 1.0 / len(groups)), size=number)
    # (group, recording) 1 where the recording is in the group
    inside = np.zeros((len(groups), recordings))
    for index, group in enumerate(groups):
        inside[index, list(group)] = 1.0
    return np.asarray(drawn @ inside, dtype=np.float64)


def interval(sums: Sequence[Vector], drawn: Vector, groups: int) -> Interval | None:
    """The 95 % interval around the mean of the CCCs of `sums`: one target's, or all
    targets' for the score.

    `drawn` from `samples`, the same for all. None where a CCC is not defined, or there are fewer
    than two groups."""
    estimate = _mean_ccc(sums)
    if groups < 2 or not abs(estimate) < 1.0:
        return None
    percentiles = _percentiles(_mean_ccc_of_samples(sums, drawn))
    if percentiles is None:
        return None
    # On Fisher's scale the percentiles are moved away from the estimate.
    middle = math.atanh(estimate)
    ends = np.arctanh(np.clip(percentiles, -1.0 + 1e-12, 1.0 - 1e-12))
    low, high = np.tanh(middle + widening(groups) * (ends - middle)).tolist()
    return min(low, estimate), max(high, estimate)


def difference(
    sums: Sequence[Vector], other_sums: Sequence[Vector], drawn: Vector, groups: int
) -> Difference:
    """The mean CCC of `sums` less that of `other_sums`, with its 95 % interval.

    A difference lies between -2 and 2, so there is no scale of Fisher's; percentiles are widened as
    in `interval`. No interval where a CCC is not defined, or there are fewer than two groups."""
    value = _mean_ccc(sums) - _mean_ccc(other_sums)
    if groups < 2 or not math.isfinite(value):
        return Difference(value, None)
    sampled = _mean_ccc_of_samples(sums, drawn) - _mean_ccc_of_samples(other_sums, drawn)
    percentiles = _percentiles(sampled)
    if percentiles is None:
        return Difference(value, None)
    low, high = (value + widening(groups) * (percentiles - value)).tolist()
    return Difference(value, (min(low, value), max(high, value)))


def widening(groups: int) -> float:
    """The interval's reach over the percentiles': Student's t over the normal's, times √(G / (G −
    1))."""
    from scipy.special import ndtri, stdtrit

    student, normal = stdtrit(groups - 1, TAILS[1]), ndtri(TAILS[1])
    return float(student / normal) * math.sqrt(groups / (groups - 1))


def spread(sums: Vector) -> RecordingSpread:
    """Quartiles of the CCC of every labelled recording by itself."""
    labelled = sums[sums[:, 0] > 0.0]
    moments = series_sums.moments(labelled)
    ccc = series_sums.ccc(labelled)
    # Without variance of the annotation a CCC says nothing.
    defined = ccc[np.isfinite(ccc) & (moments.label_variance > FLAT)]
    low, median, high = None, None, None
    if defined.size:
        low, median, high = np.quantile(defined, [0.25, 0.5, 0.75]).tolist()
    vary = (moments.label_variance > FLAT) & (moments.variance > FLAT)
    scale = np.sqrt(moments.label_variance[vary] * moments.variance[vary])
    correlations = moments.covariance[vary] / scale
    correlation = float(np.median(correlations)) if correlations.size else None
    undefined = len(labelled) - len(defined)
    return RecordingSpread(low, median, high, len(labelled), undefined, correlation)


def _mean_ccc(sums: Sequence[Vector]) -> float:
    return float(np.mean([series_sums.pooled_ccc(by_recording) for by_recording in sums]))


def _mean_ccc_of_samples(sums: Sequence[Vector], drawn: Vector) -> Vector:
    ccc = [series_sums.ccc(drawn @ by_recording) for by_recording in sums]
    return np.asarray(np.mean(ccc, axis=0))


def _percentiles(values: Vector) -> Vector | None:
    defined = values[np.isfinite(values)]
    return np.quantile(defined, TAILS) if defined.size else None
