"""Reading one CSV, Parquet or .npy file of numbers, fast when it is fine and exact about what is
wrong when not.

Conventions: a sheet is (rows, columns) float64. Cells are separated by commas, semicolons, tabs or
`|`: the header decides. A missing value (an empty cell, spaces, or a spelling of `EMPTY`) becomes
NaN; whether NaN is allowed is the importer's business. Decimal commas are refused. Every row
counts, so an empty line is an error wherever a row follows; empty lines at the end are none. Lines
count from 1 with the header as line 1; rows of Parquet and .npy count from 1."""

from __future__ import annotations

import csv
import itertools
import mmap
import os
import re
import tokenize
import zipfile
from array import array
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from va_search.errors import InputError, counted, nearest_name
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
PROBLEMS_OF_A_FILE = 8
NAMES_SHOWN = 40
NAMES_COMPARED = 2_000
"""More known names than these are not searched for one that is alike: that takes seconds."""
NUMBER = re.compile(
    r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE
)
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
DATE = re.compile(r"\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}.*|(\d+ days? )?\d\d?:\d\d.*")
TIME_OF_DAY = re.compile(
    r"((?P<date>\d{4}-\d\d-\d\d)[T ]|(?P<days>\d+) days? )?"
    r"(?P<hours>\d+):(?P<minutes>\d\d)(:(?P<seconds>\d\d(\.\d+)?))?"
)
"""How clocks, pandas and ffmpeg write times: 00:01:02.5, 0 days 00:01:02.500000, 2024-05-01
10:01:02.5."""
BLOCK_BYTES = (4 << 20, 64 << 20)
"""Least and most bytes parsed at a time; within them, 64 times the header's, so that a block holds
many rows."""
VALUES_AT_ONCE = 1 << 22
TEXT_ENCODING = "utf-8-sig"


def read_header(file: Path) -> list[str]:
    """Column names of a CSV or Parquet file; InputError for an empty, unreadable or headerless
    file."""
    names = (
        list(_parquet_schema(file).names) if file.suffix == ".parquet" else _csv_head(file).names
    )
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        shown = ", ".join(map(repr, twice[:PROBLEMS_OF_A_FILE])) + and_more(
            len(twice) - PROBLEMS_OF_A_FILE
        )
        raise InputError(f"{file}: column {shown} stands twice in the header; keep one")
    return names


def separator(file: Path) -> str:
    """The character between the cells of a text file, as its header has it; a comma where it has
    one column."""
    return _csv_head(file).separator


def read_numbers(file: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """(rows, len(columns)) of a CSV or Parquet file; InputError for no rows, text in a column, or
    ragged lines.

    Memory is that of the result and a block of rows.
    """
    header = read_header(file)
    known = set(header)
    missing = [name for name in columns if name not in known]
    if missing:
        problems = [
            f"{file}: {unknown_column(name, header)}" for name in missing[:PROBLEMS_OF_A_FILE]
        ]
        raise InputError(*problems, *_and_more_lines(len(missing) - PROBLEMS_OF_A_FILE))
    numbers = (
        _read_parquet(file, columns)
        if file.suffix == ".parquet"
        else _read_csv(file, header, columns)
    )
    if len(numbers) == 0:
        raise InputError(f"{file}: a header and no rows, expected one row per frame")
    if file.suffix != ".parquet" and np.isnan(numbers).all(axis=1).any():
        # The parser takes an empty line for a row of empty cells.
        refused = empty_lines(file)
        if refused:
            raise InputError(*refused)
    return numbers


def read_strings(file: Path, column: str) -> list[str]:
    """Cells of one column as texts without surrounding spaces, in the order of `read_numbers`'
    rows."""
    if file.suffix == ".parquet":
        try:
            table = pyarrow.parquet.read_table(file, columns=[column], use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{file}: not a Parquet file, or cut short ({error})") from error
        return [
            "" if text is None else str(text).strip() for text in table.column(column).to_pylist()
        ]
    header = read_header(file)
    refused = empty_lines(file)
    if refused:
        raise InputError(*refused)
    index = header.index(column)
    texts: list[str] = []
    ragged: list[tuple[int, int]] = []
    for line, cells in _csv_rows(file):
        if len(cells) != len(header):
            ragged.append((line, len(cells)))
            continue
        texts.append(cells[index].strip())
    if ragged:
        raise InputError(_ragged_problem(file, ragged, len(header)))
    return texts


def first_cells(file: Path, columns: Sequence[str]) -> dict[str, str]:
    """The texts of the first row's cells, by column; empty where there is no whole row."""
    if file.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(file) as source:
            batch = next(
                source.iter_batches(batch_size=1, columns=list(columns), use_threads=False), None
            )
        return (
            {} if batch is None else {name: str(batch.column(name)[0].as_py()) for name in columns}
        )
    header = read_header(file)
    cells = next((cells for _, cells in _csv_rows(file)), [])
    row = dict(zip(header, cells, strict=False))
    return {name: row[name].strip() for name in columns if name in row}


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, or stands for a missing one."""
    return _number(cell) is not None


def read_texts(file: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Rows of a small CSV as texts by column name, and the line of each; InputError for ragged or
    empty lines and repeated columns."""
    header = read_header(file)
    rows, lines, problems = [], [], empty_lines(file)
    for line, cells in _csv_rows(file):
        if len(cells) != len(header):
            problems.append(
                f"{file}:{line}: {counted(len(cells), 'cell')}, expected {len(header)} as in the header"
            )
            continue
        rows.append({name: cell.strip() for name, cell in zip(header, cells, strict=True)})
        lines.append(line)
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    return rows, lines


UNREADABLE_ARRAY = (
    ValueError, EOFError, OSError, SyntaxError, TypeError, OverflowError, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip
"""What NumPy raises for files that hold no array: damaged headers, and archives under the name of
an array."""


def read_npy(file: Path) -> NDArray[np.floating]:
    """(rows, dim) of a .npy file of numbers, mapped from the disk; nothing pickled is ever
    loaded."""
    check_regular(file, "a .npy file")
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except UNREADABLE_ARRAY as error:
        raise InputError(f"{file}: not a .npy array of numbers ({error})") from error
    if (
        not isinstance(array, np.ndarray)
        or array.ndim != 2
        or array.dtype.kind not in "fiu"
        or 0 in array.shape
    ):
        found = (
            f"shape {array.shape}, {array.dtype}"
            if isinstance(array, np.ndarray)
            else "several arrays"
        )
        raise InputError(
            f"{file}: {found}; expected numbers of shape (frames, dim), neither of them 0"
        )
    return array


def where(file: Path, row: int) -> str:
    """Words for data row `row` (from 0) of a file: `file:line` for text, `file row n` otherwise.
    May read the file."""
    if file.suffix in (".parquet", ".npy"):
        return f"{file} row {row + 1}"
    if not _has_quotes(file):  # then a row is a line
        return f"{file}:{_csv_head(file).lines + row + 1}"
    for line, _ in itertools.islice(_csv_rows(file), row, row + 1):
        return f"{file}:{line}"
    return str(file)


def seconds_of(text: str) -> float | None:
    """Seconds of a time of day, with the days before it or its date; None for other texts."""
    match = TIME_OF_DAY.fullmatch(text)
    if match is None:
        return None
    days = int(match["days"] or 0)
    if match["date"]:
        try:
            days = date.fromisoformat(match["date"]).toordinal()
        except ValueError:
            return None
    return (
        86_400 * days
        + 3_600 * int(match["hours"])
        + 60 * int(match["minutes"])
        + float(match["seconds"] or 0)
    )


def exact(value: float) -> str:
    """A number in the fewest digits that are still this very number: 1.0000000000000002, but 0.5
    and 1e+06."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def not_finite(file: Path, values: NDArray[np.floating], columns: Sequence[str]) -> list[str]:
    """One problem per column of features that holds NaN, an empty cell or an infinity."""
    finite = np.isfinite(values)
    problems = []
    wrong = np.flatnonzero(~finite.all(axis=0)).tolist()
    for index in wrong[:PROBLEMS_OF_A_FILE]:
        bad = ~finite[:, index]
        row = int(np.argmax(bad))
        found = "infinite" if np.isinf(values[row, index]) else "empty or NaN"
        name = repr(columns[index]) if columns else str(index)
        count = and_more(int(bad.sum()) - 1)
        problems.append(
            f"{where(file, row)}: column {name} is {found}{count}; features must be finite numbers"
        )
    return [*problems, *_and_more_lines(len(wrong) - PROBLEMS_OF_A_FILE)]


def empty_lines(file: Path) -> list[str]:
    """A problem when a text file has an empty line (or one of spaces) before a row: rows behind it
    would shift."""
    if file.suffix == ".parquet":
        return []
    lines = list(itertools.islice(_empty_lines(file), 1_000_000))
    if not lines:
        return []
    more = and_more(len(lines) - 1)
    return [
        f"{file}:{lines[0]}: empty line{more}; every row is a frame, so those behind it would shift: remove it"
    ]


def and_more(count: int) -> str:
    """ " (and n more)", or nothing."""
    return f" (and {count} more)" if count > 0 else ""


def listed(names: Sequence[str], limit: int, *, quoted: bool = True) -> str:
    """At most `limit` names, and how many more there are."""
    shown = ", ".join(repr(name) if quoted else name for name in names[:limit])
    return shown + (f", … and {len(names) - limit} more" if len(names) > limit else "")


def not_used(file: Path, columns: Sequence[str]) -> list[str]:
    """A remark on the columns of a file or folder that nobody read, or none."""
    if not columns:
        return []
    names = listed([name or "without a name" for name in columns], NAMES_SHOWN, quoted=False)
    return [
        f"{file}: {f'columns {names} are' if len(columns) > 1 else f'column {names} is'} not used"
    ]


def near_name(name: str, known: Collection[str]) -> str:
    """ " (did you mean …?)" where a known name is much alike, or nothing."""
    near = nearest_name(name, known, most=NAMES_COMPARED)
    return "" if near is None else f" (did you mean {near!r}?)"


def unknown_column(name: str, known: Collection[str]) -> str:
    """Message for a column that is not known: the nearest name and the first of the known ones."""
    near = nearest_name(name, known, most=NAMES_COMPARED)
    hint = "" if near is None else f"; did you mean {near!r}?"
    return (
        f"unknown column {name!r}{hint} (known: {listed(sorted(known), NAMES_SHOWN, quoted=False)})"
    )


def first_few(problems: Sequence[str], limit: int) -> list[str]:
    """At most `limit` problems, and a line that says how many more there are."""
    return [*problems[:limit], *_and_more_lines(len(problems) - limit)]


def _and_more_lines(count: int) -> list[str]:
    if count <= 0:
        return []
    return [f"… and {counted(count, 'more problem')}"]


@dataclass(frozen=True)
class _Head:
    """The header of a text file: column names, how many lines and bytes it takes, and the separator
    of cells."""

    names: list[str]
    lines: int
    bytes: int
    separator: str


def _csv_head(file: Path) -> _Head:
    check_regular(file, "a text file of comma-separated values")
    try:
        with open(file, encoding=TEXT_ENCODING, newline="") as handle:
            first = handle.readline()
            if not first.strip():
                raise InputError(_without_header(file, handle.read(1 << 16)))
            sign = _separator(first, list(itertools.islice(handle, 5)))
            handle.seek(0)
            reader = csv.reader(handle, delimiter=sign)
            names = [name.strip() for name in next(reader)]
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (UnicodeDecodeError, IsADirectoryError, csv.Error) as error:
        raise InputError(_no_text(file, error)) from error
    return _Head(names, reader.line_num, len(first.encode()), sign)


def _without_header(file: Path, rest: str) -> str:
    if not rest.strip():
        return f"{file}: empty file, expected a header and at least one row"
    return f"{file}:1: empty line before the header; remove it"


def _separator(header: str, lines: list[str]) -> str:
    """The separator that cuts the header into columns; where several do, the one that cuts the rows
    alike."""
    counts = {sign: _cells(header, sign) for sign in SEPARATORS}
    able = [sign for sign, count in counts.items() if count > 1]
    alike = [
        sign
        for sign in able
        if all(_cells(line, sign) == counts[sign] for line in lines if line.strip())
    ]
    return (alike or able or [","])[0]


def _cells(line: str, sign: str) -> int:
    if '"' not in line:
        return line.count(sign) + 1
    return len(next(csv.reader([line], delimiter=sign), []))


def _no_text(file: Path, error: Exception) -> str:
    head = b""
    if file.is_file():
        with open(file, "rb") as handle:
            head = handle.read(2)
    if head in (b"\xff\xfe", b"\xfe\xff"):
        return f"{file}: not a UTF-8 text file but UTF-16; save it as UTF-8"
    return f"{file}: not a UTF-8 text file of comma-separated values ({error})"


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row behind the header; empty lines are left to `empty_lines`."""
    head = _csv_head(file)
    sole_space = head.separator != "\t"
    try:
        with open(file, encoding=TEXT_ENCODING, newline="") as handle:
            reader = csv.reader(handle, delimiter=head.separator)
            next(reader)
            for cells in reader:
                if not cells or (
                    sole_space and len(cells) == 1 and len(head.names) > 1 and not cells[0].strip()
                ):
                    continue
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(_no_text(file, error)) from error


def _has_quotes(file: Path) -> bool:
    """Whether the file has a quotation mark, between which a cell may hold line ends."""
    with open(file, "rb") as handle:
        return any(b'"' in block for block in iter(lambda: handle.read(1 << 20), b""))


def _content_end(handle: BinaryIO, *, one_column: bool) -> int:
    """Where the last row ends: empty lines behind it are none. With one column only its own line
    end is left out."""
    size = handle.seek(0, os.SEEK_END)
    handle.seek(max(0, size - (1 << 16)))
    tail = handle.read()
    if one_column:
        return size - (len(tail) - len(tail.removesuffix(b"\n").removesuffix(b"\r")))
    kept = re.sub(rb"([\r\n] *)+\Z", b"", tail)
    return size - (len(tail) - len(kept))


def _empty_lines(file: Path) -> Iterator[int]:
    """Numbers of the empty lines with a row behind them."""
    head = _csv_head(file)
    if _has_quotes(file):
        yield from _empty_lines_between_quotes(file, head)
        return
    spaces = rb" *" if head.separator == "\t" else rb"[ \t]*"
    empty = re.compile(rb"(?:\n|\r(?!\n))" + spaces + rb"(?=\r\n|\n|\r)")
    with (
        open(file, "rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        end = _content_end(handle, one_column=len(head.names) == 1)
        line, seen = 1, 0
        for match in empty.finditer(content, 0, min(end + 1, len(content))):
            if match.end() >= end:
                return
            before = content[seen : match.start()]
            line += before.count(b"\n") or before.count(b"\r")
            seen = match.start()
            yield line + 1


def _empty_lines_between_quotes(file: Path, head: _Head) -> Iterator[int]:
    waiting: list[int] = []  # empty lines count only when a row follows
    try:
        with open(file, encoding=TEXT_ENCODING, newline="") as handle:
            reader = csv.reader(handle, delimiter=head.separator)
            for cells in reader:
                if cells and (len(cells) > 1 or cells[0].strip()):
                    yield from waiting
                    waiting = []
                else:
                    waiting.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(_no_text(file, error)) from error


@dataclass
class _Upto:
    """The first `left` bytes of an open file, as a file that Arrow reads."""

    handle: BinaryIO
    left: int
    closed: bool = field(default=False)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes more; empty at the end."""
        wanted = self.left if size < 0 else min(size, self.left)
        block = self.handle.read(wanted)
        self.left -= len(block)
        return block

    def close(self) -> None:
        """The caller closes the file itself."""
        self.closed = True


def _read_csv(file: Path, header: list[str], columns: Sequence[str]) -> NDArray[np.float64]:
    head = _csv_head(file)
    most = file.stat().st_size
    block = min(max(BLOCK_BYTES[0], 64 * head.bytes), BLOCK_BYTES[1])
    while True:
        try:
            return _parse_csv(file, head, columns, block)
        except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
            if "straddl" in str(error) and block < most:  # a row is longer than a block
                block *= 4
                continue
        # The slow second look: exact about what is wrong, and able to read numbers that the parser
        # doesn't know.
        return _read_csv_slowly(file, header, columns)


def _parse_csv(file: Path, head: _Head, columns: Sequence[str], block: int) -> NDArray[np.float64]:
    spellings: tuple[str, ...] = FREQUENT
    if len(columns) <= FEW_COLUMNS:
        spaces = [" " * count for count in range(1, 9)]
        spellings = (*EMPTY, *spaces, *(" " + spelling for spelling in EMPTY if spelling))
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.float64()), include_columns=list(columns),
        null_values=list(spellings),
    )  # fmt: skip
    read = pyarrow.csv.ReadOptions(
        use_threads=False, column_names=head.names, skip_rows=head.lines, block_size=block
    )
    parse = pyarrow.csv.ParseOptions(delimiter=head.separator, ignore_empty_lines=False)
    with open(file, "rb") as handle:
        end = _content_end(handle, one_column=len(head.names) == 1)
        rows = _line_ends(handle, end)  # the header's own line end makes up for the last row's
        numbers = _room(file, rows, len(columns))
        if rows == 0:
            return numbers
        handle.seek(0)
        source = pa.PythonFile(_Upto(handle, end), mode="r")
        filled = 0
        for batch in pyarrow.csv.open_csv(source, read, parse, convert):
            filled = _add_rows(numbers, filled, [_values(column) for column in batch.columns])
    return numbers[:filled]


def _add_rows(numbers: NDArray[np.float64], filled: int, columns: list[NDArray[np.float64]]) -> int:
    """Put a block of columns behind the `filled` rows of `numbers`; the rows that are filled
    then."""
    stop = filled + len(columns[0])
    if stop > len(numbers):
        raise pa.ArrowInvalid(
            "more rows than lines: line ends of several kinds"
        )  # left to the slow second look
    numbers[filled:stop] = np.stack(
        columns
    ).T  # one pass: a column at a time would touch every row for each
    return stop


def _values(column: pa.Array) -> NDArray[np.float64]:
    """The values of a float64 Arrow array, NaN where it has none."""
    values = np.frombuffer(column.buffers()[1], np.float64, len(column), 8 * column.offset)
    if column.null_count == 0:
        return values
    missing = np.unpackbits(np.frombuffer(column.buffers()[0], np.uint8), bitorder="little") == 0
    return np.where(missing[column.offset : column.offset + len(column)], np.nan, values)


def _line_ends(handle: BinaryIO, end: int) -> int:
    """At least as many as lines end before byte `end`, with \\n, \\r\\n or \\r alone."""
    handle.seek(0)
    content = _Upto(handle, end)
    count = 0
    while block := content.read(1 << 22):
        count += block.count(b"\n") + block.count(b"\r") - block.count(b"\r\n")
    return count


def _room(file: Path, rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, columns), with anything in it; InputError where the machine has no such memory."""
    size = rows * columns * 8
    free = _free_memory()
    if free is not None and size > free:
        raise InputError(
            f"{file}: {rows:,} rows of {columns:,} columns take {size / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of "
            "memory are free; cut the recording, or import on a larger machine"
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


def _read_csv_slowly(file: Path, header: list[str], columns: Sequence[str]) -> NDArray[np.float64]:
    """As `_parse_csv`, cell by cell; InputError naming empty and ragged lines and each column with
    text."""
    position = {name: index for index, name in enumerate(header)}
    wanted = [position[name] for name in columns]
    problems = empty_lines(file)
    ragged: list[tuple[int, int]] = []
    texts: dict[int, tuple[int, str]] = {}  # the first of each column
    text_counts: Counter[int] = Counter()
    numbers = array("d")
    for line, cells in _csv_rows(file):
        if len(cells) != len(header):
            ragged.append((line, len(cells)))
            continue
        for index in wanted:
            value = _number(cells[index])
            if value is None:
                texts.setdefault(index, (line, cells[index]))
                text_counts[index] += 1
            numbers.append(np.nan if value is None else value)
    if ragged:
        problems.append(_ragged_problem(file, ragged, len(header)))
    for index, (line, cell) in sorted(texts.items()):
        more = and_more(text_counts[index] - 1)
        problems.append(
            f"{file}:{line}: column {header[index]!r}: {cell!r} is not a number{more}{_hint(cell)}"
        )
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    return (
        np.frombuffer(numbers, np.float64).reshape(-1, len(columns))
        if numbers
        else np.empty((0, len(columns)))
    )


def _ragged_problem(file: Path, ragged: list[tuple[int, int]], expected: int) -> str:
    line, count = ragged[0]
    hint = ""
    if count == 2 * expected and separator(file) == ",":
        hint = "; numbers with a decimal comma? Write them with a point"
    more = and_more(len(ragged) - 1)
    return (
        f"{file}:{line}: {counted(count, 'cell')}, expected {expected} as in the header{more}{hint}"
    )


def _number(cell: str) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is text."""
    text = cell.strip()
    if text in EMPTY:
        return float("nan")
    return float(text) if NUMBER.fullmatch(text) else None


def _hint(cell: str) -> str:
    text = cell.strip()
    if DECIMAL_COMMA.fullmatch(text):
        return "; a decimal comma? Write numbers with a point"
    if DATE.fullmatch(text):
        return "; a date or a time of day? Write seconds from the recording's start"
    return ""


def _parquet_schema(file: Path) -> pa.Schema:
    check_regular(file, "a Parquet file")
    try:
        return pyarrow.parquet.read_schema(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a Parquet file, or cut short ({error})") from error


def _read_parquet(file: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    schema = _parquet_schema(file)
    problems = []
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_temporal(kind):
            problems.append(
                f"{file}: column {name!r} holds {kind}, expected numbers; write seconds from the recording's start"
            )
        elif not (
            pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
        ):
            problems.append(f"{file}: column {name!r} holds {kind}, expected numbers")
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    try:
        with pyarrow.parquet.ParquetFile(file) as source:
            numbers = _room(file, source.metadata.num_rows, len(columns))
            rows = max(1, VALUES_AT_ONCE // len(columns))
            filled = 0
            for batch in source.iter_batches(
                batch_size=rows, columns=list(columns), use_threads=False
            ):
                arrays = [batch.column(name).cast(pa.float64(), safe=False) for name in columns]
                filled = _add_rows(numbers, filled, [_values(column) for column in arrays])
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a Parquet file, or cut short ({error})") from error
    return numbers[:filled]
