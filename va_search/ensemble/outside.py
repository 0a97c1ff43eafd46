"""Models from elsewhere as members: their predictions, one CSV per recording, checked and put into
the bank.

    DIR/<model>/<recording>.csv     columns valence, arousal, and if wanted a column that names frames (frame_rows.py)

Conventions: values are on the source's scale and kept as given (a submission clips them). A row
belongs to the frame that its columns name, by number, image or time; where they name none, rows are
all frames of the recording, or exactly its labelled ones. Frames that no row covers and that carry
no label take the nearest covered frame's value (the earlier one where two are as near), and the
record counts them as `filled_frames`. Only validation and test recordings are read. Nothing is
written while any model has any problem."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.frame_names import RecordingFrames, first_number, nearest
from va_search.data.frame_rows import PlacedRows, place_rows
from va_search.data.nearby import Nearby
from va_search.data.problems import and_more, first_few, not_used
from va_search.data.readers import read_numbers, where
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.errors import InputError
from va_search.files import checked_name
from va_search.metrics import DIMENSIONS, ccc, score
from va_search.predictions.bank import PREDICTED, Bank, Predictions
from va_search.trial import Best, Trial

FAR = 1.0
"""Values further outside the label range than this many of its widths are on another scale, or mark
missing frames."""
APART = 1 / 3
"""Predictions whose middle lies so far from the labels' middle, in widths of the label range, are
on another scale if the two don't overlap either."""
CENTRAL = (0.05, 0.5, 0.95)
"""Quantiles: between the outer two lie the bulk of the values, the inner one is their middle."""
FOLLOWS, FEWEST = 0.5, 30
"""From this correlation on, and so many labelled frames, a CCC below its half makes one ask for the
scale."""
IDENTITY = ("content", "data_hash", "store_path")
"""A model that has these as it has them in the bank is there already."""
PROBLEMS = 40
NAMES = 5


@dataclass(frozen=True)
class Outside:
    """The predictions of one model: `values` (frames, 2) by split in the store's frame order, how
    many frames were filled, and remarks on its files."""

    values: dict[str, NDArray[np.float32]]
    filled_frames: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """One model in the bank; `state` is "new", "unchanged" or "replaced"."""

    model: str
    trial: str
    state: str
    best: dict[str, float]  # pooled CCC on validation
    filled_frames: int
    remarks: tuple[str, ...] = ()


def add_outside(
    bank: Bank,
    study: str,
    source: Path,
    store: Store,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Added]:
    """Put every model under `source` into `study` as trial `outside-<folder>`; the same again
    changes nothing.

    A model that is there with other predictions is replaced. InputError with the problems of all
    models together: a validation or test recording without file, rows of another recording, frames
    that are not there or stand twice, labelled frames not covered, text, NaN, another scale."""
    checked_name(study, "study name")
    read, problems = {}, []
    for folder in _models(source):
        progress(folder.name)
        try:
            checked_name(f"outside-{folder.name}", "outside model")
            read[folder.name] = _read_model(folder, store)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return [_write(bank, study, model, outside, store) for model, outside in read.items()]


def _models(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(
            f"{source}: {'not a folder' if source.exists() else 'no such folder'}, expected one per model"
        )
    folders = [
        path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")
    ]
    if any(source.glob("*.csv")):
        return [source.resolve()]  # the folder of one model was given
    if not folders:
        inside = Nearby(source, (".csv",)).inside()
        content = "empty" if inside == "nothing" else f"found {inside}"
        raise InputError(
            f"{source}: {content}, expected one folder per model with a CSV per recording"
        )
    return folders


def _read_model(folder: Path, store: Store) -> Outside:
    files = {path.stem: path for path in folder.glob("*.csv")}
    names = {recording.name for recording in store.recordings}
    nearby = Nearby(folder, (".csv",), names)
    predicted: list[Recording] = []
    for split in PREDICTED:
        predicted += store.split(split)
    missing = [recording.name for recording in predicted if recording.name not in files]
    strangers = sorted(set(files) - names)
    problems = _missing_problems(folder, missing, strangers, nearby, store) if missing else []
    read = {files[recording.name]: recording for recording in predicted if recording.name in files}
    for file, recording in read.items():
        for twin in nearby.in_other_formats(recording.name):
            problems.append(f"{file} and {twin}: two files of one recording; keep one")
    # Frames count from 0 or from 1, the same in all files of a model.
    first_frame = first_number(
        {file: RecordingFrames.of(recording, store) for file, recording in read.items()}
    )
    values: dict[str, list[NDArray[np.float64]]] = {split: [] for split in PREDICTED}
    filled = 0
    unused: dict[str, None] = {}
    remarks: list[str] = []
    for file, recording in read.items():
        try:
            part, count, placed = _read_recording(file, recording, store, first_frame)
        except InputError as error:
            problems += error.problems
            continue
        values[recording.split].append(part)
        filled += count
        unused |= dict.fromkeys(placed.unused)
        remarks += placed.remarks
    if problems:
        raise InputError(*first_few(problems, PROBLEMS), *nearby.conversions().values())
    joined = {split: _joined(parts) for split, parts in values.items()}
    _refuse_scale(folder, joined, store)
    remarks = [*_remarks(folder, list(unused), strangers, first_frame), *first_few(remarks, NAMES)]
    return Outside(joined, filled, (*remarks, *_scale_remarks(folder, joined, store)))


def _missing_problems(
    folder: Path, missing: list[str], strangers: list[str], nearby: Nearby, store: Store
) -> list[str]:
    """Return problems that name the recordings without a file, and the files that lie there
    instead."""
    names = _first_names(missing)
    if not any(nearby.folder.glob("*.csv")):
        text = f"{folder}: no CSV in it, expected one per recording ({_example(store)})"
        text += f"; found {nearby.inside()}" if nearby.names else ""
    else:
        kind = "recording" if len(missing) == 1 else "recordings"
        text = f"{folder}: no file for {len(missing)} validation or test {kind}: {names}"
        if strangers:
            unknown = _first_names([f"{name}.csv" for name in strangers])
            text += f"; there are files of no recording of the store: {unknown}"
    problems = [text]
    for name in missing:
        instead = nearby.instead_of([name])
        if instead:
            problems.append(f"{folder}: no {name}.csv{instead}")
    return first_few(problems, NAMES + 1)


def _remarks(folder: Path, unused: list[str], strangers: list[str], first_frame: int) -> list[str]:
    remarks = not_used(folder, unused)
    if strangers:
        names = _first_names([f"{name}.csv" for name in strangers])
        remarks.append(
            f"{folder}: the store has no recording of these names, so they are not read: {names}"
        )
    if first_frame == 0:
        remarks.append(f"{folder}: frames count from 0 in it, since every file begins at frame 0")
    return remarks


def _joined(parts: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    return np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 2), np.float32)


def _first_names(names: list[str]) -> str:
    return ", ".join(names[:NAMES]) + (", …" if len(names) > NAMES else "")


def _example(store: Store) -> str:
    return next(
        (f"such as {r.name}.csv" for r in store.recordings if r.split in PREDICTED),
        "the store has none",
    )


def _read_recording(
    file: Path, recording: Recording, store: Store, first_frame: int
) -> tuple[NDArray[np.float64], int, PlacedRows]:
    """(frames, 2) of one recording, how many of its frames were filled, and how its rows were
    placed."""
    pair = read_numbers(file, DIMENSIONS)
    _refuse_values(file, pair, store.label_range)
    annotations = store.annotations[recording.start : recording.stop]
    labelled = np.asarray(~np.isnan(annotations).all(axis=1))

    def by_count() -> NDArray[np.int64]:
        return _frames_by_count(file, len(pair), labelled, recording, store.time_column)

    placed = place_rows(
        file, RecordingFrames.of(recording, store), DIMENSIONS, by_count, first=first_frame
    )
    covered = np.zeros(recording.frames, dtype=bool)
    covered[placed.frames] = True
    lacking = int((labelled & ~covered).sum())
    if lacking:
        verb = "has" if lacking == 1 else "have"
        raise InputError(
            f"{file}: {lacking} of {int(labelled.sum())} labelled frames {verb} no row, expected all of them"
        )
    values = np.empty((recording.frames, 2))
    values[placed.frames] = pair
    # A frame without a row takes the value of the nearest frame that has one.
    with_row = np.flatnonzero(covered)
    source = with_row[nearest(with_row, recording.frames)]
    return values[source], int((~covered).sum()), placed


def _refuse_scale(folder: Path, values: dict[str, NDArray[np.float32]], store: Store) -> None:
    """InputError where most values lie outside the label range, or in a part of it where no labels
    are."""
    low, high = store.label_range
    labels = store.annotations[positions(store.split("validation"))]
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        predicted = np.concatenate([values[split][:, index] for split in PREDICTED])
        labelled = labels[~np.isnan(labels[:, index]), index]
        if not predicted.size:
            continue
        outside = float(((predicted < low) | (predicted > high)).mean())
        least, middle, most = np.quantile(predicted, CENTRAL)
        elsewhere = False
        if labelled.size:
            label_least, label_middle, label_most = np.quantile(labelled, CENTRAL)
            elsewhere = abs(middle - label_middle) > APART * (high - low)
            elsewhere &= bool(most < label_least or least > label_most)
        if outside > 0.5 or elsewhere:
            problems.append(
                f"{folder}: {dimension} runs from {predicted.min():g} to {predicted.max():g}, mostly between "
                f"{least:.3g} and {most:.3g}, which does not fit labels in [{low:g}, {high:g}]: another scale? "
                "Bring the predictions to the labels' scale"
            )
    if problems:
        raise InputError(*problems)


def _scale_remarks(folder: Path, values: dict[str, NDArray[np.float32]], store: Store) -> list[str]:
    """A remark on each dimension that follows the labels of validation much better than it agrees
    with them."""
    labels = store.annotations[positions(store.split("validation"))]
    remarks = []
    for index, dimension in enumerate(DIMENSIONS):
        labelled = ~np.isnan(labels[:, index])
        predicted, truth = values["validation"][labelled, index], labels[labelled, index]
        if truth.size < FEWEST:
            continue
        if np.ptp(predicted) == 0 or np.ptp(truth) == 0:  # a constant has no correlation
            continue
        correlation = float(np.corrcoef(predicted, truth)[0, 1])
        agreement = ccc(predicted, truth)
        if correlation > FOLLOWS and agreement < correlation / 2:
            remarks.append(
                f"{folder}: {dimension} correlates {correlation:.2f} with the labels but its CCC is {agreement:.2f}: "
                f"it runs from {predicted.min():.3g} to {predicted.max():.3g} and the labels from {truth.min():.3g} to "
                f"{truth.max():.3g}; is it on another scale?"
            )
    return remarks


def _refuse_values(
    file: Path, sheet: NDArray[np.float64], label_range: tuple[float, float]
) -> None:
    low, high = label_range
    reach = FAR * (high - low)
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        column = sheet[:, index]
        bad = ~np.isfinite(column)
        if bad.any():
            row = int(np.argmax(bad))
            value = "empty or NaN" if np.isnan(column[row]) else "infinite"
            problems.append(
                f"{where(file, row)}: {dimension} is {value}{and_more(int(bad.sum()) - 1)}, expected a number"
            )
        far = ~bad & ((column < low - reach) | (column > high + reach))
        if far.any():
            row = int(np.argmax(far))
            problems.append(
                f"{where(file, row)}: {dimension} {column[row]:g}{and_more(int(far.sum()) - 1)} is far outside the "
                f"label range [{low:g}, {high:g}]: another scale, or a mark for missing frames?"
            )
    if problems:
        raise InputError(*problems)


def _frames_by_count(
    file: Path,
    rows: int,
    labelled: NDArray[np.bool_],
    recording: Recording,
    time_column: str | None,
) -> NDArray[np.int64]:
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


def _write(bank: Bank, study: str, model: str, outside: Outside, store: Store) -> Added:
    trial = _trial(study, f"outside-{model}", outside, store)
    best = {dimension: trial.best[dimension].ccc for dimension in DIMENSIONS}
    state = "new"
    if bank.is_complete(study, trial.id):
        before = bank.trial(study, trial.id)
        if all(getattr(before, name) == getattr(trial, name) for name in IDENTITY):
            state = "unchanged"
        else:
            state = "replaced"
            bank.retract(study, trial.id)
    if state != "unchanged":
        predictions = {
            split: Predictions(values, frames_hash(store.split(split)))
            for split, values in outside.values.items()
        }
        bank.write(trial, predictions)
    return Added(model, trial.id, state, best, outside.filled_frames, outside.remarks)


def _trial(study: str, name: str, outside: Outside, store: Store) -> Trial:
    """Return an outside model as a trial; `content` is a hash of its predictions, `best` is on
    validation."""
    labels = store.annotations[positions(store.split("validation"))]
    validation = outside.values["validation"]
    best = {}
    for index, dimension in enumerate(DIMENSIONS):
        best[dimension] = Best(_defined(ccc(validation[:, index], labels[:, index])))
    best["score"] = Best(score(*(best[dimension].ccc for dimension in DIMENSIONS)))
    content = hashlib.sha256()
    for split in PREDICTED:
        content.update(np.ascontiguousarray(outside.values[split]).tobytes())
    return Trial(
        study=study,
        id=name,
        source="outside",
        data_hash=store.data_hash([]),
        store=store.name,
        store_path=store.place,
        best=best,
        epochs=0,
        filled_frames=outside.filled_frames,
        content=content.hexdigest(),
        package_version=__version__,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _defined(value: float) -> float:
    """0 where the CCC is not defined (a constant prediction equal to a constant label)."""
    return value if np.isfinite(value) else 0.0
