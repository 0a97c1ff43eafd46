"""Text files as people and programs write them: separators, decimals, logs, ARFF."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io.arff

from va_search.data.column_names import roles_of, select_columns
from va_search.data.readers import (
    first_cells,
    read_header,
    read_numbers,
    read_strings,
    reader_of,
    where,
)
from va_search.errors import InputError


def written(tmp_path: Path, text: str, name: str = "v1.csv") -> Path:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return file


def remarks(file: Path) -> tuple[str, ...]:
    return reader_of(file).remarks(file)


@pytest.mark.parametrize(
    ("text", "values", "remark"),
    [
        ("a;b\n1,234;5,678\n", [1.234, 5.678], "numbers have a decimal comma"),
        ("a\tb\n1,5\t-,25\n", [1.5, -0.25], "numbers have a decimal comma"),
        ('a,b\n"1,5","2"\n', [1.5, 2], "numbers have a decimal comma"),
        ("a|b\n1.5|2\n", [1.5, 2], "cells are separated by '|'"),
        ("  a    b\n 1.5   2e3  \n", [1.5, 2000], "cells are separated by spaces"),
        ("a b\r\n1,5  2\r\n", [1.5, 2], "numbers have a decimal comma"),
        ("a;b\n1,5e-3;NA\n", [0.0015, np.nan], "numbers have a decimal comma"),
    ],
)
def test_separators_and_decimals_are_found_out_and_told(
    tmp_path: Path, text: str, values: list[float], remark: str
) -> None:
    file = written(tmp_path, text)
    np.testing.assert_array_equal(read_numbers(file, ["a", "b"]), [values])
    assert remark in remarks(file)


def test_decimal_commas_behind_many_whole_numbers_are_found(tmp_path: Path) -> None:
    file = written(tmp_path, "a;b\n" + "1;2\n" * 999 + "0,5;2\n")
    assert read_numbers(file, ["a"])[-1, 0] == 0.5
    assert "numbers have a decimal comma" in remarks(file)
    whole = written(tmp_path, "a;b\n" + "1;2\n" * 999, "v2.csv")
    assert remarks(whole) == ("cells are separated by semicolons",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a\n1,234\n",
            r"v1\.csv:2: 2 cells, expected 1 as in the header; numbers with a decimal comma\?",
        ),
        (
            "a;b\n1,5;2.5\n",
            r"v1\.csv:2: column 'a': '1,5' is not a number; a decimal comma\? Write all",
        ),
        ("a;b\n1.234,5;2,5\n", r"v1\.csv:2: column 'a': '1\.234,5' is not a number"),
        (
            "a b\n1 2 3\n4 5 6\n",
            r"v1\.csv:2: 3 cells, expected 1 as in the header \(and 1 more\)|unknown column",
        ),
        ("a;b\n1;2024-05-01\n", r"v1\.csv:2: column 'b': '2024-05-01' is not a number; a date"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_numbers(written(tmp_path, text), ["a", "b"] if ";" in text else ["a"])


def test_texts_and_first_cells_have_the_numbers_decimal_point(tmp_path: Path) -> None:
    file = written(tmp_path, "t;name\n0,04;a,b\n0,08;x\n")
    assert read_strings(file, "t") == ["0.04", "0.08"]
    assert read_strings(file, "name") == ["a,b", "x"]
    assert first_cells(file, ["t"]) == {"t": "0.04"}


def test_a_name_of_several_words_is_one_column(tmp_path: Path) -> None:
    file = written(tmp_path, "mean arousal\n0.5\n0.25\n")
    assert read_header(file) == ["mean arousal"]
    np.testing.assert_array_equal(read_numbers(file, ["mean arousal"]), [[0.5], [0.25]])


def test_large_aligned_files_are_read_block_by_block(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(60_000, 4))
    file = tmp_path / "v1.csv"
    np.savetxt(file, values, fmt="%22.16e", delimiter="   ", header="  a   b  c d", comments="")
    np.testing.assert_array_equal(read_numbers(file, list("abcd")), values)


OPENSMILE = """name;frameTime;F0semitoneFrom27.5Hz_sma3nz;mfcc1_sma3[0]
'unknown';0.000000;0.000000e+00;1.5
'unknown';0.010000;2.100000e+01;-2.5
"""


def test_opensmile_csv_as_it_comes(tmp_path: Path) -> None:
    file = written(tmp_path, OPENSMILE)
    roles = roles_of(read_header(file))
    assert (roles.texts, roles.clocks) == (("name",), ("frameTime",))
    assert select_columns(read_header(file), ["all others"]) == list(roles.values)
    np.testing.assert_array_equal(read_numbers(file, roles.values), [[0, 1.5], [21, -2.5]])
    assert read_strings(file, "name") == ["'unknown'", "'unknown'"]


DARMA = """Time of Rating,30-Nov-2026 10:00:00,,
Multimedia File,v1.mp4,,
Magnitude,1000,,
Second,Valence,Arousal,Button
%%%%%%,%%%%%%,%%%%%%,%%%%%%
1,-12.5,100,0
2,NaN,NaN,NaN
3,20,300,1
"""
CARMA = """Time of Rating,30-Nov-2026 10:00:00
Multimedia File,v1.mp4
Lower Label,very negative
Upper Label,very positive
Minimum Value,-100
Maximum Value,100
Number of Steps,9
Second,Rating
%%%%%%,%%%%%%
0.5,7.8010475
1,0.93
"""
CARMA_TABLE = """Filename,Lower Label,Upper Label,Minimum Value,Midpoint Value,Maximum Value,Number of Steps,Second,Rating
C:\\v1.avi,very negative,very positive,-100,0,100,9,1,7.8
C:\\v1.avi,very negative,very positive,-100,0,100,9,2,0.9
"""
PAGAN = """OriginalName,DatabaseName,Participant,SessionID,Timestamp,VideoTime,Value
clip.mp4,p1_e2,u7,s1,1700000000123,0.25,1
clip.mp4,p1_e2,u7,s1,1700000000373,0.5,3
"""


@pytest.mark.parametrize(
    ("text", "columns", "values", "line"),
    [
        (
            DARMA,
            ["Second", "Valence", "Arousal"],
            [[1, -12.5, 100], [2, np.nan, np.nan], [3, 20, 300]],
            6,
        ),
        (CARMA, ["Second", "Rating"], [[0.5, 7.8010475], [1, 0.93]], 10),
        (CARMA_TABLE, ["Second", "Rating"], [[1, 7.8], [2, 0.9]], 2),
        (PAGAN, ["VideoTime", "Value"], [[0.25, 1], [0.5, 3]], 2),
    ],
)
def test_annotation_logs_are_read_as_their_programs_write_them(
    tmp_path: Path, text: str, columns: list[str], values: list[list[float]], line: int
) -> None:
    file = written(tmp_path, text)
    np.testing.assert_array_equal(read_numbers(file, columns), values)
    assert where(file, 0) == f"{file}:{line}"
    clocks = roles_of(read_header(file)).clocks
    assert columns[0] in clocks
    is_log = text.startswith("Time of Rating")
    assert (
        any("'Second' is the end of the interval" in remark for remark in remarks(file)) == is_log
    )


def test_a_log_without_its_header_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "Time of Rating,now\nMultimedia File,v1.mp4\n1,2\n")
    with pytest.raises(InputError, match="none of the next 20 lines begins with 'Second'"):
        read_header(file)


ARFF = """% RECOLA-like
@RELATION 'openSMILE features'

@attribute name string
@ATTRIBUTE 'frame Time' NUMERIC
@attribute "mfcc[0]" real
@attribute 'it\\'s' numeric
@attribute voiced {0,1}
@attribute class {low,high}

@data
% a comment
'dev_1',0.00,1.5,?,0,low
'dev_1',0.04,-2.5e-1,3,1,high

% between rows
'dev, 1',0.08,?,4,1,low
"""


def test_arff_names_comments_and_missing_values(tmp_path: Path) -> None:
    file = written(tmp_path, ARFF, "v1.arff")
    assert read_header(file) == ["name", "frame Time", "mfcc[0]", "it's", "voiced", "class"]
    np.testing.assert_array_equal(
        read_numbers(file, ["frame Time", "mfcc[0]", "it's", "voiced"]),
        [[0, 1.5, np.nan, 0], [0.04, -0.25, 3, 1], [0.08, np.nan, 4, 1]],
    )
    assert read_strings(file, "name") == ["dev_1", "dev_1", "dev, 1"]
    assert read_strings(file, "class") == ["low", "high", "low"]
    assert where(file, 2) == f"{file}:17"
    with pytest.raises(
        InputError, match=r"v1\.arff:13: column 'class': 'low' is not a number \(and 2 more\)"
    ):
        read_numbers(file, ["class"])


def test_arff_reads_as_scipy_reads_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(50, 3))
    lines = [",".join(map(repr, row)) for row in rows.tolist()]
    text = "@relation r\n@attribute a real\n@attribute b real\n@attribute c real\n@data\n"
    file = written(tmp_path, text + "\n".join(lines) + "\n", "v1.arff")
    expected, _ = scipy.io.arff.loadarff(file)
    np.testing.assert_array_equal(read_numbers(file, list("abc")), expected.tolist())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@relation r\n@attribute a real\n", "no line @data"),
        ("@relation r\n@data\n1\n", "v1.arff:2: @data and no @attribute before it"),
        ("a,b\n1,2\n", "v1.arff:1: 'a,b', expected one of @relation, @attribute, @data"),
        ("@relation r\n@attribute a real\n@data\n{0 1}\n", "v1.arff:4: sparse rows"),
        ("@relation r\n@attribute a real\n@data\n1,2\n", "v1.arff:4: 2 cells, expected 1"),
        (
            "@relation r\n@attribute a real\n@data\nx\n",
            "v1.arff:4: column 'a': 'x' is not a number",
        ),
        ("@relation r\n@attribute a real\n@data\n", "a header and no rows"),
    ],
)
def test_bad_arff_files_are_refused_with_their_line(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_numbers(written(tmp_path, text, "v1.arff"), ["a"])


WIDE = """
import sys
import subprocess
import sys
from pathlib import Path
from va_search.data.readers import read_features, read_header

def peak():
    lines = open("/proc/self/status")
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024

file = Path(sys.argv[1])
before = peak()
values = read_features(file, read_header(file))
print(values.shape, values[-1, -1], peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
@pytest.mark.parametrize("separator", [",", ";"])
def test_memory_of_wide_files_grows_with_the_columns_not_with_their_square(
    tmp_path: Path, separator: str
) -> None:
    file = tmp_path / "wide.csv"
    columns, rows = 20_000, 20
    line = separator.join(["0.25"] * columns) + "\n"
    file.write_text(separator.join(f"c{index}" for index in range(columns)) + "\n" + line * rows)
    command = [sys.executable, "-c", WIDE, str(file)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    *shape, value, peak = result.stdout.split()
    assert (" ".join(shape), float(value)) == (f"({rows}, {columns})", 0.25)
    assert int(peak) < 10_000 * columns + 8 * 8 * columns * rows


def test_a_quotation_mark_that_nothing_closes_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text('time,a\n0,"' + "1" * 2000 + "\n")
    limit = csv.field_size_limit(1000)
    try:
        with pytest.raises(InputError, match="not a UTF-8 text file of comma-separated values"):
            read_header(file)
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a\tb\n1,234\t12,34\n", [1.234, 12.34]),
        ('a,b\n"1,234","0,234"\n', [1.234, 0.234]),
        ("a|b\n1,234|1,2\n", [1.234, 1.2]),
        ("a\tb\n" + "1,234\t2\n" * 9_999 + "1,234\t1234,567\n", [1.234, 1234.567]),
    ],
)
def test_one_number_tells_what_the_comma_of_a_file_is(
    tmp_path: Path, text: str, values: list[float]
) -> None:
    file = written(tmp_path, text)
    assert read_numbers(file, ["a", "b"])[-1].tolist() == values
    assert "numbers have a decimal comma" in remarks(file)


@pytest.mark.parametrize("text", ["a\tb\n1,234\t2\n", 'a,b\n"1,234",2\n', "a|b\n-1,234|12,345\n"])
def test_a_comma_that_may_stand_between_thousands_is_refused_where_it_is_read(
    tmp_path: Path, text: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InputError, match=r"1\.234 with a decimal comma, or -?1234\? Write it with"):
        read_numbers(file, ["a"])
    assert remarks(file) in {
        (),
        (f"cells are separated by {'tabs' if chr(9) in text else repr('|')}",),
    }


def test_numbers_in_groups_of_thousands_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, 'a\n"1,234,567.5"\n')
    with pytest.raises(InputError, match="write numbers without signs between thousands"):
        read_numbers(file, ["a"])


def test_whole_numbers_that_float64_does_not_hold_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "a,b\n1,9007199254740992\n2,9007199254740993\n")
    assert read_numbers(file, ["a"]).tolist() == [[1], [2]]
    with pytest.raises(
        InputError, match=r"v1\.csv:3: column 'b' is 9007199254740993, of which float64 keeps 90071"
    ):
        read_numbers(file, ["a", "b"])
    large = written(tmp_path, "a\n9007199254740992\n1e300\n-inf\n18014398509481984\n")
    assert read_numbers(large, ["a"])[:2, 0].tolist() == [2.0**53, 1e300]
    endless = written(tmp_path, "a\n" + "1" * 5000 + "\n")
    assert read_numbers(endless, ["a"]).tolist() == [[np.inf]]
