"""What is opened and what is not: play lists, programs and bombs that look like videos or crops;
turned pictures."""

import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("av", reason="needs va-search[extract]")
pytest.importorskip("PIL", reason="needs va-search[extract]")

from extract_world import clicks, tone, write_crops, write_video
from PIL import Image

from va_search.errors import InputError
from va_search.extract.media import find_listed_media
from va_search.extract.pictures import crop_files, read_crop, upright, video_frames
from va_search.extract.sound import read_sound
from va_search.extract.timeline import read_timeline

TIMES = np.arange(30) / 30


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{video}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile good.mp4\n",
    ],
    ids=["play list", "concat"],
)
def test_a_play_list_named_mp4_opens_no_other_file(content, tmp_path):
    good = write_video(tmp_path / "good.mp4", TIMES, tone(1.0))
    (tmp_path / "list.mp4").write_text(content.format(video=good))
    with pytest.raises(InputError, match=r"list.mp4: \d+ bytes that are no whole video"):
        read_timeline(tmp_path / "list.mp4")


def test_a_crop_is_a_jpeg_or_png_of_a_sensible_size(tmp_path):
    (tmp_path / "00001.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n"
    )
    Image.new("1", (20_000, 20_000)).save(tmp_path / "00002.png")
    Image.new("1", (5_000, 5_000)).save(tmp_path / "00003.png")
    (tmp_path / "00004.jpg").write_bytes(b"")
    for name in ("00001.jpg", "00002.png", "00003.png", "00004.jpg"):
        with pytest.raises(InputError, match=rf"{name}: [\d,]+ bytes that are no whole image"):
            read_crop(tmp_path / name)


def test_crops_after_the_annotation_but_within_the_video_are_left_out(tmp_path):
    """An annotation may end before its video; crops beyond both are of something else."""
    folder = write_crops(tmp_path / "v", range(1, 31))
    assert [frame for frame, _ in crop_files(folder, 20, 30, tmp_path / "v.mp4")] == list(range(20))
    with pytest.raises(
        InputError,
        match=r"00027.jpg: a crop beyond the video's end, 4 such; .* 25 frames, .* 20 rows",
    ):
        crop_files(folder, 20, 25, tmp_path / "v.mp4")


def test_pictures_stand_upright(tmp_path):
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(upright(image, 0), image)
    np.testing.assert_array_equal(upright(image, -90), np.rot90(image, 3))
    np.testing.assert_array_equal(upright(image, 180), image[::-1, ::-1])


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs Debian's ffmpeg")
def test_a_video_that_its_header_turns_is_seen_as_ffmpeg_shows_it(tmp_path):
    lying = write_video(tmp_path / "lying.mp4", TIMES, codec="libx264")
    run = ["ffmpeg", "-v", "error", "-i"]
    made = subprocess.run(
        [*run, str(lying), "-c", "copy", "-metadata:s:v", "rotate=90", str(tmp_path / "up.mp4")],
        check=False,
    )
    if made.returncode or Image.open(shot(tmp_path / "up.mp4")).size != (48, 64):
        pytest.skip("this ffmpeg turns videos by another option")
    _, image = next(video_frames(tmp_path / "up.mp4", read_timeline(tmp_path / "up.mp4")))
    expected = np.asarray(Image.open(shot(tmp_path / "up.mp4")).convert("RGB")).astype(int)
    assert np.abs(image.astype(int) - expected).mean() < 2


def shot(video):
    path = video.with_suffix(".png")
    subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-i", str(video), "-frames:v", "1", str(path)], check=True
    )
    return path


@pytest.mark.parametrize("codec", ["mp3", "pcm_s16le"])
def test_sound_and_frames_of_an_avi_agree(codec, tmp_path):
    """Aff-Wild2 has such files, whose frames carry no time stamps of display."""
    rate, at = 25.0, np.array([2.0, 5.0, 8.0])
    video = write_video(
        tmp_path / "v.avi",
        np.arange(250) / rate,
        clicks(10.0, at),
        bright=(at * rate).astype(int),
        audio_codec=codec,
    )
    timeline = read_timeline(video)
    sound = read_sound(video, timeline, 16_000, tmp_path)
    lit = [
        timeline.frames[place]
        for place, image in video_frames(video, timeline)
        if image.mean() > 100
    ]
    loud = np.flatnonzero(np.abs(sound.samples) > 0.3) / 16_000 + sound.begin
    heard = [loud[np.abs(loud - when).argmin()] for when in lit]
    assert len(lit) == 3
    np.testing.assert_allclose(heard, lit, atol=0.5 / rate)


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_sound_of_any_layout_is_the_mean_of_its_channels(layout, channels, tmp_path):
    """As loud as each where all sound the same; a quiet channel counts as much as a loud one."""
    sine = 0.9 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000, dtype=np.float32)
    same = np.tile(sine, (channels, 1))
    first = np.vstack([sine[None], np.zeros((channels - 1, len(sine)), dtype=np.float32)])
    for name, sound in (("same.mkv", same), ("first.mkv", first)):
        video = write_video(tmp_path / name, TIMES, sound, layout=layout, audio_codec="pcm_f32le")
        found = read_sound(video, read_timeline(video), 16_000, tmp_path)
        np.testing.assert_allclose(found.samples, sound.mean(axis=0), atol=1e-6)


def test_a_link_beside_its_video_is_a_recording_of_its_own(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "latest.mp4").symlink_to(tmp_path / "a.mp4")
    media = find_listed_media([tmp_path, tmp_path / "a.mp4"])
    assert sorted(media.videos) == ["a", "latest"]


def test_an_output_among_the_videos_is_passed_over(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"")
    output = tmp_path / "day 1" / "curves"
    output.mkdir(parents=True)
    for name in ("a.csv", "a.mp4"):
        (output / name).write_bytes(b"")
    media = find_listed_media([tmp_path], output=output)
    assert media.videos == {"a": tmp_path / "a.mp4"}
    assert media.strangers == ("notes.txt",)
    # Where the videos lie in the output themselves, it is not passed over.
    media = find_listed_media([output], output=tmp_path)
    assert media.videos == {"a": output / "a.mp4"}


def test_hidden_folders_are_passed_over_and_links_that_lead_nowhere_are_not(tmp_path):
    (tmp_path / ".Trash").mkdir()
    for name in ("a.mp4", ".Trash/a.mp4"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "away" / "b.mp4")
    media = find_listed_media([tmp_path])
    assert media.videos == {"a": tmp_path / "a.mp4", "b": tmp_path / "away" / "b.mp4"}
