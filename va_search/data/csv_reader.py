"""Text files of cells: fast when a file is fine, exact about what is wrong when not.

Conventions: cells are separated by commas, semicolons, tabs, `|` or runs of spaces: the header
decides. A missing value (an empty cell, spaces, or a spelling of `EMPTY`) becomes NaN. Numbers have
a decimal comma where all of the file's have (text_layout.py). Every row counts, so an empty line is
an error wherever a row follows; empty lines at the end are none. Lines count from 1 with the header
as line 1. Names ending in .gz are of compressed files."""

from __future__ import annotations

import itertools
import mmap
import os
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isinf
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv

from va_search.data.arrays import (
    Floats,
    add_rows,
    allocate,
    is_large,
    rounded_problem,
    values_of,
)
from va_search.data.column_names import is_clock
from va_search.data.problems import PROBLEMS_OF_A_FILE, and_more, first_few
from va_search.data.text_layout import (
    DECIMALS,
    EMPTY,
    GROUPED,
    SEPARATORS,
    SPACES,
    Layout,
    csv_layout,
    open_bytes,
    open_text,
)
from va_search.errors import InputError, counted

__all__ = ["EMPTY", "SEPARATORS", "CsvReader", "csv_rows", "number_in", "separator_of", "text_of"]

FREQUENT = ("", " ", "NaN", "nan", "NA")
"""What the fast parser knows in a table of more than `FEW_COLUMNS`: each spelling costs it 300
bytes a column."""
FEW_COLUMNS = 1_000
NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE
)
WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3}){2,}(\.\d+)?|[+-]?\d{1,3}(\.\d{3}){2,}(,\d+)?")
"""Numbers with a sign between thousands, which the file's other sign can't be mistaken for."""
DATE = re.compile(r"\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}.*|(\d+ days? )?\d\d?:\d\d.*")
SPACE, LINE_END = ord(" "), ord("\n")
OTHER_SPACES = bytes.maketrans(b"\t\v\f", b"   ")
BLOCK_BYTES = (4 << 20, 64 << 20)
"""Least and most bytes parsed at a time; within them, 64 times the header's, so that a block holds
many rows."""


class CsvReader:
    """Files of separated values, and text files under any other ending."""

    suffixes: tuple[str, ...] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    has_names = True

    def layout(self, file: Path) -> Layout:
        """The file's way of writing; InputError for a file that can't be read."""
        return csv_layout(file)

    def header(self, file: Path) -> list[str]:
        """Names of the columns, without surrounding spaces."""
        return list(self.layout(file).names)

    def numbers(self, file: Path, columns: Sequence[str]) -> Floats:
        """(rows, len(columns)), NaN for missing values; InputError for text in a column, ragged or
        empty lines. Memory is that of the result and a block of rows."""
        layout = self.layout(file)
        block = min(max(BLOCK_BYTES[0], 64 * layout.bytes), BLOCK_BYTES[1])
        with open_bytes(file) as handle:
            file_bytes = handle.seek(0, os.SEEK_END)
            while True:
                try:
                    numbers = _parse(file, handle, layout, columns, block)
                    break
                except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
                    if "straddl" in str(error) and block < file_bytes:  # a row longer than a block
                        block *= 4
                        continue
                # The slow second look: exact about what is wrong, and able to read numbers that
                # the parser doesn't know.
                numbers = self._parse_cell_by_cell(file, layout, columns)
                break
        if np.isnan(numbers).all(axis=1).any():
            # The parser takes an empty line for a row of empty cells.
            problems = self.empty_lines(file)
            if problems:
                raise InputError(*problems)
        if is_large(numbers):
            self._refuse_rounded(file, layout, columns)
        return numbers

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column without surrounding spaces; numbers with a decimal point."""
        layout = self.layout(file)
        problems = self.empty_lines(file)
        if problems:
            raise InputError(*problems)
        index = layout.names.index(column)
        texts: list[str] = []
        # Millions of rows may name the same few recordings: each text is kept once.
        distinct: dict[str, str] = {}
        ragged: list[tuple[int, int]] = []
        for line, cells in self.rows(file):
            if len(cells) == len(layout.names):
                text = text_of(cells[index], layout)
                texts.append(distinct.setdefault(text, text))
            else:
                ragged.append((line, len(cells)))
        if ragged:
            raise InputError(_ragged_problem(file, ragged, layout))
        return texts

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells by column, without those that the row lacks."""
        layout = self.layout(file)
        _, cells = next(self.rows(file), (0, []))
        row = dict(zip(layout.names, cells, strict=False))
        return {name: text_of(row[name], layout) for name in columns if name in row}

    def position(self, file: Path, row: int) -> str:
        """`file:line` of data row `row`, from 0; reads the file where cells may hold line ends."""
        layout = self.layout(file)
        if not layout.comment and not _has_quotes(file):  # then a row is a line
            return f"{file}:{layout.lines + row + 1}"
        for line, _ in itertools.islice(self.rows(file), row, row + 1):
            return f"{file}:{line}"
        return str(file)

    def empty_lines(self, file: Path) -> list[str]:
        """A problem where an empty line (or one of spaces) stands before a row: rows behind it
        would shift."""
        lines = list(itertools.islice(_find_empty_lines(file, self.layout(file)), 1_000_000))
        if not lines:
            return []
        count = and_more(len(lines) - 1)
        return [
            f"{file}:{lines[0]}: empty line{count}; every row is a frame, so those behind it would "
            "shift: remove it"
        ]

    def remarks(self, file: Path) -> tuple[str, ...]:
        """Remarks on a separator that is no comma, on decimal commas, on logs."""
        return self.layout(file).remarks

    def rows(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each row behind the header, without empty lines and comments."""
        layout = self.layout(file)
        skips_spaces = layout.separator != "\t" and len(layout.names) > 1
        with open_text(file) as handle:
            lines = itertools.islice(handle, layout.lines, None)
            for line, cells in layout.cells(lines):
                blank = skips_spaces and len(cells) == 1 and not cells[0].strip()
                is_comment = layout.comment and cells and cells[0].startswith(layout.comment)
                if cells and not blank and not is_comment:
                    yield layout.lines + line, cells

    def _refuse_rounded(self, file: Path, layout: Layout, columns: Sequence[str]) -> None:
        """InputError where a whole number is so large that float64 loses its last digits; those of
        clocks are looked at where times are read."""
        indexes = {name: layout.names.index(name) for name in columns if not is_clock(name)}
        for line, cells in self.rows(file):
            for name, index in indexes.items():
                text = cells[index].strip()
                if not WHOLE.fullmatch(text) or isinf(float(text)):
                    continue  # infinite values are told by whoever refuses them
                if int(text) != int(float(text)):
                    raise InputError(rounded_problem(f"{file}:{line}", name, int(text)))

    def _parse_cell_by_cell(self, file: Path, layout: Layout, columns: Sequence[str]) -> Floats:
        """As `_parse`; InputError naming empty and ragged lines and each column with text."""
        index_of = {name: index for index, name in enumerate(layout.names)}
        indexes = [index_of[name] for name in columns]
        problems = self.empty_lines(file)
        ragged: list[tuple[int, int]] = []
        texts: dict[int, tuple[int, str]] = {}  # the first of each column: its line and cell
        text_counts: Counter[int] = Counter()
        numbers = array("d")
        # Problems of all rows are counted, and the first of each kind is told.
        for line, cells in self.rows(file):
            if len(cells) != len(layout.names):
                ragged.append((line, len(cells)))
                continue
            for index in indexes:
                value = _number(cells[index], layout)
                if value is None:
                    texts.setdefault(index, (line, cells[index]))
                    text_counts[index] += 1
                    value = np.nan
                numbers.append(value)
        if ragged:
            problems.append(_ragged_problem(file, ragged, layout))
        for index, (line, cell) in sorted(texts.items()):
            count = and_more(text_counts[index] - 1)
            problems.append(
                f"{file}:{line}: column {layout.names[index]!r}: {cell!r} is not a number{count}"
                f"{_hint(cell, layout)}"
            )
        if problems:
            raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
        if not numbers:
            return np.empty((0, len(columns)))
        return np.frombuffer(numbers, np.float64).reshape(-1, len(columns))


def separator_of(file: Path) -> str:
    """The character between the cells, as the header has it; a comma where it has one column."""
    return csv_layout(file).separator


def csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row behind the header, without empty lines (see `empty_lines`)."""
    return CsvReader().rows(file)


def number_in(cell: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is text."""
    text = cell.strip()
    if text in EMPTY:
        return float("nan")
    return float(text) if NUMBER.fullmatch(text) else None


def _number(cell: str, layout: Layout) -> float | None:
    """As `number_in`, with the file's decimal sign and spellings of a missing value."""
    text = cell.strip()
    if text in layout.missing:
        return float("nan")
    return number_in(text_of(cell, layout))


def text_of(cell: str, layout: Layout) -> str:
    """A cell without surrounding spaces; a number with a decimal point, whatever the file has."""
    text = cell.strip()
    if layout.decimal == "," and DECIMALS[","].fullmatch(text):
        return text.replace(",", ".")
    return text


def _has_quotes(file: Path) -> bool:
    """True where a quotation mark is in the file: between two of them a cell may hold line ends."""
    with open_bytes(file) as handle:
        return any(b'"' in block for block in iter(lambda: handle.read(1 << 20), b""))


def _find_empty_lines(file: Path, layout: Layout) -> Iterator[int]:
    """Numbers of the empty lines with a row behind them."""
    if _has_quotes(file):
        yield from _find_empty_lines_between_quotes(file, layout)
        return
    # Spaces make an empty line; a tab does not where tabs separate cells.
    spaces = rb" *" if layout.separator == "\t" else rb"[ \t]*"
    empty = re.compile(rb"(?:\n|\r(?!\n))" + spaces + rb"(?=\r\n|\n|\r)")
    with (
        open_bytes(file) as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        end = _end_of_rows(handle, one_column=len(layout.names) == 1)
        line, counted_to = 1, 0
        # Line ends before each match are counted once, in the order of the file.
        for match in empty.finditer(content, 0, min(end + 1, len(content))):
            if match.end() >= end:
                return
            skipped = content[counted_to : match.start()]
            line += skipped.count(b"\n") or skipped.count(b"\r")
            counted_to = match.start()
            yield line + 1


def _find_empty_lines_between_quotes(file: Path, layout: Layout) -> Iterator[int]:
    waiting: list[int] = []  # empty lines count only when a row follows
    with open_text(file) as handle:
        for line, cells in layout.cells(handle):
            if cells and (len(cells) > 1 or cells[0].strip()):
                yield from waiting
                waiting = []
            else:
                waiting.append(line)


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


@dataclass
class _AlignedFile:
    """A file of lines whose cells stand any number of spaces apart, as one that Arrow reads: one
    space between cells, none at the ends of lines."""

    content: _LimitedFile
    pending: bytes = b""
    left_over: bytes = b""
    closed: bool = False

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes more; empty at the end."""
        while not self.pending:
            block = self.content.read(1 << 20)
            lines = self.left_over + block
            if block:
                # The last line may go on in the next block.
                whole = lines.rfind(b"\n") + 1
                lines, self.left_over = lines[:whole], lines[whole:]
            else:
                self.left_over = b""
            self.pending = _with_single_spaces(lines)
            if not block:
                break
        size = len(self.pending) if size < 0 else size
        result, self.pending = self.pending[:size], self.pending[size:]
        return result

    def close(self) -> None:
        """The caller closes the file itself."""
        self.closed = True


def _with_single_spaces(lines: bytes) -> bytes:
    """Lines with one space between cells and none at their ends."""
    if b"\0" in lines:
        raise pa.ArrowInvalid("a zero byte")
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    # A space is kept behind a letter only; then those at the ends of lines are left.
    letters = np.frombuffer(lines.translate(OTHER_SPACES), dtype=np.uint8)
    is_space = letters == SPACE
    begins_cell = is_space | (letters == LINE_END)
    is_first = np.empty(len(letters), dtype=bool)
    is_first[:1] = False
    np.logical_not(begins_cell[:-1], out=is_first[1:])
    joined: bytes = letters[~is_space | is_first].tobytes()
    return joined.replace(b" \n", b"\n").removesuffix(b" ")


def _parse(
    file: Path, handle: BinaryIO, layout: Layout, columns: Sequence[str], block: int
) -> Floats:
    """Arrow's parser, block by block into one array; ArrowInvalid where it can't read a cell.
    `handle` is of the unpacked `file`."""
    # Spaces around a missing value are part of its spelling for Arrow.
    own = [spelling for spelling in layout.missing if spelling not in EMPTY]
    spellings: tuple[str, ...] = (*FREQUENT, *own)
    if len(columns) <= FEW_COLUMNS:
        spaces = [" " * count for count in range(1, 9)]
        spaced = [" " + spelling for spelling in layout.missing if spelling]
        spellings = (*layout.missing, *spaces, *spaced)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.float64()),
        include_columns=list(columns),
        null_values=list(spellings),
        decimal_point=layout.decimal,
    )
    read = pyarrow.csv.ReadOptions(
        use_threads=False, column_names=layout.names, skip_rows=layout.lines, block_size=block
    )
    parse = pyarrow.csv.ParseOptions(
        delimiter=layout.separator,
        quote_char=layout.quote,
        ignore_empty_lines=layout.comment != "",
    )
    # The size is known before parsing: blocks are copied into one array, which is never grown.
    end = _end_of_rows(handle, one_column=len(layout.names) == 1)
    # The header's own line end makes up for the last row's.
    rows = max(0, _count_line_ends(handle, end) - layout.lines + 1)
    numbers = allocate(file, rows, len(columns))
    if len(numbers) == 0:
        return numbers
    handle.seek(0)
    limited = _LimitedFile(handle, end)
    aligned = _AlignedFile(limited) if layout.separator == SPACES else limited
    source = pa.PythonFile(aligned, mode="r")
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


def _ragged_problem(file: Path, ragged: list[tuple[int, int]], layout: Layout) -> str:
    line, count = ragged[0]
    expected = len(layout.names)
    hint = ""
    if count == 2 * expected and layout.separator == ",":
        hint = "; numbers with a decimal comma? Write them with a point, or put `;` between cells"
    return (
        f"{file}:{line}: {counted(count, 'cell')}, expected {expected} as in the header"
        f"{and_more(len(ragged) - 1)}{hint}"
    )


def _hint(cell: str, layout: Layout) -> str:
    text = cell.strip()
    other = "." if layout.decimal == "," else ","
    if layout.decimal == "." and layout.separator != ";" and GROUPED.fullmatch(text):
        decimal, whole = text.replace(",", "."), text.replace(",", "")
        return f"; {decimal} with a decimal comma, or {whole}? Write it without the comma"
    if THOUSANDS.fullmatch(text):
        return "; write numbers without signs between thousands"
    if DECIMALS[other].fullmatch(text):
        if other == ",":
            return "; a decimal comma? Write all numbers of a file alike"
        return "; other numbers of this file have a decimal comma: write all alike"
    if DATE.fullmatch(text):
        return "; a date or a time of day? Write seconds from the recording's start"
    return ""
