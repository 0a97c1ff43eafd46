"""Importer of the `table` layout: one CSV or Parquet file per recording, described by two small files.

    SOURCE/
      dataset.yaml                name, label range, frame rate, time column, feature sets and their columns
      recordings.csv              recording, subject, split, and if wanted fold, rows, frames_per_second, video
      recordings/<recording>.csv  or .parquet: time column, feature columns, valence and arousal

Conventions: labels are on the source's scale; an empty cell is an unlabelled frame; test recordings may lack the
label columns. A frame labelled in one dimension only counts as unlabelled. A step in time of more than 1.5 frame
intervals is a gap, which no segment crosses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.dataset import Dataset, TableSource, read_dataset, read_recordings
from va_search.data.draft import Description, Part
from va_search.data.importing import Progress, drafting, quiet, read_all, refuse
from va_search.data.sheet import (
    PROBLEMS_OF_A_FILE,
    and_more,
    empty_lines,
    first_few,
    not_finite,
    read_header,
    read_numbers,
    where,
)
from va_search.data.store import Store
from va_search.errors import InputError, unknown_name
from va_search.metrics import DIMENSIONS

GAP = 1.5  # frame intervals
UNITS_PER_SECOND = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
EXACT = 2.0**53  # from here on float64 does not hold every whole number


def import_table(
    source: Path, to: Path, *, dtype: str = "float32", workers: int | None = None, progress: Progress = quiet
) -> Store:
    """Read the `table` layout at `source` into a store at `to`; a second call finds the store and opens it.

    InputError with the problems of all recordings together; what was read before a kill is not read again.
    """
    if not source.is_dir():
        found = "it is a file" if source.exists() else "no such folder"
        raise InputError(f"{source}: {found}, expected a folder with dataset.yaml, recordings.csv and recordings/")
    dataset = read_dataset(source / "dataset.yaml")
    recordings, warnings = read_recordings(source, dataset)
    with drafting(to, _description(source, dataset, dtype), list(recordings)) as draft:
        draft.remarks = warnings
        return read_all(draft, lambda index: read_part(recordings[index], dataset), workers=workers, progress=progress)


def _description(source: Path, dataset: Dataset, dtype: str) -> Description:
    return Description(
        name=dataset.name,
        label_range=dataset.label_range,
        feature_sets={name: (entry.modality, tuple(entry.columns)) for name, entry in dataset.features.items()},
        dtype=dtype,
        time_column=dataset.time_column,
        source=f"table {source.resolve()}",
    )


def read_part(recording: TableSource, dataset: Dataset) -> Part:
    """One recording read and checked; InputError with everything wrong in its file."""
    file = recording.files[0]
    header = read_header(file)
    refuse(_column_problems(file, header, dataset, recording.split))
    labels = list(DIMENSIONS) if DIMENSIONS[0] in header else []
    clock = [dataset.time_column] if dataset.time_column else []
    numbers = read_numbers(file, [*dataset.columns, *labels, *clock])
    width = len(dataset.columns)
    problems = _row_problem(recording, len(numbers)) + not_finite(file, numbers[:, :width], dataset.columns)
    pair = numbers[:, width : width + 2] if labels else None
    if file.suffix == ".csv" and len(header) == 1:  # an empty cell is then an empty line, which readers pass over
        problems += empty_lines(file)
    warnings = []
    if pair is not None:
        problems += label_problems(file, pair, dataset.label_range)
        warnings += _unlabel_halves(recording.name, pair)
    times: NDArray[np.float64] | None = None
    gaps: tuple[int, ...] = ()
    if clock:
        times = numbers[:, -1]
        try:
            gaps, remarks = find_gaps(file, times, recording.frames_per_second)
            warnings += remarks
        except InputError as error:
            problems += error.problems
    refuse(problems)
    return Part(_by_set(numbers, dataset), pair, times, None, gaps, tuple(warnings))


def _by_set(numbers: NDArray[np.float64], dataset: Dataset) -> dict[str, NDArray[np.floating]]:
    features: dict[str, NDArray[np.floating]] = {}
    start = 0
    for name, entry in dataset.features.items():
        features[name] = numbers[:, start : start + len(entry.columns)]
        start += len(entry.columns)
    return features


def _column_problems(file: Path, header: list[str], dataset: Dataset, split: str) -> list[str]:
    wanted = [*dataset.columns, *([dataset.time_column] if dataset.time_column else [])]
    if split != "test" or any(name in header for name in DIMENSIONS):
        wanted += DIMENSIONS
    problems = [f"{file}: column {name!r} is missing (found: {', '.join(header)})" for name in wanted]
    problems = [problem for problem, name in zip(problems, wanted, strict=True) if name not in header]
    known = {*wanted, *dataset.ignored_columns}
    for name in header:
        if name not in known:
            problems.append(
                f"{file}: {unknown_name('column', name, known)}; put it into a feature set of dataset.yaml or into "
                "ignored_columns"
            )
    return first_few(problems, PROBLEMS_OF_A_FILE)


def _row_problem(recording: TableSource, frames: int) -> list[str]:
    if recording.rows is None or recording.rows == frames:
        return []
    return [f"{recording.files[0]}: {frames} rows, but recordings.csv says rows = {recording.rows}"]


def label_problems(file: Path, pair: NDArray[np.float64], label_range: tuple[float, float]) -> list[str]:
    """One problem per dimension with labels outside the range; NaN is unlabelled and fine."""
    low, high = label_range
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        outside = (pair[:, index] < low) | (pair[:, index] > high)
        if outside.any():
            row = int(np.argmax(outside))
            more = and_more(int(outside.sum()) - 1)
            problems.append(
                f"{where(file, row)}: {dimension} {pair[row, index]:g}{more} is outside the label range "
                f"[{low:g}, {high:g}]"
            )
    return problems


def _unlabel_halves(name: str, pair: NDArray[np.float64]) -> list[str]:
    """Frames labelled in one dimension only become unlabelled, with a warning."""
    halves = np.isnan(pair).sum(axis=1) == 1
    pair[halves] = np.nan
    count = int(halves.sum())
    return [f"recording {name!r}: {count} frames labelled in one dimension only, taken as unlabelled"] if count else []


def find_gaps(file: Path, times: NDArray[np.float64], rate: float) -> tuple[tuple[int, ...], list[str]]:
    """Frames before which time jumps by more than 1.5 frame intervals, and remarks.

    The unit is the one (s, ms, µs, ns, or frames) in which the median step is nearest to 1 / rate. InputError when
    time is too large to be kept exactly or does not increase, or when the median step is far from `rate` in every unit.
    """
    holes = np.flatnonzero(~np.isfinite(times))
    if holes.size:
        raise InputError(f"{where(file, int(holes[0]))}: time is empty or not finite{and_more(holes.size - 1)}")
    large = np.flatnonzero(np.abs(times) >= EXACT)  # nanoseconds since 1970, for one
    if large.size:
        row = int(large[0])
        raise InputError(
            f"{where(file, row)}: time {times[row]:g}{and_more(large.size - 1)} would not come back exactly, expected "
            f"below 2^53 ({EXACT:g}); give times from the recording's start, or in ms"
        )
    steps = np.diff(times)
    back = np.flatnonzero(steps <= 0)
    if back.size:
        row = int(back[0]) + 1
        raise InputError(
            f"{where(file, row)}: time {times[row]:g} after {times[row - 1]:g}{and_more(back.size - 1)}; "
            "time must increase from row to row"
        )
    if not steps.size:
        return (), []
    median = float(np.median(steps))
    intervals = {unit: per_second / rate for unit, per_second in UNITS_PER_SECOND.items()} | {"frames": 1.0}
    unit = min(intervals, key=lambda name: abs(np.log(median / intervals[name])))
    interval = intervals[unit]
    if not 1 / GAP < median / interval < GAP:
        raise InputError(
            f"{file}: time steps by {median:g}, which fits {rate:g} frames per second in no unit "
            f"(expected {1 / rate:g} s, {1e3 / rate:g} ms or 1 frame); correct frames_per_second or time_column"
        )
    remarks = []
    if abs(median / interval - 1) > 0.05:
        found = UNITS_PER_SECOND.get(unit, rate) / median
        remarks = [f"{file}: time steps by {median:g} {unit}, {found:g} frames per second, but {rate:g} are declared"]
    gaps = tuple(int(frame) + 1 for frame in np.flatnonzero(steps > GAP * interval))
    return gaps, remarks
