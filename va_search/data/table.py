"""Importer of the `table` layout: one CSV or Parquet file per recording, described by two small
files.

    SOURCE/
      dataset.yaml                name, label range, frame rate, time column, feature sets and their columns
      recordings.csv              recording, subject, split, and if wanted fold, rows, frames_per_second, video
      recordings/<recording>.csv  or .parquet: time column, feature columns, valence and arousal

Conventions: labels are on the source's scale; an empty cell is an unlabelled frame; test recordings
may lack the label columns. A frame labelled in one dimension only counts as unlabelled. A step in
time of more than 1.5 frame intervals is a gap, which no segment crosses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.clock import find_gaps
from va_search.data.column_names import role_of
from va_search.data.dataset import Dataset, TableSource, read_dataset, read_recordings
from va_search.data.draft import Description, Part
from va_search.data.frame_names import RecordingFrames
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.problems import (
    PROBLEMS_OF_A_FILE,
    PROBLEMS_SHOWN,
    and_more,
    exact,
    first_few,
    join_alike,
    listed,
    near_name,
    refuse,
    unknown_column,
)
from va_search.data.readers import not_finite, read_header, read_numbers, reader_of, where
from va_search.data.row_checks import refuse_ignored
from va_search.data.store import Store
from va_search.errors import InputError, counted
from va_search.metrics import DIMENSIONS

ROUNDING = 4 * float(np.finfo(np.float32).eps)
"""Share of the label range's size by which a label may be outside it: what float32 and decimals
round."""
NAMES_SHOWN = 40


def import_table(
    source: Path,
    to: Path,
    *,
    dtype: str = "float32",
    workers: int | None = None,
    progress: Progress = quiet,
) -> Store:
    """Read the `table` layout at `source` into a store at `to`; a second call finds the store and
    opens it.

    InputError with the problems of all recordings together; what was read before a kill is not read
    again."""
    if not source.is_dir():
        found = "it is a file" if source.exists() else "no such folder"
        raise InputError(
            f"{source}: {found}, expected a folder with dataset.yaml, recordings.csv and recordings/"
        )
    dataset, recordings, warnings = _read_description(source)
    names = frozenset(recording.name for recording in recordings)
    people = frozenset(recording.subject for recording in recordings)
    with drafting(to, _description(source, dataset, dtype), list(recordings)) as draft:
        draft.remarks = warnings

        def read(index: int) -> Part:
            return read_part(recordings[index], dataset, names, people)

        return read_all(draft, read, workers=workers, progress=progress)


def _read_description(source: Path) -> tuple[Dataset, list[TableSource], list[str]]:
    """dataset.yaml, the recordings, and warnings; InputError with what is wrong in both and in the
    files' headers."""
    dataset: Dataset | None = None
    problems: list[str] = []
    try:
        dataset = read_dataset(source / "dataset.yaml")
    except InputError as error:
        problems += error.problems
    listing = read_recordings(source, dataset)
    problems += listing.problems
    if dataset is not None and not problems:
        return (
            dataset,
            listing.recordings,
            listing.warnings + _clocks_not_used(dataset) + _bookkeeping(dataset),
        )
    if dataset is not None:  # look at the headers too, so that everything is reported at once
        for recording in listing.recordings:
            problems += _header_problems(recording, dataset)
    raise InputError(*first_few(join_alike(problems), PROBLEMS_SHOWN))


def _header_problems(recording: TableSource, dataset: Dataset) -> list[str]:
    file = recording.files[0]
    try:
        return _column_problems(file, read_header(file), dataset, recording.split)
    except InputError as error:
        return error.problems


def _clocks_not_used(dataset: Dataset) -> list[str]:
    """A warning where no time column is declared and an ignored column's name is that of a
    clock."""
    if dataset.time_column:
        return []
    clocks = [name for name in dataset.ignored_columns if role_of(name) in ("clocks", "frames")]
    return [
        f"dataset.yaml: column {name!r} is ignored, so rows are taken as frames one after another; "
        f"`time_column: {name}` would find gaps and rows out of order"
        for name in clocks
    ]


def _bookkeeping(dataset: Dataset) -> list[str]:
    """A warning for each feature whose name is that of a frame's number, a time or a row number."""
    return [
        f"dataset.yaml: feature set {name!r}: column {column!r} is a frame, a time or a row number by its name, and is "
        "taken as a feature"
        for name, entry in dataset.features.items()
        for column in entry.columns
        if role_of(column) in ("frames", "clocks", "rows")
    ]


def _description(source: Path, dataset: Dataset, dtype: str) -> Description:
    return Description(
        name=dataset.name,
        label_range=dataset.label_range,
        feature_sets={
            name: (entry.modality, tuple(entry.columns)) for name, entry in dataset.features.items()
        },
        dtype=dtype,
        time_column=dataset.time_column,
        source=f"table {source.resolve()}",
    )


def read_part(
    recording: TableSource,
    dataset: Dataset,
    recordings: frozenset[str] = frozenset(),
    people: frozenset[str] = frozenset(),
) -> Part:
    """One recording read and checked; InputError with everything wrong in its file.

    `recordings` and `people` are the names of all: no ignored column may name another than the
    recording's own."""
    file = recording.files[0]
    header = read_header(file)
    refuse(_column_problems(file, header, dataset, recording.split))
    labels = list(DIMENSIONS) if DIMENSIONS[0] in header else []
    clock = dataset.clock
    numbers = read_numbers(file, [*dataset.columns, *labels, *([clock.column] if clock else [])])
    width = len(dataset.columns)
    problems = _row_problem(recording, len(numbers)) + not_finite(
        file, numbers[:, :width], dataset.columns
    )
    pair = numbers[:, width : width + 2] if labels else None
    warnings = []
    if pair is not None:
        problems += label_problems(file, pair, dataset.label_range)
        warnings += _unlabel_halves(recording.name, pair)
    times: NDArray[np.float64] | None = None
    gaps: tuple[int, ...] = ()
    if clock:
        times = numbers[:, -1]
        try:
            gaps, remarks = find_gaps(file, times, recording.frames_per_second, clock)
            warnings += remarks
        except InputError as error:
            problems += error.problems
    problems += _ignored_problems(recording, dataset, header, recordings, people)
    refuse(problems)
    kinds = reader_of(file).remarks(file)
    return Part(_by_set(numbers, dataset), pair, times, None, gaps, tuple(warnings), kinds=kinds)


def _ignored_problems(
    recording: TableSource,
    dataset: Dataset,
    header: list[str],
    recordings: frozenset[str],
    people: frozenset[str],
) -> list[str]:
    """What ignored columns say against the rows being the recording's frames, one after another."""
    ignored = set(dataset.ignored_columns)
    columns = [name for name in header if name in ignored]
    names, rate = (recording.name,), recording.frames_per_second
    known = RecordingFrames(names, 0, rate, person=recording.subject, people=people)
    try:
        refuse_ignored(
            recording.files[0], columns, known, recordings, ordered=dataset.time_column is not None
        )
    except InputError as error:
        return error.problems
    return []


def _by_set(numbers: NDArray[np.float64], dataset: Dataset) -> dict[str, NDArray[np.floating]]:
    features: dict[str, NDArray[np.floating]] = {}
    start = 0
    for name, entry in dataset.features.items():
        features[name] = numbers[:, start : start + len(entry.columns)]
        start += len(entry.columns)
    return features


def _column_problems(file: Path, header: list[str], dataset: Dataset, split: str) -> list[str]:
    """At most two problems: the columns that are missing, and those that dataset.yaml does not
    name."""
    wanted = [*dataset.columns, *([dataset.time_column] if dataset.time_column else [])]
    if split != "test" or any(name in header for name in DIMENSIONS):
        wanted += DIMENSIONS
    present, known = set(header), {*wanted, *dataset.ignored_columns}
    missing = [name for name in wanted if name not in present]
    unknown = [name for name in header if name not in known]
    problems = []
    if missing:
        found = listed(header, PROBLEMS_OF_A_FILE, quoted=False)
        text = (
            f"column {missing[0]!r} is"
            if len(missing) == 1
            else f"columns {listed(missing, NAMES_SHOWN)} are"
        )
        problems.append(f"{file}: {text} missing (found: {found}){_spaces_hint(header, missing)}")
    advice = "put {} into a feature set of dataset.yaml or into ignored_columns"
    if len(unknown) == 1:
        problems.append(f"{file}: {unknown_column(unknown[0], known)}; {advice.format('it')}")
    elif unknown:
        names = [repr(name) + near_name(name, known) for name in unknown[:NAMES_SHOWN]]
        rest = f" and {len(unknown) - NAMES_SHOWN} more" if len(unknown) > NAMES_SHOWN else ""
        problems.append(
            f"{file}: {len(unknown)} columns that dataset.yaml does not name: {', '.join(names)}{rest}; "
            f"{advice.format('each')}"
        )
    return problems


def _spaces_hint(header: list[str], missing: list[str]) -> str:
    words = header[0].split() if len(header) == 1 else []
    return "; separated by spaces? Separate cells by commas" if set(missing) & set(words) else ""


def _row_problem(recording: TableSource, frames: int) -> list[str]:
    if recording.rows is None or recording.rows == frames:
        return []
    return [f"{recording.files[0]}: {frames} rows, but recordings.csv says rows = {recording.rows}"]


def label_problems(
    file: Path, pair: NDArray[np.float64], label_range: tuple[float, float]
) -> list[str]:
    """One problem per dimension with labels outside the range; NaN is unlabelled and fine.

    Labels that only rounding put outside (1.0000000000000002) are clipped, in place.
    """
    low, high = label_range
    slack = ROUNDING * max(abs(low), abs(high), high - low)
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        outside = (pair[:, index] < low - slack) | (pair[:, index] > high + slack)
        if outside.any():
            row = int(np.argmax(outside))
            more = and_more(int(outside.sum()) - 1)
            problems.append(
                f"{where(file, row)}: {dimension} {exact(pair[row, index])}{more} is outside the label range "
                f"[{exact(low)}, {exact(high)}]"
            )
    if not problems:
        np.clip(pair, low, high, out=pair)
    return problems


def _unlabel_halves(name: str, pair: NDArray[np.float64]) -> list[str]:
    """Frames labelled in one dimension only become unlabelled, with a warning."""
    halves = np.isnan(pair).sum(axis=1) == 1
    pair[halves] = np.nan
    count = int(halves.sum())
    return (
        [
            f"recording {name!r}: {counted(count, 'frame')} labelled in one dimension only, taken as unlabelled"
        ]
        if count
        else []
    )
