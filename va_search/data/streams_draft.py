"""A draft of streams.yaml, and of recordings.csv, out of the files that lie in a folder.

Conventions: folders and names of columns tell what is a label, ranges come from the labels, clocks
from the files as an import would read them. Every line says what in it is a guess."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import TypedDict

import numpy as np

from va_search.data.arrays import Indexes
from va_search.data.column_names import unit_of, words_of
from va_search.data.problems import shortened
from va_search.data.readers import read_numbers, read_strings
from va_search.data.stream_folders import RECORDINGS, StreamFiles, StreamFolder, look_through
from va_search.data.stream_frames import by_segment, frames_of_labels
from va_search.data.stream_source import StreamSource, all_labels, find_clocks
from va_search.data.streams_document import DATETIME, StreamsDocument
from va_search.data.streams_recordings import StreamedRecording, read_streamed_recordings
from va_search.errors import InputError, counted
from va_search.files import whole_file
from va_search.targets import name_problem


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LABEL_WORDS = _words(
    "label labels annotation annotations target targets rating ratings gold truth traces"
)
DIMENSIONS = _words(
    "valence arousal dominance engagement liking stress trustworthiness power expectation "
    "anticipation likability pleasure intensity happiness sadness anger fear"
)
MODALITIES = {
    "audio": "audio voice sound speech egemaps gemaps opensmile compare mfcc wav2vec hubert vggish "
    "ecapa deepspectrum loudness pitch",
    "visual": "visual video face faces faus fau au aus openface vggface facenet farl gaze pose light "
    "vit densenet",
    "text": "text bert transcript words",
    "physiology": "physiology physiological bio biosignals ecg eda gsr bvp bpm resp emg skt heart",
}
RANGES = (
    (-1, 1), (0, 1), (1, 5), (1, 7), (1, 9), (0.5, 9.5), (0, 10), (0, 100), (-100, 100), (0, 1000),
    (-1000, 1000),
)  # fmt: skip
"""Scales that people use, the likelier first."""
NAMES_SHOWN = 3
RATER_NAMES = _words("rater rater_id raterid annotator annotator_id annotatorid")
"""Columns that name the rater of each row."""


class EntryKeys(TypedDict, total=False):
    """The keys of a target or a feature set in streams.yaml that a draft may have."""

    modality: str
    range: list[float]
    files: str
    recording_column: str | None
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
    there is a list of recordings; `remarks` are what to look at before an import. `labelled` are the
    recordings that have a label of some target."""

    folder: Path
    listing: str
    targets: dict[str, DraftedEntry] = field(default_factory=dict)
    features: dict[str, DraftedEntry] = field(default_factory=dict)
    frames_per_second: float | None = None
    recordings: str | None = None
    remarks: list[str] = field(default_factory=list)
    files: tuple[Path, ...] = ()
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


def write_draft(source: Path) -> StreamsDraft:
    """Write streams.yaml, and recordings.csv where no file lists the recordings, for the folder or
    the one file `source`; InputError where streams.yaml is there, or the files tell no streams."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    draft = draft_streams(source)
    description = draft.folder / "streams.yaml"
    if description.exists():
        raise InputError(f"{description}: is there already; remove it to have a draft written")
    files = [description]
    if draft.recordings is not None:
        files.append(draft.folder / RECORDINGS)
        _write(files[-1], draft.recordings)
    _write(description, draft.text())
    return replace(draft, files=tuple(files))


def _write(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def other_layout(source: Path) -> list[str]:
    """Advice for a source that is no table: the streams.yaml that its files look like, and the
    command that writes it; none for other folders."""
    try:
        draft = draft_streams(source)
    except (InputError, OSError):
        return []
    if (
        len({entry.keys["files"] for entry in (*draft.targets.values(), *draft.features.values())})
        < 2
    ):
        if source.is_dir():
            return []
        kind = "one file of all recordings"
    else:
        kind = "streams in files of their own, with clocks of their own"
    lines = "\n".join(f"    {line}" for line in draft.text().splitlines())
    return [
        f"{source}: it looks like {kind}. `va-search data draft {quote(str(source))}` writes this "
        f"{draft.folder / 'streams.yaml'}, and `{draft.command}` imports it:\n{lines}"
    ]


def draft_streams(source: Path) -> StreamsDraft:
    """The draft for the folder, or the one file, `source`; InputError where its files tell no labels
    or no features."""
    folder = look_through(source)
    draft = StreamsDraft(folder.path, folder.listing or RECORDINGS)
    for stream in folder.streams:
        _add_stream(draft, stream, folder)
    if not draft.targets:
        raise InputError(
            f"{source}: no labels found: no folder is called labels or annotations, and no column is "
            f"one of {', '.join(sorted(DIMENSIONS))}"
        )
    if not draft.features:
        raise InputError(f"{source}: no features found besides the labels")
    if folder.listing is None:
        _divide(draft, folder)
    _find_clocks(draft, folder)
    return draft


def _divide(draft: StreamsDraft, folder: StreamFolder) -> None:
    """Write recordings.csv: recordings whose split nothing tells are of train where they have a
    label, of test where they have none."""
    unlabelled = []
    for row in folder.rows:
        if row["split"]:
            continue
        row["split"] = "train"
        if row["recording"] not in draft.labelled:
            row["split"] = "test"
            unlabelled.append(row["recording"])
    draft.recordings = _recordings_text(folder.rows)
    draft.remarks.append(
        f"{RECORDINGS}: the subject of each recording is a guess; people must not be in two splits"
    )
    if unlabelled:
        draft.remarks.append(
            f"{RECORDINGS}: no labels of {counted(len(unlabelled), 'recording')} "
            f"({shortened(unlabelled, NAMES_SHOWN)}), so test"
        )
    if not folder.has_splits:
        labelled = "all with labels are" if unlabelled else "all are"
        draft.remarks.append(
            f"{RECORDINGS}: nothing tells splits, so {labelled} train; write validation and test "
            "where they are, or let `va-search data folds` divide them"
        )


def _recordings_text(rows: Sequence[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _add_stream(draft: StreamsDraft, stream: StreamFiles, folder: StreamFolder) -> None:
    """Add the targets and the feature set that lie in the files of a stream."""
    keys: EntryKeys = {"files": stream.pattern}
    if stream.is_whole:
        keys["recording_column"] = stream.recording_column
    words = set(re.split(r"[^a-z]+", stream.pattern.lower()))
    has_labels = bool(words & LABEL_WORDS)
    dimensions = [name for name in stream.values if name.lower() in DIMENSIONS]
    naming = [name for name in stream.header if name.lower() in RATER_NAMES]
    others = [name for name in stream.values if name not in (*dimensions, *naming)]
    if dimensions:
        for name in dimensions:
            _add_target(draft, name, _target(stream, keys, [name], name, draft.labelled))
    elif has_labels:
        name = _last_folder(stream.pattern, LABEL_WORDS)
        raters = [
            column for column in others if words_of(column)[:1] in [("rater",), ("annotator",)]
        ]
        if len(others) > 1 and raters:
            target = _target_name(name or "label")
            _add_target(draft, target, _target(stream, keys, raters, name, draft.labelled))
        for column in others if not raters else []:
            target = _target_name(name if name and len(others) == 1 else column)
            _add_target(draft, target, _target(stream, keys, [column], target, draft.labelled))
    if has_labels or not others:
        return
    name = re.sub(r"[^\w.+-]", "_", _last_folder(stream.pattern) or "features", flags=re.ASCII)
    if name in draft.features:
        name = f"{name}_{len(draft.features)}"
    modality = _modality(stream)
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


def _target_name(name: str) -> str:
    name = re.sub(r"[^\w-]", "_", name, flags=re.ASCII)
    return name if name_problem(name) is None else f"target_{name}"


def _last_folder(pattern: str, without: frozenset[str] = frozenset()) -> str:
    """The last part of a pattern that has no braces and is none of the words `without`, and no file's
    ending; "" where there is none."""
    parts = [part.partition(".")[0] for part in pattern.split("/")]
    named = [part for part in parts if "{" not in part and part.lower() not in without]
    return named[-1] if named else ""


def _modality(stream: StreamFiles) -> str:
    """The modality of the words in a pattern, else of those in the columns' names."""
    for text in (stream.pattern, " ".join(stream.values[:100])):
        words = set(re.split(r"[^a-z]+", text.lower()))
        for modality, names in MODALITIES.items():
            if words & set(names.split()):
                return modality
    return "other"


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
        labels = read_numbers(path, columns)
        has_label = np.isfinite(labels)
        labelled |= _labelled_in(stream, recording, np.flatnonzero(has_label.any(axis=1)))
        labels = labels[has_label]
        low, high = min(low, labels.min(initial=low)), max(high, labels.max(initial=high))
    wide = max(high - low, 1e-9)
    fitting = [ends for ends in RANGES if ends[0] <= low and high <= ends[1]]
    ends = min(fitting, key=lambda ends: ends[1] - ends[0], default=(low - wide, high + wide))
    if not np.isfinite(low):
        ends = RANGES[0]
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
        draft.remarks += [f"to be put right: {problem}" for problem in problems]
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
