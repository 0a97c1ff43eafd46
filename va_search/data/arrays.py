"""Types of arrays, and how blocks that Arrow read become one NumPy array."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from va_search.errors import InputError

Floats = NDArray[np.float64]
Values = NDArray[np.floating]
"""Of the type in which a file or a store has them."""
Indexes = NDArray[np.int64]
Flags = NDArray[np.bool_]
EXACT = 2.0**53
"""From here on float64 does not hold every whole number."""
VALUES_AT_ONCE = 1 << 22


def allocate(file: Path, rows: int, columns: int) -> Floats:
    """(rows, columns), with anything in it; InputError where the machine has no such memory."""
    size = rows * columns * 8
    free = _free_memory()
    if free is not None and size > free:
        raise InputError(
            f"{file}: {rows:,} rows of {columns:,} columns take {size / 2**30:.1f} GiB, and "
            f"{free / 2**30:.1f} GiB of memory are free; cut the recording, or import on a larger "
            "machine"
        )
    return np.empty((rows, columns))


def _free_memory() -> int | None:
    """Bytes of memory that a program can get, where the system says so."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    match = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(match[1]) * 1024 if match else None


def add_rows(numbers: Floats, filled: int, columns: list[Floats]) -> int:
    """Put a block of columns behind the `filled` rows of `numbers`; the number of rows filled
    then."""
    stop = filled + len(columns[0])
    if stop > len(numbers):
        # Left to the slow second look.
        raise pa.ArrowInvalid("more rows than lines: line ends of several kinds")
    # One pass: a column at a time would touch every row for each.
    numbers[filled:stop] = np.stack(columns).T
    return stop


def values_of(column: pa.Array) -> Floats:
    """The values of a float64 Arrow array, NaN where it has none."""
    values = np.frombuffer(column.buffers()[1], np.float64, len(column), 8 * column.offset)
    if column.null_count == 0:
        return values
    # Arrow keeps a bit per value, least first, beside values that are anything where it is 0.
    missing = np.unpackbits(np.frombuffer(column.buffers()[0], np.uint8), bitorder="little") == 0
    return np.where(missing[column.offset : column.offset + len(column)], np.nan, values)


def is_large(numbers: NDArray[Any]) -> bool:
    """True where a number is so large that float64 does not hold every whole number of its size."""
    if not numbers.size:
        return False
    # NaN tells nothing, and neither does infinity, but it makes the caller look.
    return bool(np.fmax.reduce(numbers, axis=None) >= EXACT) or bool(
        np.fmin.reduce(numbers, axis=None) <= -EXACT
    )


def rounded_number(numbers: NDArray[Any]) -> tuple[int, int] | None:
    """Row and column of the first whole number of an integer array (rows, columns) that float64
    does not hold; None where it holds all."""
    if numbers.dtype.kind not in "iu" or numbers.dtype.itemsize < 8:
        return None
    rows = max(1, VALUES_AT_ONCE // max(1, numbers.shape[1]))
    for start in range(0, len(numbers), rows):
        block = numbers[start : start + rows]
        if not is_large(block):
            continue
        floats = block.astype(np.float64)
        with np.errstate(invalid="ignore"):
            is_other = floats.astype(block.dtype) != block
        # The largest integers become 2^63 and 2^64, which no integer of the type is.
        is_other |= floats > np.iinfo(block.dtype).max
        if is_other.any():
            row, column = np.argwhere(is_other)[0].tolist()
            return start + row, column
    return None


def rounded_problem(position: str, column: str, number: int) -> str:
    """The problem of a whole number that float64 does not hold."""
    return (
        f"{position}: column {column!r} is {number}, of which float64 keeps {int(float(number))}: "
        "whole numbers beyond 2^53 lose digits; subtract an offset, or write it as a float where "
        "the last digits do not matter"
    )


def squeezed(array: NDArray[Any]) -> NDArray[Any]:
    """(frames, dim) of an array of shape (frames, 1, dim); other shapes as they are."""
    if array.ndim == 3 and array.shape[1] == 1:
        return array[:, 0, :]
    return array
