"""The recordings of a `streams` source: recordings.csv (recording, subject, split, and if wanted
fold, video, stimulus and columns that patterns of files name), or MuSe's partition.csv."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.draft import OTHER_SPLITS, Source, check_sources
from va_search.data.listing import DIGITS, WHOLE, two_spellings
from va_search.data.problems import refuse, unknown_column
from va_search.data.readers import read_header, read_texts
from va_search.data.stimuli import Stimuli
from va_search.data.streams_document import RATER, StreamsDocument
from va_search.data.text_layout import EMPTY
from va_search.errors import InputError
from va_search.files import file_name_of

REQUIRED = ("recording", "subject", "split")
KNOWN = (*REQUIRED, "fold", "video", "stimulus")
MUSE_NAMES = ("id",)
MUSE_SPLITS = ("partition", "proposal", "split")


@dataclass(frozen=True)
class StreamedRecording:
    """A row of recordings.csv: `cells` are its texts by column, with which patterns of files are
    filled."""

    name: str
    subject: str
    split: str
    fold: int | None
    video: str
    cells: tuple[tuple[str, str], ...]
    stimulus: str | None = None

    def fill(self, pattern: str) -> str:
        """A pattern of files with the recording's cells, each as a part of a path that every file
        system allows (`file_name_of`)."""
        for column, text in self.cells:
            if f"{{{column}}}" in pattern:
                pattern = pattern.replace(f"{{{column}}}", file_name_of(text))
        return pattern

    def source(self, frames_per_second: float, files: tuple[Path, ...]) -> Source:
        """The recording as the draft of a store knows it."""
        return Source(
            self.name,
            self.subject,
            self.video,
            self.split,
            self.fold,
            frames_per_second,
            files,
            stimulus=self.stimulus,
        )


def read_streamed_recordings(
    source: Path, document: StreamsDocument
) -> tuple[list[StreamedRecording], list[str]]:
    """Recordings in the file's order, and remarks; InputError with everything wrong and its
    line."""
    path = source / document.recordings
    header = read_header(path)
    rows, lines = read_texts(path)
    remarks: list[str] = []
    if "recording" not in header:
        renamed = _muse_columns(path, header)
        rows = [_of_muse(row, *renamed) for row in rows]
        header = [*REQUIRED]
        remarks.append(
            f"{path}: column {renamed[0]!r} names recordings, {renamed[1]!r} splits; nothing "
            "names people, so each recording is a subject of its own"
        )
    problems = [
        f"{path}: {unknown_column(name, header)}" for name in REQUIRED if name not in header
    ]
    problems += _pattern_problems(source, document, header)
    refuse(problems)
    if not rows:
        raise InputError(f"{path}: a header and no rows, expected one row per recording")
    stimuli = Stimuli.of(path, rows, document.stimulus, "streams.yaml")
    remarks += stimuli.remarks
    used = {name for stream in document.streams().values() for name in stream.fields}
    for name in header:
        if name not in KNOWN and name not in used and name not in stimuli.columns:
            remarks.append(f"{path}: column {name!r} is not used")

    recordings: list[StreamedRecording] = []
    line_of: dict[str, int] = {}
    for row, line in zip(rows, lines, strict=True):
        try:
            recording = _recording(row, stimuli)
            for name in sorted(used - {RATER}):
                if not row[name]:
                    raise InputError(f"{name} is empty, and names of files are made of it")
                file_name_of(row[name])  # it becomes a part of a path
            refuse(check_sources([recording.source(1.0, ())]))
        except InputError as error:
            problems += [f"{path}:{line}: {problem}" for problem in error.problems]
            continue
        if recording.name in line_of:
            first_line = line_of[recording.name]
            problems.append(
                f"{path}:{line}: recording {recording.name!r} is in line {first_line} already"
            )
        line_of.setdefault(recording.name, line)
        recordings.append(recording)
    for column in ("subject", "video", *stimuli.used):
        cells = [(row.get(column, ""), line) for row, line in zip(rows, lines, strict=True)]
        problems += two_spellings(path, column, cells)
    refuse(problems)
    return recordings, remarks


def _pattern_problems(source: Path, document: StreamsDocument, header: Sequence[str]) -> list[str]:
    """A problem for each name in braces that is no column of recordings.csv."""
    problems = []
    for key, stream in document.streams().items():
        for name in stream.fields:
            is_rater = name == RATER and key.startswith("targets.")
            if name not in header and not is_rater:
                problems.append(
                    f"{source / 'streams.yaml'}: {key}.files: {{{name}}} is no column of "
                    f"{document.recordings} (known: {', '.join(header)})"
                )
    return problems


def _muse_columns(path: Path, header: Sequence[str]) -> tuple[str, str]:
    """The columns of a partition.csv that name recordings and splits; InputError where it is
    none."""
    names = [name for name in header if name.lower() in MUSE_NAMES]
    splits = [name for name in header if name.lower() in MUSE_SPLITS]
    if len(names) != 1 or len(splits) != 1:
        raise InputError(f"{path}: {unknown_column('recording', header)}")
    return names[0], splits[0]


def _of_muse(row: dict[str, str], name: str, split: str) -> dict[str, str]:
    written = row[split]
    usual = OTHER_SPLITS.get(written.lower(), written)
    return {"recording": row[name], "subject": row[name], "split": usual}


def _recording(row: dict[str, str], stimuli: Stimuli) -> StreamedRecording:
    """One row; InputError with everything wrong in it."""
    problems = [f"{name} is empty" for name in REQUIRED if not row[name]]
    if row["subject"].lower() == "nan":
        problems.append(
            "subject is 'nan': a missing value that pandas wrote? Give the person's name"
        )
    if row["recording"]:
        try:
            file_name_of(row["recording"])
        except InputError as error:
            problems += error.problems
    fold = None
    text = row.get("fold", "")
    match = WHOLE.fullmatch(text)
    if match and len(match[1]) <= DIGITS:
        fold = int(match[1])
    elif text not in EMPTY:
        problems.append(
            f"fold {text!r}, expected a whole number from 0, of at most {DIGITS} digits"
        )
    refuse(problems)
    video = row.get("video", "")
    if video in EMPTY:
        video = row["recording"]
    return StreamedRecording(
        row["recording"],
        row["subject"],
        row["split"],
        fold,
        video,
        tuple(row.items()),
        stimuli.of_row(row),
    )
