"""The samples of one recording as its files have them: times on a clock, values, and the parts of
the recording that they belong to.

Conventions: samples are (samples, columns) float64, times (samples,) seconds that increase within a
part. A part is a stretch of one clock: it ends where the clock starts again. Parts of two streams
are the same where their segments have the same name, or, without names, where they have the same
number. A row with an empty or infinite cell, or that does not count (validity.py), is missing and
left out: it is a hole in the stream."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np

from va_search.data.arrays import Flags, Floats, Indexes
from va_search.data.column_names import Roles, roles_of
from va_search.data.problems import listed, refuse, unknown_column
from va_search.data.readers import read_header, read_numbers, read_strings, rows_by_text
from va_search.data.resampling import usual_step
from va_search.data.stream_clock import StreamClock, refuse_strange_times, restarts_of
from va_search.data.streams_document import ALL_OTHERS, DATETIME, FeatureStream, Stream
from va_search.data.time_texts import datetimes
from va_search.data.validity import Validity
from va_search.errors import InputError

SEGMENT_NAMES = ("segment_id", "segment", "session", "session_id")
COLUMNS_SHOWN = 8
RECORDING_NAMES = ("recording", "recording_id", "video", "video_id", "id", "Id")


@dataclass(frozen=True)
class Samples:
    """Samples of a stream in one recording. `written` (samples,) are times as the file has them.

    `parts` (samples,) count from 0 where the clock starts again; `segments` are names of segments
    and their first samples, None without such a column; `missing` is the number of rows that were
    left out, `invalid` of those among them that do not count."""

    times: Floats
    written: Floats
    values: Floats
    parts: Indexes
    segments: tuple[tuple[str, int], ...] | None = None
    missing: int = 0
    invalid: int = 0

    @property
    def restarts(self) -> bool:
        """True where the clock starts again."""
        return bool(self.parts.size) and int(self.parts[-1]) > 0

    @cached_property
    def step(self) -> float:
        """The usual seconds from sample to sample, NaN for fewer than two."""
        steps = np.diff(self.times)
        if self.restarts:
            steps = steps[(np.diff(self.parts) == 0) & (steps > 0)]
        return usual_step(steps) if steps.size else float("nan")

    def only(self, rows: Indexes) -> Samples:
        """The samples at `rows`, which increase; a segment begins at its first row that is left."""
        if len(rows) == len(self.times):
            return self
        segments = self.segments
        if segments is not None:
            names = [name for name, _ in segments]
            begins = np.searchsorted(rows, [begin for _, begin in segments])
            ends = [*begins[1:].tolist(), len(rows)]
            bounds = zip(names, begins.tolist(), ends, strict=True)
            segments = tuple((name, begin) for name, begin, end in bounds if begin < end)
        return Samples(
            self.times[rows],
            self.written[rows],
            self.values[rows],
            self.parts[rows],
            segments,
            self.missing + len(self.times) - len(rows),
            self.invalid,
        )

    def spans(self, *, by_segment: bool) -> dict[str, slice]:
        """The samples of each part, by the name of its segment or by its number."""
        if by_segment and self.segments is not None:
            names = [name for name, _ in self.segments]
            begins = [begin for _, begin in self.segments]
        else:
            begins = [0, *(np.flatnonzero(np.diff(self.parts)) + 1).tolist()]
            begins = begins if len(self.times) else []
            names = [str(self.parts[begin]) for begin in begins]
        ends = [*begins[1:], len(self.times)]
        spans = {}
        for name, begin, end in zip(names, begins, ends, strict=True):
            spans[name] = slice(begin, end)
        return spans


@dataclass
class SharedFiles:
    """Columns of files that hold all recordings, each read once; safe to use from several
    threads."""

    _texts: dict[tuple[Path, str], list[str]] = field(default_factory=dict)
    _rows: dict[tuple[Path, str], dict[str, Indexes]] = field(default_factory=dict)
    _numbers: dict[tuple[Path, tuple[str, ...]], Floats] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __reduce__(self) -> tuple[type[SharedFiles], tuple[()]]:
        """Pickled empty: another process reads the files itself."""
        return SharedFiles, ()

    def texts(self, file: Path, column: str) -> list[str]:
        """The cells of a column."""
        with self._lock:
            if (file, column) not in self._texts:
                self._texts[file, column] = read_strings(file, column)
            return self._texts[file, column]

    def rows(self, file: Path, column: str) -> dict[str, Indexes]:
        """Rows of each text in a column."""
        with self._lock:
            if (file, column) not in self._rows:
                self._rows[file, column] = rows_by_text(self.texts(file, column))
            return self._rows[file, column]

    def numbers(self, file: Path, columns: tuple[str, ...]) -> Floats:
        """(rows, columns) of the whole file."""
        with self._lock:
            if (file, columns) not in self._numbers:
                self._numbers[file, columns] = read_numbers(file, columns)
            return self._numbers[file, columns]


@dataclass(frozen=True)
class StreamFile:
    """A file of a stream, and its rows of one recording (or of one rater): `chosen` are pairs of a
    column and the text that the rows must have there."""

    file: Path
    header: tuple[str, ...]
    roles: Roles
    segment_column: str | None
    validity: Validity
    chosen: tuple[tuple[str, str], ...]
    shared: SharedFiles

    @property
    def choosing(self) -> list[str]:
        """The columns by which rows are chosen."""
        return [column for column, _ in self.chosen]

    def rows(self) -> Indexes | None:
        """Rows of the file in its order; None for all of them."""
        rows: Indexes | None = None
        for column, text in self.chosen:
            named = self.shared.rows(self.file, column).get(text, np.zeros(0, dtype=np.int64))
            rows = named if rows is None else np.intersect1d(rows, named)
        return rows

    def texts(self, column: str) -> list[str]:
        """The cells of a column in the recording's rows."""
        rows = self.rows()
        if rows is None:
            return read_strings(self.file, column)
        texts = self.shared.texts(self.file, column)
        return [texts[row] for row in rows.tolist()]

    def numbers(self, columns: Sequence[str]) -> Floats:
        """(rows, columns) of the recording's rows."""
        rows = self.rows()
        if rows is None:
            return read_numbers(self.file, columns)
        return self.shared.numbers(self.file, tuple(columns))[rows]

    def clock_times(self, column: str, unit: str | None) -> Floats:
        """(rows,) the recording's times as they are written; dates and times of day in seconds."""
        if unit != DATETIME:
            return self.numbers([column])[:, 0]
        rows = self.rows()
        seconds = datetimes(self.file, column)
        return seconds if rows is None else seconds[rows]

    def only(self, column: str, text: str) -> StreamFile:
        """The same file, of whose rows only those with a text in a column are taken."""
        return replace(self, chosen=(*self.chosen, (column, text)))

    def read(self, clock: StreamClock, columns: Sequence[str], *, complete: bool) -> Samples:
        """The samples; with `complete`, rows with an empty cell are left out as missing."""
        # One pass over the file reads values, clock and what tells which rows count.
        sheet = [*columns]
        telling = self.validity.columns if complete else ()
        for column in (clock.number_column, *telling):
            if column is not None and column not in sheet:
                sheet.append(column)
        numbers = self.numbers(sheet)
        values = numbers[:, : len(columns)]
        if clock.column is None:
            written = np.arange(len(values), dtype=np.float64) + clock.counts_from
        elif clock.number_column is None:
            written = self.clock_times(clock.column, clock.unit)
        else:
            written = numbers[:, sheet.index(clock.column)]
        samples = self._divided(clock, written, values)
        if not complete:
            return samples
        counts = self.validity.rows(numbers, sheet)
        samples = replace(samples, invalid=int((~counts).sum()))
        whole = np.isfinite(values).all(axis=1)
        return samples.only(np.flatnonzero(whole & counts))

    def _divided(self, clock: StreamClock, written: Floats, values: Floats) -> Samples:
        """Samples of all rows, divided into parts and segments; InputError for a clock that is
        none."""
        segments: tuple[tuple[str, int], ...] | None = None
        new_segment: Flags | None = None
        if self.segment_column is not None:
            texts = self.texts(self.segment_column)
            changes = [a != b for a, b in pairwise(texts)]
            new_segment = np.array([False, *changes][: len(texts)], dtype=bool)
            begins = [*range(min(1, len(texts))), *np.flatnonzero(new_segment).tolist()]
            segments = tuple((texts[begin], begin) for begin in begins)
            refuse(self._repeated_segments(segments))
        parts = np.zeros(len(values), dtype=np.int64)
        if clock.column is None:
            refuse(self._unfit_for_a_rate(segments))
            return Samples(clock.seconds(written), written, values, parts, segments)
        rows = self.rows()
        lines = range(len(values)) if rows is None else rows.tolist()
        refuse_strange_times(self.file, lines, written, clock.column)
        restarts = restarts_of(self.file, lines, written, clock.column, new_segment)
        # Once a clock starts again, each segment is a part of its own.
        if restarts.any() and new_segment is not None:
            restarts = new_segment
        parts = np.cumsum(restarts)
        if clock.unit == "frames" and len(written) and written.min() < clock.counts_from:
            raise InputError(
                f"{self.file}: column {clock.column!r} begins at {written.min():g}, but frames "
                f"count from {clock.counts_from}; say `counts_from: 0` in streams.yaml"
            )
        return Samples(clock.seconds(written), written, values, parts, segments)

    def _unfit_for_a_rate(self, segments: Sequence[tuple[str, int]] | None) -> list[str]:
        """A problem where samples without a clock have several segments."""
        if segments is None or len(segments) < 2:
            return []
        return [
            f"{self.file}: column {self.segment_column!r} tells several segments, and without a "
            "clock nothing tells when each begins; name the clock with `clock:` in streams.yaml"
        ]

    def _repeated_segments(self, segments: Sequence[tuple[str, int]]) -> list[str]:
        """A problem where the rows of a segment do not follow each other."""
        counts = Counter(name for name, _ in segments)
        twice = [name for name, count in counts.items() if count > 1]
        if not twice:
            return []
        return [
            f"{self.file}: column {self.segment_column!r}: segment {twice[0]!r} stands in two "
            "places; the rows of a segment must follow each other"
        ]


def open_stream_file(
    file: Path,
    shared: SharedFiles,
    stream: Stream,
    recording: str,
) -> StreamFile:
    """A file of a stream, its header looked at, and its rows of one recording. InputError where a
    declared column is not in it, or nothing names the recording of rows."""
    header = read_header(file)
    for column in (stream.segment_column, stream.recording_column):
        if column is not None and column not in header:
            raise InputError(f"{file}: {unknown_column(column, header)}")
    segments = [name for name in SEGMENT_NAMES if name in header]
    segment_column = stream.segment_column or next(iter(segments), None)
    chosen: tuple[tuple[str, str], ...] = ()
    # A pattern without the recording's name gives one file for several.
    if "recording" not in stream.fields:
        columns = [name for name in RECORDING_NAMES if name in header]
        recording_column = stream.recording_column or next(iter(columns), None)
        if recording_column is None:
            raise InputError(
                f"{file}: one file for all recordings, and no column that names them; give "
                "`recording_column:` in streams.yaml, or {recording} in `files`"
            )
        chosen = ((recording_column, recording),)
    roles = roles_of(header, clock=stream.clock)
    declared = stream.valid if isinstance(stream, FeatureStream) else None
    validity = Validity.of(declared, roles)
    for column in validity.columns:
        if column not in header:
            raise InputError(f"{file}: valid: {unknown_column(column, header)}")
    return StreamFile(file, tuple(header), roles, segment_column, validity, chosen, shared)


def matching_columns(
    stream_file: StreamFile, patterns: Sequence[str], taken: Sequence[str], key: str
) -> list[str]:
    """The columns of a feature set in the header's order: those that patterns name, `all others`
    but bookkeeping and columns that are `taken`. InputError for a pattern that names none."""
    others = []
    for name in stream_file.roles.values:
        is_bookkeeping = name == stream_file.segment_column or name in stream_file.choosing
        if name not in taken and not is_bookkeeping:
            others.append(name)
    chosen: set[str] = set()
    problems = []
    for pattern in patterns:
        if pattern in stream_file.header:
            chosen.add(pattern)
            continue
        matches = [name for name in others if pattern == ALL_OTHERS or fnmatchcase(name, pattern)]
        if not matches:
            problems.append(f"{stream_file.file}: {key}.columns: {unknown_column(pattern, others)}")
        chosen.update(matches)
    refuse(problems)
    return [name for name in stream_file.header if name in chosen]


def other_columns(
    stream_file: StreamFile,
    columns: Sequence[str],
    patterns: Sequence[str],
    taken: Sequence[str],
    key: str,
) -> list[str]:
    """Problems where a recording's file has other columns of a feature set than the first file has:
    `columns`."""
    file = stream_file.file
    lacking = [name for name in columns if name not in stream_file.header]
    if lacking:
        return [f"{file}: {unknown_column(lacking[0], stream_file.header)}"]
    own = matching_columns(stream_file, patterns, taken, key)
    more = [name for name in own if name not in columns]
    if not more:
        return []
    return [
        f"{file}: {key}: column {listed(more, COLUMNS_SHOWN)} is not in the stream's first file; "
        "all files of a feature set have the same columns, or `columns:` names those to take"
    ]
