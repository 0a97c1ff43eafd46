"""A report as Markdown: all tables; of the figures title and what they show, the pictures are in
the HTML file.

Conventions: late fusion is in _italics_ where HTML underlines it; texts from data are escaped, so
that nothing in them is taken for Markdown or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from va_search.report.model import Cell, Figure, Missing, Report, Row, Section, Table

MARK = "<!-- va-search report -->"
"""First line of a report, by which a file is known to be one."""
SPECIAL = re.compile(r"([\\`*_\[\]|~#])")


def render(report: Report) -> str:
    """The whole document, ending in a newline."""
    lines = [MARK, "", f"# {text(report.title)}", "", text(report.subtitle), ""]
    for section in report.sections:
        lines += _section(section)
    return "\n".join(lines).rstrip("\n") + "\n"


def text(value: str) -> str:
    """A text in one line with everything special escaped."""
    plain = " ".join(value.split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return SPECIAL.sub(r"\\\1", plain)


def code(value: str) -> str:
    """A command or an id as code."""
    plain = " ".join(value.split()).replace("`", "'").replace("|", "\\|")
    return f"`{plain}`"


def _section(section: Section) -> Iterator[str]:
    yield from (f"## {text(section.title)}", "")
    for paragraph in section.paragraphs:
        yield from (text(paragraph), "")
    for table in section.tables:
        yield from _table(table)
    for figure in section.figures:
        yield from _figure(figure)


def _table(table: Table) -> Iterator[str]:
    yield from (f"### {text(table.title)}", "")
    if table.missing is not None:
        yield from (_missing(table.missing), "")
        return
    if table.lead:
        yield from (text(table.lead), "")
    yield _line([text(column.name) for column in table.columns])
    yield _line(["---:" if column.number else "---" for column in table.columns])
    for one in table.rows:
        yield _line(_cells(one, len(table.columns)))
    yield ""
    for note in table.notes:
        yield f"- {text(note.replace('Underlined', 'In italics'))}"
    if table.notes:
        yield ""


def _cells(one: Row, width: int) -> list[str]:
    if one.kind == "group":
        return [f"**{text(one.cells[0].text)}**", *[""] * (width - 1)]
    return [_cell(cell) for cell in one.cells]


def _cell(cell: Cell) -> str:
    if cell.code and cell.text:
        return code(cell.text)
    plain = text(cell.text)
    if cell.mark:
        plain = f"_{plain}_"
    return f"**{plain}**" if cell.best else plain


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(figure: Figure) -> Iterator[str]:
    yield from (f"### Figure: {text(figure.title)}", "")
    if figure.missing is not None:
        yield from (_missing(figure.missing), "")
        return
    yield from (f"{text(figure.caption)} (Drawn in report.html.)", "")
    for picture in figure.pictures:
        yield f"- {text(picture.alt)}"
    yield ""


def _missing(missing: Missing) -> str:
    command = "" if missing.command is None else f" To fill it: {code(missing.command)}"
    return f"Not there: {text(missing.why)}{command}"
