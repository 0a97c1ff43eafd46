"""Description of a `table` source, dataset.yaml, checked whole before any recording is read.

name, targets (name -> [low, high], or {range: [low, high], column: name}, or with `raters`, a column
each, and `fuse`) or label_range alone for valence and arousal on one range, folder (of the
recordings' files), frames_per_second, time_column, time_unit, features (name -> {modality,
columns}), ignored_columns and stimulus (the column of recordings.csv that names it). Columns may be
patterns (column_names.select_columns)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
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
from va_search.data.problems import PROBLEMS_OF_A_FILE, listed, unknown_column
from va_search.data.validity import ABOVE_0
from va_search.document import StrictModel, read_document
from va_search.document.traps import read_lines
from va_search.errors import InputError, nearest_name
from va_search.files import checked_name
from va_search.targets import AFFECT, Target, affect, name_problem, range_problem

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
