"""A submission: an ensemble's test predictions in a challenge's format, read back and checked before it appears.

    abaw         OUT/predictions.txt   image_location,valence,arousal; rows in the official sample file's order,
                                       `<recording>/00001.jpg` is frame 1 (.csv where the sample is one)
    recordings   OUT/<recording>.csv   one file per test recording, one row per source row: the source's time column
                                       as it stood (if it had one), valence, arousal

Conventions: values are on the source's scale, clipped to the label range, with 6 decimals. The folder appears whole:
written beside its place, read back, compared, then moved. `.submission.json` in it tells that it is ours and what of,
and only such a folder, unchanged since, is ever replaced.
"""

from __future__ import annotations

import csv
import hashlib
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.apply import combine
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, JobError, unknown_name
from va_search.files import checked_name, read_json, remove_folder, whole_file, write_json
from va_search.metrics import DIMENSIONS, ccc
from va_search.predictions.bank import Bank

MARK = ".submission.json"
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sheet:
    """One file of a submission: `keys` (rows,) texts of the first column or None, `values` (rows, 2)."""

    name: str
    header: tuple[str, ...]
    keys: list[str] | None
    values: Values


@dataclass(frozen=True)
class Submission:
    """What was written. `clipped`: values that lay outside the label range; `unasked`: frames the sample leaves out."""

    ensemble: str
    format: str
    folder: Path
    files: tuple[str, ...]
    recordings: int
    rows: int
    clipped: int
    unasked: int
    replaced: bool


def submit(
    ensemble: Ensemble, store: Store, bank: Bank, *, format: str, out: Path, sample: Path | None = None
) -> Submission:
    """Write `ensemble`'s predictions of the store's test recordings to the folder `out`.

    InputError: unknown format, no test recordings, another store, a bank that changed since the ensemble was built,
    a sample that asks for other recordings or frames, an `out` that holds anything but an earlier submission.
    """
    if format not in FORMATS:
        raise InputError(unknown_name("format", format, FORMATS))
    out = out.resolve()
    replaced = may_write(out)
    test = store.split("test")
    _refuse_other_data(ensemble, store, bank)
    raw = predict(ensemble, bank, "test", test)
    values = np.clip(raw, *store.label_range)
    sheets = FORMATS[format](values, test, store, sample)
    write_folder(out, sheets, {**about_ensemble(ensemble), "format": format}, store.label_range)
    rows = sum(len(sheet.values) for sheet in sheets)
    return Submission(
        ensemble=ensemble.name,
        format=format,
        folder=out,
        files=tuple(sheet.name for sheet in sheets),
        recordings=len(test),
        rows=rows,
        clipped=int((raw != values).sum()),
        unasked=len(values) - rows,
        replaced=replaced,
    )


def predict(ensemble: Ensemble, bank: Bank, split: str, recordings: Sequence[Recording]) -> Values:
    """(frames, 2) float64: the ensemble's predictions of a split, whose recordings these are; not clipped."""
    lines_up = ensemble.frames_hash if split == "validation" else str(ensemble.test_frames_hash)
    found = []
    for dimension in DIMENSIONS:
        part = ensemble.dimensions[dimension]
        weights = np.array([member.weight for member in part.members])
        columns = [bank.column(m.study, m.trial, split, dimension, frames_hash=lines_up) for m in part.members]
        found.append(combine(weights, columns, recordings, part.post))
    return np.stack(found, axis=1)


def _refuse_other_data(ensemble: Ensemble, store: Store, bank: Bank) -> None:
    """The store and the bank must still be what the ensemble was built on: its in-sample scores come out again."""
    test, fold = store.split("test"), ensemble.measured_on.fold
    if not test:
        raise InputError(f"{store.path}: the store has no test recordings; there is nothing to submit")
    if frames_hash(test) != ensemble.test_frames_hash:
        raise InputError(f"{store.path}: its test recordings are not those ensemble {ensemble.name!r} was built on")
    validation = store.fold(fold).validation
    if frames_hash(validation) != ensemble.frames_hash:
        raise InputError(f"{store.path}: its validation recordings are not those {ensemble.name!r} was built on")
    predictions = predict(ensemble, bank, "validation", validation)
    annotations = store.annotations[positions(validation)]
    problems = []
    for index, dimension in enumerate(DIMENSIONS):
        now = ccc(predictions[:, index], annotations[:, index])
        then = ensemble.dimensions[dimension].scores.in_sample
        if not abs(now - then) < 1e-6:
            problems.append(
                f"ensemble {ensemble.name!r}: {dimension} CCC in-sample is {now:.4f} now and was {then:.4f} when "
                "it was built: a member or the annotations changed since; build it again"
            )
    if problems:
        raise InputError(*problems)


def _abaw(values: Values, test: Sequence[Recording], store: Store, sample: Path | None) -> list[Sheet]:
    from va_search.data.sample import sample_images

    if sample is None:
        raise InputError("format abaw follows the organisers' sample file; give it with --sample FILE")
    images = sample_images(sample)
    firsts = np.cumsum([0, *(recording.frames for recording in test)]).tolist()
    first = dict(zip([recording.name for recording in test], firsts, strict=False))
    _refuse_other_rows(images, test, sample)
    rows = [first[name] + frame - 1 for name, frame in images]
    with open(sample, encoding="utf-8-sig", newline="") as handle:
        reader = csv.reader(handle)
        column = [cell.strip() for cell in next(reader)].index("image_location")
        keys = [cells[column].strip() for cells in reader if cells]
    name = f"predictions{'.csv' if sample.suffix == '.csv' else '.txt'}"
    return [Sheet(name, ("image_location", *DIMENSIONS), keys, values[rows])]


def _refuse_other_rows(images: list[tuple[str, int]], test: Sequence[Recording], sample: Path) -> None:
    frames = {recording.name: recording.frames for recording in test}
    asked = Counter(name for name, _ in images)
    problems = [
        f"{sample}: " + unknown_name("test recording", name, frames) if len(frames) <= 20 else
        f"{sample}: recording {name!r} is no test recording of the store"
        for name in asked if name not in frames
    ]  # fmt: skip
    problems += [f"{sample}: test recording {name!r} of the store has no row" for name in frames if name not in asked]
    last: dict[str, int] = {}
    for name, frame in images:
        last[name] = max(frame, last.get(name, 0))
    problems += [
        f"{sample}: frame {frame} of {name!r}, but the store has {frames[name]} frames of it"
        for name, frame in last.items()
        if name in frames and frame > frames[name]
    ]
    if len(set(images)) < len(images):
        (name, frame), count = Counter(images).most_common(1)[0]
        problems.append(f"{sample}: frame {frame} of {name!r} stands {count} times, expected once")
    if problems:
        more = [f"… and {len(problems) - 20} more problems"] if len(problems) > 20 else []
        raise InputError(*problems[:20], *more)


def _recordings(values: Values, test: Sequence[Recording], store: Store, sample: Path | None) -> list[Sheet]:
    if sample is not None:
        raise InputError(f"--sample {sample}: only format abaw has a sample file; leave it out for recordings")
    return recording_sheets(values, test, store)


def recording_sheets(values: Values, recordings: Sequence[Recording], store: Store) -> list[Sheet]:
    """One sheet per recording out of (frames, 2) values of all of them, with the store's time column where it has one.

    InputError naming every recording that can't be a file's name.
    """
    ends = np.cumsum([0, *(recording.frames for recording in recordings)]).tolist()
    sheets, problems = [], []
    for recording, (low, high) in zip(recordings, pairwise(ends), strict=True):
        keys = _as_it_stood(store.times[recording.start : recording.stop]) if store.time_column else None
        header = (store.time_column, *DIMENSIONS) if store.time_column else DIMENSIONS
        try:
            name = f"{checked_name(recording.name, 'recording')}.csv"
        except InputError as error:
            problems += error.problems
            continue
        sheets.append(Sheet(name, header, keys, values[low:high]))
    if problems:
        raise InputError(*problems)
    return sheets


FORMATS: dict[str, Callable[[Values, Sequence[Recording], Store, Path | None], list[Sheet]]] = {
    "abaw": _abaw,
    "recordings": _recordings,
}


def _as_it_stood(times: NDArray[np.float64]) -> list[str]:
    """The time column's texts: integers where all of the recording's are, empty where there was none."""
    known = times[~np.isnan(times)]
    whole = bool((known == np.round(known)).all())
    return ["" if np.isnan(t) else str(int(t)) if whole else repr(t) for t in times.tolist()]


def may_write(out: Path) -> bool:
    """Whether an earlier submission stands at `out`; InputError when anything else does."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise InputError(f"{out}: is a file, expected a folder to write to")
    found = {path.name for path in out.iterdir()}
    if not found:
        return False
    hint = "choose another --out, or remove it"
    if MARK not in found:
        raise InputError(f"{out}: not empty and no earlier submission (found {', '.join(sorted(found)[:3])}); {hint}")
    files = read_json(out / MARK).get("files", {})
    if found - {MARK} != set(files):
        other = sorted((found - {MARK}) ^ set(files))
        raise InputError(f"{out}: an earlier submission with files added or removed ({', '.join(other[:3])}); {hint}")
    changed = [name for name, digest in files.items() if _sha256(out / name) != digest]
    if changed:
        raise InputError(f"{out}: an earlier submission, but {', '.join(sorted(changed)[:3])} changed since; {hint}")
    return True


def write_folder(out: Path, sheets: list[Sheet], about: dict[str, Any], label_range: tuple[float, float]) -> None:
    """Write the sheets and `.submission.json` with `about` in it, read them back, then move the folder to `out`.

    JobError when a file does not read back as it was meant; `out` is then as it was.
    """
    beside = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for sheet in sheets:
            _write(beside / sheet.name, sheet)
            _check(beside / sheet.name, sheet, label_range)
        mark = {
            **about,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": __version__,
            "files": {sheet.name: _sha256(beside / sheet.name) for sheet in sheets},
        }
        write_json(beside / MARK, mark)
        _take_place(beside, out)
    finally:
        remove_folder(beside)


def about_ensemble(ensemble: Ensemble) -> dict[str, Any]:
    """What a folder's mark says of the ensemble whose predictions it holds."""
    return {"ensemble": ensemble.name, "built_at": ensemble.created_at, "validation": ensemble.scores}


def _take_place(beside: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.old")
    if out.exists() and any(out.iterdir()):
        out.rename(old)
    beside.rename(out)  # an empty folder is replaced as well
    remove_folder(old)


def _write(path: Path, sheet: Sheet) -> None:
    numbers = [[f"{value:.6f}" for value in column] for column in sheet.values.T.tolist()]
    columns = numbers if sheet.keys is None else [sheet.keys, *numbers]
    with whole_file(path) as beside, open(beside, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(sheet.header)
        writer.writerows(zip(*columns, strict=True))


def _check(path: Path, sheet: Sheet, label_range: tuple[float, float]) -> None:
    """Read a written file back; JobError unless it says exactly what was meant, complete, finite and in the range."""
    with open(path, encoding="utf-8", newline="") as handle:
        header, *rows = csv.reader(handle)
    values = np.array([row[-2:] for row in rows], dtype=np.float64).reshape(-1, 2)
    keys = None if sheet.keys is None else [row[0] for row in rows]
    low, high = label_range
    whole = (
        tuple(header) == sheet.header
        and keys == sheet.keys
        and values.shape == sheet.values.shape
        and np.isfinite(values).all()
        and bool((np.abs(values - sheet.values) <= 1e-6).all())
        and bool(((values >= low - 1e-6) & (values <= high + 1e-6)).all())
    )
    if not whole:
        raise JobError(f"{path.name}: what was written does not read back as it was meant; nothing was submitted")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
