"""The formats a challenge asks for: predictions of the test recordings as sheets, one per file.

    abaw         predictions.txt      image_location,valence,arousal; rows in the official sample file's order,
                                      `<recording>/00001.jpg` is frame 1 (.csv where the sample is one)
    recordings   <recording>.csv      one file per recording, one row per source row: the source's time column as it
                                      stood (if it had one), then a column a target in the store's order

Conventions: a format is `(values, test, store, sample) -> sheets`; values (frames, targets) are on
the targets' own scales. abaw is the challenge's: valence and arousal on [-1, 1] and nothing else. A
file is called by `file_name_of` its recording: names that some file system refuses are written with
%XX."""

from __future__ import annotations

import csv
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import COLUMN, sample_images
from va_search.data.problems import first_few
from va_search.data.readers import read_strings
from va_search.data.store import Recording, Store
from va_search.data.time_texts import time_examples, written_times
from va_search.errors import InputError, unknown_name
from va_search.files import file_name_of
from va_search.targets import AFFECT, Target, affect, names

MOST = 20
"""Problems told in one error."""
ABAW_TARGETS = affect(-1.0, 1.0)
Values = NDArray[np.float64]


def in_words(targets: Sequence[Target]) -> str:
    """Return `label range [-1.0, 1.0]` for valence and arousal on one range, else each target with
    its own: `targets engagement [0.0, 100.0]`."""
    ranges = {target.range for target in targets}
    if names(targets) == AFFECT and len(ranges) == 1:
        return f"label range {list(targets[0].range)}"
    return "targets " + ", ".join(f"{each.name} {list(each.range)}" for each in targets)


@dataclass(frozen=True)
class Sheet:
    """One file of a submission: `keys` (rows,) texts of the first column or None, `values` (rows,
    targets)."""

    name: str
    header: tuple[str, ...]
    keys: list[str] | None
    values: Values

    def write(self, path: Path) -> None:
        """Write the file."""
        with open(path, "w", encoding="utf-8", newline="") as handle:
            writer = csv.writer(handle, lineterminator="\n")
            writer.writerow(self.header)
            # A row at a time: as texts, a million rows would take hundreds of MB.
            rows = ([f"{value:.6f}" for value in row] for row in self.values.tolist())
            if self.keys is not None:
                rows = ([key, *row] for key, row in zip(self.keys, rows, strict=True))
            writer.writerows(rows)

    def written(self, path: Path) -> Values | None:
        """Return (rows, targets) of a written file; None where its header or keys are others."""
        columns = self.values.shape[1]
        numbers = array("d")
        count = 0
        with open(path, encoding="utf-8", newline="") as handle:
            rows = csv.reader(handle)
            if tuple(next(rows, ())) != self.header:
                return None
            for row in rows:
                # More rows than were meant are told by their number.
                if self.keys is not None and self.keys[count : count + 1] != row[:1]:
                    return None
                numbers.extend(map(float, row[-columns:]))
                count += 1
        if self.keys is not None and count != len(self.keys):
            return None
        return np.array(numbers, dtype=np.float64).reshape(-1, columns)


def _abaw(
    values: Values, test: Sequence[Recording], store: Store, sample: Path | None
) -> list[Sheet]:
    if store.targets != ABAW_TARGETS:
        raise InputError(
            "format abaw is the challenge's, for valence and arousal on [-1, 1], and "
            f"{store.path} has {in_words(store.targets)}: use --format recordings, or --template"
        )
    if sample is None:
        raise InputError(
            "format abaw follows the organisers' sample file; give it with --sample FILE"
        )
    images = sample_images(sample)
    _refuse_other_rows(images, test, sample)
    starts, frames = {}, 0
    for recording in test:
        starts[recording.name] = frames
        frames += recording.frames
    # Row of each image in `values`, where the test recordings follow one another.
    rows = [starts[name] + frame - 1 for name, frame in images]
    keys = read_strings(sample, COLUMN)
    suffix = ".csv" if sample.suffix == ".csv" else ".txt"
    return [Sheet(f"predictions{suffix}", ("image_location", *AFFECT), keys, values[rows])]


def _refuse_other_rows(
    images: list[tuple[str, int]], test: Sequence[Recording], sample: Path
) -> None:
    frames = {recording.name: recording.frames for recording in test}
    largest: dict[str, int] = {}
    for name, frame in images:
        largest[name] = max(frame, largest.get(name, 0))
    unknown, lacking, beyond = [], [], []
    for name, frame in largest.items():
        if name not in frames:
            problem = f"recording {name!r} is no test recording of the store"
            if len(frames) <= MOST:  # few enough to name them all
                problem = unknown_name("test recording", name, frames)
            unknown.append(f"{sample}: {problem}")
        elif frame > frames[name]:
            beyond.append(
                f"{sample}: frame {frame} of {name!r}, but the store has {frames[name]} frames of "
                "it"
            )
    for name in frames:
        if name not in largest:
            lacking.append(f"{sample}: test recording {name!r} of the store has no row")
    problems = unknown + lacking + beyond
    if len(set(images)) < len(images):
        (name, frame), count = Counter(images).most_common(1)[0]
        problems.append(f"{sample}: frame {frame} of {name!r} stands {count} times, expected once")
    if problems:
        raise InputError(*first_few(problems, MOST))


def _recordings(
    values: Values, test: Sequence[Recording], store: Store, sample: Path | None
) -> list[Sheet]:
    if sample is not None:
        raise InputError(
            f"--sample {sample}: only format abaw has a sample file; leave it out for recordings"
        )
    return recording_sheets(values, test, store, store.target_names)


def recording_sheets(
    values: Values, recordings: Sequence[Recording], store: Store, targets: Sequence[str]
) -> list[Sheet]:
    """One sheet per recording out of (frames, targets) values of all of them, in columns named
    `targets`, with the store's time column where it has one.

    InputError naming every recording that can't be a file's name.
    """
    sheets: list[Sheet] = []
    problems: list[str] = []
    examples = time_examples(store)
    start = 0
    for recording in recordings:
        keys = None
        header = tuple(targets)
        if store.time_column:
            times = store.times[recording.start : recording.stop]
            keys = written_times(times, examples.get(recording.name))
            header = (store.time_column, *targets)
        try:
            name = f"{file_name_of(recording.name)}.csv"
        except InputError as error:
            problems += error.problems
        else:
            sheets.append(Sheet(name, header, keys, values[start : start + recording.frames]))
        start += recording.frames
    if problems:
        raise InputError(*problems)
    return sheets


FORMATS: dict[str, Callable[[Values, Sequence[Recording], Store, Path | None], list[Sheet]]] = {
    "abaw": _abaw,
    "recordings": _recordings,
}
