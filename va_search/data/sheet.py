"""Reading one CSV, Parquet or .npy file of numbers, fast when it is fine and exact about what is wrong when not.

Conventions: a sheet is (rows, columns) float64. An empty cell, NaN or NA becomes NaN; whether NaN is allowed is the
importer's business. Lines count from 1 with the header as line 1; rows of Parquet and .npy count from 1.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from va_search.errors import InputError, unknown_name

EMPTY = ("", "NaN", "nan", "NA", "null")
PROBLEMS_OF_A_FILE = 8


def read_header(file: Path) -> list[str]:
    """Column names of a CSV or Parquet file; InputError for an empty, unreadable or headerless file."""
    if file.suffix == ".parquet":
        names = list(_parquet_schema(file).names)
    else:
        first = next(_csv_rows(file), None)
        if first is None:
            raise InputError(f"{file}: empty file, expected a header and at least one row")
        names = [name.strip() for name in first[1]]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file}: column {', '.join(map(repr, twice))} stands twice in the header; keep one")
    return names


def read_numbers(file: Path, columns: Sequence[str]) -> NDArray[np.float64]:
    """(rows, len(columns)) of a CSV or Parquet file; InputError for no rows, text in a column, or ragged lines."""
    header = read_header(file)
    missing = [f"{file}: " + unknown_name("column", name, header) for name in columns if name not in header]
    if missing:
        raise InputError(*missing)
    table = _read_parquet(file, columns) if file.suffix == ".parquet" else _read_csv(file, header, columns)
    if table.num_rows == 0:
        raise InputError(f"{file}: a header and no rows, expected one row per frame")
    numbers = np.empty((table.num_rows, len(columns)))
    for index, name in enumerate(columns):
        numbers[:, index] = table.column(name).to_numpy()
    return numbers


def read_texts(file: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Rows of a small CSV as texts by column name, and the line of each; InputError for ragged or repeated columns."""
    header = read_header(file)
    rows, lines, problems = [], [], []
    for line, cells in list(_csv_rows(file))[1:]:
        if len(cells) != len(header):
            problems.append(f"{file}:{line}: {len(cells)} cells, expected {len(header)} as in the header")
            continue
        rows.append({name: cell.strip() for name, cell in zip(header, cells, strict=True)})
        lines.append(line)
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    return rows, lines


def read_npy(file: Path) -> NDArray[np.floating]:
    """(rows, dim) of a .npy file of numbers, mapped from the disk; nothing pickled is ever loaded."""
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{file}: not a .npy array of numbers ({error})") from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype.kind not in "fiu" or 0 in array.shape:
        found = f"shape {array.shape}, {array.dtype}" if isinstance(array, np.ndarray) else "several arrays"
        raise InputError(f"{file}: {found}; expected numbers of shape (frames, dim), neither of them 0")
    return array


def where(file: Path, row: int) -> str:
    """Words for data row `row` (from 0) of a file: `file:line` for text, `file row n` otherwise. Reads the file."""
    if file.suffix in (".parquet", ".npy"):
        return f"{file} row {row + 1}"
    for index, (line, _) in enumerate(_csv_rows(file)):
        if index == row + 1:
            return f"{file}:{line}"
    return str(file)


def not_finite(file: Path, values: NDArray[np.floating], columns: Sequence[str]) -> list[str]:
    """One problem per column of features that holds NaN, an empty cell or an infinity."""
    bad = ~np.isfinite(values)
    problems = []
    for index in np.flatnonzero(bad.any(axis=0)).tolist():
        row = int(np.argmax(bad[:, index]))
        found = "infinite" if np.isinf(values[row, index]) else "empty or NaN"
        name = repr(columns[index]) if columns else str(index)
        count = and_more(int(bad[:, index].sum()) - 1)
        problems.append(f"{where(file, row)}: column {name} is {found}{count}; features must be finite numbers")
        if len(problems) > PROBLEMS_OF_A_FILE:
            break
    return first_few(problems, PROBLEMS_OF_A_FILE)


def empty_lines(file: Path) -> list[str]:
    """A problem when a text file has an empty line with a row behind it: readers pass over it, and rows would shift."""
    text = file.read_bytes().rstrip()
    places = [at for at in (text.find(b"\n\n"), text.find(b"\n\r\n")) if at >= 0]
    if not places:
        return []
    line = text.count(b"\n", 0, min(places)) + 2
    return [f"{file}:{line}: empty line between rows; every row is a frame, so those behind it would shift"]


def and_more(count: int) -> str:
    """ " (and n more)", or nothing."""
    return f" (and {count} more)" if count > 0 else ""


def first_few(problems: Sequence[str], limit: int) -> list[str]:
    """At most `limit` problems, and a line that says how many more there are."""
    if len(problems) <= limit:
        return list(problems)
    return [*problems[:limit], f"… and {len(problems) - limit} more problems"]


def _csv_rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each line that is not empty, the header among them."""
    try:
        with open(file, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (UnicodeDecodeError, IsADirectoryError, csv.Error) as error:
        raise InputError(f"{file}: not a UTF-8 text file of comma-separated values ({error})") from error


def _read_csv(file: Path, header: list[str], columns: Sequence[str]) -> pa.Table:
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(columns, pa.float64()), include_columns=list(columns), null_values=list(EMPTY)
    )
    read = pyarrow.csv.ReadOptions(use_threads=False, column_names=header, skip_rows=1)
    try:
        return pyarrow.csv.read_csv(file, read_options=read, convert_options=convert)
    except pa.ArrowInvalid as error:
        found = first_few(list(_csv_problems(file, header, columns)), PROBLEMS_OF_A_FILE)
        raise InputError(*(found or [f"{file}: {error}"])) from error


def _csv_problems(file: Path, header: list[str], columns: Iterable[str]) -> Iterator[str]:
    """The slow second look at a file that did not parse: every column with text, and lines cut short."""
    wanted = {header.index(name): name for name in columns}
    texts: dict[int, list[tuple[int, str]]] = {}
    ragged: list[tuple[int, int]] = []
    for line, cells in list(_csv_rows(file))[1:]:
        if len(cells) != len(header):
            ragged.append((line, len(cells)))
            continue
        for index in wanted:
            if not _is_number(cells[index]):
                texts.setdefault(index, []).append((line, cells[index]))
    if ragged:
        line, count = ragged[0]
        yield f"{file}:{line}: {count} cells, expected {len(header)} as in the header{and_more(len(ragged) - 1)}"
    for index, found in sorted(texts.items()):
        line, cell = found[0]
        yield f"{file}:{line}: column {wanted[index]!r}: {cell!r} is not a number{and_more(len(found) - 1)}"


def _is_number(cell: str) -> bool:
    if cell in EMPTY:
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _parquet_schema(file: Path) -> pa.Schema:
    try:
        return pyarrow.parquet.read_schema(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a Parquet file, or cut short ({error})") from error


def _read_parquet(file: Path, columns: Sequence[str]) -> pa.Table:
    schema = _parquet_schema(file)
    problems = []
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
            problems.append(f"{file}: column {name!r} holds {kind}, expected numbers")
    if problems:
        raise InputError(*first_few(problems, PROBLEMS_OF_A_FILE))
    try:
        table = pyarrow.parquet.read_table(file, columns=list(columns), use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{file}: not a Parquet file, or cut short ({error})") from error
    return table.cast(pa.schema([(name, pa.float64()) for name in table.column_names]), safe=False)
