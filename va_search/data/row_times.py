"""Rows at a clock of their own: the frame of a recording that is nearest to each row's time.

`clock.frames_at` reads times that are the frames' own. Here rows may come at any rate, and begin
anywhere within half a frame of the recording.

Conventions: distances are in frame intervals. A row within half an interval of a frame is that
frame's; in a gap of the recording, before its first frame and behind its last one no row has any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.clock import (
    PER_SECOND,
    SAME_TIME,
    ClockPart,
    Frames,
    RecordingTimes,
    Times,
    nearest_frames,
)
from va_search.data.column_names import unit_of
from va_search.data.problems import exact
from va_search.data.readers import wrong_rows
from va_search.data.time_texts import read_times
from va_search.errors import InputError

HALF = 0.5 + 1e-6
REACHED = 0.5
"""Share of the recording that rows must span for a unit that no name confirms."""


@dataclass(frozen=True)
class RowTimes:
    """Rows of one file by time: `times` (rows,) in the unit of the recording's times, `frames`
    (rows,) the nearest frame of each, `apart` (rows,) how much later than it the row is. `parts`
    are those in which the recording's clock runs on."""

    known: RecordingTimes
    times: Times
    frames: Frames
    apart: Floats
    parts: tuple[ClockPart, ...]

    @property
    def step(self) -> float:
        """Median step from row to row; 1 of fewer than two rows."""
        steps = [np.diff(np.unique(self.times[part.rows])) for part in self.parts]
        inside = np.concatenate(steps)
        if not inside.size:
            return 1.0
        return float(np.median(inside)) / self.known.interval

    @property
    def has_the_frames_rate(self) -> bool:
        """True where most rows are frames, step by step: the clock is the recording's own."""
        on_frames = float((np.abs(self.apart) <= SAME_TIME).mean())
        return on_frames >= 0.5 and abs(self.step - 1) <= SAME_TIME

    def refuse_far(self, file: Path, column: str, row_times: Times) -> None:
        """InputError with the first row that lies farther than half an interval from any frame."""
        if far := wrong_rows(file, ~(np.abs(self.apart) <= HALF)):
            known = self.known
            unit = "" if known.unit == "frames" else f" {known.unit}"
            raise InputError(
                f"{far.position}: {column} {exact(row_times[far.row])} is no frame's time{far.more}: "
                f"the nearest frame is {abs(self.apart[far.row]):.3g} frame intervals away, expected "
                f"half of one at most; the recording has {len(known.times)} frames from "
                f"{known.times.min():g} to {known.times.max():g}{unit}"
            )


def rows_by_time(file: Path, column: str, known: RecordingTimes) -> RowTimes:
    """The rows of `file` at the times in `column`, each within half an interval of its frame.

    The unit is the one in the column's name, or the store's own for its own time column; without
    either it must be the only one in which every row has a frame and rows span half of the
    recording. InputError where rows have no frame, or the unit can't be told."""
    row_times = read_times(file, column)
    parts = tuple(known.parts(file, column, row_times))
    readings = {}
    for unit in _units(column, known):
        factor = 1.0 if unit == known.unit else known.units_per_second / PER_SECOND[unit]
        readings[unit] = _nearest(row_times * factor, known, parts)
    fitting = {unit: rows for unit, rows in readings.items() if (np.abs(rows.apart) <= HALF).all()}
    if len(fitting) > 1:
        # In too small a unit all rows are near the first frame.
        span = max(float(np.ptp(known.times)), known.interval)
        spanning = {
            unit: rows for unit, rows in fitting.items() if np.ptp(rows.times) >= REACHED * span
        }
        if len(spanning) != 1:
            names = " and in ".join(fitting)
            raise InputError(
                f"{file}: {column!r} fits the recording's frames in {names}; say the unit in the "
                f"column's name, such as {column}_seconds"
            )
        fitting = spanning
    if not fitting:
        # The unit in which the fewest rows are wrong is the one that was meant.
        wrong = {
            unit: int((~(np.abs(rows.apart) <= HALF)).sum()) for unit, rows in readings.items()
        }
        readings[min(wrong, key=wrong.__getitem__)].refuse_far(file, column, row_times)
    return next(iter(fitting.values()))


def _units(column: str, known: RecordingTimes) -> list[str]:
    """Units that the times in a column may have."""
    if column == known.column:
        return [known.unit]
    named = unit_of(column)
    if named in PER_SECOND:
        return [named]
    return list(PER_SECOND)


def _nearest(times: Times, known: RecordingTimes, parts: tuple[ClockPart, ...]) -> RowTimes:
    frames = nearest_frames(times, known, parts)
    apart = (times - known.times[frames]) / known.interval
    return RowTimes(known, times, frames, apart, parts)
