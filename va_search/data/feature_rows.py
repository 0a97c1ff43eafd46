"""Rows of a feature file laid against the frames of a recording; frames without a row take the
nearest one.

Conventions: columns that are bookkeeping by their names (column_names.py) are no features: they
name frames, say whether there was a face (`success`), or are left out. Where no column names
frames, rows are matched to the existing crops when there is one crop a row, else one row is one
frame. Frames without a face take the nearest frame with one, the earlier where two are equally near
(paper 3.1), and are marked not valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.arrays import Flags, Values, column_extremes
from va_search.data.clock import Frames
from va_search.data.column_names import Roles, is_like_a_time, roles_of
from va_search.data.frame_names import CROP, RecordingFrames, nearest
from va_search.data.frame_rows import name_rows, refuse_repeated
from va_search.data.problems import refuse
from va_search.data.readers import (
    empty_lines,
    not_finite,
    read_features,
    read_header,
    read_numbers,
    reader_of,
    where,
    wrong_rows,
)
from va_search.data.row_checks import runs_evenly
from va_search.errors import InputError

COUNTER_ROWS = 10
"""From so many rows on, a column that runs in equal steps is no chance."""

Rows = Values


@dataclass(frozen=True)
class FrameRows:
    """Features (frames, dim); valid (frames,) False where a frame took another's row; remarks on
    the file."""

    features: Rows
    valid: Flags
    remarks: tuple[str, ...] = ()


def feature_columns(file: Path) -> tuple[str, ...]:
    """Names of the feature columns of a file, without its bookkeeping; InputError where there are
    none, or rows are numbered and nothing else names frames."""
    header = read_header(file)
    roles = roles_of(header)
    if roles.rows and not (roles.frames or roles.texts or roles.clocks):
        name = roles.rows[0]
        is_unnamed = not name[:1].isalpha() or name.startswith(("Unnamed", "level_", "X."))
        reason = "has no name of its own" if is_unnamed else "numbers rows by its name"
        raise InputError(
            f"{file}: column {name!r} {reason}: row numbers that pandas wrote? Call it `frame` where "
            "it is the frame's number from 1; otherwise sort the rows by frame and write the file "
            "without it"
        )
    if not roles.values:
        raise InputError(f"{file}: no feature column besides {', '.join(header)}")
    return roles.values


def face_column(roles: Roles, *, faces: bool) -> str | None:
    """The column that is 0 where no face was found: `success`, or for want of it, where features
    look at `faces`, a confidence."""
    columns = roles.success
    if faces:
        columns += roles.others
    return columns[0] if columns else None


def bookkeeping_remarks(feature_set: str, file: Path, *, faces: bool) -> list[str]:
    """Remarks on how a file is written, and on its columns that are no features and name no frames
    and what is done with them."""
    roles = roles_of(read_header(file))
    remarks = [f"feature set {feature_set!r}: {remark}" for remark in reader_of(file).remarks(file)]
    face = face_column(roles, faces=faces)
    if face is not None:
        remarks.append(
            f"feature set {feature_set!r}: rows whose {face!r} is 0 are frames without a face, "
            "which take the nearest frame with one"
        )
    columns = (*roles.success, *roles.people, *roles.rows, *roles.parts, *roles.others)
    unused = [name or "without a name" for name in columns if name != face]
    if unused:
        subject = f"column {unused[0]} is"
        if len(unused) > 1:
            subject = f"columns {', '.join(unused)} are"
        remarks.append(
            f"feature set {feature_set!r}: {subject} bookkeeping by name, no feature, and not "
            "used; a feature needs another name"
        )
    return remarks


def read_rows(
    file: Path, recording: RecordingFrames, crops: Path | None, *, faces: bool, first: int = 1
) -> FrameRows:
    """The rows of `file` laid against the recording's frames; InputError with all problems.

    `crops` is the recording's folder of face crops. `faces`: the features look at faces, so that
    fewer rows may be frames without one. `first` is the number of the first frame."""
    columns = feature_columns(file)
    roles = recording.roles_of(file)
    rows = read_features(file, columns)
    # Rows without a face are no measurements: their frames take another's.
    has_face = _rows_with_face(file, roles, len(rows), faces=faces)
    problems = _clock_problems(file, columns, rows)
    frames = None
    remarks: tuple[str, ...] = ()
    try:
        named = name_rows(file, roles, recording, first=first)
        frames, remarks = named.frames, named.remarks
        if frames is not None:
            refuse_repeated(file, frames, named.by)
    except InputError as error:
        problems += error.problems
    if frames is None:
        problems += empty_lines(file)
    # OpenFace writes what it likes into rows without a face.
    checked = rows if has_face.all() else np.where(has_face[:, None], rows, 0.0)
    low, high = column_extremes(checked)
    # NaN and infinity are the extremes of their columns.
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        problems += not_finite(file, checked, columns)
    refuse(problems)
    ranges = high - low if checked is rows else np.ptp(rows, axis=0)
    remarks += _counters(file, columns, rows, ranges, named=frames is not None)
    # Rows that nothing names go by their count: one a crop, or one a frame.
    if frames is None:
        counted = _frames_by_count(file, rows, recording, crops, faces=faces)
        if has_face.all() and not counted.by_crops:
            laid = _lay_in_order(file, rows, recording)
        else:
            laid = _lay_by_frame(file, rows, counted.frames, recording, has_face)
    else:
        laid = _lay_by_frame(file, rows, frames, recording, has_face)
    lacking = int((~laid.valid).sum())
    # Of faces the number of frames without one is told for the whole store.
    if lacking and not faces and (frames is not None or not has_face.all()):
        remarks += (
            f"{file}: {lacking} of {recording.frames} frames have no row and take the nearest one",
        )
    return FrameRows(laid.features, laid.valid, (*remarks, *laid.remarks))


def _rows_with_face(file: Path, roles: Roles, rows: int, *, faces: bool) -> Flags:
    """(rows,) False where a column says that there was no face; InputError where it says neither
    that nor the contrary."""
    column = face_column(roles, faces=faces)
    if column is None:
        return np.ones(rows, dtype=bool)
    numbers = read_numbers(file, [column])[:, 0]
    allowed = numbers >= 0
    expected = "0 (no face in the frame) or more"
    if column in roles.success:
        allowed = (numbers == 0) | (numbers == 1)
        expected = "1 or 0 (no face in the frame)"
    if wrong := wrong_rows(file, ~allowed):
        raise InputError(
            f"{wrong.position}: {column} {numbers[wrong.row]:g}{wrong.more}, expected {expected}; "
            "a feature needs another name"
        )
    if not numbers.any():
        raise InputError(f"{file}: {column} is 0 in every row, so no frame has a face")
    return np.asarray(numbers > 0)


def _clock_problems(file: Path, columns: Sequence[str], rows: Rows) -> list[str]:
    """Columns called something like a time that also run like one: they would become features that
    tell the time."""
    problems = []
    for index, name in enumerate(columns):
        if is_like_a_time(name) and runs_evenly(np.asarray(rows[:, index], dtype=np.float64)):
            problems.append(
                f"{file}: column {name!r} is called like a time and runs like one, in equal steps; "
                "a time that names frames is called `time`, and a feature needs another name"
            )
    return problems


def _counters(
    file: Path, columns: Sequence[str], rows: Rows, ranges: Rows, *, named: bool
) -> tuple[str, ...]:
    """A remark on features that number the rows, whatever they are called; `ranges` (dim,) are from
    the smallest to the largest of each.

    InputError where they number them in another order and no column has `named` the frames.
    """
    if len(rows) < COUNTER_ROWS:
        return ()
    remarks, problems = [], []
    for index in np.flatnonzero(ranges == len(rows) - 1).tolist():
        numbers = np.asarray(rows[:, index], dtype=np.float64)
        if not runs_evenly(numbers):
            continue
        name = columns[index]
        remarks.append(f"{file}: column {name!r} numbers the rows, and is taken as a feature")
        back = np.flatnonzero(np.diff(numbers) < 0)
        if back.size and not named:
            row = int(back[0]) + 1
            problems.append(
                f"{where(file, row)}: column {name!r} numbers the rows in another order "
                f"({numbers[row]:g} after {numbers[row - 1]:g}): does it name frames? Then sort "
                "the rows by it and remove it, or, in a CSV, call it `frame`"
            )
    refuse(problems)
    return tuple(remarks)


@dataclass(frozen=True)
class _CountedRows:
    """`frames` (rows,) where nothing names them: those of the crops, or one after another."""

    frames: Frames
    by_crops: bool


def _frames_by_count(
    file: Path, rows: Rows, recording: RecordingFrames, crops: Path | None, *, faces: bool
) -> _CountedRows:
    """Frames by the number of rows alone; InputError for numbers that fit nothing."""
    existing = _crop_frames(crops)
    count, dim = rows.shape
    if count != recording.frames and len(existing) == count:
        return _CountedRows(np.array(existing, dtype=np.int64), by_crops=True)
    if abs(count - recording.frames) <= 1:
        return _CountedRows(np.arange(count, dtype=np.int64), by_crops=False)
    # Neither crops nor frames fit: say what the number of rows looks like.
    counts = f"{count} rows, but {recording.source} has {recording.frames} frames"
    if crops is not None:
        counts += f" and {crops} {len(existing)} crops"
    advice = _count_advice(count, recording, crops, faces=faces)
    if dim == recording.frames:
        advice = f"it has {dim} columns, as many as frames: rows and columns changed places?"
    raise InputError(f"{file}: {counts}; {advice}")


def _crop_frames(crops: Path | None) -> list[int]:
    """Frames, from 0, of the existing crops; there is no image 00000.jpg."""
    if crops is None or not crops.is_dir():
        return []
    matches = [CROP.fullmatch(path.name) for path in crops.iterdir()]
    return sorted({int(match[1]) - 1 for match in matches if match and int(match[1]) > 0})


def _count_advice(rows: int, recording: RecordingFrames, crops: Path | None, *, faces: bool) -> str:
    """Words on the rate that a number of rows looks like, and how to bring the rows to the
    frames."""
    expected = "one row per frame"
    if crops is not None:
        expected += " or one per crop"
    fps = f"{recording.frames_per_second:g}"
    advice = (
        f"expected {expected}. At {fps} frames per second they look like "
        f"{_likely_rate(rows, recording):g} rows per second: bring them to the frames first, row i "
        f"of the new file at (i − 1) / {fps} s"
    )
    if not faces or rows > recording.frames:
        return advice
    if crops is None:
        advice += (
            ". If rows stand only for frames with a face, name them in a column `frame`, or give "
            "--crops"
        )
    else:
        advice += ". If rows stand only for some frames, name them in a column `frame`"
    return advice


def _likely_rate(rows: int, recording: RecordingFrames) -> float:
    """The roundest number of rows per second that gives so many rows, or one more or less, in the
    recording's time."""
    seconds = recording.frames / recording.frames_per_second
    low, high = (rows - 1) / seconds, (rows + 1) / seconds
    # Feature extractors have round rates: 100 or 50 rows per second, seldom 43.7.
    for step in (100, 50, 25, 10, 5, 1, 0.5, 0.1):
        rate = round(rows / seconds / step) * step
        if rate > 0 and low <= rate <= high:
            return round(rate, 1)
    return round(rows / seconds, 2)


def _lay_in_order(file: Path, rows: Rows, recording: RecordingFrames) -> FrameRows:
    """Rows laid down one a frame; there may be one more or one less than frames."""
    count, frames = len(rows), recording.frames
    valid = np.ones(frames, dtype=bool)
    counts = f"{file}: {count} rows, {recording.source} has {frames} frames"
    if count > frames:
        return FrameRows(rows[:frames], valid, (f"{counts}; last row dropped",))
    if count < frames:
        valid[-1] = False
        laid = rows[nearest(np.arange(count), frames)]
        return FrameRows(laid, valid, (f"{counts}; the last frame takes the last row",))
    return FrameRows(rows, valid)


def _lay_by_frame(
    file: Path, rows: Rows, row_frames: Frames, recording: RecordingFrames, used: Flags
) -> FrameRows:
    """Rows laid on their frames `row_frames` (rows,), those of `used` (rows,) only; the other
    frames take the nearest row."""
    frames = recording.frames
    if row_frames.max() > frames:
        row = int(row_frames.argmax())
        raise InputError(
            f"{where(file, row)}: last frame {row_frames[row] + 1}, but {recording.source} has "
            f"{frames} frames; more than one apart, so they are not of the same recording or not "
            "at the same frame rate"
        )
    # One row more is taken for a last, half frame and dropped.
    inside = row_frames < frames
    remarks: tuple[str, ...] = ()
    if not inside.all():
        remarks = (
            f"{file}: a row for frame {frames + 1}, one more than {recording.source} has; dropped",
        )
    chosen = np.flatnonzero(inside & used)
    if not chosen.size:
        raise InputError(f"{file}: no row for any of the {frames} frames of {recording.source}")
    # Rows in the order of their frames; frames between take the nearest of these.
    order = chosen[np.argsort(row_frames[chosen], kind="stable")]
    own_frames = row_frames[order]
    valid = np.zeros(frames, dtype=bool)
    valid[own_frames] = True
    return FrameRows(rows[order[nearest(own_frames, frames)]], valid, remarks)
