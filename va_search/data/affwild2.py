"""Importer of Aff-Wild2's valence-arousal track (ABAW): official annotations, own features.

    ANNOTATIONS/Train_Set/<recording>.txt, Validation_Set/<recording>.txt    header valence,arousal; a row per frame
    SAMPLE       the organisers' sample submission: the test recordings, their order and lengths
    VISUAL/<feature set>/<recording>.npy|.csv|.parquet     rows by frame, see feature_rows
    AUDIO/<feature set>/<recording>.npy|.csv|.parquet      found under the full name first, then without _left/_right
    CROPS/<recording>/00001.jpg …    which frames have a face

Conventions: labels are in [-1, 1]; -5,-5 is an unlabelled frame, which stays in the store as NaN so
that nothing shifts; row i belongs to image i, both from 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_sources import Affwild2Source, Places, feature_sets, find_sources
from va_search.data.draft import Description, Part
from va_search.data.feature_rows import FrameRows, bookkeeping_remarks, feature_columns, read_rows
from va_search.data.frame_names import RecordingFrames, first_number
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.problems import and_more, refuse
from va_search.data.readers import empty_lines, read_header, read_numbers, where
from va_search.data.store import Store
from va_search.data.table import label_problems
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS

LABEL_RANGE = (-1.0, 1.0)
UNLABELLED = -5.0


def import_affwild2(
    annotations: Path,
    to: Path,
    *,
    visual: Path | None = None,
    audio: Path | None = None,
    sample: Path | None = None,
    crops: Path | None = None,
    frame_rates: Path | None = None,
    subjects: Path | None = None,
    dtype: str = "float32",
    workers: int | None = None,
    progress: Progress = quiet,
) -> Store:
    """Read annotations and feature files into a store at `to`; a second call finds the store and
    opens it.

    `frame_rates` is a CSV recording,frames_per_second (else 30 is taken, with a warning),
    `subjects` a CSV recording,subject (else each recording is a subject of its own). InputError
    with all problems together."""
    places = Places(annotations, visual, audio, sample, crops, frame_rates, subjects)
    warnings: list[str] = []
    recordings = find_sources(places, warnings)
    description = _description(places, recordings[0], dtype)
    warnings += _bookkeeping(recordings, description)
    firsts = {name: _first_number(recordings, name) for name in description.feature_sets}
    warnings += [
        f"feature set {name!r}: frames count from 0 in it, since every file begins at frame 0"
        for name, first in firsts.items()
        if first == 0
    ]
    people = frozenset(recording.subject for recording in recordings)
    with drafting(to, description, list(recordings)) as draft:
        draft.remarks = warnings

        def read(index: int) -> Part:
            return read_part(recordings[index], description, firsts, people)

        return read_all(draft, read, workers=workers, progress=progress)


def _description(places: Places, first: Affwild2Source, dtype: str) -> Description:
    """Dims and column names come from the first recording's files; the others are held to them
    while reading."""
    files = dict(first.features)
    named = {
        name: (modality, feature_columns(files[name]))
        for name, (modality, _) in feature_sets(places).items()
    }
    source = f"affwild2 {places.annotations.resolve()}"
    return Description("affwild2", LABEL_RANGE, named, dtype=dtype, source=source)


def _bookkeeping(recordings: list[Affwild2Source], description: Description) -> list[str]:
    """Remarks on columns that are no features, each once; files that can't be read are told while
    they are read."""
    visual = {
        name for name, (modality, _) in description.feature_sets.items() if modality == "visual"
    }
    remarks: dict[str, None] = {}
    for recording in recordings:
        for name, file in recording.features:
            try:
                remarks |= dict.fromkeys(bookkeeping_remarks(name, file, faces=name in visual))
            except InputError:
                continue
    return list(remarks)


def _first_number(recordings: list[Affwild2Source], feature_set: str) -> int:
    """The number of the first frame in a feature set's files; all are looked at only where the
    first has a frame 0."""
    files: dict[Path, RecordingFrames] = {}
    for recording in recordings:
        file = dict(recording.features)[feature_set]
        if file.suffix != ".npy":
            files[file] = RecordingFrames(
                (recording.name, recording.video), 0, recording.frames_per_second
            )
    leading = dict(recordings[0].features)[feature_set]
    if leading in files and first_number({leading: files[leading]}) == 0:
        return first_number(files)
    return 1


def read_part(
    recording: Affwild2Source,
    description: Description,
    firsts: Mapping[str, int],
    people: frozenset[str] = frozenset(),
) -> Part:
    """One recording read and checked; InputError with everything wrong in its files.

    `firsts` are the numbers of the first frames, by feature set; `people` are all subjects.
    """
    problems: list[str] = []
    pair, frames = None, recording.frames
    if frames is None:
        pair = read_labels(recording.labels)
        frames = len(pair)
    features: dict[str, NDArray[np.floating]] = {}
    valid = np.ones(frames, dtype=bool)
    warnings: list[str] = []
    for name, file in recording.features:
        visual = description.feature_sets[name][0] == "visual"
        names = (
            (recording.name,) if visual else (recording.name, recording.video)
        )  # persons share their video's sound
        others = people if visual else frozenset()
        known = RecordingFrames(
            names,
            frames,
            recording.frames_per_second,
            str(recording.labels),
            person=recording.subject,
            people=others,
        )
        try:
            rows = read_rows(
                file, known, recording.crops if visual else None, faces=visual, first=firsts[name]
            )
            _check_columns(file, rows, name, description)
        except InputError as error:
            problems += error.problems
            continue
        features[name] = rows.features
        warnings += rows.remarks
        valid &= rows.valid | (not visual)
    refuse(problems)
    return Part(features, pair, None, valid, (), tuple(warnings))


def _check_columns(file: Path, rows: FrameRows, name: str, description: Description) -> None:
    """Dims must agree over all recordings, and so must column names where files have them."""
    expected = description.feature_sets[name][1]
    if rows.features.shape[1] != len(expected):
        raise InputError(
            f"{file}: dim {rows.features.shape[1]}, but feature set {name!r} has {len(expected)} in its first recording"
        )
    unnamed = file.suffix == ".npy" or expected == tuple(map(str, range(len(expected))))
    if not unnamed and feature_columns(file) != expected:
        raise InputError(
            f"{file}: columns under other names, or in another order, than in the first file of {name!r}"
        )


def read_labels(file: Path) -> NDArray[np.float64]:
    """(frames, 2) of an official label file, NaN where it says -5,-5; InputError with file and line
    otherwise."""
    header = read_header(file)
    if header != list(DIMENSIONS):
        raise InputError(f"{file}:1: header {','.join(header)!r}, expected 'valence,arousal'")
    pair = read_numbers(file, DIMENSIONS)
    problems = empty_lines(file)
    empty = np.flatnonzero(np.isnan(pair).any(axis=1))
    if empty.size:
        problems.append(
            f"{where(file, int(empty[0]))}: empty label{and_more(empty.size - 1)}; unlabelled is -5,-5"
        )
    fives = (pair == UNLABELLED).sum(axis=1)
    halves = np.flatnonzero(fives == 1)
    if halves.size:
        problems.append(
            f"{where(file, int(halves[0]))}: one label is -5 and the other is not{and_more(halves.size - 1)}; "
            "an unlabelled frame is -5,-5"
        )
    pair[fives > 0] = np.nan
    problems += label_problems(file, pair, LABEL_RANGE)
    refuse(problems)
    return pair
