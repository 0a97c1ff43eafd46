"""How a text file of cells is written: where its rows begin, what separates cells, how decimals and
missing values are spelled. Found out from the beginning of the file.

Conventions: lines count from 1. Files whose name ends in .gz are unpacked as they are read."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from va_search.data.arrays import over_budget, unpacked_budget
from va_search.errors import InputError
from va_search.files import check_regular

EMPTY = (
    "", "NaN", "nan", "NAN", "-NaN", "-nan", "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "null", "NULL", "Null",
    "None", "none", "-",
)  # fmt: skip
"""Spellings of a missing value: pandas' own, and a dash."""
SPACES = " "
"""The separator of files whose cells are aligned with any number of spaces."""
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "'|'", SPACES: "spaces"}
ENCODING = "utf-8-sig"
LONGEST_HEADER = 16 << 20
"""Letters of the first line: a file of other bytes may have no line end at all."""
TEXT_SHARE = 2
"""Compressed text is read several times, and slowly: it may unpack to half of what arrays may."""
LETTERS_LOOKED_AT = 1 << 16
CELLS_LOOKED_AT = 10_000
"""So much of a file tells its separator and decimals: in 70,000 columns a few rows are enough."""
DECIMALS = {
    ".": re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?"),
    ",": re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?"),
}
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")
"""A number whose comma may stand before decimals as well as between thousands: 1,234."""
LOG_BEGINNING = "Time of Rating"
LOG_COLUMN = "Second"
LOG_RULE = "%%%"
LOG_LINES = 20
"""CARMA and DARMA write facts of the session first, then the header, then a line of `%`."""
LOG_REMARK = (
    "a log of CARMA or DARMA: 'Second' is the end of the interval that a rating is the mean of"
)
UNREADABLE_TEXT = (UnicodeDecodeError, csv.Error, EOFError, zlib.error, gzip.BadGzipFile)
"""What reading raises for files that hold no text, or no whole archive."""


@dataclass(frozen=True)
class Layout:
    """A text file's way of writing. `names` are the columns; `lines` lines stand before the first
    row, and the last of them has `bytes` bytes; rows that begin with `comment` are none; `remarks`
    are what a user should know of it."""

    names: tuple[str, ...]
    lines: int
    bytes: int
    separator: str
    decimal: str = "."
    quote: str = '"'
    comment: str = ""
    missing: tuple[str, ...] = EMPTY
    remarks: tuple[str, ...] = ()

    def cells(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
        """(line, cells) of each of the lines, counted from 1 on; [] for an empty line."""
        if self.separator == SPACES:
            # Spaces at the ends of a line separate nothing.
            lines = (line.strip(" \r\n") for line in lines)
        reader = csv.reader(
            lines,
            delimiter=self.separator,
            quotechar=self.quote,
            skipinitialspace=self.separator == SPACES,
        )
        for cells in reader:
            yield reader.line_num, cells


@contextmanager
def open_text(file: Path) -> Iterator[TextIO]:
    """The file as lines of text, unpacked; InputError where it is no UTF-8 text."""
    try:
        if _is_packed(file):
            with _open_packed(file) as packed:
                with io.TextIOWrapper(packed, encoding=ENCODING, newline="") as text:
                    yield text
        else:
            with open(file, encoding=ENCODING, newline="") as handle:
                yield handle
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except UNREADABLE_TEXT as error:
        raise InputError(_not_text(file, error)) from error


@contextmanager
def open_bytes(file: Path) -> Iterator[BinaryIO]:
    """The file as bytes at any place, unpacked into a temporary file where it is compressed."""
    if not _is_packed(file):
        with open(file, "rb") as handle:
            yield handle
        return
    with tempfile.TemporaryFile() as content:
        try:
            with _open_packed(file) as packed:
                shutil.copyfileobj(packed, content, 1 << 20)
        except UNREADABLE_TEXT as error:
            raise InputError(_not_text(file, error)) from error
        content.seek(0)
        yield cast(BinaryIO, content)


@contextmanager
def _open_packed(file: Path) -> Iterator[io.BufferedReader]:
    """The bytes of a compressed file, unpacked; InputError where they are more than a file of its
    size may hold."""
    with gzip.open(file) as unpacked:
        yield io.BufferedReader(_Budgeted(file, unpacked), 1 << 16)


class _Budgeted(io.RawIOBase):
    """A stream that ends in an InputError when more is read from it than its file may hold."""

    def __init__(self, file: Path, unpacked: gzip.GzipFile) -> None:
        self.file = file
        self.unpacked = unpacked
        self.most = unpacked_budget(file) // TEXT_SHARE
        self.count = 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into the buffer; the number of bytes."""
        count = self.unpacked.readinto(buffer)
        self.count += count
        if self.count > self.most:
            contents = "its text takes more than"
            raise over_budget(self.file, self.most, contents, share=TEXT_SHARE)
        return count


def _is_packed(file: Path) -> bool:
    return file.suffix.lower() == ".gz"


def _not_text(file: Path, error: Exception) -> str:
    beginning = b""
    if file.is_file():
        with open(file, "rb") as handle:
            beginning = handle.read(2)
    if beginning in (b"\xff\xfe", b"\xfe\xff"):
        return f"{file}: not a UTF-8 text file but UTF-16; save it as UTF-8"
    if _is_packed(file) and not isinstance(error, UnicodeDecodeError | csv.Error):
        return f"{file}: not a gzip file, or cut short ({error})"
    return f"{file}: not a UTF-8 text file of comma-separated values ({error})"


def csv_layout(file: Path) -> Layout:
    """The layout of a file with a header line; InputError for one that has none or is no text."""
    check_regular(file, "a text file of comma-separated values")
    with open_text(file) as handle:
        skipped, header = _find_header(file, handle)
        rows = handle.readlines(LETTERS_LOOKED_AT)
        is_whole = not handle.read(1)
    is_log = skipped > 0
    rule_lines = 0
    if is_log and rows and rows[0].lstrip('"').startswith(LOG_RULE):
        rule_lines = 1
        rows = rows[1:]
    separator = _find_separator(header, rows[:5])
    layout = Layout((), 0, len(header.encode()), separator)
    # Names may hold line ends between quotation marks: the header may take several lines.
    with open_text(file) as handle:
        lines = itertools.islice(handle, skipped, None)
        header_lines, names = next(layout.cells(lines))
    try:
        decimal = _find_decimal(layout, rows)
    except csv.Error as error:  # a quotation mark that nothing closes
        raise InputError(_not_text(file, error)) from error
    if decimal == "" and not is_whole and separator != ",":
        # Whole numbers at the beginning do not tell; a comma anywhere in the file may.
        decimal = "," if _has_decimal_comma(file, separator) else "."
    remarks = []
    if separator != ",":
        remarks.append(f"cells are separated by {SEPARATORS[separator]}")
    if decimal == ",":
        remarks.append("numbers have a decimal comma")
    if is_log:
        remarks.append(LOG_REMARK)
    return Layout(
        names=tuple(name.strip() for name in names),
        lines=skipped + header_lines + rule_lines,
        bytes=layout.bytes,
        separator=separator,
        decimal=decimal or ".",
        remarks=tuple(remarks),
    )


def _find_header(file: Path, handle: TextIO) -> tuple[int, str]:
    """The number of lines before the header, and its first line; the handle stands behind it."""
    line = handle.readline(LONGEST_HEADER)
    if len(line) == LONGEST_HEADER:
        raise InputError(f"{file}:1: a line of more than {LONGEST_HEADER >> 20} million letters")
    if not line.strip():
        if handle.read(1 << 16).strip():
            raise InputError(f"{file}:1: empty line before the header; remove it")
        raise InputError(f"{file}: empty file, expected a header and at least one row")
    if not line.lstrip('"').startswith(LOG_BEGINNING):
        return 0, line
    for skipped, candidate in enumerate(itertools.islice(handle, LOG_LINES), start=1):
        if candidate.lstrip('"').startswith(LOG_COLUMN):
            return skipped, candidate
    raise InputError(
        f"{file}: begins as a log of CARMA or DARMA does ({LOG_BEGINNING!r}), but none of the next "
        f"{LOG_LINES} lines begins with {LOG_COLUMN!r}"
    )


def _find_separator(header: str, lines: list[str]) -> str:
    """The separator that cuts the header into columns; where several do, the one that cuts the rows
    alike."""
    # A comma inside of a cell must not win against the separator that all rows agree on.
    candidates = []
    for separator in SEPARATORS:
        columns = _count_cells(header, separator)
        if columns == 1:
            continue
        counts = {_count_cells(line, separator) for line in lines if line.strip()}
        if counts <= {columns} and (counts or separator != SPACES):
            return separator
        # A name of several words is no sign of spaces between cells: all rows must agree.
        if separator != SPACES:
            candidates.append(separator)
    return candidates[0] if candidates else ","


def _count_cells(line: str, separator: str) -> int:
    if separator == SPACES and '"' not in line:
        return len(line.split())
    if '"' not in line:
        return line.count(separator) + 1
    try:
        return len(next(Layout((), 0, 0, separator).cells([line]), (0, []))[1])
    except csv.Error:
        return 0


def _find_decimal(layout: Layout, lines: Sequence[str]) -> str:
    """The sign before the decimals: a comma where cells have one and none has a point; "" where no
    cell tells, since none has decimals, or only such as may be thousands (1,234). Between
    semicolons a comma is before decimals: they are what programs write where it is."""
    text = "".join(lines)
    # Between commas, a cell with a comma stands in quotes.
    sign_of_commas = layout.quote if layout.separator == "," else ","
    if sign_of_commas not in text:
        return "." if "." in text else ""
    cells = itertools.chain.from_iterable(cells for _, cells in layout.cells(lines))
    signs = set()
    is_certain = layout.separator == ";"
    for cell in itertools.islice(cells, CELLS_LOOKED_AT):
        text = cell.strip()
        for sign, number in DECIMALS.items():
            if number.fullmatch(text):
                signs.add(sign)
                is_certain |= sign == "," and not GROUPED.fullmatch(text)
    if "." in signs:
        return "."
    return "," if signs and is_certain else ""


def _has_decimal_comma(file: Path, separator: str) -> bool:
    edge = re.escape(separator.encode()) + rb"\r\n"
    # A comma that may stand between thousands tells nothing, but between semicolons.
    grouped = b"" if separator == ";" else rb"(?![1-9]\d{0,2},\d{3}(?![\deE]))"
    number = rb"[+-]?" + grouped + rb"\d*,\d+(?:[eE][+-]?\d+)?"
    cell = re.compile(rb"(?:^|[" + edge + rb"]) *\"?" + number + rb"\"? *(?=[" + edge + rb"]|$)")
    with open_bytes(file) as handle:
        while lines := handle.readlines(1 << 22):
            block = b"".join(lines)
            # Looking for one letter is fast; the pattern is looked for only where it may be.
            if b"," in block and cell.search(block):
                return True
    return False
