"""Tables as plain data, and the four ways to show one: terminal, Markdown, HTML, JSON.

Conventions: every text is plain and may hold whatever the data holds (`<script>`, `|`, `[bold]`,
line breaks, escape sequences); the renderers escape it (plain_text.py; HTML is in html.py). A line
break in a column's name is kept in the terminal and a space elsewhere. A table that can't be filled
says in `missing` why, and how to fill it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from va_search.table.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

ColumnKind = Literal["word", "number", "list", "long"]
"""Numbers stand at the right; lists (of feature sets) and long texts (of settings) get more room."""
RowKind = Literal["plain", "group", "total"]

DASH = "–"
"""Shown where there is no value."""
MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


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


# Terminal -----------------------------------------------------------------------------------------


def terminal_parts(table: Table) -> Iterator[str | RichTable]:
    """Lines and drawn tables, to be printed one below the other.

    A group's text becomes a line of its own, with its rows in a drawn table below: it may be longer
    than the table is wide.
    """
    if table.missing is not None:
        yield f"{table.title}: {missing_text(table.missing)}"
        yield from table.notes
        return
    yield table.title
    if table.lead:
        yield table.lead
    # A group's rows are drawn when the next group begins, or at the end.
    group: list[TableRow] = []
    for table_row in table.rows:
        if table_row.kind == "group":
            if group:
                yield _draw(table.columns, group)
            group = []
            yield table_row.cells[0].text
        else:
            group.append(table_row)
    if group:
        yield _draw(table.columns, group)
    notes = table.notes_with_mark("With a star")
    yield from notes
    if table.command is not None:
        yield table.command
    if notes or table.command is not None:
        yield ""


def _draw(columns: tuple[TableColumn, ...], rows: list[TableRow]) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable()
    for index, column in enumerate(columns):
        justify: Literal["left", "right"] = "right" if column.kind == "number" else "left"
        # An id must stay in one piece: it is there to be copied.
        has_ids = any(table_row.cells[index].code for table_row in rows)
        drawn.add_column(
            Text(plain_text(column.name)), justify=justify, no_wrap=has_ids, overflow="fold"
        )
    for index, table_row in enumerate(rows):
        # A line is drawn above the first of the totals only.
        if table_row.kind == "total" and index and rows[index - 1].kind != "total":
            drawn.add_section()
        texts = []
        for cell in table_row.cells:
            text = Text(plain_text(cell.text))
            if cell.mark:
                text.append(" *")
            if cell.best:
                text.stylize("bold")
            texts.append(text)
        drawn.add_row(*texts)
    return drawn


def missing_text(missing: Missing) -> str:
    """The reason and the command in one line."""
    if missing.command is None:
        return missing.why
    return f"{missing.why} To fill it: {missing.command}"


# Markdown -----------------------------------------------------------------------------------------


def markdown_text(text: str) -> str:
    """A text in one line with everything special escaped."""
    # A line break would end a table's row.
    plain = plain_text(" ".join(text.split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKDOWN_SPECIAL.sub(r"\\\1", plain)


def markdown_code(text: str) -> str:
    """A command or an id as code."""
    plain = plain_text(" ".join(text.split())).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def markdown_missing(missing: Missing) -> str:
    """The reason and the command in one line."""
    text = markdown_text(missing.why)
    if missing.command is not None:
        text += f" To fill it: {markdown_code(missing.command)}"
    return text


def markdown_table(table: Table) -> Iterator[str]:
    """Lines of a filled table with heading, notes and command; marked cells are in _italics_."""
    yield from (f"### {markdown_text(table.title)}", "")
    if table.lead:
        yield from (markdown_text(table.lead), "")
    heads, rules = [], []
    for column in table.columns:
        heads.append(markdown_text(column.title))
        rules.append("---:" if column.kind == "number" else "---")
    yield _markdown_line(heads)
    yield _markdown_line(rules)
    for table_row in table.rows:
        yield _markdown_line(_markdown_cells(table_row, len(table.columns)))
    yield ""
    notes = [markdown_text(note) for note in table.notes_with_mark("In italics")]
    if table.command is not None:
        notes.append(markdown_code(table.command))
    if notes:
        yield from map("- {}".format, notes)
        yield ""


def _markdown_cells(row: TableRow, width: int) -> list[str]:
    if row.kind == "group":
        return [f"**{markdown_text(row.cells[0].text)}**", *[""] * (width - 1)]
    return list(map(_markdown_cell, row.cells))


def _markdown_cell(cell: TableCell) -> str:
    if cell.code and cell.text:
        return markdown_code(cell.text)
    text = markdown_text(cell.text)
    if cell.mark:
        text = f"_{text}_"
    if cell.best:
        text = f"**{text}**"
    return text


def _markdown_line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
