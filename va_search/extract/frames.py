"""The annotated frames of one recording, on which its features are laid.

Conventions: frames are the video's, one for each row of labels; or the labels' clock or a named
rate makes them. Times count on the video's clock here; labels' clocks count from the file's second
0 (timeline.py). Frames that a clock makes lie in the file, but for a second at either end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.affwild2_files import UNLABELLED
from va_search.data.arrays import Flags, Floats
from va_search.data.raters import Ratings
from va_search.data.resampling import ROUNDING, Pooler, longest_step
from va_search.data.stream_clock import StreamClock
from va_search.data.stream_frames import Frames, find_stream_gaps, frames_at_rate
from va_search.data.stream_samples import Samples
from va_search.data.stream_source import StreamSource
from va_search.data.streams import annotations_of, frames_of
from va_search.errors import InputError
from va_search.extract.annotations import Annotations
from va_search.extract.recipe import FeatureRecipe
from va_search.extract.sources import Job
from va_search.extract.timeline import BEYOND, FEW, Timeline, other_rate


@dataclass
class AnnotatedFrames:
    """The annotated frames of a recording: (frames,) `seconds`, the same as they are `written` to
    the store, the frames before which time jumps, the usual step in seconds; (frames, targets)
    labels, None without, and their `ratings` where there are several raters; (pictures,) seconds of
    the pictures by their number. `by_clock` is False where frame i is picture i.

    Their features so far, and which of them are `valid`: they have a face, where faces are looked
    at. `warnings` are remarks on labels, and on features that are missing."""

    seconds: Floats
    written: Floats
    gaps: tuple[int, ...]
    step: float
    annotations: Floats | None
    pictures: Floats
    by_clock: bool
    valid: NDArray[np.bool_]
    warnings: list[str] = field(default_factory=list)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    ratings: Ratings | None = None

    def __len__(self) -> int:
        return len(self.seconds)

    def pooler(self, feature_set: FeatureRecipe, reach: float = np.inf) -> Pooler:
        """A pooler that brings the windows or images of a feature set to these frames; `reach` as
        in `Pooler`."""
        # A single frame stands for the whole video: its interval has no end.
        usual = self.step if len(self) > 1 or self.by_clock else np.inf
        return Pooler(
            self.seconds,
            mean=feature_set.mean,
            seconds=feature_set.seconds,
            delay=feature_set.delay,
            gaps=self.gaps,
            usual=usual,
            reach=reach,
        )

    def within(self, begin: float, end: float, feature_set: FeatureRecipe, slack: float) -> Flags:
        """(frames,) True for frames that sound from `begin` to `end` says something of: their time,
        or their interval where the mean over it is taken, touches it within `slack` seconds."""
        times = self.seconds - feature_set.delay
        lead = lag = 0.0
        if feature_set.seconds is not None:
            lead = lag = feature_set.seconds / 2
        elif feature_set.mean:
            lead = self.step
        return (times + lead >= begin - slack) & (times - lag <= end + slack)


def annotated_frames(annotations: Annotations, job: Job, timeline: Timeline) -> AnnotatedFrames:
    """The frames of a recording, with its labels; InputError where labels and video do not fit."""
    if annotations.make_frames:
        return _made_frames(annotations, job, timeline)
    if not timeline.has_pictures:
        raise InputError(
            f"{job.video}: sound without pictures, so nothing says when its frames are; give their "
            "rate with --frames-per-second, or labels with a column of times"
        )
    labels, ratings, rows = None, None, job.rows
    if job.labels is None:
        rows = len(timeline.frames)
    elif rows is None:
        labels, ratings = annotations.rows_of(job.labels)
        rows = len(labels)
    assert rows is not None
    times = timeline.rows(rows, job.video, job.labels or job.video)
    valid = np.ones(rows, dtype=bool)
    written = times if annotations.has_labels else times - timeline.begin
    gaps = timeline.gaps(rows)
    return AnnotatedFrames(
        times,
        written,
        gaps,
        timeline.step,
        labels,
        times,
        False,
        valid,
        ratings=ratings,
    )


def labels_of(annotations: Annotations, job: Job) -> Floats | None:
    """(frames, targets) labels of a recording, without its video; None where it has none."""
    if job.labels is None or job.rows is not None:
        return None
    if annotations.streams is None:
        return annotations.rows_of(job.labels)[0]
    labels = _labels(annotations, annotations.streams, job.name)
    if not any(labels.values()):
        return None
    return _frames_of_streams(annotations.streams, job.name, labels, [])[1]


def _made_frames(annotations: Annotations, job: Job, timeline: Timeline) -> AnnotatedFrames:
    """The frames that the labels' clock or a rate makes."""
    rate = annotations.frame_rate(job.name)
    # The last frame begins before the file ends.
    end = max(0.0, timeline.seconds - ROUNDING)
    bounds = np.array([0.0, end])
    span = Samples(bounds, bounds, np.zeros((2, 0)), np.zeros(2, dtype=np.int64))
    labels: Floats | None = None
    ratings: Ratings | None = None
    warnings: list[str] = []
    if annotations.streams is None:
        frames = frames_at_rate([span], rate, False, StreamClock(None, "seconds"))
    else:
        raters = _labels(annotations, annotations.streams, job.name)
        try:
            frames, labels, ratings = _frames_of_streams(
                annotations.streams, job.name, raters, [span]
            )
        except InputError as error:
            file = job.labels or job.video
            raise InputError(*[f"{file}: {text}" for text in error.problems]) from error
        _check_within(frames, job, timeline)
        if annotations.streams.frame_clock.column is None and job.labels is not None:
            warnings = _check_rate(len(frames), rate, job.labels, timeline)
    seconds = timeline.begin + frames.times
    valid = np.ones(len(frames), dtype=bool)
    return AnnotatedFrames(
        seconds,
        frames.written,
        frames.gaps,
        frames.step,
        labels,
        timeline.frames,
        True,
        valid,
        warnings,
        ratings=ratings if annotations.rated else None,
    )


def _labels(
    annotations: Annotations, source: StreamSource, recording: str
) -> dict[str, dict[str, Samples]]:
    """The samples of each target, by rater; InputError where a clock starts again."""
    labels = {}
    for target in source.document.targets:
        labels[target] = source.read_labels(target, recording)
        if not annotations.described:
            # Files as Aff-Wild2 has them say -5 where a frame has no label.
            for rater, samples in labels[target].items():
                values = np.where(samples.values == UNLABELLED, np.nan, samples.values)
                labels[target][rater] = replace(samples, values=values)
        for samples in labels[target].values():
            if samples.restarts:
                file = source.files[f"targets.{target}", recording][0]
                raise InputError(
                    f"{file}: its clock starts again, and the video's runs on; give times from the "
                    "video's beginning"
                )
    return labels


def _frames_of_streams(
    source: StreamSource,
    recording: str,
    labels: dict[str, dict[str, Samples]],
    spans: list[Samples],
) -> tuple[Frames, Floats, Ratings]:
    """The frames that labels make, or, without any, the rate over the `spans`; the labels on them,
    and their ratings."""
    samples: list[Samples] = []
    for raters in labels.values():
        samples += raters.values()
    frames = frames_of(source, recording, spans, samples, named=False)
    gaps = find_stream_gaps(frames, [(stream, 0.0) for stream in samples], named=False)
    frames = replace(frames, gaps=gaps)
    return frames, *annotations_of(source, labels, frames, named=False)


def _check_within(frames: Frames, job: Job, timeline: Timeline) -> None:
    """InputError where frames lie more than a second outside of the file."""
    begin, end = float(frames.times.min()), float(frames.times.max())
    if begin >= -BEYOND and end <= timeline.seconds + BEYOND:
        return
    labels = job.labels or job.video
    raise InputError(
        f"{labels}: its times run from {begin:.4g} to {end:.4g} s, {job.video} from 0 to "
        f"{timeline.seconds:.4g} s; they may lie {BEYOND:g} s outside. Second 0 is the file's "
        "beginning: are its clock's unit and start right, and is it of this recording?"
    )


def _check_rate(rows: int, rate: float, labels: Path, timeline: Timeline) -> list[str]:
    """A remark where rows at a named rate end early and another usual rate would fit; InputError
    where they end late and one would."""
    surplus = rows - timeline.seconds * rate
    fitting = other_rate(rows, timeline.seconds, rate)
    if abs(surplus) <= FEW or fitting is None:
        return []
    text = (
        f"{labels}: {rows} rows at {rate:g} a second are {rows / rate:.2f} s of the "
        f"{timeline.seconds:.2f} s of the recording; {fitting:.5g} rows a second would fit it"
    )
    if surplus > 0:
        raise InputError(f"{text}: is the rate right?")
    return [text]


def picture_reach(timeline: Timeline) -> float:
    """Seconds from a picture within which frames have its value: the longest step that is no
    gap, so that the last picture lasts until the file's end."""
    return longest_step(timeline.step)


def lacking(file: Path, name: str, kind: str) -> str:
    """The problem of a recording that has nothing for a feature set; `kind` is sound or
    pictures."""
    return (
        f"{file}: no {kind}, which feature set {name!r} needs; if recordings may lack it, say so in "
        "the recipe with `optional: true`, and it is missing there"
    )
