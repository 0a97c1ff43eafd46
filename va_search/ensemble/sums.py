"""Per-recording sums of a prediction and the annotation: all that its CCC, matched or resampled,
needs.

Conventions: sums are float64 arrays (…, recording, 6) or, added up over recordings, (…, 6), over
labelled frames: n, Σp, Σy, Σp², Σpy, Σy², with p and y relative to one centre (the statistics'
`label_shift`), which the CCC does not depend on. They add up: `times @ sums` counts every recording
`times` times, so a fold is a sum, a bootstrap sample is a row of a matrix product, and out-of-fold
predictions are the sums of differently weighted recordings put side by side. Of single members
(`ccc_and_worth`) there are blocks in place of recordings, and p and y have a shift each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording
from va_search.ensemble.statistics import MemberSums, Statistics, Vector, matching
from va_search.metrics import ccc_from_moments

AT_ONCE = 1024
"""Members whose sums without each group are held at once."""
DOUBT = 2.0
"""How much a standard error counts against a change of scale or mean; chosen by
`benchmarks/do_no_harm.py`."""


class SeriesMoments(NamedTuple):
    """Population moments, of the shape of the sums they are from without the last axis."""

    mean: Vector
    label_mean: Vector
    variance: Vector
    label_variance: Vector
    covariance: Vector


def moments(sums: Vector) -> SeriesMoments:
    """The moments of sums (…, 6); 0 where there is no frame."""
    n = np.where(sums[..., 0] > 0.0, sums[..., 0], 1.0)
    p, y, pp, py, yy = (sums[..., index] / n for index in range(1, 6))
    variance, label_variance = np.maximum(pp - p**2, 0.0), np.maximum(yy - y**2, 0.0)
    return SeriesMoments(p, y, variance, label_variance, py - p * y)


def ccc(sums: Vector) -> Vector:
    """(…,) CCC of sums (…, 6); NaN where the denominator is zero or there is no frame."""
    mean, label_mean, variance, label_variance, covariance = moments(sums)
    return ccc_from_moments(covariance, variance, label_variance, mean - label_mean)


def pooled_ccc(sums: Vector) -> float:
    """CCC over all frames of the recordings; `sums` (recording, 6)."""
    return float(ccc(sums.sum(axis=0)))


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
    mean, label_mean, variance, label_variance, _ = moments(total)
    return matching(mean, variance, label_mean, label_variance)


def match_in_part(sums: Vector, groups: Sequence[Sequence[int]]) -> tuple[Vector, Vector]:
    """(scale, offset) of moment matching, the less of it the less sure it is; `sums` (…, recording,
    6).

    Mean and variance of few people's annotations are far from everybody's. So of the change that
    matching asks for, x (the scale's logarithm, or the difference of the means), the part x² / (x²
    + DOUBT · e²) is made, where e is its standard error over the groups (empirical Bayes). All of
    it is made with fewer than two groups."""
    total = sums.sum(axis=-2)
    scale, offset = match(total)
    without_groups = []
    for group in groups:
        without = total - sums[..., list(group), :].sum(axis=-2)
        # A group without frames that count says nothing.
        if (without[..., 0] < total[..., 0]).any():
            without_groups.append(without)
    if len(without_groups) < 2:
        return scale, offset
    resampled = np.stack(without_groups)  # (group, …, 6)
    all_moments, resampled_moments = moments(total), moments(resampled)
    stretch = _sure_part(np.log(scale), np.log(match(resampled)[0]))
    move = _sure_part(
        all_moments.label_mean - all_moments.mean,
        resampled_moments.label_mean - resampled_moments.mean,
    )
    part_scale = np.exp(stretch)
    part_offset = all_moments.mean + move - part_scale * all_moments.mean
    # What can't be matched is left as it is.
    alone = (scale == 1.0) & (offset == 0.0)
    return np.where(alone, 1.0, part_scale), np.where(alone, 0.0, part_offset)


def _sure_part(change: Vector, without: Vector) -> Vector:
    """The sure part of a change (…,); `without` (group, …) is the change without each group."""
    doubt = DOUBT * standard_error(without) ** 2
    share = np.ones(np.shape(change))
    np.divide(change**2, change**2 + doubt, out=share, where=doubt > 0.0)
    return np.asarray(share * change)


def standard_error(without: Vector) -> Vector:
    """(…,) standard error of a figure from its values (group, …) without each of the groups (the
    jackknife, Tukey 1958)."""
    groups = len(without)
    squares = (without - without.mean(axis=0)) ** 2
    return np.asarray(np.sqrt((groups - 1) / groups * squares.sum(axis=0)))


def from_statistics(statistics: Statistics, weights: Vector) -> Vector:
    """(series, recording, 6) sums of weighted members; `weights` (member, series)."""
    used = np.flatnonzero(weights.any(axis=1))
    weights, statistics = weights[used], statistics.subset(used)
    sums = statistics.sums @ weights  # (recording, series), of Σ w (x − shift)
    squares = ((statistics.products @ weights) * weights).sum(axis=1)
    with_label = statistics.with_label @ weights
    relative = np.moveaxis(_stacked(statistics, sums, squares, with_label), 1, 0)
    # (series, 1) from Σ w (x − shift) to p − centre
    offset = weights.T @ statistics.shifts - statistics.label_shift
    return affine(relative, 1.0, offset[:, None])


def _stacked(statistics: MemberSums, sums: Vector, squares: Vector, with_label: Vector) -> Vector:
    """(block, series, 6) of arrays (block, series)."""
    n = statistics.counts[:, None]
    y = statistics.label_sums[:, None]
    yy = statistics.label_squares[:, None]
    return np.stack(np.broadcast_arrays(n, sums, y, squares, with_label, yy), axis=-1)


def ccc_of_blocks(statistics: Statistics, weights: Vector) -> float:
    """CCC over all frames when block b is predicted with `weights[b]`, (block, member): the score
    of out-of-fold predictions, without making one of them."""
    used = np.flatnonzero(weights.any(axis=0))
    weights, statistics = weights[:, used], statistics.subset(used)
    sums = (weights * statistics.sums).sum(axis=1, keepdims=True)
    products = np.matmul(statistics.products, weights[:, :, None])[:, :, 0]
    squares = (weights * products).sum(axis=1, keepdims=True)
    with_label = (weights * statistics.with_label).sum(axis=1, keepdims=True)
    relative = _stacked(statistics, sums, squares, with_label)[:, 0]  # (block, 6)
    return pooled_ccc(affine(relative, 1.0, weights @ statistics.shifts - statistics.label_shift))


def from_series(
    series: Vector, annotation: NDArray[np.floating], recordings: Sequence[Recording], centre: float
) -> Vector:
    """(series, recording, 6) sums of predictions (frames, series) that cover every frame of the
    recordings."""
    labelled = ~np.isnan(annotation)
    y = annotation[labelled].astype(np.float64)[:, None] - centre
    p = series[labelled] - centre
    # Where each recording's labelled frames start and stop among all labelled ones.
    ends = np.cumsum([recording.frames for recording in recordings])
    stops = np.concatenate([[0], np.cumsum(labelled)])[ends]
    starts = np.concatenate([[0], stops[:-1]])
    # reduceat takes an empty stretch for a frame, so recordings without labels keep zeros.
    filled = np.flatnonzero(stops > starts)
    sums = np.zeros((len(recordings), series.shape[1], 6))
    for index, values in enumerate((np.ones_like(y), p, y, p * p, p * y, y * y)):
        sums[filled, :, index] = np.add.reduceat(values, starts[filled], axis=0)
    return np.moveaxis(sums, 1, 0)


def ccc_and_worth(
    statistics: MemberSums,
    times: Vector | None,
    groups: Sequence[Sequence[int]] = (),
    *,
    matched: bool = False,
) -> tuple[Vector, Vector]:
    """(member,) CCC of every member alone, and its worth: the CCC less its standard error over the
    groups (of blocks) that `times` (block,) counts.

    A constant has CCC 0, so a member whose worth is not positive is not known to be better than
    one. On simulated worlds (`benchmarks/do_no_harm.py`) one standard error served better than none
    and than 1.6. `matched`: of members scaled and shifted to the annotation's mean and variance.
    With fewer than two groups there is no error to take off. NaN where a CCC is not defined."""
    if times is None:
        times = np.ones(statistics.recordings)
    counted = [list(group) for group in groups if times[list(group)].any()]
    if len(counted) < 2:
        counted = []
    # The first row sums over all blocks, each other one over a group that is left out.
    rows = np.zeros((1 + len(counted), statistics.recordings))
    rows[0] = times
    for row, group in zip(rows[1:], counted, strict=True):
        row[group] = times[group]
    ccc, worth = np.empty((2, statistics.members))
    for low in range(0, statistics.members, AT_ONCE):
        members = slice(low, low + AT_ONCE)
        ccc[members], worth[members] = _ccc_and_worth_of(statistics, rows, members, matched)
    return ccc, worth


def _ccc_and_worth_of(
    statistics: MemberSums, rows: Vector, members: slice, matched: bool
) -> tuple[Vector, Vector]:
    """`ccc_and_worth` of some members; `rows` (1 + group, block) count the blocks of all, and of
    each group."""
    series = _stacked_sums(statistics, rows, members)  # (1 + group, member, 6)
    total, of_groups = series[0], series[1:]
    apart = statistics.shifts[members] - statistics.label_shift
    if matched:
        scale, offset = match(total)
        total, of_groups = affine(total, scale, offset), affine(of_groups, scale, offset)
        apart = np.zeros(len(apart))
    ccc = _ccc_apart(total, apart)
    if not len(of_groups):
        return ccc, ccc
    return ccc, ccc - standard_error(_ccc_apart(total - of_groups, apart))


def _stacked_sums(statistics: MemberSums, rows: Vector, members: slice) -> Vector:
    """(row, member, 6) of blocks that are counted as `rows` (row, block) say; the six one after
    another in memory."""
    by_member = statistics.sums, statistics.squares, statistics.with_label
    p, pp, py = (rows @ values[:, members] for values in by_member)
    label = statistics.counts, statistics.label_sums, statistics.label_squares
    n, y, yy = ((rows @ values)[:, None] for values in label)
    return np.moveaxis(np.stack(np.broadcast_arrays(n, p, y, pp, py, yy)), 0, -1)


def _ccc_apart(total: Vector, apart: Vector) -> Vector:
    """(…, member) CCC of sums (…, member, 6) whose shifts lie so far apart (member,): no digit is
    lost to an offset."""
    mean, label_mean, variance, label_variance, covariance = moments(total)
    return ccc_from_moments(covariance, variance, label_variance, mean + apart - label_mean)


def helping(ccc: Vector, worth: Vector) -> NDArray[np.bool_]:
    """(member,) the members that help: those whose worth is positive, or where there are none,
    those whose CCC is. Nobody does where no CCC is positive."""
    sure = worth > 0.0
    return sure if sure.any() else ccc > 0.0
