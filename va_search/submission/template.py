"""The organisers' own files, filled: `submit --template DIR`.

    DIR/<recording>.csv     any rows at any rate, with a column of times or frames and a column a target
    DIR/a/<recording>.csv   the same in folders, whose names may be the recordings' as well
    DIR/<any>.csv           one file of all recordings: a column says whose each row is (split_file.py)

Conventions: only the cells of the targets change, which are found by name. File names, columns, order
of rows, separator, line ends and every other cell stay as they are, times as they were written. A row
that names a frame takes its prediction; a row that has a time takes, where rows come no faster than
frames, the prediction of the nearest frame, and where they come faster, the value on the line between
the two frames around it. Before the first frame and behind the last one, at most half a frame away,
their values are held; any other row that no frame is near to is refused. Values have 6 decimals, and
a decimal comma where the file has them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from va_search.data.clock import SAME_TIME
from va_search.data.csv_reader import separator_of
from va_search.data.frame_names import (
    RecordingFrames,
    first_number,
    frames_of_column,
    recording_name,
)
from va_search.data.frame_rows import name_rows, refuse_outside
from va_search.data.problems import first_few, unknown_column
from va_search.data.readers import empty_lines, read_header
from va_search.data.row_checks import (
    parts_out_of_order,
    refuse_shuffled,
    rows_of_other_people,
    several_people,
)
from va_search.data.row_times import RowTimes, rows_by_time
from va_search.data.split_file import SplitFile, names_recordings, split_file
from va_search.data.store import Recording, Store
from va_search.data.text_layout import csv_layout
from va_search.errors import InputError, unknown_name
from va_search.files import file_name_of

LINE_END = re.compile(r"\r\n|\r|\n")
SUFFIXES = (".csv", ".tsv", ".txt")
PROBLEMS = 20
Values = NDArray[np.float64]


@dataclass(frozen=True)
class FilledFile:
    """One file of the organisers' with predictions in it, by its path in their folder: `lines` are
    its rows as cells (the header first), each as it was written, `ends` their line ends. Row i of
    `values` (rows, targets) stands in `lines[rows[i]]`, in the columns `columns`."""

    name: str
    separator: str
    lines: list[list[str]]
    ends: list[str]
    rows: list[int]
    columns: tuple[int, ...]
    values: Values
    decimal: str = "."

    def text(self) -> str:
        """Return the whole file."""
        lines = [list(cells) for cells in self.lines]
        for line, row in zip(self.rows, self.values.tolist(), strict=True):
            for column, value in zip(self.columns, row, strict=True):
                text = f"{value:.6f}".replace(".", self.decimal)
                lines[line][column] = f'"{text}"' if self.decimal == self.separator else text
        joined = [self.separator.join(cells) for cells in lines]
        return "".join(line + end for line, end in zip(joined, self.ends, strict=True))

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_bytes(self.text().encode())

    def written(self, path: Path) -> Values | None:
        """Return (rows, targets) of a written file; None where anything but the targets' cells is
        not what it was in the template."""
        lines = _rows_of(path.read_bytes().decode(), self.separator).cells
        if len(lines) != len(self.lines):
            return None
        filled = set(self.rows)
        for number, (cells, template) in enumerate(zip(lines, self.lines, strict=True)):
            kept, expected = list(cells), list(template)
            if number in filled and len(kept) == len(expected):
                for column in self.columns:
                    kept[column] = expected[column] = ""
            if kept != expected:
                return None
        numbers = []
        for line in self.rows:
            cells = [lines[line][column] for column in self.columns]
            numbers.append([float(cell.strip('"').replace(self.decimal, ".")) for cell in cells])
        return np.array(numbers, dtype=np.float64).reshape(len(self.rows), len(self.columns))


def fill_template(
    values: Values, test: Sequence[Recording], store: Store, template: Path
) -> list[FilledFile]:
    """Return the organisers' files in the folder `template` with predictions in them.

    `values` (frames, targets) are those of the test recordings one after another. InputError with
    all problems: no such folder, files of no test recording, test recordings without a file, columns
    of targets that are missing, rows that name no frame."""
    if not template.is_dir():
        state = "a file" if template.exists() else "no such folder"
        raise InputError(
            f"--template {template}: {state}, expected the folder of the organisers' files"
        )
    files = []
    for path in sorted(template.rglob("*")):
        is_hidden = any(part.startswith(".") for part in path.relative_to(template).parts)
        if path.is_file() and not is_hidden:
            files.append(path)
    if not files:
        raise InputError(f"--template {template}: empty, expected the organisers' files")
    by_name = {recording.name: recording for recording in test}
    spans = {}
    start = 0
    for recording in test:
        spans[recording.name] = values[start : start + recording.frames]
        start += recording.frames
    with TemporaryDirectory(prefix="va-search-template-") as scratch:
        pieces, problems = _pieces(template, files, store, by_name, Path(scratch))
        covered = {piece.recording.name for piece in pieces}
        for name in by_name:
            if name not in covered:
                problems.append(f"{template}: no file or row of test recording {name!r}")
        first = first_number({piece.file: piece.frames for piece in pieces})
        filled: dict[Path, dict[int, Values]] = {}
        for piece in pieces:
            try:
                rows = piece.predictions(spans[piece.recording.name], store, first)
            except InputError as error:
                problems += [piece.told(problem) for problem in error.problems]
                continue
            by_line = filled.setdefault(piece.source, {})
            by_line |= dict(zip(piece.lines, rows, strict=True))
        sheets = []
        for path, by_line in filled.items():
            try:
                name = path.relative_to(template).as_posix()
                sheets.append(_filled(path, name, by_line, store))
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(*first_few(problems, PROBLEMS))
    return sheets


@dataclass(frozen=True)
class _Piece:
    """The rows of one recording: `file` has them alone, `source` is the organisers' file, and
    `lines` their lines in it, from 1."""

    source: Path
    file: Path
    recording: Recording
    frames: RecordingFrames
    lines: Sequence[int]
    split: SplitFile | None = None

    def told(self, problem: str) -> str:
        """Return a problem in words on the organisers' file."""
        return problem if self.split is None else self.split.told(problem)

    def predictions(self, values: Values, store: Store, first: int) -> Values:
        """(rows, targets) out of `values` (frames, targets) of the recording."""
        header = read_header(self.file)
        missing = [name for name in store.target_names if name not in header]
        if missing:
            raise InputError(*(f"{self.file}: {unknown_column(name, header)}" for name in missing))
        roles = self.frames.roles_of(self.file, store.target_names)
        problems = several_people(self.file, roles.people, None)
        problems += rows_of_other_people(self.file, roles, self.frames)
        problems += parts_out_of_order(self.file, roles, self.frames)
        if problems:
            raise InputError(*problems)
        for column in (*roles.frames, *roles.texts):
            if frames_of_column(self.file, column, self.frames, first) is None:
                continue
            # All columns that name frames must agree, and times beside them increase with them.
            named = name_rows(self.file, roles, self.frames, first=first)
            assert named.frames is not None
            refuse_outside(self.file, named.frames, self.frames, first=first)
            return values[named.frames]
        own = self.frames.own_clock
        clocks = [own] if own in roles.clocks else roles.clocks
        if clocks:
            assert clocks[0] is not None
            return _at_times(rows_by_time(self.file, clocks[0], self.frames.frame_times), values)
        refuse_shuffled(self.file, roles, store.target_names)
        if len(self.lines) != len(values):
            raise InputError(
                f"{self.file}: {len(self.lines)} rows and no column that names frames or times, "
                f"expected {len(values)}, one per frame"
            )
        return values


def _at_times(rows: RowTimes, values: Values) -> Values:
    """(rows, targets) at the rows' times: of the nearest frame, or linear between two frames where
    rows come faster than frames."""
    if rows.step >= 1 - SAME_TIME:
        return values[rows.frames]
    between = np.empty((len(rows.times), values.shape[1]))
    for part in rows.parts:
        own = rows.known.times[part.frames]
        order = np.argsort(own, kind="stable")
        times, row_times = own[order], rows.times[part.rows]
        columns = [np.interp(row_times, times, column[order]) for column in values[part.frames].T]
        between[part.rows] = np.stack(columns, axis=1)
        if len(times) < 2:
            continue
        # Nothing is carried across a gap: there the nearest frame's value is held.
        right = np.searchsorted(times, row_times).clip(1, len(times) - 1)
        is_gap = times[right] - times[right - 1] > 1.5 * rows.known.interval
        nearest = values[rows.frames[part.rows]]
        between[part.rows][is_gap] = nearest[is_gap]
    return between


def _pieces(
    template: Path,
    files: Sequence[Path],
    store: Store,
    test: dict[str, Recording],
    scratch: Path,
) -> tuple[list[_Piece], list[str]]:
    """The rows of each test recording in the organisers' files, and problems: files that are of no
    test recording, of no format that is read, or two of one recording."""
    stems: dict[str, Recording] = {
        file_name_of(name): recording for name, recording in test.items()
    }
    stems |= test
    pieces: list[_Piece] = []
    problems: list[str] = []
    for number, file in enumerate(files):
        if file.suffix not in SUFFIXES:
            problems.append(f"{file}: not one of {', '.join(SUFFIXES)}; keep other files elsewhere")
            continue
        recording = _recording_of(file.relative_to(template), stems)
        try:
            if recording is None and not names_recordings(file, test):
                problems.append(f"{file}: {unknown_name('test recording', file.stem, test)}")
                continue
            problems += empty_lines(file)
            if recording is not None:
                frames = RecordingFrames.of(recording, store)
                lines = _rows_of(_text(file), separator_of(file)).lines
                pieces.append(_Piece(file, file, recording, frames, lines[1:]))
                continue
            folder = scratch / str(number)
            folder.mkdir()
            split = split_file(file, set(test), folder, "test recording of the store")
        except InputError as error:
            problems += error.problems
            continue
        for name, part in split.parts.items():
            frames = RecordingFrames.of(test[name], store)
            pieces.append(_Piece(file, part, test[name], frames, split.lines[name], split))
    counts = Counter(piece.recording.name for piece in pieces)
    for name, count in counts.items():
        if count > 1:
            own = [piece.source for piece in pieces if piece.recording.name == name]
            of = ", ".join(path.relative_to(template).as_posix() for path in own)
            problems.append(f"{template}: {count} files of test recording {name!r}: {of}")
    return pieces, problems


def _recording_of(file: Path, stems: dict[str, Recording]) -> Recording | None:
    """The recording that a file in the template is called by, or a folder that it lies in."""
    names = [file.with_suffix("").as_posix(), file.stem, recording_name(file.stem)]
    names += reversed(file.parts[:-1])
    return next((stems[name] for name in names if name in stems), None)


def _filled(file: Path, name: str, by_line: dict[int, Values], store: Store) -> FilledFile:
    separator = separator_of(file)
    whole = _rows_of(_text(file), separator)
    header = read_header(file)
    columns = tuple(header.index(name) for name in store.target_names)
    rows = [row for row, line in enumerate(whole.lines) if line in by_line]
    short = [row for row in rows if len(whole.cells[row]) != len(header)]
    if short:
        row = short[0]
        raise InputError(
            f"{file}:{whole.lines[row]}: {len(whole.cells[row])} cells, expected {len(header)}"
        )
    values = np.array([by_line[whole.lines[row]] for row in rows])
    decimal = csv_layout(file).decimal
    return FilledFile(name, separator, whole.cells, whole.ends, rows, columns, values, decimal)


def _text(file: Path) -> str:
    return file.read_bytes().decode()


@dataclass(frozen=True)
class _Rows:
    """The rows of a text file: the cells of each as they are written, quotation marks and spaces
    too, its line's end, and the line, from 1, in which it ends."""

    cells: list[list[str]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def _rows_of(text: str, separator: str) -> _Rows:
    """The rows of a text; a cell in quotation marks may hold the separator and line ends. Empty
    lines at the end are no rows: they stay with the last row's end."""
    edge = re.escape(separator)
    quoted = rf'"(?:[^"]|"")*"[^{edge}\r\n]*'
    cell = re.compile(rf"({quoted}|[^{edge}\r\n]*)({edge}|\r\n|\r|\n|\Z)")
    rows = _Rows()
    cells: list[str] = []
    line = 1
    position = 0
    while position < len(text) or cells:
        match = cell.match(text, position)
        assert match is not None
        position = match.end()
        cells.append(match[1])
        line += len(LINE_END.findall(match[1]))
        if match[2] == separator:
            continue
        rows.cells.append(cells)
        rows.ends.append(match[2])
        rows.lines.append(line)
        cells = []
        line += 1
    while len(rows.cells) > 1 and rows.cells[-1] == [""]:
        rows.cells.pop()
        rows.lines.pop()
        end = rows.ends.pop()
        rows.ends[-1] += end
    return rows
