"""Holes, rates and lengths: where time jumps there is a gap, rates are those of regular stretches,
rows are frames."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import clicks, tone, write_labels, write_recipe, write_video
from store_world import edit_and_seal

from va_search.data.audit import check
from va_search.data.resampling import Pooler
from va_search.data.segments import stretches
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.pictures import video_frames
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.extract.timeline import Timeline, read_timeline

RATES = (7.5, 15.0, 24000 / 1001, 25.0, 30000 / 1001, 30.0, 50.0, 60.0, 100.0)
FBANK = "feature_sets: [{name: mel, extractor: fbank, settings: {bins: 8}}]\n"
LABELS = Path("labels") / "v.txt"


@st.composite
def timelines(draw: st.DrawFn) -> tuple[Timeline, float, list[int]]:
    """A timeline, its true rate, and the frames before which it jumps, put there one after
    another."""
    rate = draw(st.sampled_from(RATES))
    count = draw(st.integers(12, 200))
    jumps = draw(
        st.dictionaries(
            st.integers(1, count - 1), st.sampled_from([2.0, 3.0, 17.3, 500.0]), max_size=4
        )
    )
    jitter = draw(st.sampled_from([0.0, 0.05, 0.15]))
    begin = draw(st.sampled_from([0.0, -0.5, 1.4, 40_000.0]))
    ticks = draw(st.sampled_from([1000, 90_000, 1_000_000]))
    random = np.random.default_rng(draw(st.integers(0, 1000)))
    time, times = begin, [begin]
    for frame in range(1, count):
        time += jumps.get(frame, 1.0) / rate
        moved = time + random.uniform(-jitter, jitter) / rate / 2
        times.append(round(moved * ticks) / ticks)
    return Timeline(np.array(times), rate), rate, sorted(jumps)


@given(timelines())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_gaps_and_rate_are_those_that_the_timeline_was_made_of(
    made: tuple[Timeline, float, list[int]],
) -> None:
    timeline, rate, jumps = made
    count = len(timeline.frames)
    assert list(timeline.gaps(count)) == jumps
    # The ends of each regular stretch are moved by up to 0.15 of a step in all, which few steps do
    # not even out.
    regular_steps = count - 1 - len(jumps)
    assert timeline.rate == pytest.approx(rate, rel=0.02 + 0.15 * (len(jumps) + 1) / regular_steps)
    half = count // 2
    assert list(timeline.gaps(half)) == [jump for jump in jumps if jump < half]
    assert list(timeline.gaps(count + 3)) == jumps
    assert timeline.variable or not jumps


@given(
    rate=st.sampled_from(RATES),
    seconds=st.floats(1, 3000),
    annotated=st.sampled_from([1.0, 10.0, 12.5, 15.0, 20.0, 24.0, 25.0, 30.0, 50.0, 60.0, 100.0]),
)
@example(rate=30.0, seconds=5.0, annotated=25.0)  # 25 rows fewer are less than a second
@example(rate=25.0, seconds=4.0, annotated=50.0)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_an_annotation_of_another_rate_is_never_laid_on_the_first_frames(
    rate: float, seconds: float, annotated: float
) -> None:
    timeline = Timeline(2.5 + np.arange(round(seconds * rate)) / rate, rate)
    count = round(seconds * annotated)
    more = abs(count - len(timeline.frames))
    if abs(annotated / rate - 1) < 0.03 or more <= 2:
        return
    with pytest.raises(InputError) as caught:
        timeline.rows(count, Path("v.mp4"), LABELS)
    fits = re.search(r"v\.txt: ([\d.]+) rows a second would fit it", str(caught.value))
    assert fits is not None
    assert abs(count / float(fits[1]) - seconds) <= 1.0
    if seconds > 20:
        assert float(fits[1]) == pytest.approx(annotated, rel=0.05)


@given(rate=st.sampled_from(RATES), seconds=st.floats(1, 3000), more=st.integers(-2, 2))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_row_or_two_more_or_fewer_are_taken_and_stand_at_the_frames_times(
    rate: float, seconds: float, more: int
) -> None:
    frames = np.arange(max(4, round(seconds * rate))) / rate
    rows = Timeline(frames, rate).rows(len(frames) + more, Path("v.mp4"), LABELS)
    np.testing.assert_allclose(rows, np.arange(len(frames) + more) / rate, rtol=1e-9)


@pytest.mark.parametrize("more", [40, -40])
def test_more_than_a_second_is_refused_on_either_side(more: int) -> None:
    timeline = Timeline(np.arange(300) / 30, 30.0)
    side = "more" if more > 0 else "fewer"
    with pytest.raises(
        InputError,
        match=rf"300 frames .* but {300 + more} annotation rows: 1.3 s {side}, and at most",
    ):
        timeline.rows(300 + more, Path("v.mp4"), LABELS)
    assert len(timeline.rows(300 + more // 2, Path("v.mp4"), LABELS)) == 300 + more // 2


def test_an_annotation_that_counts_the_time_of_a_hole_is_told_to_leave_it_out() -> None:
    timeline = Timeline(film(30.0, 8.0, (1.5, 6.5)), 30.0)
    with pytest.raises(
        InputError,
        match=r"30 rows a second would fit it.*leave out those of frames that are not there",
    ):
        timeline.rows(240, Path("v.mp4"), LABELS)
    assert len(timeline.rows(90, Path("v.mp4"), LABELS)) == 90


def test_the_mean_of_a_frame_before_a_gap_hears_nothing_of_the_gap() -> None:
    times = np.concatenate(
        [np.arange(10) / 10, 6 + np.arange(1) / 10]
    )  # a gap of 5 s, and one frame behind it
    centres = np.arange(0, 8, 0.05)
    values = np.where((centres >= 1.0) & (centres < 6.0), 100.0, 1.0).astype(np.float32)[:, None]
    pooled = {}
    for name, gaps in (("told", (10,)), ("not told", ())):
        pooler = Pooler(times, mean=True, gaps=gaps, usual=0.1)
        pooler.add(centres, values)
        pooled[name] = pooler.finish()[:, 0]
    np.testing.assert_array_equal(pooled["told"], np.ones(11))
    assert pooled["not told"][9] > 90


def film(rate: float, seconds: float, *holes: tuple[float, float]) -> NDArray[np.float64]:
    """Frame times without those within the holes, (begin, end) in seconds."""
    times = np.arange(round(seconds * rate)) / rate
    for begin, end in holes:
        times = times[(times < begin - 1e-9) | (times >= end - 1e-9)]
    return times


def extracted(
    folder: Path,
    times: NDArray[np.float64],
    video: str = "v.mkv",
    text: str = FBANK,
    **more: object,
) -> Store:
    """A store of one training and one validation recording whose frames stand at `times`; one row a
    frame."""
    seconds = float(times[-1]) + 0.1
    for name, split in (("v", "Train_Set"), ("w", "Validation_Set")):
        path = folder / "videos" / video.replace("v", name, 1)
        write_video(path, times, tone(seconds), **more)  # type: ignore[arg-type]
        write_labels(folder / "labels", name, len(times), split)
    recipe = load_recipe(write_recipe(folder / "recipe.yaml", text))
    return extract(recipe, Sources(folder / "videos", folder / "labels"), folder / "store").store


@pytest.mark.parametrize(
    ("rate", "holes", "video"),
    [
        (30.0, [(1.5, 6.5)], "v.mkv"),
        pytest.param(
            24000 / 1001,
            [(0.04, 3.0)],
            "v.mp4",
            marks=pytest.mark.slow,
            id="behind the first frame",
        ),
        pytest.param(
            30000 / 1001,
            [(1.0, 1.5), (2.0, 4.97)],
            "v.mov",
            marks=pytest.mark.slow,
            id="before the last frame too",
        ),
    ],
)
def test_a_hole_in_a_video_is_a_gap_that_no_segment_crosses(
    rate: float, holes: list[tuple[float, float]], video: str, tmp_path: Path
) -> None:
    seconds = 5.0 if video == "v.mov" else 8.0
    times = film(rate, seconds, *holes)
    gaps = tuple(int(np.searchsorted(times, end - 1e-9)) for _, end in holes)
    store = extracted(tmp_path, times, video)
    for recording in store.recordings:
        assert recording.gaps == gaps
        assert recording.frames_per_second == pytest.approx(rate, rel=1e-3)
        assert len(stretches(recording)) == len(holes) + 1
    findings = "\n".join(f"{found.where}: {found.text}" for found in check(store).findings)
    assert f"{2 * len(holes)} gaps in 2 recordings" in findings
    assert "not evenly spaced" in findings
    assert "declares" not in findings


def test_dropped_frames_leave_the_rate_that_the_others_have(tmp_path: Path) -> None:
    grid = np.arange(200)
    kept = grid[np.random.default_rng(3).random(200) > 0.3]
    times = (kept - kept[0]) / 30
    store = extracted(tmp_path, times)
    expected = tuple(frame for frame in range(1, len(kept)) if kept[frame] - kept[frame - 1] > 1)
    assert store.recordings[0].gaps == expected and len(expected) > 20
    assert store.recordings[0].frames_per_second == pytest.approx(30, abs=0.01)


@pytest.mark.slow
def test_a_video_that_begins_late_and_holds_reordered_frames_keeps_its_gaps(tmp_path: Path) -> None:
    times = film(25.0, 6.0, (2.0, 4.0)) + 1.4
    store = extracted(tmp_path, times, "v.mp4", codec="libx264", options={"movflags": "faststart"})
    assert store.recordings[0].gaps == (50,)
    np.testing.assert_allclose(store.times[:100], times, atol=1e-3)


def test_an_annotation_at_25_rows_a_second_is_refused_by_name_and_one_of_the_frames_is_taken(
    tmp_path: Path,
) -> None:
    times = np.arange(300) / 30
    write_labels(tmp_path / "labels", "v", 250)
    write_labels(tmp_path / "labels", "w", 300, "Validation_Set")
    for name in ("v", "w"):
        write_video(tmp_path / "videos" / f"{name}.mp4", times, tone(10.0))
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", FBANK))
    places = Sources(tmp_path / "videos", tmp_path / "labels")
    with pytest.raises(
        InputError, match=r"v\.mp4: 300 frames .*v\.txt: 25 rows a second would fit it"
    ) as caught:
        extract(recipe, places, tmp_path / "store")
    assert "recording 'w'" not in str(caught.value)
    store = extract(recipe, places, tmp_path / "store", leave_out_broken=True).store
    assert [recording.name for recording in store.recordings] == ["w"]


def test_sound_and_frames_agree_behind_a_hole(tmp_path: Path) -> None:
    times = film(30.0, 8.0, (2.0, 6.0))
    video = write_video(
        tmp_path / "videos" / "v.mkv",
        times,
        clicks(8.0, np.array([1.0, 4.0, 7.0])),
        audio_codec="pcm_s16le",
    )
    write_labels(tmp_path / "labels", "v", len(times))
    write_video(tmp_path / "videos" / "w.mkv", times, clicks(8.0, np.array([1.0])))
    write_labels(tmp_path / "labels", "w", len(times), "Validation_Set")
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", FBANK))
    store = extract(
        recipe, Sources(tmp_path / "videos", tmp_path / "labels"), tmp_path / "store"
    ).store
    assert read_timeline(video).gaps(len(times)) == (60,)
    loud = store.features("mel")[: len(times)].astype(float).mean(axis=1)
    heard = np.flatnonzero(loud > np.median(loud) + 3)
    np.testing.assert_allclose(
        np.unique(np.round(times[heard])), [1.0, 7.0]
    )  # not the one within the hole


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs Debian's ffmpeg")
def test_a_clock_that_starts_again_is_refused_and_the_conversion_that_is_advised_helps(
    tmp_path: Path,
) -> None:
    once, joined, out = tmp_path / "once.mpg", tmp_path / "joined.mpg", tmp_path / "out.mp4"
    run = ["ffmpeg", "-v", "error"]
    inputs = ["-f", "lavfi", "-i", "testsrc=d=3:r=25:s=64x48", "-f", "lavfi", "-i", "sine=d=3"]
    subprocess.run([*run, *inputs, "-c:v", "mpeg2video", "-bf", "2", str(once)], check=True)
    joined.write_bytes(once.read_bytes() * 2)
    with pytest.raises(
        InputError, match=r"joined\.mpg: its clock goes back from .* ffmpeg -i IN OUT\.mp4"
    ):
        read_timeline(joined)
    assert len(read_timeline(once).frames) == 75
    subprocess.run([*run, "-i", str(joined), str(out)], check=True)
    assert len(read_timeline(out).frames) == pytest.approx(150, abs=2)


def test_a_store_made_before_gaps_were_found_is_added_to_and_says_so(tmp_path: Path) -> None:
    import pyarrow as pa

    from va_search.data.draft import write_arrow
    from va_search.files import digest, read_json

    times = film(30.0, 5.0, (2.0, 4.0))
    store = extracted(tmp_path, times)
    path = store.path / "recordings.arrow"
    with pa.memory_map(str(path), "r") as source:
        table = pa.ipc.open_file(source).read_all()
    rows = [{**row, "gaps": []} for row in table.to_pylist()]
    write_arrow(path, pa.Table.from_pylist(rows, schema=table.schema))
    recordings = {"recordings": digest(rows)}
    edit_and_seal(store.path, lambda manifest: manifest["hashes"].update(recordings))

    more = FBANK.replace("]\n", ", {name: wide, extractor: fbank, settings: {bins: 9}}]\n")
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", more))
    made = extract(recipe, Sources(tmp_path / "videos", tmp_path / "labels"), store.path)
    assert made.added == ("wide",) and made.present == ("mel",)
    assert [recording.gaps for recording in made.store.recordings] == [(), ()]
    warnings = read_json(store.path / "manifest.json")["warnings"]
    assert any(
        "recording 'v' (and 1 more): the gaps in time are others than its video has" in text
        for text in warnings
    )


def test_frames_that_share_a_time_stamp_all_count(tmp_path: Path) -> None:
    """Screen recordings have bursts within a millisecond; row i is still frame i."""
    import av

    whole = write_video(tmp_path / "whole.mkv", film(30.0, 2.0), bright=[20, 41])
    video = tmp_path / "v.mkv"
    with av.open(str(whole)) as source, av.open(str(video), "w") as to:
        copy = to.add_stream_from_template(source.streams.video[0])
        before = 0
        for number, packet in enumerate(source.demux(source.streams.video[0])):
            if packet.dts is None:
                continue
            if number in {10, 30}:
                packet.pts = packet.dts = before
            before = packet.pts
            packet.stream = copy
            to.mux(packet)
    timeline = read_timeline(video)
    assert len(timeline.frames) == 60 and timeline.rate == pytest.approx(30, rel=1e-3)
    seen = [(place, image.mean() > 200) for place, image in video_frames(video, timeline)]
    assert [place for place, _ in seen] == list(range(60))
    assert [place for place, bright in seen if bright] == [20, 41]
