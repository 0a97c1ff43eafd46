"""A draft of dataset.yaml, and of recordings.csv, for a folder with one file per recording that has
features and labels in columns (the `table` layout, table.py).

Conventions: what is a guess says so in its line of dataset.yaml. What nothing tells stands there as
a question, in a comment. Every file's labels and clock are read, and what may be one by its values;
of other features the first file's."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

import numpy as np

from va_search.data.clock import PER_SECOND
from va_search.data.column_names import unit_of
from va_search.data.guesses import (
    OTHER,
    LabelColumns,
    modality_of,
    range_of,
    split_of,
    stimuli_of,
    subject_of,
    subjects_within,
    validating,
)
from va_search.data.problems import listed, shortened
from va_search.data.table_files import TableFiles
from va_search.document.words import flow
from va_search.errors import counted

FILES = "recordings"
"""The folder that the layout has if dataset.yaml names no other."""
DATASET, LISTING = "dataset.yaml", "recordings.csv"
NAMES_SHOWN = 3
COLUMNS_LISTED = 24
"""More columns of a set are given as a range of neighbours, where they are some."""
NUMBERED = re.compile(r"(.*?[A-Za-z].*?)[-_ .]?\d+")
LEAST_NUMBERED = 4
"""So many columns of one name and a number are a feature set of that name."""
PLAUSIBLE_RATES = (0.05, 250.0)
"""Frames per second that a clock's unit must give."""
RATES_ALIKE = 0.01


@dataclass
class TableDraft:
    """The two files as text lines and rows, and what to know of them.

    `lines` are those of dataset.yaml; `rows` of recordings.csv, None where there is one already.
    `time_column` is "" where there is none. `remarks` are guesses on recordings.csv; `questions` what
    must be answered before an import."""

    source: Path
    time_column: str = ""
    lines: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] | None = None
    remarks: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)

    @property
    def description(self) -> Path:
        """The path of dataset.yaml."""
        return self.source / DATASET

    def text(self) -> str:
        """Return dataset.yaml."""
        return "\n".join(self.lines) + "\n"

    @property
    def recordings(self) -> str | None:
        """The text of recordings.csv; None where there is one already."""
        return None if self.rows is None else rows_text(self.rows)

    @property
    def command(self) -> str:
        """The command that imports the source."""
        return f"va-search data import table {quote(str(self.source))} --to STORE"


def rows_text(rows: Sequence[dict[str, str]]) -> str:
    """Return a table of texts as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draft_table(
    files: TableFiles, labels: Sequence[LabelColumns], rate: float | None, *, listed_already: bool
) -> TableDraft:
    """Return the draft. `rate`: frames per second, where the user says them. `listed_already`: there
    is a recordings.csv, which stays."""
    draft = TableDraft(files.source)
    draft.lines = ["# A draft: look at each guess.", f"name: {flow(files.source.resolve().name)}"]
    if files.folder != FILES:
        draft.lines.append(f"folder: {flow(files.folder)}    # where the recordings' files are")
    rates = _add_clock(draft, files, _clock_of(files), rate)
    labelled = _add_targets(draft, files, labels)
    used = {draft.time_column}
    for target in labels:
        used.update(target.columns)
    _add_features(draft, files, used)
    if not listed_already:
        _add_recordings(draft, files, labelled, rates)
    return draft


# -- the clock


def _clock_of(files: TableFiles) -> str:
    """The first column that is a time by its name, else a frame's number; "" without one."""
    for column in (*files.roles.clocks, *files.roles.frames):
        if files.is_number(column):
            return column
    return ""


def _add_clock(
    draft: TableDraft, files: TableFiles, column: str, rate: float | None
) -> dict[str, float]:
    """Add the time column and the frame rate, or what is to be asked; the rates of recordings where
    they differ."""
    if not column:
        _add_rate(draft, rate, "no column is a time")
        return {}
    steps = files.steps(column)
    if not steps:
        _add_rate(draft, rate, f"the files have one row, so {column!r} tells no rate")
        return {}
    step = _commonest(list(steps.values()))
    unit = unit_of(column) or _unit_of_step(step, rate)
    if unit is None:
        reason = f"steps of {step:g} in column {column!r} fit several units, or none"
        if rate is not None:
            reason = f"steps of {step:g} in column {column!r} are {rate:g} a second in no unit"
        draft.lines.append(f"# time_column: {flow(column)}")
        draft.questions.append(
            f"time_unit: {reason}; write time_column, time_unit and frames_per_second"
        )
        _add_rate(draft, rate, reason)
        return {}
    rates: dict[str, float] = {}
    if unit == "frames":
        _add_rate(draft, rate, f"column {column!r} counts frames")
    else:
        usual = _rounded(PER_SECOND[unit] / step) if rate is None else rate
        draft.lines.append(f"frames_per_second: {usual:g}    # guess: of {column!r}")
        if rate is None:
            rates = _differing_rates(steps, unit, usual)
    draft.time_column = column
    draft.lines.append(f"time_column: {flow(column)}    # guess: by its name")
    draft.lines.append(f"time_unit: {unit}")
    return rates


def _commonest(steps: Sequence[float]) -> float:
    """The middle one of those steps that most recordings have, as near as clocks are; of two that are
    as common the shorter one. It is one that occurs."""
    ordered = np.sort(np.asarray(steps))
    last_alike = np.searchsorted(ordered, ordered * (1 + RATES_ALIKE), side="right")
    counts = last_alike - np.arange(len(ordered))
    first = int(counts.argmax())
    return float(ordered[first + (counts[first] - 1) // 2])


def _differing_rates(steps: dict[str, float], unit: str, usual: float) -> dict[str, float]:
    """The frames per second of all recordings, where those of some are not the usual ones."""
    rates = {name: _rounded(PER_SECOND[unit] / step) for name, step in steps.items()}
    is_usual = [abs(rate / usual - 1) <= RATES_ALIKE for rate in rates.values()]
    return {} if all(is_usual) else rates


def _add_rate(draft: TableDraft, rate: float | None, reason: str) -> None:
    """Add the frame rate that the user gave, or a question."""
    if rate is not None:
        draft.lines.append(f"frames_per_second: {rate:g}")
        return
    draft.lines.append(f"# frames_per_second: 25    # question: {reason}")
    draft.questions.append(
        f"frames_per_second: {reason}; write the number of rows a second, or give --rate"
    )


def _unit_of_step(step: float, rate: float | None) -> str | None:
    """The only unit in which a step gives a plausible rate, or the given one; None where several
    do, or none."""
    fitting = []
    for unit, per_second in PER_SECOND.items():
        frames = per_second / step
        low, high = PLAUSIBLE_RATES
        if rate is not None:
            low, high = rate * (1 - RATES_ALIKE), rate * (1 + RATES_ALIKE)
        if low <= frames <= high:
            fitting.append(unit)
    return fitting[0] if len(fitting) == 1 else None


def _rounded(rate: float) -> float:
    """A rate as people write it: a whole number where it is one within a thousandth."""
    return float(round(rate)) if abs(rate - round(rate)) < 1e-3 * rate else float(f"{rate:.5g}")


# -- targets and features


def _add_targets(draft: TableDraft, files: TableFiles, labels: Sequence[LabelColumns]) -> set[str]:
    """Add the targets with their ranges; the recordings that have a label."""
    labelled: set[str] = set()
    draft.lines.append("targets:")
    for target in labels:
        low, high = np.nan, np.nan
        for name in files.files:
            values = files.values(name, target.columns)
            values = values[np.isfinite(values)]
            if values.size:
                labelled.add(name)
                low, high = np.fmin(low, values.min()), np.fmax(high, values.max())
        ends = [_plain(end) for end in range_of(float(low), float(high))]
        entry: dict[str, object] = {"range": ends}
        if target.is_rated:
            entry |= {"raters": [*target.columns], "fuse": "mean"}
        elif target.columns[0] != target.target:
            entry["column"] = target.columns[0]
        guess = f"range, of labels from {low:.4g} to {high:.4g}"
        if not np.isfinite(low):
            guess = "range, since no file has a label"
        if "column" in entry:
            guess += f"; {target.columns[0]!r} for {target.target}"
        draft.lines.append(f"  {flow(target.target)}: {flow(entry)}    # guess: {guess}")
    return labelled


def _plain(end: float) -> float | int:
    return int(end) if float(end).is_integer() else float(f"{end:.4g}")


def _add_features(draft: TableDraft, files: TableFiles, used: set[str]) -> None:
    """Add the feature sets, and the columns that are none."""
    roles = files.roles
    columns = [name for name in roles.values if name not in used]
    texts = [name for name in columns if not files.is_number(name)]
    # Whatever a clock is called, and in whatever language, it is no feature.
    rising = files.rising([name for name in columns if name not in texts])
    if rising:
        verb = "rises" if len(rising) == 1 else "rise"
        reason = f"{listed(rising, NAMES_SHOWN)} {verb} in equal steps in every file, like a clock"
        draft.remarks.append(
            f"ignored_columns: {reason}; a clock is to be named as time_column, with its time_unit"
        )
    columns = [name for name in columns if name not in rising]
    sets: dict[str, list[str]] = {}
    numbered = _numbered([name for name in columns if name not in texts])
    for column in columns:
        if column not in texts:
            key = numbered.get(column) or modality_of(column)
            sets.setdefault(_set_name(key), []).append(column)
    if not sets:
        draft.questions.append("features: no column of numbers is left for them")
        draft.lines.append("# features:    # question: no column of numbers is left for them")
    else:
        draft.lines.append("features:")
    for name, names in sets.items():
        modality = modality_of(name, " ".join(names[:100]))
        shown = _columns_text(names, files.header)
        entry = f"{{modality: {modality}, columns: {flow(shown)}}}"
        draft.lines.append(f"  {flow(name)}: {entry}    # guess: modality {modality}")
    ignored = [*texts, *rising]
    visual = [name for name in sets if modality_of(name) == "visual"]
    for name in files.header:
        if name in used or name in ignored or name in columns:
            continue
        # What tells where a face was found is used by itself where it is clear for which set.
        is_clear = len(sets) == 1 or len(visual) == 1
        if name not in roles.success or not is_clear:
            ignored.append(name)
    if ignored:
        reasons = ["no values by their names"]
        if texts:
            reasons.append("texts")
        if rising:
            reasons.append("rising in equal steps")
        reason = ", or ".join(reasons)
        draft.lines.append(f"ignored_columns: {flow(ignored)}    # guess: {reason}")


def _numbered(columns: Sequence[str]) -> dict[str, str]:
    """The name before the number, of columns such as `hubert_0`, `hubert_1`, …"""
    names: dict[str, list[str]] = {}
    for column in columns:
        match = NUMBERED.fullmatch(column)
        if match is not None:
            names.setdefault(match[1], []).append(column)
    numbered: dict[str, str] = {}
    for name, members in names.items():
        if len(members) >= LEAST_NUMBERED:
            numbered |= dict.fromkeys(members, name)
    return numbered


def _set_name(key: str) -> str:
    return "features" if key == OTHER else re.sub(r"[^\w.+-]", "_", key, flags=re.ASCII)


def _columns_text(names: Sequence[str], header: Sequence[str]) -> list[str]:
    """The columns of a set, a long row of neighbours as `first..last`."""
    start = header.index(names[0])
    are_neighbours = list(header[start : start + len(names)]) == list(names)
    if len(names) > COLUMNS_LISTED and are_neighbours:
        return [f"{names[0]}..{names[-1]}"]
    return [*names]


# -- recordings


def _add_recordings(
    draft: TableDraft, files: TableFiles, labelled: set[str], rates: dict[str, float]
) -> None:
    """Add the rows of recordings.csv, and what in them is a guess."""
    names = [*files.files]
    paths = files.paths
    people = {name: subject_of(paths[name]) for name in names}
    within: dict[str, str] = {}
    if not any(people.values()):
        # `Recording P03 (2)`: the person is not at the beginning.
        within = subjects_within([paths[name] for name in names])
        people.update({name: within[paths[name]] for name in names if within})
    subjects = {name: people[name] or name for name in names}
    unnamed = [name for name in names if people[name] is None]
    clips = {}
    if not unnamed and not within:
        clips = stimuli_of({paths[name]: subjects[name] for name in names})
    unlabelled = [name for name in names if labelled and name not in labelled]
    splits = {name: split_of(paths[name]) for name in names}
    if all(splits.values()):
        draft.remarks.append("column split: by the names of folders or files")
    else:
        splits = _divided(draft, names, subjects, unlabelled)
    for path, reason in files.left_out.items():
        draft.remarks.append(f"no row for {path.relative_to(files.source)}: {reason}")
    draft.rows = []
    for name in names:
        row = {"recording": name, "subject": subjects[name], "split": splits[name]}
        if clips:
            row["stimulus"] = clips[paths[name]]
        if rates:
            row["frames_per_second"] = f"{rates.get(name, np.nan):g}".replace("nan", "")
        draft.rows.append(row)
    part = "middle" if within else "beginning"
    text = f"{counted(len(set(subjects.values())), 'person', 'people')}, by the {part} of names"
    if len(unnamed) == len(names):
        text = "names tell no people, so each recording is a person of its own"
    elif unnamed:
        text += f"; {listed(unnamed, NAMES_SHOWN)} name none, so each is one of its own"
    draft.remarks.append(f"column subject: {text}; a person must not be in two splits")
    if clips:
        draft.remarks.append(
            f"column stimulus: {counted(len(set(clips.values())), 'clip')}, by the ends of names that "
            "several people share; take the column out if these are no clips"
        )
    if rates:
        draft.remarks.append("column frames_per_second: by the clocks, which differ")


def _divided(
    draft: TableDraft, names: Sequence[str], subjects: dict[str, str], unlabelled: Sequence[str]
) -> dict[str, str]:
    """The split of each recording by label and person, where nothing tells it."""
    labelled = [name for name in names if name not in unlabelled]
    people = {subjects[name] for name in labelled}
    validation = validating(people)
    splits = {}
    for name in names:
        splits[name] = "validation" if subjects[name] in validation else "train"
        if name in unlabelled:
            splits[name] = "test"
    if unlabelled:
        draft.remarks.append(
            f"column split: {counted(len(unlabelled), 'recording')} without a label "
            f"({shortened(unlabelled, NAMES_SHOWN)}) are test"
        )
    if validation:
        draft.remarks.append(
            f"column split: nothing tells it, so each fifth person validates ({len(validation)} of "
            f"{len(people)}: {shortened(sorted(validation), NAMES_SHOWN)})"
        )
    else:
        draft.remarks.append(
            "column split: nothing tells it and there are fewer than five people, so all with labels "
            "are train; write validation where you want it, or let `va-search data folds` divide them"
        )
    return splits
