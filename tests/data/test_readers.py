"""Every format on the menu of readers keeps the same promises: one table, written in each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from va_search.data import dataset
from va_search.data.readers import (
    ALL_SUFFIXES,
    READERS,
    TABLE_SUFFIXES,
    FileReader,
    empty_lines,
    first_cells,
    not_finite,
    read_features,
    read_header,
    read_numbers,
    read_strings,
    where,
    wrong_rows,
)
from va_search.errors import InputError

NUMBERS = np.array([[1.0, 2.5], [3.0, -4.0], [5.0, 6.0]])


def write_csv(file: Path) -> None:
    np.savetxt(file, NUMBERS, fmt="%g", delimiter=",", header="a,b", comments="")


def write_parquet(file: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"a": NUMBERS[:, 0], "b": NUMBERS[:, 1]}), file)


WRITERS: dict[str, Callable[[Path], None]] = {
    ".csv": write_csv,
    ".parquet": write_parquet,
    ".npy": lambda file: np.save(file, NUMBERS),
}


@pytest.fixture(params=READERS, ids=lambda reader: reader.suffix)
def reader(request: pytest.FixtureRequest) -> FileReader:
    chosen: FileReader = request.param
    return chosen


@pytest.fixture
def file(reader: FileReader, tmp_path: Path) -> Path:
    file = tmp_path / f"v1{reader.suffix}"
    WRITERS[reader.suffix](file)
    return file


def test_a_table_is_the_same_in_every_format(reader: FileReader, file: Path) -> None:
    a, b = header = read_header(file)
    assert header == (["a", "b"] if reader.has_names else ["0", "1"])
    np.testing.assert_array_equal(read_numbers(file, header), NUMBERS)
    np.testing.assert_array_equal(read_features(file, [b]), NUMBERS[:, 1:])
    assert [float(text) for text in read_strings(file, b)] == NUMBERS[:, 1].tolist()
    assert {name: float(cell) for name, cell in first_cells(file, header).items()} == {a: 1, b: 2.5}
    assert empty_lines(file) == []


def test_positions_are_of_the_file_and_its_rows(reader: FileReader, file: Path) -> None:
    rows = [where(file, row).removeprefix(str(file)) for row in (0, 2)]
    assert rows == ([":2", ":4"] if reader.suffix == ".csv" else [" row 1", " row 3"])
    wrong = wrong_rows(file, NUMBERS[:, 0] > 2)
    assert wrong is not None
    assert (wrong.row, wrong.position, wrong.more) == (1, where(file, 1), " (and 1 more)")
    assert wrong_rows(file, NUMBERS[:, 0] > 9) is None


def test_what_is_no_number_is_told_with_its_column(reader: FileReader, file: Path) -> None:
    broken = np.where(NUMBERS == -4.0, np.inf, NUMBERS)
    (problem,) = not_finite(file, broken, read_header(file))
    column = "'b'" if reader.has_names else "1"
    assert problem.startswith(f"{where(file, 1)}: column {column} is infinite; features must")


def test_a_missing_a_damaged_and_a_foreign_file_are_input_errors(
    reader: FileReader, file: Path
) -> None:
    with pytest.raises(InputError, match="unknown column 'c'"):
        read_numbers(file, ["c"])
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a"):
        read_header(file)
    file.unlink()
    with pytest.raises(InputError, match="no such file"):
        read_header(file)
    file.mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        read_header(file)


def test_importers_take_and_name_the_formats_of_the_menu() -> None:
    assert set(ALL_SUFFIXES) == set(WRITERS)
    assert set(TABLE_SUFFIXES) == set(ALL_SUFFIXES) - {".npy"}
    assert dataset.TABLE_SUFFIXES == TABLE_SUFFIXES
