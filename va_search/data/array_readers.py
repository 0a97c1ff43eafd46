"""Parquet and .npy files.

Conventions: rows count from 1 in messages. Nothing pickled is ever loaded."""

from __future__ import annotations

import tokenize
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from va_search.data.arrays import Floats, Values, add_rows, allocate, values_of
from va_search.data.problems import PROBLEMS_OF_A_FILE, first_few
from va_search.errors import InputError
from va_search.files import check_regular

VALUES_AT_ONCE = 1 << 22
UNREADABLE_ARRAY = (
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    TypeError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
"""What NumPy raises for files that hold no array: damaged headers, and archives under the name of
an array."""


class _RowReader:
    """What files without lines have in common: a position is a row, and no row can be empty."""

    def position(self, file: Path, row: int) -> str:
        """`file row n` of data row `row`, from 0."""
        return f"{file} row {row + 1}"

    def empty_lines(self, file: Path) -> list[str]:
        """No problem: there are no lines."""
        return []

    def remarks(self, file: Path) -> tuple[str, ...]:
        """Nothing to remark."""
        return ()


class ParquetReader(_RowReader):
    """Parquet files."""

    suffix = ".parquet"
    has_names = True

    def header(self, file: Path) -> list[str]:
        """Names of the columns."""
        return list(self._schema(file).names)

    def numbers(self, file: Path, columns: Sequence[str]) -> Floats:
        """(rows, len(columns)), NaN for missing values; InputError for columns of another type."""
        schema = self._schema(file)
        problems = []
        for name in columns:
            kind = schema.field(name).type
            types = pa.types
            if types.is_temporal(kind):
                hint = "; write seconds from the recording's start"
                problems.append(f"{file}: column {name!r} holds {kind}, expected numbers{hint}")
            elif not (types.is_floating(kind) or types.is_integer(kind) or types.is_null(kind)):
                problems.append(f"{file}: column {name!r} holds {kind}, expected numbers")
        if problems:
            raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
        try:
            with pyarrow.parquet.ParquetFile(file) as source:
                numbers = allocate(file, source.metadata.num_rows, len(columns))
                # So many rows at a time that memory is that of the result and a block.
                rows = max(1, VALUES_AT_ONCE // len(columns))
                filled = 0
                for batch in source.iter_batches(rows, columns=list(columns), use_threads=False):
                    arrays = [batch.column(name).cast(pa.float64(), safe=False) for name in columns]
                    filled = add_rows(numbers, filled, [values_of(column) for column in arrays])
        except (pa.ArrowInvalid, OSError) as error:
            raise _cut_short(file, error) from error
        return numbers[:filled]

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column as texts without surrounding spaces."""
        try:
            table = pyarrow.parquet.read_table(file, columns=[column], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise _cut_short(file, error) from error
        cells = table.column(column).to_pylist()
        return ["" if cell is None else str(cell).strip() for cell in cells]

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells by column; empty where there is no row."""
        with pyarrow.parquet.ParquetFile(file) as source:
            for batch in source.iter_batches(1, columns=list(columns), use_threads=False):
                return {name: str(batch.column(name)[0].as_py()) for name in columns}
        return {}

    def _schema(self, file: Path) -> pa.Schema:
        check_regular(file, "a Parquet file")
        try:
            return pyarrow.parquet.read_schema(file)
        except FileNotFoundError:
            raise InputError(f"{file}: no such file") from None
        except (pa.ArrowInvalid, OSError) as error:
            raise _cut_short(file, error) from error


def _cut_short(file: Path, error: Exception) -> InputError:
    return InputError(f"{file}: not a Parquet file, or cut short ({error})")


class NpyReader(_RowReader):
    """.npy files of numbers, mapped from the disk; their columns are called by their numbers from
    0."""

    suffix = ".npy"
    has_names = False

    def header(self, file: Path) -> list[str]:
        """The numbers of the columns as texts: "0", "1", …"""
        return list(map(str, range(self._open(file).shape[1])))

    def numbers(self, file: Path, columns: Sequence[str]) -> Values:
        """(rows, len(columns)) in the file's own type."""
        # All columns stay mapped from the disk; some of them are copied.
        array = self._open(file)
        if list(columns) == list(map(str, range(array.shape[1]))):
            return array
        return array[:, list(map(int, columns))]

    def strings(self, file: Path, column: str) -> list[str]:
        """The numbers of one column as texts."""
        return list(map(str, self.numbers(file, [column])[:, 0].tolist()))

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """The first row's numbers as texts, by column."""
        row = self.numbers(file, columns)[0].tolist()
        return dict(zip(columns, map(str, row), strict=True))

    def _open(self, file: Path) -> Values:
        check_regular(file, "a .npy file")
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except UNREADABLE_ARRAY as error:
            raise InputError(f"{file}: not a .npy array of numbers ({error})") from error
        # np.load opens an archive of arrays too, which is no ndarray.
        content = "several arrays"
        if isinstance(array, np.ndarray):
            if array.ndim == 2 and array.dtype.kind in "fiu" and 0 not in array.shape:
                return array
            content = f"shape {array.shape}, {array.dtype}"
        raise InputError(
            f"{file}: {content}; expected numbers of shape (frames, dim), neither of them 0"
        )
