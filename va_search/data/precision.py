"""Whether float32 keeps what a column has: large offsets (clocks, raw counts) and tiny or huge
units lose it.

Conventions: values are (frames, dim) of one recording. float32 is enough for a column unless it
merges distinct values (more than `MERGED` of them, in a sample) and its rounding is more than
`NOTICED` of how far the values lie apart, or unless the values are out of the range in which a
training computes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
Floats = NDArray[np.floating]


def rounded_columns(values: Floats) -> NDArray[np.bool_]:
    """(dim,) True where float32 is not enough for a column of `values`, which are finite."""
    frames, dim = values.shape
    rounded = largest(values) > LARGEST
    width = max(1, BLOCK_VALUES // max(1, frames))
    for start in range(0, dim, width):
        block = values[:, start : start + width]
        for column in np.flatnonzero(_merges(block[:SAMPLE])).tolist():
            rounded[start + column] |= _is_noticed(block[:SAMPLE, column].astype(np.float64))
    return rounded


def largest(values: Floats) -> NDArray[np.float64]:
    """(dim,) the largest magnitude of each column."""
    magnitude: NDArray[np.float64] = np.maximum(values.max(axis=0), -values.min(axis=0)).astype(
        np.float64
    )
    return magnitude


def too_small(magnitude: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(dim,) True where the largest magnitudes of all recordings, (recordings, dim), are small, and
    not all 0."""
    of_all = magnitude.max(axis=0)
    small: NDArray[np.bool_] = (of_all > 0) & (of_all < SMALLEST)
    return small


def constants(values: Floats) -> NDArray[np.float64]:
    """(dim,) the value of each column that has but one, NaN for the others."""
    first = values[0].astype(np.float64)
    still = (
        (values.max(axis=0) == values.min(axis=0))
        if len(values)
        else np.zeros(values.shape[1], bool)
    )
    return np.where(still, first, np.nan)


def merged_constants(constant: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(dim,) True where columns that are constant in each recording, (recordings, dim), become
    alike in float32."""
    ordered = np.sort(constant, axis=0)  # NaN comes last
    with np.errstate(over="ignore", invalid="ignore"):
        alike = np.diff(ordered.astype(np.float32), axis=0) == 0
    differ = np.diff(ordered, axis=0) > 0
    merged: NDArray[np.bool_] = (alike & differ).any(axis=0)
    return merged


def _merges(values: Floats) -> NDArray[np.bool_]:
    """(dim,) True where float32 makes one of more than `MERGED` of a column's distinct values."""
    ordered = np.sort(values, axis=0)
    with np.errstate(over="ignore", invalid="ignore"):
        kept = np.count_nonzero(np.diff(ordered.astype(np.float32), axis=0), axis=0)
    distinct = np.count_nonzero(np.diff(ordered, axis=0), axis=0)
    merges: NDArray[np.bool_] = distinct - kept > MERGED * distinct
    return merges


def _is_noticed(column: NDArray[np.float64]) -> bool:
    """Whether rounding is large beside the spread of the distinct values and beside the steps from
    frame to frame."""
    distinct = np.unique(column)
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(distinct.astype(np.float32).astype(np.float64) - distinct).mean()
    low, high = np.percentile(distinct, [25, 75])
    steps = np.abs(np.diff(column))
    scale = min(high - low, STEPS * float(np.median(steps[steps > 0])))
    return bool(error > NOTICED * scale)
