"""A report as one HTML page: no script, no network, readable on a phone, light and dark as the
reader's system is.

Conventions: every text goes through `escape`; pictures are SVG elements made here
(figures/drawing.py), with their texts escaped there. A table scrolls inside its own box where it is
wider than the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from va_search.report.markdown import MARK
from va_search.report.model import Cell, Column, Figure, Missing, Report, Row, Section, Table
from va_search.report.style import STYLE

PAGE = """<!doctype html>
{mark}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="lead">{subtitle}</p>
<nav aria-label="Sections"><ul>{contents}</ul></nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""


def render(report: Report) -> str:
    """The whole page."""
    return PAGE.format(
        mark=MARK,
        style=STYLE,
        title=escape(report.title),
        subtitle=escape(report.subtitle),
        contents="".join(
            f'<li><a href="#{_id(one.title)}">{escape(one.title)}</a></li>'
            for one in report.sections
        ),
        sections="\n".join(line for section in report.sections for line in _section(section)),
    )


def _id(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _section(section: Section) -> Iterator[str]:
    yield f'<section id="{_id(section.title)}">'
    yield f"<h2>{escape(section.title)}</h2>"
    for paragraph in section.paragraphs:
        yield f"<p>{escape(paragraph)}</p>"
    for table in section.tables:
        yield from _table(table)
    for figure in section.figures:
        yield from _figure(figure)
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    yield f"<h3>{escape(table.title)}</h3>"
    if table.missing is not None:
        yield _missing(table.missing)
        return
    if table.lead:
        yield f'<p class="lead">{escape(table.lead)}</p>'
    label = escape(table.title, quote=True)
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{label}"><table>'
    heads = "".join(
        f'<th scope="col"{_side(column)}>{escape(column.name)}</th>' for column in table.columns
    )
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for one in table.rows:
        yield _row(one, table.columns)
    yield "</tbody></table></div>"
    if table.notes:
        yield "".join(
            ["<ul class=notes>", *(f"<li>{escape(note)}</li>" for note in table.notes), "</ul>"]
        )


def _row(one: Row, columns: tuple[Column, ...]) -> str:
    if one.kind == "group":
        return f'<tr class="group"><th colspan="{len(columns)}" scope="colgroup">{escape(one.cells[0].text)}</th></tr>'
    cells = "".join(
        f"<td{_side(column)}>{_cell(cell)}</td>"
        for cell, column in zip(one.cells, columns, strict=True)
    )
    kind = ' class="total"' if one.kind == "total" else ""
    return f"<tr{kind}>{cells}</tr>"


def _side(column: Column) -> str:
    name = "n" if column.number else "wide" if column.wide else "text" if column.texts else ""
    return f' class="{name}"' if name else ""


def _cell(cell: Cell) -> str:
    found = escape(cell.text)
    if cell.code and cell.text:
        found = f"<code>{found}</code>"
    if cell.mark:
        found = f"<u>{found}</u>"
    return f"<b>{found}</b>" if cell.best else found


def _figure(figure: Figure) -> Iterator[str]:
    yield f"<h3>{escape(figure.title)}</h3>"
    if figure.missing is not None:
        yield _missing(figure.missing)
        return
    yield f'<figure><div class="pictures p{min(len(figure.pictures), 2)}">'
    for picture in figure.pictures:
        yield f'<div class="picture">{picture.svg}</div>'
    yield f"</div><figcaption>{escape(figure.caption)}</figcaption></figure>"


def _missing(missing: Missing) -> str:
    command = (
        "" if missing.command is None else f" To fill it: <code>{escape(missing.command)}</code>"
    )
    return f'<p class="missing">Not there: {escape(missing.why)}{command}</p>'
