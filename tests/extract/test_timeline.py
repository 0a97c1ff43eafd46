"""Times of frames and sound come from the video: rates that are not 30, that vary, that begin late;
clicks prove it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("opensmile", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import clicks, write_labels, write_recipe, write_video
from numpy.typing import NDArray

from va_search.errors import InputError
from va_search.extract.pictures import video_frames
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sound import read_sound
from va_search.extract.sources import Sources
from va_search.extract.timeline import read_timeline

MINUTES = 10.0
EVERY = 20.0
"""Seconds between clicks of the track."""


def film(seconds: float) -> NDArray[np.float64]:
    return np.arange(round(seconds * 24000 / 1001)) * 1001 / 24000


def uneven(seconds: float) -> NDArray[np.float64]:
    """A camera that gives 30 frames a second by day, 15 in the dark, and drops some."""
    steps = np.where(np.arange(round(seconds * 30)) // 400 % 2, 1 / 15, 1 / 30)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    keep = np.random.default_rng(0).random(len(times)) > 0.05
    keep[0] = True
    return times[keep & (times < seconds)]


@pytest.mark.parametrize(
    ("kind", "begin", "video", "audio"),
    [
        (film, 0.0, "v.mp4", "aac"),
        pytest.param(uneven, 0.0, "v.mov", "pcm_s16le", marks=pytest.mark.slow),
        pytest.param(film, 1.5, "v.mov", "pcm_s16le", marks=pytest.mark.slow),
    ],
)
def test_sound_and_frames_agree_to_half_a_frame_after_ten_minutes(
    tmp_path: Path, kind, begin: float, video: str, audio: str
) -> None:
    seconds = MINUTES * 60
    beats = np.arange(EVERY, seconds - 1, EVERY)
    times = kind(seconds)
    flashes = np.searchsorted(
        times, beats - 1e-6
    )  # the first frame at or after each click is white
    step = np.diff(times)[flashes]
    sound = clicks(
        seconds, times[flashes] + step / 2 - 0.005
    )  # heard in the middle of the time a white frame is shown
    write_video(
        tmp_path / "videos" / video,
        times + begin,
        sound,
        sound_begin=begin,
        bright=flashes,
        audio_codec=audio,
    )
    for name, split in (("v", "Train_Set"), ("v_left", "Validation_Set")):
        write_labels(tmp_path / "labels", name, len(times) + 1, split)
    recipe = write_recipe(
        tmp_path / "recipe.yaml",
        "feature_sets: [{name: loud, extractor: fbank, settings: {bins: 20}, pooling: mean}]",
    )

    made = extract(
        load_recipe(recipe), Sources(tmp_path / "videos", tmp_path / "labels"), tmp_path / "store"
    ).store
    recording = made.recordings[0]
    assert recording.frames == len(times) + 1
    rate = (
        15 if kind is uneven else 24000 / 1001
    )  # most frames' own: those in the dark are a few more
    assert recording.frames_per_second == pytest.approx(rate, rel=2e-4)
    np.testing.assert_allclose(made.times[: len(times)], times + begin, atol=6e-4)

    loud = made.features("loud")[: len(times)].astype(float).mean(axis=1)
    shown = times[flashes]
    found = np.array([_peak(times, loud, at) for at in shown])
    assert np.all(
        np.abs(found - shown) < step / 2
    )  # in every one of them the white frame is the loud one

    by_number = np.arange(len(times)) / 30  # what the rule i / 30 takes for the time of frame i
    drift = np.abs(by_number[flashes] - shown)
    assert drift[-1] > 100  # seconds
    assert np.all(np.diff(drift) > 0) or kind is uneven


def _peak(times: NDArray[np.float64], loud: NDArray[np.float64], at: float) -> float:
    """Where the loudest frame near a click stands."""
    near = np.flatnonzero(np.abs(times - at) < 1.0)
    return float(times[near[loud[near].argmax()]])


def test_the_white_frames_are_where_the_timeline_says(tmp_path: Path) -> None:
    times = uneven(20.0)
    video = write_video(tmp_path / "v.mp4", times, bright=[30, 100, 400])
    timeline = read_timeline(video)
    white = [place for place, image in video_frames(video, timeline) if image.mean() > 200]
    assert white == [30, 100, 400]
    assert timeline.variable
    assert not timeline.tracks
    assert len(timeline.frames) == len(times)


def test_frames_of_a_burst_stand_at_their_own_times(tmp_path: Path) -> None:
    times = np.cumsum(
        np.concatenate([np.full(20, 1 / 10), np.full(20, 1 / 60), np.full(20, 1 / 10)])
    )
    video = write_video(tmp_path / "v.mp4", times, bright=[25, 32])
    seen = list(video_frames(video, read_timeline(video)))
    assert [place for place, _ in seen] == list(range(60))
    assert [place for place, image in seen if image.mean() > 200] == [25, 32]


def test_frames_of_an_avi_that_are_stored_in_another_order_stand_in_that_of_display(
    tmp_path: Path,
) -> None:
    """An AVI has no times of display; FFmpeg's guess for H.264 is the order in the file."""
    video = write_video(tmp_path / "v.avi", np.arange(60) / 30, bright=[7, 20, 33], codec="libx264")
    timeline = read_timeline(video)
    seen = list(video_frames(video, timeline))
    assert [place for place, _ in seen] == list(range(60))
    assert [place for place, image in seen if image.mean() > 200] == [7, 20, 33]
    more = replace(timeline, frames=np.append(timeline.frames, timeline.end))
    with pytest.raises(
        InputError, match=r"v.avi: 60 of 61 frames can be decoded, and .* convert it"
    ):
        list(video_frames(video, more))


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov"])
def test_containers_and_frames_that_are_stored_in_another_order(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    times = film(3.0) + 0.4
    video = write_video(
        tmp_path / f"v.{suffix}",
        times,
        clicks(3.0, np.array([2.0])),
        sound_begin=0.4,
        bright=[24],
        codec=codec,
    )
    timeline = read_timeline(video)
    np.testing.assert_allclose(timeline.frames, times, atol=6e-4)
    assert timeline.rate == pytest.approx(24000 / 1001, rel=1e-3)
    assert not timeline.variable
    sound = read_sound(video, timeline, 16_000, tmp_path)
    loud = np.flatnonzero(np.abs(sound.samples) > 0.3)
    assert sound.begin + loud[0] / sound.rate == pytest.approx(2.4, abs=0.002)
    assert [place for place, image in video_frames(video, timeline) if image.mean() > 200] == [24]


def test_a_hole_in_the_sound_is_silence_and_what_follows_stays_in_its_place(tmp_path: Path) -> None:
    import av

    whole = write_video(
        tmp_path / "whole.mkv",
        film(6.0),
        clicks(6.0, np.array([1.0, 5.0])),
        audio_codec="pcm_s16le",
    )
    holed = tmp_path / "holed.mkv"
    with av.open(str(whole)) as source, av.open(str(holed), "w") as to:
        streams = {stream.index: to.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None or (
                packet.stream.type == "audio" and 2.0 < float(packet.pts * packet.time_base) < 4.0
            ):
                continue
            packet.stream = streams[packet.stream.index]
            to.mux(packet)
    timeline = read_timeline(holed)
    sound = read_sound(holed, timeline, 16_000, tmp_path)
    loud = np.flatnonzero(np.abs(sound.samples) > 0.3) / 16_000
    assert loud[0] == pytest.approx(1.0, abs=0.002)
    assert loud[loud > 3][0] == pytest.approx(5.0, abs=0.03)
    assert not sound.samples[round(2.2 * 16_000) : round(3.8 * 16_000)].any()


def test_rows_go_on_for_at_most_a_second_past_the_last_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", film(2.0))
    timeline = read_timeline(video)
    frames = len(timeline.frames)
    labels = tmp_path / "v.txt"
    rows = timeline.rows(frames + 1, video, labels)
    assert rows[-1] - rows[-2] == pytest.approx(1001 / 24000, abs=1e-3)
    assert len(timeline.rows(frames - 20, video, labels)) == frames - 20
    with pytest.raises(
        InputError,
        match=rf"v.mp4: {frames} frames .* but {frames + 60} annotation rows: 2.5 s more",
    ):
        timeline.rows(frames + 60, video, labels)


def test_what_is_no_whole_video_is_told(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", film(20.0), clicks(20.0, np.array([1.0])))
    content = video.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"cut.mp4: [\d,]+ bytes that are no whole video"):
        read_timeline(cut)
    front = write_video(
        tmp_path / "front.mp4",
        film(20.0),
        clicks(20.0, np.array([1.0])),
        options={"movflags": "faststart"},
    )
    front.write_bytes(front.read_bytes()[: len(content) * 2 // 3])
    with pytest.raises(
        InputError, match=r"front.mp4: .* s in it, its header declares .* s; cut short"
    ):
        read_timeline(front)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    with pytest.raises(InputError, match=r"empty.mp4: 0 bytes"):
        read_timeline(empty)
    with pytest.raises(InputError, match=r"none.mp4: no such video"):
        read_timeline(tmp_path / "none.mp4")


def test_a_pipe_in_place_of_a_video_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "v1.mp4")
    with pytest.raises(InputError, match="not a video: it is a pipe, socket or device"):
        read_timeline(tmp_path / "v1.mp4")
