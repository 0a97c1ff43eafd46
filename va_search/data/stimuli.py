"""The stimulus of each recording, out of a column of recordings.csv.

Conventions: a stimulus is what the person watched or heard, so that recordings of different people
may have the same one. The column is the one that the description declares, else `stimulus`, else
the only one whose name says so (`clip`, `film_id`, `video_id`), which is told. A column that is
known by its name alone and holds nothing but numbers is not taken: they may number anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.column_names import names_a_stimulus
from va_search.data.problems import unknown_column
from va_search.data.text_layout import EMPTY
from va_search.errors import InputError, counted

STIMULUS = "stimulus"
OTHER_FACTS = frozenset(
    {"recording", "subject", "split", "fold", "rows", "frames_per_second", "video"}
)


@dataclass(frozen=True)
class Stimuli:
    """The column that names stimuli (None without one), remarks on it, and the columns that the
    remarks are about."""

    column: str | None = None
    remarks: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    @property
    def used(self) -> tuple[str, ...]:
        """The column that names stimuli, if there is one."""
        return () if self.column is None else (self.column,)

    def of_row(self, row: Mapping[str, str]) -> str | None:
        """Return the stimulus in a row of recordings.csv; None where its cell is empty."""
        if self.column is None or row[self.column] in EMPTY:
            return None
        return row[self.column]

    @classmethod
    def of(
        cls, path: Path, rows: Sequence[Mapping[str, str]], declared: str | None, document: str
    ) -> Stimuli:
        """Find the column in the rows of the file at `path`, which all have the same columns.

        `declared`: the column that the description (a file named `document`) says, or None.
        InputError where there is no such column."""
        header = list(rows[0])
        if declared is not None:
            if declared not in header:
                problem = unknown_column(declared, header)
                raise InputError(f"{path.parent / document}: stimulus: {problem}")
            return cls(declared, (), (declared,))
        if STIMULUS in header:
            return cls(STIMULUS, (), (STIMULUS,))
        columns = []
        for name in header:
            if name not in OTHER_FACTS and names_a_stimulus(name):
                columns.append(name)
        return _recognised(path, rows, columns, document)


def _recognised(
    path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str], document: str
) -> Stimuli:
    """Return the only one of the `columns` whose names say that they hold stimuli; none of them,
    with a remark, where there are several or it has only numbers."""
    if not columns:
        return Stimuli()
    column = columns[0]
    stimuli = {row[column] for row in rows} - {*EMPTY}
    advice = f"if so, write `stimulus: {column}` in {document}"
    reason = f"column {column!r} is taken for what was watched ({counted(len(stimuli), 'stimulus', 'stimuli')})"
    taken: str | None = column
    if len(columns) > 1:
        taken = None
        listed = " and ".join(map(repr, columns))
        reason = (
            f"columns {listed} may all name what was watched, so none is taken; write which one in "
            f"{document}, such as `stimulus: {column}`"
        )
    elif all(map(_is_number, stimuli)):
        taken = None
        reason = f"column {column!r} may name what was watched, but has only numbers; {advice}"
    return Stimuli(taken, (f"{path}: {reason}",), tuple(columns))


def _is_number(text: str) -> bool:
    """Return True for a text that a spreadsheet would read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
