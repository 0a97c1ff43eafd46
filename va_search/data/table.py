"""Importer of the `table` layout: one CSV or Parquet file per recording, described by two small
files.

    SOURCE/
      dataset.yaml                name, targets, frame rate, time column, feature sets and their columns
      recordings.csv              recording, subject, split, and if wanted fold, rows, frames_per_second, video
      recordings/<recording>.csv  or .parquet: time column, feature columns, a column per target

Conventions: labels are on their target's scale; an empty cell is a frame without a label for that
target. Test recordings may lack the label columns, and so may others lack some of those that
`targets` declares; with `label_range` alone both are needed. A step in time of more than 1.5 frame
intervals is a gap, which no segment crosses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.clock import find_gaps
from va_search.data.column_names import Roles, is_clock, role_of
from va_search.data.dataset import Dataset, read_dataset, readable_part
from va_search.data.draft import Description, Part
from va_search.data.frame_names import RecordingFrames
from va_search.data.importing import Progress, drafting, quiet, read_all
from va_search.data.listing import TableSource, read_recordings
from va_search.data.problems import (
    NAMES_SHOWN,
    PROBLEMS_OF_A_FILE,
    exact,
    listed,
    near_name,
    refuse,
    unknown_column,
)
from va_search.data.raters import Ratings, Traces, fuse_targets
from va_search.data.readers import (
    not_finite,
    read_header,
    read_numbers,
    reader_of,
    wrong_rows,
)
from va_search.data.row_checks import refuse_ignored
from va_search.data.source_draft import draft_advice
from va_search.data.store import Store
from va_search.data.time_texts import EXAMPLE, example_of
from va_search.data.validity import Validity
from va_search.errors import InputError
from va_search.files import digest
from va_search.targets import AFFECT, Target


def import_table(
    source: Path,
    to: Path,
    *,
    dtype: str = "float32",
    workers: int | None = None,
    progress: Progress = quiet,
) -> Store:
    """Read the `table` layout at `source` into a store at `to`; a second call finds the store and
    opens it.

    InputError with the problems of all recordings together; what was read before a kill is not read
    again."""
    if not source.is_dir():
        state = "it is a file" if source.exists() else "no such folder"
        refused = (
            f"{source}: {state}, expected a folder with dataset.yaml, recordings.csv and "
            "recordings/"
        )
        raise InputError(refused, *(draft_advice(source) if source.is_file() else []))
    dataset, recordings, warnings = _read_description(source)
    names = frozenset(recording.name for recording in recordings)
    people = frozenset(recording.subject for recording in recordings)
    feature_sets = {}
    for name, entry in dataset.features.items():
        feature_sets[name] = (entry.modality, tuple(entry.columns))
    description = Description(
        name=dataset.name,
        targets=dataset.target_list,
        feature_sets=feature_sets,
        dtype=dtype,
        time_column=dataset.time_column,
        source=(
            f"table {source.resolve()}{_validity_signature(dataset)}{_raters_signature(dataset)}"
        ),
        rated=bool(dataset.fused),
    )
    with drafting(to, description, list(recordings)) as draft:
        draft.remarks = warnings
        draft.advice_without = lambda targets: _advice_without(dataset, targets)

        def read(index: int) -> Part:
            return read_part(recordings[index], dataset, names, people)

        return read_all(draft, read, workers=workers, progress=progress)


def _raters_signature(dataset: Dataset) -> str:
    """Text that tells how raters are fused; none where there is one annotation a target."""
    return f" raters {digest(dataset.fused)}" if dataset.fused else ""


def _advice_without(dataset: Dataset, targets: Sequence[str]) -> str:
    """The lines of dataset.yaml that leave some targets out."""
    declared = []
    ignored = list(dataset.ignored_columns)
    for target in dataset.target_list:
        columns = dataset.columns_by_target[target.name]
        if target.name in targets:
            ignored += columns
            continue
        ends = f"[{exact(target.low)}, {exact(target.high)}]"
        if target.name in dataset.fused:
            ends = f"{{range: {ends}, raters: [{', '.join(columns)}]}}"
        elif columns != [target.name]:
            ends = f"{{range: {ends}, column: {columns[0]}}}"
        declared.append(f"{target.name}: {ends}")
    place = " instead of label_range" if dataset.targets is None else ""
    return (
        f"`targets: {{{', '.join(declared)}}}`{place}, and `ignored_columns: "
        f"[{', '.join(ignored)}]`, in dataset.yaml"
    )


def _validity_signature(dataset: Dataset) -> str:
    """Text that tells which rows count; none where all do."""
    valid = {name: entry.valid for name, entry in dataset.features.items() if entry.valid}
    return f" valid {digest(valid)}" if valid else ""


def _read_description(source: Path) -> tuple[Dataset, list[TableSource], list[str]]:
    """dataset.yaml, the recordings, and warnings; InputError with what is wrong in both and in the
    files' headers."""
    dataset: Dataset | None = None
    problems: list[str] = []
    try:
        dataset = read_dataset(source / "dataset.yaml")
    except InputError as error:
        problems += error.problems
        # Columns are compared with what it most likely means: everything is told at once.
        dataset = readable_part(source / "dataset.yaml")
    listing = read_recordings(source, dataset)
    problems += listing.problems
    columns = []
    if dataset is not None and dataset.fused:
        columns = _all_columns(listing.recordings)
    if dataset is not None and columns:
        try:
            dataset = dataset.with_raters_of(columns)
        except InputError as error:
            refuse([*problems, *(f"{source / 'dataset.yaml'}: {text}" for text in error.problems)])
    if dataset is not None and listing.recordings:
        # Patterns are of the first file's columns; the other files must have the same ones.
        try:
            dataset = _with_columns(dataset, listing.recordings[0].files[0])
        except InputError as error:
            refuse([*problems, *(f"{source / 'dataset.yaml'}: {text}" for text in error.problems)])
    if dataset is not None:
        dataset, doubts = _without_absent_target(source, dataset, listing.recordings)
        listing.warnings += doubts
    if dataset is not None and problems:
        # Look at the headers too, so that everything is reported at once.
        for recording in listing.recordings:
            file = recording.files[0]
            try:
                problems += _column_problems(file, read_header(file), dataset, recording.split)
            except InputError as error:
                problems += error.problems
    if not (source / "dataset.yaml").exists():
        problems += draft_advice(source)
    refuse(problems)
    assert dataset is not None
    return dataset, listing.recordings, [*listing.warnings, *_doubtful_columns(dataset)]


def _all_columns(recordings: Sequence[TableSource]) -> list[str]:
    """The columns of all files: recordings may have raters of their own."""
    columns: dict[str, None] = {}
    for recording in recordings:
        try:
            columns |= dict.fromkeys(read_header(recording.files[0]))
        except InputError:
            continue  # a damaged file is told by whoever reads it
    return list(columns)


def _with_columns(dataset: Dataset, file: Path) -> Dataset:
    """The dataset with the columns that patterns mean in a file, and its column of success as
    `valid` of the feature set that it is of."""
    try:
        header = read_header(file)
    except InputError:
        if dataset.has_patterns:
            raise
        return dataset  # told when the file is read
    if dataset.has_patterns:
        dataset = dataset.with_columns_of(header)
    return dataset.with_success_of(header)


def _without_absent_target(
    source: Path, dataset: Dataset, recordings: Sequence[TableSource]
) -> tuple[Dataset, list[str]]:
    """The dataset with one target and a warning, where `label_range` declares valence and arousal
    and no file has a column for one of them; else the dataset as it is."""
    if dataset.targets is not None:
        return dataset, []
    present: set[str] = set()
    # Usually the first file has both.
    for recording in recordings:
        try:
            present.update(name for name in AFFECT if name in read_header(recording.files[0]))
        except InputError:
            continue  # a damaged file is told by whoever reads it
        if len(present) == len(AFFECT):
            return dataset, []
    if not present:
        return dataset, []
    (name,) = present
    (absent,) = set(AFFECT) - present
    low, high = map(exact, dataset.target_list[0].range)
    warning = (
        f"{source / 'dataset.yaml'}: no recording has a column {absent!r}, so {name} is the only "
        f"target; `targets: {{{name}: [{low}, {high}]}}` instead of label_range says so"
    )
    return dataset.with_target(name), [warning]


def _doubtful_columns(dataset: Dataset) -> list[str]:
    """A warning for each ignored column that is a clock by its name, where no time column is
    declared, and for each feature that is a frame's number, a time or a row number."""
    warnings = []
    for column in dataset.ignored_columns:
        if role_of(column) == "success":
            warnings.append(
                f"dataset.yaml: column {column!r} is ignored, so rows count where nothing was found; "
                f"`valid: {{{column}: 1}}` in the entry of a feature set has them as missing"
            )
        if not dataset.time_column and is_clock(column):
            warnings.append(
                f"dataset.yaml: column {column!r} is ignored, so rows are taken as frames one "
                f"after another; `time_column: {column}` would find gaps and rows out of order"
            )
    for name, entry in dataset.features.items():
        for column in entry.columns:
            if role_of(column) in ("frames", "clocks", "rows"):
                warnings.append(
                    f"dataset.yaml: feature set {name!r}: column {column!r} is a frame, a time or "
                    "a row number by its name, and is taken as a feature"
                )
    return warnings


def read_part(
    recording: TableSource,
    dataset: Dataset,
    recordings: frozenset[str] = frozenset(),
    people: frozenset[str] = frozenset(),
) -> Part:
    """One recording read and checked; InputError with everything wrong in its file.

    `recordings` and `people` are the names of all: no ignored column may name another than the
    recording's own."""
    file = recording.files[0]
    header = read_header(file)
    refuse(_column_problems(file, header, dataset, recording.split))
    sheet = _Sheet.read(file, dataset, header)
    if recording.rows not in (None, len(sheet.numbers)):
        sheet.problems.append(
            f"{file}: {len(sheet.numbers)} rows, but recordings.csv says rows = {recording.rows}"
        )
    shares = sheet.check_features(dataset)
    annotations, ratings = sheet.annotations(dataset)
    if sheet.labels and recording.split != "test":
        absent = [name for name in dataset.label_columns if name not in sheet.labels]
        sheet.remarks += [f"no label column {name!r}" for name in absent]
    times: Floats | None = None
    gaps: tuple[int, ...] = ()
    doubts: list[str] = []
    notes: dict[str, str] = {}
    if dataset.clock:
        times = sheet.numbers[:, -1]
        try:
            gaps, doubts = find_gaps(file, times, recording.frames_per_second, dataset.clock)
        except InputError as error:
            sheet.problems += error.problems
        if example := example_of(file, dataset.clock.column, times):
            notes[EXAMPLE] = example
    sheet.problems += _ignored_problems(recording, dataset, header, recordings, people)
    refuse(sheet.problems)
    return Part(
        {name: sheet.numbers[:, own] for name, own in _slices(dataset).items()},
        annotations=annotations,
        times=times,
        gaps=gaps,
        warnings=tuple(doubts),
        notes=notes,
        kinds=tuple(sheet.remarks),
        shares=tuple(shares),
        ratings=ratings,
    )


@dataclass
class _Sheet:
    """The columns of a file that an import reads: (rows, columns) `numbers` of the features, then of
    the `labels` that the file has, of what tells which rows count, and of the clock. `problems` and
    `remarks` are added to."""

    file: Path
    columns: list[str]
    labels: list[str]
    numbers: Floats
    remarks: list[str]
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path, dataset: Dataset, header: Sequence[str]) -> _Sheet:
        """Read features, labels and time in one pass over the file."""
        labels = [name for name in dataset.label_columns if name in header]
        columns = [*dataset.columns, *labels]
        # Neither a feature nor a label, unless it is one as well.
        columns += [name for name in dataset.valid_columns if name not in columns]
        if dataset.clock:
            columns.append(dataset.clock.column)
        numbers = read_numbers(file, columns)
        return cls(file, columns, labels, numbers, list(reader_of(file).remarks(file)))

    def check_features(self, dataset: Dataset) -> list[tuple[str, int, int]]:
        """Make missing, in place, the values of rows that do not count; remarks with the number of
        these rows. An infinite value is a problem, an empty cell is a missing value."""
        values = self.numbers[:, : len(dataset.columns)]
        is_finite = bool(np.isfinite(values).all())
        if not is_finite and np.isnan(values).any():
            self.remarks.append("feature values are empty or NaN, kept as missing,")
        shares = _drop_invalid(dataset, self.numbers, self.columns)
        if not is_finite:
            known = np.where(np.isnan(values), 0.0, values)
            self.problems += not_finite(self.file, known, dataset.columns)
        return shares

    def annotations(self, dataset: Dataset) -> tuple[Floats | None, Ratings | None]:
        """(rows, targets) labels, and those of several raters; None for a file without labels."""
        if not self.labels:
            return None, None
        width = len(dataset.columns)
        labels = self.numbers[:, width : width + len(self.labels)]
        traces = _traces(dataset, self.labels, labels)
        self.problems += _label_problems(self.file, dataset, traces)
        return fuse_targets(traces, len(self.numbers))


def _drop_invalid(
    dataset: Dataset, numbers: Floats, columns: Sequence[str]
) -> list[tuple[str, int, int]]:
    """Make missing, in place, the values of each feature set in the rows of a sheet (rows, columns)
    that do not count; remarks with the number of these rows."""
    shares = []
    invalid = {}
    # A column may tell and be a feature too: all are looked at before a value is dropped.
    for name, entry in dataset.features.items():
        if entry.valid:
            validity = Validity.of(entry.valid, Roles())
            invalid[name] = ~validity.rows(numbers, columns)
            rows = invalid[name]
            shares.append((validity.remark(name), int(rows.sum()), len(rows)))
    slices = _slices(dataset)
    for name, rows in invalid.items():
        numbers[rows, slices[name]] = np.nan
    return shares


def _slices(dataset: Dataset) -> dict[str, slice]:
    """The columns of each feature set: neighbours, in the order of dataset.yaml."""
    slices = {}
    start = 0
    for name, entry in dataset.features.items():
        slices[name] = slice(start, start + len(entry.columns))
        start += len(entry.columns)
    return slices


def _label_problems(file: Path, dataset: Dataset, traces: dict[str, Traces]) -> list[str]:
    """Labels outside their target's range, by any rater."""
    problems: list[str] = []
    for target in dataset.target_list:
        matrix, columns = traces[target.name].matrix, traces[target.name].names
        problems += label_problems(file, matrix, [target] * len(columns), columns)
    if dataset.targets is None and len(problems) == 1:
        problems[0] += _own_ranges(dataset, problems[0])
    return problems


def _traces(dataset: Dataset, columns: Sequence[str], labels: Floats) -> dict[str, Traces]:
    """The labels by target, in the targets' order, without the columns that the file lacks;
    `labels` (frames, columns) are those that it has."""
    traces: dict[str, Traces] = {}
    for target, target_columns in dataset.columns_by_target.items():
        present = [name for name in target_columns if name in columns]
        indexes = [columns.index(name) for name in present]
        traces[target] = Traces(labels[:, indexes], present, dataset.fused.get(target))
    return traces


def _ignored_problems(
    recording: TableSource,
    dataset: Dataset,
    header: list[str],
    recordings: frozenset[str],
    people: frozenset[str],
) -> list[str]:
    """Problems of ignored columns that say that rows are not the recording's frames."""
    own_frames = RecordingFrames(
        names=(recording.name,),
        frames=0,
        frames_per_second=recording.frames_per_second,
        person=recording.subject,
        people=people,
    )
    ignored = set(dataset.ignored_columns)
    columns = [name for name in header if name in ignored]
    ordered = dataset.clock is not None
    try:
        refuse_ignored(recording.files[0], columns, own_frames, recordings, ordered=ordered)
    except InputError as error:
        return error.problems
    return []


def _column_problems(file: Path, header: list[str], dataset: Dataset, split: str) -> list[str]:
    """At most two problems: the columns that are missing, and those that dataset.yaml does not
    name."""
    needed = list(dict.fromkeys([*dataset.columns, *dataset.valid_columns]))
    if dataset.time_column:
        needed.append(dataset.time_column)
    present = set(header)
    labels = dataset.label_columns
    has_labels = not present.isdisjoint(labels)
    # With a range alone nothing says that the data may lack valence or arousal.
    if (split != "test" and not has_labels) or (has_labels and dataset.targets is None):
        needed += labels
    named = {*needed, *labels, *dataset.ignored_columns}
    missing = [name for name in needed if name not in present]
    unknown = [name for name in header if name not in named]
    problems = []
    if missing:
        text = f"column {missing[0]!r} is"
        if len(missing) > 1:
            text = f"columns {listed(missing, NAMES_SHOWN)} are"
        hint = ""
        if len(header) == 1 and set(missing) & set(header[0].split()):
            hint = "; separated by spaces? Separate cells by commas"
        elif dataset.targets is None and has_labels and set(missing) < set(labels):
            hint = _own_targets(dataset, [name for name in labels if name in present])
        names = listed(header, PROBLEMS_OF_A_FILE, quoted=False)
        problems.append(f"{file}: {text} missing (found: {names}){hint}")
    # One unknown column is told with its nearest name and all known ones, several in short.
    advice = "put {} into a feature set of dataset.yaml or into ignored_columns"
    if len(unknown) == 1:
        problems.append(f"{file}: {unknown_column(unknown[0], named)}; {advice.format('it')}")
    elif unknown:
        shown = ", ".join(repr(name) + near_name(name, named) for name in unknown[:NAMES_SHOWN])
        if len(unknown) > NAMES_SHOWN:
            shown += f" and {len(unknown) - NAMES_SHOWN} more"
        problems.append(
            f"{file}: {len(unknown)} columns that dataset.yaml does not name: {shown}; "
            f"{advice.format('each')}"
        )
    return problems


def _own_ranges(dataset: Dataset, problem: str) -> str:
    """Advice for data of which only one of valence and arousal, that of a problem, is on the range."""
    targets = []
    for target in dataset.target_list:
        ends = f"{exact(target.low)}, {exact(target.high)}"
        if f": {target.name} " in problem:
            ends = "LOWEST, HIGHEST"
        targets.append(f"{target.name}: [{ends}]")
    return (
        "; if valence and arousal differ in their ranges, write `targets: "
        f"{{{', '.join(targets)}}}` instead of label_range, with numbers for LOWEST and HIGHEST"
    )


def _own_targets(dataset: Dataset, present: list[str]) -> str:
    """Advice for data that have only some of valence and arousal."""
    assert dataset.label_range is not None
    low, high = map(exact, dataset.label_range)
    targets = ", ".join(f"{name}: [{low}, {high}]" for name in present)
    return f"; if the data have no others, write `targets: {{{targets}}}` instead of label_range"


def label_problems(
    file: Path, labels: Floats, targets: Sequence[Target], columns: Sequence[str]
) -> list[str]:
    """One problem per column with labels (frames, columns) outside the range of its target; NaN is
    unlabelled and fine. `targets` and `columns`: of each column its target and name, which differ
    where several raters label a target.

    Labels that only rounding put outside (1.0000000000000002) are clipped, in place.
    """
    problems = []
    for target, name, column in zip(targets, columns, labels.T, strict=True):
        low, high = target.low - target.slack, target.high + target.slack
        if outside := wrong_rows(file, (column < low) | (column > high)):
            label = exact(column[outside.row])
            if name != target.name:
                label += f" (column {name!r})"
            problems.append(
                f"{outside.position}: {target.name} {label}{outside.more} is outside the label "
                f"range [{exact(target.low)}, {exact(target.high)}]"
            )
    if not problems:
        for target, column in zip(targets, labels.T, strict=True):
            np.clip(column, target.low, target.high, out=column)
    return problems
