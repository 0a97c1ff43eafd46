"""Models from elsewhere as members: their predictions, one CSV per recording, checked and put into the bank.

    DIR/<model>/<recording>.csv     columns valence, arousal, and if wanted the store's time column

Conventions: values are on the source's scale and kept as given (a submission clips them). A row belongs to the frame
of its time, where file and store have a time column; otherwise rows are all frames of the recording, or exactly its
labelled ones. Frames that no row covers and that carry no label take the nearest covered frame's value (the earlier
one where two are as near), and the record counts them as `filled_frames`. Only validation and test recordings are
read. Nothing is written while any model has any problem.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.frame_rows import nearest
from va_search.data.sheet import and_more, first_few, read_header, read_numbers, where
from va_search.data.store import Recording, Store, frames_hash
from va_search.errors import InputError
from va_search.files import checked_name
from va_search.metrics import DIMENSIONS, ccc, score
from va_search.predictions.bank import PREDICTED, Bank, Predictions

FAR = 1.0
"""Values further outside the label range than this many of its widths are on another scale, or mark missing frames."""
SAME_TIME = 0.01
"""Two times are the same within this share of a frame interval."""
PROBLEMS = 40
Found = tuple[dict[str, NDArray[np.float32]], int]
"""(frames, 2) by split in the store's frame order, and how many frames were filled."""


@dataclass(frozen=True)
class Added:
    """One model in the bank; `state` is "new", "unchanged" or "replaced"."""

    model: str
    trial: str
    state: str
    best: dict[str, float]  # pooled CCC on validation
    filled_frames: int


def add_outside(
    bank: Bank, study: str, source: Path, store: Store, progress: Callable[[str], None] = lambda _: None
) -> list[Added]:
    """Put every model under `source` into `study` as trial `outside-<folder>`; the same again changes nothing.

    A model that is there with other predictions is replaced. InputError with the problems of all models together:
    a validation or test recording without file, labelled frames not covered, text, NaN, values far outside the range.
    """
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
    return [_write(bank, study, model, found, store) for model, found in read.items()]


def _models(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InputError(f"{source}: {'not a folder' if source.exists() else 'no such folder'}, expected one per model")
    folders = [path for path in sorted(source.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if any(source.glob("*.csv")):
        return [source.resolve()]  # the folder of one model was given
    if not folders:
        raise InputError(f"{source}: empty, expected one folder per model with a CSV per recording")
    return folders


def _read_model(folder: Path, store: Store) -> Found:
    files = {path.stem: path for path in folder.glob("*.csv")}
    if not files:
        raise InputError(f"{folder}: no CSV in it, expected one per recording ({_example(store)})")
    problems, missing, values, filled = [], [], {}, 0
    for split in PREDICTED:
        parts = []
        for recording in store.split(split):
            if recording.name not in files:
                missing.append(recording.name)
                continue
            try:
                part, count = _read_recording(files[recording.name], recording, store)
            except InputError as error:
                problems += error.problems
                continue
            parts.append(part)
            filled += count
        values[split] = np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 2), np.float32)
    if missing:
        names = f"{', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}"
        problems.insert(0, f"{folder}: no file for {len(missing)} validation or test recordings: {names}")
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return values, filled


def _example(store: Store) -> str:
    return next((f"such as {r.name}.csv" for r in store.recordings if r.split in PREDICTED), "the store has none")


def _read_recording(file: Path, recording: Recording, store: Store) -> tuple[NDArray[np.float64], int]:
    """(frames, 2) of one recording, and how many of its frames were filled."""
    rows = slice(recording.start, recording.stop)
    times = store.times[rows]
    timed = store.time_column if store.time_column in read_header(file) and not np.isnan(times).any() else None
    sheet = read_numbers(file, [*DIMENSIONS, timed] if timed else list(DIMENSIONS))
    _refuse_values(file, sheet, store.label_range)
    labelled: NDArray[np.bool_] = ~np.isnan(store.annotations[rows, 0])  # both dimensions or none
    if timed:
        frames = _frames_of(file, sheet[:, 2], times, timed)
    else:
        frames = _frames_by_count(file, len(sheet), labelled, recording, store.time_column)
    covered = np.zeros(recording.frames, dtype=bool)
    covered[frames] = True
    lacking = int((labelled & ~covered).sum())
    if lacking:
        raise InputError(
            f"{file}: {lacking} of {int(labelled.sum())} labelled frames have no row, expected all of them"
        )
    values = np.empty((recording.frames, 2))
    values[frames] = sheet[:, :2]
    known = np.flatnonzero(covered)
    return values[known[nearest(known, recording.frames)]], int((~covered).sum())


def _refuse_values(file: Path, sheet: NDArray[np.float64], label_range: tuple[float, float]) -> None:
    low, high = label_range
    reach = FAR * (high - low)
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        column = sheet[:, index]
        bad = ~np.isfinite(column)
        if bad.any():
            row = int(np.argmax(bad))
            found = "empty or NaN" if np.isnan(column[row]) else "infinite"
            problems.append(
                f"{where(file, row)}: {dimension} is {found}{and_more(int(bad.sum()) - 1)}, expected a number"
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


def _frames_of(file: Path, given: NDArray[np.float64], times: NDArray[np.float64], column: str) -> NDArray[np.intp]:
    """Frame number within the recording of each row, by time."""
    order = np.argsort(times, kind="stable")
    steps = np.diff(times[order])
    reach = SAME_TIME * float(np.median(steps)) if steps.size else 0.5
    right = np.clip(np.searchsorted(times[order], given), 1, max(len(times) - 1, 1))
    near = np.stack([right - 1, np.minimum(right, len(times) - 1)])
    closest = near[np.abs(times[order][near] - given).argmin(axis=0), np.arange(len(given))]
    frames: NDArray[np.intp] = order[closest]
    unknown = ~(np.abs(times[frames] - given) <= reach)
    problems = []
    if unknown.any():
        row = int(np.argmax(unknown))
        problems.append(
            f"{where(file, row)}: {column} {given[row]:g} is no frame's time{and_more(int(unknown.sum()) - 1)}; the "
            f"recording has {len(times)} frames from {times.min():g} to {times.max():g}"
        )
    else:
        first = np.unique(frames, return_index=True)[1]
        again = np.setdiff1d(np.arange(len(frames)), first)
        if again.size:
            row = int(again[0])
            more = and_more(again.size - 1)
            problems.append(f"{where(file, row)}: {column} {given[row]:g} stands twice{more}, expected one row a frame")
    if problems:
        raise InputError(*problems)
    return frames


def _frames_by_count(
    file: Path, rows: int, labelled: NDArray[np.bool_], recording: Recording, time_column: str | None
) -> NDArray[np.intp]:
    """All frames, or the labelled ones, whichever there are `rows` of."""
    for frames in (np.arange(recording.frames), np.flatnonzero(labelled)):
        if rows == len(frames):
            return frames
    expected = f"{recording.frames} (all frames)"
    if labelled.any() and not labelled.all():
        expected += f" or {int(labelled.sum())} (the labelled ones)"
    hint = f"; with the column {time_column!r} rows are matched by time" if time_column else ""
    raise InputError(f"{file}: {rows} rows, expected {expected}{hint}")


def _write(bank: Bank, study: str, model: str, found: Found, store: Store) -> Added:
    trial, (values, filled) = f"outside-{model}", found
    record = _record(values, filled, store)
    best = {dimension: record["best"][dimension]["ccc"] for dimension in DIMENSIONS}
    state = "new"
    if bank.is_complete(study, trial):
        before = bank.record(study, trial)
        if all(before.get(key) == record[key] for key in ("content", "data_hash", "store_path")):
            return Added(model, trial, "unchanged", best, filled)
        state = "replaced"
        bank.retract(study, trial)
    predictions = {split: Predictions(values[split], frames_hash(store.split(split))) for split in PREDICTED}
    bank.write(study, trial, record, predictions)
    return Added(model, trial, state, best, filled)


def _record(values: dict[str, NDArray[np.float32]], filled: int, store: Store) -> dict[str, Any]:
    """What trial.json says of an outside model; `content` is a hash of its predictions, `best` is on validation."""
    validation = store.split("validation")
    labels = np.concatenate([store.annotations[r.start : r.stop] for r in validation])
    pair = [_defined(ccc(values["validation"][:, i], labels[:, i])) for i in range(2)]
    best: dict[str, Any] = {dimension: {"ccc": pair[i], "epoch": None} for i, dimension in enumerate(DIMENSIONS)}
    best["score"] = {"value": score(*pair), "epoch": None}
    content = hashlib.sha256(b"".join(np.ascontiguousarray(values[split]).tobytes() for split in PREDICTED))
    return {
        "source": "outside",
        "settings": None,
        "data_hash": store.data_hash([]),
        "store": store.name,
        "store_path": store.place,
        "best": best,
        "history": [],
        "epochs": 0,
        "filled_frames": filled,
        "content": content.hexdigest(),
        "package_version": __version__,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _defined(value: float) -> float:
    """0 where the CCC is not defined (a constant prediction equal to a constant label)."""
    return value if np.isfinite(value) else 0.0
