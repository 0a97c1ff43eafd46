"""What a member is worth by itself, with the doubt that few people leave taken off.

A member's worth is its CCC less one standard error. The CCC is computed again without each group of
recordings in turn (subjects, mostly), which is a subtraction of sums; the spread of those values
gives the error (the jackknife, Tukey 1958). A constant has CCC 0, so a member whose worth is not
positive is not known to be better than one. On simulated worlds (`benchmarks/do_no_harm.py`) one
standard error served better than none and than 1.6.

Conventions: `groups` hold indexes of the statistics' blocks; `each` (block,) counts blocks as in
weigh.py. A CCC that is not defined is NaN, and so is that member's worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.ensemble import sums
from va_search.ensemble.moments import Statistics, Vector

Groups = Sequence[Sequence[int]]


def ccc_and_worth(
    statistics: Statistics, each: Vector | None, groups: Groups, *, matched: bool = False
) -> tuple[Vector, Vector]:
    """(member,) CCC, and CCC less its standard error over the groups that `each` counts.

    `matched`: of members scaled and shifted to the annotation's mean and variance. With fewer than
    two groups there is no error to take off."""
    counts = np.ones(statistics.recordings) if each is None else each
    counted = _of_members(statistics) * counts[:, None]  # (member, block, 6)
    apart = statistics.shifts - statistics.label_shift
    if matched:
        scale, offset = sums.match(counted.sum(axis=1))
        counted, apart = sums.affine(counted, scale[:, None], offset[:, None]), np.zeros(len(apart))
    total = counted.sum(axis=1)
    ccc = _ccc(total, apart)
    without = [
        total - counted[:, list(group)].sum(axis=1) for group in groups if counts[list(group)].any()
    ]
    if len(without) < 2:
        return ccc, ccc
    return ccc, ccc - sums.standard_error(_ccc(np.stack(without), apart))


def helping(ccc: Vector, worth: Vector) -> NDArray[np.bool_]:
    """(member,) who helps: those whose worth is positive, or where there are none, those whose CCC
    is.

    Nobody does where no CCC is positive.
    """
    sure = worth > 0.0
    return sure if sure.any() else ccc > 0.0


def _of_members(statistics: Statistics) -> Vector:
    """(member, block, 6) sums as in sums.py, but predictions and annotation each relative to a
    shift of their own."""
    squares = np.diagonal(statistics.products, axis1=1, axis2=2)  # (block, member)
    n, y, yy = (
        part[:, None]
        for part in (statistics.counts, statistics.label_sums, statistics.label_squares)
    )
    parts = np.broadcast_arrays(n, statistics.sums, y, squares, statistics.with_label, yy)
    return np.moveaxis(np.stack(parts, axis=-1), 1, 0)


def _ccc(total: Vector, apart: Vector) -> Vector:
    """(…, member) CCC of sums (…, member, 6) whose shifts lie so far apart (member,): no digit is
    lost to an offset."""
    mean, label_mean, variance, label_variance, covariance = sums.moments(total)
    denominator = variance + label_variance + (mean + apart - label_mean) ** 2
    ccc: Vector = np.full(denominator.shape, np.nan)
    np.divide(2.0 * covariance, denominator, out=ccc, where=denominator > 0.0)
    return ccc
