"""A sheet is written and read back a row at a time: the same file and values as all at once."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from va_search.submission.formats import Sheet


def at_once(sheet: Sheet) -> str:
    """The text of a sheet, the plain way: columns of texts, joined."""
    columns = [[f"{value:.6f}" for value in column] for column in sheet.values.T.tolist()]
    if sheet.keys is not None:
        columns.insert(0, ['"' + key + '"' if "," in key else key for key in sheet.keys])
    lines = [",".join(sheet.header), *map(",".join, zip(*columns, strict=True))]
    return "".join(line + "\n" for line in lines)


@pytest.mark.parametrize("seed", range(12))
def test_a_file_is_that_of_the_plain_way_and_reads_back(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, columns = int(random.integers(0, 60)), int(random.integers(1, 4))
    values = random.normal(0, 10.0 ** random.integers(-7, 4), (rows, columns))
    values[random.random(values.shape) < 0.1] = -0.0
    names = tuple(f"t{number}" for number in range(columns))
    keys = None
    if seed % 2:
        keys = [f"clip {row // 7}{',' * (row % 3)}/{row:05d}.jpg" for row in range(rows)]
    header = names if keys is None else ("image_location", *names)
    sheet = Sheet("predictions.txt", header, keys, values)
    file = tmp_path / sheet.name
    sheet.write(file)
    assert file.read_bytes().decode() == at_once(sheet)
    written = sheet.written(file)
    assert written is not None
    with open(file, newline="") as handle:
        cells = [row[-columns:] for row in list(csv.reader(handle))[1:]]
    expected = np.array(cells, dtype=np.float64).reshape(-1, columns)
    np.testing.assert_array_equal(written, expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image_location,v\n",
        "image_location,w\na,0.100000\nb,0.200000\n",
        "image_location,v\na,0.100000\n",
        "image_location,v\na,0.100000\nc,0.200000\n",
        "image_location,v\nb,0.200000\na,0.100000\n",
        "image_location,v\na,0.100000\nb,0.200000\nc,0.300000\n",
        "image_location,v\na,0.100000\nb,0.200000\n\n",
    ],
)
def test_another_header_or_other_rows_are_not_what_was_meant(tmp_path: Path, text: str) -> None:
    sheet = Sheet("p.txt", ("image_location", "v"), ["a", "b"], np.array([[0.1], [0.2]]))
    file = tmp_path / "p.txt"
    file.write_text(text)
    assert sheet.written(file) is None
    sheet.write(file)
    np.testing.assert_array_equal(sheet.written(file), sheet.values)
