"""Random tables of the kinds that people have, against a slow and obvious reading: every value on
the right frame with the right gaps, or refused."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from va_search.data.table import import_table
from va_search.errors import InputError

UNITS = {"seconds": 1.0, "milliseconds": 1e3, "microseconds": 1e6}
CLOCKS = ("time", "t", "Timestamp", "clock")
MISSING = ("", " ", "NaN", "nan", "NA", "null", "-", "  ")


@dataclass
class Member:
    """One member of the kind: how a recording of 25 frames per second (or another rate) is
    written."""

    seed: int
    frames: int
    rate: float
    unit: str
    first: int
    gaps: dict[int, int]
    column: str
    separator: str
    line_end: str
    missing: str
    byte_order_mark: bool
    declared_unit: bool
    declared_rate: float
    empty_line: int | None
    swapped: bool


@st.composite
def members(draw: st.DrawFn) -> Member:
    frames = draw(st.integers(4, 30))
    rate = draw(st.sampled_from([1.0, 5.0, 25.0, 29.97, 100.0]))
    return Member(
        seed=draw(st.integers(0, 9999)),
        frames=frames,
        rate=rate,
        unit=draw(st.sampled_from([*UNITS, "frames"])),
        first=draw(st.sampled_from([0, 0, 1, 17])),
        gaps={
            gap: draw(st.integers(2, 40))
            for gap in draw(st.sets(st.integers(1, frames - 1), max_size=1))
        },
        column=draw(st.sampled_from(CLOCKS)),
        separator=draw(st.sampled_from([",", ";", "\t", "|"])),
        line_end=draw(st.sampled_from(["\n", "\r\n"])),
        missing=draw(st.sampled_from(MISSING)),
        byte_order_mark=draw(st.booleans()),
        declared_unit=draw(st.booleans()),
        declared_rate=rate * draw(st.sampled_from([1, 1, 1, 1, 0.5, 1.2, 25])),
        empty_line=draw(st.none() | st.none() | st.integers(0, frames - 1)),
        swapped=draw(st.sampled_from([False, False, False, True])),
    )


def numbers_of(member: Member) -> list[int]:
    """The frame that each row shows, gaps and all."""
    shown, at = [], member.first
    for row in range(member.frames):
        at += member.gaps.get(row, 0)
        shown.append(at)
        at += 1
    return shown


def write(member: Member, folder: Path) -> tuple[list[list[float]], list[float]]:
    """Write the source; the features and times that are in it, row by row."""
    random = np.random.default_rng(member.seed)
    scale = 1.0 if member.unit == "frames" else UNITS[member.unit] / member.rate
    times = [round(number * scale, 6) for number in numbers_of(member)]
    features = [[round(float(value), 4) for value in random.normal(size=2)] for _ in times]
    rows = []
    for frame, (time, pair) in enumerate(zip(times, features, strict=True)):
        label = member.missing if frame == 1 else "0.25"
        text = str(int(time)) if time == int(time) else str(time)
        rows.append([text, str(pair[0]), label, str(pair[1]), label])
    if member.swapped:
        rows[1], rows[2] = rows[2], rows[1]
    lines = [
        member.separator.join(row)
        for row in [[member.column, "b", "valence", "a", "arousal"], *rows]
    ]
    if member.empty_line is not None:
        lines.insert(member.empty_line + 1, "")
    mark = "\ufeff" if member.byte_order_mark else ""
    (folder / "recordings").mkdir()
    text = mark + member.line_end.join(lines) + member.line_end
    (folder / "recordings" / "r.csv").write_bytes(text.encode())
    (folder / "recordings.csv").write_text("recording,subject,split\nr,s,train\n")
    unit = f"time_unit: {member.unit}\n" if member.declared_unit else ""
    (folder / "dataset.yaml").write_text(
        f"name: d\nlabel_range: [-1, 1]\nframes_per_second: {member.declared_rate}\ntime_column: {member.column}\n"
        f"{unit}features: {{f: {{modality: m, columns: [a, b]}}}}\n"
    )
    return features, times


def must_be_refused(member: Member) -> bool:
    """The obvious reasons: a shifted row, rows out of order, another rate than the clock's, frames
    nobody declared."""
    if member.empty_line is not None or member.swapped:
        return True
    if member.unit == "frames":
        return not member.declared_unit and member.declared_rate not in (1.0, 1000.0)
    return member.declared_rate != member.rate and not rounding_explains(member)


def rounding_explains(member: Member) -> bool:
    """Few frames at times of few decimals: .00, .01, .02, .03 may be 100 or 120 frames per second."""
    texts = [
        f"{round(number * UNITS[member.unit] / member.rate, 6):.6f}"
        for number in numbers_of(member)
    ]
    decimals = max(len(text.rstrip("0").partition(".")[2]) for text in texts)
    steps = member.frames - 1 - len(member.gaps)
    difference = UNITS[member.unit] * abs(1 / member.rate - 1 / member.declared_rate)
    return steps * difference <= 10.0**-decimals


@settings(deadline=None, max_examples=120, derandomize=True)
@given(members())
def test_every_value_is_on_its_frame_or_the_table_is_refused(member: Member) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "source"
        folder.mkdir()
        features, times = write(member, folder)
        try:
            store = import_table(folder, Path(name) / "store", workers=1)
        except InputError as refused:
            assert may_be_refused(member), refused
            return
        assert not must_be_refused(member)
        expected = np.array([[a, b] for b, a in features], dtype=np.float32)
        np.testing.assert_array_equal(store.features("f"), expected)
        np.testing.assert_array_equal(store.times, times)
        assert np.isnan(store.annotations).all(axis=1).tolist() == [
            row == 1 for row in range(member.frames)
        ]
        assert store.recordings[0].gaps == tuple(sorted(member.gaps))


def may_be_refused(member: Member) -> bool:
    """Two rows only, or a gap at every other row, say nothing of the rate; and another rate than
    the clock's needs no mercy."""
    another_rate = member.unit != "frames" and member.declared_rate != member.rate
    one_step_is_ambiguous = member.frames - 1 <= 2 * len(member.gaps)
    return must_be_refused(member) or another_rate or one_step_is_ambiguous
