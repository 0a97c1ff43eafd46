"""A table as HTML: rows and columns on a wide screen, a card for each row on a phone.

Conventions: marked cells are underlined. A table of more than `NARROW` columns has the class
`cards`, and its cells know their column's name, which a card shows (the page's style does both).
The roles say in words that it is a table, also where it is drawn as cards. Every table stands in a
box that scrolls by itself and that a keyboard reaches."""

from __future__ import annotations

from collections.abc import Iterator

from va_search.table.data import Missing, Table, TableCell, TableColumn, TableRow
from va_search.table.plain_text import html_text

NARROW = 3
"""Columns that fit on a phone side by side."""
CLASSES = {"word": "", "number": "n", "list": "text", "long": "wide"}
"""The class of a column's cells, by its kind."""


def html_missing(missing: Missing) -> str:
    """The reason and the command."""
    text = html_text(missing.why)
    if missing.command is not None:
        text += f" To fill it: {html_code(missing.command)}"
    return text


def html_code(command: str) -> str:
    """A command in a box that scrolls by itself and that a keyboard reaches."""
    label = html_text(command, quote=True)
    return f'<code role="region" tabindex="0" aria-label="{label}">{html_text(command)}</code>'


def html_table(table: Table) -> Iterator[str]:
    """Elements of a filled table: heading, lead, rows, notes and command."""
    yield f"<h3>{html_text(table.title)}</h3>"
    if table.lead:
        yield f'<p class="lead">{html_text(table.lead)}</p>'
    label = html_text(table.title, quote=True)
    cards = ' class="cards"' if len(table.columns) > NARROW else ""
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}">'
    yield f'<table role="table"{cards}><thead role="rowgroup"><tr role="row">'
    for column in table.columns:
        attributes = f'role="columnheader" scope="col"{_html_class(column)}'
        yield f"<th {attributes}>{html_text(column.title)}</th>"
    yield '</tr></thead><tbody role="rowgroup">'
    for table_row in table.rows:
        yield _html_row(table_row, table.columns)
    yield "</tbody></table></div>"
    notes = table.notes_with_mark("Underlined")
    if notes:
        yield "<ul class=notes>"
        for note in notes:
            yield f"<li>{html_text(note)}</li>"
        yield "</ul>"
    if table.command is not None:
        yield f'<p class="command">{html_code(table.command)}</p>'


def _html_row(row: TableRow, columns: tuple[TableColumn, ...]) -> str:
    if row.kind == "group":
        span = f'role="rowheader" colspan="{len(columns)}" scope="colgroup"'
        text = html_text(row.cells[0].text)
        return f'<tr role="row" class="group"><th {span}>{text}</th></tr>'
    cells = []
    for cell, column in zip(row.cells, columns, strict=True):
        label = ""
        if column.title:
            label = f' data-label="{html_text(column.title, quote=True)}"'
        cells.append(f'<td role="cell"{_html_class(column)}{label}>{_html_cell(cell)}</td>')
    kind = "" if row.kind == "plain" else f' class="{row.kind}"'
    return f'<tr role="row"{kind}>{"".join(cells)}</tr>'


def _html_class(column: TableColumn) -> str:
    name = CLASSES[column.kind]
    return f' class="{name}"' if name else ""


def _html_cell(cell: TableCell) -> str:
    text = html_text(cell.text)
    if cell.code and cell.text:
        # Of study/trial only the slash is a place to break the line.
        text = f"<code>{text.replace('/', '/<wbr>')}</code>"
    if cell.mark:
        text = f"<u>{text}</u>"
    if cell.best:
        text = f"<b>{text}</b>"
    return text
