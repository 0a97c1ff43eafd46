"""Times of frames: the gaps in a source's time column, and the frame that a time names.

Conventions: `rate` is frames per second, frames count from 0. A unit of time is confirmed by the
rate: steps of 40 at 25 frames per second are milliseconds. Frame numbers step by 1 at every rate,
so nothing confirms them: the unit must be declared (`time_unit: frames`) or be in the column's
name. A gap is a step of more than `GAP` frame intervals.

A recording's frame times are the store's own time column, as it stood at the source, or frame i at
i / rate seconds where there is none. A time is a frame's where it lies within 1 % of a frame
interval of it, or as near as the digits of both (0.033 for 1/30 s) and of the rate allow, never
farther than a quarter interval. Where a recording's clock starts again, a file's times must do so as
often, and a row is of the frames of its own part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from va_search.data.arrays import EXACT, Flags, Floats, Indexes
from va_search.data.column_names import unit_of
from va_search.data.problems import exact
from va_search.data.readers import wrong_rows
from va_search.data.resampling import GAP, longest_step, usual_step
from va_search.errors import InputError

PER_SECOND = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
TOLERANCE = 0.01
"""Share by which the clock's rate may differ from the declared one; more where its steps vary or
are rounded."""
SAME_TIME = 0.01
"""Two times are the same within this share of a frame interval."""
FARTHEST = 0.25
"""So far apart, in frame intervals, two times may be when their digits allow no better."""
RATE_ROUNDED = 2e-4
"""Share by which a frame rate may be rounded (23.98 for 23.976): times made from the exact one
drift so much."""
RATE_APART = 0.005
"""Share by which the rate of times may lie away from the recording's before it is told."""
MOST_DIGITS = 9
SHORTEST_PART = 3
"""Rows that a part must have for the clock's going back after it to be a new start."""

Times = Floats
Frames = Indexes


@dataclass(frozen=True)
class TimeColumn:
    """The time column of a source: its name, and its unit if it is declared or in the name; None:
    the rate decides."""

    column: str
    unit: str | None = None


def find_gaps(
    file: Path, times: Times, rate: float, clock: TimeColumn
) -> tuple[tuple[int, ...], list[str]]:
    """Frames before which time jumps by more than 1.5 frame intervals or starts again, and remarks.

    InputError when time is missing, too large to be kept exactly, or is in any other order; when its
    unit is neither known nor confirmed by `rate`; and when its steps mean another rate than `rate`.
    """
    restarts = clock_restarts(times)
    _refuse_disorder(file, times, restarts)
    steps = np.diff(times)
    if not steps.size:
        return (), []
    # Steps over a gap, and back to the beginning, say nothing of the rate.
    forward = steps[~restarts[1:]]
    regular = forward[forward <= GAP * np.median(forward)]
    # A declared unit is believed, and then held against the rate.
    unit = clock.unit or _confirm_unit(file, clock.column, times, regular, rate)
    remarks: list[str] = []
    interval = 1.0
    if unit == "frames":
        _refuse_other_than_frames(file, times, clock.column)
    else:
        interval = PER_SECOND[unit] / rate
        remarks = _compare_rates(file, clock.column, times, regular, rate=rate, unit=unit)
    gaps = np.flatnonzero((steps > GAP * interval) | restarts[1:]) + 1
    if restarts.any():
        number = int(restarts.sum()) + 1
        remarks.append(
            f"{file}: column {clock.column!r} starts again: taken for {number} parts of the "
            "recording, with a gap between them"
        )
    return tuple(gaps.tolist()), remarks


def clock_restarts(times: Times) -> Flags:
    """(rows,) True where a clock goes back to about its first time, behind a part of `SHORTEST_PART`
    rows or more: it starts again, as that of a new part of a recording does."""
    steps = np.diff(times)
    restarts = np.zeros(len(times), dtype=bool)
    forward = steps[steps > 0]
    if not forward.size:
        return restarts
    near = times[0] + longest_step(usual_step(forward))
    begin = 0
    for index in (np.flatnonzero(steps < 0) + 1).tolist():
        if times[index] <= near and index - begin >= SHORTEST_PART:
            restarts[index] = True
            begin = index
    return restarts


def _refuse_disorder(file: Path, times: Times, restarts: Flags) -> None:
    if holes := wrong_rows(file, ~np.isfinite(times)):
        raise InputError(f"{holes.position}: time is empty or not finite{holes.more}")
    if large := wrong_rows(file, np.abs(times) >= EXACT):  # nanoseconds since 1970, for one
        raise InputError(
            f"{large.position}: time {times[large.row]:g}{large.more} would not come back exactly, "
            f"expected below 2^53 ({EXACT:g}); give times from the recording's start, or in ms"
        )
    if back := wrong_rows(file, (np.diff(times, prepend=-np.inf) <= 0) & ~restarts):
        raise InputError(
            f"{back.position}: time {exact(times[back.row])} after {exact(times[back.row - 1])}"
            f"{back.more}; time must increase from row to row"
        )


def _confirm_unit(file: Path, column: str, times: Times, regular: Times, rate: float) -> str:
    """The unit of time in which regular steps are about one frame; InputError where there is none,
    or frame numbers fit too."""
    step = float(regular.mean())
    # The unit in which a step is nearest to a frame, as a ratio.
    unit = min(PER_SECOND, key=lambda name: abs(np.log(step * rate / PER_SECOND[name])))
    ratio = step * rate / PER_SECOND[unit]
    # Whole numbers in steps of 1 are frame numbers at any rate, unless the rate itself is 1.
    steps_by_1 = abs(np.median(np.diff(times)) - 1) < TOLERANCE
    if steps_by_1 and np.array_equal(times, np.floor(times)) and abs(ratio - 1) > TOLERANCE:
        raise InputError(
            f"{file}: column {column!r} steps by 1, and nothing says in what: as frame numbers it "
            f"fits {rate:g} frames per second, as seconds it means 1, as milliseconds 1000; write "
            "in dataset.yaml `time_unit: frames`, or `time_unit: seconds` and `frames_per_second: "
            "1`, or `time_unit: milliseconds` and `frames_per_second: 1000`"
        )
    if not 1 / GAP < ratio < GAP:
        raise InputError(
            f"{file}: column {column!r}: time steps by {step:.6g}, which fits {rate:g} frames per "
            f"second in no unit (expected {1 / rate:g} s or {1e3 / rate:g} ms); frames per second "
            f"would be {1 / step:.6g} in seconds, {1e3 / step:.6g} in milliseconds: correct "
            "frames_per_second or time_column, and say the unit with time_unit"
        )
    return unit


def _refuse_other_than_frames(file: Path, times: Times, column: str) -> None:
    """InputError unless times are whole numbers that step by 1."""
    if broken := wrong_rows(file, times != np.floor(times)):
        raise InputError(
            f"{broken.position}: column {column!r} is {exact(times[broken.row])}{broken.more}, "
            "expected whole frame numbers; if it is a time, say its unit: `time_unit: seconds` or "
            "`milliseconds` in dataset.yaml"
        )
    step = float(np.median(np.diff(times)))
    if step != 1:
        raise InputError(
            f"{file}: column {column!r}: frame numbers step by {step:g}, expected 1; if only every "
            f"{step:g}th frame has a row, number the rows and divide frames_per_second; if it is a "
            "time, say so with time_unit"
        )


def _compare_rates(
    file: Path, column: str, times: Times, regular: Times, *, rate: float, unit: str
) -> list[str]:
    """A remark where the clock's rate differs a little from the declared one; InputError where it
    contradicts it."""
    step = float(regular.mean())
    clock_rate = PER_SECOND[unit] / step
    difference = abs(rate / clock_rate - 1)
    if difference <= TOLERANCE:
        return []
    # A mean of steps that vary, or of few that are rounded, says less of the rate.
    digits = _digits(times, most=MOST_DIGITS + 1, exactly=True)
    resolution = 0.0 if digits > MOST_DIGITS else 10.0**-digits
    unsure = float(regular.std()) / step / 2 + resolution / (step * regular.size)
    text = (
        f"{file}: column {column!r} steps by {step:.6g} {unit}, {clock_rate:.6g} frames per "
        f"second, but {rate:.6g} are declared"
    )
    if difference > TOLERANCE + unsure:
        raise InputError(
            f"{text}; write `frames_per_second: {clock_rate:.6g}` in dataset.yaml (or "
            f"{clock_rate:.6g} into a column frames_per_second of recordings.csv, where recordings "
            "differ), or correct the time column or time_unit"
        )
    return [text]


@dataclass(frozen=True)
class RecordingTimes:
    """The times of a recording's frames, (frames,), in `unit`: seconds to nanoseconds, or frames.

    `column` is the store's time column, whose own values are taken as they are; None where the
    times come from the rate."""

    times: Times
    unit: str
    frames_per_second: float
    column: str | None = None

    @classmethod
    def of_store(cls, times: Times, column: str, frames_per_second: float) -> RecordingTimes:
        """The store's own times; their unit is the one in which they step nearest to the rate."""
        step = _median_step(_running(times), default=1.0 / frames_per_second)
        intervals = {unit: count / frames_per_second for unit, count in PER_SECOND.items()}
        intervals["frames"] = 1.0
        unit = min(intervals, key=lambda name: abs(np.log(step / intervals[name])))
        return cls(times, unit, frames_per_second, column)

    @classmethod
    def of_rate(cls, frames: int, frames_per_second: float) -> RecordingTimes:
        """Frame i at i / frames_per_second seconds."""
        return cls(np.arange(frames) / frames_per_second, "seconds", frames_per_second)

    @property
    def units_per_second(self) -> float:
        return self.frames_per_second if self.unit == "frames" else PER_SECOND[self.unit]

    @property
    def interval(self) -> float:
        """The usual step from frame to frame, in the times' unit."""
        default = self.units_per_second / self.frames_per_second
        return _median_step(_running(self.times), default=default)

    @property
    def starts_again(self) -> bool:
        """True where the clock goes back within the recording."""
        return len(_stretches(self.times)) > 1

    def parts(self, file: Path, column: str, row_times: Times) -> list[ClockPart]:
        """The parts in which the recording's clock runs on, and the rows of each; one part of all
        rows where it never starts again, in whatever order these are.

        A time of such a clock stands in several parts, so rows must start again with it: InputError
        where they do so more or less often."""
        frames = _stretches(self.times)
        if len(frames) == 1:
            return [ClockPart(slice(0, len(row_times)), frames[0])]
        rows = _stretches(row_times)
        if len(rows) != len(frames):
            raise InputError(
                f"{file}: the clock of the recording starts again, in {len(frames)} parts, and "
                f"column {column!r} has {len(rows)}, so that its times do not tell which part a row "
                "is of; expected rows of every part, in the recording's order"
            )
        return [ClockPart(*pair) for pair in zip(rows, frames, strict=True)]


@dataclass(frozen=True)
class ClockPart:
    """A part of a recording in which its clock runs on: its rows in a file, and its frames."""

    rows: slice
    frames: slice


def _stretches(times: Times) -> list[slice]:
    """Slices of `times` within which these increase, one after another; at least one."""
    bounds = [0, *(np.flatnonzero(np.diff(times) <= 0) + 1).tolist(), len(times)]
    return [slice(begin, end) for begin, end in pairwise(bounds)]


def _running(times: Times) -> Times:
    """The times as of a clock that never starts again: each part begins one usual step behind the
    one before it."""
    steps = np.diff(times)
    if not (steps <= 0).any():
        return times
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else 1.0
    return np.cumsum(np.where(steps > 0, steps, usual))


def nearest_frames(times: Times, known: RecordingTimes, parts: Sequence[ClockPart]) -> Frames:
    """(rows,) the frame nearest to each of `times`, which are in the frames' unit, within its part;
    the earlier of two."""
    frames: Frames = np.zeros(len(times), dtype=np.int64)
    for part in parts:
        # A store's own times need not be in order: frames are found among sorted ones.
        own = known.times[part.frames]
        order = np.argsort(own, kind="stable")
        ordered = own[order]
        right = np.searchsorted(ordered, times[part.rows]).clip(0, len(ordered) - 1)
        left = (right - 1).clip(0)
        before, after = times[part.rows] - ordered[left], ordered[right] - times[part.rows]
        is_left = np.abs(before) <= np.abs(after)
        frames[part.rows] = part.frames.start + order[np.where(is_left, left, right)]
    return frames


def _median_step(times: Times, default: float) -> float:
    """Median step of sorted times, above 0; `default` of fewer than two."""
    if len(times) < 2:
        return default
    return max(float(np.median(np.diff(np.sort(times)))), 1e-12)


def frames_at(file: Path, column: str, row_times: Times, known: RecordingTimes) -> Frames:
    """(rows,) the frame of each row by its time; InputError where a time is no frame's, or stands
    twice.

    The unit is the one in the column's name; without one it must be the only one in which every
    row is a frame's."""
    readings: dict[bytes, tuple[str, Frames]] = {}
    errors: list[InputError] = []
    # Two units may give the same frames (a recording of one frame): only other frames contradict.
    for unit, factor in _possible_units(column, row_times, known):
        try:
            frames = _nearest_frames(file, column, row_times, factor, known)
        except InputError as error:
            errors.append(error)
            continue
        readings.setdefault(frames.tobytes(), (unit, frames))
    if not readings:
        raise errors[0]
    if len(readings) > 1:
        units = [unit for unit, _ in readings.values()]
        raise InputError(
            f"{file}: {column!r} fits the recording's frames in {' and in '.join(units)}, which "
            "are different frames; say the unit in the column's name, such as "
            f"{column}_{units[0]}"
        )
    ((_, frames),) = readings.values()
    return frames


def _possible_units(
    column: str, row_times: Times, known: RecordingTimes
) -> Iterator[tuple[str, float]]:
    """(unit, factor to the frames' unit), the likeliest first."""
    if column == known.column:
        yield known.unit, 1.0
        return
    # A factor turns the row's unit into the frames' unit.
    factors = {unit: known.units_per_second / count for unit, count in PER_SECOND.items()}
    if known.unit in factors:
        factors[known.unit] = 1.0
    named = unit_of(column)
    if named in factors:
        yield named, factors[named]
        return
    distinct = np.unique(row_times[np.isfinite(row_times)])
    step = _median_step(distinct, default=1.0)
    # Without a unit in the name all are tried, the likeliest first: its error is the one told.
    units = sorted(factors, key=lambda unit: abs(np.log(step * factors[unit] / known.interval)))
    if known.unit == "frames":
        units.insert(0, "frames")
        factors["frames"] = 1.0
    largest = float(np.abs(distinct).max(initial=0.0))
    for unit in units:
        # In too small a unit every time is about 0, which is frame 0.
        if unit == units[0] or not 0 < largest * factors[unit] < known.interval / 2:
            yield unit, factors[unit]


def _nearest_frames(
    file: Path, column: str, row_times: Times, factor: float, known: RecordingTimes
) -> Frames:
    """(rows,) the frame of each row, whose times times `factor` are in the frames' unit."""
    # From here on all times are in the frames' unit.
    times = row_times * factor
    frames = nearest_frames(times, known, known.parts(file, column, row_times))
    late = known.times[frames] - times
    if known.column is None:
        # Times that were cut off, 66 ms for 66.67, lie up to a whole last digit before the frame's.
        late = np.where((late > 0) & (late <= FARTHEST * known.interval), late / 2, late)
    reach = _reach(row_times, times, factor, known)
    if strange := wrong_rows(file, ~(np.abs(late) <= reach)):
        raise InputError(
            f"{strange.position}: {column} {exact(row_times[strange.row])} is no frame's time"
            f"{strange.more}; the recording has {len(known.times)} frames from "
            f"{known.times.min():g} to {known.times.max():g}{_describe(row_times, column, known)}"
        )
    # All rows but the first of each frame.
    is_repeated = np.ones(len(frames), dtype=bool)
    is_repeated[np.unique(frames, return_index=True)[1]] = False
    if repeated := wrong_rows(file, is_repeated):
        raise InputError(
            f"{repeated.position}: {column} {row_times[repeated.row]:g} stands twice"
            f"{repeated.more}, expected one row a frame"
        )
    return frames


def _reach(row_times: Times, times: Times, factor: float, known: RecordingTimes) -> Times:
    """(rows,) how far a row's time may lie from its frame's, in the frames' unit.

    `row_times` are as written, `times` the same in the frames' unit."""
    rounding = 0.5 * 10.0 ** -_digits(row_times) * factor
    drift = RATE_ROUNDED * np.abs(times)
    if known.column is not None:
        rounding = max(rounding, 0.5 * 10.0 ** -_digits(known.times))
        drift = np.zeros(len(times))
    # A time is as exact as its last digit, and as the rate from which the frames' times come.
    reach = max(SAME_TIME * known.interval, rounding * 1.001) + drift
    return np.minimum(reach, FARTHEST * known.interval)


def _digits(values: Times, *, most: int = MOST_DIGITS, exactly: bool = False) -> int:
    """Decimals with which the values are written, `most` where that many are not enough."""
    for digits in range(most):
        tolerance = 0.0 if exactly else 10.0 ** -(digits + 3)
        rounded = np.round(values, digits)
        if np.allclose(values, rounded, rtol=0, atol=tolerance, equal_nan=True):
            return digits
    return most


def _describe(row_times: Times, column: str, known: RecordingTimes) -> str:
    """Unit and rate of the frames, and the rate of the rows where it is another."""
    unit = "" if known.unit == "frames" else f" {known.unit}"
    text = f"{unit} at {known.frames_per_second:g} frames per second"
    distinct = np.unique(row_times[np.isfinite(row_times)])
    if len(distinct) < 3:
        return text
    rate = rate_of(distinct, np.arange(len(distinct)), column)
    if rate is None or abs(rate / known.frames_per_second - 1) < RATE_APART:
        return text
    return f"{text}, and {column!r} steps as {rate:.4g} rows per second do"


def rate_of(row_times: Times, frames: Frames, column: str) -> float | None:
    """Frames per second that rows of known frames tell by their times; None where they tell
    none."""
    order = np.argsort(frames)
    steps, moves = np.diff(row_times[order]), np.diff(frames[order])
    if len(steps) < 1 or not np.isfinite(steps).all() or not (moves > 0).all():
        return None
    median = float(np.median(steps / moves))
    regular = np.abs(steps / moves - median) <= 0.5 * abs(median)
    if median <= 0 or not regular.any():
        return None
    # Rounded times (0.033, 0.067) are right on average.
    # Irregular steps (pauses, dropped frames) are left out.
    interval = float(steps[regular].sum() / moves[regular].sum())
    unit = unit_of(column)
    if unit in PER_SECOND:
        return PER_SECOND[unit] / interval
    rates = [count / interval for count in PER_SECOND.values()]
    likely = [rate for rate in rates if 1 <= rate <= 1000]
    return likely[0] if len(likely) == 1 else None
