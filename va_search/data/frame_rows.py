"""Rows of a feature file laid against the frames of a recording; frames without a row take the nearest one.

Conventions: frames count from 1 in files (frame i is image `{i:05d}.jpg`) and from 0 in arrays. A row names its frame
by a column `frame`, or by a column `image` or `image_location`; otherwise rows are matched to the existing crops when
there is one crop a row, else one row is one frame. Frames without a face take the nearest frame with one, the earlier
where two are equally near (paper 3.1), and are marked not valid.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from va_search.data.importing import refuse
from va_search.data.sheet import and_more, empty_lines, not_finite, read_header, read_npy, read_numbers, where
from va_search.errors import InputError

INDEX_COLUMNS = ("frame", "image", "image_location")
CLOCK_COLUMNS = ("time", "timestamp", "frameTime", "frametime")
ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
"""How pandas writes its row numbers: they would become a feature that tells the time."""
CROP = re.compile(r"(\d+)\.(jpg|jpeg|png)", re.IGNORECASE)


@dataclass(frozen=True)
class FrameRows:
    """Features (frames, dim); valid (frames,) False where a frame took another's row; remarks on the file."""

    features: NDArray[np.floating]
    valid: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()


def feature_columns(file: Path) -> tuple[str, ...]:
    """Names of the feature columns of a CSV or Parquet file, without the one that names the frame."""
    header = read_header(file)
    clocks = [name for name in header if name in CLOCK_COLUMNS]
    if clocks:
        raise InputError(
            f"{file}: column {clocks[0]!r} is a time, not a feature; give one row per frame, or a column `frame` with "
            "the frame's number from 1"
        )
    numbers = [name for name in header if ROW_NUMBERS.fullmatch(name)]
    if numbers:
        raise InputError(
            f"{file}: column {numbers[0]!r} has no name of its own: row numbers that pandas wrote? Write the file "
            "without them, or name the column"
        )
    columns = tuple(name for name in header if name not in INDEX_COLUMNS)
    if not columns:
        raise InputError(f"{file}: no feature column besides {', '.join(header)}")
    return columns


def width(file: Path) -> tuple[str, ...]:
    """Column names of a feature file, from its header alone; those of a .npy file are their numbers from 0."""
    return tuple(map(str, range(read_npy(file).shape[1]))) if file.suffix == ".npy" else feature_columns(file)


def read_rows(file: Path, labels: Path, frames: int, crops: Path | None) -> FrameRows:
    """The rows of `file` laid against `frames` frames, whose number `labels` gave; InputError with all problems."""
    columns = () if file.suffix == ".npy" else feature_columns(file)
    rows = read_npy(file) if file.suffix == ".npy" else read_numbers(file, columns)
    found = None if file.suffix == ".npy" else _named_frames(file)
    shifted = empty_lines(file) if file.suffix == ".csv" and found is None else []
    refuse(shifted + not_finite(file, rows, columns))
    if found is None and len(rows) != frames and crops is not None:
        found = _crop_frames(file, crops, len(rows), labels, frames)
    if found is not None:
        return _by_frame(file, rows, found, labels, frames)
    return _row_by_row(file, rows, labels, frames)


def nearest(known: NDArray[np.int64], frames: int) -> NDArray[np.int64]:
    """For each of `frames` frames, the position in `known` (increasing frame numbers) of the nearest; ties go back."""
    wanted = np.arange(frames)
    after = np.searchsorted(known, wanted).clip(0, len(known) - 1)
    before = (after - 1).clip(0)
    earlier = np.abs(wanted - known[before]) <= np.abs(known[after] - wanted)
    return np.where(earlier, before, after)


def _named_frames(file: Path) -> NDArray[np.int64] | None:
    """(rows,) frames from 0 that the file's own column names, or None where it has none."""
    names = [name for name in INDEX_COLUMNS if name in read_header(file)]
    if not names:
        return None
    if names[0] == "frame":
        numbers = read_numbers(file, ["frame"])[:, 0]
        bad = np.flatnonzero(~(numbers >= 1) | (numbers != np.floor(numbers)))
        if bad.size:
            row = int(bad[0])
            raise InputError(f"{where(file, row)}: frame {numbers[row]:g}, expected a whole number from 1")
        return numbers.astype(np.int64) - 1
    images = _texts(file, names[0])
    matches = [CROP.fullmatch(text.rsplit("/", 1)[-1]) for text in images]
    for row, match in enumerate(matches):
        if match is None or int(match[1]) < 1:
            raise InputError(f"{where(file, row)}: {names[0]} {images[row]!r}, expected an image such as 00001.jpg")
    return np.array([int(match[1]) - 1 for match in matches if match], dtype=np.int64)


def _texts(file: Path, column: str) -> list[str]:
    if file.suffix == ".parquet":
        table = pyarrow.parquet.read_table(file, columns=[column])
    else:
        convert = pyarrow.csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
        read = pyarrow.csv.ReadOptions(column_names=read_header(file), skip_rows=1)
        table = pyarrow.csv.read_csv(file, read_options=read, convert_options=convert)
    return [str(text).strip() for text in table.column(column).to_pylist()]


def _crop_frames(file: Path, crops: Path, rows: int, labels: Path, frames: int) -> NDArray[np.int64] | None:
    """Frames of the existing crops when there is one a row; None lets the row count decide."""
    matches = [CROP.fullmatch(path.name) for path in crops.iterdir()] if crops.is_dir() else []
    found = sorted(int(match[1]) - 1 for match in matches if match)
    if len(found) == rows:
        return np.array(found, dtype=np.int64)
    if abs(rows - frames) <= 1:
        return None
    raise InputError(
        f"{file}: {rows} rows, but {labels} has {frames} frames and {crops} {len(found)} crops; expected one row per "
        "frame or one per crop"
    )


def _by_frame(file: Path, rows: NDArray[np.floating], found: NDArray[np.int64], labels: Path, frames: int) -> FrameRows:
    order = np.argsort(found, kind="stable")
    known = found[order]
    twice = np.flatnonzero(np.diff(known) == 0)
    if twice.size:
        place = where(file, int(order[twice[0] + 1]))
        raise InputError(f"{place}: frame {known[twice[0]] + 1} has two rows{and_more(twice.size - 1)}")
    if known[-1] > frames:
        raise InputError(
            f"{where(file, int(order[-1]))}: last frame {known[-1] + 1}, but {labels} has {frames} frames; more than "
            "one apart, so they are not of the same recording or not at the same frame rate"
        )
    remarks = (f"{file}: a row for frame {frames + 1}, one more than {labels} has; dropped",)
    inside = known < frames
    if not inside.any():
        raise InputError(f"{file}: no row for any of the {frames} frames of {labels}")
    order, known = order[inside], known[inside]
    valid = np.zeros(frames, dtype=bool)
    valid[known] = True
    return FrameRows(rows[order[nearest(known, frames)]], valid, () if inside.all() else remarks)


def _row_by_row(file: Path, rows: NDArray[np.floating], labels: Path, frames: int) -> FrameRows:
    count = len(rows)
    valid = np.ones(frames, dtype=bool)
    if count == frames:
        return FrameRows(rows, valid)
    if abs(count - frames) > 1:
        raise InputError(
            f"{file}: {count} rows, but {labels} has {frames} frames; at most one apart is taken. If rows stand only "
            "for frames with a face, name them in a column `frame`, or give --crops"
        )
    if count > frames:
        return FrameRows(
            rows[:frames], valid, (f"{file}: {count} rows, {labels} has {frames} frames; last row dropped",)
        )
    if count == 0:
        raise InputError(f"{file}: no rows")
    valid[-1] = False
    remark = f"{file}: {count} rows, {labels} has {frames} frames; the last frame takes the last row"
    return FrameRows(rows[nearest(np.arange(count), frames)], valid, (remark,))
