"""A draft of streams.yaml, and of recordings.csv, out of the files that lie in a folder.

Conventions: folders and names of columns tell what is a label, ranges come from the labels, clocks
from the files as an import would read them. Every line says what in it is a guess."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import TypedDict

import numpy as np

from va_search.data.arrays import Indexes
from va_search.data.column_names import unit_of, words_of
from va_search.data.guesses import (
    DIMENSIONS,
    LABEL_WORDS,
    NO_HINTS,
    Hints,
    labels_in,
    modality_of,
    range_of,
    target_name,
    validating,
)
from va_search.data.problems import listed, shortened
from va_search.data.readers import read_header, read_numbers, read_strings, suffix_of
from va_search.data.stream_folders import RECORDINGS, StreamFiles, StreamFolder, look_through
from va_search.data.stream_frames import by_segment, frames_of_labels
from va_search.data.stream_source import StreamSource, all_labels, find_clocks
from va_search.data.streams_document import DATETIME, StreamsDocument
from va_search.data.streams_recordings import StreamedRecording, read_streamed_recordings
from va_search.data.table_draft import rows_text
from va_search.errors import InputError, counted
from va_search.targets import AFFECT

NAMES_SHOWN = 3
COLUMNS_SHOWN = 20
RATER_NAMES = frozenset(
    {"rater", "rater_id", "raterid", "annotator", "annotator_id", "annotatorid"}
)
"""Columns that name the rater of each row."""


class EntryKeys(TypedDict, total=False):
    """The keys of a target or a feature set in streams.yaml that a draft may have."""

    modality: str
    range: list[float]
    files: str
    recording_column: str | None
    frames_per_second: float
    rater_column: str
    raters: list[str]
    fuse: str
    column: str
    unit: str
    optional: bool


@dataclass
class DraftedEntry:
    """An entry of streams.yaml, and what in it is a guess."""

    keys: EntryKeys
    guesses: list[str] = field(default_factory=list)

    def line(self, name: str) -> str:
        """The entry as a line."""
        pairs = ", ".join(f"{key}: {json.dumps(value)}" for key, value in self.keys.items())
        guesses = f"  # guess: {'; '.join(self.guesses)}" if self.guesses else ""
        return f"  {json.dumps(name)}: {{{pairs}}}{guesses}"


@dataclass
class StreamsDraft:
    """A draft for the source in `folder`: `recordings` is the text of recordings.csv, None where
    there is a list of recordings; `remarks` are what in them is a guess, `questions` what must be
    answered before an import. `labelled` are the recordings that have a label of some target."""

    folder: Path
    listing: str
    targets: dict[str, DraftedEntry] = field(default_factory=dict)
    features: dict[str, DraftedEntry] = field(default_factory=dict)
    frames_per_second: float | None = None
    recordings: str | None = None
    remarks: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    labelled: set[str] = field(default_factory=set)

    def text(self) -> str:
        """The draft as streams.yaml."""
        lines = ["# A draft: look at what is a guess.", f"name: {json.dumps(self.name)}"]
        if self.listing != RECORDINGS:
            lines.append(f"recordings: {json.dumps(self.listing)}")
        if self.frames_per_second is not None:
            lines.append(
                f"frames_per_second: {self.frames_per_second:g}  # guess: the targets have clocks of "
                "their own"
            )
        for key, entries in (("targets", self.targets), ("features", self.features)):
            lines.append(f"{key}:")
            lines += [entry.line(name) for name, entry in entries.items()]
        lines += [f"# {remark}" for remark in self.remarks]
        for question in self.questions:
            lines.append(f"# to be put right: {' '.join(question.split())}")
        return "\n".join(lines) + "\n"

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def document(self) -> StreamsDocument:
        """The draft as an import reads it; ValueError where it is none yet."""
        content = {
            "name": self.name,
            "recordings": self.listing,
            "targets": {name: entry.keys for name, entry in self.targets.items()},
            "features": {name: entry.keys for name, entry in self.features.items()},
        }
        return StreamsDocument.model_validate(content)

    @property
    def command(self) -> str:
        """The command that imports the source."""
        return f"va-search data import streams {quote(str(self.folder))} --to STORE"


def draft_streams(source: Path, hints: Hints = NO_HINTS) -> StreamsDraft:
    """Return the draft for the folder, or the one file, `source`.

    InputError where its files tell no labels or no features."""
    folder = look_through(source)
    draft = StreamsDraft(folder.path, folder.listing or RECORDINGS)
    for stream in folder.streams:
        _add_stream(draft, stream, folder, hints)
    if not draft.targets:
        columns = dict.fromkeys(name for stream in folder.streams for name in stream.values)
        raise InputError(
            f"{source}: no labels found: no folder is called labels or annotations, and no column is "
            f"one of {', '.join(sorted(DIMENSIONS))}; say which columns are labels with --labels "
            f"COLUMN,… (there are: {listed([*columns], COLUMNS_SHOWN, quoted=False)})"
        )
    if not draft.features:
        raise InputError(f"{source}: no features found besides the labels")
    if folder.listing is None:
        _divide(draft, folder)
    _find_clocks(draft, folder)
    return draft


def _divide(draft: StreamsDraft, folder: StreamFolder) -> None:
    """Write recordings.csv: of recordings whose split nothing tells those without a label are of
    test, and those of each fifth person of the others validate."""
    untold = [row for row in folder.rows if not row["split"]]
    labelled = [row for row in untold if row["recording"] in draft.labelled]
    validation = validating(row["subject"] for row in labelled)
    unlabelled = []
    for row in untold:
        row["split"] = "validation" if row["subject"] in validation else "train"
        if row["recording"] not in draft.labelled:
            row["split"] = "test"
            unlabelled.append(row["recording"])
    draft.recordings = rows_text(folder.rows)
    draft.remarks.append(
        f"{RECORDINGS}: the subject of each recording is a guess; people must not be in two splits"
    )
    if unlabelled:
        draft.remarks.append(
            f"{RECORDINGS}: no labels of {counted(len(unlabelled), 'recording')} "
            f"({shortened(unlabelled, NAMES_SHOWN)}), so test"
        )
    if validation:
        draft.remarks.append(
            f"{RECORDINGS}: nothing tells splits, so each fifth person validates "
            f"({shortened(sorted(validation), NAMES_SHOWN)})"
        )
    elif not folder.has_splits:
        labelled_words = "all with labels are" if unlabelled else "all are"
        draft.remarks.append(
            f"{RECORDINGS}: nothing tells splits, so {labelled_words} train; write validation and "
            "test where they are, or let `va-search data folds` divide them"
        )


def _add_stream(
    draft: StreamsDraft, stream: StreamFiles, folder: StreamFolder, hints: Hints
) -> None:
    """Add the targets and the feature set that lie in the files of a stream."""
    keys: EntryKeys = {"files": stream.pattern}
    if hints.rate is not None and not stream.roles.clocks:
        keys["frames_per_second"] = hints.rate
    if stream.is_whole:
        keys["recording_column"] = stream.recording_column
    words = set(re.split(r"[^a-z]+", stream.pattern.lower()))
    tail = _last_name(stream.pattern).lower()
    has_labels = bool(words & LABEL_WORDS) or tail in AFFECT
    labels = []
    for target in labels_in(stream.values, hints.labels):
        # A column `label` in a folder of labels is what the folder is called.
        if hints.labels or target.target.lower() in DIMENSIONS:
            labels.append(target)
    dimensions = [column for target in labels for column in target.columns]
    naming = [name for name in stream.header if name.lower() in RATER_NAMES]
    others = [name for name in stream.values if name not in (*dimensions, *naming)]
    if dimensions:
        for target in labels:
            name = target.target
            _add_target(draft, name, _target(stream, keys, target.columns, name, draft.labelled))
    elif has_labels:
        name = _last_name(stream.pattern, LABEL_WORDS)
        raters = [
            column for column in others if words_of(column)[:1] in [("rater",), ("annotator",)]
        ]
        if len(others) > 1 and raters:
            rated = target_name(name or "label")
            _add_target(draft, rated, _target(stream, keys, raters, name, draft.labelled))
        for column in others if not raters else []:
            named = target_name(name if name and len(others) == 1 else column)
            _add_target(draft, named, _target(stream, keys, [column], named, draft.labelled))
    if has_labels or not others:
        return
    name = _set_name(_last_name(stream.pattern))
    if name in draft.features:
        name = f"{name}_{len(draft.features)}"
    modality = modality_of(stream.pattern, " ".join(stream.values[:100]))
    entry = DraftedEntry({"modality": modality, **keys}, [f"modality {modality}"])
    lacking = len(folder.rows) - len(stream.files)
    if not stream.is_whole and lacking > 0:
        entry.keys["optional"] = True
        entry.guesses.append(f"optional, since {lacking} recordings have no file")
    draft.features[name] = entry


def _add_target(draft: StreamsDraft, name: str, entry: DraftedEntry) -> None:
    """Add a target. One that is there with the same keys in another folder is a rater's, for whom
    that folder is called; another target of the same name gets a number."""
    present = draft.targets.get(name)
    if present is None:
        draft.targets[name] = entry
        return
    files = _pattern_of_raters(present.keys["files"], entry.keys["files"])
    ignored = {"range", "files", "fuse"}
    own = {key: value for key, value in present.keys.items() if key not in ignored}
    others = {key: value for key, value in entry.keys.items() if key not in ignored}
    if files is None or own != others or {"raters", "rater_column"} & {*own}:
        draft.targets[f"{name}_{len(draft.targets)}"] = entry
        return
    ranges = [*present.keys["range"], *entry.keys["range"]]
    present.keys |= {"range": [min(ranges), max(ranges)], "files": files, "fuse": "mean"}
    present.guesses = ["range, of the labels of all raters", "raters, for whom folders are called"]


def _pattern_of_raters(pattern: str, other: str) -> str | None:
    """The pattern of two that differ in the name of one folder, with `{rater}` in its place; None
    for others."""
    parts, others = pattern.split("/"), other.split("/")
    if len(parts) != len(others):
        return None
    differ = [index for index, part in enumerate(parts) if part != others[index]]
    if len(differ) != 1 or "{" in others[differ[0]]:
        return None
    if "{rater}" in pattern and parts[differ[0]] != "{rater}":
        return None
    parts[differ[0]] = "{rater}"
    return "/".join(parts)


def _last_name(pattern: str, without: frozenset[str] = frozenset()) -> str:
    """The last part of a pattern that has no braces and is none of the words `without`, and no file's
    ending; of `{recording}_sound.csv` it is `sound`. "" where there is none."""
    named = []
    for part in pattern.split("/"):
        stem = part.partition(".")[0]
        if "}" in part:
            tail = part.rpartition("}")[2]
            stem = tail.removesuffix(suffix_of(tail)).strip("-_ .")
        if stem and stem.lower() not in without:
            named.append(stem)
    return named[-1] if named else ""


def _set_name(folder: str) -> str:
    """A name that a feature set can have, as near to the folder's as may be."""
    name = re.sub(r"[^\w.+-]", "_", folder, flags=re.ASCII)
    return re.sub(r"^[^A-Za-z0-9]+", "", name) or "features"


def _target(
    stream: StreamFiles,
    keys: EntryKeys,
    columns: Sequence[str],
    name: str,
    labelled: set[str],
) -> DraftedEntry:
    """The entry of a target, whose range is the narrowest usual one that has all its labels; the
    recordings that have some are added to `labelled`."""
    low, high = np.inf, -np.inf
    for recording, path in stream.files.items():
        header = read_header(path)
        present = [column for column in columns if column in header]
        if not present:
            continue  # files of test recordings may lack the labels
        labels = read_numbers(path, present)
        has_label = np.isfinite(labels)
        labelled |= _labelled_in(stream, recording, np.flatnonzero(has_label.any(axis=1)))
        labels = labels[has_label]
        low, high = min(low, labels.min(initial=low)), max(high, labels.max(initial=high))
    ends = range_of(low, high)
    guess = f"range, of labels from {low:g} to {high:g}" if np.isfinite(low) else "range"
    entry = DraftedEntry({"range": [*ends], **keys}, [guess])
    naming = [column for column in stream.header if column.lower() in RATER_NAMES]
    if naming:
        entry.keys |= {"rater_column": naming[0], "fuse": "mean"}
    if len(columns) > 1:
        entry.keys |= {"raters": list(columns), "fuse": "mean"}
    elif columns[0] != name:
        entry.keys["column"] = columns[0]
    return entry


def _labelled_in(stream: StreamFiles, recording: str, rows: Indexes) -> set[str]:
    """Return the recordings that the rows with a label are of: all of this one where it has a file
    of its own."""
    if not stream.is_whole:
        return {recording} if rows.size else set()
    assert stream.recording_column is not None
    names = read_strings(stream.files[recording], stream.recording_column)
    return {names[row] for row in rows.tolist()}


def _find_clocks(draft: StreamsDraft, folder: StreamFolder) -> None:
    """Write the units of clocks into the entries as an import would choose them, and a rate of the
    frames where targets have clocks beside each other; remarks on what can't be told."""
    try:
        document = draft.document()
        if folder.listing is None:
            recordings = [_recording(row) for row in folder.rows]
        else:
            recordings, _ = read_streamed_recordings(folder.path, document)
        source = StreamSource(folder.path, document, recordings, [])
        find_clocks(source)
    except (InputError, ValueError) as error:
        problems = error.problems if isinstance(error, InputError) else [str(error)]
        draft.questions += problems
        return
    entries = {f"targets.{name}": entry for name, entry in draft.targets.items()}
    entries |= {f"features.{name}": entry for name, entry in draft.features.items()}
    for key, entry in entries.items():
        clock, rate = source.clocks[key], source.stream_rates.get(key)
        if clock.column is not None and unit_of(clock.column) is None and clock.unit != DATETIME:
            entry.keys["unit"] = clock.unit
            entry.guesses.append(f"unit of {clock.column!r}, at {rate:.5g} per second")
    try:
        labels = all_labels(source, recordings[0].name)
        frames_of_labels(labels, by_segment(labels))
    except InputError:
        rates = [source.stream_rates.get(f"targets.{name}", 0.0) for name in draft.targets]
        draft.frames_per_second = max(rates) or None


def _recording(row: dict[str, str]) -> StreamedRecording:
    cells = tuple(row.items())
    return StreamedRecording(
        row["recording"], row["subject"], row["split"], None, row["recording"], cells
    )
