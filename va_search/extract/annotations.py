"""Annotations of an extraction: recordings, targets, and labels with or without a clock of their
own.

    ANNOTATIONS/Train_Set/<recording>.txt, Validation_Set/<recording>.txt    as Aff-Wild2 has them
    ANNOTATIONS/recordings.csv, recordings/<recording>.csv                   as `data import table`
    ANNOTATIONS/dataset.yaml    beside either: targets or label_range, time_column, time_unit,
                                frames_per_second; without it valence and arousal in [-1, 1]
    ANNOTATIONS/streams.yaml    targets alone, and recordings.csv, as `data import streams` has them
    nothing                     every video is a test recording without labels

Conventions: rows of labels are the video's frames, unless they have a column of times or a named
rate: then their clock, which counts seconds from the file's second 0 (timeline.py), makes the
frames, as in `data import streams`. A named rate makes the frames of recordings without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from va_search.data.affwild2_files import LABEL_RANGE, official_recordings, read_labels
from va_search.data.affwild2_sources import people_of, video_of
from va_search.data.arrays import Floats
from va_search.data.column_names import roles_of
from va_search.data.dataset import Dataset, FeatureColumns
from va_search.data.problems import and_more, not_used, refuse, shortened, unknown_column
from va_search.data.raters import Ratings, Traces, fuse_targets
from va_search.data.readers import TABLE_SUFFIXES, empty_lines, read_header, read_numbers, suffix_of
from va_search.data.stream_clock import SIGNAL_RATES, ClockSample
from va_search.data.stream_samples import SEGMENT_NAMES
from va_search.data.stream_source import StreamSource, find_files, look_at_clocks
from va_search.data.streams_document import FeatureStream, StreamsDocument, TargetStream
from va_search.data.streams_recordings import StreamedRecording, read_streamed_recordings
from va_search.data.table import label_problems
from va_search.document import read_document
from va_search.errors import InputError
from va_search.extract.media import MediaFiles
from va_search.extract.timeline import read_timeline
from va_search.targets import AFFECT, Target, affect

DATASET_WORDS = {
    "`clock:`": "`time_column:`",
    "`unit:`": "`time_unit:`",
    "streams.yaml": "dataset.yaml",
}
"""Words of streams.yaml, and those by which dataset.yaml has the same."""
NAMES_SHOWN = 5
FASTEST = 1000.0
"""The highest rate of frames that can be named."""
NO_FEATURES = "extract makes the feature sets; leave `features` out"


class AnnotationStreams(StreamsDocument):
    """streams.yaml of targets alone."""

    features: dict[str, FeatureStream] = Field(default_factory=dict)

    @field_validator("features")
    @classmethod
    def _none(cls, value: dict[str, FeatureStream]) -> dict[str, FeatureStream]:
        if value:
            raise ValueError(NO_FEATURES)
        return value


class AnnotationDataset(Dataset):
    """dataset.yaml without features."""

    name: str = Field(default="", min_length=1)
    features: dict[str, FeatureColumns] = Field(default_factory=dict)

    @field_validator("features")
    @classmethod
    def _none(cls, value: dict[str, FeatureColumns]) -> dict[str, FeatureColumns]:
        if value:
            raise ValueError(NO_FEATURES)
        return value


@dataclass(frozen=True)
class AnnotatedRecording:
    """One recording. `labels` is its file of labels, or the sample, None without one; `more_labels`
    are the files of its other targets and raters; `rows` the number of its frames where the sample
    tells it. Its media are looked for under `stems`."""

    name: str
    subject: str
    split: str
    video: str
    stems: tuple[str, ...]
    fold: int | None = None
    labels: Path | None = None
    rows: int | None = None
    more_labels: tuple[Path, ...] = ()
    stimulus: str | None = None


@dataclass(frozen=True)
class Annotations:
    """Recordings and targets. `streams` has labels with a clock or at a rate, None where rows of
    labels are frames of videos: then `columns` are those of each target, None in official files, and
    `fused` says of targets with several raters how they are fused. `rate` is that of frames where
    nothing is labelled. `described` by a dataset.yaml or streams.yaml. `has_labels` is False where
    no annotations are given."""

    name: str
    targets: tuple[Target, ...]
    recordings: tuple[AnnotatedRecording, ...]
    columns: Mapping[str, Sequence[str]] | None = None
    fused: Mapping[str, str] = field(default_factory=dict)
    streams: StreamSource | None = None
    rate: float | None = None
    described: bool = False
    has_labels: bool = True

    @property
    def make_frames(self) -> bool:
        """True where the labels' clock or a rate makes the frames, False where frames are the
        videos'."""
        return self.streams is not None or self.rate is not None

    @property
    def rated(self) -> bool:
        """True where some target has several raters."""
        if self.streams is not None:
            return any(target.has_raters for target in self.streams.document.targets.values())
        return bool(self.fused)

    @property
    def time_column(self) -> str | None:
        """The store's column of times; None where they are the videos' time stamps."""
        if self.streams is not None:
            return self.streams.frame_clock.column or "time"
        return None if self.has_labels else "time"

    def frame_rate(self, recording: str) -> float:
        """Frames per second of a recording whose frames a clock or rate makes."""
        if self.streams is not None:
            return self.streams.rates[recording]
        assert self.rate is not None
        return self.rate

    def rows_of(self, file: Path) -> tuple[Floats, Ratings | None]:
        """(rows, targets) of a file whose rows are frames, NaN where a frame has no label, and its
        ratings where a target has several raters; InputError with file and line for what is none."""
        if self.columns is None:
            return read_labels(file), None
        header = read_header(file)
        problems = []
        present: dict[str, list[str]] = {}
        for target, columns in self.columns.items():
            # Recordings may have raters of their own.
            present[target] = [name for name in columns if name in header]
            if not present[target]:
                problems.append(f"{file}: {unknown_column(columns[0], header)}")
        refuse(problems)
        names = [name for columns in present.values() for name in columns]
        labels = read_numbers(file, names)
        traces = {}
        problems = empty_lines(file)
        for entry in self.targets:
            raters = present[entry.name]
            matrix = labels[:, [names.index(name) for name in raters]]
            problems += label_problems(file, matrix, [entry] * len(raters), raters)
            traces[entry.name] = Traces(matrix, raters, self.fused.get(entry.name))
        refuse(problems)
        annotations, ratings = fuse_targets(traces, len(labels))
        return annotations, ratings if self.fused else None


def read_annotations(
    folder: Path | None,
    media: MediaFiles,
    warnings: list[str],
    *,
    sample: Path | None = None,
    subjects: Path | None = None,
    rate: float | None = None,
) -> Annotations:
    """The annotations in a folder, or none for None; InputError with everything wrong in names,
    headers and clocks. `rate` is the one that the command names; `warnings` is added to."""
    if rate is not None and not 0 < rate <= FASTEST:
        raise InputError(f"--frames-per-second {rate:g}, expected above 0 and at most {FASTEST:g}")
    if folder is None:
        return _without_labels(media, warnings, sample=sample, subjects=subjects, rate=rate)
    folder = _described_folder(folder)
    listed = folder / "recordings.csv"
    has_streams = (folder / "streams.yaml").is_file()
    has_dataset = (folder / "dataset.yaml").is_file()
    if has_streams and has_dataset:
        raise InputError(f"{folder}: dataset.yaml and streams.yaml are there; keep one of them")
    if (has_streams or listed.is_file()) and (sample is not None or subjects is not None):
        raise InputError(
            f"{listed}: it names test recordings and subjects; leave --sample and --subjects out"
        )
    if has_streams:
        return _of_streams(folder, media, warnings, rate)
    dataset: AnnotationDataset | None = None
    if has_dataset:
        path = folder / "dataset.yaml"
        dataset = read_document(path, AnnotationDataset, "a description of annotations")
        if rate is not None and dataset.frames_per_second not in (None, rate):
            raise InputError(
                f"{path}: frames_per_second is {dataset.frames_per_second:g}, and "
                f"--frames-per-second {rate:g} is given; leave one of them out"
            )
        rate = dataset.frames_per_second or rate
    if listed.is_file():
        if dataset is None:
            raise InputError(
                f"{folder}: recordings.csv and no dataset.yaml; write one with the range of the "
                "labels: `label_range: [-1, 1]`, or `targets: {stress: [1, 9]}`"
            )
        recordings = _listed(folder, dataset, warnings)
    else:
        recordings = _official(folder, sample, subjects, warnings)
    return _of_dataset(folder, dataset, recordings, media, warnings, rate=rate)


def _described_folder(folder: Path) -> Path:
    """The folder, or the one below it that has a description, as the official folders may lie one
    level down; InputError where several have one."""
    descriptions = ("dataset.yaml", "streams.yaml")
    if not folder.is_dir() or any((folder / name).is_file() for name in descriptions):
        return folder
    below = []
    for path in sorted(folder.iterdir()):
        if any((path / name).is_file() for name in descriptions):
            below.append(path)
    if len(below) > 1:
        raise InputError(
            f"{folder}: {below[0].name} and {below[1].name} both have a dataset.yaml or "
            "streams.yaml; name one of these folders"
        )
    return below[0] if below else folder


def _without_labels(
    media: MediaFiles,
    warnings: list[str],
    *,
    sample: Path | None,
    subjects: Path | None,
    rate: float | None,
) -> Annotations:
    """Every video or sound as a test recording."""
    if sample is not None:
        raise InputError("--sample goes with --annotations: give both, or neither")
    names = media.names()
    people = {} if subjects is None else people_of(subjects, names)
    recordings = []
    for name in names:
        subject = people.get(name, name)
        recordings.append(AnnotatedRecording(name, subject, "test", name, (name,)))
    frames = "the videos' own" if rate is None else f"{rate:g} per second"
    if media.strangers:
        warnings.append(
            f"{media.folder}: {shortened(media.strangers, NAMES_SHOWN)}: no videos or sound by their "
            "endings, and not used"
        )
    warnings.append(
        "no annotations (--annotations): all recordings are test recordings without labels, to be "
        "predicted. The targets that the store names, valence and arousal in [-1, 1], do not matter "
        f"for that. Frames: {frames}; an ensemble predicts well at the rate it was trained on"
    )
    targets = affect(*LABEL_RANGE)
    return Annotations("new", targets, tuple(recordings), rate=rate, has_labels=False)


def _official(
    folder: Path, sample: Path | None, subjects: Path | None, warnings: list[str]
) -> list[AnnotatedRecording]:
    """The recordings of the official folders and the sample."""
    entries = official_recordings(folder, sample, warnings)
    names = [entry.name for entry in entries]
    people = {} if subjects is None else people_of(subjects, names)
    recordings = []
    for entry in entries:
        # Two people of one video are the recordings v_left and v_right of v.
        recordings.append(
            AnnotatedRecording(
                entry.name,
                people.get(entry.name, entry.name),
                entry.split,
                video_of(entry.name),
                (entry.name, video_of(entry.name)),
                labels=entry.file,
                rows=entry.frames,
            )
        )
    return recordings


def _listed(
    folder: Path, dataset: AnnotationDataset, warnings: list[str]
) -> list[AnnotatedRecording]:
    """The recordings of recordings.csv, with their files in recordings/."""
    inside = folder / "recordings"
    files = sorted(inside.iterdir()) if inside.is_dir() else []
    endings = sorted({suffix_of(file.name) for file in files} & set(TABLE_SUFFIXES))
    if len(endings) > 1:
        raise InputError(
            f"{inside}: files of labels end in {' and '.join(endings)}; write all in one format"
        )
    ending = endings[0] if endings else ".csv"
    document = _document(dataset, f"recordings/{{recording}}{ending}", None)
    try:
        rows, remarks = read_streamed_recordings(folder, document)
    except InputError as error:
        raise InputError(
            *[text.replace("streams.yaml", "dataset.yaml") for text in error.problems]
        ) from error
    warnings += [text.replace("streams.yaml", "dataset.yaml") for text in remarks]
    source = StreamSource(folder, document, rows, [])
    refuse(find_files(source))
    recordings = []
    for row in rows:
        labels = source.files[f"targets.{next(iter(document.targets))}", row.name]
        recordings.append(_annotated(row, labels))
    return recordings


def _annotated(row: StreamedRecording, labels: Sequence[Path]) -> AnnotatedRecording:
    files = list(dict.fromkeys(labels))
    return AnnotatedRecording(
        row.name,
        row.subject,
        row.split,
        row.video,
        tuple(dict.fromkeys([row.name, row.video])),
        row.fold,
        files[0] if files else None,
        more_labels=tuple(files[1:]),
        stimulus=row.stimulus,
    )


def _document(
    dataset: AnnotationDataset | None, files: str, rate: float | None
) -> AnnotationStreams:
    """The targets of a dataset.yaml as streams of one file; without one valence and arousal."""
    targets = affect(*LABEL_RANGE)
    columns = {name: [name] for name in AFFECT}
    fused: Mapping[str, str] = {}
    clock, unit, name, stimulus = None, None, "affwild2", None
    if dataset is not None:
        targets, columns, fused = dataset.target_list, dataset.columns_by_target, dataset.fused
        clock, unit = dataset.time_column, dataset.time_unit
        name, stimulus = dataset.name or "videos", dataset.stimulus
    streams = {}
    for target in targets:
        labels: dict[str, Any] = {"column": columns[target.name][0]}
        if target.name in fused:
            labels = {"raters": columns[target.name], "fuse": fused[target.name]}
        streams[target.name] = TargetStream(
            range=target.range,
            files=files,
            clock=clock,
            unit=unit,
            frames_per_second=rate,
            **labels,
        )
    return AnnotationStreams(name=name, targets=streams, stimulus=stimulus)


def _of_dataset(
    folder: Path,
    dataset: AnnotationDataset | None,
    recordings: list[AnnotatedRecording],
    media: MediaFiles,
    warnings: list[str],
    *,
    rate: float | None,
) -> Annotations:
    """Annotations whose labels are all in one file a recording: rows are frames, or have a
    clock."""
    labelled = [entry for entry in recordings if entry.labels is not None and entry.rows is None]
    document = _document(dataset, "{recording}", rate)
    columns = _LabelColumns.of(folder, dataset, labelled)
    has_clock = columns.have_clock(labelled)
    if has_clock or dataset is not None:
        refuse(_naming_columns(folder, labelled, columns.read))
    if has_clock or rate is not None or columns.clock is not None:
        source = _clocked_labels(folder, document, recordings, media)
        warnings += [_in_words_of_dataset(text, folder) for text in source.remarks]
        read = [*columns.without_clock, *SEGMENT_NAMES]
        if source.frame_clock.column is not None:
            read.append(source.frame_clock.column)
        warnings += _unused_columns(labelled, read)
        return Annotations(
            document.name,
            document.store_targets,
            tuple(recordings),
            streams=source,
            described=dataset is not None,
        )
    # Rows are the videos' frames.
    annotations = Annotations(document.name, document.store_targets, tuple(recordings))
    if dataset is None:
        return annotations
    warnings += _unused_columns(labelled, columns.without_clock)
    return replace(annotations, columns=columns.by_target, fused=dataset.fused, described=True)


@dataclass(frozen=True)
class _LabelColumns:
    """Columns of files of labels that are spoken for: those of each target, those that a dataset.yaml
    ignores, and the clock that it names."""

    by_target: dict[str, list[str]]
    ignored: list[str]
    clock: str | None

    @classmethod
    def of(
        cls,
        folder: Path,
        dataset: AnnotationDataset | None,
        labelled: Sequence[AnnotatedRecording],
    ) -> _LabelColumns:
        """Return the columns that a description names; valence and arousal without one."""
        if dataset is None:
            return cls({name: [name] for name in AFFECT}, [], None)
        by_target = _with_raters(folder, dataset, labelled).columns_by_target
        return cls(by_target, list(dataset.ignored_columns), dataset.time_column)

    @property
    def labels(self) -> list[str]:
        """The columns of all targets."""
        return [name for names in self.by_target.values() for name in names]

    @property
    def without_clock(self) -> list[str]:
        """Labels and ignored columns."""
        return [*self.labels, *self.ignored]

    @property
    def read(self) -> list[str]:
        """All columns, with those that name segments."""
        columns = [*self.without_clock, *SEGMENT_NAMES]
        return columns if self.clock is None else [*columns, self.clock]

    def have_clock(self, labelled: Sequence[AnnotatedRecording]) -> bool:
        """Return True if the first file has a column of times or of frame numbers."""
        header = read_header(labelled[0].labels) if labelled and labelled[0].labels else []
        others = [name for name in header if name not in self.ignored]
        roles = roles_of(others, self.labels, self.clock)
        return bool(roles.clocks or roles.frames)


def _clocked_labels(
    folder: Path,
    document: AnnotationStreams,
    recordings: Sequence[AnnotatedRecording],
    media: MediaFiles,
) -> StreamSource:
    """Labels with a clock or at a rate, as streams of one file a recording; InputError, in the words
    of dataset.yaml, for clocks that can't be read."""
    if any(entry.rows is not None for entry in recordings):
        raise InputError(
            "--sample counts the frames of videos, and the labels' clock or rate makes other "
            "frames; leave --sample out"
        )
    rows = []
    for entry in recordings:
        rows.append(
            StreamedRecording(entry.name, entry.subject, entry.split, entry.fold, entry.video, ())
        )
    source = StreamSource(folder, document, rows, [])
    for entry in recordings:
        for key in document.streams():
            source.files[key, entry.name] = [] if entry.labels is None else [entry.labels]
    try:
        look_at_clocks(source, _known_length(recordings, media))
    except InputError as error:
        problems = [_in_words_of_dataset(text, folder) for text in error.problems]
        raise InputError(*problems) from error
    return source


def _with_raters(
    folder: Path, dataset: AnnotationDataset, recordings: Sequence[AnnotatedRecording]
) -> Dataset:
    """The description with the columns that patterns of raters mean in the files of labels;
    InputError for raters whom no file has."""
    if not dataset.fused or not recordings:
        return dataset
    columns: dict[str, None] = {}
    for recording in recordings:
        assert recording.labels is not None
        columns |= dict.fromkeys(read_header(recording.labels))
    try:
        return dataset.with_raters_of(list(columns))
    except InputError as error:
        path = folder / "dataset.yaml"
        raise InputError(*[f"{path}: {text}" for text in error.problems]) from error


def _naming_columns(
    folder: Path, recordings: Sequence[AnnotatedRecording], read: Sequence[str]
) -> list[str]:
    """A problem for columns that name images, recordings or people and are not read: rows may be in
    another order than the frames, or of several people."""
    problems = []
    for recording in recordings:
        assert recording.labels is not None
        roles = roles_of([name for name in read_header(recording.labels) if name not in read])
        for name in (*roles.texts, *roles.people):
            problems.append(
                f"{recording.labels}: column {name!r} names images, recordings or people, and is not "
                "read; remove it, or, if all rows are of this recording and one person in the order "
                f"of time, say `ignored_columns: [{name}]` in {folder / 'dataset.yaml'}"
            )
    return problems


def _unused_columns(recordings: Sequence[AnnotatedRecording], read: Sequence[str]) -> list[str]:
    """A remark on columns of labels' files that are none of those that are read, for the first
    file with them."""
    by_columns: dict[tuple[str, ...], list[Path]] = {}
    for recording in recordings:
        assert recording.labels is not None
        unused = tuple(name for name in read_header(recording.labels) if name not in read)
        if unused:
            by_columns.setdefault(unused, []).append(recording.labels)
    remarks = []
    for unused, files in by_columns.items():
        texts = not_used(files[0], unused)
        remarks += [f"{text}{and_more(len(files) - 1)}" for text in texts]
    return remarks


def _in_words_of_dataset(text: str, folder: Path) -> str:
    """A text on streams.yaml in the words of dataset.yaml."""
    for word, replacement in DATASET_WORDS.items():
        text = text.replace(word, replacement)
    return text.replace("in dataset.yaml", f"in {folder / 'dataset.yaml'}")


def _of_streams(
    folder: Path, media: MediaFiles, warnings: list[str], rate: float | None
) -> Annotations:
    """The annotations of a streams.yaml."""
    path = folder / "streams.yaml"
    document = read_document(path, AnnotationStreams, "a description of annotations")
    if rate is not None:
        raise InputError(
            f"--frames-per-second: say it in {path}: at the top for the frames, under a target for "
            "labels without a clock"
        )
    rows, remarks = read_streamed_recordings(folder, document)
    source = StreamSource(folder, document, rows, remarks)
    refuse(find_files(source))
    recordings = []
    for row in rows:
        labels: list[Path] = []
        for key in document.streams():
            labels += source.files[key, row.name]
        recordings.append(_annotated(row, labels))
    look_at_clocks(source, _known_length(recordings, media))
    warnings += source.remarks
    return Annotations(
        document.name, document.store_targets, tuple(recordings), streams=source, described=True
    )


def _known_length(
    recordings: Sequence[AnnotatedRecording], media: MediaFiles
) -> tuple[ClockSample, ...]:
    """The length of the first labelled recording's video, which tells units of clocks apart; none
    where it can't be read, which is told later."""
    for recording in recordings:
        file = media.picture_file(recording.stems)
        if recording.labels is None or file is None:
            continue
        try:
            seconds = read_timeline(file).seconds
        except InputError:
            return ()
        written = np.array([0.0, seconds])
        return (ClockSample("videos", file, "time stamps", written, "seconds", None, SIGNAL_RATES),)
    return ()
