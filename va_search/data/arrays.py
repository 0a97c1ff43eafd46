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
CACHED_VALUES = 1 << 17
UNPACKED_BYTES = 512 << 20
UNPACKED_TIMES = 200
"""A file may unpack to so many bytes, or to so many times its own, whichever is more. Recordings
stay far below that (20 times is much); a few hundred kilobytes of nothing but noughts do not."""


def allocate(file: Path, rows: int, columns: int) -> Floats:
    """(rows, columns), with anything in it; InputError where the machine has no such memory."""
    check_budget(file, rows * columns * 8, f"{rows:,} rows of {columns:,} columns take")
    return np.empty((rows, columns))


def check_budget(file: Path, size: int, contents: str = "its values take") -> None:
    """InputError where `size` bytes, known before anything is decoded, are more than the machine
    has free or than a file of this size may hold. `contents` begins the message."""
    free = _free_memory()
    if free is not None and size > free:
        raise InputError(
            f"{file}: {contents} {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are "
            "free; cut the recording, or import on a larger machine"
        )
    if size > unpacked_budget(file):
        raise over_budget(file, size, contents)


def over_budget(file: Path, size: int, contents: str, *, share: int = 1) -> InputError:
    """The error for a file that unpacks to more than one of its size may hold; text to more than a
    `share` of that."""
    return InputError(
        f"{file}: {contents} {size / 2**30:.1f} GiB, of a file of {file.stat().st_size:,} bytes: "
        f"damaged, or made to fill the memory; allowed: {UNPACKED_BYTES // share >> 20} MiB, or "
        f"{UNPACKED_TIMES // share} times the file. If it is neither, cut it, or write it uncompressed"
    )


def unpacked_budget(file: Path) -> int:
    """Bytes at most that the content of a file on the disk may take."""
    return max(UNPACKED_BYTES, UNPACKED_TIMES * file.stat().st_size)


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


def column_extremes(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(dim,) smallest and (dim,) largest of each column of (rows, dim), in the values' own type; NaN
    where a column has NaN. Both 0 without rows."""
    rows, dim = values.shape
    if not rows:
        return np.zeros(dim, values.dtype), np.zeros(dim, values.dtype)
    low, high = values[0].copy(), values[0].copy()
    # Both look at a block while it is in the cache.
    at_once = max(1, CACHED_VALUES // max(1, dim))
    for start in range(0, rows, at_once):
        block = values[start : start + at_once]
        np.minimum(low, block.min(axis=0), out=low)
        np.maximum(high, block.max(axis=0), out=high)
    return low, high
