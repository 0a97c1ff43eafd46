"""Submissions scored on test labels, where someone has them: simulated challenges, or organisers'
after the deadline.

    FOLDER/<recording>.csv     a column a target, empty where a frame is not labelled, and if wanted a column
                               that names frames (data/frame_rows.py); else one row per frame

Conventions: a frame that no row names has no label. The CCC of
a target is pooled over the frames of all test recordings that it has a label in, of values as they
were written, 6 decimals, clipped. Labels are read here only,
and go into nothing but scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.frame_names import RecordingFrames, first_number
from va_search.data.frame_rows import place_rows
from va_search.data.nearby import Nearby
from va_search.data.problems import exact, first_few, not_used
from va_search.data.readers import read_numbers, wrong_rows
from va_search.data.store import Recording, Store
from va_search.errors import InputError
from va_search.files import file_name_of
from va_search.metrics import ccc
from va_search.submission.folder import check_unchanged
from va_search.targets import AFFECT, Target, clipped
from va_search.trial import SCORE

PROBLEMS = 20
Values = NDArray[np.float64]


def read_labels(folder: Path, store: Store, remarks: list[str] | None = None) -> Values:
    """(frames, targets) labels of the store's test recordings in the store's order, NaN unlabelled.

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
    labels = np.concatenate(parts) if parts else np.empty((0, len(store.targets)))
    bare = []
    for index, name in enumerate(store.target_names):
        if np.isnan(labels[:, index]).all():
            bare.append(name)
    if bare:
        raise InputError(
            f"{folder}: no test frame has a label of {' or '.join(bare)}; nothing can be scored"
        )
    if remarks is not None:
        remarks += not_used(folder, list(unused))
    return labels


def read_submission(folder: Path, store: Store) -> Values:
    """(frames, targets) of a written submission of format recordings, in the store's order; InputError
    unless it is whole and, where va-search wrote it, as it was written."""
    check_unchanged(folder)
    parts, problems = [], []
    for recording in store.split("test"):
        file = folder / f"{file_name_of(recording.name)}.csv"
        try:
            rows = read_numbers(file, store.target_names)
            parts.append(_values_of(file, rows, recording, store, 1, whole=True)[0])
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return np.concatenate(parts)


def scores_of(
    values: NDArray[np.floating], labels: Values, targets: Sequence[str] = AFFECT
) -> dict[str, float]:
    """The CCC of each target and their mean ("score"), of (frames, targets) values that line up with
    the labels."""
    scores = {}
    for index, target in enumerate(targets):
        scores[target] = ccc(values[:, index], labels[:, index])
    return {**scores, SCORE: sum(scores.values()) / len(scores)}


def _files_of(folder: Path, store: Store) -> tuple[dict[Path, Recording], list[str]]:
    """The test recordings by their files, and a problem for each that has none, with what is there
    instead."""
    test = store.split("test")
    nearby = Nearby(folder, (".csv",), [recording.name for recording in test])
    files: dict[Path, Recording] = {}
    problems = []
    for recording in test:
        names = dict.fromkeys((recording.name, file_name_of(recording.name)))
        candidates = [folder / f"{name}.csv" for name in names]
        file = next((path for path in candidates if path.is_file()), candidates[-1])
        if file.is_file():
            files[file] = recording
        else:
            problems.append(f"{file}: no such file{nearby.instead_of([recording.name])}")
    return files, [*first_few(problems, PROBLEMS // 2), *nearby.conversions().values()]


def _values_of(
    file: Path, rows: Values, recording: Recording, store: Store, first: int, *, whole: bool = False
) -> tuple[Values, tuple[str, ...]]:
    """(frames, targets) of the `rows` (rows, targets) of a file, NaN where none names a frame, and the columns
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
        file, RecordingFrames.of(recording, store), store.target_names, by_count, first=first
    )
    lacking = recording.frames - len(placed.frames)
    if whole and lacking:
        raise InputError(f"{file}: {lacking} of {recording.frames} frames have no row")
    values = np.full((recording.frames, len(store.targets)), np.nan)
    values[placed.frames] = rows
    return values, placed.unused


def _labels_of(
    file: Path, recording: Recording, store: Store, first: int
) -> tuple[Values, tuple[str, ...]]:
    """Labels of one recording, and the columns nobody used; InputError with everything wrong in the
    file."""
    rows = read_numbers(file, store.target_names)
    problems: list[str] = []
    labels: Values = np.empty((0, len(store.targets)))
    unused: tuple[str, ...] = ()
    try:
        labels, unused = _values_of(file, rows, recording, store, first)
    except InputError as error:
        problems += error.problems
    outside = _outside_ranges(file, rows, store.targets)
    problems += [f"{problem}; leave frames without a label empty" for problem in outside]
    if problems:
        raise InputError(*problems)
    return clipped(labels, store.targets), unused


def _outside_ranges(file: Path, labels: Values, targets: Sequence[Target]) -> list[str]:
    """A problem for each target with labels (rows, targets) outside its range; NaN is unlabelled and
    fine, and so is what only rounding put outside (1.0000000000000002)."""
    problems = []
    for target, column in zip(targets, labels.T, strict=True):
        low, high = target.low - target.slack, target.high + target.slack
        if outside := wrong_rows(file, (column < low) | (column > high)):
            problems.append(
                f"{outside.position}: {target.name} {exact(column[outside.row])}{outside.more} is "
                f"outside the label range [{exact(target.low)}, {exact(target.high)}]"
            )
    return problems
