"""The formats a challenge asks for: predictions of the test recordings as sheets, one per file.

    abaw         predictions.txt      image_location,valence,arousal; rows in the official sample file's order,
                                      `<recording>/00001.jpg` is frame 1 (.csv where the sample is one)
    recordings   <recording>.csv      one file per recording, one row per source row: the source's time column as it
                                      stood (if it had one), valence, arousal

Conventions: a format is `(values, test, store, sample) -> sheets`; values (frames, 2) are on the
source's scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import COLUMN, sample_images
from va_search.data.readers import read_strings
from va_search.data.store import Recording, Store
from va_search.errors import InputError, unknown_name
from va_search.files import checked_name
from va_search.metrics import DIMENSIONS

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Sheet:
    """One file of a submission: `keys` (rows,) texts of the first column or None, `values` (rows,
    2)."""

    name: str
    header: tuple[str, ...]
    keys: list[str] | None
    values: Values


def _abaw(
    values: Values, test: Sequence[Recording], store: Store, sample: Path | None
) -> list[Sheet]:
    if sample is None:
        raise InputError(
            "format abaw follows the organisers' sample file; give it with --sample FILE"
        )
    images = sample_images(sample)
    firsts = np.cumsum([0, *(recording.frames for recording in test)]).tolist()
    first = dict(zip([recording.name for recording in test], firsts, strict=False))
    _refuse_other_rows(images, test, sample)
    rows = [first[name] + frame - 1 for name, frame in images]
    keys = read_strings(sample, COLUMN)
    name = f"predictions{'.csv' if sample.suffix == '.csv' else '.txt'}"
    return [Sheet(name, ("image_location", *DIMENSIONS), keys, values[rows])]


def _refuse_other_rows(
    images: list[tuple[str, int]], test: Sequence[Recording], sample: Path
) -> None:
    frames = {recording.name: recording.frames for recording in test}
    asked = Counter(name for name, _ in images)
    problems = [
        f"{sample}: " + unknown_name("test recording", name, frames) if len(frames) <= 20 else
        f"{sample}: recording {name!r} is no test recording of the store"
        for name in asked if name not in frames
    ]  # fmt: skip
    problems += [
        f"{sample}: test recording {name!r} of the store has no row"
        for name in frames
        if name not in asked
    ]
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


def _recordings(
    values: Values, test: Sequence[Recording], store: Store, sample: Path | None
) -> list[Sheet]:
    if sample is not None:
        raise InputError(
            f"--sample {sample}: only format abaw has a sample file; leave it out for recordings"
        )
    return recording_sheets(values, test, store)


def recording_sheets(values: Values, recordings: Sequence[Recording], store: Store) -> list[Sheet]:
    """One sheet per recording out of (frames, 2) values of all of them, with the store's time
    column where it has one.

    InputError naming every recording that can't be a file's name.
    """
    ends = np.cumsum([0, *(recording.frames for recording in recordings)]).tolist()
    sheets, problems = [], []
    for recording, (low, high) in zip(recordings, pairwise(ends), strict=True):
        keys = (
            _as_it_stood(store.times[recording.start : recording.stop])
            if store.time_column
            else None
        )
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
    """The time column's texts: integers where all of the recording's are, empty where there was
    none."""
    known = times[~np.isnan(times)]
    whole = bool((known == np.round(known)).all())
    return ["" if np.isnan(t) else str(int(t)) if whole else repr(t) for t in times.tolist()]
