"""Rows by time where a recording's clock starts again: a time stands in several parts, and a row is
of the frames of its own part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from va_search.data.arrays import Floats
from va_search.data.clock import RecordingTimes, TimeColumn, find_gaps, frames_at
from va_search.data.frame_names import RecordingFrames
from va_search.data.frame_rows import name_rows
from va_search.data.row_times import rows_by_time
from va_search.data.split_file import names_recordings, split_file
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


RESTARTING = RecordingFrames(
    ("v1",), 120, 10.0, times=KNOWN.times, time_column="time", recordings=frozenset({"v1", "7"})
)


def write_sessions(path: Path, sessions: list[str], name: str = "session") -> Path:
    """A file of the recording's own times, with the session of each row."""
    rows = [f"{s},{time:g}" for s, time in zip(sessions, KNOWN.times, strict=True)]
    path.write_text("\n".join([f"{name},time", *rows]) + "\n")
    return path


def test_a_session_of_numbers_counts_parts_and_names_no_recording(tmp_path: Path) -> None:
    sessions = ["1"] * 50 + ["2"] * 50 + ["3"] * 20
    file = write_sessions(tmp_path / "a.csv", sessions, "session_id")
    roles = RESTARTING.roles_of(file)
    assert (roles.texts, roles.parts) == ((), ("session_id",))
    named = name_rows(file, roles, RESTARTING)
    assert named.frames is not None
    assert named.frames.tolist() == list(range(120))
    assert named.unused == ("session_id",)


def test_sessions_in_another_order_than_the_recording_s_parts_are_refused(tmp_path: Path) -> None:
    file = write_sessions(tmp_path / "a.csv", ["2"] * 50 + ["1"] * 50 + ["3"] * 20)
    with pytest.raises(
        InputError, match=r"a\.csv:52: column 'session' counts parts .* \(1 after 2"
    ):
        name_rows(file, RESTARTING.roles_of(file), RESTARTING)


def test_a_session_that_may_be_a_recording_is_refused_with_what_to_write(tmp_path: Path) -> None:
    file = write_sessions(tmp_path / "a.csv", ["6"] * 50 + ["7"] * 70)
    with pytest.raises(InputError, match="'7' is a recording's name too: call the column `recordi"):
        RESTARTING.roles_of(file)
    file = write_sessions(tmp_path / "a.csv", ["morning"] * 120)
    with pytest.raises(
        InputError, match=r"names 'morning'.*if it tells parts .* call it `segment`"
    ):
        name_rows(file, RESTARTING.roles_of(file), RESTARTING)
    own = write_sessions(tmp_path / "a.csv", ["v1"] * 120)
    assert name_rows(own, RESTARTING.roles_of(own), RESTARTING).frames is not None


def test_sessions_do_not_say_whose_the_rows_of_one_file_are(tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("session,video,x\n1,2,0.5\n2,2,0.25\n1,1,0.75\n")
    parts = split_file(file, {"1", "2"}, tmp_path).parts
    assert parts["2"].read_text().splitlines()[1:] == ["1,2,0.5", "2,2,0.25"]
    file.write_text("session,x\n1,0.5\n2,0.25\n")
    assert not names_recordings(file, {"r1", "r2"})
    with pytest.raises(InputError, match="call the column `recording` where it names"):
        names_recordings(file, {"1", "2"})
    file.write_text("session,x\nr1,0.5\nr2,0.25\n")
    assert set(split_file(file, {"r1", "r2"}, tmp_path).parts) == {"r1", "r2"}


def test_rows_of_one_file_are_written_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.data.split_file.CELLS_AT_ONCE", 6)
    file = tmp_path / "all.csv"
    rows = [f"{'ab'[row % 2]},{row}" for row in range(11)]
    file.write_text("\n".join(["video,x", *rows]) + "\n")
    split = split_file(file, {"a", "b"}, tmp_path)
    assert split.parts["a"].read_text().split() == ["video,x", *rows[::2]]
    assert split.parts["b"].read_text().split() == ["video,x", *rows[1::2]]
    assert split.lines["b"].tolist() == [3, 5, 7, 9, 11]


def test_a_tables_clock_that_starts_again_is_a_gap_and_is_told(tmp_path: Path) -> None:
    times = np.concatenate([np.arange(50) / 25, np.arange(30) / 25, np.arange(3, 20) / 25 - 0.08])
    gaps, remarks = find_gaps(tmp_path / "r.csv", times, 25.0, TimeColumn("time"))
    assert gaps == (50, 80)
    assert "'time' starts again: taken for 3 parts of the recording" in remarks[0]


@pytest.mark.parametrize(
    "times",
    [
        [0.0, 0.04, 0.08, 0.12, 0.16, 0.12, 0.16],  # back, but not to the beginning
        [0.0, 0.04, 0.0, 0.04, 0.08],  # behind a part of two rows
        [0.0, 0.04, 0.08, 0.08, 0.12],
    ],
)
def test_any_other_disorder_is_refused(tmp_path: Path, times: list[float]) -> None:
    file = write(tmp_path / "r.csv", np.array(times))
    with pytest.raises(InputError, match="time must increase from row to row"):
        find_gaps(file, np.array(times), 25.0, TimeColumn("time"))
