"""The files of a folder that has one file per recording, with features and labels in columns, before
anybody described it.

Conventions: a recording is called like its file, or like the path to it where several files have
one name. All files but a few are of one kind: most of their columns are the same. The few others
are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from va_search.data.arrays import Floats
from va_search.data.column_names import Roles, roles_of
from va_search.data.problems import shortened
from va_search.data.readers import (
    TABLE_SUFFIXES,
    first_cells,
    read_header,
    read_numbers,
    suffix_of,
)
from va_search.data.resampling import usual_step
from va_search.errors import InputError

SAME_KIND = 0.5
"""More than this share of a file's columns is in the others too, where all are of one kind."""
COLUMNS_SHOWN = 5
STRAYS = 0.2
"""At most this share of the files, but for one, is of another kind or can't be read."""
STEP_TOLERANCE = 0.01
"""Share of the usual step by which the steps of a clock may differ."""


@dataclass(frozen=True)
class TableFiles:
    """The files of recordings by name, all below `folder` (a name below the source, or "."), and
    the columns that they have: `header` in the order of the first file, then others. `left_out`: why
    other files are none of recordings."""

    source: Path
    folder: str
    files: dict[str, Path]
    header: tuple[str, ...]
    left_out: dict[Path, str] = field(default_factory=dict)

    @property
    def roles(self) -> Roles:
        return roles_of(self.header)

    @property
    def paths(self) -> dict[str, str]:
        """The path of each recording's file below `folder`, without its ending: folders may tell
        people and splits."""
        top = self.source / self.folder
        return {name: _without_suffix(path.relative_to(top)) for name, path in self.files.items()}

    def is_number(self, column: str) -> bool:
        """Return True where the first file that has a column has numbers in it."""
        for path in self.files.values():
            if column in read_header(path):
                try:
                    read_numbers(path, [column])
                except InputError:
                    return False
                return True
        return False

    def values(self, name: str, columns: Iterable[str]) -> Floats:
        """Return the values of those columns that a recording's file has, all in a row."""
        header = read_header(self.files[name])
        present = [column for column in columns if column in header]
        return read_numbers(self.files[name], present).ravel() if present else np.zeros(0)

    def rising(self, columns: Sequence[str]) -> list[str]:
        """Return the columns that rise from row to row in equal steps in every file, as clocks and
        counts do. Files of one or two rows tell nothing."""
        candidates = list(columns)
        have_told = False
        for path in self.files.values():
            header = set(read_header(path))
            candidates = [column for column in candidates if column in header]
            if not candidates:
                return []
            try:
                values = read_numbers(path, candidates)
            except InputError:
                return []  # texts in this file alone: no clock, and the import names the line
            if len(values) <= 2:
                continue
            have_told = True
            steps = np.diff(values, axis=0)
            usual = np.median(steps, axis=0)
            with np.errstate(invalid="ignore"):
                is_even = (usual > 0) & (np.abs(steps - usual) <= usual * STEP_TOLERANCE).all(
                    axis=0
                )
            candidates = [name for name, even in zip(candidates, is_even, strict=True) if even]
        return candidates if have_told else []

    def steps(self, column: str) -> dict[str, float]:
        """Return the usual step of a clock in each recording that has one, in the clock's unit."""
        steps: dict[str, float] = {}
        for name, path in self.files.items():
            differences = np.diff(read_numbers(path, [column])[:, 0])
            forward = differences[np.isfinite(differences) & (differences > 0)]
            if forward.size:
                steps[name] = usual_step(forward)
        return steps


def find_table(source: Path, paths: Sequence[Path]) -> TableFiles | None:
    """Return the recordings' files where all but a few files are of one kind: named columns, of which
    most are in all of them, labels among them or not; None for other folders."""
    if len(paths) < 2 or not source.is_dir():
        return None
    if any(suffix_of(path.name) not in TABLE_SUFFIXES for path in paths):
        return None
    headers, left_out = _headers_of(paths)
    usual = _usual_header(headers.values())
    for path, header in list(headers.items()):
        if len(usual & set(header)) <= max(len(usual), len(header)) * SAME_KIND:
            del headers[path]
            left_out[path] = f"its columns ({shortened(header, COLUMNS_SHOWN)}) are other ones"
    are_few = len(left_out) <= max(1, len(paths) * STRAYS)
    if len(headers) < 2 or not are_few:
        return None
    common = usual.intersection(*headers.values())
    if len(common) <= len(usual) * SAME_KIND or not roles_of(common).values:
        return None
    paths = list(headers)

    # The files' folder is the source, or the only folder in it.
    folder = "."
    tops = {path.relative_to(source).parts[0] for path in paths}
    if len(tops) == 1 and (source / next(iter(tops))).is_dir():
        folder = tops.pop()
    names = [_without_suffix(path.relative_to(source / folder)) for path in paths]
    stems = [name.rpartition("/")[2] for name in names]
    if len(set(stems)) == len(stems):
        names = stems
    columns: dict[str, None] = {}
    for header in headers.values():
        columns |= dict.fromkeys(header)
    files = dict(zip(names, paths, strict=True))
    return TableFiles(source, folder, files, tuple(columns), left_out)


def _headers_of(paths: Sequence[Path]) -> tuple[dict[Path, list[str]], dict[Path, str]]:
    """The columns of each file, and why others can't be read or have no rows."""
    headers: dict[Path, list[str]] = {}
    unread: dict[Path, str] = {}
    for path in paths:
        try:
            header = read_header(path)
            has_rows = bool(first_cells(path, header[:1]))
        except InputError as error:
            unread[path] = error.problems[0].removeprefix(f"{path}: ")
            continue
        if has_rows:
            headers[path] = header
        else:
            unread[path] = "a header and no rows"
    return headers, unread


def _usual_header(headers: Iterable[Sequence[str]]) -> frozenset[str]:
    """The columns that most files have together."""
    counts = Counter(frozenset(header) for header in headers)
    return counts.most_common(1)[0][0] if counts else frozenset()


def _without_suffix(path: Path) -> str:
    name = path.as_posix()
    return name[: len(name) - len(suffix_of(name))]
