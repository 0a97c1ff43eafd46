"""Exact medians and median absolute deviations of columns, by sorting each column once.

Conventions: `values` are (frames, columns) float16, float32 or float64, and `rows` positions in
them, ascending. Statistics are float64, equal bit for bit to NumPy's of the same values in float64
(a median of zero may have the other sign): the median is the middle value, or the mean of the two
middle ones.

NumPy sorts 32-bit numbers with the processor's vector instructions, and does not so with float16,
whose every comparison it converts. So float16 is widened first, by shifting its bits: float32 holds
all of its values. After the sort the deviations need no second one: the k nearest values to the
median are neighbours, and where they begin is found by bisection."""

from __future__ import annotations

import warnings

import numpy as np

from va_search.data.arrays import Floats, Indexes, Values

VALUES_AT_ONCE = 16_000_000
"""Values that are sorted at a time: 64 MB."""
IN_CACHE = 16_384
"""Values that are turned from rows to columns at a time, so that both stay in the processor's
cache."""
HALF_SCALE = np.float32(2.0**112)
"""A float16 whose bits are shifted into a float32's is too small by this factor: the exponents'
offsets are 15 and 127."""
HALF_BITS = np.int32(-0x70002000)  # the sign, five bits of exponent and ten of mantissa
HALF_END = np.float32(65536.0)
"""The shifted bits of an infinity or NaN give this or more, which no float16 is."""


def widened(values: Values) -> Values:
    """Return float16 values as a new float32 array; others as they are, copied nowhere."""
    if values.dtype != np.float16:
        return values
    bits = np.empty(values.shape, np.int32)
    np.copyto(bits, values.view(np.int16))  # the sign fills the higher bits
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, HALF_BITS, out=bits)
    wide = bits.view(np.float32)
    np.multiply(wide, HALF_SCALE, out=wide)
    if wide.size and max(wide.max(), -wide.min()) >= HALF_END:
        not_finite = np.abs(wide) >= HALF_END
        wide[not_finite] = values[not_finite]
    return wide


def median_and_mad(
    values: Values, rows: Indexes, *, missing: bool = False
) -> tuple[Floats, Floats]:
    """Median and median absolute deviation (columns,) of these rows, NaN in a column with NaN; with
    `missing` of the values that are not NaN, 0 where there is none.

    A few columns at a time, so that memory stays flat."""
    columns = values.shape[1]
    medians, mads = np.empty(columns), np.empty(columns)
    step = max(1, VALUES_AT_ONCE // max(1, len(rows)))
    for start in range(0, columns, step):
        part = slice(start, min(start + step, columns))
        turned = _turned(values, rows, part)
        turned.sort(axis=1)  # NaN come last
        medians[part], mads[part] = _of_sorted(turned, missing=missing)
    return medians, mads


def _turned(values: Values, rows: Indexes, part: slice) -> Values:
    """Return (columns, rows) of some columns, one column after another in memory; float16 comes as
    float32."""
    count = part.stop - part.start
    turned = np.empty((count, len(rows)), values.dtype)
    step = max(16, IN_CACHE // max(1, count))
    for start in range(0, len(rows), step):
        chosen = rows[start : start + step]
        is_run = chosen[-1] - chosen[0] == len(chosen) - 1
        block = values[chosen[0] : chosen[-1] + 1, part] if is_run else values[chosen, part]
        turned[:, start : start + step] = block.T
    return widened(turned)


def _of_sorted(ordered: Values, *, missing: bool) -> tuple[Floats, Floats]:
    """Median and MAD (columns,) of (columns, n) values, each column in ascending order, NaN last."""
    columns, length = ordered.shape
    every = np.arange(columns)
    counts = np.full(columns, length)
    if missing:
        counts -= np.isnan(ordered).sum(axis=1)
    is_empty = counts == 0
    last = np.maximum(counts - 1, 0)
    # Differences of infinities are not in order: such columns are left to NumPy.
    is_plain = np.isfinite(ordered[:, 0]) & np.isfinite(ordered[every, last]) & ~is_empty
    with np.errstate(invalid="ignore", over="ignore"):
        median = _middle(ordered, counts, every)
        mad = _nearest_middle(ordered, counts, median, every)
    median[is_empty], mad[is_empty] = 0.0, 0.0
    middle = np.nanmedian if missing else np.median
    for column in np.flatnonzero(~is_plain & ~is_empty).tolist():
        present = ordered[column, : counts[column]].astype(np.float64)
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # an infinity less itself is NaN, and may be all there is
            median[column] = np.median(present)
            mad[column] = middle(np.abs(present - median[column]))
    return median, mad


def _middle(ordered: Values, counts: Indexes, every: Indexes) -> Floats:
    """The median of the first `counts` values of each ordered column."""
    low = ordered[every, np.maximum(counts - 1, 0) // 2].astype(np.float64)
    high = ordered[every, np.minimum(counts // 2, ordered.shape[1] - 1)].astype(np.float64)
    median: Floats = np.where(counts % 2 == 1, low, (low + high) / 2)
    return median


def _nearest_middle(ordered: Values, counts: Indexes, median: Floats, every: Indexes) -> Floats:
    """The median distance from `median` (columns,) of the first `counts` values of each ordered
    column."""
    last = np.maximum(counts - 1, 0)

    def value(position: Indexes) -> Floats:
        wide: Floats = ordered[every, np.clip(position, 0, last)].astype(np.float64)
        return wide

    # The nearest half of the values is a window [begin, begin + reach] of the order; bisect for its
    # beginning: it lies further on where the value behind the window is nearer than its first.
    reach = last // 2
    begin, end = np.zeros_like(counts), last - reach
    while (begin < end).any():
        middle = (begin + end) // 2
        is_further = median - value(middle) > value(middle + reach + 1) - median
        is_open = begin < end
        begin = np.where(is_open & is_further, middle + 1, begin)
        end = np.where(is_open & ~is_further, middle, end)
    low = np.maximum(np.abs(value(begin) - median), np.abs(value(begin + reach) - median))
    # Of an even number the other middle distance is that of the nearer neighbour of the window.
    before, behind = begin - 1, begin + reach + 1
    distance_before = np.where(before >= 0, np.abs(value(before) - median), np.inf)
    distance_behind = np.where(behind <= last, np.abs(value(behind) - median), np.inf)
    high = np.minimum(distance_before, distance_behind)
    distance: Floats = np.where(counts % 2 == 1, low, (low + high) / 2)
    return distance
