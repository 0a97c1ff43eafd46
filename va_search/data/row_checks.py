"""Columns that nobody reads, and what they say against the rows: another order, another recording
or person, several people.

Nothing that names a frame, a time, a person or a recording is ever ignored: a column that shows
that rows are not the recording's frames, one by one, is a problem."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from va_search.data.clock import Frames
from va_search.data.column_names import Roles, roles_of, words_of
from va_search.data.frame_names import Numbers, RecordingFrames, numbers_or_none, recording_name
from va_search.data.problems import exact, refuse, shortened
from va_search.data.readers import (
    first_cells,
    is_number,
    read_numbers,
    read_strings,
    seconds_of,
    where,
)
from va_search.errors import InputError

FEW_ROWS = 3
MOST_HOLES = 3
"""So many times as long as its rows take may a column run that is seen as evenly spaced."""
EVEN = 0.1
MOST_COLUMNS = 50
"""Beyond so many columns that have no role, they are the file's values and not looked at."""
PEOPLE_SHOWN = 4


def refuse_shuffled(file: Path, roles: Roles, values: Sequence[str]) -> dict[str, Numbers]:
    """InputError where a column that nobody uses shows that rows do not stand in the frames' order.

    A column that numbers rows or segments by its name must not go back from row to row, nor must
    any other that is not in `values` and runs in equal steps: it names something that row counts
    would ignore. Return those that number rows, (rows,) each."""
    problems = []
    numbered = {}
    nameless = [name for name in roles.values if name not in values][:MOST_COLUMNS]
    # A column without a role is suspicious only where it runs in equal steps.
    for column in (*roles.rows, *roles.parts, *nameless):
        numbers = _ordering(file, column)
        if numbers is None or (column in nameless and not runs_evenly(numbers)):
            continue
        if column not in roles.parts:
            numbered[column] = numbers
        advice = (
            ": does it name frames? Then call it `frame` (numbers from 1) or `time`; otherwise "
            "sort the rows by frame and remove it"
        )
        problems += _goes_back(file, column, numbers, "is not used", advice)
    refuse(problems)
    return numbered


def parts_out_of_order(file: Path, roles: Roles, recording: RecordingFrames) -> list[str]:
    """A problem for each column of parts whose numbers go back, in a file of a recording whose clock
    starts again: its rows are found part by part, in the recording's order."""
    if not recording.frame_times.starts_again:
        return []
    problems = []
    advice = "; sort the rows as the recording's parts follow each other"
    for column in roles.parts:
        numbers = numbers_or_none(file, column)
        if numbers is not None:
            use = "counts parts of the recording"
            problems += _goes_back(file, column, numbers, use, advice)
    return problems


def refuse_ignored(
    file: Path,
    columns: Sequence[str],
    recording: RecordingFrames,
    recordings: Collection[str],
    *,
    ordered: bool,
) -> None:
    """InputError where columns that are to be ignored show that rows are not the recording's
    frames, one by one.

    Rows of another of `recordings`, of another person or of several are refused, and, unless the
    rows are `ordered` by a time anyway, numbers that are all different and go back: frames, times
    or row numbers of rows in another order."""
    roles = roles_of(columns)
    cells = first_cells(file, columns)
    people = [name for name in roles.people if "speaker" not in words_of(name)]  # who may change
    texts = [name for name in (*roles.texts, *roles.frames) if not is_number(cells.get(name, ""))]
    problems = rows_of_other_people(file, roles, recording)
    problems += _rows_of_others(file, texts, recording, recording.names, recordings)
    problems += several_people(file, people, None)
    # Names tell what numbers rows; a column without a role must run evenly to be suspected.
    bookkeeping = (*roles.clocks, *roles.frames, *roles.texts, *roles.rows)
    if not ordered:
        candidates = (*bookkeeping, *roles.values[:MOST_COLUMNS])
        for column, numbers in _orderings(file, candidates, cells, bookkeeping).items():
            is_numbering = column in bookkeeping or runs_evenly(numbers)
            if is_numbering and len(np.unique(numbers)) == len(numbers):
                advice = (
                    ", and rows are taken as frames one after another; sort the rows by it, or "
                    "take it out of the files if it numbers nothing"
                )
                problems += _goes_back(file, column, numbers, "is ignored", advice)
    refuse(problems)


def _goes_back(file: Path, column: str, numbers: Numbers, use: str, advice: str) -> list[str]:
    """A problem where numbers go back from a row to the next."""
    back = np.flatnonzero(np.diff(numbers) < 0)
    if not back.size:
        return []
    row = int(back[0]) + 1
    return [
        f"{where(file, row)}: column {column!r} {use}, but by its numbers the rows are in another "
        f"order ({exact(numbers[row])} after {exact(numbers[row - 1])}){advice}"
    ]


def refuse_other_rows(
    file: Path, numbered: Mapping[str, Numbers], frames: Frames, recording: RecordingFrames
) -> None:
    """InputError where rows laid by their count on some of the frames have numbers that tell of
    other frames.

    Numbers in steps of 1 from 0 or 1, or beyond the recording's frames (of a table of several
    recordings), only count the rows; all others must go with the frames."""
    if len(frames) == recording.frames or len(frames) < FEW_ROWS:
        return
    for column, numbers in numbered.items():
        is_of_a_longer_table = numbers[-1] > recording.frames
        # Numbers that only count the rows say nothing; numbers in the frames' steps agree.
        counts_rows = (np.diff(numbers) == 1).all() and (
            numbers[0] in (0, 1) or is_of_a_longer_table
        )
        apart = numbers - frames
        follows_frames = (apart == apart[0]).all() and (apart[0] in (0, 1) or is_of_a_longer_table)
        if not counts_rows and not follows_frames:
            raise InputError(
                f"{file}: {len(numbers)} rows, as many as frames have a label, but column "
                f"{column!r}, which is not used, numbers them {numbers[0]:g} to {numbers[-1]:g} "
                f"and those frames are {frames[0] + 1} to {frames[-1] + 1}: does it name frames? "
                "Then call it `frame` (numbers from 1); otherwise remove it"
            )


def rows_of_other_people(file: Path, roles: Roles, recording: RecordingFrames) -> list[str]:
    """A problem for each column of subjects with a row of another of the data's people."""
    return _rows_of_others(file, roles.subjects, recording, {recording.person}, recording.people)


def _rows_of_others(
    file: Path,
    columns: Iterable[str],
    recording: RecordingFrames,
    own: Collection[str],
    everyone: Collection[str],
) -> list[str]:
    """A problem for each column with a row that names one of `everyone`, people or recordings, that
    is not an `own`. The name may be a part of a path."""
    problems: list[str] = []
    if not everyone:
        return problems
    for column in columns:
        for row, text in enumerate(read_strings(file, column)):
            # A path names its folders' recordings too.
            names = [text, *(recording_name(part) for part in re.split(r"[/\\]", text))]
            strangers = [name for name in names if name in everyone]
            if strangers and not set(names).intersection(own):
                problems.append(
                    f"{where(file, row)}: column {column!r} names {strangers[0]!r}, but the file "
                    f"is of recording {recording.names[0]!r}; expected rows of one recording and "
                    "its own person"
                )
                break
    return problems


def several_people(file: Path, columns: Sequence[str], frames: Frames | None) -> list[str]:
    """A problem for each column that tells several people or faces apart: one file is of one
    person. `frames` (rows,) are those of the rows, where they are known."""
    problems = []
    for column in columns:
        texts = read_strings(file, column)
        people = list(dict.fromkeys(texts))
        if len(people) < 2:
            continue
        row = texts.index(people[1])
        repeated = ""
        if frames is not None and len(np.unique(frames)) < len(frames):
            repeated = ", several of them in one frame"
        names = shortened([repr(name) for name in people], PEOPLE_SHOWN)
        problems.append(
            f"{where(file, row)}: column {column!r} tells {len(people)} people apart ({names})"
            f"{repeated}; keep the rows of the recording's own person, or remove the column where "
            "all are the same person"
        )
    return problems


def runs_evenly(numbers: Numbers) -> bool:
    """True for values that, sorted, are all different and in equal steps but for holes: row numbers
    or a clock."""
    if len(numbers) < FEW_ROWS or not np.isfinite(numbers).all():
        return False
    steps = np.diff(np.sort(numbers))
    step = float(steps.min())
    if step <= 0 or steps.sum() > MOST_HOLES * len(numbers) * step:
        return False
    # Holes make steps multiples of the smallest.
    multiples = steps / step  # of a rounded clock (0.033, 0.067, 0.1) they are not quite whole
    return bool((np.abs(multiples - np.round(multiples)) <= EVEN * multiples).all())


def _orderings(
    file: Path, columns: Sequence[str], cells: Mapping[str, str], bookkeeping: Sequence[str]
) -> dict[str, Numbers]:
    """(rows,) the numbers of each column that has one in every row; those of numbers are read at
    once. `cells` are the first row's.

    Texts of columns that are no `bookkeeping` by name are looked at only where they begin with a
    time."""
    numeric = [name for name in columns if is_number(cells.get(name, ""))]
    texts = [name for name in columns if name not in numeric]
    orderings: dict[str, Numbers | None] = {}
    if numeric:
        try:
            # One pass for all columns of numbers: a file may have hundreds.
            sheet = read_numbers(file, numeric)
            for name, numbers in zip(numeric, sheet.T, strict=True):
                orderings[name] = None if np.isnan(numbers).any() else numbers
        except InputError:  # some column has a text further down
            for name in numeric:
                if name in bookkeeping:
                    orderings[name] = _ordering(file, name)
    for name in texts:
        if name in bookkeeping or seconds_of(cells.get(name, "")) is not None:
            orderings[name] = _ordering_of_texts(file, name)
    return {name: numbers for name, numbers in orderings.items() if numbers is not None}


def _ordering(file: Path, column: str) -> Numbers | None:
    """(rows,) the numbers of a column, or of its texts; None where some cell has none."""
    numbers = numbers_or_none(file, column)
    if numbers is None:
        return _ordering_of_texts(file, column)
    return None if np.isnan(numbers).any() else numbers


def _ordering_of_texts(file: Path, column: str) -> Numbers | None:
    """(rows,) the seconds of times of day, or the numbers at the end of texts: `x_0012` is 12."""
    texts = read_strings(file, column)
    seconds = [seconds_of(text) for text in texts]
    if None not in seconds:
        return np.array(seconds, dtype=np.float64)
    numbers = []
    for text in texts:
        match = re.search(r"(\d{1,15})\D*$", text)
        if match is None:
            return None
        numbers.append(float(match[1]))
    return np.array(numbers)
