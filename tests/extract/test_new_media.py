"""Sound without video, sound beside videos, tracks and channels of it, and media without labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("kaldi_native_fbank", reason="needs va-search[extract]")

from colour_world import use_mean_colour
from extract_world import (
    clicks,
    tone,
    write_labels,
    write_recipe,
    write_sound,
    write_video,
)

from va_search.data.audit import check
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.extract.pipeline import Extracted, extract
from va_search.extract.recipe import load_recipe
from va_search.extract.sources import Sources
from va_search.extract.timeline import read_timeline
from va_search.files import read_json

FBANK = "feature_sets:\n- {name: mel, extractor: fbank, settings: {bins: 8}}\n"
AT = np.array([0.7, 1.5, 2.3])
"""Seconds at which clicks begin: between frames neither at 25 nor at 30 per second."""
FILM = np.arange(90) / 30


@pytest.fixture(autouse=True)
def _colour(monkeypatch: pytest.MonkeyPatch) -> None:
    use_mean_colour(monkeypatch)


def run(tmp_path: Path, sources: Sources, text: str = FBANK, **more: object) -> Extracted:
    recipe = load_recipe(write_recipe(tmp_path / "recipe.yaml", text))
    return extract(recipe, sources, tmp_path / "store", **more)  # type: ignore[arg-type]


def refused(tmp_path: Path, sources: Sources, text: str = FBANK) -> str:
    with pytest.raises(InputError) as caught:
        run(tmp_path, sources, text)
    return "\n".join(caught.value.problems)


def warnings(store: Store) -> str:
    return "\n".join(read_json(store.path / "manifest.json")["warnings"])


def loud(mel: NDArray[np.float32], count: int = 3) -> list[int]:
    """The frames with the most energy, in order."""
    energy = np.nan_to_num(mel, nan=-99.0).mean(axis=1)
    frames: list[int] = []
    while len(frames) < count:
        frame = int(np.argmax(energy))
        frames.append(frame)
        energy[max(0, frame - 3) : frame + 4] = -99.0
    return sorted(frames)


def expected(rate: float) -> list[int]:
    """The frames in whose intervals the middles of the clicks lie."""
    return [int(second) for second in np.floor((AT + 0.005) * rate)]


# Sound without video


@pytest.mark.parametrize("ending", [".wav", ".mp3", ".flac"])
def test_clicks_in_a_file_of_sound_land_on_the_frames_of_a_named_rate(
    ending: str, tmp_path: Path
) -> None:
    write_sound(tmp_path / "sounds" / f"v0{ending}", clicks(3.0, AT))
    store = run(tmp_path, Sources(tmp_path / "sounds", frames_per_second=25.0)).store
    (recording,) = store.recordings
    assert (recording.split, recording.frames_per_second) == ("test", 25.0)
    assert 75 <= recording.frames <= 78, "MP3 adds some silence at the end"
    np.testing.assert_allclose(store.times[:75], np.arange(75) / 25, atol=1e-9)
    np.testing.assert_allclose(loud(store.features("mel")), expected(25.0), atol=0)
    assert np.isfinite(store.features("mel")[:74]).all()


def test_labels_at_a_named_rate_make_the_frames_of_sound(tmp_path: Path) -> None:
    for number, split in enumerate(("Train_Set", "Validation_Set")):
        write_sound(tmp_path / "sounds" / f"v{number}.wav", clicks(3.0, AT))
        write_labels(tmp_path / "labels", f"v{number}", 90, split)
    sources = Sources(tmp_path / "sounds", tmp_path / "labels")
    problem = refused(tmp_path, sources)
    assert "v0.wav (and 1 more): sound without pictures, so nothing says when" in problem
    assert "--frames-per-second, or labels with a column of times" in problem
    store = run(tmp_path, replace(sources, frames_per_second=30.0)).store
    assert [each.frames for each in store.recordings] == [90, 90]
    assert loud(store.features("mel")[:90]) == expected(30.0)
    assert store.annotations[:90, 0].std() > 0.1


def test_a_rate_under_which_labels_outlast_the_sound_is_refused_with_the_one_that_fits(
    tmp_path: Path,
) -> None:
    write_sound(tmp_path / "sounds" / "v0.wav", tone(3.0))
    write_sound(tmp_path / "sounds" / "v1.wav", tone(3.0, seed=1))
    write_labels(tmp_path / "labels", "v0", 90)
    write_labels(tmp_path / "labels", "v1", 90, "Validation_Set")
    sources = Sources(tmp_path / "sounds", tmp_path / "labels", frames_per_second=25.0)
    problem = refused(tmp_path, sources)
    assert "90 rows at 25 a second are 3.60 s of the 3.00 s of the recording" in problem
    assert "30 rows a second would fit it: is the rate right?" in problem
    store = run(tmp_path, replace(sources, frames_per_second=40.0)).store
    assert "90 rows at 40 a second are 2.25 s of the 3.00 s" in warnings(store)


def test_sets_that_need_pictures_are_refused_or_missing_where_the_recipe_says_so(
    tmp_path: Path,
) -> None:
    write_sound(tmp_path / "media" / "v0.wav", tone(3.0))
    write_video(tmp_path / "media" / "v1.mp4", FILM, tone(3.0), bright=[45])
    sources = Sources(tmp_path / "media", frames_per_second=30.0)
    scene = FBANK + "- {name: scene, extractor: colour, images: frames}\n"
    problem = refused(tmp_path, sources, scene)
    assert "feature set 'scene' needs pictures, and " in problem
    assert "v0.wav is sound alone; leave the set out of the recipe" in problem
    optional = scene.replace("frames}", "frames, optional: true}")
    store = run(tmp_path, sources, optional).store
    assert store.feature_sets["scene"].missing
    values = store.features("scene")
    assert np.isnan(values[:90]).all() and np.isfinite(values[90:180]).all()
    assert np.argmax(values[90:180, 0]) == 45
    assert "feature set 'scene' is missing, for lack of pictures, in 1 of 2 rec" in warnings(store)
    (tmp_path / "media" / "v1.mp4").unlink()
    other = replace(sources, videos=tmp_path / "media")
    assert "no recording has any; leave it out" in refused(tmp_path / "other", other, optional)


def test_a_video_file_without_pictures_is_sound_whatever_its_name(tmp_path: Path) -> None:
    write_sound(tmp_path / "v0.wav", clicks(3.0, AT))
    (tmp_path / "media").mkdir()
    (tmp_path / "v0.wav").rename(tmp_path / "media" / "v0.mkv")
    sources = Sources(tmp_path / "media")
    assert "v0.mkv: sound without pictures" in refused(tmp_path, sources)
    scene = "feature_sets: [{name: scene, extractor: colour, images: frames}]\n"
    rated = replace(sources, frames_per_second=30.0)
    problem = refused(tmp_path, rated, scene)
    assert "v0.mkv: no pictures, which feature set 'scene' needs" in problem
    assert loud(run(tmp_path, rated).store.features("mel")) == expected(30.0)


def test_sound_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "media" / "v0.wav", tone(4.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    problem = refused(tmp_path, Sources(tmp_path / "media", frames_per_second=30.0))
    assert "v0.wav: 64,039 bytes, its header declares 128,078; cut short: copy it" in problem
    path.write_bytes(b"no sound")
    problem = refused(tmp_path, Sources(tmp_path / "media", frames_per_second=30.0))
    assert "v0.wav: 8 bytes that are no whole sound" in problem


# Sound in another file


@pytest.mark.parametrize("begin", [0.0, 2.0])
def test_sound_beside_a_silent_video_counts_from_the_videos_first_frame(
    begin: float, tmp_path: Path
) -> None:
    write_video(tmp_path / "videos" / "v0.mkv", begin + FILM)
    write_sound(tmp_path / "videos" / "v0.wav", clicks(3.0, AT))
    store = run(tmp_path, Sources(tmp_path / "videos")).store
    assert store.recordings[0].frames == 90
    assert loud(store.features("mel")) == expected(30.0)
    assert "v0.wav: the sound of the video of this name, which has none of its" in warnings(store)
    assert np.isfinite(store.features("mel")).all()


def test_a_videos_own_sound_goes_before_a_file_beside_it_unless_a_folder_is_named(
    tmp_path: Path,
) -> None:
    write_video(tmp_path / "videos" / "v0.mp4", FILM, clicks(3.0, AT))
    write_sound(tmp_path / "videos" / "v0.wav", clicks(3.0, AT - 0.5))
    sources = Sources(tmp_path / "videos")
    own = run(tmp_path, sources).store
    np.testing.assert_allclose(loud(own.features("mel")), expected(30.0), atol=1)
    assert "v0.wav: not used, since the video of this name has sound of its own" in warnings(own)
    named = replace(sources, sound=tmp_path / "videos")
    other = extract(load_recipe(tmp_path / "recipe.yaml"), named, tmp_path / "other").store
    assert loud(other.features("mel")) == [frame - 15 for frame in expected(30.0)]


def test_a_named_folder_must_have_the_sound_of_every_recording_unless_it_is_optional(
    tmp_path: Path,
) -> None:
    for number in range(2):
        write_video(tmp_path / "videos" / f"v{number}.mp4", FILM)
    write_sound(tmp_path / "sound" / "v0.wav", clicks(3.0, AT))
    sources = Sources(tmp_path / "videos", sound=tmp_path / "sound")
    problem = refused(tmp_path, sources)
    assert "recording 'v1': no sound v1 with .wav, .mp3" in problem
    store = run(tmp_path, sources, FBANK.replace("8}}", "8}, optional: true}")).store
    mel = store.features("mel")
    assert loud(mel[:90]) == expected(30.0)
    assert np.isnan(mel[90:]).all()
    assert "'mel' is missing, for lack of sound, in 1 of 2 recordings" in warnings(store)
    with pytest.raises(InputError, match="nowhere: no such folder, expected a folder of files of"):
        run(tmp_path, replace(sources, sound=tmp_path / "nowhere"))


def test_frames_beyond_the_sound_of_another_file_are_missing(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "v0.mp4", FILM)
    write_sound(tmp_path / "videos" / "v0.wav", tone(2.0))
    store = run(tmp_path, Sources(tmp_path / "videos")).store
    mel = store.features("mel")
    assert "'mel' is missing in 22 of 90 frames: v0.wav has 2.00 s of sound" in warnings(store)
    texts = [finding.text for finding in check(store).findings]
    assert any("features of sound are missing after it" in text for text in texts)
    assert np.isfinite(mel[:67]).all(), "a quarter of a second is held"
    assert np.isnan(mel[69:]).all()


def test_sound_of_another_file_that_was_replaced_since_is_told(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "v0.mp4", FILM)
    write_sound(tmp_path / "videos" / "v0.wav", tone(3.0))
    sources = Sources(tmp_path / "videos", sound=tmp_path / "videos")
    run(tmp_path, sources)
    write_sound(tmp_path / "videos" / "v0.wav", tone(2.9))
    assert "v0.wav: 92,878 bytes, 96,078 when" in refused(tmp_path, sources)


# Tracks and channels


@pytest.mark.parametrize(
    ("channel", "silent"), [("", False), (", channel: 1", False), (", channel: 2", True)]
)
def test_a_silent_channel_is_told_and_one_channel_can_be_taken(
    channel: str, silent: bool, tmp_path: Path
) -> None:
    sound = clicks(3.0, AT)
    write_sound(tmp_path / "media" / "v0.wav", np.stack([sound, np.zeros_like(sound)]))
    text = FBANK.replace("8}", "8}" + channel)
    store = run(tmp_path, Sources(tmp_path / "media", frames_per_second=25.0), text).store
    told = warnings(store)
    assert ("the sound that is taken is silent throughout (channel 2)" in told) == silent
    if not silent:
        assert loud(store.features("mel")) == expected(25.0)
    if not channel:
        assert "of 2 channels of sound 2 is silent, and the mean of all is taken" in told
        assert "`channel: 1` in the recipe takes one" in told


def test_a_wrong_track_or_channel_is_refused_with_what_the_file_has(tmp_path: Path) -> None:
    write_sound(tmp_path / "media" / "v0.wav", np.stack([tone(2.0), tone(2.0, seed=1)]))
    sources = Sources(tmp_path / "media", frames_per_second=25.0)
    problem = refused(tmp_path, sources, FBANK.replace("8}", "8}, track: 2"))
    assert "v0.wav: no audio track 2, which the recipe names; it has 1 (2 channels)" in problem
    problem = refused(tmp_path, sources, FBANK.replace("8}", "8}, channel: 3"))
    assert "no channel 3, which the recipe names, in audio track 1" in problem
    assert "expected 1 to 2" in problem
    with pytest.raises(InputError, match=r"audio_track.*did you mean 'track'"):
        load_recipe(write_recipe(tmp_path / "r.yaml", FBANK.replace("8}", "8}, audio_track: 2")))


# Without labels


def test_videos_without_labels_are_test_recordings_at_their_own_frames(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "P01 session (1).mkv", 2.0 + FILM, tone(3.0), sound_begin=2.0)
    write_video(tmp_path / "videos" / "deep" / "v2.mp4", np.arange(50) / 25, tone(2.0))
    subjects = tmp_path / "subjects.csv"
    subjects.write_text("recording,subject\nP01 session (1),anna\nv2,ben\n")
    store = run(tmp_path, Sources(tmp_path / "videos", subjects=subjects)).store
    names = [(each.name, each.subject, each.split, each.frames) for each in store.recordings]
    assert names == [("P01 session (1)", "anna", "test", 90), ("v2", "ben", "test", 50)]
    assert np.isnan(store.annotations).all()
    assert store.time_column == "time"
    np.testing.assert_allclose(store.times[:90], FILM, atol=0.002)
    assert "no annotations (--annotations): all recordings are test recordings" in warnings(store)
    more = FBANK + "- {name: scene, extractor: colour, images: frames}\n"
    assert run(tmp_path, Sources(tmp_path / "videos", subjects=subjects), more).added == ("scene",)


def test_a_broken_new_video_can_be_left_out(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "v0.mp4", FILM, tone(3.0))
    (tmp_path / "videos" / "v1.mp4").write_bytes(b"broken")
    (tmp_path / "videos" / "v0.aac").write_bytes(b"raw sound")
    sources = Sources(tmp_path / "videos")
    assert "v1.mp4: 6 bytes that are no whole video" in refused(tmp_path, sources)
    made = run(tmp_path, sources, leave_out_broken=True)
    assert made.left_out == ("v1",)
    assert "v0.aac: no videos or sound by their endings, and not used" in warnings(made.store)


def test_a_sample_without_annotations_is_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "videos" / "v0.mp4", FILM, tone(3.0))
    sources = Sources(tmp_path / "videos", sample=tmp_path / "sample.csv")
    assert "--sample goes with --annotations" in refused(tmp_path, sources)


def test_second_zero_of_a_file_is_its_first_frame_or_its_first_sound(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mkv", 2.0 + FILM, tone(3.0), sound_begin=1.5)
    assert read_timeline(video).begin == pytest.approx(2.0, abs=0.002)
    sound = read_timeline(write_sound(tmp_path / "v.wav", tone(2.0)))
    assert (sound.begin, sound.end, sound.has_pictures) == (0.0, pytest.approx(2.0), False)
