"""Drafts of the files that describe a source, written beside what lies in its folder: dataset.yaml
for one file per recording (table_draft.py), streams.yaml for streams in files of their own
(streams_draft.py), each with recordings.csv.

Conventions: nothing is replaced unless that is asked for, and a recordings.csv that is there is
used and stays."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from va_search.data.guesses import NO_HINTS, Hints, LabelColumns, labels_in
from va_search.data.problems import unknown_column
from va_search.data.readers import ALL_SUFFIXES, suffix_of
from va_search.data.stream_folders import RECORDINGS, data_files
from va_search.data.streams_draft import draft_streams
from va_search.data.table_draft import DATASET, FILES, draft_table
from va_search.data.table_files import TableFiles, find_table
from va_search.errors import InputError, counted
from va_search.files import whole_file

STREAMS = "streams.yaml"


@dataclass(frozen=True)
class Guess:
    """A guess, and the file and line where it can be changed."""

    place: str
    text: str


@dataclass(frozen=True)
class WrittenDraft:
    """Files that were written, guesses in them, `questions` that must be answered before an import,
    and the `command` that then imports the source."""

    files: tuple[Path, ...]
    guesses: tuple[Guess, ...]
    remarks: tuple[str, ...]
    questions: tuple[str, ...]
    command: str


def write_draft(source: Path, hints: Hints = NO_HINTS, *, force: bool = False) -> WrittenDraft:
    """Write a draft for the folder, or the one file of all recordings, `source`.

    InputError where a description is there, unless `force`, and where files can't be read or tell no
    labels or features."""
    if not source.exists():
        raise InputError(f"{source}: no such file or folder")
    folder = source if source.is_dir() else source.parent
    if not force:
        _refuse_described(folder)
    table = _table_of(source)
    labels: list[LabelColumns] = []
    unknown: list[str] = []
    if table is not None:
        labels = labels_in(table.roles.values, hints.labels)
        unknown = [name for name in hints.labels if name not in table.header]
        # A file of other columns may be the one with the labels.
        if unknown and not table.left_out:
            problems = [f"--labels: {unknown_column(name, table.header)}" for name in unknown]
            raise InputError(*problems)
    # Files of one kind without labels may be features whose labels lie elsewhere.
    if table is None or not labels or unknown:
        return _write_streams(source, hints)
    has_list = (folder / RECORDINGS).is_file()
    drafted = draft_table(table, labels, hints.rate, listed_already=has_list)
    files = [drafted.description]
    if drafted.recordings is not None:
        files.append(folder / RECORDINGS)
        _write(files[-1], drafted.recordings)
    _write(drafted.description, drafted.text())
    remarks = [f"{folder / RECORDINGS}: {remark}" for remark in drafted.remarks]
    questions = [f"{drafted.description}: {question}" for question in drafted.questions]
    guesses = _guesses(drafted.description, drafted.text())
    return WrittenDraft(
        tuple(files),
        tuple(guesses),
        tuple(remarks),
        tuple(questions),
        drafted.command,
    )


def _write_streams(source: Path, hints: Hints) -> WrittenDraft:
    drafted = draft_streams(source, hints)
    description = drafted.folder / STREAMS
    files = [description]
    if drafted.recordings is not None:
        files.append(drafted.folder / RECORDINGS)
        _write(files[-1], drafted.recordings)
    _write(description, drafted.text())
    return WrittenDraft(
        tuple(files),
        tuple(_guesses(description, drafted.text())),
        tuple(f"{drafted.folder / remark}" for remark in drafted.remarks),
        tuple(f"{description}: {question}" for question in drafted.questions),
        drafted.command,
    )


def draft_advice(source: Path) -> list[str]:
    """Return what to do with a source that has no dataset.yaml: the command that drafts what its
    files look like; nothing where they look like no source."""
    init = f"va-search data init {quote(str(source))}"
    try:
        table = _table_of(source)
        if table is not None and labels_in(table.roles.values):
            return [f"{source}: `{init}` drafts {DATASET} and {RECORDINGS} from its files"]
        draft = draft_streams(source)
    except (InputError, OSError):
        return []
    entries = (*draft.targets.values(), *draft.features.values())
    if len({entry.keys["files"] for entry in entries}) < 2:
        if source.is_dir():
            return []
        kind = "one file of all recordings"
    else:
        kind = "streams in files of their own, with clocks of their own"
    lines = "\n".join(f"    {line}" for line in draft.text().splitlines())
    return [
        f"{source}: it looks like {kind}. `{init}` writes this {draft.folder / STREAMS}, and "
        f"`{draft.command}` imports it:\n{lines}"
    ]


def _refuse_described(folder: Path) -> None:
    """InputError where the folder has a description already."""
    for name, kind in ((DATASET, "table"), (STREAMS, "streams")):
        description = folder / name
        if description.exists():
            raise InputError(
                f"{description}: is there already; import it with `va-search data import {kind} "
                f"{quote(str(folder))} --to STORE`, or give --force to have a draft written in its "
                "place"
            )


def _table_of(source: Path) -> TableFiles | None:
    """The files of a folder where each is a recording with features and labels; None for other
    layouts. InputError for a folder without data files."""
    if not source.is_dir():
        return None
    paths = [path for path in data_files(source) if path.name != RECORDINGS]
    if not paths:
        raise InputError(f"{source}: no data files in it{_other_files(source)}")
    # The layout's own folder says which files are recordings, whatever else lies beside it.
    own = [path for path in paths if path.is_relative_to(source / FILES)]
    return find_table(source, own or paths)


def _other_files(folder: Path) -> str:
    """The formats that are read, and those of the files that are there."""
    suffixes = Counter(
        suffix_of(path.name) or "no ending" for path in folder.rglob("*") if path.is_file()
    )
    text = f"; read are {', '.join(ALL_SUFFIXES)}"
    if suffixes:
        counts = [f"{counted(count, 'file')} {suffix}" for suffix, count in suffixes.most_common(5)]
        text += f", found: {', '.join(counts)}. "
        if suffixes.most_common(1)[0][0] == ".txt":
            text += (
                "Tables in .txt files are read once these are called .csv, whatever separates cells"
            )
        else:
            text += "Write them as CSV or Parquet, such as by pandas"
    return text


def _guesses(file: Path, text: str) -> list[Guess]:
    """The guesses in a description, each with its line."""
    guesses = []
    for number, line in enumerate(text.splitlines(), start=1):
        entry, mark, guess = line.partition("# guess: ")
        if mark:
            key = entry.partition(":")[0].strip(" \"'")
            guesses.append(Guess(f"{file}:{number}", f"{key}: {guess}"))
    return guesses


def _write(path: Path, text: str) -> None:
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")
