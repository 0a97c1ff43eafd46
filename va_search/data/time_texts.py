"""Times as files write them: numbers, times of day and dates, read into numbers and written again
as they stood.

Conventions: a date and time is seconds since 1970, a time of day seconds since midnight. An example
is a time as its file writes it; the others of the recording are written alike: with as many decimals
where these hold them all, else in the fewest digits."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from math import isnan
from pathlib import Path

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.readers import (
    TIME_OF_DAY,
    first_cells,
    is_number,
    read_numbers,
    read_strings,
    seconds_of,
    where,
)
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import read_json

EPOCH = date(1970, 1, 1)
EXAMPLE = "time_like"
"""The key of a recording's example in the notes of a store's manifest."""
DECIMALS = re.compile(r"[+-]?\d*\.(\d+)")
COMPARED = 64
MICROSECONDS = 6
"""Digits of a second that are kept of a date: float64 holds no more since 1970."""
NANOSECONDS = 9
"""Digits of a second that are kept of a time of day, and of days below `LONGEST`."""
LONGEST = 2.0**22
"""Seconds from which on float64 holds no nanoseconds: 48 days."""


def read_times(file: Path, column: str) -> Floats:
    """(rows,) the times in a column, as numbers or, where it begins with a date or a time of day,
    in seconds. InputError for cells that are neither."""
    cell = first_cells(file, [column]).get(column, "")
    if not is_number(cell) and seconds_of(cell) is not None:
        return datetimes(file, column)
    return read_numbers(file, [column])[:, 0]


def datetimes(file: Path, column: str) -> Floats:
    """(rows,) seconds of times of day, or since 1970 where they have a date; InputError for cells
    that are neither."""
    times = []
    for row, text in enumerate(read_strings(file, column)):
        seconds = _seconds(text)
        if seconds is None:
            raise InputError(
                f"{where(file, row)}: column {column!r}: {text!r} is no date and time; expected "
                "such as 2024-05-01 10:01:02.5 or 00:01:02.5"
            )
        times.append(seconds)
    return np.array(times)


def _seconds(text: str) -> float | None:
    """Seconds of a text; None for one that is no date and time."""
    match = TIME_OF_DAY.fullmatch(text)
    if match is None or not match["date"]:
        return seconds_of(text)
    # Counted from year 1 the seconds would leave float64 no more than 8 microseconds.
    try:
        day = date.fromisoformat(match["date"]).toordinal() - EPOCH.toordinal()
    except ValueError:
        return None
    time_of_day = seconds_of(text[len(match["date"]) + 1 :])
    return None if time_of_day is None else 86_400 * day + time_of_day


def example_of(file: Path, column: str, times: Floats) -> str | None:
    """A cell of a column, where `times` like it are written otherwise than they are without an
    example; else None. It is the first number, or the shortest date: a date that has no fraction
    where others have one tells that it is left out. InputError for digits of a second that would
    not come back."""
    example = first_cells(file, [column]).get(column, "")
    if TIME_OF_DAY.fullmatch(example):
        texts = read_strings(file, column)
        _refuse_lost_digits(file, column, texts)
        example = min(texts, key=len)
    plain, alike = _writer(times, None), _writer(times, example or None)
    # A few tell: a writer is chosen for all times.
    head = [time for time in times[:COMPARED].tolist() if not isnan(time)]
    return example if any(plain(time) != alike(time) for time in head) else None


def _refuse_lost_digits(file: Path, column: str, texts: Sequence[str]) -> None:
    """InputError at the first time with more digits of a second than float64 keeps of it."""
    for row, text in enumerate(texts):
        _, _, fraction = text.partition(".")
        if len(fraction) <= MICROSECONDS:
            continue
        match = TIME_OF_DAY.fullmatch(text)
        is_long = match is None or bool(match["date"]) or (seconds_of(text) or 0.0) >= LONGEST
        kept = MICROSECONDS if is_long else NANOSECONDS
        if fraction[kept:].strip("0"):
            name = repr(column)
            line = ""
            if match is not None and match["date"]:
                line = (
                    f" (in pandas `table[{name}] = pandas.to_datetime(table[{name}])"
                    ".dt.round('us')`)"
                )
            raise InputError(
                f"{where(file, row)}: column {name}: {text!r} has more digits of a second than come "
                f"back exactly, which are {kept} here; round the times{line}, or give seconds from "
                "the recording's start"
            )


def time_examples(store: Store) -> dict[str, str]:
    """The examples of a store's recordings, by their names; recordings without one are not in it."""
    manifest = store.path / "manifest.json"
    examples = {}
    if manifest.is_file():
        for name, note in read_json(manifest).get("notes", {}).items():
            if isinstance(note, dict) and EXAMPLE in note:
                examples[name] = str(note[EXAMPLE])
    return examples


def written_times(times: Floats, example: str | None = None) -> list[str]:
    """(frames,) times as texts like the example, empty where there is none. Without an example whole
    numbers where all of them are, else the fewest digits that are these very numbers."""
    write = _writer(times, example)
    return ["" if isnan(time) else write(time) for time in times.tolist()]


def _writer(times: Floats, example: str | None) -> Callable[[float], str]:
    present = times[~np.isnan(times)]
    if example is not None and TIME_OF_DAY.fullmatch(example):
        return _datetime_writer(present, example)
    return _number_writer(present, example or "")


def _number_writer(times: Floats, example: str) -> Callable[[float], str]:
    match = DECIMALS.fullmatch(example)
    if match is not None:
        digits = len(match[1])
        if np.array_equal(np.round(times, digits), times):
            return lambda time: f"{time:.{digits}f}"
        return repr
    if np.array_equal(np.round(times), times):
        return lambda time: str(int(time))
    if example:
        return lambda time: repr(time).removesuffix(".0")
    return repr


def _datetime_writer(times: Floats, example: str) -> Callable[[float], str]:
    """Write times as the example is: its date or days, its separator, its digits of seconds."""
    match = TIME_OF_DAY.fullmatch(example)
    assert match is not None
    _, _, fraction = (match["seconds"] or "").partition(".")
    resolution = MICROSECONDS
    if not match["date"] and np.abs(times).max(initial=0.0) < LONGEST:
        resolution = NANOSECONDS
    ticks = np.round(times * 10**resolution).astype(np.int64)
    kept = 10 ** max(0, resolution - len(fraction))
    # Python and pandas write six digits where there is a fraction, nine where six do not hold it,
    # and none where there is none.
    is_fixed = not (ticks % kept).any()
    has_seconds = bool(match["seconds"]) or bool((ticks % (60 * 10**resolution)).any())
    hours_width = min(2, len(match["hours"]))

    def write(time: float) -> str:
        seconds, tick = divmod(round(time * 10**resolution), 10**resolution)
        days, seconds = divmod(seconds, 86_400) if match["date"] or match["days"] else (0, seconds)
        minutes, second = divmod(seconds, 60)
        hours, minute = divmod(minutes, 60)
        text = f"{hours:0{hours_width}d}:{minute:02d}"
        if has_seconds:
            text += f":{second:02d}"
        digits = f"{tick:0{resolution}d}"
        if is_fixed and fraction:
            text += f".{digits[: len(fraction)]:0<{len(fraction)}}"
        elif not is_fixed and tick:
            if not digits[MICROSECONDS:].strip("0"):
                digits = digits[:MICROSECONDS]
            text += f".{digits}"
        if match["date"]:
            day = EPOCH + timedelta(days=days)
            return f"{day.isoformat()}{example[len(match['date'])]}{text}"
        if match["days"]:
            return f"{days} {'day' if ' day ' in example and days == 1 else 'days'} {text}"
        return text

    return write
