"""streams.yaml: where each feature set and each target of a source lies, and on which clock.

    name: Forrest Gump
    targets:
      valence: {range: [-1, 1], files: "labels/{recording}.csv"}
      arousal: {range: [-1, 1], files: "labels/{recording}.csv"}
    features:
      sound: {modality: audio, files: "features/sound/{recording}.csv", pool: mean}
      light: {modality: visual, files: "features/light/{recording}.csv", pool: mean}

Conventions: a pattern of files may have the name of any column of recordings.csv in braces, and
`{rater}` where each rater has a file. Without `{recording}` it names one file of all recordings,
with a column that names the recording of each row."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from va_search.data.column_names import SPELLINGS, UNITS
from va_search.data.dataset import refuse_unsafe_names
from va_search.document import StrictModel, read_document
from va_search.errors import nearest_name
from va_search.files import digest
from va_search.targets import Target, name_problem, range_problem

ALL_OTHERS = "all others"
RATER = "rater"
DATETIME = "datetime"
FIELD = re.compile(r"\{([^{}]*)\}")
OTHER_KEYS = {
    "fps": "frames_per_second", "frame_rate": "frames_per_second", "rate": "frames_per_second",
    "sampling_rate": "frames_per_second", "sample_rate": "frames_per_second", "hz": "frames_per_second",
    "file": "files", "path": "files", "folder": "files", "pattern": "files",
    "time": "clock", "time_column": "clock", "timestamp": "clock", "time_unit": "unit", "units": "unit",
    "label_range": "range", "scale": "range", "segment": "segment_column", "session_column": "segment_column",
    "pooling": "pool", "feature_sets": "features", "labels": "targets", "start": "starts_at",
    "offset": "starts_at", "feature_columns": "columns",
}  # fmt: skip
"""Names that people give to a key of streams.yaml that is spelled otherwise."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Pool = Literal["nearest", "mean", "mean_spread", "linear"]


class Stream(StrictModel):
    """Files of one feature set or target, and their clock.

    `clock` names the column of times; None: the only column that is one by its name, or, with
    `frames_per_second`, no clock at all: sample i is at `starts_at` + i / `frames_per_second`
    seconds. `unit` is that of the clock; None: the one in the column's name, else the only one that
    fits. Frame numbers need `frames_per_second`; they count from `counts_from`. `segment_column`
    names the segment or session of each row."""

    SYNONYMS: ClassVar[dict[str, str]] = OTHER_KEYS

    files: str = Field(min_length=1)
    clock: str | None = None
    unit: str | None = None
    frames_per_second: Positive | None = None
    starts_at: Finite = 0.0
    counts_from: Literal[0, 1] | None = None
    segment_column: str | None = None
    recording_column: str | None = None

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, value: str | None) -> str | None:
        if value is None or value == DATETIME or value in UNITS:
            return UNITS.get(value or "", value)
        near = nearest_name(value.lower(), [*UNITS, DATETIME])
        hint = "" if near is None else f"; did you mean {UNITS.get(near, near)!r}?"
        kinds = ", ".join([*SPELLINGS, DATETIME])
        raise ValueError(f"expected one of {kinds}, found {value!r}{hint}")

    @model_validator(mode="after")
    def _clock_is_whole(self) -> Stream:
        if self.unit == "frames" and self.frames_per_second is None:
            raise ValueError("`unit: frames` needs frames_per_second")
        if "{recording}" in self.files and self.recording_column is not None:
            raise ValueError(
                "recording_column goes with one file for all recordings, and `files` has "
                "{recording}; keep one of them"
            )
        return self

    @property
    def fields(self) -> list[str]:
        """Names in braces in the pattern of files."""
        return FIELD.findall(self.files)


class FeatureStream(Stream):
    """One feature set. `columns`: names, patterns such as `AU*_r`, or `all others`. `delay`:
    seconds before the frame's time from which samples are taken. `window`: seconds of sound that a
    sample was computed from; its time then names the window's start. `optional`: recordings may
    lack it as a whole, and have its values as missing. `valid`: the lowest values of columns at
    which a row counts (validity.py)."""

    modality: str = Field(min_length=1)
    columns: str | Annotated[list[str], Field(min_length=1)] = ALL_OTHERS
    pool: Pool = "mean"
    delay: Finite = 0.0
    window: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    optional: bool = False
    valid: dict[str, Finite] | None = None

    @property
    def patterns(self) -> list[str]:
        """The columns as a list of names and patterns."""
        return [self.columns] if isinstance(self.columns, str) else list(self.columns)


class TargetStream(Stream):
    """One target. `column` is called like the target where it is None. Several raters: `raters`
    (names or patterns of columns), `rater_column`, or `{rater}` in `files`; `fuse` makes one
    annotation of theirs."""

    range: Annotated[tuple[float, float], Field(strict=False)]
    column: str | None = None
    raters: list[str] = Field(default_factory=list)
    rater_column: str | None = None
    fuse: Literal["mean", "ewe"] = "mean"
    pool: Pool = "mean"

    @field_validator("range")
    @classmethod
    def _in_order(cls, value: tuple[float, float]) -> tuple[float, float]:
        problem = range_problem(*value)
        if problem is not None:
            raise ValueError(problem)
        return value

    @field_validator("pool")
    @classmethod
    def _one_column(cls, value: str) -> str:
        if value == "mean_spread":
            raise ValueError("a target has one value a frame: expected mean, nearest or linear")
        return value

    @model_validator(mode="after")
    def _raters_once(self) -> TargetStream:
        if "fuse" in self.model_fields_set and not self.has_raters:
            raise ValueError(
                "`fuse` goes with several raters: raters, rater_column or {rater} in `files`"
            )
        ways = [bool(self.raters), self.rater_column is not None, RATER in self.fields]
        if sum(ways) > 1:
            raise ValueError(
                "raters are in columns (raters), in rows (rater_column) or in files ({rater}): "
                "give one of them"
            )
        return self

    @property
    def has_raters(self) -> bool:
        """True where several people's annotations are fused."""
        return bool(self.raters) or self.rater_column is not None or RATER in self.fields


class StreamsDocument(StrictModel):
    """streams.yaml. `recordings` is recordings.csv, or MuSe's partition.csv; `stimulus` its column
    that names what was watched. The labels' times are the frames' where `frames_per_second` is
    None."""

    SYNONYMS: ClassVar[dict[str, str]] = OTHER_KEYS

    name: str = Field(min_length=1)
    recordings: str = "recordings.csv"
    stimulus: str | None = Field(default=None, min_length=1)
    frames_per_second: Positive | None = None
    targets: dict[str, TargetStream] = Field(min_length=1)
    features: dict[str, FeatureStream] = Field(min_length=1)

    _safe_names = field_validator("features")(refuse_unsafe_names)

    @field_validator("targets")
    @classmethod
    def _target_names(cls, value: dict[str, TargetStream]) -> dict[str, TargetStream]:
        problems = [name_problem(name) for name in value]
        for problem in problems:
            if problem is not None:
                raise ValueError(problem)
        return value

    @model_validator(mode="after")
    def _pool_has_an_effect(self) -> StreamsDocument:
        pooled = [name for name, entry in self.targets.items() if "pool" in entry.model_fields_set]
        if pooled and self.frames_per_second is None:
            raise ValueError(
                f"targets.{pooled[0]}.pool goes with `frames_per_second` at the top of the file: "
                "without it labels make the frames and stay as they are"
            )
        return self

    @property
    def store_targets(self) -> tuple[Target, ...]:
        """The targets as a store declares them."""
        return tuple(Target(name, *entry.range) for name, entry in self.targets.items())

    def signed(self) -> str:
        """The hash that a draft's signature has of the description: without `valid` the same as
        ever, so that a store made before is found again."""
        # Stimuli are no part of a store's signature, as in `draft.Source`.
        content = self.model_dump(mode="json", exclude={"stimulus"})
        for entry in content["features"].values():
            if entry["valid"] is None:
                del entry["valid"]
        return digest(content)

    def streams(self) -> dict[str, Stream]:
        """All streams by the key under which they stand: `features.sound`, `targets.valence`."""
        streams: dict[str, Stream] = {}
        for name, entry in self.targets.items():
            streams[f"targets.{name}"] = entry
        for name, feature_stream in self.features.items():
            streams[f"features.{name}"] = feature_stream
        return streams


def read_streams_document(path: Path) -> StreamsDocument:
    """Read streams.yaml; InputError with every problem and its line."""
    return read_document(path, StreamsDocument, "a description of streams")
