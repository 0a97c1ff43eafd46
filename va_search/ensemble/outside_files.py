"""The predictions of a model from elsewhere, out of its files, on a store's frames.

    DIR/<model>/<recording>.csv     a column a target, and if wanted columns that name frames or times (frame_rows.py)
    DIR/<model>/<recording>.npy     (frames, targets) in the store's order
    DIR/<model>/<any>.csv, .txt     one file of all recordings: a column says whose each row is (split_file.py)

Conventions: values are on the targets' own scales, as they were written. A row belongs to the frame
that its columns name, by number, image or time; where they name none, rows are all frames of the
recording, or exactly its labelled ones. A clock of another rate, or that begins elsewhere, is read
too: each row belongs to the nearest frame, at most half a frame away, and rows of one frame count
as their mean. A frame without a row takes the value of the nearest one that has rows (the earlier
where two are as near); a labelled frame must have a row, or lie within half a step of the rows
where those are fewer than the frames (less than a step at the ends). Only validation and test recordings are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.arrays import Flags, Floats
from va_search.data.clock import Frames
from va_search.data.frame_names import (
    RecordingFrames,
    first_number,
    frames_of_column,
    nearest,
    recording_name,
)
from va_search.data.frame_rows import place_rows
from va_search.data.nearby import Nearby
from va_search.data.problems import first_few, not_used, refuse, unknown_column
from va_search.data.readers import read_header, read_numbers, reader_of
from va_search.data.row_checks import (
    parts_out_of_order,
    rows_of_other_people,
    several_people,
)
from va_search.data.row_times import rows_by_time
from va_search.data.split_file import SplitFile, names_recordings, split_file
from va_search.data.store import Recording, Store
from va_search.errors import InputError, nearest_name
from va_search.files import file_name_of
from va_search.predictions.bank import PREDICTED

SUFFIXES = (".csv", ".npy")
"""Formats of a file per recording."""
WHOLE_SUFFIXES = (".csv", ".txt")
"""Formats of one file of all recordings."""
PROBLEMS = 40
NAMES = 5

CheckValues = Callable[[Path, Floats, Sequence[str]], None]
"""Takes a file, its values (rows, targets) and the targets' names; InputError for wrong values."""


@dataclass
class ModelFiles:
    """The files of one model: `files` are those of validation and test recordings. `targets`: names
    of the store's targets that the files predict, in the store's order. `splits`: those that have
    predictions."""

    source: Path
    files: dict[Path, Recording] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    splits: tuple[str, ...] = PREDICTED
    split_file: SplitFile | None = None
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    conversions: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """InputError with all problems, if there are any, in words on the model's own files."""
        if self.problems:
            problems = self.problems
            if self.split_file is not None:
                problems = [self.split_file.told(problem) for problem in problems]
            raise InputError(*first_few(problems, PROBLEMS), *self.conversions)


@dataclass(frozen=True)
class ModelPredictions:
    """`values` (frames, targets) by split in the store's frame order; `filled_frames`: how many took
    another frame's value; remarks on the files."""

    values: dict[str, NDArray[np.float32]]
    filled_frames: int
    remarks: tuple[str, ...]


def find_files(source: Path, store: Store, scratch: Path) -> ModelFiles:
    """Find the files of the model in folder (or file) `source`, and the targets that they predict.

    One file of all recordings is cut into parts in the folder `scratch`. Problems are kept in the
    result, but for a file that can't be cut."""
    model = ModelFiles(source)
    predicted = [recording for split in PREDICTED for recording in store.split(split)]
    whole = source if source.is_file() else _whole_file(source, store, model)
    if whole is None:
        _find_file_per_recording(model, predicted, store)
    else:
        names = {recording.name for recording in store.recordings}
        model.split_file = split_file(whole, names, scratch)
        parts = model.split_file.parts
        missing = [recording.name for recording in predicted if recording.name not in parts]
        if not _is_validation_only(model, missing, store):
            text = ", ".join(missing[:NAMES]) + (", …" if len(missing) > NAMES else "")
            if missing:
                kind = "recording" if len(missing) == 1 else "recordings"
                model.problems.append(
                    f"{whole}: no row of {len(missing)} validation or test {kind}: {text}"
                )
        for recording in predicted:
            if recording.name in parts:
                model.files[parts[recording.name]] = recording
    _find_targets(model, store)
    return model


def _whole_file(folder: Path, store: Store, model: ModelFiles) -> Path | None:
    """The one file of all recordings in a folder; None where a file has a recording's name, or there
    is no such file. Two of the same content are one."""
    known = _recordings_by_stem(store)
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(_recording_of(path, known) for path in paths):
        return None
    wholes = [path for path in paths if path.suffix in WHOLE_SUFFIXES and path.is_file()]
    if len(wholes) > 1 and len({path.read_bytes() for path in wholes}) == 1:
        others = ", ".join(path.name for path in wholes[1:])
        model.remarks.append(f"{wholes[0]}: read; of the same content and not read: {others}")
        wholes = wholes[:1]
    names = {recording.name for recording in store.recordings}
    if len(wholes) != 1 or not names_recordings(wholes[0], names):
        return None
    return wholes[0]


def _recordings_by_stem(store: Store) -> dict[str, Recording]:
    """The store's recordings by the names that their files may have."""
    by_stem: dict[str, Recording] = {
        file_name_of(recording.name): recording for recording in store.recordings
    }
    return {**by_stem, **{recording.name: recording for recording in store.recordings}}


def _recording_of(path: Path, known: dict[str, Recording]) -> Recording | None:
    """The recording whose file it is by its name: v1.csv, or v1.mp4.csv, of v1."""
    return known.get(path.stem) or known.get(recording_name(path.stem))


def _find_file_per_recording(
    model: ModelFiles, predicted: Sequence[Recording], store: Store
) -> None:
    folder = model.source
    known = _recordings_by_stem(store)
    by_name: dict[str, Path] = {}
    strangers = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in SUFFIXES or path.name.startswith("."):
            continue
        recording = _recording_of(path, known)
        if recording is None:
            strangers.append(path.name)
        elif recording.name in by_name:
            model.problems.append(
                f"{by_name[recording.name]} and {path.name}: two files of one recording; keep one"
            )
        else:
            by_name[recording.name] = path
    nearby = Nearby(folder, SUFFIXES, {recording.name for recording in store.recordings})
    missing = [recording.name for recording in predicted if recording.name not in by_name]
    if missing and (strangers or not _is_validation_only(model, missing, store)):
        model.problems[:0] = _missing_problems(folder, missing, strangers, nearby, store)
    for recording in predicted:
        if recording.name in by_name:
            model.files[by_name[recording.name]] = recording
            for twin in nearby.in_other_formats(recording.name):
                model.problems.append(
                    f"{by_name[recording.name]} and {twin}: two files of one recording; keep one"
                )
    if strangers:
        model.remarks.append(
            f"{folder}: the store has no recording of these names, so they are not read: "
            f"{_first_names(strangers)}"
        )
    model.conversions += nearby.conversions().values()


def _is_validation_only(model: ModelFiles, missing: Sequence[str], store: Store) -> bool:
    """True where exactly the test recordings are missing; the model then says so."""
    test = [recording.name for recording in store.split("test")]
    if not test or list(missing) != test or not store.split("validation"):
        return False
    model.splits = ("validation",)
    model.remarks.append(
        f"{model.source}: no test predictions: it is scored on validation, and can be no member of "
        "an ensemble of this store, which predicts the test recordings"
    )
    return True


def _missing_problems(
    folder: Path, missing: list[str], strangers: list[str], nearby: Nearby, store: Store
) -> list[str]:
    """Return problems that name the recordings without a file, and the files that lie there
    instead."""
    if not any(path.suffix in SUFFIXES for path in folder.iterdir()):
        example = "the store has none"
        if missing:
            example = f"such as {missing[0]}.csv"
        text = f"{folder}: no CSV in it, expected one per recording ({example}), or one of all"
        text += f"; found {nearby.inside()}" if nearby.names else ""
    else:
        kind = "recording" if len(missing) == 1 else "recordings"
        text = f"{folder}: no file for {len(missing)} validation or test {kind}: "
        text += _first_names(missing)
        if strangers:
            text += f"; there are files of no recording of the store: {_first_names(strangers)}"
    problems = [text]
    for name in missing:
        instead = nearby.instead_of([name])
        if instead:
            problems.append(f"{folder}: no {name}.csv{instead}")
    return first_few(problems, NAMES + 1)


def _first_names(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")


def _find_targets(model: ModelFiles, store: Store) -> None:
    """Set the model's targets: those of the store that any of its files has a column of.

    A problem for a column that is called nearly as a target that no file has; a remark where the
    model lacks targets."""
    columns: dict[str, Path] = {}
    for file in model.files:
        if not reader_of(file).has_names:
            columns |= dict.fromkeys(store.target_names, file)
            continue
        try:
            columns |= {name: columns.get(name, file) for name in read_header(file)}
        except InputError:
            continue  # told when the file is read
    present = tuple(name for name in store.target_names if name in columns)
    lacking = [name for name in store.target_names if name not in columns]
    others = [name for name in columns if name not in store.target_names]
    for name in lacking:
        near = nearest_name(name, others)
        if near is not None and present:
            model.problems.append(f"{columns[near]}: {unknown_column(name, columns)}")
    model.targets = present or store.target_names
    if present and lacking:
        model.remarks.append(
            f"{model.source}: predicts {', '.join(present)}; it can be a member for nothing else"
        )


def read_files(model: ModelFiles, store: Store, check: CheckValues) -> ModelPredictions:
    """Return the model's predictions; InputError with everything wrong in its files."""
    # Frames count from 0 or from 1, the same in all files of a model.
    frames_of = {file: RecordingFrames.of(each, store) for file, each in model.files.items()}
    first = first_number(frames_of)
    values: dict[str, list[Floats]] = {split: [] for split in model.splits}
    filled = 0
    unused: dict[str, None] = {}
    remarks: list[str] = []
    for file, recording in model.files.items():
        try:
            part = read_recording(file, recording, store, model.targets, first=first, check=check)
        except InputError as error:
            model.problems += error.problems
            continue
        values[recording.split].append(part.values)
        filled += part.filled
        unused |= dict.fromkeys(part.unused)
        remarks += part.remarks
    model.refuse()
    joined = {}
    for split, parts in values.items():
        empty = np.empty((0, len(model.targets)))
        joined[split] = np.concatenate([empty, *parts]).astype(np.float32)
    first_remarks = [*not_used(model.source, list(unused)), *model.remarks]
    if first == 0:
        first_remarks.append(
            f"{model.source}: frames count from 0 in it, since every file begins at frame 0"
        )
    if model.split_file is not None:
        remarks = [model.split_file.told(remark) for remark in remarks]
    return ModelPredictions(joined, filled, (*first_remarks, *first_few(remarks, NAMES)))


def read_recording(
    file: Path,
    recording: Recording,
    store: Store,
    targets: Sequence[str],
    *,
    first: int,
    check: CheckValues = lambda file, rows, targets: None,
) -> RecordingPredictions:
    """Return the predictions in the file of one recording; `first` is the number of its first
    frame in files."""
    rows, columns = _read_rows(file, targets)
    check(file, rows, targets)
    placed = _place(file, columns, recording, store, targets=targets, first=first)
    return _filled(file, rows, placed, _labelled(recording, store, targets))


def _read_rows(file: Path, targets: Sequence[str]) -> tuple[Floats, Sequence[str]]:
    """(rows, targets) of a file, and its names of these columns; an array has numbers for names, and
    a column for each target."""
    if reader_of(file).has_names:
        return read_numbers(file, targets), targets
    columns = read_header(file)
    if len(columns) != len(targets):
        raise InputError(
            f"{file}: {len(columns)} columns, expected {len(targets)}: {', '.join(targets)}"
        )
    return read_numbers(file, columns), columns


@dataclass(frozen=True)
class _Placed:
    """`frames` (rows,) of the recording, some perhaps more than once; `step` from row to row in
    frames."""

    frames: Frames
    step: float
    unused: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def _labelled(recording: Recording, store: Store, targets: Sequence[str]) -> Flags:
    """(frames,) True where a frame has a label of one of the targets."""
    columns = [store.target_names.index(name) for name in targets]
    labels = store.annotations[recording.span][:, columns]
    return np.asarray(~np.isnan(labels).all(axis=1))


def _place(
    file: Path,
    columns: Sequence[str],
    recording: Recording,
    store: Store,
    *,
    targets: Sequence[str],
    first: int,
) -> _Placed:
    """The frame of each row: the one that it names, or the nearest by a clock of its own."""
    frames_of = RecordingFrames.of(recording, store)
    labelled = _labelled(recording, store, targets)

    def by_count() -> Frames:
        rows = len(read_numbers(file, list(columns)[:1]))
        return _frames_by_count(file, rows, labelled, recording, store.time_column)

    try:
        placed = place_rows(file, frames_of, columns, by_count, first=first)
    except InputError:
        other = _by_another_clock(file, columns, frames_of)
        if other is None:
            raise
        return other
    step = 1.0
    if len(placed.frames) > 1:
        step = float(np.median(np.diff(np.sort(placed.frames))))
    return _Placed(placed.frames, step, placed.unused, placed.remarks)


def _by_another_clock(
    file: Path, columns: Sequence[str], recording: RecordingFrames
) -> _Placed | None:
    """Rows by a clock that is not the frames' own; None where they have none, or it is their own and
    only some rows are wrong."""
    roles = recording.roles_of(file, columns)
    if not roles.clocks or roles.frames:
        return None
    for column in roles.texts:
        if frames_of_column(file, column, recording, 1) is not None:
            return None
    # A row of the right frame may still be of another face or person.
    refuse(several_people(file, roles.people, None))
    refuse(rows_of_other_people(file, roles, recording))
    refuse(parts_out_of_order(file, roles, recording))
    clock = recording.own_clock if recording.own_clock in roles.clocks else roles.clocks[0]
    assert clock is not None
    rows = rows_by_time(file, clock, recording.frame_times)
    if rows.has_the_frames_rate:
        return None
    unused = (*(name for name in roles.clocks if name != clock), *roles.rows)
    remark = f"{file}: rows by {clock!r}, each on the nearest frame ({rows.step:.3g} frames a row)"
    return _Placed(rows.frames, rows.step, unused, (remark,))


@dataclass(frozen=True)
class RecordingPredictions:
    """One recording: `values` (frames, targets), how many frames were filled, columns that nobody
    used, and remarks."""

    values: Floats
    filled: int
    unused: tuple[str, ...]
    remarks: tuple[str, ...]


def _filled(file: Path, rows: Floats, placed: _Placed, labelled: Flags) -> RecordingPredictions:
    """The rows' values on all frames; InputError where labelled frames lie too far from any row."""
    frames = len(labelled)
    counts = np.bincount(placed.frames, minlength=frames)
    sums = np.zeros((frames, rows.shape[1]))
    np.add.at(sums, placed.frames, rows)
    with_row = np.flatnonzero(counts)
    # A frame without a row takes the value of the nearest frame that has one.
    source = with_row[nearest(with_row, frames)]
    # Where rows are fewer than frames: half a step between two rows, less than one at the ends.
    reach = np.zeros(frames)
    if placed.step > 1:
        reach[:] = ceil(placed.step / 2)
        reach[: with_row[0]] = reach[with_row[-1] :] = ceil(placed.step) - 1
    is_far = np.abs(source - np.arange(frames)) > reach
    lacking = int((labelled & is_far).sum())
    if lacking:
        verb = "has" if lacking == 1 else "have"
        raise InputError(
            f"{file}: {lacking} of {int(labelled.sum())} labelled frames {verb} no row, expected all "
            "of them"
        )
    remarks = list(placed.remarks)
    filled_labelled = int((labelled & (counts == 0)).sum())
    if filled_labelled:
        remarks.append(
            f"{file}: a row every {placed.step:.3g} frames; {filled_labelled} labelled frames "
            "between them take the nearest row's value"
        )
    means = sums[source] / counts[source][:, None]
    filled = frames - len(with_row)
    return RecordingPredictions(means, filled, placed.unused, tuple(remarks))


def _frames_by_count(
    file: Path, rows: int, labelled: Flags, recording: Recording, time_column: str | None
) -> Frames:
    """All frames, or the labelled ones, whichever there are `rows` of."""
    for frames in (np.arange(recording.frames), np.flatnonzero(labelled)):
        if rows == len(frames):
            return frames
    expected = f"{recording.frames} (all frames)"
    if labelled.any() and not labelled.all():
        expected += f" or {int(labelled.sum())} (the labelled ones)"
    hint = f"; with the column {time_column!r} rows are matched by time" if time_column else ""
    hint = hint or "; with a column `frame` (numbers from 1) rows are matched by frame"
    raise InputError(f"{file}: {rows} rows, expected {expected}{hint}")
