"""The recordings of a `table` source: recordings.csv, checked whole before any recording is read.

recording, subject, split; and if wanted fold, rows, frames_per_second, video (recordings of one
video) and stimulus (what was watched: people who watched one clip are not in one video)."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from va_search.data.csv_reader import separator_of
from va_search.data.dataset import OTHER_KEYS, Dataset
from va_search.data.draft import Source, check_sources
from va_search.data.frame_names import MEDIA
from va_search.data.nearby import plain
from va_search.data.problems import NAMES_COMPARED, unknown_column
from va_search.data.readers import (
    TABLE_SUFFIXES,
    USUAL_SUFFIXES,
    read_header,
    read_texts,
    suffix_of,
)
from va_search.data.stimuli import Stimuli
from va_search.data.text_layout import EMPTY, SEPARATORS
from va_search.errors import InputError, counted, nearest_name
from va_search.files import file_name_of

REQUIRED = ("recording", "subject", "split")
LISTING = "recordings.csv"
OPTIONAL = ("fold", "rows", "frames_per_second", "video", "stimulus")
UNNAMED_SHOWN = 20
WHOLE = re.compile(r"(\d+)(\.0*)?")
"""A whole number, as pandas writes it too: 3 or 3.0."""
DIGITS = 9
"""Digits at most of a whole number that a store keeps in 32 bits."""


@dataclass(frozen=True)
class TableSource(Source):
    """A recording of a `table` source, with the rows that recordings.csv promises."""

    rows: int | None = None


@dataclass
class Listing:
    """Recordings that recordings.csv names, in its order, and where it has their stimuli; warnings;
    and everything wrong, with its line."""

    recordings: list[TableSource] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stimuli: Stimuli = field(default_factory=Stimuli)


def read_recordings(source: Path, dataset: Dataset | None) -> Listing:
    """Read recordings.csv and find the recordings' files; without a dataset (it is wrong) frame
    rates are not asked."""
    path = source / "recordings.csv"
    listing = Listing()
    try:
        rows = _rows_of(path)
    except InputError as error:
        listing.problems = error.problems
        return listing
    declared = dataset.stimulus if dataset else None
    try:
        listing.stimuli = Stimuli.of(path, [row for row, _ in rows], declared, "dataset.yaml")
    except InputError as error:
        listing.problems += error.problems
    used = (*REQUIRED, *OPTIONAL, *listing.stimuli.columns)
    unused = [name for name in rows[0][0] if name not in used]
    listing.problems += _misspelled(path, unused)
    listing.warnings = [f"{path}: column {name!r} is not used" for name in unused]
    listing.warnings += listing.stimuli.remarks
    if separator_of(path) != ",":
        listing.warnings.append(f"{path}: cells are separated by {SEPARATORS[separator_of(path)]}")
    place = source / ((dataset and dataset.folder) or "recordings")
    if not place.is_dir():
        listing.problems.append(
            f"{place}: no such folder, expected one CSV or Parquet file per recording there"
        )
        return listing
    is_named = dataset is not None and dataset.folder is not None
    folder = RecordingsFolder.of(place, deep=is_named)
    _list_rows(listing, folder, dataset, path, rows)

    # A person or video with two spellings would count as two, in folds and normalisation.
    for column in ("subject", "video", *listing.stimuli.used):
        cells = [(row.get(column, ""), line) for row, line in rows]
        listing.problems += two_spellings(path, column, cells)
    listing.warnings += _unnamed(folder, listing.recordings)
    return listing


def _list_rows(
    listing: Listing,
    folder: RecordingsFolder,
    dataset: Dataset | None,
    path: Path,
    rows: list[tuple[dict[str, str], int]],
) -> None:
    """Add each row's recording to the listing, and what is wrong with the row; `rows` come with
    their lines in the file at `path`."""
    line_of: dict[str, int] = {}
    lines_of: dict[str, list[int]] = {}
    without_rate: list[int] = []
    for row, line in rows:
        try:
            recording = _recording(folder, dataset, row, listing.stimuli)
        except InputError as error:
            listing.problems += [f"{path}:{line}: {problem}" for problem in error.problems]
            continue
        if math.isnan(recording.frames_per_second):
            without_rate.append(line)
        rated = recording
        if dataset is None:  # then the rate is unknown, and no problem of this file
            rated = replace(recording, frames_per_second=1.0)
        for problem in check_sources([rated]):
            # One message for all rows with it: all may call a split alike.
            kind = problem.removeprefix(f"recording {recording.name!r}: ")
            lines_of.setdefault(kind, []).append(line)
            if len(lines_of[kind]) == 1:
                listing.problems.append(f"{path}:{line}: {problem}")
        if recording.name in line_of:
            listing.problems.append(
                f"{path}:{line}: recording {recording.name!r} is in line {line_of[recording.name]} already"
            )
        line_of.setdefault(recording.name, line)
        listing.recordings.append(recording)

    for kind, lines in lines_of.items():
        if len(lines) > 1:
            also = f" (and {counted(len(lines) - 1, 'more row')})"
            listing.problems = [
                problem + also if problem.endswith(kind) else problem
                for problem in listing.problems
            ]

    # One message for all rows: the rate is usually missing everywhere.
    if without_rate and dataset is not None:
        also = ""
        if len(without_rate) > 1:
            also = f" (and {counted(len(without_rate) - 1, 'more row')})"
        listing.problems.append(
            f"{path}:{without_rate[0]}: no frames_per_second here nor in dataset.yaml{also}; give it in one of them"
        )


def _misspelled(path: Path, unused: list[str]) -> list[str]:
    """Problems for columns that are one of `OPTIONAL` in another spelling: `fps`, `Fold`,
    `frame_rate`."""
    problems = []
    for name in unused:
        synonym = OTHER_KEYS.get(name.lower())
        meant = [key for key in OPTIONAL if key == synonym or plain(key) == plain(name)]
        if meant:
            problems.append(
                f"{path}:1: column {name!r} is not read; did you mean {meant[0]!r}? Call it so, or take it out"
            )
    return problems


def _rows_of(path: Path) -> list[tuple[dict[str, str], int]]:
    """The rows of recordings.csv with their lines; InputError where columns or all rows are
    missing."""
    header = read_header(path)
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(*(f"{path}: {unknown_column(name, header)}" for name in missing))
    rows, lines = read_texts(path)
    if not rows:
        raise InputError(f"{path}: a header and no rows, expected one row per recording")
    return list(zip(rows, lines, strict=True))


@dataclass(frozen=True)
class RecordingsFolder:
    """The folder of the recordings' files; `names` are all files in it, those in folders below it
    by their paths from here, but for those in hidden folders."""

    path: Path
    names: frozenset[str]

    @classmethod
    def of(cls, path: Path, *, deep: bool = False) -> RecordingsFolder:
        """List the folder once; `deep`: with the folders below it."""
        names = set()
        for file in path.rglob("*") if deep else path.iterdir():
            *folders, _ = file.relative_to(path).parts
            if file.is_file() and not any(name.startswith(".") for name in folders):
                names.add(file.relative_to(path).as_posix())
        return cls(path, frozenset(names))

    @property
    def tables(self) -> list[str]:
        """Names of the files that may be recordings, sorted; not the list of recordings itself."""
        names = sorted(self.names - {LISTING})
        return [name for name in names if suffix_of(name) in TABLE_SUFFIXES]

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The files of each name without folders."""
        files: dict[str, list[str]] = {}
        for name in sorted(self.names):
            files.setdefault(name.rpartition("/")[2], []).append(name)
        return files

    def files(self, name: str) -> list[str]:
        """Names of the files of a recording of this name, which may be a path from here."""
        stems = dict.fromkeys((name, file_name_of(name)))
        files: list[str] = []
        for stem in stems:
            for suffix in TABLE_SUFFIXES:
                candidate = stem + suffix
                own = [candidate] if candidate in self.names else self._by_name.get(candidate, [])
                files += [file for file in own if file not in files]
        return files


def _recording(
    folder: RecordingsFolder, dataset: Dataset | None, row: dict[str, str], stimuli: Stimuli
) -> TableSource:
    """One row of recordings.csv; InputError with everything wrong in it."""
    # Spellings of a missing value count as empty, but for names: a person may be called NA.
    row = dict(row)
    for column in OPTIONAL:
        if row.get(column) in EMPTY:
            row[column] = ""
    problems = [f"{name} is empty" for name in REQUIRED if not row[name]]
    if row["subject"].lower() == "nan":
        problems.append(
            "subject is 'nan': a missing value that pandas wrote? Give the person's name"
        )
    name = row["recording"]
    if name and not folder.files(name) and folder.files(MEDIA.sub("", name)):
        name = MEDIA.sub("", name)  # v1.mp4 is the recording whose features lie in v1.csv
    file = Path()
    try:
        if name:
            file = _file_of(folder, name)
    except InputError as error:
        problems += error.problems
    fold = _whole(row, "fold", problems)
    rows = _whole(row, "rows", problems)
    rate = _frame_rate(row, dataset, problems)
    if problems:
        if row["split"]:
            problems += _split_problem(row["split"])
        raise InputError(*problems)
    video = row.get("video") or name
    return TableSource(
        name,
        row["subject"],
        video,
        row["split"],
        fold,
        rate,
        (file.resolve(),),
        rows,
        stimulus=stimuli.of_row(row),
    )


def _split_problem(split: str) -> list[str]:
    rated = Source("", "", "", split, None, 1.0, ())
    return [problem.removeprefix("recording '': ") for problem in check_sources([rated])]


def _file_of(folder: RecordingsFolder, name: str) -> Path:
    files = folder.files(name)
    if len(files) == 1:
        return folder.path / files[0]
    formats = ", ".join(suffix for suffix in USUAL_SUFFIXES if suffix in TABLE_SUFFIXES)
    problem = f"there are {' and '.join(files)}; keep one"
    if not files:
        problem = f"there is none{_like_named(folder, name)}"
    raise InputError(
        f"recording {name!r}: expected {name}.csv (or {formats}) in {folder.path}, {problem}"
    )


def _like_named(folder: RecordingsFolder, name: str) -> str:
    """The file that may be meant, and why it has another name; nothing where none is alike."""
    # The file of another format, then another spelling of a number or of letters, then the nearest.
    stems = {Path(file).stem: file for file in folder.tables}
    for file in sorted(folder.names):
        if file.startswith(name + ".") and Path(file).stem not in stems:
            return f"; {file} is there, which is not read: write it as CSV or Parquet"
    for stem, file in stems.items():
        if _number_in(stem) is not None and _number_in(stem) == _number_in(name):
            return (
                f", but {file}: a spreadsheet or pandas reads {stem} as a number and writes {name}; write {stem} in "
                "recordings.csv (pandas: dtype=str)"
            )
        if stem.casefold().strip() == name.casefold().strip():
            return f", but {file}: write {stem} in recordings.csv"
    near = nearest_name(name, stems, most=NAMES_COMPARED)
    return "" if near is None else f"; did you mean {near!r}?"


def _number_in(name: str) -> float | None:
    """The number that a name is to a spreadsheet: 1 for 1, 001 and 1.0; None for other names."""
    return float(name) if re.fullmatch(r"\d+(\.\d*)?", name) else None


def two_spellings(path: Path, column: str, cells: Sequence[tuple[str, int]]) -> list[str]:
    """Problems where one name has two spellings: 1 and 1.0, 01 and 1, s1 and S1 would count as two.

    `cells` are texts of `column` with their lines.
    """
    problems = []
    spellings: dict[str | float, tuple[str, int]] = {}
    refused: set[str] = set()
    for name, line in cells:
        number = _number_in(name)
        key: str | float = name.casefold() if number is None else number
        spelling, line_before = spellings.setdefault(key, (name, line))
        if spelling != name and name not in refused:
            refused.add(name)
            problems.append(
                f"{path}:{line}: {column} {name!r}, but {spelling!r} in line {line_before}; the same {column}? Write "
                "it alike, or give names that differ in more than case, zeros or .0"
            )
    return problems


def _whole(row: dict[str, str], column: str, problems: list[str]) -> int | None:
    """A whole number of a row; None where the cell is empty, or wrong, which then is noted."""
    text = row.get(column, "")
    match = WHOLE.fullmatch(text)
    if text and (not match or len(match[1]) > DIGITS):
        problems.append(
            f"{column} {text!r}, expected a whole number from 0, of at most {DIGITS} digits"
        )
        return None
    return int(match[1]) if match else None


def _frame_rate(row: dict[str, str], dataset: Dataset | None, problems: list[str]) -> float:
    """The recording's frames per second; NaN where neither its row nor dataset.yaml has them."""
    text = row.get("frames_per_second", "")
    if not text:
        return (dataset.frames_per_second if dataset else None) or math.nan
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 < rate < math.inf:
        problems.append(f"frames_per_second {text!r}, expected a number above 0")
    return rate


def _unnamed(folder: RecordingsFolder, recordings: list[TableSource]) -> list[str]:
    """Warnings for data files that no row of recordings.csv names."""
    named = {recording.files[0] for recording in recordings}
    unnamed = [name for name in folder.tables if (folder.path / name).resolve() not in named]
    texts = [
        f"{folder.path / name}: no row in recordings.csv, so not imported"
        for name in unnamed[:UNNAMED_SHOWN]
    ]
    if len(unnamed) > UNNAMED_SHOWN:
        texts.append(
            f"{folder.path}: {len(unnamed) - UNNAMED_SHOWN} more files without a row in recordings.csv"
        )
    return texts
