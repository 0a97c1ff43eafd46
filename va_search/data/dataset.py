"""Descriptions of a `table` source: dataset.yaml and recordings.csv, checked whole before any
recording is read.

dataset.yaml: name, targets (name -> [low, high], or {range: [low, high], column: name}, or with
`raters`, a column each, and `fuse`) or label_range alone for valence and arousal on one range,
frames_per_second, time_column, time_unit, features (name -> {modality, columns}), ignored_columns
and stimulus (the column of recordings.csv that names it). Columns may be patterns
(column_names.select_columns). recordings.csv: recording, subject, split; and if wanted fold, rows,
frames_per_second, video (recordings of one video) and stimulus (what was watched: people who
watched one clip are not in one video)."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from va_search.data.clock import TimeColumn
from va_search.data.column_names import (
    ALL_OTHERS,
    SPELLINGS,
    UNITS,
    is_pattern,
    role_of,
    select_columns,
    unit_of,
)
from va_search.data.csv_reader import separator_of
from va_search.data.draft import Source, check_sources
from va_search.data.frame_names import MEDIA
from va_search.data.nearby import plain
from va_search.data.problems import NAMES_COMPARED, PROBLEMS_OF_A_FILE, listed, unknown_column
from va_search.data.readers import (
    TABLE_SUFFIXES,
    USUAL_SUFFIXES,
    read_header,
    read_texts,
    suffix_of,
)
from va_search.data.stimuli import Stimuli
from va_search.data.text_layout import EMPTY, SEPARATORS
from va_search.data.validity import ABOVE_0
from va_search.document import StrictModel, read_document
from va_search.document.traps import read_lines
from va_search.errors import InputError, counted, nearest_name
from va_search.files import checked_name, file_name_of
from va_search.targets import AFFECT, Target, affect, name_problem, range_problem

REQUIRED = ("recording", "subject", "split")
LISTING = "recordings.csv"
OPTIONAL = ("fold", "rows", "frames_per_second", "video", "stimulus")
UNNAMED_SHOWN = 20
WHOLE = re.compile(r"(\d+)(\.0*)?")
"""A whole number, as pandas writes it too: 3 or 3.0."""
DIGITS = 9
"""Digits at most of a whole number that a store keeps in 32 bits."""
OTHER_KEYS = {
    "fps": "frames_per_second", "frame_rate": "frames_per_second", "framerate": "frames_per_second",
    "rate": "frames_per_second", "sampling_rate": "frames_per_second", "sample_rate": "frames_per_second",
    "hz": "frames_per_second", "range": "label_range", "labels": "label_range", "scale": "label_range",
    "time": "time_column", "timestamp": "time_column", "unit": "time_unit", "units": "time_unit",
    "ignore": "ignored_columns", "ignored": "ignored_columns", "feature_sets": "features",
}  # fmt: skip
"""Names that people give to a key of dataset.yaml that is spelled otherwise."""
FrameRate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class FeatureColumns(StrictModel):
    """One feature set of dataset.yaml. `valid`: the lowest values of columns at which a row counts
    (validity.py)."""

    modality: str = Field(min_length=1)
    columns: list[str] = Field(min_length=1)
    valid: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None


Range = Annotated[tuple[float, float], Field(strict=False)]


class TargetColumn(StrictModel):
    """One target of dataset.yaml: its range, and the column that has its labels, by default the one
    of its name; or `raters`, names or patterns of a column for each of several raters, whom `fuse`
    makes one annotation of."""

    range: Range
    column: str | None = Field(default=None, min_length=1)
    raters: list[str] = Field(default_factory=list)
    fuse: Literal["mean", "ewe"] = "mean"

    @field_validator("range")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        return _checked_range(value)

    @model_validator(mode="after")
    def _raters_once(self) -> TargetColumn:
        if "fuse" in self.model_fields_set and not self.raters:
            raise ValueError("`fuse` goes with several raters: name their columns with `raters`")
        if self.raters and self.column is not None:
            raise ValueError(
                "labels are in one column (column) or in one of each rater (raters): give one of "
                "them"
            )
        return self


def _long_form(value: Any) -> Any:
    """`stress: [1, 9]` as `stress: {range: [1, 9]}`."""
    return {"range": value} if isinstance(value, list | tuple) else value


def _checked_range(value: tuple[float, float]) -> tuple[float, float]:
    problem = range_problem(*value)
    if problem is not None:
        raise ValueError(problem)
    return value


def refuse_unsafe_names(features: dict[str, Any]) -> dict[str, Any]:
    """Return feature sets by name; ValueError, for pydantic, where a name can't be a file's."""
    for name in features:
        try:
            checked_name(name, "feature set")
        except InputError as error:
            raise ValueError(str(error)) from error
    return features


class Dataset(StrictModel):
    """dataset.yaml. `targets` are the annotations by name; `label_range` alone is the scale of
    valence and arousal. `time_unit` is needed where the frame rate can't confirm the unit of
    `time_column` (clock.py)."""

    SYNONYMS: ClassVar[dict[str, str]] = OTHER_KEYS

    name: str = Field(min_length=1)
    # where the recordings' files are; if it is given, in folders below it, too
    folder: str | None = Field(default=None, min_length=1)
    label_range: Range | None = None
    targets: dict[str, Annotated[TargetColumn, BeforeValidator(_long_form)]] | None = Field(
        default=None, min_length=1
    )
    frames_per_second: FrameRate | None = None
    time_column: str | None = None
    time_unit: str | None = None
    features: dict[str, FeatureColumns] = Field(min_length=1)
    ignored_columns: list[str] = Field(default_factory=list)
    stimulus: str | None = Field(default=None, min_length=1)

    @field_validator("label_range")
    @classmethod
    def _in_order(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        return None if value is None else _checked_range(value)

    @field_validator("targets")
    @classmethod
    def _target_names(cls, value: dict[str, TargetColumn] | None) -> dict[str, TargetColumn] | None:
        problems = [name_problem(name) for name in value or {}]
        for problem in problems:
            if problem is not None:
                raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _targets_or_range(self) -> Dataset:
        if self.label_range is None and self.targets is None:
            raise ValueError(
                "neither targets nor label_range is given; give the range of each annotation, such "
                "as `targets: {valence: [-1, 1]}`, or `label_range: [-1, 1]` for valence and arousal"
            )
        if self.label_range is not None and self.targets is not None:
            raise ValueError(
                "targets and label_range are both given; each target has a range of its own, so "
                "take label_range out"
            )
        return self

    @field_validator("time_unit")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is None or value in UNITS:
            return None if value is None else UNITS[value]
        near = nearest_name(value.lower(), UNITS)
        hint = "" if near is None else f"; did you mean {UNITS[near]!r}?"
        raise ValueError(f"expected one of {', '.join(SPELLINGS)}, found {value!r}{hint}")

    _safe_names = field_validator("features")(refuse_unsafe_names)

    @model_validator(mode="after")
    def _columns_once(self) -> Dataset:
        used = [*self.columns, *self.label_columns, *self.ignored_columns]
        if self.time_column:
            used.append(self.time_column)
        twice = sorted(name for name, count in Counter(used).items() if count > 1)
        if twice:
            raise ValueError(
                f"column {listed(twice, PROBLEMS_OF_A_FILE)} is in two places; a column belongs to one feature "
                f"set, or is the time column, an ignored column or a label ({', '.join(self.label_columns)})"
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
    def target_list(self) -> tuple[Target, ...]:
        """The targets with their ranges, in the order of dataset.yaml."""
        if self.targets is None:
            assert self.label_range is not None
            return affect(*self.label_range)
        return tuple(Target(name, *entry.range) for name, entry in self.targets.items())

    @property
    def label_columns(self) -> list[str]:
        """The columns of labels, in the targets' order; several of a target with raters."""
        columns: list[str] = []
        for target_columns in self.columns_by_target.values():
            columns += target_columns
        return columns

    @property
    def columns_by_target(self) -> dict[str, list[str]]:
        """The columns of each target's labels."""
        if self.targets is None:
            return {name: [name] for name in AFFECT}
        return {
            name: entry.raters or [entry.column or name] for name, entry in self.targets.items()
        }

    @property
    def fused(self) -> dict[str, str]:
        """How raters are fused, of the targets that have several."""
        targets = self.targets or {}
        return {name: entry.fuse for name, entry in targets.items() if entry.raters}

    def with_raters_of(self, header: Sequence[str]) -> Dataset:
        """Return this description with the columns of `header`, those of all files, in the place of
        patterns of raters; InputError for names and patterns that mean none."""
        taken = {*self.columns, *self.label_columns, *self.ignored_columns, self.time_column}
        targets = dict(self.targets or {})
        problems: list[str] = []
        for name, entry in targets.items():
            raters: list[str] = []
            for pattern in entry.raters:
                columns = [pattern] if pattern in header else []
                if is_pattern(pattern) and not columns:
                    columns = [
                        column
                        for column in header
                        if column not in taken and _matches(column, pattern)
                    ]
                if not columns:
                    unknown = unknown_column(pattern, header)
                    problems.append(f"targets: {name}: raters: {unknown}")
                raters += [column for column in columns if column not in raters]
            taken.update(raters)
            targets[name] = entry.model_copy(update={"raters": raters})
        if problems:
            raise InputError(*problems)
        return self.model_copy(update={"targets": targets})

    def with_target(self, name: str) -> Dataset:
        """Return this description with one of valence and arousal as the only target."""
        assert self.label_range is not None
        targets = {name: TargetColumn(range=self.label_range)}
        return self.model_copy(update={"targets": targets, "label_range": None})

    @property
    def has_patterns(self) -> bool:
        """True where some entry of a list of columns may stand for several columns."""
        return any(map(is_pattern, [*self.columns, *self.ignored_columns]))

    def with_columns_of(self, header: Sequence[str]) -> Dataset:
        """Return this description with the columns of `header` in the place of patterns; InputError
        for patterns that mean none."""
        taken = {*self.label_columns, *self.ignored_columns}
        if self.time_column:
            taken.add(self.time_column)
        taken.update(name for name in self.columns if name in header)
        taken.update(self.valid_columns)
        features: dict[str, FeatureColumns] = {}
        problems: list[str] = []
        # Sets one after another: what the first one's pattern takes is no other's.
        for name, entry in self.features.items():
            own = [column for column in entry.columns if column in header]
            try:
                columns = select_columns(header, entry.columns, taken - set(own))
            except InputError as error:
                problems += [f"features: {name}: {problem}" for problem in error.problems]
                continue
            features[name] = entry.model_copy(update={"columns": columns})
            taken.update(columns)
        if problems:
            raise InputError(*problems)
        ignored = self._ignored_of(header, taken)
        return self.model_copy(update={"features": features, "ignored_columns": ignored})

    def _ignored_of(self, header: Sequence[str], taken: set[str]) -> list[str]:
        """The columns that are ignored: patterns may mean none, and `all others` bookkeeping too."""
        ignored: list[str] = []
        for entry in self.ignored_columns:
            columns = [entry]
            if entry == ALL_OTHERS:
                columns = [name for name in header if name not in taken]
                if not self._says_what_counts:
                    # A column of success is then ignored by its name only.
                    columns = [name for name in columns if role_of(name) != "success"]
            elif is_pattern(entry) and entry not in header:
                columns = [name for name in header if name not in taken and _matches(name, entry)]
            ignored += [name for name in columns if name not in ignored]
        return ignored

    def with_success_of(self, header: Sequence[str]) -> Dataset:
        """Return this description with the columns of success that nothing names as `valid` of the
        feature set that they are of: the only one, or the only visual one. As it is where some
        feature set says `valid`; InputError where several may be it."""
        used = {*self.columns, *self.label_columns, *self.ignored_columns}
        columns = [name for name in header if role_of(name) == "success" and name not in used]
        if not columns or self._says_what_counts:
            return self
        candidates = list(self.features)
        visual = [name for name in candidates if self.features[name].modality == "visual"]
        if len(visual) == 1:
            candidates = visual
        if len(candidates) > 1:
            raise InputError(
                f"column {columns[0]!r} tells which rows count, but not of which feature set "
                f"({', '.join(candidates)}): write `valid: {{{columns[0]}: 1}}` into its entry, or "
                "put the column into ignored_columns"
            )
        valid = dict.fromkeys(columns, ABOVE_0)
        entry = self.features[candidates[0]].model_copy(update={"valid": valid})
        return self.model_copy(update={"features": {**self.features, candidates[0]: entry}})

    @property
    def _says_what_counts(self) -> bool:
        """True where some feature set says with `valid` which of its rows count."""
        return any(entry.valid is not None for entry in self.features.values())

    @property
    def valid_columns(self) -> list[str]:
        """The columns that tell which rows of some feature set count."""
        columns: dict[str, None] = {}
        for feature_set in self.features.values():
            columns |= dict.fromkeys(feature_set.valid or ())
        return list(columns)

    @property
    def columns(self) -> list[str]:
        """Columns of all feature sets, in order."""
        columns: list[str] = []
        for feature_set in self.features.values():
            columns += feature_set.columns
        return columns


def _matches(name: str, pattern: str) -> bool:
    """True where `*` and `?` of the pattern stand for letters of the name; brackets are letters."""
    return fnmatchcase(name, pattern.replace("[", "[[]"))


@dataclass(frozen=True)
class TableSource(Source):
    """A recording of a `table` source, with the rows that recordings.csv promises."""

    rows: int | None = None


def read_dataset(path: Path) -> Dataset:
    """Read dataset.yaml; InputError with every problem and its line."""
    return read_document(path, Dataset, "a description of a data set")


def readable_part(path: Path) -> Dataset | None:
    """Return what a dataset.yaml with problems most likely means, so that columns can be compared
    with the files at once: keys under their right names, unknown ones left out. None where more is
    wrong."""
    try:
        document, _, _ = read_lines(path)
    except InputError:
        return None
    if not isinstance(document, dict):
        return None
    keys: dict[str, Any] = {}
    for key, value in document.items():
        name = OTHER_KEYS.get(str(key).lower(), key)
        if name in Dataset.model_fields:
            keys.setdefault(name, value)
    try:
        return Dataset.model_validate(keys)
    except ValidationError:
        return None


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
    by their paths from here."""

    path: Path
    names: frozenset[str]

    @classmethod
    def of(cls, path: Path, *, deep: bool = False) -> RecordingsFolder:
        """List the folder once; `deep`: with the folders below it."""
        files = path.rglob("*") if deep else path.iterdir()
        names = [file.relative_to(path).as_posix() for file in files if file.is_file()]
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
