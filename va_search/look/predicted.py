"""Predictions in files: the folder that `predict` or `submit` wrote, beside the store they are of; or
curves that somebody has in memory, with no store at all.

    FOLDER/<recording>.csv     a column a target, one row per frame, and if wanted a column that names
                               frames (data/frame_rows.py)

Conventions: values are float64, as they stand in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.arrays import Floats, Indexes, Values
from va_search.data.frame_names import RecordingFrames
from va_search.data.frame_rows import place_rows
from va_search.data.problems import first_few
from va_search.data.readers import read_header, read_numbers
from va_search.data.store import Recording, Store
from va_search.errors import InputError
from va_search.look.shown import Curves, Series, Shown, ShownRecording
from va_search.look.stores import StoreSide, clock_of, stems_of
from va_search.submission.folder import check_unchanged
from va_search.targets import Target

PROBLEMS = 20


@dataclass(frozen=True)
class PredictedCurve:
    """One recording's predictions: (frames,) `seconds` of its frames, increasing, and (frames,)
    `values` by target. `media_offset`: seconds on its video's clock at this clock's 0."""

    name: str
    seconds: Floats
    values: Mapping[str, Values]
    media_offset: float = 0.0


def shown_curves(
    curves: Sequence[PredictedCurve], targets: Sequence[Target], *, title: str, detail: str = ""
) -> Shown:
    """Return what a page shows of predictions without annotations."""
    listed = []
    for curve in curves:
        clock = clock_of(curve.seconds, None, curve.media_offset)
        names = stems_of(curve.name)
        listed.append(ShownRecording(curve.name, "test", clock, media_names=names))
    names = tuple(target.name for target in targets)
    return Shown(
        title=title,
        kind="predictions",
        scores_are="There are no annotations of these recordings, so nothing is scored.",
        targets=tuple(targets),
        series=(Series(title, "prediction", names, detail=detail),),
        recordings=tuple(listed),
        curves=lambda index: Curves(series={0: curves[index].values}),
    )


def shown_folder(
    folder: Path,
    store: Store,
    *,
    split: str | None = None,
    targets: Sequence[Target] | None = None,
) -> Shown:
    """Return what a page shows of the predictions in a folder, of the store's recordings that have a
    file there.

    `targets`: those that may be in the files, by default the store's. InputError for a file that is
    not as it was written, or does not fit its recording; a folder with no file of any recording."""
    check_unchanged(folder)
    files = _files_of(folder, store, split)
    targets = _targets_in(next(iter(files.values())), targets or store.targets)
    names = tuple(target.name for target in targets)
    side = StoreSide(store)
    recordings = list(files)
    # All files are read once now, so that everything wrong is told before anything is written.
    problems = []
    for recording in recordings:
        try:
            _read(files[recording], recording, store, names)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))

    def curves(index: int) -> Curves:
        recording = recordings[index]
        values = _read(files[recording], recording, store, names)
        return side.curves(
            recording, {0: {target: values[:, column] for column, target in enumerate(names)}}
        )

    return Shown(
        title=folder.resolve().name,
        kind="predictions",
        scores_are=(
            f"Predictions in {folder} against the store's annotations, where it has some. If models "
            "were trained or chosen on these recordings, the scores are too high."
        ),
        targets=targets,
        series=(Series(folder.resolve().name, "prediction", names, detail=str(folder)),),
        recordings=tuple(side.recording(recording, recording.split) for recording in recordings),
        curves=curves,
        feature_sets=side.feature_sets,
        time_column=store.time_column,
    )


def _files_of(folder: Path, store: Store, split: str | None) -> dict[Recording, Path]:
    """The file of each recording that has one; InputError where none has."""
    present = {path.name for path in folder.glob("*.csv")}
    files = {}
    for recording in store.recordings:
        if split is not None and recording.split != split:
            continue
        # As we write it first: `a%25` may be the file of recording `a%`.
        for stem in reversed(stems_of(recording.name)):
            if f"{stem}.csv" in present:
                files[recording] = folder / f"{stem}.csv"
                break
    if not files:
        of_split = f"{split} recording" if split else "recording"
        raise InputError(
            f"{folder}: no <recording>.csv of any {of_split} of {store.path} (found {len(present)} "
            "CSV files); a page is made of the folder of `predict`, or of `submit --format recordings`"
        )
    return files


def _targets_in(file: Path, targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets that a file has columns of; InputError where it has none."""
    header = read_header(file)
    predicted = tuple(target for target in targets if target.name in header)
    if not predicted:
        expected = " or ".join(target.name for target in targets)
        raise InputError(f"{file}: no column {expected} (found {', '.join(header)})")
    return predicted


def _read(file: Path, recording: Recording, store: Store, names: Sequence[str]) -> Floats:
    """(frames, targets) predictions of a recording, NaN where no row names a frame; InputError where
    the rows are not its frames'."""
    rows = read_numbers(file, names)

    def by_count() -> Indexes:
        if len(rows) != recording.frames:
            raise InputError(
                f"{file}: {len(rows)} rows, expected {recording.frames}, one per frame of "
                f"{recording.name!r} in {store.path}: is it the store that was predicted?"
            )
        return np.arange(recording.frames, dtype=np.int64)

    placed = place_rows(file, RecordingFrames.of(recording, store), names, by_count)
    values = np.full((recording.frames, len(names)), np.nan)
    values[placed.frames] = rows
    return values
