"""Columns that float32 does not keep (large offsets such as clocks and raw counts, tiny and huge
units), and those that float16 does not.

Conventions: values are (frames, dim) of one recording. float32 is enough for a column unless it
merges distinct values (more than `MERGED` of them, in a sample) and its rounding is more than
`NOTICED` of how far the values lie apart, or unless the values are out of the range in which a
training computes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Flags, Floats, Values, column_extremes
from va_search.errors import InputError

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


@dataclass(frozen=True)
class CastFeatures:
    """Features of one recording in the type in which a draft has them. `facts` are those by which
    all recordings together decide on float64, (dim,) each; `is_coarse`: float16 rounded away more
    than a tenth of some column's spread; `is_missing`: some value is NaN."""

    values: NDArray[Any]
    facts: dict[str, NDArray[Any]]
    is_coarse: bool
    is_missing: bool


def cast_features(values: Values, dtype: np.dtype[Any], name: str) -> CastFeatures:
    """Cast the values (frames, dim) of feature set `name` to `dtype`, or, where that is float32 and
    does not hold them, to float64: nothing is rounded until all recordings are read.

    InputError for a finite value that would become infinite in float16."""
    values = np.asarray(values)
    if values.dtype == np.float16:
        return CastFeatures(np.ascontiguousarray(values, dtype=dtype), {}, False, _has_nan(values))
    low, high = column_extremes(values)
    is_missing = bool(np.isnan(low).any())
    with np.errstate(over="ignore", under="ignore"):
        cast = np.ascontiguousarray(values, dtype=dtype)
    if dtype == np.float16:
        _refuse_overflow(values, low, high, name)
        return CastFeatures(cast, {}, _is_coarse(values, cast, low, high), is_missing)
    if dtype != np.float32 or _is_equal(cast, values):
        return CastFeatures(cast, {}, is_coarse=False, is_missing=is_missing)
    exact = np.ascontiguousarray(values, dtype=np.float64)
    finite = exact
    if not (np.isfinite(low) & np.isfinite(high)).all():
        finite = np.nan_to_num(exact, nan=0.0, posinf=0.0, neginf=0.0)
    facts = {
        "rounded": rounded_columns(finite),
        "constant": constants(finite),
        "largest": largest(finite),
    }
    return CastFeatures(exact, facts, is_coarse=False, is_missing=is_missing)


def _has_nan(values: NDArray[np.float16]) -> bool:
    """True where a value is NaN: bits above those of infinity, whatever the sign."""
    return bool(((values.view(np.uint16) & 0x7FFF) > 0x7C00).any())


def _refuse_overflow(values: Values, low: Values, high: Values, name: str) -> None:
    """InputError for a finite value beyond float16's range; `low` and `high` (dim,) are the columns'
    extremes. An infinity is the audit's business."""
    # NaN and infinity hide the other values of their column.
    largest = float(np.finfo(np.float16).max)
    if ((-largest <= low) & (high <= largest)).all():
        return
    with np.errstate(over="ignore"):
        lost = np.isinf(values.astype(np.float16)) & np.isfinite(values)
    if lost.any():
        magnitude = np.abs(values[lost]).max()
        raise InputError(
            f"feature set {name!r}: |value| {magnitude:g} does not fit float16; import with float32"
        )


def _is_equal(cast: NDArray[Any], values: Values) -> bool:
    """True where casting changed no value; NaN is NaN."""
    if np.can_cast(values.dtype, cast.dtype):
        return True
    # Decimal fractions differ in the first rows already.
    rows = max(1, BLOCK_VALUES // max(1, values.shape[1]) // 16)
    for start in range(0, len(values), rows):
        block, exact = cast[start : start + rows], values[start : start + rows]
        if not np.array_equal(block, exact, equal_nan=True):
            return False
    return True


def _is_coarse(values: Values, cast: NDArray[Any], low: Values, high: Values) -> bool:
    """True where float16 rounded away more than a tenth of a column's spread (tiny units, large
    offsets); `low` and `high` (dim,) are the columns' extremes. A column with NaN is not looked
    at."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        spread = high.astype(np.float64) - low.astype(np.float64)
    largest = np.maximum(np.abs(high.astype(np.float64)), np.abs(low.astype(np.float64)))
    # Rounding is off by less than a step: 2^-10 of the value, or 2^-24. Few columns are near that.
    at_most = np.maximum(largest * 2.0**-10, 2.0**-24)
    for column in np.flatnonzero((spread > 0) & (at_most > COARSE * spread)).tolist():
        exact = values[:, column].astype(np.float64)
        error = float(np.abs(cast[:, column] - exact).max())
        if error > COARSE * spread[column]:
            return True
    return False
