"""Reading a time column: its unit, the frame rate it means, and where it jumps.

Conventions: `rate` is the declared frames per second. A unit of time is confirmed by the rate:
steps of 40 at 25 frames per second are milliseconds. Frame numbers step by 1 at every rate, so
nothing confirms them: the unit must be declared (`time_unit: frames`) or be in the column's name. A
gap is a step of more than `GAP` frame intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from va_search.data.sheet import and_more, exact, where
from va_search.errors import InputError

GAP = 1.5  # frame intervals
PER_SECOND = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}
FRAMES = "frames"
SPELLINGS = {
    "seconds": ("seconds", "second", "secs", "sec", "s"),
    "milliseconds": ("milliseconds", "millisecond", "millis", "msec", "ms"),
    "microseconds": ("microseconds", "microsecond", "usec", "us", "µs", "μs"),
    "nanoseconds": ("nanoseconds", "nanosecond", "nsec", "ns"),
    FRAMES: ("frames", "frame"),
}
UNITS = {spelling: unit for unit, spellings in SPELLINGS.items() for spelling in spellings}
EXACT = 2.0**53  # from here on float64 does not hold every whole number
TOLERANCE = 0.01
"""Share by which the clock's rate may differ from the declared one; more where its steps vary or
are rounded."""


@dataclass(frozen=True)
class Clock:
    """The time column of a source: its name, and its unit if it is declared or in the name; None:
    the rate decides."""

    column: str
    unit: str | None = None


def unit_in_name(column: str) -> str | None:
    """The unit that a column's name has as a word of its own: `time_ms`, `frame`, `timestamp (s)`;
    None otherwise.

    `frameTime` (openSMILE) is a time, not a number of a frame.
    """
    words = re.findall(r"[a-zµμ]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower())
    units = {UNITS[word] for word in words if word in UNITS}
    if any(word.startswith("time") for word in words):
        units.discard(FRAMES)
    return units.pop() if len(units) == 1 else None


def find_gaps(
    file: Path, times: NDArray[np.float64], rate: float, clock: Clock
) -> tuple[tuple[int, ...], list[str]]:
    """Frames before which time jumps by more than 1.5 frame intervals, and remarks.

    InputError when time is missing, too large to be kept exactly, or does not increase; when its
    unit is neither known nor confirmed by `rate`; and when its steps mean another rate than `rate`.
    """
    _refuse_disorder(file, times)
    steps = np.diff(times)
    if not steps.size:
        return (), []
    median = float(np.median(steps))
    regular = steps[steps <= GAP * median]
    step = float(regular.mean())
    unit = clock.unit or _confirmed_unit(file, times, median, step, rate=rate, column=clock.column)
    remarks: list[str] = []
    if unit == FRAMES:
        _refuse_no_frames(file, times, median, clock.column)
        interval = 1.0
    else:
        interval = PER_SECOND[unit] / rate
        remarks = _compare_rates(file, times, regular, rate=rate, unit=unit, column=clock.column)
    gaps = tuple(int(frame) + 1 for frame in np.flatnonzero(steps > GAP * interval))
    return gaps, remarks


def _refuse_disorder(file: Path, times: NDArray[np.float64]) -> None:
    holes = np.flatnonzero(~np.isfinite(times))
    if holes.size:
        raise InputError(
            f"{where(file, int(holes[0]))}: time is empty or not finite{and_more(holes.size - 1)}"
        )
    large = np.flatnonzero(np.abs(times) >= EXACT)  # nanoseconds since 1970, for one
    if large.size:
        row = int(large[0])
        raise InputError(
            f"{where(file, row)}: time {times[row]:g}{and_more(large.size - 1)} would not come back exactly, expected "
            f"below 2^53 ({EXACT:g}); give times from the recording's start, or in ms"
        )
    back = np.flatnonzero(np.diff(times) <= 0)
    if back.size:
        row = int(back[0]) + 1
        raise InputError(
            f"{where(file, row)}: time {exact(times[row])} after {exact(times[row - 1])}{and_more(back.size - 1)}; "
            "time must increase from row to row"
        )


def _confirmed_unit(
    file: Path, times: NDArray[np.float64], median: float, step: float, *, rate: float, column: str
) -> str:
    """The unit of time in which `step` is about one frame; InputError where there is none, or frame
    numbers fit too."""
    unit = min(PER_SECOND, key=lambda name: abs(np.log(step * rate / PER_SECOND[name])))
    ratio = step * rate / PER_SECOND[unit]
    numbered = abs(median - 1) < TOLERANCE and bool((times == np.floor(times)).all())
    if numbered and abs(ratio - 1) > TOLERANCE:
        raise InputError(
            f"{file}: column {column!r} steps by 1, and nothing says in what: as frame numbers it fits "
            f"{rate:g} frames per second, as seconds it means 1, as milliseconds 1000; write in dataset.yaml "
            "`time_unit: frames`, or `time_unit: seconds` and `frames_per_second: 1`, or `time_unit: milliseconds` and "
            "`frames_per_second: 1000`"
        )
    if not 1 / GAP < ratio < GAP:
        readings = ", ".join(
            f"{PER_SECOND[name] / step:.6g} in {name}" for name in ("seconds", "milliseconds")
        )
        raise InputError(
            f"{file}: column {column!r}: time steps by {step:.6g}, which fits {rate:g} frames per second in no unit "
            f"(expected {1 / rate:g} s or {1e3 / rate:g} ms); frames per second would be {readings}: correct "
            "frames_per_second or time_column, and say the unit with time_unit"
        )
    return unit


def _refuse_no_frames(file: Path, times: NDArray[np.float64], median: float, column: str) -> None:
    broken = np.flatnonzero(times != np.floor(times))
    if broken.size:
        row = int(broken[0])
        raise InputError(
            f"{where(file, row)}: column {column!r} is {exact(times[row])}{and_more(broken.size - 1)}, expected whole "
            "frame numbers; if it is a time, say its unit: `time_unit: seconds` or `milliseconds` in dataset.yaml"
        )
    if median != 1:
        raise InputError(
            f"{file}: column {column!r}: frame numbers step by {median:g}, expected 1; if only every {median:g}th "
            "frame has a row, number the rows and divide frames_per_second; if it is a time, say so with time_unit"
        )


def _compare_rates(
    file: Path,
    times: NDArray[np.float64],
    regular: NDArray[np.float64],
    *,
    rate: float,
    unit: str,
    column: str,
) -> list[str]:
    """A remark where the clock's rate differs a little from the declared one; InputError where it
    contradicts it."""
    step = float(regular.mean())
    meant = PER_SECOND[unit] / step
    difference = abs(rate / meant - 1)
    # A mean of steps that vary, or of few that are rounded, says less of the rate.
    unsure = float(regular.std()) / step / 2 + _resolution(times) / (step * regular.size)
    text = f"column {column!r} steps by {step:.6g} {unit}, {meant:.6g} frames per second, but {rate:.6g} are declared"
    if difference > TOLERANCE + unsure:
        raise InputError(
            f"{file}: {text}; write `frames_per_second: {meant:.6g}` in dataset.yaml (or {meant:.6g} into a column "
            "frames_per_second of recordings.csv, where recordings differ), or correct the time column or time_unit"
        )
    return [f"{file}: {text}"] if difference > TOLERANCE else []


def _resolution(times: NDArray[np.float64]) -> float:
    """The unit of the last decimal that times are written in; 0 for more than nine."""
    for decimals in range(10):
        if np.array_equal(np.round(times, decimals), times):
            return 10.0**-decimals
    return 0.0
