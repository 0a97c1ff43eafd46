"""The menu of file formats, and how a file of any of them is read.

Another format is one class like `FileReader` and one line in `READERS`; the suffixes that importers
allow and name in their messages follow from it. Text files under any other ending (the challenge's
.txt) are read as CSV.

Conventions: rows count from 0 in code. Numbers are (rows, columns), NaN where a value is missing;
whether NaN is allowed is the importer's business."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

import numpy as np

from va_search.data.array_readers import NpyReader, ParquetReader
from va_search.data.arrays import Flags, Floats, Values
from va_search.data.csv_reader import CsvReader, csv_rows, number_in
from va_search.data.problems import (
    PROBLEMS_OF_A_FILE,
    and_more,
    first_few,
    more_problems,
    unknown_column,
)
from va_search.errors import InputError, counted


class FileReader(Protocol):
    """One file format. `has_names`: columns have names of their own, which may be bookkeeping."""

    suffix: str
    has_names: bool

    def header(self, file: Path) -> list[str]:
        """Names of the columns; InputError for a file that can't be read."""

    def numbers(self, file: Path, columns: Sequence[str]) -> Values:
        """(rows, len(columns)); InputError with everything that is no number."""

    def strings(self, file: Path, column: str) -> list[str]:
        """Cells of one column as texts without surrounding spaces, in the order of the rows."""

    def first_cells(self, file: Path, columns: Sequence[str]) -> dict[str, str]:
        """Texts of the first row's cells, by column."""

    def position(self, file: Path, row: int) -> str:
        """Words for data row `row`, from 0."""

    def empty_lines(self, file: Path) -> list[str]:
        """A problem where empty lines would shift the rows behind them."""

    def remarks(self, file: Path) -> tuple[str, ...]:
        """Remarks on how the file is written, counted over all files."""


READERS: tuple[FileReader, ...] = (NpyReader(), CsvReader(), ParquetReader())
ALL_SUFFIXES = tuple(reader.suffix for reader in READERS)
TABLE_SUFFIXES = tuple(reader.suffix for reader in READERS if reader.has_names)
_BY_SUFFIX = {reader.suffix: reader for reader in READERS}

TIME_OF_DAY = re.compile(
    r"((?P<date>\d{4}-\d\d-\d\d)[T ]|(?P<days>\d+) days? )?"
    r"(?P<hours>\d+):(?P<minutes>\d\d)(:(?P<seconds>\d\d(\.\d+)?))?"
)
"""How clocks, pandas and ffmpeg write times: 00:01:02.5, 0 days 00:01:02.500000, 2024-05-01
10:01:02.5."""


def reader_of(file: Path) -> FileReader:
    """The reader for a file's ending."""
    return _BY_SUFFIX.get(file.suffix, _BY_SUFFIX[".csv"])


def read_header(file: Path) -> list[str]:
    """Column names; InputError for a file that can't be read or has a column twice."""
    names = reader_of(file).header(file)
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        shown = ", ".join(map(repr, repeated[:PROBLEMS_OF_A_FILE]))
        count = and_more(len(repeated) - PROBLEMS_OF_A_FILE)
        raise InputError(f"{file}: column {shown}{count} stands twice in the header; keep one")
    return names


def read_features(file: Path, columns: Sequence[str]) -> Values:
    """(rows, len(columns)) in the type in which the file has them; InputError for no rows, unknown
    columns, and everything that is no number."""
    # Unknown columns are told with the nearest names, before any value is read.
    header = set(read_header(file))
    missing = [name for name in columns if name not in header]
    if missing:
        problems = [f"{file}: {unknown_column(name, header)}" for name in missing]
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    numbers = reader_of(file).numbers(file, columns)
    if len(numbers) == 0:
        raise InputError(f"{file}: a header and no rows, expected one row per frame")
    return numbers


def read_numbers(file: Path, columns: Sequence[str]) -> Floats:
    """(rows, len(columns)) float64; InputError as in `read_features`."""
    return np.asarray(read_features(file, columns), dtype=np.float64)


def read_strings(file: Path, column: str) -> list[str]:
    """Cells of one column as texts without surrounding spaces, in the order of the rows."""
    return reader_of(file).strings(file, column)


def first_cells(file: Path, columns: Sequence[str]) -> dict[str, str]:
    """Texts of the first row's cells, by column; without those that it lacks."""
    return reader_of(file).first_cells(file, columns)


def empty_lines(file: Path) -> list[str]:
    """A problem where empty lines would shift the rows behind them."""
    return reader_of(file).empty_lines(file)


def where(file: Path, row: int) -> str:
    """Words for data row `row`, from 0: `file:line` or `file row n`. May read the file."""
    return reader_of(file).position(file, row)


@dataclass(frozen=True)
class WrongRows:
    """Rows that a check refuses: the first of them, its position in words, " (and n more)"."""

    row: int
    position: str
    more: str


def wrong_rows(file: Path, wrong: Flags) -> WrongRows | None:
    """The rows of `file` that are `wrong` (rows,); None where none is."""
    rows = np.flatnonzero(wrong)
    if not rows.size:
        return None
    row = int(rows[0])
    return WrongRows(row, where(file, row), and_more(rows.size - 1))


def read_texts(file: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Rows of a small CSV as texts by column name, and the line of each; InputError for ragged or
    empty lines and repeated columns."""
    header = read_header(file)
    rows, lines, problems = [], [], empty_lines(file)
    for line, cells in csv_rows(file):
        if len(cells) == len(header):
            rows.append(dict(zip(header, [cell.strip() for cell in cells], strict=True)))
            lines.append(line)
        else:
            count = counted(len(cells), "cell")
            problems.append(f"{file}:{line}: {count}, expected {len(header)} as in the header")
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    return rows, lines


def not_finite(file: Path, values: Values, columns: Sequence[str]) -> list[str]:
    """A problem for each column of features that holds NaN, an empty cell or an infinity."""
    finite = np.isfinite(values)
    if finite.all():
        return []
    wrong = ~finite
    columns_wrong = np.flatnonzero(wrong.any(axis=0)).tolist()
    problems = []
    for index in columns_wrong[:PROBLEMS_OF_A_FILE]:
        rows = wrong_rows(file, wrong[:, index])
        assert rows is not None
        content = "infinite" if np.isinf(values[rows.row, index]) else "empty or NaN"
        name = repr(columns[index]) if reader_of(file).has_names else columns[index]
        problems.append(
            f"{rows.position}: column {name} is {content}{rows.more}; features must be finite "
            "numbers"
        )
    return [*problems, *more_problems(len(columns_wrong) - PROBLEMS_OF_A_FILE)]


def is_number(cell: str) -> bool:
    """True where a cell holds a number, or stands for a missing one."""
    return number_in(cell) is not None


def seconds_of(text: str) -> float | None:
    """Seconds of a time of day, with the days before it or its date; None for other texts."""
    match = TIME_OF_DAY.fullmatch(text)
    if match is None:
        return None
    # Only differences count, so a date may be days since any day.
    days = int(match["days"] or 0)
    if match["date"]:
        try:
            days = date.fromisoformat(match["date"]).toordinal()
        except ValueError:
            return None
    minutes = 60 * int(match["hours"]) + int(match["minutes"])
    return 86_400 * days + 60 * minutes + float(match["seconds"] or 0)
