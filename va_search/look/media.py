"""Videos and sounds of recordings, found by name and linked from a page.

    DIR/**/<recording>.mp4|.webm|…   a video; or a sound: .wav, .mp3, …

Conventions: a file belongs to the recording that is called like its stem, or whose video is, or to
which the name leads as a file is called (`file_name_of`). A video that browsers play comes before a
sound, and a sound before a video that they do not play. Nothing is guessed: a recording of two
such files, or of none, is told and gets no link. Nothing is opened or copied here."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from va_search.errors import InputError, counted
from va_search.look.shown import ShownRecording

PLAYED_VIDEOS = (".mp4", ".m4v", ".webm", ".ogv", ".mov")
PLAYED_SOUNDS = (".wav", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".flac")
NOT_PLAYED = (".avi", ".mkv", ".wmv", ".flv", ".mpg", ".mpeg", ".mts", ".wma", ".aif", ".aiff")
ORDER = (PLAYED_VIDEOS, PLAYED_SOUNDS, NOT_PLAYED)
"""Endings of files that may be a recording's, the best first."""
NAMED = 3
"""Recordings or files that a remark names."""


@dataclass(frozen=True)
class Media:
    """Files by composed stem, each stem's best kind only; `folder`: None where nobody looks for media."""

    folder: Path | None
    by_stem: dict[str, list[Path]]

    @classmethod
    def none(cls) -> Media:
        """Return no media at all."""
        return cls(None, {})

    @classmethod
    def of_folder(cls, folder: Path) -> Media:
        """Find the media below a folder; InputError where it is none."""
        if not folder.is_dir():
            raise InputError(f"--media {folder}: no such folder")
        files = []
        for parent, folders, names in os.walk(folder):
            folders.sort()
            files += [Path(parent, name) for name in sorted(names)]
        return cls.of_files(folder, files)

    @classmethod
    def of_files(cls, folder: Path, files: Iterable[Path]) -> Media:
        """Return the media among these files."""
        ranked: dict[str, dict[int, list[Path]]] = {}
        for file in files:
            rank = _rank(file)
            if rank is not None:
                ranked.setdefault(_composed(file.stem), {}).setdefault(rank, []).append(file)
        return cls(folder, {stem: kinds[min(kinds)] for stem, kinds in ranked.items()})

    def files_of(self, stems: Sequence[str]) -> list[Path]:
        """The files of the first of these stems that has some."""
        for stem in stems:
            if _composed(stem) in self.by_stem:
                return self.by_stem[_composed(stem)]
        return []

    def link(self, stems: Sequence[str], out: Path) -> str | None:
        """An address of a recording's medium that a page in the folder `out` can open; None where
        it has none, or several."""
        files = self.files_of(stems)
        if len(files) != 1 or _rank(files[0]) == ORDER.index(NOT_PLAYED):
            return None
        return address_of(files[0], out)

    def remarks(self, recordings: Sequence[ShownRecording]) -> list[str]:
        """Sentences on recordings without a medium, with several, or with one that browsers do not
        play."""
        if self.folder is None:
            return []
        missing, ambiguous, not_played = [], [], []
        for recording in recordings:
            files = self.files_of(recording.media_names)
            if not files:
                missing.append(recording.name)
            elif len(files) > 1:
                names = " and ".join(os.path.relpath(file, self.folder) for file in files[:NAMED])
                ambiguous.append(f"{recording.name} ({names})")
            elif _rank(files[0]) == ORDER.index(NOT_PLAYED):
                not_played.append(files[0])
        remarks = []
        if missing:
            remarks.append(
                f"{self.folder}: no video or sound of {_named(missing)} "
                "(files must be called like their recording)"
            )
        if ambiguous:
            remarks.append(f"{self.folder}: several files, so none is linked: {_named(ambiguous)}")
        if not_played:
            example = not_played[0]
            converted = example.with_suffix(".mp4")
            names = _named([file.name for file in not_played])
            remarks.append(
                f"{self.folder}: browsers do not play {names}; convert each, and run this again: "
                f'ffmpeg -i "{example}" -c:v libx264 -pix_fmt yuv420p -c:a aac "{converted}"'
            )
        return remarks


def _composed(name: str) -> str:
    """A name with each letter and its accents as one sign: macOS lists files with them apart."""
    return unicodedata.normalize("NFC", name)


def _rank(file: Path) -> int | None:
    """The place of a file's kind in ORDER; None for a file that is no medium."""
    for rank, endings in enumerate(ORDER):
        if file.suffix.lower() in endings:
            return rank
    return None


def _named(names: Sequence[str]) -> str:
    """`a, b and c`, or `12 recordings (a, b, c, …)`."""
    if len(names) <= NAMED:
        return ", ".join(names)
    return f"{counted(len(names), 'recording')} ({', '.join(names[:NAMED])}, …)"


def address_of(file: Path, folder: Path) -> str:
    """A file's address from a page in a folder, relative where there is a way from one to the other.

    Signs that mean something in an address (space, #, %, ?) are escaped."""
    file = file.resolve()
    try:
        way = os.path.relpath(file, folder.resolve())
    except ValueError:  # two drives of Windows
        return file.as_uri()
    path = PurePosixPath(Path(way).as_posix())
    # A name with a colon at the beginning would be taken for a scheme.
    begin = "" if path.parts[0] == ".." else "./"
    return begin + quote(os.fsencode(str(path)), safe="/")
