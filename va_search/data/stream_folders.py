"""Files of streams as people keep them, found without a description: which of them are one stream,
and which recordings there are.

Conventions: one part of every path is the recording's name (`egemaps/{recording}.csv`,
`{recording}/gsr.csv`), see `_streams`. A part that is a split
by its name is one (`{split}/physiology/{recording}.csv`). A file alone with a column that names
recordings holds all of them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from va_search.data.column_names import Roles, roles_of, words_of
from va_search.data.draft import OTHER_SPLITS
from va_search.data.guesses import LABEL_WORDS, subject_of
from va_search.data.problems import and_more
from va_search.data.readers import ALL_SUFFIXES, read_header, read_strings, suffix_of
from va_search.data.store import SPLITS
from va_search.data.stream_samples import RECORDING_NAMES, SEGMENT_NAMES
from va_search.data.streams_recordings import MUSE_NAMES, MUSE_SPLITS
from va_search.errors import InputError
from va_search.targets import AFFECT

MOST_FILES = 20_000
NUMBERED = 0.9
"""Share of the recordings' names that have a digit, where names are told by that."""
RECORDINGS = "recordings.csv"
LABEL_TAIL = re.compile(r"(?P<recording>.+?)[-_ .]+(?P<tail>[A-Za-z]+)")
TAIL = re.compile(r"[-_ .]+(?=[A-Za-z])")
MAC_COPIES = "__MACOSX"
"""The folder that macOS puts into archives; its files are of the Finder, with the names of others."""


@dataclass
class StreamFiles:
    """The files of one stream by recording, under a `pattern` as streams.yaml has it; one file, under
    the name "", where it holds all recordings. `header` is that of the first."""

    pattern: str
    files: dict[str, Path] = field(default_factory=dict)
    header: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        """True for one file of all recordings."""
        return "" in self.files

    @property
    def roles(self) -> Roles:
        """The roles of the columns."""
        return roles_of(self.header)

    @property
    def values(self) -> list[str]:
        """The columns of values: no bookkeeping, and nothing that names recordings or segments."""
        naming = {*RECORDING_NAMES, *SEGMENT_NAMES}
        return [name for name in self.roles.values if name not in naming]

    @property
    def recording_column(self) -> str | None:
        """The column that names recordings; None where no name says so."""
        named = [name for name in RECORDING_NAMES if name in self.header]
        return next(iter([*named, *self.roles.texts]), None)


@dataclass(frozen=True)
class StreamFolder:
    """A folder of streams. `listing` is its file of recordings, None where there is none; `rows` are
    then what one would say: recording, subject, split ("" where nothing tells it), and the folder
    where splits have other names there. `has_splits`: folders or columns say which recording is of
    which split."""

    path: Path
    streams: list[StreamFiles]
    listing: str | None
    rows: list[dict[str, str]]
    has_splits: bool


def look_through(source: Path) -> StreamFolder:
    """The streams of a folder, or of one file and the folder that it lies in; InputError where there
    are no data files, or nothing tells recordings apart."""
    folder = source.parent if source.is_file() else source
    paths = [source] if source.is_file() else list(data_files(source))
    listing = _listing(folder, paths)
    paths = [path for path in paths if listing is None or path != folder / listing]
    if not paths:
        raise InputError(f"{source}: no data files in it; read are {', '.join(ALL_SUFFIXES)}")
    streams = []
    for stream in _streams(folder, paths):
        streams += _whole_files(stream)
    for stream in streams:
        stream.header = tuple(read_header(next(iter(stream.files.values()))))
    names = Counter(name for stream in streams for name in stream.files)
    for stream in streams:
        name, path = next(iter(stream.files.items()))
        # A file alone holds all recordings, unless another stream has one of its name.
        if len(stream.files) > 1 or names[name] > 1:
            continue
        stream.pattern, stream.files = path.relative_to(folder).as_posix(), {"": path}
        if stream.recording_column is None:
            raise InputError(
                f"{path}: no column names the recording of each row, and no other file is called "
                "like it"
            )
    rows, has_splits = _rows(folder, streams)
    if not rows:
        raise InputError(f"{source}: nothing names a recording")
    if listing is not None:
        rows, has_splits = [], True
    return StreamFolder(folder, streams, listing, rows, has_splits)


def _whole_files(stream: StreamFiles) -> list[StreamFiles]:
    """The stream, or a stream for each of its files where these are of different things and each
    has a column that names recordings: `labels.csv` and `sound.csv` of all recordings."""
    headers = []
    for path in stream.files.values():
        header = tuple(read_header(path))
        if not {*RECORDING_NAMES} & {*header}:
            return [stream]
        headers.append(header)
    if len({*headers}) < 2:
        return [stream]
    files = []
    for name, path in stream.files.items():
        files.append(StreamFiles(stream.pattern, {name: path}))
    return files


def data_files(folder: Path) -> Iterator[Path]:
    """Yield the files of data below a folder, in the order of their names, without hidden ones and
    macOS's copies. InputError for more than `MOST_FILES`."""
    count = 0
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != MAC_COPIES
        )
        for name in sorted(names):
            if suffix_of(name) in ALL_SUFFIXES and not name.startswith("."):
                count += 1
                if count > MOST_FILES:
                    raise InputError(f"{folder}: more than {MOST_FILES:,} data files in it")
                yield Path(parent) / name


def _listing(folder: Path, paths: Sequence[Path]) -> str | None:
    """The file that lists the recordings: recordings.csv, or one with MuSe's columns."""
    if (folder / RECORDINGS).is_file():
        return RECORDINGS
    for path in paths:
        if suffix_of(path.name) not in {".csv", ".tsv"} or path.stat().st_size > 1 << 20:
            continue
        try:
            names = {name.lower() for name in read_header(path)}
        except InputError:
            continue  # told when it is read as a stream
        if names & {*MUSE_NAMES} and names & {*MUSE_SPLITS} and len(names) <= 3:
            return path.relative_to(folder).as_posix()
    return None


def _label_tails(paths: Sequence[Path]) -> dict[str, str]:
    """What stands behind the recording in names such as P01_valence and P01_sound, by the name; none
    where no names end with what their labels are called.

    Files of labels tell which names are recordings; others of these recordings have tails, too."""
    stems = dict.fromkeys(path.name.removesuffix(suffix_of(path.name)) for path in paths)
    recordings = set()
    for stem in stems:
        label = LABEL_TAIL.fullmatch(stem)
        if label is not None and label["tail"].lower() in LABEL_WORDS | {*AFFECT}:
            recordings.add(label["recording"])
    if len(recordings) < 2:
        return {}
    tails = {}
    for stem in stems:
        if stem in recordings:
            continue
        for start in TAIL.finditer(stem):
            # The shortest name that is a recording: what follows is the tail.
            if stem[: start.start()] in recordings:
                tails[stem] = stem[start.start() :]
                break
    return tails


def _streams(folder: Path, paths: Sequence[Path]) -> list[StreamFiles]:
    """Files by stream. The part of their paths that is the recording's has a digit in nearly all of
    its names, as names of feature sets have not; else it leaves the fewest patterns of the others;
    else it is the file's name."""
    divided = {path: path.relative_to(folder).parts for path in paths}
    tails = _label_tails(paths)
    deepest = max(map(len, divided.values()))
    best: dict[str, StreamFiles] = {}
    best_twice: list[tuple[str, Path, Path]] = []
    lowest = (2.0, 0)
    for position in range(-1, -deepest - 1, -1):
        streams: dict[str, StreamFiles] = {}
        names = set()
        twice = []
        for path, parts in divided.items():
            name, pattern = _pattern(parts, position, tails)
            files = streams.setdefault(pattern, StreamFiles(pattern)).files
            if name in files:
                twice.append((name, files[name], path))
            files[name] = path
            names.add(name)
        numbered = sum(any(map(str.isdigit, name)) for name in names)
        rank = (float(numbered < NUMBERED * len(names)), len(streams))
        if rank < lowest:
            best, lowest, best_twice = streams, rank, twice
    if best_twice:
        name, path, other = best_twice[0]
        splits = [part for part in other.parts if part.lower() in OTHER_SPLITS]
        raise InputError(
            f"{path} and {other}: both are recording {name!r}, in folders of two splits"
            f"{and_more(len(best_twice) - 1)}; give recordings names of their own, such as "
            f"{splits[-1]}_{name}"
        )
    return list(best.values())


def _pattern(parts: tuple[str, ...], position: int, tails: Mapping[str, str]) -> tuple[str, str]:
    """The recording's name, and the path's parts with it and its split in braces; the whole path
    twice where it has no such part. `tails` of files' names are none of the recording's."""
    if len(parts) < -position:
        return "/".join(parts), "/".join(parts)
    index = len(parts) + position
    pattern = []
    name = parts[index]
    for number, part in enumerate(parts):
        if number == index:
            suffix = ""
            if position == -1:
                suffix = part[len(part) - len(suffix_of(part)) :]
                name = part.removesuffix(suffix)
                suffix = tails.get(name, "") + suffix
                name = part.removesuffix(suffix)
            pattern.append("{recording}" + suffix)
        elif number < len(parts) - 1 and part.lower() in OTHER_SPLITS:
            pattern.append("{folder}")
        else:
            pattern.append(part)
    return name, "/".join(pattern)


def _rows(folder: Path, streams: Sequence[StreamFiles]) -> tuple[list[dict[str, str]], bool]:
    """What recordings.csv would say, and True where the splits are known; patterns get the column's
    name that the folders of splits need."""
    folders: dict[str, str] = {}
    for stream in streams:
        for name, path in stream.files.items():
            parts = path.relative_to(folder).parts[:-1]
            splits = [part for part in parts if part.lower() in OTHER_SPLITS]
            if name or not folders:
                folders.setdefault(name, splits[0] if splits else "")
    subjects: dict[str, str] = {}
    splits_of: dict[str, str] = {}
    for stream in streams:
        if stream.is_whole:
            _add_of_column(stream, subjects, splits_of)
    names = dict.fromkeys([*(name for name in folders if name), *subjects])
    uses_folders = any(place not in (*SPLITS, "") for place in folders.values())
    for stream in streams:
        column = "{folder}" if uses_folders else "{split}"
        stream.pattern = stream.pattern.replace("{folder}", column)
    rows = []
    for name in names:
        place = folders.get(name, "")
        written = splits_of.get(name, place)
        row = {
            "recording": name,
            "subject": subjects.get(name) or subject_of(name) or name,
            "split": OTHER_SPLITS.get(written.lower(), ""),
        }
        if uses_folders:
            row["folder"] = place
        rows.append(row)
    return rows, bool(splits_of) or any(folders.values())


def _add_of_column(stream: StreamFiles, subjects: dict[str, str], splits: dict[str, str]) -> None:
    """Note the recordings of one file of all, with the person and the split that columns of it
    name."""
    file = stream.files[""]
    column = stream.recording_column
    assert column is not None
    names = read_strings(file, column)
    people = stream.roles.subjects
    subject_of = dict(zip(names, read_strings(file, people[0]), strict=True)) if people else {}
    for name in dict.fromkeys(names):
        if name:
            subjects.setdefault(name, subject_of.get(name, ""))
    named = [name for name in stream.header if {"split", "partition"} & {*words_of(name)}]
    if named:
        splits |= dict(zip(names, read_strings(file, named[0]), strict=True))
