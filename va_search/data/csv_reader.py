"""Text files of cells: fast when a file is fine, exact about what is wrong when not.

Conventions: cells are separated by commas, semicolons, tabs or `|`: the header decides. A missing
value (an empty cell, spaces, or a spelling of `EMPTY`) becomes NaN. Decimal commas are refused.
Every row counts, so an empty line is an error wherever a row follows; empty lines at the end are
none. Lines count from 1 with the header as line 1."""

from __future__ import annotations

import csv
import itertools
import mmap
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from va_search.data.arrays import Floats, add_rows, allocate, values_of
from va_search.data.problems import PROBLEMS_OF_A_FILE, and_more, first_few
from va_search.errors import InputError, counted
from va_search.files import check_regular

EMPTY = (
    "", "NaN", "nan", "NAN", "-NaN", "-nan", "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "null", "NULL", "Null",
    "None", "none", "-",
)  # fmt: skip
"""Spellings of a missing value: pandas' own, and a dash."""
FREQUENT = ("", " ", "NaN", "nan", "NA")
"""What the fast parser knows in a table of more than `FEW_COLUMNS`: each spelling costs it 300
bytes a column."""
FEW_COLUMNS = 1_000
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'"}
NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE
)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}.*|(\d+ days? )?\d\d?:\d\d.*")
BLOCK_BYTES = (4 << 20, 64 << 20)
"""Least and most bytes parsed at a time; within them, 64 times the header's, so that a block holds
many rows."""
ENCODING = "utf-8-sig"


class CsvReader:
    """Files of comma-separated values, and text files under any other ending."""

    suffix = ".csv"
    has_names = True

    def header(self, file: Path) -> list[str]:
        """Names of the columns, without surrounding spaces."""
        return _read_head(file).names

    def numbers(self, file: Path, columns: Sequence[str]) -> Floats:
        """(rows, len(columns)), NaN for missing values; InputError for text in a column, ragged or
        empty lines. Memory is that of the result and a block of rows."""
        head = _read_head(file)
        file_bytes = file.stat().st_size
        block = min(max(BLOCK_BYTES[0], 64 * head.bytes), BLOCK_BYTES[1])
        while True:
            try:
                numbers = _parse(file, head, columns, block)
                break
            except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                if "straddl" in str(error) and block < file_bytes:  # a row is longer than a block
                    block *= 4
                    continue
            # The slow second look: exact about what is wrong, and able to read numbers that the
            # parser doesn't know.
            numbers = _parse_cell_by_cell(file, head, columns)
            break
        if np.isnan(numbers).all(axis=1).any():
            # The parser takes an empty line for a row of empty cells.
            problems = self.empty_lines(file)
            if problems:
                raise InputError(*problems)
        return numbers

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column without surrounding spaces."""
        header = self.header(file)
        problems = self.empty_lines(file)
        if problems:
            raise InputError(*problems)
        index = header.index(column)
        texts: list[str] = []
        ragged: list[tuple[int, int]] = []
        for line, cells in csv_rows(file):
            if len(cells) == len(header):
                texts.append(cells[index].strip())
            else:
                ragged.append((line, len(cells)))
        if ragged:
            raise InputError(_ragged_problem(file, ragged, len(header)))
        return texts

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells by column, without those that the row lacks."""
        _, cells = next(csv_rows(file), (0, []))
        row = dict(zip(self.header(file), cells, strict=False))
        return {name: row[name].strip() for name in columns if name in row}

    def position(self, file: Path, row: int) -> str:
        """`file:line` of data row `row`, from 0; reads the file where cells may hold line ends."""
        if not _has_quotes(file):  # then a row is a line
            return f"{file}:{_read_head(file).lines + row + 1}"
        for line, _ in itertools.islice(csv_rows(file), row, row + 1):
            return f"{file}:{line}"
        return str(file)

    def empty_lines(self, file: Path) -> list[str]:
        """A problem where an empty line (or one of spaces) stands before a row: rows behind it
        would shift."""
        lines = list(itertools.islice(_find_empty_lines(file), 1_000_000))
        if not lines:
            return []
        count = and_more(len(lines) - 1)
        return [
            f"{file}:{lines[0]}: empty line{count}; every row is a frame, so those behind it would "
            "shift: remove it"
        ]

    def remarks(self, file: Path) -> tuple[str, ...]:
        """A remark where cells are separated by something else than commas."""
        separator = separator_of(file)
        return () if separator == "," else (f"cells are separated by {SEPARATORS[separator]}",)


def separator_of(file: Path) -> str:
    """The character between the cells, as the header has it; a comma where it has one column."""
    return _read_head(file).separator


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row behind the header, without empty lines (see `empty_lines`)."""
    head = _read_head(file)
    skips_spaces = head.separator != "\t" and len(head.names) > 1
    try:
        with open(file, encoding=ENCODING, newline="") as handle:
            reader = csv.reader(handle, delimiter=head.separator)
            next(reader)
            for cells in reader:
                blank = skips_spaces and len(cells) == 1 and not cells[0].strip()
                if cells and not blank:
                    yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(_not_text(file, error)) from error


def number_in(cell: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is text."""
    text = cell.strip()
    if text in EMPTY:
        return float("nan")
    return float(text) if NUMBER.fullmatch(text) else None


@dataclass(frozen=True)
class _Head:
    """A header: column names, the lines and bytes it takes, and the separator of cells."""

    names: list[str]
    lines: int
    bytes: int
    separator: str


def _read_head(file: Path) -> _Head:
    check_regular(file, "a text file of comma-separated values")
    try:
        with open(file, encoding=ENCODING, newline="") as handle:
            line = handle.readline()
            if not line.strip():
                if handle.read(1 << 16).strip():
                    raise InputError(f"{file}:1: empty line before the header; remove it")
                raise InputError(f"{file}: empty file, expected a header and at least one row")
            separator = _find_separator(line, list(itertools.islice(handle, 5)))
            handle.seek(0)
            reader = csv.reader(handle, delimiter=separator)
            names = [name.strip() for name in next(reader)]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (UnicodeDecodeError, IsADirectoryError, csv.Error) as error:
        raise InputError(_not_text(file, error)) from error
    return _Head(names, reader.line_num, len(line.encode()), separator)


def _find_separator(header: str, lines: list[str]) -> str:
    """The separator that cuts the header into columns; where several do, the one that cuts the rows
    alike."""
    # A comma inside of a cell must not win against the separator that all rows agree on.
    candidates = []
    for separator in SEPARATORS:
        columns = _count_cells(header, separator)
        if columns == 1:
            continue
        candidates.append(separator)
        counts = {_count_cells(line, separator) for line in lines if line.strip()}
        if counts <= {columns}:
            return separator
    return candidates[0] if candidates else ","


def _count_cells(line: str, separator: str) -> int:
    if '"' not in line:
        return line.count(separator) + 1
    return len(next(csv.reader([line], delimiter=separator), []))


def _not_text(file: Path, error: Exception) -> str:
    beginning = b""
    if file.is_file():
        with open(file, "rb") as handle:
            beginning = handle.read(2)
    if beginning in (b"\xff\xfe", b"\xfe\xff"):
        return f"{file}: not a UTF-8 text file but UTF-16; save it as UTF-8"
    return f"{file}: not a UTF-8 text file of comma-separated values ({error})"


def _has_quotes(file: Path) -> bool:
    """True where a quotation mark is in the file: between two of them a cell may hold line ends."""
    with open(file, "rb") as handle:
        return any(b'"' in block for block in iter(lambda: handle.read(1 << 20), b""))


def _find_empty_lines(file: Path) -> Iterator[int]:
    """Numbers of the empty lines with a row behind them."""
    head = _read_head(file)
    if _has_quotes(file):
        yield from _find_empty_lines_between_quotes(file, head)
        return
    # Spaces make an empty line; a tab does not where tabs separate cells.
    spaces = rb" *" if head.separator == "\t" else rb"[ \t]*"
    empty = re.compile(rb"(?:\n|\r(?!\n))" + spaces + rb"(?=\r\n|\n|\r)")
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        end = _end_of_rows(handle, one_column=len(head.names) == 1)
        line, counted_to = 1, 0
        # Line ends before each match are counted once, in the order of the file.
        for match in empty.finditer(content, 0, min(end + 1, len(content))):
            if match.end() >= end:
                return
            skipped = content[counted_to : match.start()]
            line += skipped.count(b"\n") or skipped.count(b"\r")
            counted_to = match.start()
            yield line + 1


def _find_empty_lines_between_quotes(file: Path, head: _Head) -> Iterator[int]:
    waiting: list[int] = []  # empty lines count only when a row follows
    try:
        with open(file, encoding=ENCODING, newline="") as handle:
            reader = csv.reader(handle, delimiter=head.separator)
            for cells in reader:
                if cells and (len(cells) > 1 or cells[0].strip()):
                    yield from waiting
                    waiting = []
                else:
                    waiting.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(_not_text(file, error)) from error


def _end_of_rows(handle: BinaryIO, *, one_column: bool) -> int:
    """The byte behind the last row: empty lines at the end are no rows. With one column an empty
    line may be a missing value, so only the last line end is left out."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - (1 << 16)))
    # 64 KiB are enough: an empty line takes a byte or two.
    tail = handle.read()
    content = tail.removesuffix(b"\n").removesuffix(b"\r")
    if not one_column:
        content = re.sub(rb"([\r\n] *)+\Z", b"", tail)
    return size - (len(tail) - len(content))


@dataclass
class _LimitedFile:
    """The first `left` bytes of an open file, as a file that Arrow reads."""

    handle: BinaryIO
    left: int
    closed: bool = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes more; empty at the end."""
        if size < 0 or size > self.left:
            size = self.left
        block = self.handle.read(size)
        self.left -= len(block)
        return block

    def close(self) -> None:
        """The caller closes the file itself."""
        self.closed = True


def _parse(file: Path, head: _Head, columns: Sequence[str], block: int) -> Floats:
    """Arrow's parser, block by block into one array; ArrowInvalid where it can't read a cell."""
    # Spaces around a missing value are part of its spelling for Arrow.
    spellings: tuple[str, ...] = FREQUENT
    if len(columns) <= FEW_COLUMNS:
        spaces = [" " * count for count in range(1, 9)]
        spellings = (*EMPTY, *spaces, *(" " + spelling for spelling in EMPTY if spelling))
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.float64()),
        include_columns=list(columns),
        null_values=list(spellings),
    )
    read = pyarrow.csv.ReadOptions(
        use_threads=False, column_names=head.names, skip_rows=head.lines, block_size=block
    )
    parse = pyarrow.csv.ParseOptions(delimiter=head.separator, ignore_empty_lines=False)
    # The size is known before parsing: blocks are copied into one array, which is never grown.
    with open(file, "rb") as handle:
        end = _end_of_rows(handle, one_column=len(head.names) == 1)
        # The header's own line end makes up for the last row's.
        numbers = allocate(file, _count_line_ends(handle, end), len(columns))
        if len(numbers) == 0:
            return numbers
        handle.seek(0)
        source = pa.PythonFile(_LimitedFile(handle, end), mode="r")
        filled = 0
        for batch in pyarrow.csv.open_csv(source, read, parse, convert):
            filled = add_rows(numbers, filled, [values_of(column) for column in batch.columns])
    return numbers[:filled]


def _count_line_ends(handle: BinaryIO, end: int) -> int:
    """At least as many as lines end before byte `end`, with \\n, \\r\\n or \\r alone."""
    handle.seek(0)
    content = _LimitedFile(handle, end)
    count = 0
    while block := content.read(1 << 22):
        count += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
    return count


def _parse_cell_by_cell(file: Path, head: _Head, columns: Sequence[str]) -> Floats:
    """As `_parse`; InputError naming empty and ragged lines and each column with text."""
    index_of = {name: index for index, name in enumerate(head.names)}
    indexes = [index_of[name] for name in columns]
    problems = CsvReader().empty_lines(file)
    ragged: list[tuple[int, int]] = []
    texts: dict[int, tuple[int, str]] = {}  # the first of each column: its line and cell
    text_counts: Counter[int] = Counter()
    numbers = array("d")
    # Problems of all rows are counted, and the first of each kind is told.
    for line, cells in csv_rows(file):
        if len(cells) != len(head.names):
            ragged.append((line, len(cells)))
            continue
        for index in indexes:
            value = number_in(cells[index])
            if value is None:
                texts.setdefault(index, (line, cells[index]))
                text_counts[index] += 1
                value = np.nan
            numbers.append(value)
    if ragged:
        problems.append(_ragged_problem(file, ragged, len(head.names)))
    for index, (line, cell) in sorted(texts.items()):
        count = and_more(text_counts[index] - 1)
        problems.append(
            f"{file}:{line}: column {head.names[index]!r}: {cell!r} is not a number{count}"
            f"{_hint(cell)}"
        )
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    if not numbers:
        return np.empty((0, len(columns)))
    return np.frombuffer(numbers, np.float64).reshape(-1, len(columns))


def _ragged_problem(file: Path, ragged: list[tuple[int, int]], expected: int) -> str:
    line, count = ragged[0]
    hint = ""
    if count == 2 * expected and separator_of(file) == ",":
        hint = "; numbers with a decimal comma? Write them with a point"
    return (
        f"{file}:{line}: {counted(count, 'cell')}, expected {expected} as in the header"
        f"{and_more(len(ragged) - 1)}{hint}"
    )


def _hint(cell: str) -> str:
    text = cell.strip()
    if DECIMAL_COMMA.fullmatch(text):
        return "; a decimal comma? Write numbers with a point"
    if DATE.fullmatch(text):
        return "; a date or a time of day? Write seconds from the recording's start"
    return ""
