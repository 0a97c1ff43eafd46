"""Per-recording sums of a prediction and the annotation: all that its CCC, matched or resampled,
needs.

Conventions: sums are float64 arrays (…, recording, 6) or, added up over recordings, (…, 6), over
labelled frames: n, Σp, Σy, Σp², Σpy, Σy², with p and y relative to one centre (the statistics'
`label_shift`), which the CCC does not depend on. They add up: `each @ sums` counts every recording
`each` times, so a fold is a sum, a bootstrap sample is a row of a matrix product, and out-of-fold
predictions are the sums of differently weighted recordings put side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.calibrate import matching
from va_search.ensemble.moments import Statistics

Vector = NDArray[np.float64]
DOUBT = 2.0
"""How much a standard error counts against a change of scale or mean; chosen by
`benchmarks/do_no_harm.py`."""


def ccc(sums: Vector) -> Vector:
    """(…,) CCC of sums (…, 6); NaN where the denominator is zero or there is no frame."""
    mean_p, mean_y, var_p, var_y, covariance = moments(sums)
    denominator = var_p + var_y + (mean_p - mean_y) ** 2
    found: Vector = np.full(denominator.shape, np.nan)
    np.divide(2.0 * covariance, denominator, out=found, where=denominator > 0.0)
    return found


def moments(sums: Vector) -> tuple[Vector, Vector, Vector, Vector, Vector]:
    """Mean of p and y, their variances and covariance (population), from sums (…, 6)."""
    n = np.where(sums[..., 0] > 0.0, sums[..., 0], 1.0)
    p, y, pp, py, yy = (sums[..., index] / n for index in range(1, 6))
    return p, y, np.maximum(pp - p**2, 0.0), np.maximum(yy - y**2, 0.0), py - p * y


def affine(sums: Vector, scale: Vector | float, offset: Vector | float) -> Vector:
    """The sums of scale · p + offset; both broadcast against sums[..., 0]."""
    n, p, y, pp, py, yy = (sums[..., index] for index in range(6))
    moved = [
        n,
        scale * p + offset * n,
        y,
        scale**2 * pp + 2.0 * scale * offset * p + offset**2 * n,
        scale * py + offset * y,
        yy,
    ]
    return np.stack(np.broadcast_arrays(*moved), axis=-1)


def match(total: Vector) -> tuple[Vector, Vector]:
    """(scale, offset) of moment matching on sums (…, 6), relative to their centre."""
    mean_p, mean_y, var_p, var_y, _ = moments(total)
    return matching(mean_p, var_p, mean_y, var_y)


def match_in_part(counted: Vector, groups: Sequence[Sequence[int]]) -> tuple[Vector, Vector]:
    """(scale, offset) of moment matching, the less of it the less sure it is; `counted` (…,
    recording, 6).

    Mean and variance of few people's annotations are far from everybody's. So of the change that
    matching asks for, x (the scale's logarithm, or the difference of the means), the part x² / (x²
    + DOUBT · e²) is made, where e is its standard error over the groups (empirical Bayes). All of
    it is made with fewer than two groups."""
    total = counted.sum(axis=-2)
    scale, offset = match(total)
    without = [total - counted[..., list(group), :].sum(axis=-2) for group in groups]
    without = [
        one for one in without if (one[..., 0] < total[..., 0]).any()
    ]  # groups with frames that count
    if len(without) < 2:
        return scale, offset
    mean, label_mean, *_ = moments(total)
    others = np.stack(without)
    others_mean, others_label_mean, *_ = moments(others)
    stretch = _sure_part(np.log(scale), np.log(match(others)[0]))
    move = _sure_part(label_mean - mean, others_label_mean - others_mean)
    part_scale = np.exp(stretch)
    alone = (scale == 1.0) & (offset == 0.0)  # what can't be matched is left as it is
    return np.where(alone, 1.0, part_scale), np.where(alone, 0.0, mean + move - part_scale * mean)


def _sure_part(change: Vector, without: Vector) -> Vector:
    """So much of a change (…,) as is sure; `without` (group, …) is the change without each of the
    groups."""
    doubt = DOUBT * standard_error(without) ** 2
    share = np.ones(np.shape(change))
    np.divide(change**2, change**2 + doubt, out=share, where=doubt > 0.0)
    return np.asarray(share * change)


def standard_error(without: Vector) -> Vector:
    """(…,) standard error of a figure from its values (group, …) without each of the groups
    (jackknife)."""
    groups = len(without)
    squares = (without - without.mean(axis=0)) ** 2
    return np.asarray(np.sqrt((groups - 1) / groups * squares.sum(axis=0)))


def from_statistics(statistics: Statistics, weights: Vector) -> Vector:
    """(series, recording, 6) sums of weighted members; `weights` (member, series)."""
    used = np.flatnonzero(weights.any(axis=1))
    weights = weights[used]
    products = statistics.products[:, used[:, None], used]
    sums = statistics.sums[:, used] @ weights  # (recording, series), of Σ w (x − shift)
    squares = ((products @ weights) * weights).sum(axis=1)
    with_label = statistics.with_label[:, used] @ weights
    apart = (
        weights.T @ statistics.shifts[used] - statistics.label_shift
    )  # (series,) what is missing to p − centre
    n = np.broadcast_to(statistics.counts[:, None], sums.shape)
    y, yy = statistics.label_sums[:, None], statistics.label_squares[:, None]
    relative = np.stack(np.broadcast_arrays(n, sums, y, squares, with_label, yy), axis=-1)
    return np.moveaxis(affine(relative, np.ones(()), apart), 1, 0)


def from_series(
    series: Vector, annotation: NDArray[np.floating], recordings: Sequence[Recording], centre: float
) -> Vector:
    """(series, recording, 6) sums of predictions (frames, series) that cover every frame of the
    recordings."""
    labelled = ~np.isnan(annotation)
    y = annotation[labelled].astype(np.float64)[:, None] - centre
    p = series[labelled] - centre
    ends = np.cumsum([recording.frames for recording in recordings])
    stops = np.concatenate([[0], np.cumsum(labelled)])[ends]
    starts = np.concatenate([[0], stops[:-1]])
    some = np.flatnonzero(stops > starts)  # reduceat takes an empty stretch for a frame
    found = np.zeros((len(recordings), series.shape[1], 6))
    for index, values in enumerate((np.ones_like(y), p, y, p * p, p * y, y * y)):
        found[some, :, index] = np.add.reduceat(values, starts[some], axis=0)
    return np.moveaxis(found, 1, 0)
