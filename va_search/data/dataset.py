"""What a `table` source says of itself: dataset.yaml and recordings.csv, checked whole before any recording is read.

dataset.yaml: name, label_range, frames_per_second, time_column, features (name -> {modality, columns}) and
ignored_columns. recordings.csv: recording, subject, split; and if wanted fold, rows, frames_per_second, video
(recordings of one video) and stimulus (ignored: people who watched one clip are not in one video).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from va_search.data.draft import Source, check_sources
from va_search.data.importing import refuse
from va_search.data.sheet import read_header, read_texts
from va_search.document import number_hint, yaml_document
from va_search.errors import InputError, unknown_name
from va_search.files import checked_name
from va_search.metrics import DIMENSIONS

REQUIRED = ("recording", "subject", "split")
OPTIONAL = ("fold", "rows", "frames_per_second", "video", "stimulus")
SUFFIXES = (".csv", ".parquet")
FrameRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Features(BaseModel):
    """One feature set of dataset.yaml."""

    model_config = ConfigDict(extra="forbid")
    modality: str = Field(min_length=1)
    columns: list[str] = Field(min_length=1)


class Dataset(BaseModel):
    """dataset.yaml. `label_range` is the scale of both dimensions; `time_column` may be in s, ms, µs, ns or frames."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1)
    label_range: tuple[float, float]
    frames_per_second: FrameRate | None = None
    time_column: str | None = None
    features: dict[str, Features] = Field(min_length=1)
    ignored_columns: list[str] = []

    @field_validator("label_range")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        low, high = value
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"`low < high` must hold, but got [{low:g}, {high:g}]")
        return value

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
        own += [*DIMENSIONS, *self.ignored_columns, *([self.time_column] if self.time_column else [])]
        twice = sorted({name for name in own if own.count(name) > 1})
        if twice:
            raise ValueError(
                f"column {', '.join(map(repr, twice))} stands in two places; a column belongs to one feature set, "
                f"or is the time column, an ignored column or a label ({', '.join(DIMENSIONS)})"
            )
        return self

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
            raise InputError(f"{path}: expected keys ({', '.join(Dataset.model_fields)}), found {document!r}")
        try:
            return Dataset.model_validate(document)
        except ValidationError as error:
            raise InputError(*(_explain(path, lines, problem) for problem in error.errors())) from error


def _explain(path: Path, lines: dict[tuple[str | int, ...], int], problem: Any) -> str:
    at = problem["loc"]
    line = next((lines[at[:n]] for n in range(len(at), 0, -1) if at[:n] in lines), 1)
    place, key = f"{path}:{line}", ".".join(map(str, at))
    if problem["type"] == "extra_forbidden":
        known = Features.model_fields if at[0] == "features" else Dataset.model_fields
        return f"{place}: " + unknown_name("key", at[-1], known)
    if problem["type"] == "missing":
        return f"{place}: key {key!r} is missing"
    text = problem["msg"].removeprefix("Value error, ")
    found = problem["input"]
    shown = f", found {found!r}{number_hint(found)}" if isinstance(found, str | int | float | None) else ""
    return f"{place}: {key + ': ' if key else ''}{text}{shown}"


def read_recordings(source: Path, dataset: Dataset) -> tuple[list[TableSource], list[str]]:
    """The recordings of recordings.csv in its order, and warnings; InputError with every problem and its line."""
    path = source / "recordings.csv"
    header = read_header(path)
    missing = [f"{path}: " + unknown_name("column", name, header) for name in REQUIRED if name not in header]
    if missing:
        raise InputError(*missing)
    unused = [name for name in header if name not in (*REQUIRED, *OPTIONAL)]
    warnings = [f"{path}: column {name!r} is not used" for name in unused]
    rows, lines = read_texts(path)
    if not rows:
        raise InputError(f"{path}: a header and no rows, expected one row per recording")
    if not (source / "recordings").is_dir():
        raise InputError(
            f"{source / 'recordings'}: no such folder, expected one CSV or Parquet file per recording there"
        )
    recordings, problems = [], []
    first: dict[str, int] = {}
    for row, line in zip(rows, lines, strict=True):
        try:
            recording = _recording(source, dataset, row)
        except InputError as error:
            problems += [f"{path}:{line}: {problem}" for problem in error.problems]
            continue
        problems += [f"{path}:{line}: {problem}" for problem in check_sources([recording])]
        if recording.name in first:
            problems.append(
                f"{path}:{line}: recording {recording.name!r} stands in line {first[recording.name]} already"
            )
        first.setdefault(recording.name, line)
        recordings.append(recording)
    refuse(problems)
    return recordings, warnings + _strangers(source / "recordings", recordings)


def _recording(source: Path, dataset: Dataset, row: dict[str, str]) -> TableSource:
    """One row of recordings.csv; InputError with everything wrong in it."""
    problems = [f"{name} is empty" for name in REQUIRED if not row[name]]
    name = row["recording"]
    file = Path()
    try:
        if name:
            file = _file_of(source / "recordings", checked_name(name, "recording"))
    except InputError as error:
        problems += error.problems
    fold = _whole(row, "fold", problems)
    rows = _whole(row, "rows", problems)
    rate = _frame_rate(row, dataset, problems)
    if problems:
        raise InputError(*problems)
    video = row.get("video") or name
    return TableSource(name, row["subject"], video, row["split"], fold, rate, (file.resolve(),), rows)


def _file_of(folder: Path, name: str) -> Path:
    files = [folder / (name + suffix) for suffix in SUFFIXES if (folder / (name + suffix)).is_file()]
    if len(files) == 1:
        return files[0]
    names = " or ".join(name + suffix for suffix in SUFFIXES)
    found = "there are both; keep one" if files else "there is none"
    raise InputError(f"recording {name!r}: expected {names} in {folder}, {found}")


def _whole(row: dict[str, str], column: str, problems: list[str]) -> int | None:
    text = row.get(column, "")
    if text and not text.isdecimal():
        problems.append(f"{column} {text!r}, expected a whole number from 0")
        return None
    return int(text) if text else None


def _frame_rate(row: dict[str, str], dataset: Dataset, problems: list[str]) -> float:
    text = row.get("frames_per_second", "")
    try:
        rate = float(text) if text else (dataset.frames_per_second or math.nan)
    except ValueError:
        rate = -1.0
    if math.isnan(rate):
        problems.append("no frames_per_second here nor in dataset.yaml; give it in one of them")
    elif not 0 < rate < math.inf:
        problems.append(f"frames_per_second {text!r}, expected a number above 0")
    return rate


def _strangers(folder: Path, recordings: list[TableSource]) -> list[str]:
    """Warnings for data files that no row of recordings.csv names."""
    known = {recording.files[0].name for recording in recordings}
    found = sorted(file.name for file in folder.iterdir() if file.suffix in SUFFIXES)
    return [f"{folder / name}: no row in recordings.csv, so not imported" for name in found if name not in known]
