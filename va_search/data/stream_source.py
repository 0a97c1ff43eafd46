"""A `streams` source, looked at before its values are read: its recordings, the files of each
stream, their columns and clocks, and the rate of each recording's frames."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from shlex import quote

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.draft import Source
from va_search.data.nearby import Nearby
from va_search.data.problems import refuse, unknown_column
from va_search.data.readers import ALL_SUFFIXES
from va_search.data.stream_clock import (
    LABEL_RATES,
    LENGTHS,
    SIGNAL_RATES,
    ClockSample,
    StreamClock,
    choose_units,
    clock_column,
    declared_unit,
)
from va_search.data.stream_frames import by_segment, frames_of_labels, rounded_rate
from va_search.data.stream_samples import (
    Samples,
    SharedFiles,
    StreamFile,
    matching_columns,
    open_stream_file,
    other_columns,
)
from va_search.data.streams_document import (
    RATER,
    FeatureStream,
    Stream,
    StreamsDocument,
    TargetStream,
    read_streams_document,
)
from va_search.data.streams_recordings import StreamedRecording, read_streamed_recordings
from va_search.data.validity import Validity
from va_search.errors import InputError, counted

RATES_APART = 0.01
"""Share by which the labels' rates of two recordings may differ for one that has none."""


@dataclass
class StreamSource:
    """The source in the folder `path`. `files` are those of each stream and recording, `raters` the
    names of files that are a rater's own; `clocks`, `columns`, `validities` and `stream_rates`
    (samples a second in its first file) are those of each stream by its key, `rates` the frames per second of each
    recording."""

    path: Path
    document: StreamsDocument
    recordings: list[StreamedRecording]
    remarks: list[str]
    raters: dict[Path, str] = field(default_factory=dict)
    shared: SharedFiles = field(default_factory=SharedFiles)
    files: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    clocks: dict[str, StreamClock] = field(default_factory=dict)
    columns: dict[str, list[str]] = field(default_factory=dict)
    validities: dict[str, Validity] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    stream_rates: dict[str, float] = field(default_factory=dict)

    @property
    def sources(self) -> list[Source]:
        """The recordings as the draft knows them."""
        sources = []
        for recording in self.recordings:
            files: dict[Path, None] = {}
            for key in self.document.streams():
                files |= dict.fromkeys(self.files[key, recording.name])
            sources.append(recording.source(self.rates[recording.name], tuple(files)))
        return sources

    @property
    def frame_clock(self) -> StreamClock:
        """The clock that writes the frames' times: that of the first target."""
        return self.clocks[f"targets.{next(iter(self.document.targets))}"]

    def open(self, key: str, stream: Stream, recording: str, file: Path) -> StreamFile:
        """A file of a stream; its rows of one recording, where it has several."""
        return open_stream_file(file, self.shared, stream, recording)

    def read_features(self, name: str, recording: str) -> Samples | None:
        """The samples of a feature set in a recording. Where there are none: None of an optional
        one, else InputError."""
        stream, key = self.document.features[name], f"features.{name}"
        if not self.files[key, recording]:
            return None
        stream_file = self.open(key, stream, recording, self.files[key, recording][0])
        columns = self.columns[key]
        taken = _taken_columns(self.document, stream)
        refuse(other_columns(stream_file, columns, stream.patterns, taken, key))
        samples = stream_file.read(self.clocks[key], columns, complete=True)
        if not len(samples.times) and stream.optional:
            return None
        if not len(samples.times):
            rows = "no row of it" if not samples.missing else "no row of it that is whole"
            raise InputError(
                f"{stream_file.file}: {key}: {rows}, so the whole stream is missing; if "
                f"recordings may lack it, say so: `{name}: {{…, optional: true}}`"
            )
        self._refuse_other_unit(key, stream_file.file, samples)
        return samples

    def split_of(self, recording: str) -> str:
        """The split of a recording."""
        return next(row.split for row in self.recordings if row.name == recording)

    def _refuse_other_unit(self, key: str, file: Path, samples: Samples) -> None:
        """InputError where a file's clock runs so much faster or slower than that of the stream's
        first file that it must be in another unit."""
        usual = self.stream_rates.get(key)
        if usual is None or isnan(samples.step):
            return
        rate = 1 / samples.step
        if not 1 / LENGTHS < rate / usual < LENGTHS:
            raise InputError(
                f"{file}: {key}: its clock steps at {rate:.4g} per second, that of the stream's "
                f"first file at {usual:.4g}: is it in another unit? Write all files in one"
            )

    def read_labels(self, name: str, recording: str) -> dict[str, Samples]:
        """The samples of a target in a recording, by rater; one, of the target's name, where there
        are no raters; none without a file."""
        stream, key = self.document.targets[name], f"targets.{name}"
        labels: dict[str, Samples] = {}
        for file in self.files[key, recording]:
            stream_file = self.open(key, stream, recording, file)
            if stream.rater_column is not None:
                labels |= self._by_rater_column(stream_file, stream, key)
                continue
            columns = label_columns(stream_file, name, stream)
            if not columns and self.split_of(recording) != "test":
                _check_label_columns(stream_file, key, stream)
            if not columns:  # a test file, of times alone
                columns = [self.clocks[key].column or stream_file.header[0]]
                samples = stream_file.read(self.clocks[key], columns, complete=False)
                labels[name] = _column_of(samples, None)
                continue
            samples = stream_file.read(self.clocks[key], columns, complete=False)
            self._refuse_other_unit(key, file, samples)
            for index, column in enumerate(columns):
                rater = column if stream.raters else name
                if RATER in stream.fields:
                    rater = self.raters[file]
                labels[rater] = _column_of(samples, index)
        return {rater: samples for rater, samples in labels.items() if len(samples.times)}

    def _by_rater_column(
        self, stream_file: StreamFile, stream: TargetStream, key: str
    ) -> dict[str, Samples]:
        assert stream.rater_column is not None
        if stream.rater_column not in stream_file.header:
            raise InputError(
                f"{stream_file.file}: {unknown_column(stream.rater_column, stream_file.header)}"
            )
        columns = label_columns(stream_file, key.removeprefix("targets."), stream)
        labels = {}
        for rater in dict.fromkeys(stream_file.texts(stream.rater_column)):
            own = stream_file.only(stream.rater_column, rater)
            labels[rater] = _column_of(own.read(self.clocks[key], columns, complete=False), 0)
        return labels


def _column_of(samples: Samples, index: int | None) -> Samples:
    """The samples with one of their columns; with NaN in it for None."""
    values = np.full((len(samples.times), 1), np.nan)
    if index is not None:
        values = samples.values[:, index : index + 1]
    return Samples(
        samples.times,
        samples.written,
        values,
        samples.parts,
        samples.segments,
        samples.missing,
    )


def label_columns(stream_file: StreamFile, name: str, stream: TargetStream) -> list[str]:
    """The columns of a target's labels: its raters', or the one that is named, is called like the
    target, or is the only one of values. None where the file has no such column."""
    if stream.raters:
        return matching_columns(stream_file, stream.raters, [], f"targets.{name}")
    if stream.column is not None:
        return [stream.column] if stream.column in stream_file.header else []
    if name in stream_file.header:
        return [name]
    values = [column for column in stream_file.roles.values if column != stream_file.segment_column]
    if stream.rater_column in values:
        values.remove(stream.rater_column)
    return values if len(values) == 1 else []


def look_at(source: Path) -> StreamSource:
    """The source in a folder; InputError with everything that is wrong in its description, and in
    the names, headers and clocks of its files."""
    if not source.is_dir():
        state = "it is a file" if source.exists() else "no such folder"
        raise InputError(f"{source}: {state}, expected a folder with streams.yaml")
    if not (source / "streams.yaml").exists():
        raise InputError(
            f"{source / 'streams.yaml'}: no such file; `va-search data init {quote(str(source))}` "
            "writes a draft of it"
        )
    document = read_streams_document(source / "streams.yaml")
    recordings, remarks = read_streamed_recordings(source, document)
    looked_at = StreamSource(source, document, recordings, remarks)
    refuse(find_files(looked_at))
    look_at_clocks(looked_at)
    return looked_at


def find_clocks(source: StreamSource) -> None:
    """Note the files of each stream and recording, and the columns and clocks of the first ones."""
    refuse(find_files(source))
    _read_headers(source, ())


def look_at_clocks(source: StreamSource, known: Sequence[ClockSample] = ()) -> None:
    """Note the columns, clocks and rates of a source whose files are known; InputError with
    everything wrong in them. The streams' clocks must fit the `known` ones too."""
    _read_headers(source, known)
    refuse(_find_rates(source))


def find_files(source: StreamSource) -> list[str]:
    """Note the files of each stream and recording; problems for streams that a recording lacks,
    remarks for targets."""
    problems: list[str] = []
    folders: dict[Path, Nearby] = {}
    for recording in source.recordings:
        lacking = {}
        for key, stream in source.document.streams().items():
            source.files[key, recording.name] = _files_of(source, stream, recording)
            if not source.files[key, recording.name]:
                lacking[key] = _no_file(source, stream, recording, folders)
        # Without features (they are extracted) a test recording may have no file at all.
        if source.document.features and len(lacking) == len(source.document.streams()):
            problems.append(f"recording {recording.name!r}: no stream has a file of it")
            continue
        targets = [key for key in lacking if key.startswith("targets.")]
        is_unlabelled = len(targets) == len(source.document.targets)
        for key, text in lacking.items():
            name = f"recording {recording.name!r}: {key}"
            stream = source.document.streams()[key]
            if isinstance(stream, FeatureStream) and stream.optional:
                source.remarks.append(f"{name}: {text}, so its values are kept as missing")
            elif isinstance(stream, FeatureStream):
                set_name = key.removeprefix("features.")
                problems.append(
                    f"{name}: {text}; if recordings may lack the whole stream, say so: "
                    f"`{set_name}: {{…, optional: true}}`"
                )
            elif recording.split != "test" and is_unlabelled:
                problems.append(f"{name}: {text}; only test recordings may have no labels")
            elif recording.split != "test":
                source.remarks.append(f"{name}: {text}, so it has no labels of this target")
    return problems


def _no_file(
    source: StreamSource, stream: Stream, recording: StreamedRecording, folders: dict[Path, Nearby]
) -> str:
    """Words for a file that is not there, and what is there in its place; folders are listed
    once."""
    path = source.path / recording.fill(stream.files)
    hint = ""
    if path.parent.is_dir():
        names = [row.name for row in source.recordings]
        nearby = folders.setdefault(path.parent, Nearby(path.parent, ALL_SUFFIXES, names))
        hint = nearby.instead_of([path.stem])
    return f"no {path}{hint}"


def _files_of(source: StreamSource, stream: Stream, recording: StreamedRecording) -> list[Path]:
    """The stream's file of a recording, or those of its raters, whose names are noted; empty where
    there is none."""
    name = recording.fill(stream.files)
    if RATER not in stream.fields:
        path = source.path / name
        return [path] if path.is_file() else []
    before, _, after = name.partition(f"{{{RATER}}}")
    named = re.compile(f"{re.escape(before)}([^/]+){re.escape(after)}")
    files = []
    for path in sorted(source.path.glob(f"{glob.escape(before)}*{glob.escape(after)}")):
        match = named.fullmatch(path.relative_to(source.path).as_posix())
        if match is not None and path.is_file():
            files.append(path)
            source.raters[path] = match[1]
    return files


def _read_headers(source: StreamSource, known: Sequence[ClockSample]) -> None:
    """Note the columns and the clock of each stream, by its first file with two rows or more."""
    problems: list[str] = []
    samples: dict[str, ClockSample] = {}
    for key, stream in source.document.streams().items():
        try:
            stream_file = _first_file(source, key, stream)
            if isinstance(stream, FeatureStream):
                taken = _taken_columns(source.document, stream)
                source.columns[key] = matching_columns(stream_file, stream.patterns, taken, key)
                source.validities[key] = stream_file.validity
            elif isinstance(stream, TargetStream):
                _check_label_columns(stream_file, key, stream)
            sample = _clock_sample(source, key, stream, stream_file)
            if sample is not None:
                samples[key] = sample
        except InputError as error:
            problems += error.problems
    refuse(problems)
    # Units are chosen for all clocks together: their lengths must fit each other.
    targets = [sample for key, sample in samples.items() if key.startswith("targets.")]
    features = [sample for key, sample in samples.items() if key.startswith("features.")]
    units = choose_units(targets, [*features, *known])
    keys_of: dict[str, list[str]] = {}
    for key, sample in samples.items():
        try:
            for remark in _note_clock(source, key, sample, units[key]):
                keys_of.setdefault(remark, []).append(key)
        except InputError as error:
            problems += error.problems
    refuse(problems)
    # Streams whose clocks are alike share a line.
    for remark, keys in keys_of.items():
        source.remarks.append(f"{', '.join(keys)}: {remark}")


def _first_file(source: StreamSource, key: str, stream: Stream) -> StreamFile:
    """The first file of a stream that has two rows of its recording; the first of all else."""
    opened = []
    for recording in source.recordings:
        for file in source.files[key, recording.name][:1]:
            stream_file = source.open(key, stream, recording.name, file)
            rows = stream_file.rows()
            is_target = isinstance(stream, TargetStream)
            if rows is not None and len(rows) < 2:
                opened.append(stream_file)
                continue
            if not is_target or recording.split != "test":
                return stream_file
            opened.append(stream_file)
    if not opened:
        raise InputError(f"{source.path}: {key}: no file {stream.files}")
    return opened[0]


def _taken_columns(document: StreamsDocument, stream: FeatureStream) -> list[str]:
    """Columns of labels that lie in a feature set's files: they are no features."""
    taken = []
    for name, target in document.targets.items():
        if target.files == stream.files:
            taken += [target.column or name, *target.raters]
            if target.rater_column is not None:
                taken.append(target.rater_column)
    for other in document.streams().values():
        if other.files == stream.files:
            taken += [name for name in (other.clock, other.recording_column) if name is not None]
            if isinstance(other, FeatureStream):
                taken += other.valid or ()
    return taken


def _check_label_columns(stream_file: StreamFile, key: str, stream: TargetStream) -> None:
    """InputError where a target's column, or that of its raters, is not in its file."""
    rater_column = stream.rater_column
    if rater_column is not None and rater_column not in stream_file.header:
        problem = unknown_column(rater_column, stream_file.header)
        raise InputError(f"{stream_file.file}: {key}.rater_column: {problem}")
    name = key.removeprefix("targets.")
    if not label_columns(stream_file, name, stream):
        column = stream.column or name
        problem = unknown_column(column, stream_file.header)
        raise InputError(f"{stream_file.file}: {key}: {problem}; name it with `column:`")


def _clock_sample(
    source: StreamSource, key: str, stream: Stream, stream_file: StreamFile
) -> ClockSample | None:
    """The clock of a stream's first file; None where it has none, which then is noted."""
    column = clock_column(stream_file.file, stream_file.roles, stream, stream_file.header)
    if column is None:
        assert stream.frames_per_second is not None
        rate = stream.frames_per_second
        source.clocks[key] = StreamClock(None, "frames", rate, stream.starts_at, 0)
        return None
    unit = declared_unit(stream_file.file, column, stream)
    if unit != "frames" and stream.starts_at:
        raise InputError(
            f"{stream_file.file}: {key}.starts_at goes with frame numbers or without a clock; the "
            f"clock {column!r} says when it starts: move a stream with `delay:`"
        )
    rates = SIGNAL_RATES
    if isinstance(stream, TargetStream):
        rates = LABEL_RATES
        if stream.rater_column is not None:
            first_rater = stream_file.texts(stream.rater_column)[:1]
            for rater in first_rater:
                stream_file = stream_file.only(stream.rater_column, rater)
    written = stream_file.clock_times(column, unit)
    return ClockSample(
        key, stream_file.file, column, written, unit, stream.frames_per_second, rates
    )


def _note_clock(source: StreamSource, key: str, sample: ClockSample, unit: str) -> list[str]:
    """Note a stream's clock; remarks on what was guessed of it. InputError where its rate is not
    the declared one."""
    stream = source.document.streams()[key]
    rate, seconds = sample.readings()[unit]
    source.stream_rates[key] = rate
    remarks = []
    if sample.unit is None:
        remarks.append(
            f"column {sample.column!r} is taken for {unit} ({rate:.5g} per second, "
            f"{seconds:.4g} s in {sample.file.name}); `unit:` in streams.yaml would say it"
        )
    declared = stream.frames_per_second
    if unit != "frames":
        if declared is not None and abs(rate / declared - 1) > RATES_APART:
            raise InputError(
                f"{sample.file}: {key}: its clock steps at {rate:.5g} per second, but "
                f"frames_per_second is {declared:g}; correct or remove it"
            )
        source.clocks[key] = StreamClock(sample.column, unit)
        return remarks
    assert declared is not None
    counts_from = stream.counts_from
    if counts_from is None:
        counts_from = 0 if float(sample.written.min()) == 0 else 1
        remarks.append(
            f"frames in column {sample.column!r} count from {counts_from}, as in "
            f"{sample.file.name}; `counts_from:` in streams.yaml would say it"
        )
    source.clocks[key] = StreamClock(
        sample.column, "frames", declared, stream.starts_at, counts_from
    )
    return remarks


def _find_rates(source: StreamSource) -> list[str]:
    """Note the rate of each recording's frames; problems of the labels' clocks."""
    problems: list[str] = []
    document = source.document
    without: list[str] = []
    for recording in source.recordings:
        if document.frames_per_second is not None:
            source.rates[recording.name] = document.frames_per_second
            continue
        try:
            labels = all_labels(source, recording.name)
            if not labels:
                without.append(recording.name)
                continue
            frames = frames_of_labels(labels, by_segment(labels))
            source.rates[recording.name] = rounded_rate(frames.step)
        except InputError as error:
            problems += _named(recording.name, error)
    # A recording without labels has the others' rate, if they have one.
    rates: Floats = np.array(list(source.rates.values()))
    if without and rates.size:
        rate = float(np.median(rates))
        if float(np.abs(rates / rate - 1).max()) > RATES_APART:
            problems.append(
                f"recording {without[0]!r} has no labels, and the others' clocks have rates from "
                f"{rates.min():g} to {rates.max():g}; name the frames' rate with "
                "`frames_per_second:` at the top of streams.yaml"
            )
        source.rates |= dict.fromkeys(without, rate)
        source.remarks.append(
            f"{counted(len(without), 'recording')} without labels: frames at the others' "
            f"{rate:g} per second, over the time that the features have"
        )
    return problems


def all_labels(source: StreamSource, recording: str) -> list[Samples]:
    """The samples of all targets and raters of a recording."""
    labels: list[Samples] = []
    for name in source.document.targets:
        labels += source.read_labels(name, recording).values()
    return labels


def _named(recording: str, error: InputError) -> list[str]:
    """Problems, with the recording's name where they name no file."""
    texts = []
    for problem in error.problems:
        has_file = "/" in problem.split(": ")[0]
        texts.append(problem if has_file else f"recording {recording!r}: {problem}")
    return texts
