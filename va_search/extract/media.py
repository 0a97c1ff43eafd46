"""Files of videos and sound in the folders that the user named, by recording.

    VIDEOS/**/<recording>.mp4|.avi|…    videos, subfolders included
    VIDEOS/**/<recording>.wav|.mp3|…    sound beside a video of its name; a recording's only file
                                        where there is no video of its name
    SOUND/**/<recording>.wav|.mp3|…     the sound of all videos, where such a folder is named

Conventions: a file belongs to the recording that is called like its stem. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from va_search.data.affwild2_sources import nearest_recording
from va_search.data.problems import refuse
from va_search.errors import InputError
from va_search.extract.timeline import SOUNDS

VIDEOS = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv")
ALLOWED = f"{', '.join(VIDEOS)}) or sound ({', '.join(SOUNDS)}"
"""Endings, for a message that puts them into brackets."""


@dataclass(frozen=True)
class MediaFiles:
    """Media by stem: `videos`, `sounds` of the same folder, and `separate` sounds of a folder of
    their own, None where none is named. `others` are all files of the folder of videos,
    `strangers` the names of those that are neither."""

    folder: Path
    videos: dict[str, Path]
    sounds: dict[str, Path]
    others: dict[str, Path]
    strangers: tuple[str, ...] = ()
    separate_folder: Path | None = None
    separate: dict[str, Path] | None = None

    def names(self) -> list[str]:
        """Stems of all videos, and of sounds without a video, in the order of their names."""
        return sorted({*self.videos, *self.sounds})

    def picture_file(self, stems: Sequence[str]) -> Path | None:
        """The video of the first of these stems that has one, else the sound; None for neither."""
        for files in (self.videos, self.sounds):
            for stem in stems:
                if stem in files:
                    return files[stem]
        return None

    def sound_beside(self, stems: Sequence[str], video: Path) -> Path | None:
        """The file of sound that lies in the folder of videos under a name of the recording whose
        video this is; None without one."""
        for stem in stems:
            if stem in self.sounds and self.sounds[stem] != video:
                return self.sounds[stem]
        return None

    def no_file(self, stems: Sequence[str]) -> str:
        """Words for a recording without a file, and a file that may be meant."""
        either = " or ".join(dict.fromkeys(stems))
        return (
            f"no video {either} with {', '.join(VIDEOS)}, nor sound with {', '.join(SOUNDS)}, in "
            f"{self.folder}{self._similar_file(stems)}"
        )

    def _similar_file(self, stems: Sequence[str]) -> str:
        """Words on a file that may be a recording's: its name with another ending, or a name like
        it."""
        for stem in stems:
            if stem in self.others:
                return f"; {self.others[stem].name} is there, which is none of these: convert it"
        media = {**self.sounds, **self.videos}
        near = nearest_recording(stems[0], list(media))
        if near is None:
            return ""
        return f"; {media[near].name} is there: is it meant? Names must be the same"

    def no_sound(self, stems: Sequence[str]) -> str:
        """Words for a recording without a file in the folder of sound."""
        assert self.separate is not None
        either = " or ".join(dict.fromkeys(stems))
        near = nearest_recording(stems[0], list(self.separate))
        hint = ""
        if near is not None:
            hint = f"; {self.separate[near].name} is there: is it meant? Names must be the same"
        return (
            f"no sound {either} with {', '.join(SOUNDS)} or a video's ending in "
            f"{self.separate_folder}{hint}"
        )


def find_media(videos: Path, sound: Path | None) -> MediaFiles:
    """The media in the folders; InputError for a wrong or empty folder, or two files of one
    name."""
    _check_folder(videos, "videos")
    media = _sorted_by_kind(videos, _files_in(videos))
    if not media.names():
        names = ", ".join(sorted(path.name for path in videos.iterdir())[:8]) or "nothing"
        raise InputError(f"{videos}: found {names}, expected videos ({ALLOWED})")
    if sound is None:
        return media
    _check_folder(sound, "files of sound")
    files = _files_in(sound)
    # Sound may be kept in a video's container too.
    endings: Sequence[str] = (*SOUNDS, *VIDEOS)
    if sound.resolve() == videos.resolve():
        endings = SOUNDS
    separate = _by_stem(files, endings, "files of sound")
    if not separate:
        names = ", ".join(sorted(path.name for path in sound.iterdir())[:8]) or "nothing"
        raise InputError(f"{sound}: found {names}, expected files of sound ({', '.join(SOUNDS)})")
    return replace(media, separate_folder=sound, separate=separate)


def find_listed_media(paths: Sequence[Path], *, output: Path | None = None) -> MediaFiles:
    """The media among files and in folders, subfolders included; InputError with everything wrong:
    a path that is not there, a file or folder without video or sound, two files of one name.

    `output`: a folder that is written; where it lies in one of the folders it is passed over."""
    files: list[Path] = []
    problems = [] if paths else ["no video is named"]
    for path in paths:
        listed = _files_below(path, output) if path.is_dir() else [path]
        if not path.exists():
            problems.append(f"{path}: no such file or folder, expected videos ({ALLOWED})")
        elif not any(file.suffix.lower() in (*VIDEOS, *SOUNDS) for file in listed):
            names = ", ".join(file.name for file in listed[:8]) or "nothing"
            problems.append(f"{path}: found {names}, expected videos ({ALLOWED})")
        files += listed
    refuse(problems)
    # A file may be named and lie in a named folder, too. A link is a recording of its own name.
    unique = {file.parent.resolve() / file.name: file for file in files}
    return _sorted_by_kind(paths[0], list(unique.values()))


def _files_in(folder: Path) -> list[Path]:
    """The files in a folder and below it, but for those in hidden folders (`.Trash`); with links
    that lead nowhere, whose recordings would else be missing without a word."""
    files = []
    for path in sorted(folder.rglob("*")):
        *folders, _ = path.relative_to(folder).parts
        is_hidden = any(name.startswith(".") for name in folders)
        leads_nowhere = path.is_symlink() and not path.exists()
        if not is_hidden and (path.is_file() or leads_nowhere):
            files.append(path)
    return files


def _files_below(folder: Path, output: Path | None) -> list[Path]:
    """The files in a folder, but for those of an output in it."""
    files = _files_in(folder)
    if output is None or folder.resolve() not in output.resolve().parents:
        return files
    written = folder / output.resolve().relative_to(folder.resolve())
    return [file for file in files if not file.is_relative_to(written)]


def _sorted_by_kind(folder: Path, files: Sequence[Path]) -> MediaFiles:
    """The files as videos, sounds and others; InputError for two videos or sounds of one name."""
    strangers = []
    for path in files:
        is_known = path.suffix.lower() in (*VIDEOS, *SOUNDS)
        if not is_known and not path.name.startswith("."):
            strangers.append(path.name)
    return MediaFiles(
        folder,
        _by_stem(files, VIDEOS, "videos"),
        _by_stem(files, SOUNDS, "files of sound"),
        {path.stem: path for path in files},
        tuple(strangers),
    )


def _check_folder(folder: Path, content: str) -> None:
    if not folder.is_dir():
        state = "it is a file" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {state}, expected a folder of {content}")


def _by_stem(files: Sequence[Path], endings: Sequence[str], kind: str) -> dict[str, Path]:
    """Files with one of the endings, by stem; InputError where two have one stem."""
    by_stem: dict[str, Path] = {}
    problems = []
    for path in files:
        if path.suffix.lower() not in endings or path.name.startswith("."):
            continue
        if path.stem in by_stem:
            problems.append(f"{by_stem[path.stem]} and {path}: two {kind} of one name; keep one")
        by_stem[path.stem] = path.resolve()
    refuse(problems)
    return by_stem
