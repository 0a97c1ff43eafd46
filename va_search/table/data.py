"""Tables as plain data, also for JSON, and numbers as they are written in them.

Conventions: every text is plain and may hold whatever the data holds (`<script>`, `|`, `[bold]`,
line breaks, escape sequences); the renderers escape it (plain_text.py). A line break in a column's
name is kept in the terminal and a space elsewhere. A table that can't be filled says in `missing`
why, and how to fill it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

ColumnKind = Literal["word", "number", "list", "long"]
"""Numbers stand at the right; lists (of feature sets) and long texts (of settings) get more room."""
RowKind = Literal["plain", "group", "total"]

DASH = "–"
"""Shown where there is no value."""


@dataclass(frozen=True)
class TableCell:
    """One cell. `mark`: has what the table's `mark` says; `best`: in bold; `code`: an id."""

    text: str
    mark: bool = False
    best: bool = False
    code: bool = False


@dataclass(frozen=True)
class TableColumn:
    """One column, whose `kind` says how much room its texts need and on which side they stand."""

    name: str
    kind: ColumnKind = "word"

    @property
    def title(self) -> str:
        """The name in one line."""
        return " ".join(self.name.split())


@dataclass(frozen=True)
class TableRow:
    """As many cells as columns; a `group` has one cell that spans them all, a `total` closes what
    stands above it."""

    cells: tuple[TableCell, ...]
    kind: RowKind = "plain"

    @property
    def texts(self) -> list[str]:
        """The cells' texts."""
        return [cell.text for cell in self.cells]


@dataclass(frozen=True)
class Missing:
    """The reason why there is nothing to show, a sentence, and the command that changes it."""

    why: str
    command: str | None = None


@dataclass(frozen=True)
class Table:
    """One table. `lead` stands between title and table and says what was measured; `notes` stand
    below, and under them the `command` that shows more; `mark` says what marked cells have in
    common, such as `late fusion`."""

    title: str
    columns: tuple[TableColumn, ...] = ()
    rows: tuple[TableRow, ...] = ()
    lead: str = ""
    notes: tuple[str, ...] = ()
    mark: str = ""
    missing: Missing | None = None
    command: str | None = None

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        document: dict[str, Any] = {
            "title": self.title,
            "columns": [column.title for column in self.columns],
            "rows": [table_row.texts for table_row in self.rows],
            "lead": self.lead,
            "notes": list(self.notes),
            "missing": None,
            "command": self.command,
        }
        if self.missing is not None:
            document |= {"missing": self.missing.why, "command": self.missing.command}
        return document

    def notes_with_mark(self, shown_as: str) -> list[str]:
        """The notes, the first of which explains marked cells: `Underlined: late fusion.`"""
        if not self.mark:
            return list(self.notes)
        return [f"{shown_as}: {self.mark}.", *self.notes]


def columns(*names: str, kind: ColumnKind = "word") -> tuple[TableColumn, ...]:
    """Columns of one kind by their names."""
    return tuple(TableColumn(name, kind) for name in names)


def row(*texts: str | TableCell, kind: RowKind = "plain") -> TableRow:
    """A row of texts and cells."""
    cells = []
    for text in texts:
        cells.append(TableCell(text) if isinstance(text, str) else text)
    return TableRow(tuple(cells), kind)


# Numbers ------------------------------------------------------------------------------------------


def number(value: float | None, digits: int = 3) -> str:
    """A score; a dash where there is none (None, NaN, infinite)."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return DASH
    return f"{value:+.{digits}f}".replace("-", "−")


def with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """`0.613 (0.24 to 0.85)`: a score and its interval, where it has one."""
    if value is None or interval is None:
        return number(value)
    return number(value) + _between(*interval)


def signed_with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    """`+0.021 (-0.05 to 0.09)`: a difference and its interval, where it has one."""
    if value is None or interval is None:
        return signed(value)
    return signed(value) + _between(*interval)


def _between(low: float, high: float) -> str:
    return f" ({number(low, 2)} to {number(high, 2)})"
