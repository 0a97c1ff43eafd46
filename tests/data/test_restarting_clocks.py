"""Rows by time where a recording's clock starts again: a time stands in several parts, and a row is
of the frames of its own part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.arrays import Floats
from va_search.data.clock import RecordingTimes, frames_at
from va_search.data.row_times import rows_by_time
from va_search.errors import InputError
from va_search.submission.template import _at_times

PART: Floats = np.arange(0.0, 5000.0, 100.0, dtype=np.float64)
KNOWN = RecordingTimes.of_store(np.concatenate([PART, PART + 30, PART[:20]]), "time", 10.0)


def write(path: Path, times: Floats) -> Path:
    path.write_text("\n".join(["time", *(f"{time:g}" for time in times)]) + "\n")
    return path


def test_times_of_frames_are_those_of_their_part(tmp_path: Path) -> None:
    assert (KNOWN.unit, KNOWN.interval) == ("milliseconds", 100.0)
    file = write(tmp_path / "r.csv", KNOWN.times)
    assert frames_at(file, "time", KNOWN.times, KNOWN).tolist() == list(range(120))
    rows = rows_by_time(file, "time", KNOWN)
    assert rows.frames.tolist() == list(range(120))
    assert rows.step == 1.0
    assert rows.has_the_frames_rate


@pytest.mark.parametrize("step", [50.0, 200.0])
def test_rows_of_another_rate_take_predictions_of_their_part(tmp_path: Path, step: float) -> None:
    begins, lengths = [0.0, 30.0, 0.0], [50, 50, 20]
    values = np.random.default_rng(0).normal(size=(120, 2))
    times: list[float] = []
    expected: list[list[float]] = []
    first = 0
    for begin, length in zip(begins, lengths, strict=True):
        for time in np.arange(begin, begin + (length - 1) * 100 + 1, step):
            place = (time - begin) / 100
            before, share = int(place), place - int(place)
            row = values[first + before] * (1 - share)
            if share:
                row = row + values[first + before + 1] * share
            times.append(time)
            expected.append(row.tolist())
        first += length
    rows = rows_by_time(write(tmp_path / "r.csv", np.array(times)), "time", KNOWN)
    assert rows.step == step / 100
    np.testing.assert_allclose(_at_times(rows, values), expected)


def test_rows_that_do_not_tell_their_part_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "r.csv", PART)
    with pytest.raises(InputError, match="starts again, in 3 parts, and column 'time' has 1"):
        rows_by_time(file, "time", KNOWN)
    with pytest.raises(InputError, match="do not tell which part"):
        frames_at(file, "time", PART, KNOWN)


def test_rows_in_any_order_where_the_clock_runs_on(tmp_path: Path) -> None:
    known = RecordingTimes.of_store(PART, "time", 10.0)
    shuffled: Floats = np.random.default_rng(1).permutation(PART)
    file = write(tmp_path / "r.csv", shuffled)
    assert frames_at(file, "time", shuffled, known).tolist() == (shuffled / 100).tolist()
    assert rows_by_time(file, "time", known).frames.tolist() == (shuffled / 100).tolist()
