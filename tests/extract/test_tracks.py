"""Which tracks and channels are used: chosen in the recipe, or the container's default, and then
reported."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from extract_world import RATE, write_labels, write_recipe, write_video
from numpy.typing import NDArray

from va_search.errors import InputError
from va_search.extract.pictures import video_frames
from va_search.extract.pipeline import extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sound import read_sound
from va_search.extract.sources import Sources
from va_search.extract.timeline import read_timeline
from va_search.files import read_json

TIMES = np.arange(60) / 30


def sine(pitch: float, seconds: float = 2.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)).astype(
        np.float32
    )


def write_tracks(
    path: Path,
    sounds: list[NDArray[np.float32]],
    *,
    default: int | None = None,
    layout: str = "mono",
    cover: int = 0,
) -> Path:
    """A video with several audio tracks, (channels, samples) each; `default` is the place, from 0,
    of the flagged one.

    `cover`: 1 for a picture that comes before the video, 2 for one after it, 0 for none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        covers = []
        if cover == 1:
            covers.append(container.add_stream("mjpeg", rate=1))
        picture = container.add_stream("mpeg4", rate=30)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        if cover == 2:
            covers.append(container.add_stream("mjpeg", rate=1))
        for stream in covers:
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuvj420p"
            stream.disposition = av.stream.Disposition.attached_pic
        voices = [container.add_stream("pcm_s16le", rate=RATE, layout=layout) for _ in sounds]
        picture.disposition = av.stream.Disposition(0)
        for place, voice in enumerate(voices):
            voice.disposition = (
                av.stream.Disposition.default if place == default else av.stream.Disposition(0)
            )
        for stream in covers:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 200, np.uint8), format="rgb24")
            frame.pts, frame.time_base = 0, Fraction(1, 1)
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        for number in range(len(TIMES)):
            container.mux(
                picture.encode(
                    av.VideoFrame.from_ndarray(
                        np.full((48, 64, 3), number, np.uint8), format="rgb24"
                    )
                )
            )
        container.mux(picture.encode())
        for voice, sound in zip(voices, sounds, strict=True):
            whole = (np.atleast_2d(sound).T * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(whole), format="s16", layout=layout
            )
            frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
            container.mux(voice.encode(frame))
            container.mux(voice.encode())
    return path


def heard(video: Path, scratch: Path, **choice: int) -> float:
    """The pitch of what is read, in hertz; 0 for silence."""
    samples = read_sound(video, read_timeline(video), RATE, scratch, **choice).samples
    spectrum = np.abs(np.fft.rfft(samples[:RATE]))
    return float(spectrum.argmax()) if spectrum.max() > 1 else 0.0


@pytest.mark.parametrize(("default", "expected"), [(None, 300), (0, 300), (1, 700), (2, 1100)])
def test_the_default_track_is_the_flagged_one_else_the_first(
    default: int | None, expected: float, tmp_path: Path
) -> None:
    video = write_tracks(tmp_path / "v.mkv", [sine(300), sine(700), sine(1100)], default=default)
    assert heard(video, tmp_path) == expected
    assert [heard(video, tmp_path, number=number) for number in (1, 2, 3)] == [300, 700, 1100]
    with pytest.raises(
        InputError, match=r"v\.mkv: no audio track 4, which the recipe names; it has 1 \(mono"
    ):
        heard(video, tmp_path, number=4)


def test_a_silent_second_track_changes_nothing(tmp_path: Path) -> None:
    video = write_tracks(tmp_path / "v.mkv", [sine(300), np.zeros(2 * RATE, np.float32)])
    assert heard(video, tmp_path) == 300
    assert heard(video, tmp_path, number=2) == 0


@pytest.mark.parametrize(("layout", "channels"), [("stereo", 2), ("5.1", 6)])
def test_one_channel_is_heard_alone(layout: str, channels: int, tmp_path: Path) -> None:
    sound = np.vstack([sine(300 + 200 * channel) for channel in range(channels)])
    video = write_tracks(tmp_path / "v.mkv", [sound], layout=layout)
    pitches = [heard(video, tmp_path, channel=channel + 1) for channel in range(channels)]
    assert pitches == [300 + 200 * channel for channel in range(channels)]
    with pytest.raises(
        InputError,
        match=rf"no channel {channels + 1}, which the recipe names, .* expected 1 to {channels}",
    ):
        heard(video, tmp_path, channel=channels + 1)


@pytest.mark.parametrize("cover", [1, 2])
def test_cover_art_is_not_the_video(cover: int, tmp_path: Path) -> None:
    video = write_tracks(
        tmp_path / "v.mp4" if cover == 2 else tmp_path / "v.mkv", [sine(300)], cover=cover
    )
    timeline = read_timeline(video)
    assert len(timeline.frames) == 60 and timeline.others == 0
    places = [(place, int(image.mean())) for place, image in video_frames(video, timeline)]
    assert [place for place, _ in places] == list(range(60))
    assert places[-1][1] == pytest.approx(59, abs=3)


def world(folder: Path, layout: str = "mono", sounds: int = 2) -> Sources:
    channels = 2 if layout == "stereo" else 1
    for name, split in (("v", "Train_Set"), ("w", "Validation_Set")):
        tracks = [np.vstack([sine(300 + 400 * place)] * channels) for place in range(sounds)]
        tracks[0][-1] = sine(2000)
        write_tracks(folder / "videos" / f"{name}.mkv", tracks, default=sounds - 1, layout=layout)
        write_labels(folder / "labels", name, 60, split)
    return Sources(folder / "videos", folder / "labels")


def warnings_of(folder: Path, places: Sources, *sets: str) -> list[str]:
    text = "feature_sets:\n" + "".join(
        f"- {{name: mel{n}, extractor: fbank, {more}}}\n" for n, more in enumerate(sets)
    )
    recipe = load_recipe(write_recipe(folder / "recipe.yaml", text))
    made = extract(recipe, places, folder / "store")
    texts = read_json(made.store.path / "manifest.json")["warnings"]
    return [text for text in texts if "sample" not in text]


def test_the_track_that_is_used_is_reported_unless_the_recipe_names_it(tmp_path: Path) -> None:
    places = world(tmp_path)
    (text,) = warnings_of(tmp_path, places, "settings: {bins: 8}")
    assert text.startswith(
        "2 audio tracks in recordings v, w: 1 (mono), 2 (mono, default); track 2 is used"
    )
    both = ("settings: {bins: 8}, track: 1", "settings: {bins: 8}, track: 2")
    named = tmp_path / "named"
    named.mkdir()
    assert warnings_of(named, places, *both) == []
    store = extract(load_recipe(named / "recipe.yaml"), places, named / "store").store
    default = extract(load_recipe(tmp_path / "recipe.yaml"), places, tmp_path / "store").store
    np.testing.assert_array_equal(store.features("mel1"), default.features("mel0"))
    assert np.abs(store.features("mel0") - default.features("mel0")).max() > 1


def test_the_mean_of_channels_is_reported_unless_the_recipe_says_so(tmp_path: Path) -> None:
    places = world(tmp_path, "stereo", sounds=1)
    (text,) = warnings_of(tmp_path, places, "channel: 1", "pooling: mean")
    assert text.startswith(
        "sound has 2 channels in recordings v, w; the mean of the channels is used"
    )
    said = tmp_path / "said"
    said.mkdir()
    assert warnings_of(said, places, "channel: mean", "channel: 2") == []


def test_a_definition_changes_with_another_choice_and_not_with_the_default(tmp_path: Path) -> None:
    lines = ["", ", channel: mean", ", channel: 1", ", channel: 2", ", track: 1", ", track: 2"]
    entries = "".join(f"- {{name: m{n}, extractor: fbank{more}}}\n" for n, more in enumerate(lines))
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", f"feature_sets:\n{entries}"))
    hashes = [one.hash for one in recipe.feature_sets]
    names_aside = [type(one)(**{**vars(one), "name": "m"}).hash for one in recipe.feature_sets]
    assert names_aside[0] == names_aside[1]
    assert len(set(names_aside)) == 5 and len(set(hashes)) == 6


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("track: 0", "track: expected a number of 1 or more, found 0"),
        ("track: 1.5", "track: expected a whole number or null, found 1.5"),
        ("channel: left", "channel: expected a whole number, 'mean' or null; found 'left'"),
    ],
)
def test_tracks_and_channels_count_from_one(more: str, problem: str, tmp_path: Path) -> None:
    path = write_recipe(
        tmp_path / "recipe.yaml", f"feature_sets:\n- name: mel\n  extractor: fbank\n  {more}\n"
    )
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert f"recipe.yaml:4: feature_sets[0].{problem}" in str(caught.value)


def test_two_videos_in_one_file_are_reported(tmp_path: Path) -> None:
    single = write_video(tmp_path / "one.mkv", TIMES, sine(300))
    for name, split in (("v", "Train_Set"), ("w", "Validation_Set")):
        path = tmp_path / "videos" / f"{name}.mkv"
        path.parent.mkdir(exist_ok=True)
        with av.open(str(single)) as source, av.open(str(path), "w") as to:
            copies = [to.add_stream_from_template(source.streams.video[0]) for _ in range(2)]
            voice = to.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux():
                if packet.dts is None:
                    continue
                if packet.stream.type == "audio":
                    packet.stream = voice
                    to.mux(packet)
                    continue
                content, pts, base = bytes(packet), packet.pts, packet.time_base
                for copy in copies:
                    again = av.Packet(content)
                    again.pts = again.dts = pts
                    again.time_base, again.is_keyframe, again.stream = (
                        base,
                        packet.is_keyframe,
                        copy,
                    )
                    to.mux(again)
        write_labels(tmp_path / "labels", name, 60, split)
    (text,) = warnings_of(
        tmp_path, Sources(tmp_path / "videos", tmp_path / "labels"), "settings: {bins: 8}"
    )
    assert (
        "2 video tracks; the one that is flagged as the default is used, else the first (and 1 more)"
        in text
    )
