"""What a `table` source says of itself: dataset.yaml and recordings.csv, checked whole before any
recording is read.

dataset.yaml: name, label_range, frames_per_second, time_column, time_unit, features (name ->
{modality, columns}) and ignored_columns. recordings.csv: recording, subject, split; and if wanted
fold, rows, frames_per_second, video (recordings of one video) and stimulus (ignored: people who
watched one clip are not in one video)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from va_search.data.clock import TimeColumn
from va_search.data.column_names import SPELLINGS, UNITS, unit_of
from va_search.data.csv_reader import EMPTY, SEPARATORS, separator_of
from va_search.data.draft import Source, check_sources
from va_search.data.frame_names import MEDIA
from va_search.data.nearby import plain
from va_search.data.problems import NAMES_COMPARED, PROBLEMS_OF_A_FILE, listed, unknown_column
from va_search.data.readers import TABLE_SUFFIXES, read_header, read_texts
from va_search.document import number_hint, yaml_document
from va_search.errors import InputError, counted, nearest_name, unknown_name
from va_search.files import checked_name
from va_search.metrics import DIMENSIONS

REQUIRED = ("recording", "subject", "split")
OPTIONAL = ("fold", "rows", "frames_per_second", "video", "stimulus")
SUFFIXES = TABLE_SUFFIXES
STRANGERS_SHOWN = 20
WHOLE = re.compile(r"(\d+)(\.0*)?")
"""A whole number, as pandas writes it too: 3 or 3.0."""
OTHER_KEYS = {
    "fps": "frames_per_second", "frame_rate": "frames_per_second", "framerate": "frames_per_second",
    "rate": "frames_per_second", "sampling_rate": "frames_per_second", "sample_rate": "frames_per_second",
    "hz": "frames_per_second", "range": "label_range", "labels": "label_range", "scale": "label_range",
    "time": "time_column", "timestamp": "time_column", "unit": "time_unit", "units": "time_unit",
    "ignore": "ignored_columns", "ignored": "ignored_columns", "feature_sets": "features",
}  # fmt: skip
"""What people write for a key of dataset.yaml that is spelled otherwise."""
FrameRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Features(BaseModel):
    """One feature set of dataset.yaml."""

    model_config = ConfigDict(extra="forbid")
    modality: str = Field(min_length=1)
    columns: list[str] = Field(min_length=1)


class Dataset(BaseModel):
    """dataset.yaml. `label_range` is the scale of both dimensions; `time_unit` is needed where the
    frame rate can't confirm the unit of `time_column` (clock.py)."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    label_range: tuple[float, float]
    frames_per_second: FrameRate | None = None
    time_column: str | None = None
    time_unit: str | None = None
    features: dict[str, Features] = Field(min_length=1)
    ignored_columns: list[str] = []

    @field_validator("label_range")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"`low < high` must hold, but got [{low:g}, {high:g}]")
        return value

    @field_validator("time_unit")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is not None and value not in UNITS:
            near = nearest_name(value.lower(), UNITS)
            hint = "" if near is None else f"; did you mean {UNITS[near]!r}?"
            raise ValueError(f"expected one of {', '.join(SPELLINGS)}{hint}")
        return UNITS[value] if value is not None else None

    @field_validator("features")
    @classmethod
    def _safe_names(cls, value: dict[str, Features]) -> dict[str, Features]:
        for name in value:
            try:
                checked_name(name, "feature set")
            except InputError as error:
                raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _columns_once(self) -> Dataset:
        own = [name for features in self.features.values() for name in features.columns]
        own += [
            *DIMENSIONS,
            *self.ignored_columns,
            *([self.time_column] if self.time_column else []),
        ]
        twice = sorted(name for name, count in Counter(own).items() if count > 1)
        if twice:
            raise ValueError(
                f"column {listed(twice, PROBLEMS_OF_A_FILE)} is in two places; a column belongs to one feature "
                f"set, or is the time column, an ignored column or a label ({', '.join(DIMENSIONS)})"
            )
        return self

    @model_validator(mode="after")
    def _unit_of_a_column(self) -> Dataset:
        if self.time_unit is not None and self.time_column is None:
            raise ValueError("time_unit is given and time_column is not; give both, or neither")
        return self

    @property
    def clock(self) -> TimeColumn | None:
        """The time column and its unit as declared, or as the column's name has it; None without a
        time column."""
        if self.time_column is None:
            return None
        return TimeColumn(self.time_column, self.time_unit or unit_of(self.time_column))

    @property
    def columns(self) -> list[str]:
        """Columns of all feature sets, in order."""
        return [name for features in self.features.values() for name in features.columns]


@dataclass(frozen=True)
class TableSource(Source):
    """A recording of a `table` source, with the rows that recordings.csv promises."""

    rows: int | None = None


def read_dataset(path: Path) -> Dataset:
    """dataset.yaml, validated whole; InputError with every problem and its line."""
    with yaml_document(path) as (document, lines):
        if not isinstance(document, dict):
            raise InputError(
                f"{path}: expected keys ({', '.join(Dataset.model_fields)}), found {document!r}"
            )
        try:
            return Dataset.model_validate(document)
        except ValidationError as error:
            raise InputError(
                *(_explain(path, lines, problem) for problem in error.errors())
            ) from error


def _explain(path: Path, lines: dict[tuple[str | int, ...], int], problem: Any) -> str:
    at = problem["loc"]
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), 1)
    place, key = f"{path}:{line}", ".".join(map(str, at))
    if problem["type"] == "extra_forbidden":
        known = Features.model_fields if at[0] == "features" else Dataset.model_fields
        meant = OTHER_KEYS.get(str(at[-1]).lower())
        if meant in known:
            return f"{place}: unknown key {at[-1]!r}; did you mean {meant!r}? (known: {', '.join(sorted(known))})"
        return f"{place}: " + unknown_name("key", at[-1], known)
    if problem["type"] == "missing":
        return f"{place}: key {key!r} is missing"
    text = problem["msg"].removeprefix("Value error, ")
    found = problem["input"]
    if problem["type"] == "string_type" and isinstance(found, str | int | float):
        # YAML reads 010, 1:30, no and 1.0 as other values than the file's names have.
        return f"{place}: {key}: YAML reads a name without quotes as {found!r}; put it in quotes, as the files have it"
    shown = (
        f", found {found!r}{number_hint(found)}"
        if isinstance(found, str | int | float | None)
        else ""
    )
    return f"{place}: {key + ': ' if key else ''}{text}{shown}"


@dataclass
class Listing:
    """What recordings.csv names: recordings in its order, warnings, and everything wrong, with its
    line."""

    recordings: list[TableSource] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_recordings(source: Path, dataset: Dataset | None) -> Listing:
    """Read recordings.csv and find the recordings' files; without a dataset (it is wrong) frame
    rates are not asked."""
    path = source / "recordings.csv"
    listing = Listing()
    try:
        rows, lines = _rows_of(path)
    except InputError as error:
        listing.problems = error.problems
        return listing
    unused = [name for name in rows[0] if name not in (*REQUIRED, *OPTIONAL)]
    listing.problems += _misspelled(path, unused)
    listing.warnings = [f"{path}: column {name!r} is not used" for name in unused]
    if separator_of(path) != ",":
        listing.warnings.append(f"{path}: cells are separated by {SEPARATORS[separator_of(path)]}")
    if not (source / "recordings").is_dir():
        listing.problems.append(
            f"{source / 'recordings'}: no such folder, expected one CSV or Parquet file per recording there"
        )
        return listing
    folder = Folder.of(source / "recordings")
    first: dict[str, int] = {}
    without_rate: list[int] = []
    for row, line in zip(rows, lines, strict=True):
        try:
            recording = _recording(folder, dataset, row)
        except InputError as error:
            listing.problems += [f"{path}:{line}: {problem}" for problem in error.problems]
            continue
        if math.isnan(recording.frames_per_second):
            without_rate.append(line)
        rated = recording if dataset else replace(recording, frames_per_second=1.0)
        listing.problems += [f"{path}:{line}: {problem}" for problem in check_sources([rated])]
        if recording.name in first:
            listing.problems.append(
                f"{path}:{line}: recording {recording.name!r} is in line {first[recording.name]} already"
            )
        first.setdefault(recording.name, line)
        listing.recordings.append(recording)
    if without_rate and dataset is not None:
        more = (
            f" (and {counted(len(without_rate) - 1, 'more row')})" if len(without_rate) > 1 else ""
        )
        listing.problems.append(
            f"{path}:{without_rate[0]}: no frames_per_second here nor in dataset.yaml{more}; give it in one of them"
        )
    for column in ("subject", "video"):
        cells = [(row.get(column, ""), line) for row, line in zip(rows, lines, strict=True)]
        listing.problems += two_spellings(path, column, cells)
    listing.warnings += _strangers(folder, listing.recordings)
    return listing


def _misspelled(path: Path, unused: list[str]) -> list[str]:
    """Problems for columns that are one of `OPTIONAL` in another spelling: `fps`, `Fold`,
    `frame_rate`."""
    problems = []
    for name in unused:
        meant = OTHER_KEYS.get(name.lower())
        same = [known for known in OPTIONAL if known == meant or plain(known) == plain(name)]
        if same:
            problems.append(
                f"{path}:1: column {name!r} is not read; did you mean {same[0]!r}? Call it so, or take it out"
            )
    return problems


def _rows_of(path: Path) -> tuple[list[dict[str, str]], list[int]]:
    """The rows of recordings.csv and their lines; InputError where columns or all rows are
    missing."""
    header = read_header(path)
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InputError(*(f"{path}: {unknown_column(name, header)}" for name in missing))
    rows, lines = read_texts(path)
    if not rows:
        raise InputError(f"{path}: a header and no rows, expected one row per recording")
    return rows, lines


@dataclass(frozen=True)
class Folder:
    """The folder of the recordings' files; `names` are all files in it."""

    path: Path
    names: frozenset[str]

    @classmethod
    def of(cls, path: Path) -> Folder:
        """List the folder once."""
        return cls(path, frozenset(file.name for file in path.iterdir() if file.is_file()))

    def files(self, name: str) -> list[str]:
        """Names of the files of a recording of this name."""
        return [name + suffix for suffix in SUFFIXES if name + suffix in self.names]


def _recording(folder: Folder, dataset: Dataset | None, row: dict[str, str]) -> TableSource:
    """One row of recordings.csv; InputError with everything wrong in it."""
    row = {
        column: "" if column in OPTIONAL and cell in EMPTY else cell for column, cell in row.items()
    }
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
            file = _file_of(folder, checked_name(name, "recording"))
    except InputError as error:
        problems += error.problems
    fold = _whole(row, "fold", problems)
    rows = _whole(row, "rows", problems)
    rate = _frame_rate(row, dataset, problems)
    if problems:
        problems += [problem for problem in _split_problem(row["split"]) if row["split"]]
        raise InputError(*problems)
    video = row.get("video") or name
    return TableSource(
        name, row["subject"], video, row["split"], fold, rate, (file.resolve(),), rows
    )


def _split_problem(split: str) -> list[str]:
    rated = Source("", "", "", split, None, 1.0, ())
    return [problem.removeprefix("recording '': ") for problem in check_sources([rated])]


def _file_of(folder: Folder, name: str) -> Path:
    files = folder.files(name)
    if len(files) == 1:
        return folder.path / files[0]
    names = " or ".join(name + suffix for suffix in SUFFIXES)
    found = "there are both; keep one" if files else f"there is none{_like_named(folder, name)}"
    raise InputError(f"recording {name!r}: expected {names} in {folder.path}, {found}")


def _like_named(folder: Folder, name: str) -> str:
    """The file that may be meant, and why it has another name; nothing where none is alike."""
    stems = {
        Path(file).stem: file for file in sorted(folder.names) if Path(file).suffix in SUFFIXES
    }
    other = sorted(
        file
        for file in folder.names
        if file.startswith(name + ".") and Path(file).stem not in stems
    )
    if other:
        return f"; {other[0]} is there, which is not read: write it as CSV or Parquet"
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
    seen: dict[str | float, tuple[str, int]] = {}
    refused: set[str] = set()
    for name, line in cells:
        number = _number_in(name)
        key: str | float = name.casefold() if number is None else number
        spelling, before = seen.setdefault(key, (name, line))
        if spelling != name and name not in refused:
            refused.add(name)
            problems.append(
                f"{path}:{line}: {column} {name!r}, but {spelling!r} in line {before}; the same {column}? Write it "
                "alike, or give names that differ in more than case, zeros or .0"
            )
    return problems


DIGITS = 9
"""Of a whole number that a store keeps in 32 bits."""


def _whole(row: dict[str, str], column: str, problems: list[str]) -> int | None:
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


def _strangers(folder: Folder, recordings: list[TableSource]) -> list[str]:
    """Warnings for data files that no row of recordings.csv names."""
    known = {recording.files[0].name for recording in recordings}
    strangers = [
        name for name in sorted(folder.names) if Path(name).suffix in SUFFIXES and name not in known
    ]
    texts = [
        f"{folder.path / name}: no row in recordings.csv, so not imported"
        for name in strangers[:STRANGERS_SHOWN]
    ]
    if len(strangers) > STRANGERS_SHOWN:
        texts.append(
            f"{folder.path}: {len(strangers) - STRANGERS_SHOWN} more files without a row in recordings.csv"
        )
    return texts
