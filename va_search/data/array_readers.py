"""Files of columns and arrays without lines: Parquet, Arrow IPC (Feather) and .npy.

Conventions: rows count from 1 in messages. Nothing pickled is ever loaded."""

from __future__ import annotations

import tokenize
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
from numpy.typing import NDArray

from va_search.data.arrays import (
    VALUES_AT_ONCE,
    Floats,
    Values,
    add_rows,
    allocate,
    check_budget,
    rounded_number,
    rounded_problem,
    squeezed,
    values_of,
)
from va_search.data.arrow_bytes import ipc_bytes
from va_search.data.column_names import is_clock
from va_search.data.problems import PROBLEMS_OF_A_FILE, first_few
from va_search.errors import InputError
from va_search.files import check_regular

UNREADABLE_ARRAY = (
    ValueError,
    EOFError,
    OSError,
    SyntaxError,
    TypeError,
    OverflowError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)
"""What NumPy raises for files that hold no array: damaged headers, and archives under the name of
an array."""
UNREADABLE_ARROW = (pa.ArrowException, OSError, ValueError, UnicodeDecodeError, MemoryError)


class RowReader:
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

    def refuse_rounded(
        self, file: Path, numbers: NDArray[Any], columns: Sequence[str], row: int = 0
    ) -> None:
        """InputError where whole numbers (rows, columns), from data row `row` on, are so large that
        float64 loses their last digits; those of clocks are looked at where times are read."""
        if any(map(is_clock, columns)):
            others = [index for index, name in enumerate(columns) if not is_clock(name)]
            numbers, columns = numbers[:, others], [columns[index] for index in others]
        rounded = rounded_number(numbers)
        if rounded is not None:
            position = self.position(file, row + rounded[0])
            column = columns[rounded[1]]
            raise InputError(rounded_problem(position, column, int(numbers[rounded])))


class ColumnReader(RowReader, ABC):
    """Formats of Arrow's columns. `kind` is the format in words."""

    has_names = True
    kind: str

    @abstractmethod
    def open(self, file: Path) -> Any:
        """A context with `schema`, `rows` and `batches`; see `_Columns`."""

    def header(self, file: Path) -> list[str]:
        """Names of the columns."""
        with self._opened(file) as source:
            return list(source.schema.names)

    def numbers(self, file: Path, columns: Sequence[str]) -> Floats:
        """(rows, len(columns)), NaN for missing values; InputError for columns of another type."""
        with self._opened(file) as source:
            problems = []
            for name in columns:
                kind = source.schema.field(name).type
                if not _is_numeric(kind):
                    hint = ""
                    if pa.types.is_temporal(kind):
                        hint = "; write seconds from the recording's start"
                    problems.append(f"{file}: column {name!r} holds {kind}, expected numbers{hint}")
            if problems:
                raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
            numbers = allocate(file, source.rows, len(columns))
            check_budget(file, source.unpacked_bytes(columns), "its columns unpack to")
            # So many rows at a time that memory is that of the result and a block.
            rows = max(1, VALUES_AT_ONCE // max(1, len(columns)))
            filled = 0
            for batch in source.batches(rows, list(columns)):
                for name in columns:
                    if pa.types.is_integer(batch.schema.field(name).type):
                        whole = batch.column(name).fill_null(0).to_numpy(zero_copy_only=False)
                        self.refuse_rounded(file, whole[:, None], [name], filled)
                arrays = [_as_floats(batch.column(name)) for name in columns]
                filled = add_rows(numbers, filled, [values_of(column) for column in arrays])
        return numbers[:filled]

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column as texts without surrounding spaces."""
        texts: list[str] = []
        with self._opened(file) as source:
            check_budget(file, source.unpacked_bytes([column]), f"column {column!r} unpacks to")
            for batch in source.batches(VALUES_AT_ONCE, [column]):
                texts += _as_texts(batch.column(column))
        return texts

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells by column; empty where there is no row."""
        with self._opened(file) as source:
            for batch in source.batches(1, list(columns)):
                if batch.num_rows:
                    return {name: str(batch.column(name)[0].as_py()) for name in columns}
        return {}

    @contextmanager
    def _opened(self, file: Path) -> Iterator[_Columns]:
        check_regular(file, f"{self.kind} file")
        try:
            with self.open(file) as source:
                yield source
        except FileNotFoundError:
            raise InputError(f"{file}: no such file") from None
        except UNREADABLE_ARROW as error:
            raise InputError(f"{file}: not {self.kind} file, or cut short ({error})") from error


class _Columns(ABC):
    """An open file of columns: its schema, number of rows, and blocks of some columns."""

    schema: pa.Schema

    @property
    @abstractmethod
    def rows(self) -> int:
        """Rows of the file."""

    @abstractmethod
    def unpacked_bytes(self, columns: Sequence[str]) -> int:
        """Bytes that reading these columns takes at least, by the file's own account."""

    @abstractmethod
    def batches(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Blocks of the columns, of about `rows` rows where the format allows to choose."""


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_numeric(kind: pa.DataType) -> bool:
    types = pa.types
    is_number = types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind)
    return bool(is_number or types.is_boolean(kind) or types.is_null(kind))


def _as_texts(column: pa.Array) -> list[str]:
    """Cells as texts without surrounding spaces; "" where there is none."""
    if isinstance(column, pa.DictionaryArray):
        # A text that stands in a million rows stands once in memory.
        distinct = _as_texts(column.dictionary)
        codes = column.indices.to_pylist()
        return ["" if code is None else distinct[code] for code in codes]
    return ["" if cell is None else str(cell).strip() for cell in column.to_pylist()]


def _as_floats(column: pa.Array) -> pa.Array:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False)


class ParquetReader(ColumnReader):
    """Parquet files."""

    suffixes: tuple[str, ...] = (".parquet", ".pq")
    kind = "a Parquet"

    @contextmanager
    def open(self, file: Path) -> Iterator[_Columns]:
        """The open file."""
        schema = pyarrow.parquet.read_schema(file)
        # Texts stay in their dictionary: unpacked, each row would have its own.
        texts = [field.name for field in schema if _is_text(field.type)]
        with pyarrow.parquet.ParquetFile(file, read_dictionary=texts) as source:
            yield _ParquetColumns(source, schema)


class _ParquetColumns(_Columns):
    def __init__(self, source: pyarrow.parquet.ParquetFile, schema: pa.Schema) -> None:
        self._source = source
        self.schema = schema

    @property
    def rows(self) -> int:
        """Rows by the file's own account."""
        return int(self._source.metadata.num_rows)

    def unpacked_bytes(self, columns: Sequence[str]) -> int:
        """Bytes of pages and, where a page says a value once for many rows, 8 for each value."""
        metadata = self._source.metadata
        names = set(columns)
        indexes = []
        for index in range(metadata.num_columns):
            path = metadata.schema.column(index).path
            # The path of a nested column goes on: name.list.element.
            if path in names or path.partition(".")[0] in names:
                indexes.append(index)
        size = 0
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for index in indexes:
                column = group.column(index)
                size += max(column.total_uncompressed_size, 8 * column.num_values)
        return size

    def batches(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Blocks of `rows` rows."""
        yield from self._source.iter_batches(rows, columns=columns, use_threads=False)


class ArrowReader(ColumnReader):
    """Arrow IPC files and streams, which Feather files are."""

    suffixes: tuple[str, ...] = (".arrow", ".feather", ".ipc")
    kind = "an Arrow"

    @contextmanager
    def open(self, file: Path) -> Iterator[_Columns]:
        """The open file, mapped into memory."""
        with pa.memory_map(str(file)) as content:
            is_stream = content.size() < 6 or content.read(6) != b"ARROW1"
            content.seek(0)
            size = ipc_bytes(content, is_stream=is_stream)
            content.seek(0)
            open_any = pyarrow.ipc.open_stream if is_stream else pyarrow.ipc.open_file
            check_budget(file, size, "its columns unpack to")
            yield _ArrowColumns(open_any(content), size)


class _ArrowColumns(_Columns):
    def __init__(self, reader: Any, size: int) -> None:
        self._reader = reader
        self._size = size
        self.schema = reader.schema

    @cached_property
    def _table(self) -> pa.Table:
        """All blocks: mapped where they are not compressed, else unpacked, once."""
        table = self._reader.read_all()
        # A damaged file may promise more values than it has.
        table.validate(full=True)
        return table

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return int(self._table.num_rows)

    def unpacked_bytes(self, columns: Sequence[str]) -> int:
        """Bytes of all columns: they are unpacked together."""
        return self._size

    def batches(self, rows: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """The file's own blocks, of at most `rows` rows."""
        yield from self._table.select(columns).to_batches(max_chunksize=rows)


class NpyReader(RowReader):
    """.npy files of numbers, mapped from the disk; their columns are called by their numbers from
    0."""

    suffixes: tuple[str, ...] = (".npy",)
    has_names = False

    def header(self, file: Path) -> list[str]:
        """The numbers of the columns as texts: "0", "1", …"""
        return list(map(str, range(self._open(file).shape[1])))

    def numbers(self, file: Path, columns: Sequence[str]) -> Values:
        """(rows, len(columns)) in the file's own type."""
        # All columns stay mapped from the disk; some of them are copied.
        array = self._open(file)
        if list(columns) != list(map(str, range(array.shape[1]))):
            array = array[:, list(map(int, columns))]
        self.refuse_rounded(file, array, columns)
        return array

    def strings(self, file: Path, column: str) -> list[str]:
        """The numbers of one column as texts."""
        return list(map(str, self.numbers(file, [column])[:, 0].tolist()))

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """The first row's numbers as texts, by column."""
        row = self.numbers(file, columns)[0].tolist()
        return dict(zip(columns, map(str, row), strict=True))

    def remarks(self, file: Path) -> tuple[str, ...]:
        """A remark where an axis of length 1 was left out."""
        shape = self._mapped(file).shape
        return (SQUEEZED,) if len(shape) == 3 else ()

    def _open(self, file: Path) -> Values:
        array = self._mapped(file)
        content = f"shape {array.shape}, {array.dtype}"
        values = squeezed(array)
        if values.ndim == 2 and array.dtype.kind in "fiu" and 0 not in array.shape:
            return values
        raise InputError(
            f"{file}: {content}; expected numbers of shape (frames, dim), neither of them 0"
        )

    def _mapped(self, file: Path) -> Values:
        check_regular(file, "a .npy file")
        try:
            array = np.load(file, mmap_mode="r", allow_pickle=False)
        except UNREADABLE_ARRAY as error:
            raise InputError(f"{file}: not a .npy array of numbers ({error})") from error
        # np.load opens an archive of arrays too, which is no ndarray.
        if not isinstance(array, np.ndarray):
            raise InputError(
                f"{file}: several arrays; expected numbers of shape (frames, dim), neither of them "
                "0; an archive of arrays ends in .npz"
            )
        return array


SQUEEZED = "arrays of shape (frames, 1, dim) are read as (frames, dim)"
