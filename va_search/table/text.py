"""A table in the terminal and as Markdown.

Conventions: marked cells have a star in the terminal and are in italics in Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from va_search.table.data import Missing, Table, TableCell, TableColumn, TableRow
from va_search.table.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table as RichTable

MARKDOWN_SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


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
