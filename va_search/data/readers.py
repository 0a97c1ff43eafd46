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

from va_search.data.arff_reader import ArffReader
from va_search.data.array_readers import ArrowReader, NpyReader, ParquetReader
from va_search.data.arrays import Flags, Floats, Indexes, Values
from va_search.data.bundles import BundleReader, NpzReader, split_member
from va_search.data.csv_reader import CsvReader, csv_rows, number_in, text_of
from va_search.data.eaf_reader import EafReader
from va_search.data.hdf5_reader import Hdf5Reader
from va_search.data.mat_reader import MatReader
from va_search.data.problems import (
    PROBLEMS_OF_A_FILE,
    and_more,
    first_few,
    more_problems,
    unknown_column,
)
from va_search.data.text_layout import csv_layout
from va_search.errors import InputError, counted


class FileReader(Protocol):
    """One file format: the endings of its files, the first of them the usual one. `has_names`:
    columns have names of their own, which may be bookkeeping."""

    suffixes: tuple[str, ...]
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


READERS: tuple[FileReader, ...] = (
    NpyReader(),
    CsvReader(),
    ParquetReader(),
    ArrowReader(),
    Hdf5Reader(),
    NpzReader(),
    MatReader(),
    ArffReader(),
    EafReader(),
)
_BY_SUFFIX: dict[str, FileReader] = {}
for _reader in READERS:
    _BY_SUFFIX |= dict.fromkeys(_reader.suffixes, _reader)
ALL_SUFFIXES = tuple(_BY_SUFFIX)
USUAL_SUFFIXES = tuple(reader.suffixes[0] for reader in READERS)
"""One ending of each format, for messages."""
TABLE_SUFFIXES = tuple(suffix for suffix, reader in _BY_SUFFIX.items() if reader.has_names)
PICKLES = (".pkl", ".pickle", ".p", ".joblib")

TIME_OF_DAY = re.compile(
    r"((?P<date>\d{4}-\d\d-\d\d)[T ]|(?P<days>\d+) days? )?"
    r"(?P<hours>\d+):(?P<minutes>\d\d)(:(?P<seconds>\d\d(\.\d+)?))?"
)
"""How clocks, pandas and ffmpeg write times: 00:01:02.5, 0 days 00:01:02.500000, 2024-05-01
10:01:02.5."""


def suffix_of(name: str) -> str:
    """The ending of a file's name as the menu has it (`.csv.gz`), lower case; for other names what
    stands from the last dot on."""
    lower = name.lower()
    endings = [suffix for suffix in _BY_SUFFIX if lower.endswith(suffix)]
    return max(endings, key=len, default=Path(lower).suffix)


def reader_of(file: Path) -> FileReader:
    """The reader for a file's ending, or for that of the file that a path such as `voices.h5/v1`
    goes into; InputError for pickles."""
    path, _ = split_member(file)
    if path.suffix.lower() in PICKLES:
        raise InputError(_refused_pickle(path))
    return _BY_SUFFIX.get(suffix_of(path.name), _BY_SUFFIX[".csv"])


def _refused_pickle(file: Path) -> str:
    """The reason why a pickle is not read, and the two lines that convert it."""
    load, module = "pandas.read_pickle", "pandas, numpy"
    if file.suffix.lower() == ".joblib":
        load, module = "joblib.load", "joblib, numpy"
    return (
        f"{file}: a pickle, which runs whatever code is in it, so it is not read. If you trust who "
        f"made it: import {module}; numpy.save('{file.stem}.npy', "
        f"numpy.asarray({load}('{file.name}')))"
    )


def members_of(file: Path) -> list[str]:
    """Names of the recordings or arrays in an HDF5, .npz or .mat file that holds several: `file/name`
    reads as one table. None where the file is one table."""
    reader = reader_of(file)
    return reader.members(file) if isinstance(reader, BundleReader) else []


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


def rows_by_text(texts: Sequence[str]) -> dict[str, Indexes]:
    """The rows of each text, in the order in which each comes first."""
    if not texts:
        return {}
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    codes = np.fromiter((numbers[text] for text in texts), dtype=np.int64, count=len(texts))
    # Stable sorting keeps each recording's rows in their order.
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes))
    return dict(zip(numbers, np.split(order, ends[:-1]), strict=True))


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
    layout = csv_layout(file)
    for line, cells in csv_rows(file):
        if len(cells) == len(header):
            texts = [text_of(cell, layout) for cell in cells]
            rows.append(dict(zip(header, texts, strict=True)))
            lines.append(line)
        else:
            count = counted(len(cells), "cell")
            problems.append(f"{file}:{line}: {count}, expected {len(header)} as in the header")
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    return rows, lines


def not_finite(
    file: Path, values: Values, columns: Sequence[str], *, missing_allowed: bool = False
) -> list[str]:
    """A problem for each column of features that holds an infinity, or NaN or an empty cell unless
    values may be missing."""
    wrong = np.isinf(values) if missing_allowed else ~np.isfinite(values)
    if not wrong.any():
        return []
    columns_wrong = np.flatnonzero(wrong.any(axis=0)).tolist()
    problems = []
    for index in columns_wrong[:PROBLEMS_OF_A_FILE]:
        rows = wrong_rows(file, wrong[:, index])
        assert rows is not None
        content = "infinite" if np.isinf(values[rows.row, index]) else "empty or NaN"
        name = repr(columns[index]) if reader_of(file).has_names else columns[index]
        expected = "numbers, or empty" if missing_allowed else "finite numbers"
        problems.append(
            f"{rows.position}: column {name} is {content}{rows.more}; features must be {expected}"
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
