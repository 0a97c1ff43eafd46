"""Rows of a file brought to the frames whose times they name.

Conventions: frames count from 0. The frames' times are the store's own time column, as it stood at
the source, or frame i at i / frames_per_second seconds where there is none. A time is a frame's
where it lies within 1 % of a frame interval of it, or as near as the digits of both (0.033 for 1/30
s) and of the rate allow, never farther than a quarter interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.column_roles import unit_of
from va_search.data.sheet import and_more, exact, where
from va_search.errors import InputError

SAME_TIME = 0.01
"""Two times are the same within this share of a frame interval."""
FARTHEST = 0.25
"""So far apart, in frame intervals, two times may be when their digits allow no better."""
RATE_ROUNDED = 2e-4
"""Share by which a frame rate may be rounded (23.98 for 23.976): times made from the exact one
drift so much."""
PER_SECOND = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
MOST_DIGITS = 9

Times = NDArray[np.float64]
Frames = NDArray[np.int64]


@dataclass(frozen=True)
class FrameTimes:
    """The times of a recording's frames, (frames,), in `unit` (s, ms, µs, ns or frames)."""

    times: Times
    unit: str
    frames_per_second: float
    column: str | None = None
    """The store's time column, whose own values are taken as they are; None where the times come
    from the rate."""

    @property
    def interval(self) -> float:
        """The usual step from frame to frame, in the times' unit."""
        if len(self.times) > 1:
            return float(np.median(np.diff(np.sort(self.times))))
        return 1.0 if self.unit == "frames" else PER_SECOND[self.unit] / self.frames_per_second

    @property
    def units_per_second(self) -> float:
        return self.frames_per_second if self.unit == "frames" else PER_SECOND[self.unit]


def times_of_store(times: Times, column: str, frames_per_second: float) -> FrameTimes:
    """The store's own times; their unit is the one in which they step nearest to the frame rate."""
    step = float(np.median(np.diff(np.sort(times)))) if len(times) > 1 else 1.0 / frames_per_second
    intervals = {unit: count / frames_per_second for unit, count in PER_SECOND.items()} | {
        "frames": 1.0
    }
    unit = min(intervals, key=lambda name: abs(np.log(max(step, 1e-12) / intervals[name])))
    return FrameTimes(times, unit, frames_per_second, column)


def times_of_rate(frames: int, frames_per_second: float) -> FrameTimes:
    """Frame i at i / frames_per_second seconds."""
    return FrameTimes(np.arange(frames) / frames_per_second, "s", frames_per_second)


def frames_at(file: Path, column: str, given: Times, known: FrameTimes) -> Frames:
    """(rows,) the frame of each row by its time; InputError where a time is no frame's, or stands
    twice.

    The unit is the one in the column's name; without one it is found as the only one in which every
    row is a frame's."""
    readings: dict[bytes, Frames] = {}
    first_error: InputError | None = None
    units: dict[bytes, str] = {}
    for unit, factor in _possible_units(column, given, known):
        try:
            frames = _nearest_frames(file, column, given, factor, known)
        except InputError as error:
            first_error = first_error or error
            continue
        readings.setdefault(frames.tobytes(), frames)
        units.setdefault(frames.tobytes(), unit)
    if len(readings) > 1:
        raise InputError(
            f"{file}: {column!r} fits the recording's frames in {' and in '.join(units.values())}, which are different "
            f"frames; say the unit in the column's name, such as {column}_{next(iter(units.values()))}"
        )
    if not readings:
        assert first_error is not None
        raise first_error
    return next(iter(readings.values()))


def rate_of(given: Times, frames: Frames, column: str) -> float | None:
    """Frames per second that rows of known frames tell by their times; None where there is nothing
    to tell."""
    order = np.argsort(frames)
    steps, moves = np.diff(given[order]), np.diff(frames[order])
    if len(steps) < 1 or not np.isfinite(steps).all() or not (moves > 0).all():
        return None
    middle = float(np.median(steps / moves))
    regular = np.abs(steps / moves - middle) <= 0.5 * abs(middle)
    if middle <= 0 or not regular.any():
        return None
    interval = float(
        steps[regular].sum() / moves[regular].sum()
    )  # rounded times (0.033, 0.067) are right on average
    unit = unit_of(column)
    if unit is not None:
        return PER_SECOND[unit] / interval
    rates = [count / interval for count in PER_SECOND.values()]
    likely = [rate for rate in rates if 1 <= rate <= 1000]
    return likely[0] if len(likely) == 1 else None


def _possible_units(column: str, given: Times, known: FrameTimes) -> Iterator[tuple[str, float]]:
    """(unit, factor to the frames' unit), the likeliest first."""
    if column == known.column:
        yield known.unit, 1.0
        return
    named = unit_of(column)
    units = list(PER_SECOND) if named is None else [named]
    if named is None:
        step = (
            float(np.median(np.diff(np.unique(given[np.isfinite(given)]))))
            if len(np.unique(given)) > 1
            else 1.0
        )
        second = known.units_per_second
        units.sort(
            key=lambda unit: abs(
                np.log(max(step, 1e-12) * second / PER_SECOND[unit] / known.interval)
            )
        )
        if known.unit == "frames":
            units.insert(0, "frames")
    largest = float(np.abs(given[np.isfinite(given)]).max(initial=0.0))
    for unit in units:
        factor = 1.0 if unit == known.unit else known.units_per_second / PER_SECOND[unit]
        if named is None and unit != units[0] and 0 < largest * factor < known.interval / 2:
            continue  # in so small a unit every time is about 0
        yield unit, factor


def _nearest_frames(
    file: Path, column: str, given: Times, factor: float, known: FrameTimes
) -> Frames:
    order = np.argsort(known.times, kind="stable")
    ordered = known.times[order]
    wanted = given * factor
    right = np.clip(np.searchsorted(ordered, wanted), 1, max(len(ordered) - 1, 1))
    near = np.stack([right - 1, np.minimum(right, len(ordered) - 1)])
    closest = near[np.abs(ordered[near] - wanted).argmin(axis=0), np.arange(len(wanted))]
    frames: Frames = order[closest].astype(np.int64)
    late = known.times[frames] - wanted
    if (
        known.column is None
    ):  # times that were cut off, 66 ms for 66.67, lie up to a whole last digit before the frame's
        late = np.where((late > 0) & (late <= FARTHEST * known.interval), late / 2, late)
    unknown = ~(np.abs(late) <= _reach(given, wanted, factor, known))
    if unknown.any():
        row = int(np.argmax(unknown))
        raise InputError(
            f"{where(file, row)}: {column} {exact(given[row])} is no frame's time"
            f"{and_more(int(unknown.sum()) - 1)}; the recording has {len(known.times)} frames from "
            f"{known.times.min():g} to {known.times.max():g}"
            f"{_in_words(given, column, known)}"
        )
    first = np.unique(frames, return_index=True)[1]
    again = np.setdiff1d(np.arange(len(frames)), first)
    if again.size:
        row = int(again[0])
        raise InputError(
            f"{where(file, row)}: {column} {given[row]:g} stands twice{and_more(again.size - 1)}, expected one row a "
            "frame"
        )
    return frames


def _reach(given: Times, wanted: Times, factor: float, known: FrameTimes) -> NDArray[np.float64]:
    """(rows,) how far a row's time may lie from its frame's, in the frames' unit."""
    rounded = 0.5 * 10.0 ** -_digits(given) * factor
    if known.column is None:
        drift = RATE_ROUNDED * np.abs(wanted)
    else:
        rounded = max(rounded, 0.5 * 10.0 ** -_digits(known.times))
        drift = np.zeros(len(wanted))
    reach = max(SAME_TIME * known.interval, rounded * 1.001) + drift
    return np.minimum(reach, FARTHEST * known.interval)


def _digits(values: Times) -> int:
    """Decimals with which the values are written."""
    for digits in range(MOST_DIGITS):
        if np.allclose(
            values, np.round(values, digits), rtol=0, atol=10.0 ** -(digits + 3), equal_nan=True
        ):
            return digits
    return MOST_DIGITS


def _in_words(given: Times, column: str, known: FrameTimes) -> str:
    """The unit and the rate of both, where the rows are at another rate than the frames."""
    unit = "" if known.unit == "frames" else f" {known.unit}"
    text = f"{unit} at {known.frames_per_second:g} frames per second"
    distinct = np.unique(given[np.isfinite(given)])
    rate = rate_of(distinct, np.arange(len(distinct)), column) if len(distinct) > 2 else None
    if rate is None or abs(rate / known.frames_per_second - 1) < 0.005:
        return text
    return f"{text}, and {column!r} steps as {rate:.4g} rows per second do"
