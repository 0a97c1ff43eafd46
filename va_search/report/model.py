"""What a report is made of: sections of paragraphs, tables and figures. Both writers render this
and nothing else.

Conventions: every text is plain and may hold anything that stands in the data (`<script>`, `|`,
line breaks); the writers escape it. A table without rows and a figure without pictures say in
`missing` why, and how to fill them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DASH = "–"
"""Shown where there is no value."""


@dataclass(frozen=True)
class Cell:
    """One cell. `mark`: late fusion (underlined, or in italics); `best`: the highest of its column;
    `code`: an id."""

    text: str
    mark: bool = False
    best: bool = False
    code: bool = False


@dataclass(frozen=True)
class Column:
    """One column of numbers, of short words, or of `texts`: lists of feature sets, and `wide` ones,
    of settings."""

    name: str
    number: bool = False
    texts: bool = False
    wide: bool = False


@dataclass(frozen=True)
class Row:
    """As many cells as columns; a `group` has one cell that spans them all, a `total` closes what
    stands above it."""

    cells: tuple[Cell, ...]
    kind: Literal["plain", "group", "total"] = "plain"


@dataclass(frozen=True)
class SpaceFile:
    """A search space that is written with the report, for the command that names it; `path` is
    below the report's."""

    path: Path
    about: str
    text: str


@dataclass(frozen=True)
class Missing:
    """Why there is nothing, in a sentence, and the command that changes it; it searches `space`, if
    any."""

    why: str
    command: str | None = None
    space: SpaceFile | None = None


@dataclass(frozen=True)
class Table:
    """`lead` stands between title and table and says what was measured; `notes` stand below."""

    title: str
    columns: tuple[Column, ...] = ()
    rows: tuple[Row, ...] = ()
    lead: str = ""
    notes: tuple[str, ...] = ()
    missing: Missing | None = None

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "title": self.title,
            "columns": [column.name for column in self.columns],
            "rows": [[cell.text for cell in row.cells] for row in self.rows],
            "lead": self.lead,
            "notes": list(self.notes),
            "missing": None if self.missing is None else self.missing.why,
            "command": None if self.missing is None else self.missing.command,
        }


@dataclass(frozen=True)
class Picture:
    """An SVG element without a namespace or an outside reference; `alt` says in words what it
    shows."""

    alt: str
    svg: str


@dataclass(frozen=True)
class Figure:
    title: str
    pictures: tuple[Picture, ...] = ()
    caption: str = ""
    missing: Missing | None = None


@dataclass(frozen=True)
class Section:
    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Report:
    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        for section in self.sections:
            yield from section.tables

    def figures(self) -> Iterator[Figure]:
        for section in self.sections:
            yield from section.figures


def columns(*names: str, numbers: tuple[str, ...] = ()) -> tuple[Column, ...]:
    """Columns by name, first those of text, then those of numbers."""
    return (
        *(Column(name, texts="eatures" in name or "sets" in name) for name in names),
        *(Column(name, number=True) for name in numbers),
    )


def row(*texts: str | Cell, kind: Literal["plain", "group", "total"] = "plain") -> Row:
    """A row of texts and cells."""
    return Row(tuple(one if isinstance(one, Cell) else Cell(one) for one in texts), kind)
