"""Importer of the `streams` layout: feature sets and targets in files of their own, each with its
own clock and rate.

    SOURCE/
      streams.yaml      which files each feature set and each target lies in, and on which clock
      recordings.csv    recording, subject, split, and if wanted fold, video, stimulus
      …                 files as streams.yaml has them

Conventions: the labels' times are the frames' (or a named rate makes them), on seconds of the
clock that all streams share; features are pooled to them (resampling.py). Nothing is interpolated
over a hole longer than 1.5 steps of its stream. A recording's facts for the report travel as its
part's notes, so that a killed import does not lose them; `streams.json` in the store is made of
them at the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.draft import Description, Part
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.problems import and_more, exact, refuse
from va_search.data.raters import Ratings, Traces, fuse_targets
from va_search.data.store import Store
from va_search.data.stream_frames import (
    Frames,
    at_their_times,
    bring,
    by_segment,
    check_parts,
    find_stream_gaps,
    frames_at_rate,
    frames_of_labels,
    lacking_some,
)
from va_search.data.stream_report import (
    RecordingFacts,
    StreamFacts,
    StreamsReport,
    write_report,
)
from va_search.data.stream_samples import Samples
from va_search.data.stream_source import StreamSource, look_at
from va_search.data.streams_document import DATETIME, FeatureStream, StreamsDocument
from va_search.data.time_texts import EXAMPLE, example_of
from va_search.errors import InputError
from va_search.targets import Target

SPREAD = "_spread"
"""Behind the name of a column, its standard deviation in the frame's interval."""


def import_streams(
    source: Path,
    to: Path,
    *,
    dtype: str = "float32",
    workers: int | None = None,
    progress: Progress = quiet,
) -> tuple[Store, StreamsReport]:
    """Read the `streams` layout at `source` into a store at `to`, and report what was done to each
    stream; a second call finds the store.

    InputError with the problems of all recordings together; what was read before a kill is not read
    again."""
    origin = look_at(source)
    document = origin.document
    feature_sets = {}
    for name, stream in document.features.items():
        feature_sets[name] = (stream.modality, tuple(_column_names(origin, name, stream)))
    description = Description(
        name=document.name,
        targets=document.store_targets,
        feature_sets=feature_sets,
        dtype=dtype,
        time_column=origin.frame_clock.column or "time",
        source=f"streams {source.resolve()} {document.signed()}",
        rated=any(target.has_raters for target in document.targets.values()),
    )
    with drafting(to, description, origin.sources) as draft:
        draft.remarks = origin.remarks

        def read(index: int) -> Part:
            return read_part(origin, index)

        store = read_all(draft, read, workers=workers, progress=progress)
    return store, write_report(store, document)


def _column_names(source: StreamSource, name: str, stream: FeatureStream) -> list[str]:
    """Names of a feature set's columns in the store."""
    columns = source.columns[f"features.{name}"]
    if stream.pool != "mean_spread":
        return columns
    return [*columns, *[column + SPREAD for column in columns]]


def read_part(source: StreamSource, index: int) -> Part:
    """One recording read, brought to its frames and checked; InputError with what is wrong."""
    recording = source.recordings[index]
    name = recording.name
    document = source.document
    features: dict[str, Samples] = {}
    labels: dict[str, dict[str, Samples]] = {}
    problems: list[str] = []
    for feature_set in document.features:
        try:
            samples = source.read_features(feature_set, name)
            if samples is not None:
                features[feature_set] = samples
        except InputError as error:
            problems += error.problems
    for target in document.targets:
        try:
            labels[target] = source.read_labels(target, name)
        except InputError as error:
            problems += error.problems
    # Several targets may lie in one file, whose problems then are theirs.
    refuse(list(dict.fromkeys(problems)))
    try:
        return _part(source, name, features, labels)
    except InputError as error:
        raise InputError(*[f"recording {name!r}: {text}" for text in error.problems]) from error


def _part(
    source: StreamSource,
    recording: str,
    features: dict[str, Samples],
    labels: dict[str, dict[str, Samples]],
) -> Part:
    """The streams of a recording on its frames."""
    document = source.document
    label_samples: list[Samples] = []
    every: dict[str, Samples] = {}
    for target, raters in labels.items():
        for rater, samples in raters.items():
            label_samples.append(samples)
            every[f"{target} ({rater})" if rater != target else target] = samples
    for name, samples in features.items():
        every[f"feature set {name}"] = samples
    # Where clocks start again, only parts of the same name or number belong together.
    refuse(check_parts(every))
    named = by_segment([*every.values()])
    # Frames first, then their gaps, since a mean does not reach over a gap.
    frames = frames_of(source, recording, [*features.values()], label_samples, named)
    streams = [(samples, _shift(document.features[name])) for name, samples in features.items()]
    streams += [(samples, 0.0) for samples in label_samples]
    frames = replace(frames, gaps=find_stream_gaps(frames, streams, named))
    facts = RecordingFacts(frames=len(frames), seconds=_seconds(frames))
    pooled = _pool(document, features, frames, named, facts)
    annotations, ratings = annotations_of(source, labels, frames, named)
    if source.split_of(recording) != "test":  # nobody looks at test labels
        facts.raters.update(ratings.agreements)
    for column, target in enumerate(document.targets):
        facts.labelled[target] = int(np.isfinite(annotations[:, column]).sum())
    for name, stream in document.features.items():
        if name not in pooled:
            width = len(_column_names(source, name, stream))
            pooled[name] = np.full((len(frames), width), np.nan)
    shares = []
    for name, samples in features.items():
        validity = source.validities[f"features.{name}"]
        if validity.columns:
            rows = len(samples.times) + samples.missing
            shares.append((validity.remark(name), samples.invalid, rows))
    notes: dict[str, Any] = {}
    example = _time_example(source, recording, frames)
    if example is not None:
        notes[EXAMPLE] = example
    facts.without_some = int(lacking_some(pooled, frames).sum())
    notes["streams"] = facts.to_json()
    return Part(
        dict(pooled),
        annotations=annotations,
        times=frames.written,
        gaps=frames.gaps,
        warnings=tuple(facts.warnings(recording, document)),
        notes=notes,
        shares=tuple(shares),
        ratings=ratings,
    )


def _time_example(source: StreamSource, recording: str, frames: Frames) -> str | None:
    """A time of the labels as their file writes it, or as another recording's does, where the
    frames' times are written otherwise without it; None where they are numbers at a rate of their
    own."""
    clock = source.frame_clock
    is_made = source.document.frames_per_second is not None and clock.unit != DATETIME
    key = f"targets.{next(iter(source.document.targets))}"
    others = [row.name for row in source.recordings]
    files: list[Path] = []
    for name in (recording, *others):
        files += source.files[key, name][:1]
    if clock.column is None or is_made or not files:
        return None
    return example_of(files[0], clock.column, frames.written)


def _shift(stream: FeatureStream) -> float:
    """Seconds from a sample's time to the frames' time at which it counts."""
    return stream.window / 2 + stream.delay


def _pool(
    document: StreamsDocument,
    features: dict[str, Samples],
    frames: Frames,
    named: bool,
    facts: RecordingFacts,
) -> dict[str, Floats]:
    """Each feature set (frames, columns), NaN where it is missing; its facts are noted. InputError
    where one has nothing for any frame."""
    pooled: dict[str, Floats] = {}
    problems = []
    for name, samples in features.items():
        stream = document.features[name]
        width = samples.values.shape[1]
        if stream.pool == "mean_spread":
            width *= 2
        shift = _shift(stream)
        values = bring(samples, frames, how=stream.pool, shift=shift, named=named, columns=width)
        missing = int(np.isnan(values[:, 0]).sum())
        if missing == len(frames):
            problems.append(_no_overlap(name, samples, frames))
        facts.streams[name] = StreamFacts.of(samples, shift, frames, missing)
        pooled[name] = values
    refuse(problems)
    return pooled


def frames_of(
    source: StreamSource,
    recording: str,
    features: list[Samples],
    labels: list[Samples],
    named: bool,
) -> Frames:
    """The frames of a recording: at the labels' times, or at a rate where one is named or nothing
    is labelled."""
    rate = source.document.frames_per_second
    if rate is None and labels:
        return frames_of_labels(labels, named)
    rate = rate or source.rates[recording]
    frames = frames_at_rate(labels or features, rate, named, source.frame_clock)
    if not len(frames):
        raise InputError(f"no frame at {rate:g} per second lies within its streams")
    return frames


def _seconds(frames: Frames) -> float:
    """Seconds of the frames' parts together."""
    seconds = 0.0
    for span in frames.parts.values():
        times = frames.times[span]
        seconds += float(times[-1] - times[0]) + frames.step
    return seconds


def _no_overlap(name: str, samples: Samples, frames: Frames) -> str:
    """The problem of a stream that has nothing for any frame."""
    return (
        f"feature set {name!r} has nothing for any of the {len(frames)} frames: its times run from "
        f"{samples.times.min():.12g} to {samples.times.max():.12g} s, the frames' from "
        f"{frames.times.min():.12g} to {frames.times.max():.12g} s; do their clocks begin alike? "
        "Move it with `delay:`, or leave the stream or the recording out"
    )


def annotations_of(
    source: StreamSource, labels: dict[str, dict[str, Samples]], frames: Frames, named: bool
) -> tuple[Floats, Ratings]:
    """(frames, targets) labels, NaN where a frame has none, and the spread of those who gave them.
    InputError for labels outside their range."""
    document = source.document
    targets: dict[str, Traces] = {}
    problems: list[str] = []
    for target, stream in document.targets.items():
        # Raters are brought to the frames one by one and fused there: their clocks may differ.
        traces = [np.zeros((len(frames), 0))]
        for samples in labels[target].values():
            if document.frames_per_second is None:
                traces.append(at_their_times(samples, frames, named)[:, None])
                continue
            labelled = np.flatnonzero(np.isfinite(samples.values[:, 0]))
            whole = samples.only(labelled)
            if len(whole.times):
                pooled = bring(whole, frames, how=stream.pool, shift=0.0, named=named, columns=1)
                traces.append(pooled)
            else:
                traces.append(np.full((len(frames), 1), np.nan))
        matrix = np.concatenate(traces, axis=1)
        how = stream.fuse if stream.has_raters else None
        targets[target] = Traces(matrix, list(labels[target]), how)
        problems += _outside(targets[target], Target(target, *stream.range))
    refuse(problems)
    return fuse_targets(targets, len(frames))


def _outside(traces: Traces, target: Target) -> list[str]:
    """A problem where labels lie outside the target's range, with the rater who gave the first of
    them; those that only rounding put there are clipped, in place."""
    low, high = target.range
    matrix = traces.matrix
    outside = (matrix < low - target.slack) | (matrix > high + target.slack)
    if outside.any():
        frame, column = np.argwhere(outside)[0].tolist()
        label = exact(float(matrix[frame, column]))
        if traces.fuse is not None:
            label += f" (rater {traces.names[column]!r})"
        return [
            f"{target.name} {label}{and_more(int(outside.sum()) - 1)} is outside its range "
            f"[{exact(low)}, {exact(high)}]"
        ]
    np.clip(matrix, low, high, out=matrix)
    return []
