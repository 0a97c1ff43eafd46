"""Rows of a feature file laid against the frames of a recording; frames without a row take the
nearest one.

Conventions: columns that are bookkeeping by their names (column_roles.py) are no features: they
name frames, say whether there was a face (`success`), or are left out. Where no column names
frames, rows are matched to the existing crops when there is one crop a row, else one row is one
frame. Frames without a face take the nearest frame with one, the earlier where two are equally near
(paper 3.1), and are marked not valid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.column_roles import Roles, is_like_a_time, roles_of
from va_search.data.frame_rows import (
    CROP,
    RecordingFrames,
    name_rows,
    nearest,
    refuse_repeated,
    runs_evenly,
)
from va_search.data.importing import refuse
from va_search.data.sheet import (
    and_more,
    empty_lines,
    not_finite,
    read_header,
    read_npy,
    read_numbers,
    where,
)
from va_search.errors import InputError

COUNTER_ROWS = 10
"""From so many rows on, a column that runs in equal steps is no chance."""


@dataclass(frozen=True)
class FrameRows:
    """Features (frames, dim); valid (frames,) False where a frame took another's row; remarks on
    the file."""

    features: NDArray[np.floating]
    valid: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()


def feature_columns(file: Path) -> tuple[str, ...]:
    """Names of the feature columns of a CSV or Parquet file, without its bookkeeping."""
    header = read_header(file)
    roles = roles_of(header)
    if roles.rows and not (roles.frames or roles.texts or roles.clocks):
        name = roles.rows[0]
        what = "has no name of its own" if _is_unnamed(name) else "numbers rows by its name"
        raise InputError(
            f"{file}: column {name!r} {what}: row numbers that pandas wrote? Call it `frame` where it is the frame's "
            "number from 1; otherwise sort the rows by frame and write the file without it"
        )
    if not roles.values:
        raise InputError(f"{file}: no feature column besides {', '.join(header)}")
    return roles.values


def face_column(roles: Roles, *, faces: bool) -> str | None:
    """The column that is 0 where no face was found: `success`, or for want of it, where features
    look at `faces`, a confidence."""
    columns = (*roles.success, *(roles.others if faces else ()))
    return columns[0] if columns else None


def bookkeeping_remarks(feature_set: str, file: Path, *, faces: bool) -> list[str]:
    """Remarks on the columns of a file that are no features and name no frames, and what is done
    with them."""
    if file.suffix == ".npy":
        return []
    roles = roles_of(read_header(file))
    remarks = []
    face = face_column(roles, faces=faces)
    if face is not None:
        remarks.append(
            f"feature set {feature_set!r}: rows whose {face!r} is 0 are frames without a face, which take the nearest "
            "frame with one"
        )
    columns = (*roles.success, *roles.people, *roles.rows, *roles.parts, *roles.others)
    unused = [name or "without a name" for name in columns if name != face]
    if unused:
        names = ", ".join(unused)
        which = f"columns {names} are" if len(unused) > 1 else f"column {names} is"
        remarks.append(
            f"feature set {feature_set!r}: {which} bookkeeping by name, no feature, and not used; a feature needs "
            "another name"
        )
    return remarks


def width(file: Path) -> tuple[str, ...]:
    """Column names of a feature file, from its header alone; those of a .npy file are their numbers
    from 0."""
    return (
        tuple(map(str, range(read_npy(file).shape[1])))
        if file.suffix == ".npy"
        else feature_columns(file)
    )


def read_rows(
    file: Path, recording: RecordingFrames, crops: Path | None, *, faces: bool, first: int = 1
) -> FrameRows:
    """The rows of `file` laid against the recording's frames; InputError with all problems.

    `faces` is whether the features look at faces, so that fewer rows may be frames without one;
    `first` is the number of the first frame."""
    if file.suffix == ".npy":
        rows: NDArray[np.floating] = read_npy(file)
        refuse(not_finite(file, rows, ()))
        remarks = _counters(file, tuple(map(str, range(rows.shape[1]))), rows, named=False)
        laid = _by_count(file, rows, recording, crops, faces=faces)
        return FrameRows(laid.features, laid.valid, (*remarks, *laid.remarks))
    columns = feature_columns(file)
    roles = roles_of(read_header(file))
    rows = read_numbers(file, columns)
    kept = _with_face(file, roles, faces=faces)
    problems = _clock_problems(file, columns, rows)
    frames = None
    remarks = ()
    try:
        named = name_rows(file, roles, recording, first=first)
        frames, remarks = named.frames, named.remarks
        if frames is not None:
            refuse_repeated(file, frames, named.by)
    except InputError as error:
        problems += error.problems
    if file.suffix == ".csv" and frames is None:
        problems += empty_lines(file)
    finite = (
        rows if kept.all() else np.where(kept[:, None], rows, 0.0)
    )  # OpenFace writes what it likes without a face
    refuse(problems + not_finite(file, finite, columns))
    remarks += _counters(file, columns, rows, named=frames is not None)
    if frames is None and kept.all():
        laid = _by_count(file, rows, recording, crops, faces=faces)
    else:
        if frames is None:
            frames, _ = _frames_by_count(file, rows, recording, crops, faces=faces)
        laid = _by_frame(file, rows, frames, recording, kept)
        lacking = int((~laid.valid).sum())
        if (
            lacking and not faces
        ):  # of faces the number of frames without one is told for the whole store
            remarks += (
                f"{file}: {lacking} of {recording.frames} frames have no row and take the nearest one",
            )
    return FrameRows(laid.features, laid.valid, (*remarks, *laid.remarks))


def _is_unnamed(name: str) -> bool:
    return not name or not name[0].isalpha() or name.startswith(("Unnamed", "level_", "X."))


def _with_face(file: Path, roles: Roles, *, faces: bool) -> NDArray[np.bool_]:
    """(rows,) False where a column says that there was no face; InputError where it says neither
    that nor another."""
    column = face_column(roles, faces=faces)
    if column is None:
        return np.ones(1, dtype=bool)
    found = read_numbers(file, [column])[:, 0]
    bad = np.flatnonzero(~(found >= 0) | ((found != 0) & (found != 1) & (column in roles.success)))
    if bad.size:
        row = int(bad[0])
        expected = (
            "1 or 0 (no face in the frame)"
            if column in roles.success
            else "0 (no face in the frame) or more"
        )
        raise InputError(
            f"{where(file, row)}: {column} {found[row]:g}{and_more(bad.size - 1)}, expected {expected}; a feature "
            "needs another name"
        )
    if not found.any():
        raise InputError(f"{file}: {column} is 0 in every row, so no frame has a face")
    return np.asarray(found > 0)


def _clock_problems(file: Path, columns: Sequence[str], rows: NDArray[np.floating]) -> list[str]:
    """Columns called something like a time that also run like one: they would become features that
    tell the time."""
    return [
        f"{file}: column {name!r} is called like a time and runs like one, in equal steps; a time that names frames is "
        "called `time`, and a feature needs another name"
        for index, name in enumerate(columns)
        if is_like_a_time(name) and runs_evenly(np.asarray(rows[:, index], dtype=np.float64))
    ]


def _counters(
    file: Path, columns: Sequence[str], rows: NDArray[np.floating], *, named: bool
) -> tuple[str, ...]:
    """A remark on features that number the rows, whatever they are called.

    InputError where they number them in another order and no column has `named` the frames.
    """
    if len(rows) < COUNTER_ROWS:
        return ()
    remarks, problems = [], []
    for index in np.flatnonzero(np.ptp(rows, axis=0) == len(rows) - 1).tolist():
        numbers = np.asarray(rows[:, index], dtype=np.float64)
        if not runs_evenly(numbers):
            continue
        remarks.append(
            f"{file}: column {columns[index]!r} numbers the rows, and is taken as a feature"
        )
        back = np.flatnonzero(np.diff(numbers) < 0)
        if back.size and not named:
            row = int(back[0]) + 1
            problems.append(
                f"{where(file, row)}: column {columns[index]!r} numbers the rows in another order ({numbers[row]:g} "
                f"after {numbers[row - 1]:g}): does it name frames? Then sort the rows by it and remove it, or, in a "
                "CSV, call it `frame`"
            )
    refuse(problems)
    return tuple(remarks)


def _crop_frames(crops: Path | None) -> list[int]:
    """Frames, from 0, of the existing crops; there is no image 00000.jpg."""
    if crops is None or not crops.is_dir():
        return []
    matches = [CROP.fullmatch(path.name) for path in crops.iterdir()]
    return sorted({int(match[1]) - 1 for match in matches if match and int(match[1]) > 0})


def _frames_by_count(
    file: Path,
    values: NDArray[np.floating],
    recording: RecordingFrames,
    crops: Path | None,
    *,
    faces: bool,
) -> tuple[NDArray[np.int64], bool]:
    """(rows,) frames where nothing names them, and whether crops told them; InputError for counts
    that fit nothing."""
    existing = _crop_frames(crops)
    rows, dim = values.shape
    if rows != recording.frames and len(existing) == rows:
        return np.array(existing, dtype=np.int64), True
    if abs(rows - recording.frames) <= 1:
        return np.arange(rows, dtype=np.int64), False
    counts = f"{rows} rows, but {recording.source} has {recording.frames} frames"
    if crops is not None:
        counts += f" and {crops} {len(existing)} crops"
    if dim == recording.frames:
        raise InputError(
            f"{file}: {counts}; it has {dim} columns, as many as frames: rows and columns changed places?"
        )
    raise InputError(f"{file}: {counts}; {_count_advice(rows, recording, crops, faces=faces)}")


def _count_advice(rows: int, recording: RecordingFrames, crops: Path | None, *, faces: bool) -> str:
    """Words on the rate that a number of rows looks like, and how to bring the rows to the
    frames."""
    rate = _likely_rate(rows, recording)
    expected = "expected one row per frame" + (" or one per crop" if crops is not None else "")
    fps = f"{recording.frames_per_second:g}"
    looks = (
        f"{expected}. At {fps} frames per second they look like {rate:g} rows per second: bring them to the frames "
        f"first, row i of the new file at (i − 1) / {fps} s"
    )
    if not faces or rows > recording.frames:
        return looks
    if crops is None:
        return f"{looks}. If rows stand only for frames with a face, name them in a column `frame`, or give --crops"
    return f"{looks}. If rows stand only for some frames, name them in a column `frame`"


def _likely_rate(rows: int, recording: RecordingFrames) -> float:
    """The roundest number of rows per second that gives so many rows, or one more or less, in the
    recording's time."""
    seconds = recording.frames / recording.frames_per_second
    low, high = (rows - 1) / seconds, (rows + 1) / seconds
    for step in (100, 50, 25, 10, 5, 1, 0.5, 0.1):
        nearest_step = round(rows / seconds / step) * step
        if nearest_step > 0 and low <= nearest_step <= high:
            return round(nearest_step, 1)
    return round(rows / seconds, 2)


def _by_count(
    file: Path,
    rows: NDArray[np.floating],
    recording: RecordingFrames,
    crops: Path | None,
    *,
    faces: bool,
) -> FrameRows:
    """Rows laid down one a frame, or one a crop."""
    count, frames = len(rows), recording.frames
    known, by_crops = _frames_by_count(file, rows, recording, crops, faces=faces)
    if by_crops:
        return _by_frame(file, rows, known, recording, np.ones(count, dtype=bool))
    valid = np.ones(frames, dtype=bool)
    if count == frames:
        return FrameRows(rows, valid)
    if count > frames:
        remark = f"{file}: {count} rows, {recording.source} has {frames} frames; last row dropped"
        return FrameRows(rows[:frames], valid, (remark,))
    if count == 0:
        raise InputError(f"{file}: no rows")
    valid[-1] = False
    remark = f"{file}: {count} rows, {recording.source} has {frames} frames; the last frame takes the last row"
    return FrameRows(rows[nearest(known, frames)], valid, (remark,))


def _by_frame(
    file: Path,
    rows: NDArray[np.floating],
    found: NDArray[np.int64],
    recording: RecordingFrames,
    kept: NDArray[np.bool_],
) -> FrameRows:
    """Rows laid on the frames that they name, those of `kept` (rows,) only; the other frames take
    the nearest row."""
    frames = recording.frames
    if found.max() > frames:
        last = int(found.argmax())
        raise InputError(
            f"{where(file, last)}: last frame {found[last] + 1}, but {recording.source} has {frames} frames; more than "
            "one apart, so they are not of the same recording or not at the same frame rate"
        )
    inside = found < frames
    one_more = (
        f"{file}: a row for frame {frames + 1}, one more than {recording.source} has; dropped"
    )
    remarks = () if inside.all() else (one_more,)
    chosen = np.flatnonzero(inside & kept)
    if not chosen.size:
        raise InputError(f"{file}: no row for any of the {frames} frames of {recording.source}")
    order = chosen[np.argsort(found[chosen], kind="stable")]
    known = found[order]
    valid = np.zeros(frames, dtype=bool)
    valid[known] = True
    return FrameRows(rows[order[nearest(known, frames)]], valid, remarks)
