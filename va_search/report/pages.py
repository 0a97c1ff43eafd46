"""A report as data, as Markdown and as one HTML page.

Conventions: every text is plain and may hold whatever the data holds (`<script>`, `|`, line
breaks); the renderers escape it. Markdown has all tables, and of the figures the title and what
they show in words; the pictures are in the HTML page. That page has no script and needs no
network, is readable on a phone, and is light or dark as the reader's system is (style.py). Tables
and figures with nothing to show are listed at the end of both, a line each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from va_search.report.style import STYLE
from va_search.report.words import heading
from va_search.table import (
    Missing,
    Table,
    html_code,
    html_missing,
    html_table,
    markdown_code,
    markdown_missing,
    markdown_table,
    markdown_text,
)
from va_search.table.plain_text import html_text
from va_search.verdict.block import COMMAND, VerdictBlock

MARK = "<!-- va-search report -->"
"""Near the top of both files, by which one is known to be a report."""
NOT_SHOWN = "Not shown"
"""Title of the last section, with what can't be shown yet."""


@dataclass(frozen=True)
class Picture:
    """An SVG element without a namespace or an outside reference; `alt` says in words what it
    shows."""

    alt: str
    svg: str


@dataclass(frozen=True)
class Figure:
    """Pictures side by side over a caption; without pictures `missing` says why."""

    title: str
    pictures: tuple[Picture, ...] = ()
    caption: str = ""
    missing: Missing | None = None


@dataclass(frozen=True)
class Section:
    """Facts (label, sentence), the first of which stands out, and the command to go on with; then
    paragraphs, tables, figures."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    command: str | None = None

    @property
    def filled_tables(self) -> list[Table]:
        return [table for table in self.tables if table.missing is None]

    @property
    def drawn_figures(self) -> list[Figure]:
        return [figure for figure in self.figures if figure.missing is None]

    @property
    def is_empty(self) -> bool:
        """Tell whether there is nothing to read in it."""
        return not (self.facts or self.paragraphs or self.filled_tables or self.drawn_figures)


@dataclass(frozen=True)
class StudyReport:
    """A whole report, its sections in the order they are read. `verdict`: on its ensemble, where
    it shows one."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    verdict: VerdictBlock | None = None

    @property
    def filled_sections(self) -> list[Section]:
        return [section for section in self.sections if not section.is_empty]

    def tables(self) -> Iterator[Table]:
        for section in self.sections:
            yield from section.tables

    def figures(self) -> Iterator[Figure]:
        for section in self.sections:
            yield from section.figures

    def missing(self) -> dict[str, Missing]:
        """Return why a table or figure is not shown, by its title, in the order of sections."""
        reasons: dict[str, Missing] = {}
        for section in self.sections:
            parts: Sequence[Table | Figure] = (*section.tables, *section.figures)
            for part in parts:
                if part.missing is not None:
                    reasons[part.title] = part.missing
        return reasons


# Markdown -----------------------------------------------------------------------------------------


def to_markdown(report: StudyReport) -> str:
    """The whole document, ending in a newline."""
    lines = [MARK, "", f"# {markdown_text(report.title)}", "", markdown_text(report.subtitle), ""]
    for section in report.filled_sections:
        lines += [f"## {markdown_text(section.title)}", ""]
        for label, sentence in section.facts:
            text, mark, command = sentence.partition(COMMAND)
            fact = f"- **{markdown_text(heading(label))}**: {markdown_text(text)}"
            if command:
                fact += f"{mark[:2]}{markdown_code(mark[2:] + command)}"
            lines.append(fact)
        if section.command is not None:
            lines.append(f"- **Next**: {markdown_code(section.command)}")
        if section.facts:
            lines.append("")
        for paragraph in section.paragraphs:
            lines += [markdown_text(paragraph), ""]
        for table in section.filled_tables:
            lines += markdown_table(table)
        for figure in section.drawn_figures:
            lines += _markdown_figure(figure)
    missing = report.missing()
    if missing:
        lines += [f"## {NOT_SHOWN}", ""]
    for title, reason in missing.items():
        lines.append(f"- {markdown_text(title)}: {markdown_missing(reason)}")
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_figure(figure: Figure) -> Iterator[str]:
    yield from (f"### Figure: {markdown_text(figure.title)}", "")
    yield from (f"{markdown_text(figure.caption)} (Drawn in report.html.)", "")
    for picture in figure.pictures:
        yield f"- {markdown_text(picture.alt)}"
    yield ""


# HTML ---------------------------------------------------------------------------------------------


def to_html(report: StudyReport) -> str:
    """The whole page."""
    contents = []
    lines: list[str] = []
    for section in report.filled_sections:
        contents.append(_html_link(section.title))
        lines.append(_html_heading(section.title))
        lines += _html_facts(section)
        for paragraph in section.paragraphs:
            lines.append(f"<p>{html_text(paragraph)}</p>")
        for table in section.filled_tables:
            lines += html_table(table)
        for figure in section.drawn_figures:
            lines += _html_figure(figure)
        lines.append("</section>")
    missing = report.missing()
    if missing:
        contents.append(_html_link(NOT_SHOWN))
        lines += [_html_heading(NOT_SHOWN), '<ul class="missing">']
        for title, reason in missing.items():
            lines.append(f"<li><b>{html_text(title)}</b>: {html_missing(reason)}</li>")
        lines += ["</ul>", "</section>"]
    return PAGE.format(
        mark=MARK,
        style=STYLE,
        title=html_text(report.title),
        subtitle=html_text(report.subtitle),
        contents="".join(contents),
        sections="\n".join(lines),
    )


def _html_id(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _html_link(title: str) -> str:
    return f'<li><a href="#{_html_id(title)}">{html_text(title)}</a></li>'


def _html_heading(title: str) -> str:
    """The section's start; a link to it moves the keyboard's place there too."""
    name = _html_id(title)
    heading = f'<h2 id="{name}-title">{html_text(title)}</h2>'
    return f'<section id="{name}" tabindex="-1" aria-labelledby="{name}-title">{heading}'


def _html_facts(section: Section) -> Iterator[str]:
    if not section.facts:
        return
    yield '<dl class="facts">'
    for label, sentence in section.facts:
        text, mark, command = sentence.partition(COMMAND)
        fact = html_text(text)
        if command:
            fact += mark[0] + html_code(mark[2:] + command)
        yield f"<dt>{html_text(heading(label))}</dt><dd>{fact}</dd>"
    if section.command is not None:
        yield f"<dt>Next</dt><dd>{html_code(section.command)}</dd>"
    yield "</dl>"


def _html_figure(figure: Figure) -> Iterator[str]:
    title = html_text(figure.title)
    yield f"<h3>{title}</h3>"
    yield f'<figure role="group" aria-label="{html_text(figure.title, quote=True)}">'
    yield f'<div class="pictures p{min(len(figure.pictures), 2)}">'
    for picture in figure.pictures:
        yield f'<div class="picture">{picture.svg}</div>'
    yield f"</div><figcaption>{html_text(figure.caption)}</figcaption></figure>"


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
<a class="skip" href="#content">To the content</a>
<header>
<h1>{title}</h1>
<p class="lead">{subtitle}</p>
<nav aria-label="Contents"><ul>{contents}</ul></nav>
</header>
<main id="content" tabindex="-1">
{sections}
</main>
</body>
</html>
"""
