"""Columns that float32 does not keep (large offsets such as clocks and raw counts, tiny and huge
units), and those that float16 does not.

Conventions: values are (frames, dim) of one recording. float32 is enough for a column unless it
merges distinct values (more than `MERGED` of them, in a sample) and its rounding is more than
`NOTICED` of how far the values lie apart, or unless the values are out of the range in which a
training computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Flags, Floats, Values

SAMPLE = 16_384
"""Rows looked at, from the first on."""
MERGED = 0.005
NOTICED = 1e-5
STEPS = 100
"""A column's scale is at most this many of its usual steps from frame to frame, so that a jump
hides nothing."""
SMALLEST, LARGEST = 1e-30, 1e30
"""Magnitudes whose squares, sums and reciprocals float32 computes with."""
BLOCK_VALUES = 4_000_000
COARSE = 0.1
"""Share of a column's spread (largest minus smallest) beyond which rounding to float16 is told."""


def rounded_columns(values: Values) -> Flags:
    """(dim,) True where float32 is not enough for a column of `values`, which are finite."""
    frames, dim = values.shape
    # Sorting is the cost: a sample of rows in blocks of columns decides.
    rounded = largest(values) > LARGEST
    width = max(1, BLOCK_VALUES // max(1, frames))
    for start in range(0, dim, width):
        block = values[:SAMPLE, start : start + width]
        for column in np.flatnonzero(_merges(block)).tolist():
            rounded[start + column] |= _is_noticed(block[:, column].astype(np.float64))
    return rounded


def largest(values: Values) -> Floats:
    """(dim,) the largest magnitude of each column."""
    magnitude: Values = np.maximum(values.max(axis=0), -values.min(axis=0))
    return magnitude.astype(np.float64)


def too_small(magnitude: Floats) -> Flags:
    """(dim,) True where the largest magnitudes of all recordings, (recordings, dim), are small, and
    not all 0."""
    of_all: Floats = magnitude.max(axis=0)
    return (of_all > 0) & (of_all < SMALLEST)


def constants(values: Values) -> Floats:
    """(dim,) the value of each column that has but one, NaN for the others."""
    is_constant = values.max(axis=0) == values.min(axis=0)
    return np.where(is_constant, values[0].astype(np.float64), np.nan)


def merged_constants(constant: Floats) -> Flags:
    """(dim,) True where columns that are constant in each recording, (recordings, dim), become
    alike in float32."""
    differ, differ_still = _steps(constant)
    merged: Flags = np.any(differ & ~differ_still, axis=0)
    return merged


def _merges(values: Values) -> Flags:
    """(dim,) True where float32 makes one of more than `MERGED` of a column's distinct values."""
    differ, differ_still = _steps(values)
    distinct, distinct_still = differ.sum(axis=0), differ_still.sum(axis=0)
    merges: Flags = distinct - distinct_still > MERGED * distinct
    return merges


def _steps(values: Values) -> tuple[Flags, Flags]:
    """(rows - 1, dim) True where a value differs from the next larger one of its column, in its own
    type and in float32. NaN comes last and differs from none."""
    # Neighbours in sorted order are the values that rounding may merge.
    ordered = np.sort(values, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = ordered.astype(np.float32)
        differ = np.asarray(np.diff(ordered, axis=0) > 0)
        return differ, np.asarray(np.diff(rounded, axis=0) != 0)


def _is_noticed(column: Floats) -> bool:
    """True where rounding is large beside the spread of the distinct values and beside the steps
    from frame to frame."""
    distinct = np.unique(column)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(distinct.astype(np.float32).astype(np.float64) - distinct).mean()
    low, high = np.percentile(distinct, [25, 75])
    steps = np.abs(np.diff(column))
    # Quartiles and usual steps: an outlier or a jump must not make the scale large.
    scale = min(high - low, STEPS * float(np.median(steps[steps > 0])))
    return bool(error > NOTICED * scale)


def is_coarse(values: Values, cast: NDArray[Any]) -> bool:
    """True where float16 rounded away more than a tenth of a column's spread (tiny units, large
    offsets)."""
    if cast.dtype != np.float16 or values.dtype == np.float16 or not len(values):
        return False
    for column in range(values.shape[1]):
        exact = values[:, column].astype(np.float64)
        spread = float(np.ptp(exact))
        error = float(np.abs(cast[:, column] - exact).max())
        if spread > 0 and error > COARSE * spread:
            return True
    return False
