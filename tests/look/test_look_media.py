"""Videos and sounds are found by their names, never guessed, and linked so that a browser opens
them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from va_search.errors import InputError
from va_search.look.media import Media, address_of
from va_search.look.shown import Clock, ShownRecording


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def recordings(*names: str, others: Sequence[str] = ()) -> list[ShownRecording]:
    return [
        ShownRecording(name, "test", Clock(1, 1.0), media_names=(name, *others)) for name in names
    ]


def test_a_video_comes_before_a_sound_and_a_sound_before_what_is_not_played(tmp_path: Path) -> None:
    make_files(tmp_path / "m", "a.mp4", "a.wav", "a.avi", "b.AVI", "sub/b.wav", "c.webm", "c.csv")
    media = Media.of_folder(tmp_path / "m")
    out = tmp_path / "out"
    links = [media.link([name], out) for name in "abcd"]
    assert links == ["../m/a.mp4", "../m/sub/b.wav", "../m/c.webm", None]
    (remark,) = media.remarks(recordings("a", "b", "c", "d"))
    assert "no video or sound of d" in remark


def test_two_files_of_one_name_are_told_and_not_guessed(tmp_path: Path) -> None:
    make_files(tmp_path, "x/a.mp4", "y/a.mov", "b.mp4")
    media = Media.of_folder(tmp_path)
    assert media.link(["a"], tmp_path / "out") is None
    (remark,) = media.remarks(recordings("a", "b"))
    assert "several files, so none is linked: a (x/a.mp4 and y/a.mov)" in remark


def test_what_browsers_do_not_play_comes_with_the_command_that_converts_it(tmp_path: Path) -> None:
    make_files(tmp_path, "a.avi", "b.mkv")
    media = Media.of_folder(tmp_path)
    assert media.link(["a"], tmp_path / "out") is None
    (remark,) = media.remarks(recordings("a", "b"))
    assert "do not play a.avi, b.mkv" in remark
    assert f'ffmpeg -i "{tmp_path}/a.avi"' in remark
    assert f'"{tmp_path}/a.mp4"' in remark


def test_the_video_of_two_people_is_both_recordings_video(tmp_path: Path) -> None:
    make_files(tmp_path, "v1.mp4", "v1_left.mp4")
    media = Media.of_folder(tmp_path)
    assert media.files_of(("v1_right", "v1"))[0].name == "v1.mp4"
    assert media.files_of(("v1_left", "v1"))[0].name == "v1_left.mp4"


@pytest.mark.parametrize("name", ["a b.mp4", "100% #1?.mp4", "ä 日本.mp4", "c:d.mp4", "&<'\".mp4"])
def test_an_address_leads_from_the_page_to_the_file(tmp_path: Path, name: str) -> None:
    make_files(tmp_path, f"my media/{name}", f"out #1/{name}")
    page = (tmp_path / "out #1" / "index.html").as_uri()
    for file in (tmp_path / "my media" / name, tmp_path / "out #1" / name):
        address = address_of(file, tmp_path / "out #1")
        parts = urlsplit(urljoin(page, address))
        assert parts.scheme == "file"
        assert not parts.query and not parts.fragment
        assert unquote(parts.path) == str(file)
        assert address.startswith(("../", "./"))


def test_a_link_leads_to_the_file_itself(tmp_path: Path) -> None:
    make_files(tmp_path, "disk/a.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    assert address_of(tmp_path / "link/a.mp4", tmp_path / "out") == "../disk/a.mp4"


def test_without_a_folder_of_media_nothing_is_missing(tmp_path: Path) -> None:
    assert Media.none().remarks(recordings("a")) == []
    assert Media.none().link(["a"], tmp_path) is None
    with pytest.raises(InputError, match="no such folder"):
        Media.of_folder(tmp_path / "nothing")


def test_accents_are_the_same_however_a_system_writes_them(tmp_path: Path) -> None:
    composed, apart = "M\u00fcller", "Mu\u0308ller"
    make_files(tmp_path, f"{apart}.mp4")
    media = Media.of_folder(tmp_path)
    assert media.files_of((composed,)) == media.files_of((apart,)) == [tmp_path / f"{apart}.mp4"]
