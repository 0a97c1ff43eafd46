"""Every format on the menu of readers keeps the same promises: one table, written in each."""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from formats import WRITERS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from va_search.data import listing
from va_search.data.readers import (
    ALL_SUFFIXES,
    READERS,
    TABLE_SUFFIXES,
    empty_lines,
    first_cells,
    members_of,
    not_finite,
    read_features,
    read_header,
    read_numbers,
    read_strings,
    reader_of,
    rows_by_text,
    suffix_of,
    where,
    wrong_rows,
)
from va_search.errors import InputError

TABLE = pd.DataFrame({"a": [1.0, 3.5, 5.0], "b": [2.5, -4.0, 6.0]})
BOOKKEEPING = {"frame", "time_ms"}


@pytest.fixture(params=WRITERS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    name: str = request.param
    if suffix_of(name) in (".h5", ".hdf5"):
        pytest.importorskip("h5py", reason="needs h5py: pip install h5py")
    WRITERS[name](TABLE, tmp_path / name)
    return tmp_path / name


def value_columns(file: Path) -> list[str]:
    return [name for name in read_header(file) if name not in BOOKKEEPING]


def test_a_table_is_the_same_in_every_format(file: Path) -> None:
    a, b = header = value_columns(file)
    assert header in (["a", "b"], ["0", "1"])
    np.testing.assert_array_equal(read_numbers(file, header), TABLE)
    np.testing.assert_array_equal(read_features(file, [b]), TABLE[["b"]])
    np.testing.assert_array_equal(read_numbers(file, [b, a]), TABLE[["b", "a"]])
    assert [float(cell) for cell in read_strings(file, b)] == TABLE["b"].tolist()
    assert {name: float(cell) for name, cell in first_cells(file, header).items()} == {a: 1, b: 2.5}
    assert empty_lines(file) == []


def test_positions_are_of_the_file_and_its_rows(file: Path) -> None:
    rows = [where(file, row).removeprefix(str(file)) for row in (0, 2)]
    suffix = suffix_of(file.name)
    if suffix == ".eaf":
        assert rows == [" at 0 ms", " at 20 ms"]
    elif suffix.startswith(".arff"):
        assert rows == [":8", ":10"]
    else:
        is_text = suffix.startswith((".csv", ".tsv"))
        assert rows == ([":2", ":4"] if is_text else [" row 1", " row 3"])
    wrong = wrong_rows(file, TABLE["a"].to_numpy() > 2)
    assert wrong is not None
    assert (wrong.row, wrong.position, wrong.more) == (1, where(file, 1), " (and 1 more)")
    assert wrong_rows(file, TABLE["a"].to_numpy() > 9) is None


def test_what_is_no_number_is_told_with_its_column(file: Path) -> None:
    broken = np.where(TABLE == -4.0, np.inf, TABLE)
    header = value_columns(file)
    column = repr(header[1]) if reader_of(file).has_names else header[1]
    (problem,) = not_finite(file, broken, header)
    assert problem.startswith(f"{where(file, 1)}: column {column} is infinite; features must")
    assert not_finite(file, broken, header, missing_allowed=True)
    lacking = np.where(TABLE == -4.0, np.nan, TABLE)
    assert not_finite(file, lacking, header)
    assert not_finite(file, lacking, header, missing_allowed=True) == []


def test_a_missing_a_damaged_and_a_foreign_file_are_input_errors(file: Path) -> None:
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


def test_missing_values_are_nan_in_every_format(file: Path) -> None:
    table = TABLE.copy()
    table.iloc[1, 1] = np.nan
    WRITERS[file.name](table, file)
    np.testing.assert_array_equal(read_numbers(file, value_columns(file)), table)


NUMBERS = st.floats(-1e6, 1e6, width=32) | st.integers(-1000, 1000).map(float) | st.just(np.nan)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(2, 5).flatmap(
        lambda width: st.lists(
            st.lists(NUMBERS, min_size=width, max_size=width), min_size=2, max_size=7
        )
    )
)
def test_random_tables_read_alike_in_all_formats(tmp_path: Path, rows: list[list[float]]) -> None:
    # A row of missing values alone is an empty line in some formats, and refused there.
    values = np.array(rows)
    values[np.isnan(values).all(axis=1), 0] = 0.5
    # Else nothing would tell a decimal comma or the number of columns in bytes.
    values[0] = 1.25
    table = pd.DataFrame(values, columns=[f"c{index}" for index in range(values.shape[1])])
    for name, write in WRITERS.items():
        file = tmp_path / name
        if suffix_of(name) in (".h5", ".hdf5") and find_spec("h5py") is None:
            continue
        write(table, file)
        numbers = read_numbers(file, value_columns(file))
        np.testing.assert_array_equal(numbers, values, err_msg=name)


def corrupted(content: bytes, seed: int) -> bytes:
    """The content cut short, with other bytes in it, or with a piece replaced by a shorter one."""
    random = np.random.default_rng(seed)
    damaged = bytearray(content)
    if seed % 3 == 0:
        return bytes(damaged[: random.integers(len(content))])
    if seed % 3 == 1:
        for index in random.integers(len(content), size=4):
            damaged[index] = random.integers(256)
        return bytes(damaged)
    start, stop = np.sort(random.integers(len(content), size=2))
    damaged[start:stop] = random.bytes(random.integers(0, 9))
    return bytes(damaged)


def test_corrupted_files_are_read_or_refused(file: Path) -> None:
    content = file.read_bytes()
    refused = 0
    for seed in range(30):
        file.write_bytes(corrupted(content, seed))
        try:
            header = read_header(file)
            read_numbers(file, header)
            read_strings(file, header[0])
            where(file, 1)
            members_of(file)
            reader_of(file).remarks(file)
        except InputError as error:
            assert str(file) in str(error)
            refused += 1
    assert refused >= 5


def test_importers_take_and_name_the_formats_of_the_menu() -> None:
    assert {suffix_of(name) for name in WRITERS} >= {reader.suffixes[0] for reader in READERS}
    assert set(TABLE_SUFFIXES) == set(ALL_SUFFIXES) - {".npy"}
    assert listing.TABLE_SUFFIXES == TABLE_SUFFIXES
    assert suffix_of("v1.x.CSV.GZ") == ".csv.gz"


@pytest.mark.parametrize("name", ["v1.pkl", "v1.pickle", "v1.joblib", "v1.PKL"])
def test_pickles_are_refused_with_the_lines_that_convert_them(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    pd.to_pickle(TABLE, file)
    with pytest.raises(InputError, match=r"import \w+, numpy; numpy.save\('v1.npy', numpy.asarray"):
        read_header(file)


def test_rows_of_one_big_file_are_found_by_the_names_of_recordings() -> None:
    rows = rows_by_text(["b", "a", "b", "-c d", "a"])
    assert {name: indexes.tolist() for name, indexes in rows.items()} == {
        "b": [0, 2],
        "a": [1, 4],
        "-c d": [3],
    }
    assert list(rows) == ["b", "a", "-c d"]


def test_a_compressed_file_that_is_cut_short_is_named(tmp_path: Path) -> None:
    file = tmp_path / "v1.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 9_999)[:-20])
    with pytest.raises(InputError, match=r"v1\.csv\.gz: not a gzip file, or cut short"):
        read_numbers(file, ["a"])
