"""Submissions scored on test labels, where someone has them: simulated challenges, or organisers'
after the deadline.

    FOLDER/<recording>.csv     columns valence, arousal, empty where a frame is not labelled, and if wanted a column
                               that names frames (data/frame_rows.py); else one row per frame

Conventions: a frame that no row names has no label. The CCC is pooled over the labelled frames of
all test recordings, of values as they were written, 6 decimals, clipped. Labels are read here only,
and go into nothing but scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.frame_names import RecordingFrames, first_number
from va_search.data.frame_rows import place_rows
from va_search.data.nearby import Nearby
from va_search.data.problems import first_few, not_used
from va_search.data.readers import read_numbers
from va_search.data.store import Recording, Store
from va_search.data.table import label_problems
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS, ccc, score

PROBLEMS = 20
Values = NDArray[np.float64]


def read_labels(folder: Path, store: Store, remarks: list[str] | None = None) -> Values:
    """(frames, 2) labels of the store's test recordings in the store's order, NaN unlabelled.

    `remarks` is added to: columns that nobody used. InputError with all problems: no such folder, a
    recording without file, columns missing, rows of no frame or of another recording, text, numbers
    outside the label range, no label at all. Files of other recordings are not looked at."""
    if not folder.is_dir():
        state = "a file" if folder.exists() else "no such folder"
        raise InputError(
            f"{folder}: {state}, expected a folder with <recording>.csv per test recording"
        )
    files, problems = _files_of(folder, store)
    first = first_number(
        {file: RecordingFrames.of(recording, store) for file, recording in files.items()}
    )
    parts = []
    unused: dict[str, None] = {}
    for file, recording in files.items():
        try:
            labels, columns = _labels_of(file, recording, store, first)
        except InputError as error:
            problems += error.problems
            continue
        parts.append(labels)
        unused |= dict.fromkeys(columns)
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    labels = np.concatenate(parts) if parts else np.empty((0, 2))
    bare = [
        dimension for index, dimension in enumerate(DIMENSIONS) if np.isnan(labels[:, index]).all()
    ]
    if bare:
        raise InputError(
            f"{folder}: no test frame has a label of {' or '.join(bare)}; nothing can be scored"
        )
    if remarks is not None:
        remarks += not_used(folder, list(unused))
    return labels


def read_submission(folder: Path, store: Store) -> Values:
    """(frames, 2) of a written submission of format recordings, in the store's order; InputError
    unless it is whole."""
    parts, problems = [], []
    for recording in store.split("test"):
        file = folder / f"{recording.name}.csv"
        try:
            rows = read_numbers(file, DIMENSIONS)
            parts.append(_values_of(file, rows, recording, store, 1, whole=True)[0])
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return np.concatenate(parts)


def scores_of(values: NDArray[np.floating], labels: Values) -> dict[str, float]:
    """The two CCCs and their mean, of (frames, 2) values that line up with the labels."""
    valence, arousal = (ccc(values[:, index], labels[:, index]) for index in range(len(DIMENSIONS)))
    return {"valence": valence, "arousal": arousal, "score": score(valence, arousal)}


def _files_of(folder: Path, store: Store) -> tuple[dict[Path, Recording], list[str]]:
    """The test recordings by their files, and a problem for each that has none, with what is there
    instead."""
    test = store.split("test")
    nearby = Nearby(folder, (".csv",), [recording.name for recording in test])
    files: dict[Path, Recording] = {}
    problems = []
    for recording in test:
        file = folder / f"{recording.name}.csv"
        if file.is_file():
            files[file] = recording
        else:
            problems.append(f"{file}: no such file{nearby.instead_of([recording.name])}")
    return files, [*first_few(problems, PROBLEMS // 2), *nearby.conversions().values()]


def _values_of(
    file: Path, rows: Values, recording: Recording, store: Store, first: int, *, whole: bool = False
) -> tuple[Values, tuple[str, ...]]:
    """(frames, 2) of the `rows` (rows, 2) of a file, NaN where none names a frame, and the columns
    nobody used.

    InputError where `whole` is asked for and a frame has no row.
    """

    def by_count() -> NDArray[np.int64]:
        if len(rows) != recording.frames:
            raise InputError(
                f"{file}: {len(rows)} rows, expected {recording.frames}, one per frame; a column that names frames "
                "(`frame`, numbers from 1) may leave some out"
            )
        return np.arange(recording.frames, dtype=np.int64)

    placed = place_rows(
        file, RecordingFrames.of(recording, store), DIMENSIONS, by_count, first=first
    )
    lacking = recording.frames - len(placed.frames)
    if whole and lacking:
        raise InputError(f"{file}: {lacking} of {recording.frames} frames have no row")
    values = np.full((recording.frames, 2), np.nan)
    values[placed.frames] = rows
    return values, placed.unused


def _labels_of(
    file: Path, recording: Recording, store: Store, first: int
) -> tuple[Values, tuple[str, ...]]:
    """Labels of one recording, and the columns nobody used; InputError with everything wrong in the
    file."""
    rows = read_numbers(file, DIMENSIONS)
    problems: list[str] = []
    labels: Values = np.empty((0, 2))
    unused: tuple[str, ...] = ()
    try:
        labels, unused = _values_of(file, rows, recording, store, first)
    except InputError as error:
        problems += error.problems
    outside = label_problems(file, rows, store.targets)
    problems += [f"{problem}; leave frames without a label empty" for problem in outside]
    if problems:
        raise InputError(*problems)
    return np.clip(labels, *store.label_range), unused
