"""One file with the rows of many recordings, cut into a file for each.

Conventions: a column that names recordings (`recording`, `image_location`: v1/00001.jpg) says whose
each row is. The parts lie in a temporary folder; `told` turns a message on a part into one on the
file, with the line that the row has there."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from va_search.data.column_names import roles_of
from va_search.data.csv_reader import csv_rows, text_of
from va_search.data.frame_names import CROP, IMAGE_NAME, recording_name, with_sessions
from va_search.data.problems import and_more, near_name, refuse
from va_search.data.readers import empty_lines, first_cells, is_number, read_header
from va_search.data.text_layout import csv_layout
from va_search.errors import InputError

CELLS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class SplitFile:
    """`parts`: the file of each recording; `lines`: the line in `file` of each of a part's lines,
    from its second on."""

    file: Path
    parts: dict[str, Path] = field(default_factory=dict)
    lines: dict[str, array[int]] = field(default_factory=dict)

    def told(self, problem: str) -> str:
        """Return a message in which `file` and its lines stand for the parts and theirs."""
        for name, part in self.parts.items():
            if str(part) not in problem:
                continue
            lines = self.lines[name]

            def of_file(match: re.Match[str], lines: array[int] = lines) -> str:
                row = int(match[1]) - 2
                return f"{self.file}:{lines[row]}:" if 0 <= row < len(lines) else f"{self.file}:"

            problem = re.sub(re.escape(str(part)) + r":(\d+):", of_file, problem)
            problem = problem.replace(str(part), f"{self.file}, recording {name!r}")
        return problem


def names_recordings(file: Path, recordings: Collection[str]) -> bool:
    """Return True where a column of a file names the recording of each row, one of `recordings`, or
    its image."""
    roles = with_sessions(file, roles_of(read_header(file)), recordings)
    cells = first_cells(file, roles.frames)
    return bool(roles.texts) or not all(is_number(cell) for cell in cells.values())


def split_file(
    file: Path,
    recordings: Collection[str],
    folder: Path,
    expected: str = "recording of the store",
) -> SplitFile:
    """Write the rows of each recording to a CSV of its own in `folder`; `expected` says in messages
    what the `recordings` are.

    InputError where no column names recordings, or a row names none of them."""
    header = read_header(file)
    refuse(empty_lines(file))
    roles = with_sessions(file, roles_of(header), recordings)
    columns = [header.index(name) for name in (*roles.texts, *roles.frames)]
    waiting: dict[str, list[list[str]]] = {}
    waiting_rows = 0
    split = SplitFile(file)
    layout = csv_layout(file)
    strangers: list[tuple[int, str]] = []
    named: dict[str, str | None] = {}
    for line, cells in csv_rows(file):
        recording = None
        for column in columns:
            if column >= len(cells) or recording is not None:
                continue
            text = cells[column].strip()
            folders, _, name = text.rpartition("/")
            key = folders if folders and CROP.fullmatch(name) else text  # v1/00001.jpg: by folder
            if key not in named:
                named[key] = _recording_in(text, recordings)
            recording = named[key]
        if recording is None:
            strangers.append((line, ", ".join(cells[column] for column in columns[:1])))
            continue
        if recording not in split.parts:
            split.parts[recording] = folder / f"{len(split.parts)}.csv"
            split.lines[recording] = array("q")
            waiting[recording] = [header]
        # A part alone may not tell what a comma in its numbers is.
        texts = [text_of(cell, layout) for cell in cells]
        waiting.setdefault(recording, []).append(texts)
        split.lines[recording].append(line)
        # Memory is that of some rows, whatever the file's size.
        waiting_rows += 1
        if waiting_rows * len(header) >= CELLS_AT_ONCE:
            _write(waiting, split)
            waiting_rows = 0
    if not split.parts:
        raise InputError(
            f"{file}: no column names the recording of each row; expected a column `recording` or "
            f"`image_location`, or a file per recording (columns: {', '.join(header[:8])})"
        )
    if strangers:
        line, text = strangers[0]
        name = recording_name(text.rpartition("/")[0] or text)
        raise InputError(
            f"{file}:{line}: {text!r} names no {expected}"
            f"{near_name(name, recordings)}{and_more(len(strangers) - 1)}"
        )
    _write(waiting, split)
    return split


def _write(waiting: dict[str, list[list[str]]], split: SplitFile) -> None:
    """Write the waiting rows behind those that their parts have, and forget them."""
    for recording, rows in waiting.items():
        with open(split.parts[recording], "a", encoding="utf-8", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows(rows)
    waiting.clear()


def _recording_in(text: str, recordings: Collection[str]) -> str | None:
    """The recording that a name, a media file or an image's path names; None for no known one."""
    folders = text.replace("\\", "/").split("/")
    candidates = [text, recording_name(text), *map(recording_name, reversed(folders[:-1]))]
    image = IMAGE_NAME.fullmatch(folders[-1])
    if image is not None:
        candidates.append(image["prefix"])
    return next((name for name in candidates if name in recordings), None)
