"""Rows of a file brought to the frames of a recording: the one reader for features, predictions,
labels and samples.

A file's own columns say which row is which frame (column_names.py): a number of the frame
(`frame`), an image (`image_location`, such as v1/00001.jpg), or a time (`timestamp`, `Time (s)`).
Where it has several they must agree. Where it has none the caller may go by row counts, once
`refuse_shuffled` has seen no sign of another order.

Conventions: frames count from 1 in files (frame i is image `{i:05d}.jpg`) and from 0 in arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.clock import RATE_APART, Frames, Times, frames_at, rate_of
from va_search.data.column_names import Roles
from va_search.data.frame_names import RecordingFrames, frames_of_column
from va_search.data.problems import and_more, refuse
from va_search.data.readers import empty_lines, where, wrong_rows
from va_search.data.row_checks import (
    parts_out_of_order,
    refuse_other_rows,
    refuse_shuffled,
    rows_of_other_people,
    several_people,
)
from va_search.data.time_texts import read_times
from va_search.errors import InputError

REACHED = 0.98
"""Share of a recording that frames must reach which a clock of another rate names."""


@dataclass(frozen=True)
class NamedRows:
    """`frames` (rows,) from 0 as the columns `by` name them, None where nothing does; `unused` are
    the other columns that are no values, `remarks` what a reader of the result should know."""

    frames: Frames | None
    by: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlacedRows:
    """`frames` (rows,) of the recording from 0, each once; `unused` columns, and remarks on the
    file."""

    frames: Frames
    unused: tuple[str, ...]
    remarks: tuple[str, ...]


def name_rows(file: Path, roles: Roles, recording: RecordingFrames, *, first: int = 1) -> NamedRows:
    """The frame of each row of a file, by every column of it that names frames.

    Frames may lie outside the recording; whether that is an error is the caller's business. `first`
    is the number of the first frame. InputError for rows of another recording, of several people,
    columns that contradict each other, a time that is no frame's."""
    named: dict[str, Frames] = {}
    problems: list[str] = []
    for column in (*roles.frames, *roles.texts):
        try:
            frames = frames_of_column(file, column, recording, first)
        except InputError as error:
            problems += error.problems
            continue
        if frames is not None:
            named[column] = frames
    refuse(problems)
    _refuse_contradictions(file, named, first)
    # Numbers are exact; times, whose unit and beginning must be guessed, are held against them.
    numbered = next(iter(named.values()), None)
    by_times, remarks = _frames_by_clocks(file, roles.clocks, recording, numbered)
    named |= by_times
    _refuse_contradictions(file, named, first)
    frames = next(iter(named.values()), None)
    # A row of the right frame may still be of another face or recording.
    refuse(several_people(file, roles.people, frames))
    refuse(rows_of_other_people(file, roles, recording))
    refuse(parts_out_of_order(file, roles, recording))
    # Texts that are no images name the recording: they are used.
    bookkeeping = (
        *roles.frames,
        *roles.clocks,
        *roles.people,
        *roles.success,
        *roles.rows,
        *roles.parts,
        *roles.others,
    )
    unused = tuple(name for name in bookkeeping if name not in named)
    return NamedRows(frames, tuple(named), unused, tuple(remarks))


def place_rows(
    file: Path,
    recording: RecordingFrames,
    values: Sequence[str],
    by_count: Callable[[], Frames],
    *,
    first: int = 1,
) -> PlacedRows:
    """The frame of each row of a sheet of the columns `values`.

    `by_count` is asked where no column names frames. InputError for frames outside the recording,
    frames with two rows, and whatever `name_rows` and `refuse_shuffled` refuse."""
    roles = recording.roles_of(file, values)
    named = name_rows(file, roles, recording, first=first)
    unused = (*(name for name in roles.values if name not in values), *named.unused)
    frames = named.frames
    if frames is None:
        numbered = refuse_shuffled(file, roles, values)
        refuse(empty_lines(file))
        frames = by_count()
        refuse_other_rows(file, numbered, frames, recording)
    else:
        refuse_outside(file, frames, recording, first=first)
        refuse_repeated(file, frames, named.by)
    return PlacedRows(frames, unused, named.remarks)


def refuse_repeated(file: Path, frames: Frames, by: tuple[str, ...]) -> None:
    """InputError where a frame has two rows."""
    # Rows of one frame are neighbours once sorted; the second of them is told.
    order = np.argsort(frames, kind="stable")
    repeated = np.flatnonzero(np.diff(frames[order]) == 0)
    if repeated.size:
        row = int(order[repeated[0] + 1])
        named = f", by column {by[0]!r}" if by else ""
        raise InputError(
            f"{where(file, row)}: frame {frames[row] + 1} has two rows"
            f"{and_more(repeated.size - 1)}{named}; expected one row a frame"
        )


def refuse_outside(
    file: Path, frames: Frames, recording: RecordingFrames, *, first: int = 1
) -> None:
    """InputError where rows name frames before the first of the recording or behind its last."""
    if outside := wrong_rows(file, (frames < 0) | (frames >= recording.frames)):
        raise InputError(
            f"{outside.position}: frame {frames[outside.row] + first}{outside.more}, but the "
            f"recording has {recording.frames} frames, numbered from {first} to "
            f"{recording.frames + first - 1}"
        )


def _refuse_contradictions(file: Path, named: dict[str, Frames], first: int) -> None:
    """InputError where two columns put a row on different frames."""
    leading, *columns = named or [""]
    for column in columns:
        if apart := wrong_rows(file, named[leading] != named[column]):
            numbers = [named[name][apart.row] + first for name in (leading, column)]
            raise InputError(
                f"{apart.position}: column {leading!r} says frame {numbers[0]} and column "
                f"{column!r} frame {numbers[1]}{apart.more}; remove the wrong one"
            )


def _frames_by_clocks(
    file: Path, columns: tuple[str, ...], recording: RecordingFrames, numbered: Frames | None
) -> tuple[dict[str, Frames], list[str]]:
    """(rows,) frames by each column of times that fits the frames' times, and remarks on those that
    do not.

    The store's own time column must fit, and so must one clock where no column has `numbered` the
    frames. Beside numbered frames another clock, of another beginning or a rate that is not exactly
    known, only has to increase."""
    # The store's own times are the frames' names.
    own = recording.own_clock
    if own in columns:  # whatever other clocks say
        columns = tuple(name for name in columns if name == own)
    fitting: dict[str, Frames] = {}
    remarks: list[str] = []
    problems: list[str] = []
    for column in columns:
        try:
            times = read_times(file, column)
        except InputError as error:
            if numbered is None or column == own:
                problems += error.problems
            continue
        try:
            fitting[column] = frames_at(file, column, times, recording.frame_times)
        except InputError as error:
            if numbered is None or column == own:
                problems += error.problems
            else:
                remarks += _other_rate(file, column, rate_of(times, numbered, column), recording)
                problems += _ends_early(numbered, recording, remarks)
        if numbered is not None:
            problems += _backward(file, column, times, numbered)
    # Of several clocks without numbers one that fits is enough: others may run on their own.
    if numbered is not None or not fitting:
        refuse(problems)
    return fitting, remarks


def _other_rate(
    file: Path, column: str, rate: float | None, recording: RecordingFrames
) -> list[str]:
    """A remark where the times of frames are at another rate than the recording's."""
    if rate is None or abs(rate / recording.frames_per_second - 1) <= RATE_APART:
        return []
    return [
        f"{file}: its column {column!r} steps as {rate:.4g} frames per second do, but "
        f"{recording.frames_per_second:g} are taken"
    ]


def _ends_early(frames: Frames, recording: RecordingFrames, remarks: list[str]) -> list[str]:
    """A problem where frames of another rate, on which there are `remarks`, end before the
    recording does.

    Numbers of rows at another rate (openSMILE's frameIndex) do; numbers of frames of a video whose
    rate was not given reach the recording's end."""
    # A few frames may lack rows at the end without being of another rate.
    end = int(frames.max()) + 1
    if not remarks or end >= min(REACHED * recording.frames, recording.frames - 2):
        return []
    return [
        f"{remarks[-1]}, and its frames end at {end} of {recording.frames}: are they frames of the "
        "recording? Correct the recording's frame rate, or the numbers"
    ]


def _backward(file: Path, column: str, times: Times, frames: Frames) -> list[str]:
    """A problem where times do not increase with the frames that other columns name."""
    order = np.argsort(frames, kind="stable")
    back = np.flatnonzero(~(np.diff(times[order]) > 0) & (np.diff(frames[order]) > 0))
    if not back.size:
        return []
    previous, row = int(order[back[0]]), int(order[back[0] + 1])
    return [
        f"{where(file, row)}: {column} {times[row]:g} of frame {frames[row] + 1} after "
        f"{times[previous]:g} of frame {frames[previous] + 1}{and_more(back.size - 1)}; times must "
        "increase with the frames"
    ]
