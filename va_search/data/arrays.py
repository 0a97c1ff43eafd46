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


def squeezed(array: NDArray[Any]) -> NDArray[Any]:
    """(frames, dim) of an array of shape (frames, 1, dim); other shapes as they are."""
    if array.ndim == 3 and array.shape[1] == 1:
        return array[:, 0, :]
    return array
