"""The report of an import of streams: per stream its rate, how much of the frames it covers, where
it begins and ends beside them, what was done to it, and how far raters agree.

Conventions: seconds; an offset is the stream's time less the frames' time, so that a negative one
at the end says that the stream ends before the last frame. Kept in the store as streams.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Any

import numpy as np

from va_search.data.raters import Agreement
from va_search.data.resampling import longer
from va_search.data.store import Store
from va_search.data.stream_frames import Frames, rounded_rate
from va_search.data.stream_samples import Samples
from va_search.data.streams_document import FeatureStream, StreamsDocument, TargetStream
from va_search.files import read_json, write_json

EARLY = 1.0
"""Seconds by which a stream may end before the frames do before a warning says so; more for long
recordings (`EARLY_SHARE`)."""
EARLY_SHARE = 0.01


@dataclass(frozen=True)
class StreamFacts:
    """One stream in one recording: samples a second, None for a single sample; offsets of its
    begin and end in seconds; frames without it; holes longer than 1.5 of its steps; rows left out
    as missing."""

    rate: float | None
    begin: float
    end: float
    missing_frames: int
    gaps: int
    missing_rows: int

    @classmethod
    def of(cls, samples: Samples, shift: float, frames: Frames, missing: int) -> StreamFacts:
        """The facts of samples whose times are moved by `shift`; offsets are those of the first and
        of the last part."""
        step = samples.step
        inside = np.diff(samples.parts) == 0
        steps = np.diff(samples.times)[inside]
        holes = 0 if isnan(step) else int(longer(steps, step).sum())
        return cls(
            None if isnan(step) else rounded_rate(step),
            float(f"{samples.times[0] + shift - frames.times[0]:.6g}"),
            float(f"{samples.times[-1] + shift - frames.times[-1]:.6g}"),
            missing,
            holes,
            samples.missing,
        )


@dataclass
class RecordingFacts:
    """One recording: its frames and their seconds, facts of its streams, labelled frames by target,
    agreement of raters by target, frames on which some feature set is missing."""

    frames: int
    seconds: float
    streams: dict[str, StreamFacts] = field(default_factory=dict)
    labelled: dict[str, int] = field(default_factory=dict)
    raters: dict[str, Agreement] = field(default_factory=dict)
    without_some: int = 0

    def to_json(self) -> dict[str, Any]:
        """The facts as plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RecordingFacts:
        """The facts out of a store's notes."""
        streams = {name: StreamFacts(**entry) for name, entry in document["streams"].items()}
        raters = {name: Agreement(**entry) for name, entry in document["raters"].items()}
        return cls(**{**document, "streams": streams, "raters": raters})

    def warnings(self, recording: str, document: StreamsDocument) -> list[str]:
        """Remarks on streams that end before the frames do."""
        texts = []
        for name, facts in self.streams.items():
            if facts.end < -max(EARLY, EARLY_SHARE * self.seconds):
                texts.append(
                    f"recording {recording!r}: feature set {name!r} ends {-facts.end:.4g} s before "
                    f"the last frame{self._drift(facts, document.features[name])}"
                )
        return texts

    def _drift(self, facts: StreamFacts, stream: FeatureStream) -> str:
        """Words on the rate that would make a stream without a clock end with the frames."""
        if stream.frames_per_second is None or facts.rate is None or facts.end + self.seconds <= 0:
            return ""
        fitting = stream.frames_per_second * (self.seconds + facts.end) / self.seconds
        return f": is frames_per_second {stream.frames_per_second:g} right? {fitting:.5g} would fit"


@dataclass(frozen=True)
class StreamRow:
    """One feature set in all recordings: lowest, median and highest of what differs between them;
    `covered` is the share of all frames that have it."""

    name: str
    resampling: str
    recordings: int
    rate: tuple[float, float, float]
    covered: float
    begin: tuple[float, float, float]
    end: tuple[float, float, float]
    gaps: int
    missing_frames: int
    missing_rows: int


@dataclass(frozen=True)
class TargetRow:
    """One target in all recordings: the share of frames that it labels, and, where it has several
    raters, their number, how they are fused, and the mean over recordings of their agreement."""

    name: str
    clock: str
    labelled: float
    raters: int
    fuse: str | None
    ccc: float | None
    r: float | None


@dataclass(frozen=True)
class StreamsReport:
    """The report of a store: rates of its frames (lowest, median, highest), frames in all, those on
    which some feature set is missing, and a row per feature set and target."""

    frames: int
    frame_rate: tuple[float, float, float]
    frames_made_by: str
    without_some: int
    streams: list[StreamRow]
    targets: list[TargetRow]
    recordings: dict[str, RecordingFacts]

    def to_json(self) -> dict[str, Any]:
        """The report as streams.json and `--json` have it."""
        return asdict(self)


def write_report(store: Store, document: StreamsDocument) -> StreamsReport:
    """Make the report and keep it as streams.json: out of the notes of a new store, or out of the
    streams.json that is there, since feature sets that were extracted later replace the notes."""
    file = store.path / "streams.json"
    recordings = {}
    if file.is_file():
        for name, entry in read_json(file)["recordings"].items():
            recordings[name] = RecordingFacts.from_json(entry)
    else:
        for name, note in read_json(store.path / "manifest.json")["notes"].items():
            recordings[name] = RecordingFacts.from_json(note["streams"])
    frames = sum(facts.frames for facts in recordings.values())
    made_by = "the labels' clock"
    if document.frames_per_second is not None:
        made_by = f"frames_per_second {document.frames_per_second:g}"
    rows = []
    for name, stream in document.features.items():
        rows.append(_stream_row(name, stream, list(recordings.values())))
    targets = []
    for name, target in document.targets.items():
        targets.append(_target_row(name, target, recordings, document))
    report = StreamsReport(
        frames,
        _range([recording.frames_per_second for recording in store.recordings]),
        made_by,
        sum(facts.without_some for facts in recordings.values()),
        rows,
        targets,
        recordings,
    )
    write_json(file, report.to_json())
    return report


def _range(values: Sequence[float]) -> tuple[float, float, float]:
    """Lowest, median and highest."""
    low, middle, high = np.quantile(np.array(values, dtype=np.float64), [0, 0.5, 1])
    return float(low), float(middle), float(high)


def _stream_row(name: str, stream: FeatureStream, recordings: list[RecordingFacts]) -> StreamRow:
    facts = [recording.streams[name] for recording in recordings if name in recording.streams]
    frames = sum(recording.frames for recording in recordings)
    missing = 0
    for recording in recordings:
        # A recording that lacks an optional stream as a whole has no facts of it.
        has_stream = name in recording.streams
        missing += recording.streams[name].missing_frames if has_stream else recording.frames
    rates = [entry.rate for entry in facts if entry.rate is not None]
    return StreamRow(
        name,
        resampling_words(stream),
        len(facts),
        _range(rates or [0.0]),
        1 - missing / frames,
        _range([entry.begin for entry in facts]),
        _range([entry.end for entry in facts]),
        sum(entry.gaps for entry in facts),
        missing,
        sum(entry.missing_rows for entry in facts),
    )


def resampling_words(stream: FeatureStream) -> str:
    """The resampling of a feature set in words."""
    words = {
        "mean": "mean over the frame",
        "mean_spread": "mean and spread over the frame",
        "nearest": "nearest sample",
        "linear": "on the line between samples",
    }[stream.pool]
    if stream.window:
        words += f", centre of {stream.window:g} s windows"
    if stream.delay:
        words += f", {stream.delay:g} s before"
    return words


def _target_row(
    name: str,
    target: TargetStream,
    recordings: dict[str, RecordingFacts],
    document: StreamsDocument,
) -> TargetRow:
    frames = sum(facts.frames for facts in recordings.values())
    labelled = sum(facts.labelled[name] for facts in recordings.values())
    agreements = []
    for facts in recordings.values():
        if name in facts.raters:
            agreements.append(facts.raters[name])
    clock = "makes the frames"
    if document.frames_per_second is not None:
        clock = f"brought to the frames: {target.pool}"
    return TargetRow(
        name,
        clock,
        labelled / frames,
        max((entry.raters for entry in agreements), default=1),
        target.fuse if target.has_raters else None,
        _mean([entry.ccc for entry in agreements]),
        _mean([entry.r for entry in agreements]),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None
