"""Submissions scored on test labels, where someone has them: simulated challenges, or organisers' after the deadline.

    FOLDER/<recording>.csv     columns valence, arousal; one row per frame, empty where a frame is not labelled

Conventions: the CCC is pooled over the labelled frames of all test recordings, of values as they were written, 6
decimals, clipped. Labels are read here only, and go into nothing but scores.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.sheet import and_more, first_few, read_numbers, where
from va_search.data.store import Recording, Store
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS, ccc, score

PROBLEMS = 20
Values = NDArray[np.float64]


def read_labels(folder: Path, store: Store) -> Values:
    """(frames, 2) labels of the store's test recordings in the store's order, NaN unlabelled.

    InputError with all problems: no such folder, a recording without file, columns or rows missing, text, numbers
    outside the label range, no label at all. Files of other recordings are not looked at.
    """
    if not folder.is_dir():
        state = "a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {state}, expected a folder with <recording>.csv per test recording")
    parts, problems = [], []
    for recording in store.split("test"):
        try:
            parts.append(_labels_of(folder / f"{recording.name}.csv", recording, store.label_range))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    labels = np.concatenate(parts) if parts else np.empty((0, 2))
    bare = [dimension for index, dimension in enumerate(DIMENSIONS) if np.isnan(labels[:, index]).all()]
    if bare:
        raise InputError(f"{folder}: no test frame has a label of {' or '.join(bare)}; nothing can be scored")
    return labels


def read_submission(folder: Path, store: Store) -> Values:
    """(frames, 2) of a written submission of format recordings, in the store's order."""
    parts = [read_numbers(folder / f"{recording.name}.csv", DIMENSIONS) for recording in store.split("test")]
    return np.concatenate(parts)


def scores_of(values: NDArray[np.floating], labels: Values) -> dict[str, float]:
    """The two CCCs and their mean, of (frames, 2) values that line up with the labels."""
    valence, arousal = (ccc(values[:, index], labels[:, index]) for index in range(len(DIMENSIONS)))
    return {"valence": valence, "arousal": arousal, "score": score(valence, arousal)}


def _labels_of(file: Path, recording: Recording, label_range: tuple[float, float]) -> Values:
    found = read_numbers(file, DIMENSIONS)
    low, high = label_range
    problems = []
    if len(found) != recording.frames:
        problems.append(f"{file}: {len(found)} rows, expected {recording.frames}, one per frame")
    for index, dimension in enumerate(DIMENSIONS):
        column = found[:, index]
        wrong = ~np.isnan(column) & ~((column >= low) & (column <= high))
        if wrong.any():
            row = int(np.argmax(wrong))
            problems.append(
                f"{where(file, row)}: {dimension} {column[row]:g}{and_more(int(wrong.sum()) - 1)} is outside the label "
                f"range [{low:g}, {high:g}]; leave frames without a label empty"
            )
    if problems:
        raise InputError(*problems)
    return found
