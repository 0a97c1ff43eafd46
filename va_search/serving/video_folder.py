"""The folder of predictions of videos, which grows file by file and is complete at every moment.

    OUT/<recording>.csv    time (seconds from the video's first frame), a column a target
    OUT/look/index.html    a page that shows the curves beside the videos, made last
    OUT/.submission.json   our mark: the ensemble, and of every recording what it was predicted from

Conventions: values are clipped to the targets' ranges and have 6 decimals. A file is written beside
its place, read back and compared; the mark names it before it appears, so that a file in the folder
is whole and ours. A recording whose key (its files, the ensemble, the recipe) is another is predicted
again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from va_search import __version__
from va_search.data.arrays import Floats
from va_search.data.time_texts import written_times
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError
from va_search.files import (
    file_hash,
    file_name_of,
    read_json,
    remove_folder,
    whole_file,
    write_json,
)
from va_search.seals import read_seal, sealed
from va_search.submission.folder import MARK, about_ensemble, check_sheet, may_write
from va_search.submission.formats import Sheet

VIDEOS = "predictions of videos"
"""Kind of the folder."""
TIME = "time"
PAGE = "look"
"""The folder of the page that shows the curves beside the videos."""
FEATURES = "features"
"""The store of features, where they are kept."""
SCRATCH = ".work"
HINT = "choose another --out"


@dataclass(frozen=True)
class VideoEntry:
    """The mark's facts of a recording: its `key`, its file, the rows of its CSV, its length and
    the offset of its player's clock in seconds, and its frames per second."""

    key: str
    video: str
    rows: int
    seconds: float
    offset: float
    rate: float


class VideoFolder:
    """The folder `out`, for predictions of one ensemble."""

    def __init__(self, out: Path, ensemble: Ensemble, *, replace: bool = False) -> None:
        """Look at what is there; InputError where that is anything but earlier predictions of
        videos by this ensemble, unchanged since (with `replace`: any output of ours)."""
        self.out = out
        self.ensemble = ensemble
        self.entries: dict[str, VideoEntry] = {}
        self._files: dict[str, str] = {}
        self._replace = replace
        if not self._read_mark():
            self._replaces()

    @property
    def scratch(self) -> Path:
        """The folder of scratch files, on the disk of the predictions."""
        return self.out / SCRATCH

    def _own_mark(self) -> dict[str, Any] | None:
        """The mark of earlier predictions of videos by this ensemble; None without one."""
        if not (self.out / MARK).is_file():
            return None
        mark = read_json(self.out / MARK)
        if not isinstance(mark, dict) or mark.get("kind") != VIDEOS:
            return None
        read_seal(self.out / MARK, mark, HINT)
        return mark if mark.get("ensemble") == self.ensemble.name else None

    def _replaces(self) -> bool:
        """True where an output of ours is in the way; InputError for anything else."""
        return may_write(self.out, self.ensemble.name, VIDEOS, replace=self._replace)

    def _read_mark(self) -> bool:
        """Take what the mark has; False where there is none of ours."""
        mark = self._own_mark()
        if mark is None:
            return False
        self._files = dict(mark["files"])
        self.entries = {name: VideoEntry(**entry) for name, entry in mark["videos"].items()}
        return True

    def begin(self) -> None:
        """Make the folder, whose lock the caller has; what was to be replaced goes."""
        # Another process may have gone on, or have come to its end, since the folder was looked at.
        if not self._read_mark() and self._replaces():
            remove_folder(self.out)
        # The mark comes first: without it the folder would be somebody else's.
        self._write_mark()
        remove_folder(self.scratch)
        self.scratch.mkdir()

    def check(self, names: list[str]) -> None:
        """InputError for files in the way: of these recordings, and not as we wrote them."""
        present = []
        for name in names:
            file = self.file_of(name)
            if file.exists() or file.is_symlink():
                present.append(file)
        # The mark names a file before it appears: read now, it has all that another process wrote.
        self._read_mark()
        problems = []
        for file in present:
            if file.name not in self._files:
                problems.append(f"{file}: there already, and not of va-search; {HINT}")
            elif not file.is_file() or file_hash(file) != self._files[file.name]:
                problems.append(f"{file}: changed since it was written; remove it, or {HINT}")
        if problems:
            raise InputError(*problems)

    def file_of(self, name: str) -> Path:
        """The CSV of a recording."""
        return self.out / f"{file_name_of(name)}.csv"

    def has(self, name: str, key: str) -> bool:
        """True where a recording is predicted from just this."""
        entry = self.entries.get(name)
        return entry is not None and entry.key == key and self.file_of(name).is_file()

    def add(self, name: str, entry: VideoEntry, times: Floats, values: Floats) -> None:
        """Write the predictions of one recording: (frames,) seconds and (frames, targets) values."""
        file = self.file_of(name)
        header = (TIME, *self.ensemble.target_names)
        sheet = Sheet(file.name, header, written_times(times, None), values)
        written = self.scratch / file.name
        with whole_file(written) as beside:
            sheet.write(beside)
            check_sheet(beside, sheet, self.ensemble.targets)
        # A kill after any of these steps leaves a file that the mark describes, or none.
        file.unlink(missing_ok=True)
        self._files[file.name] = file_hash(written)
        self.entries[name] = entry
        self._write_mark()
        os.replace(written, file)

    def remove(self, name: str) -> None:
        """Remove what was predicted of a recording."""
        if self.entries.pop(name, None) is not None:
            self.file_of(name).unlink(missing_ok=True)
            self._files.pop(self.file_of(name).name, None)
            self._write_mark()

    def end(self) -> None:
        """Remove the scratch files, and take what else was made (a page, a store) into the mark."""
        remove_folder(self.scratch)
        own = {file.name for file in map(self.file_of, self.entries)}
        self._files = {name: self._files[name] for name in own if name in self._files}
        made = [*(self.out / PAGE).rglob("*"), *(self.out / FEATURES).rglob("*")]
        for path in sorted(made):
            if path.is_file():
                self._files[path.relative_to(self.out).as_posix()] = file_hash(path)
        self._write_mark()

    def _write_mark(self) -> None:
        mark = {
            **about_ensemble(self.ensemble, VIDEOS),
            "format": "recordings",
            "package_version": __version__,
            "videos": {name: vars(self.entries[name]) for name in sorted(self.entries)},
            "files": {name: self._files[name] for name in sorted(self._files)},
        }
        write_json(self.out / MARK, sealed(mark, {}))

    def read(self, name: str) -> tuple[Floats, Floats]:
        """(frames,) seconds and (frames, targets) values of a recording's file."""
        numbers = np.loadtxt(self.file_of(name), delimiter=",", skiprows=1, ndmin=2)
        return numbers[:, 0], numbers[:, 1:]
