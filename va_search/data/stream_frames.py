"""The frames of a recording, made by the clock of its labels or at a named rate, and streams
brought to them.

Conventions: frames lie in parts, as samples do (stream_samples.py), and a stream's part gives
values to the frames' part of the same name only. Gaps are frames before which time jumps by more
than 1.5 usual steps, a segment of any stream begins, or a clock starts again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np

from va_search.data.arrays import Flags, Floats
from va_search.data.resampling import (
    SAME,
    FrameClock,
    longer,
    nearest,
    pool_samples,
    reach_of,
    usual_step,
)
from va_search.data.stream_clock import StreamClock
from va_search.data.stream_samples import Samples
from va_search.errors import InputError, counted

USUAL_RATES = (24000 / 1001, 30000 / 1001, 60000 / 1001)
ROUNDED = 5e-4
"""Share by which a rate that rounded times tell may differ from the true one."""
TOGETHER = 0.01
"""Share of a step by which equal times of two targets may differ."""
MOST_FRAMES = 50_000_000
"""More frames of one recording than these are a mistake of a clock's unit."""
LEAST_STEP = 0.75
"""Times of two targets nearer than this share of a step are no common clock."""


@dataclass(frozen=True)
class Frames:
    """Frames of one recording: (frames,) `times` in seconds, `written` as the labels' clock writes
    them, the frames of each of their `parts`; `step` the usual seconds from frame to frame."""

    times: Floats
    written: Floats
    parts: dict[str, slice]
    step: float
    gaps: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.times)


def _laid(parts: dict[str, tuple[Floats, Floats]], step: float) -> Frames:
    """Frames of parts, each with its times in seconds and as written, one behind the other."""
    slices: dict[str, slice] = {}
    begin = 0
    for key, (times, _) in parts.items():
        slices[key] = slice(begin, begin + len(times))
        begin += len(times)
    empty = np.zeros(0)
    every_time = np.concatenate([empty, *[times for times, _ in parts.values()]])
    every_written = np.concatenate([empty, *[written for _, written in parts.values()]])
    return Frames(every_time, every_written, slices, step)


def by_segment(streams: Sequence[Samples]) -> bool:
    """True where parts have names: clocks start again, and every stream names its segments."""
    restarting = any(samples.restarts for samples in streams)
    return restarting and all(samples.segments is not None for samples in streams)


def check_parts(streams: dict[str, Samples]) -> list[str]:
    """A problem where clocks start again, and not equally often in all streams."""
    if by_segment([*streams.values()]):
        return []
    counts = {}
    for key, samples in streams.items():
        if samples.parts.size:
            counts[key] = int(samples.parts[-1]) + 1
    if len(set(counts.values())) <= 1:
        return []
    texts = [f"{key} has {count}" for key, count in counts.items()]
    return [
        "clocks start again, and the parts of the streams can't be told to belong together "
        f"({', '.join(texts)}); name a column of segments in each file with `segment_column:`"
    ]


def frames_of_labels(labels: Sequence[Samples], named: bool) -> Frames:
    """The frames that the labels' times make: those of all targets and raters together.

    InputError where their clocks lie beside each other. `named`: parts go by segment."""
    # A target at a lower rate than another may have labels on some of its frames only.
    steps = [samples.step for samples in labels if not isnan(samples.step)]
    step = min(steps, default=1.0)
    merged: dict[str, tuple[Floats, Floats]] = {}
    for samples in labels:
        for key, span in samples.spans(by_segment=named).items():
            times, written = samples.times[span], samples.written[span]
            if key not in merged:
                merged[key] = (times, written)
            elif not np.array_equal(times, merged[key][0]):
                merged[key] = _merge(merged[key], (times, written), step)
    inside = [np.diff(times) for times, _ in merged.values()]
    between = np.concatenate([np.zeros(0), *inside])
    if not between.size:
        raise InputError(f"{counted(len(merged), 'row')} of labels, expected 2 or more")
    if len(labels) > 1 and between.min() < LEAST_STEP * step:
        raise InputError(
            f"the labels' clocks lie beside each other (steps of {step:.4g} s, but times only "
            f"{between.min():.4g} s apart); name the frames' rate with `frames_per_second:` at "
            "the top of streams.yaml, and labels are brought to it"
        )
    return _laid(merged, usual_step(between))


def _merge(
    one: tuple[Floats, Floats], other: tuple[Floats, Floats], step: float
) -> tuple[Floats, Floats]:
    """Times of two clocks with the same beginning and unit, those that are equal but once."""
    times = np.concatenate([one[0], other[0]])
    written = np.concatenate([one[1], other[1]])
    order = np.argsort(times, kind="stable")
    times, written = times[order], written[order]
    is_new = np.diff(times, prepend=-np.inf) > TOGETHER * step
    return times[is_new], written[is_new]


def frames_at_rate(
    streams: Sequence[Samples], rate: float, named: bool, clock: StreamClock
) -> Frames:
    """Frames at k / rate seconds over the time that the streams have, in each part; `clock` writes
    their times."""
    spans: dict[str, tuple[float, float]] = {}
    for samples in streams:
        for key, span in samples.spans(by_segment=named).items():
            begin, end = spans.get(key, (np.inf, -np.inf))
            times = samples.times[span]
            spans[key] = (min(begin, float(times[0])), max(end, float(times[-1])))
    parts = {}
    for key, (begin, end) in spans.items():
        first, last = np.ceil((begin - SAME) * rate), np.floor((end + SAME) * rate)
        if last - first > MOST_FRAMES:
            raise InputError(
                f"{last - first:,.0f} frames at {rate:g} per second between {begin:g} and {end:g} "
                "s: are the clocks of all streams in the unit that streams.yaml says?"
            )
        times = np.arange(first, last + 1) / rate
        if times.size:
            parts[key] = (times, clock.written(times))
    return _laid(parts, 1 / rate)


def find_stream_gaps(
    frames: Frames, streams: Sequence[tuple[Samples, float]], named: bool
) -> tuple[int, ...]:
    """Frames before which time jumps, a part begins, or a segment of a stream begins; streams come
    with the seconds that are added to their times."""
    gaps: set[int] = set()
    for span in frames.parts.values():
        gaps.add(span.start)
        jumps = np.flatnonzero(longer(np.diff(frames.times[span]), frames.step)) + 1
        gaps.update((span.start + jumps).tolist())
    for samples, shift in streams:
        for key, own in samples.spans(by_segment=named).items():
            span = frames.parts.get(key, slice(0, 0))
            for _, begin in samples.segments or ():
                # Where a part begins the frames have a gap of their own.
                if not own.start < begin < own.stop:
                    continue
                time = samples.times[begin] + shift
                frame = span.start + int(np.searchsorted(frames.times[span], time - SAME))
                if frame < span.stop:
                    gaps.add(frame)
    return tuple(sorted(gaps - {0}))


def bring(
    samples: Samples, frames: Frames, *, how: str, shift: float, named: bool, columns: int
) -> Floats:
    """(frames, columns) of a stream, NaN where it is missing. `shift` seconds are added to the
    samples' times; `columns` are those of the result."""
    pooled = np.full((len(frames), columns), np.nan)
    step = frames.step if isnan(samples.step) else samples.step
    own_parts = samples.spans(by_segment=named)
    for key, span in frames.parts.items():
        own = own_parts.get(key)
        if own is None:
            continue
        gaps = tuple(gap - span.start for gap in frames.gaps if span.start < gap < span.stop)
        clock = FrameClock(frames.times[span], gaps, frames.step)
        pooled[span] = pool_samples(
            samples.times[own] + shift, samples.values[own], clock, how=how, reach=reach_of(step)
        )
    return pooled


def at_their_times(samples: Samples, frames: Frames, named: bool) -> Floats:
    """(frames,) labels on the frames of their own times, NaN elsewhere."""
    labels = np.full(len(frames), np.nan)
    own_parts = samples.spans(by_segment=named)
    for key, span in frames.parts.items():
        own = own_parts.get(key)
        if own is None:
            continue
        times = frames.times[span]
        rows = nearest(samples.times[own], times)
        apart = np.abs(samples.times[own][rows] - times)
        values = samples.values[own][rows, 0]
        labels[span] = np.where(apart <= TOGETHER * frames.step + SAME, values, np.nan)
    return labels


def rounded_rate(step: float) -> float:
    """Frames per second of a usual step: a whole number or a camera's rate where the step, of
    rounded times, is one."""
    rate = 1 / step
    for usual in (round(rate), *USUAL_RATES):
        if usual and abs(rate / usual - 1) < ROUNDED:
            return float(usual)
    return float(f"{rate:.6g}")


def lacking_some(features: dict[str, Floats], frames: Frames) -> Flags:
    """(frames,) True where some feature set (frames, columns) is missing, which is NaN."""
    lacking = np.zeros(len(frames), dtype=bool)
    for values in features.values():
        lacking |= np.isnan(values[:, 0])
    return lacking
