"""Importer of Aff-Wild2's valence-arousal track (ABAW): official annotations, own features.

    ANNOTATIONS, SAMPLE    the organisers' label files and sample submission, see affwild2_files
    VISUAL/<feature set>/<recording>.npy|.csv|.parquet     rows by frame, see feature_rows
    AUDIO/<feature set>/<recording>.npy|.csv|.parquet      found under the full name first, then without _left/_right
    CROPS/<recording>/00001.jpg …    which frames have a face

Conventions: an unlabelled frame stays in the store as NaN, so that nothing shifts; row i belongs to
image i, both from 1."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from va_search.data.affwild2_files import LABEL_RANGE, read_labels
from va_search.data.affwild2_sources import (
    Affwild2Places,
    Affwild2Source,
    feature_sets,
    find_sources,
)
from va_search.data.arrays import Values
from va_search.data.draft import Description, Part
from va_search.data.feature_rows import FrameRows, bookkeeping_remarks, feature_columns, read_rows
from va_search.data.frame_names import RecordingFrames, first_number
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.problems import refuse
from va_search.data.readers import reader_of
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.targets import affect


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
    inputs = Affwild2Places(annotations, visual, audio, sample, crops, frame_rates, subjects)
    warnings: list[str] = []
    recordings = find_sources(inputs, warnings)
    description = _describe(inputs, recordings[0], dtype)
    warnings += _bookkeeping(recordings, description)
    # A feature set that counts from 0 is known only from all its files together.
    firsts = {name: _first_number(recordings, name) for name in description.feature_sets}
    for name, number in firsts.items():
        if number == 0:
            warnings.append(
                f"feature set {name!r}: frames count from 0 in it, since every file begins at "
                "frame 0"
            )
    people = frozenset(recording.subject for recording in recordings)
    names = frozenset(recording.name for recording in recordings)
    with drafting(to, description, list(recordings)) as draft:
        draft.remarks = warnings

        def read(index: int) -> Part:
            return read_part(recordings[index], description, firsts, people, names)

        return read_all(draft, read, workers=workers, progress=progress)


def _describe(inputs: Affwild2Places, recording: Affwild2Source, dtype: str) -> Description:
    """Dims and column names come from the first recording's files; the others are held to them
    while reading."""
    files = dict(recording.features)
    named = {}
    for name, (modality, _) in feature_sets(inputs).items():
        named[name] = (modality, feature_columns(files[name]))
    source = f"affwild2 {inputs.annotations.resolve()}"
    return Description("affwild2", affect(*LABEL_RANGE), named, dtype=dtype, source=source)


def _bookkeeping(recordings: list[Affwild2Source], description: Description) -> list[str]:
    """Remarks on columns that are no features, each once; files that can't be read are told while
    they are read."""
    remarks: dict[str, None] = {}
    for recording in recordings:
        for name, file in recording.features:
            faces = description.feature_sets[name][0] == "visual"
            try:
                remarks |= dict.fromkeys(bookkeeping_remarks(name, file, faces=faces))
            except InputError:
                continue
    return list(remarks)


def _first_number(recordings: list[Affwild2Source], feature_set: str) -> int:
    """The number of the first frame in a feature set's files; all are looked at only where the
    first has a frame 0."""
    files: dict[Path, RecordingFrames] = {}
    for recording in recordings:
        names = (recording.name, recording.video)
        file = dict(recording.features)[feature_set]
        files[file] = RecordingFrames(names, 0, recording.frames_per_second)
    leading = dict(recordings[0].features)[feature_set]
    if first_number({leading: files[leading]}) == 0:
        return first_number(files)
    return 1


def read_part(
    recording: Affwild2Source,
    description: Description,
    firsts: Mapping[str, int],
    people: frozenset[str] = frozenset(),
    recordings: frozenset[str] = frozenset(),
) -> Part:
    """One recording read and checked; InputError with everything wrong in its files.

    `firsts` are the numbers of the first frames, by feature set; `people` are all subjects,
    `recordings` the names of all.
    """
    # Only the sample says how long a test recording is; labels say it of the others.
    pair, frames = None, recording.frames
    if frames is None:
        pair = read_labels(recording.labels)
        frames = len(pair)
    features: dict[str, Values] = {}
    valid = np.ones(frames, dtype=bool)
    warnings: list[str] = []
    problems: list[str] = []
    for name, file in recording.features:
        visual = description.feature_sets[name][0] == "visual"
        names = [recording.name]
        if not visual:  # persons share their video's sound
            names.append(recording.video)
        own_frames = RecordingFrames(
            names=tuple(names),
            frames=frames,
            frames_per_second=recording.frames_per_second,
            source=str(recording.labels),
            person=recording.subject,
            people=people if visual else frozenset(),
            recordings=recordings,
        )
        crops = recording.crops if visual else None
        try:
            rows = read_rows(file, own_frames, crops, faces=visual, first=firsts[name])
            _check_columns(file, rows, name, description)
        except InputError as error:
            problems += error.problems
            continue
        features[name] = rows.features
        warnings += rows.remarks
        if visual:
            valid &= rows.valid
    refuse(problems)
    return Part(features, pair, valid=valid, warnings=tuple(warnings))


def _check_columns(file: Path, rows: FrameRows, name: str, description: Description) -> None:
    """Dims must agree over all recordings, and so must column names where files have them."""
    _, expected = description.feature_sets[name]
    dim = rows.features.shape[1]
    if dim != len(expected):
        raise InputError(
            f"{file}: dim {dim}, but feature set {name!r} has {len(expected)} in its first "
            "recording"
        )
    is_unnamed = expected == tuple(map(str, range(dim)))  # as in a .npy file
    if not is_unnamed and reader_of(file).has_names and feature_columns(file) != expected:
        raise InputError(
            f"{file}: columns under other names, or in another order, than in the first file of "
            f"{name!r}"
        )
