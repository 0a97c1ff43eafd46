"""A store's side of a page: clocks, annotations, raters, missing values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from va_search.data.arrays import Floats
from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.raters import Ratings
from va_search.data.store import Store
from va_search.look.stores import FACELESS, StoreSide, clock_of, spans_of, stems_of
from va_search.targets import Target

RATE = 20.0
TARGETS = (Target("engagement", 0.0, 100.0), Target("stress", 1.0, 9.0))


def make_store(folder: Path, *, times: Floats | None = None, **changes: Any) -> Store:
    """One recording of 40 frames, a tenth unlabelled, of which `stress` has no label at all."""
    frames = 40 if times is None else len(times)
    labels = np.full((frames, 2), np.nan)
    labels[frames // 10 :, 0] = np.linspace(0, 100, frames - frames // 10)
    column = None if times is None else "time"
    sets = {"face": ("visual", ("a", "b")), "voice": ("audio", ("c",))}
    rated = "ratings" in changes
    description = Description("side", TARGETS, sets, "float32", column, rated=rated)
    draft = Draft(folder, description, [Source("r", "s", "v", "validation", 1, RATE, ())])
    features = {"face": np.ones((frames, 2)), "voice": np.ones((frames, 1))}
    draft.add(0, Part(**{"features": features, "annotations": labels, "times": times, **changes}))
    return draft.finish()


def test_annotations_are_the_stores_and_targets_without_labels_are_left_out(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    side = StoreSide(store)
    annotation = side.annotation(store.recordings[0])
    assert list(annotation) == ["engagement"]
    assert annotation["engagement"].dtype == np.float32
    assert annotation["engagement"].tobytes() == store.annotations[:, 0].tobytes()
    assert side.raters(store.recordings[0]) == {}


def test_the_raters_band_stays_within_the_range(tmp_path: Path) -> None:
    spread = np.full((40, 2), np.nan)
    spread[4:, 0] = 10.0
    counts = np.zeros((40, 2), dtype=np.int64)
    counts[4:20, 0], counts[20:, 0] = 3, 5
    store = make_store(tmp_path / "store", ratings=Ratings(spread, counts, {}))
    bands = StoreSide(store).raters(store.recordings[0])
    assert list(bands) == ["engagement"]
    band = bands["engagement"]
    assert band.text == "annotation ± standard deviation of 3 to 5 raters"
    labels = store.annotations[:, 0]
    assert np.isnan(band.low[:4]).all()
    assert band.low[4] == 0.0
    assert band.high[-1] == 100.0
    assert band.low[20] == labels[20] - np.float32(10.0)
    assert band.low.dtype == band.high.dtype == np.float32


def test_missing_values_and_frames_without_a_face_are_stretches(tmp_path: Path) -> None:
    face = np.ones((40, 2))
    face[3:7, 1] = np.nan
    face[39] = np.nan
    valid = np.ones(40, dtype=bool)
    valid[:2] = False
    features = {"face": face, "voice": np.ones((40, 1))}
    store = make_store(tmp_path / "store", features=features, valid=valid)
    side = StoreSide(store)
    assert side.feature_sets == ("face", "voice", FACELESS)
    assert side.missing(store.recordings[0]) == {"face": [(3, 7), (39, 40)], FACELESS: [(0, 2)]}
    assert spans_of(np.zeros(0, dtype=bool)) == []


@pytest.mark.parametrize("unit", [1.0, 1e3, 1e6])
def test_a_regular_clock_is_in_seconds_whatever_the_unit(tmp_path: Path, unit: float) -> None:
    times = (2.0 + np.arange(40) / RATE) * unit
    store = make_store(tmp_path / "store", times=times)
    clock = StoreSide(store).clock(store.recordings[0])
    assert (clock.start, clock.rate, clock.times) == (pytest.approx(2.0), RATE, None)
    assert clock.media_offset == 0.0
    assert clock.length == pytest.approx(2.0)


def test_a_single_frame_has_the_unit_of_the_others(tmp_path: Path) -> None:
    sources = [Source(name, name, name, "test", None, RATE, ()) for name in ("long", "single")]
    description = Description("units", TARGETS, {"voice": ("audio", ("c",))}, "float32", "time")
    draft = Draft(tmp_path / "store", description, sources)
    draft.add(0, Part({"voice": np.ones((40, 1))}, None, np.arange(40) * 50.0))
    draft.add(1, Part({"voice": np.ones((1, 1))}, None, np.array([3000.0])))
    store = draft.finish()
    clock = StoreSide(store).clock(store.recordings[1])
    assert clock.seconds.tolist() == [3.0]


def test_frame_numbers_count_from_one_on_the_videos_clock(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", times=np.arange(1.0, 41.0))
    clock = StoreSide(store).clock(store.recordings[0])
    assert clock.seconds[0] + clock.media_offset == pytest.approx(0.0)
    assert clock.seconds[20] + clock.media_offset == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("note", "first", "expected"),
    [
        ({}, 2.0, 2.0),
        ({"time_like": "10:00:02.00"}, 36002.0, 0.0),
        ({"time_like": "2024-05-01 10:00:02"}, 1.7e9, 0.0),
        ({"time_like": "2.00"}, 2.0, 2.0),
        ({"video_frames": 40, "audio_offset": 0.1}, 2.0, 0.0),
        ({"video_frames": 40, "audio_offset": -0.1}, 2.0, 0.1),
        ({"video_frames": 40, "audio_offset": None}, 2.0, 0.0),
        ({"video_frames": 40, "audio_offset": -0.1, "missing_without_sound": True}, 2.0, 2.1),
    ],
)
def test_the_medium_is_where_the_import_noted_it(
    tmp_path: Path, note: dict[str, Any], first: float, expected: float
) -> None:
    """The first frame's time on the medium's clock."""
    store = make_store(tmp_path / "store", times=first + np.arange(40) / RATE, notes=note)
    clock = StoreSide(store).clock(store.recordings[0])
    assert clock.seconds[0] == pytest.approx(first)
    assert clock.seconds[0] + clock.media_offset == pytest.approx(expected)


def test_an_irregular_clock_is_kept_as_it_is(tmp_path: Path) -> None:
    steps = np.random.default_rng(0).uniform(0.03, 0.07, 40)
    times = np.cumsum(steps)
    store = make_store(tmp_path / "store", times=times)
    clock = StoreSide(store).clock(store.recordings[0])
    assert clock.times is not None
    assert clock.times.tolist() == times.tolist()
    assert clock.start == times[0]


def test_a_clock_that_goes_back_or_lacks_a_time_gives_way_to_the_rate(tmp_path: Path) -> None:
    back = np.concatenate([np.arange(20), np.arange(20)]) / RATE
    lacking = np.arange(40) / RATE
    lacking[5] = np.nan
    for name, times in (("back", back), ("lacking", lacking)):
        store = make_store(tmp_path / name, times=times)
        clock = StoreSide(store).clock(store.recordings[0])
        assert (clock.times, clock.start, clock.rate) == (None, 0.0, RATE)


def test_a_rounded_rate_does_not_move_frames() -> None:
    seconds = np.arange(10_000) * 1001 / 24000
    clock = clock_of(seconds, 23.98)
    assert np.abs(clock.seconds - seconds).max() < 1e-9
    assert clock_of(seconds, 24000 / 1001).times is None
    single = clock_of(np.array([3.0]), None)
    assert single.seconds.tolist() == [3.0]
    assert clock_of(np.empty(0), None).length == 0.0


def test_a_recording_is_named_as_its_files_may_be(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    shown = StoreSide(store).recording(store.recordings[0], "fold 1")
    assert shown.media_names == ("r", "v")
    assert stems_of("a/b") == ("a/b", "a%2Fb")
    assert stems_of("n" * 300) == ("n" * 300,), "no file can be called so, and the page needs none"
    assert (shown.split, shown.subject, shown.stimulus, shown.frames) == ("fold 1", "s", None, 40)
