"""Per-recording sums of a prediction and the annotation: all that its CCC, matched or resampled, needs.

Conventions: sums are float64 arrays (…, recording, 6) or, added up over recordings, (…, 6), over labelled frames:
n, Σp, Σy, Σp², Σpy, Σy², with p and y relative to one centre (the statistics' `label_shift`), which the CCC does not
depend on. They add up: `each @ sums` counts every recording `each` times, so a fold is a sum, a bootstrap sample is a
row of a matrix product, and out-of-fold predictions are the sums of differently weighted recordings put side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.calibrate import matching
from va_search.ensemble.moments import Statistics

Vector = NDArray[np.float64]


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


def from_statistics(statistics: Statistics, weights: Vector) -> Vector:
    """(series, recording, 6) sums of weighted members; `weights` (member, series)."""
    used = np.flatnonzero(weights.any(axis=1))
    weights = weights[used]
    products = statistics.products[:, used[:, None], used]
    sums = statistics.sums[:, used] @ weights  # (recording, series), of Σ w (x − shift)
    squares = ((products @ weights) * weights).sum(axis=1)
    with_label = statistics.with_label[:, used] @ weights
    apart = weights.T @ statistics.shifts[used] - statistics.label_shift  # (series,) what is missing to p − centre
    n = np.broadcast_to(statistics.counts[:, None], sums.shape)
    y, yy = statistics.label_sums[:, None], statistics.label_squares[:, None]
    relative = np.stack(np.broadcast_arrays(n, sums, y, squares, with_label, yy), axis=-1)
    return np.moveaxis(affine(relative, np.ones(()), apart), 1, 0)


def from_series(
    series: Vector, annotation: NDArray[np.floating], recordings: Sequence[Recording], centre: float
) -> Vector:
    """(series, recording, 6) sums of predictions (frames, series) that cover every frame of the recordings."""
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
