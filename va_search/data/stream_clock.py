"""The clocks of streams: which column is one, its unit, and where it starts again.

Conventions: a clock is read in the unit that streams.yaml says or the column's name has. Where
neither does, seconds to nanoseconds are tried: a reading fits where its rate is one that labels
(`LABEL_RATES`) or signals (`SIGNAL_RATES`) have, and where its length is that of the labels within a
factor of `LENGTHS`. One reading that fits is taken, with a remark; two are refused. So are clocks
that are declared and fit in no way, as milliseconds taken for seconds do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from va_search.data.arrays import EXACT, Flags, Floats
from va_search.data.clock import PER_SECOND, clock_restarts
from va_search.data.column_names import Roles, unit_of
from va_search.data.problems import exact, listed, unknown_column
from va_search.data.readers import (
    first_cells,
    is_number,
    seconds_of,
    where,
)
from va_search.data.resampling import usual_step
from va_search.data.streams_document import DATETIME, Stream
from va_search.errors import InputError

LABEL_RATES = (0.05, 250.0)
SIGNAL_RATES = (0.01, 50_000.0)
LENGTHS = 20.0


@dataclass(frozen=True)
class StreamClock:
    """A stream's clock: `column` is None where samples follow each other at `frames_per_second`
    from `starts_at`. `unit` is seconds to nanoseconds, datetime or frames, which count from
    `counts_from`."""

    column: str | None
    unit: str
    frames_per_second: float = 1.0
    starts_at: float = 0.0
    counts_from: int = 0

    @property
    def number_column(self) -> str | None:
        """The column of times, where these are numbers."""
        return None if self.unit == DATETIME else self.column

    @property
    def per_second(self) -> float:
        """Units a second."""
        if self.unit == "frames":
            return self.frames_per_second
        return PER_SECOND.get(self.unit, 1.0)

    def seconds(self, written: Floats) -> Floats:
        """(rows,) seconds of times as they are written."""
        return (written - self.counts_from) / self.per_second + self.starts_at

    def written(self, seconds: Floats) -> Floats:
        """(rows,) seconds as this clock would write them."""
        return (seconds - self.starts_at) * self.per_second + self.counts_from


def clock_column(file: Path, roles: Roles, stream: Stream, header: Sequence[str]) -> str | None:
    """The column with a stream's times; None where it has none, and `frames_per_second` makes them.

    InputError where the named one is not there, several could be it, or nothing tells times."""
    if stream.clock is not None:
        if stream.clock not in header:
            raise InputError(f"{file}: {unknown_column(stream.clock, header)}")
        return stream.clock
    for columns in (roles.clocks, roles.frames):
        if len(columns) > 1:
            raise InputError(
                f"{file}: {listed(columns, 8)} are clocks by their names; say which one with "
                "`clock:` in streams.yaml"
            )
        if columns:
            return columns[0]
    if stream.frames_per_second is None:
        raise InputError(
            f"{file}: no column is a clock by its name (found: {listed(header, 8, quoted=False)}); "
            "name it with `clock:` in streams.yaml, or give `frames_per_second:` if there is none"
        )
    return None


def declared_unit(file: Path, column: str, stream: Stream) -> str | None:
    """The unit that streams.yaml, the column's name or its texts tell; None where nothing does.

    InputError for frame numbers without a rate."""
    unit = stream.unit or unit_of(column)
    cell = first_cells(file, [column]).get(column, "")
    if stream.unit is None and not is_number(cell) and seconds_of(cell) is not None:
        return DATETIME
    if unit == "frames" and stream.frames_per_second is None:
        raise InputError(
            f"{file}: column {column!r} has frame numbers, and nothing says at which rate; give "
            "`frames_per_second:` in streams.yaml, or `unit:` if they are times"
        )
    return unit


@dataclass(frozen=True)
class ClockSample:
    """The clock of a stream's first file, by which its unit is chosen: times as written, (rows,),
    and the `unit` that is declared, None where none is. `rates` are plausible for the stream."""

    key: str
    file: Path
    column: str
    written: Floats
    unit: str | None
    frames_per_second: float | None
    rates: tuple[float, float]

    def readings(self) -> dict[str, tuple[float, float]]:
        """Rate and length in seconds, by the units in which the rate is plausible."""
        steps = np.diff(self.written)
        forward = steps[steps > 0]
        if not forward.size:
            return {self.unit or "seconds": (1.0, 0.0)}
        step, length = usual_step(forward), float(forward.sum())
        units = [self.unit] if self.unit else list(PER_SECOND)
        readings = {}
        for unit in units:
            per_second = PER_SECOND.get(unit, 1.0)
            if unit == "frames":
                per_second = self.frames_per_second or 1.0
            rate = per_second / step
            if self.unit or self.rates[0] <= rate <= self.rates[1]:
                readings[unit] = (rate, length / per_second)
        return readings


def choose_units(targets: Sequence[ClockSample], features: Sequence[ClockSample]) -> dict[str, str]:
    """The unit of each clock by its key; InputError where none or two readings fit."""
    choices = []
    # A reading of the labels must leave every stream with a reading of about their length.
    for units in product(*[list(target.readings()) for target in targets]):
        lengths = []
        for target, unit in zip(targets, units, strict=True):
            lengths.append(target.readings()[unit][1])
        # Labels without a clock, at a rate that is named, say nothing of the others' units.
        longest = max(lengths, default=0.0)
        if longest > LENGTHS * min(lengths, default=0.0):
            continue
        fitting = [_fitting(feature, longest) for feature in features]
        if all(fitting):
            choices.append((units, fitting))
    if not choices:
        raise InputError(_no_fit([*targets, *features]))
    if len(choices) > 1:
        raise InputError(_two_fit(targets[0], [units[0] for units, _ in choices]))
    ((units, fitting),) = choices
    chosen = {target.key: unit for target, unit in zip(targets, units, strict=True)}
    for feature, readings in zip(features, fitting, strict=True):
        if len(readings) > 1:
            raise InputError(_two_fit(feature, readings))
        chosen[feature.key] = readings[0]
    return chosen


def _fitting(sample: ClockSample, length: float) -> list[str]:
    """The units in which a clock is as long as the labels, within a factor of `LENGTHS`."""
    units = []
    for unit, (_, seconds) in sample.readings().items():
        if length / LENGTHS <= seconds <= length * LENGTHS or not length:
            units.append(unit)
    return units


def _no_fit(samples: Sequence[ClockSample]) -> str:
    """The problem of clocks that fit each other in no reading."""
    texts = []
    for sample in samples:
        readings = []
        for unit, (rate, seconds) in sample.readings().items():
            readings.append(f"in {unit} {seconds:.4g} s at {rate:.4g} per second")
        texts.append(f"{sample.file} {sample.column!r}: {' or '.join(readings) or 'no usual rate'}")
    return (
        "the clocks of the streams do not fit each other, so that one of them has another unit: "
        f"{'; '.join(dict.fromkeys(texts))}. Say the right one with `unit:` in streams.yaml"
    )


def _two_fit(sample: ClockSample, units: Sequence[str]) -> str:
    """The problem of a clock that two readings fit."""
    readings = sample.readings()
    texts = []
    for unit in dict.fromkeys(units):
        rate, seconds = readings[unit]
        texts.append(f"{unit} ({rate:.4g} per second, {seconds:.4g} s)")
    return (
        f"{sample.file}: column {sample.column!r} may be in {' or in '.join(texts)}; say which with "
        f"`unit:` under {sample.key} in streams.yaml"
    )


def refuse_strange_times(file: Path, rows: Sequence[int], written: Floats, column: str) -> None:
    """InputError where times are missing, too large to come back exactly, or all alike. `rows` are
    their rows in the file."""
    holes = np.flatnonzero(~np.isfinite(written))
    if holes.size:
        raise InputError(f"{where(file, rows[holes[0]])}: {column!r} is empty or not finite")
    large = np.flatnonzero(np.abs(written) >= EXACT)
    if large.size:
        raise InputError(
            f"{where(file, rows[large[0]])}: {column} {written[large[0]]:g} would not come back "
            f"exactly, expected below 2^53 ({EXACT:g}); give times from the recording's start"
        )
    if len(written) > 1 and (written == written[0]).all():
        raise InputError(
            f"{file}: column {column!r} is {exact(written[0])} in all {len(written)} rows, so it is "
            "no clock; name another with `clock:` in streams.yaml"
        )


def restarts_of(
    file: Path, rows: Sequence[int], written: Floats, column: str, new_segment: Flags | None
) -> Flags:
    """(rows,) True where the clock goes back because it starts again: at a new segment, or, without
    a column of segments, at a time near the first one. InputError for every other order and for
    times that stand twice."""
    steps = np.diff(written)
    restarts = np.zeros(len(written), dtype=bool)
    begins = clock_restarts(written) if new_segment is None else new_segment
    for index in (np.flatnonzero(steps <= 0) + 1).tolist():
        if begins[index]:
            restarts[index] = True
            continue
        position = where(file, rows[index])
        if written[index] == written[index - 1]:
            raise InputError(
                f"{position}: {column} {exact(written[index])} stands twice; expected one row a "
                "time: several people or faces in one file, or a clock rounded too much?"
            )
        raise InputError(
            f"{position}: {column} {exact(written[index])} after {exact(written[index - 1])}; times "
            "must increase from row to row; if the recording has several parts, name their column "
            "with `segment_column:`"
        )
    return restarts
