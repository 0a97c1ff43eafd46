"""A report as data, as Markdown and as one HTML page.

Conventions: every text is plain and may hold whatever the data holds (`<script>`, `|`, line
breaks); the renderers escape it. Markdown has all tables, and of the figures the title and what
they show in words; the pictures are in the HTML page. That page has no script and needs no
network, is readable on a phone, and is light or dark as the reader's system is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from va_search.table import (
    Missing,
    Table,
    html_missing,
    html_table,
    markdown_missing,
    markdown_table,
    markdown_text,
)
from va_search.table.plain_text import html_text

MARK = "<!-- va-search report -->"
"""Near the top of both files, by which one is known to be a report."""


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
    """Paragraphs, then tables, then figures."""

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class StudyReport:
    """A whole report, its sections in the order they are read."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        for section in self.sections:
            yield from section.tables

    def figures(self) -> Iterator[Figure]:
        for section in self.sections:
            yield from section.figures


# Markdown -----------------------------------------------------------------------------------------


def to_markdown(report: StudyReport) -> str:
    """The whole document, ending in a newline."""
    lines = [MARK, "", f"# {markdown_text(report.title)}", "", markdown_text(report.subtitle), ""]
    for section in report.sections:
        lines += [f"## {markdown_text(section.title)}", ""]
        for paragraph in section.paragraphs:
            lines += [markdown_text(paragraph), ""]
        for table in section.tables:
            lines += markdown_table(table)
        for figure in section.figures:
            lines += _markdown_figure(figure)
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_figure(figure: Figure) -> Iterator[str]:
    yield from (f"### Figure: {markdown_text(figure.title)}", "")
    if figure.missing is not None:
        yield from (markdown_missing(figure.missing), "")
        return
    yield from (f"{markdown_text(figure.caption)} (Drawn in report.html.)", "")
    for picture in figure.pictures:
        yield f"- {markdown_text(picture.alt)}"
    yield ""


# HTML ---------------------------------------------------------------------------------------------


def to_html(report: StudyReport) -> str:
    """The whole page."""
    contents = []
    lines: list[str] = []
    for section in report.sections:
        name = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")
        contents.append(f'<li><a href="#{name}">{html_text(section.title)}</a></li>')
        lines += [f'<section id="{name}">', f"<h2>{html_text(section.title)}</h2>"]
        for paragraph in section.paragraphs:
            lines.append(f"<p>{html_text(paragraph)}</p>")
        for table in section.tables:
            lines += html_table(table)
        for figure in section.figures:
            lines += _html_figure(figure)
        lines.append("</section>")
    return PAGE.format(
        mark=MARK,
        style=STYLE,
        title=html_text(report.title),
        subtitle=html_text(report.subtitle),
        contents="".join(contents),
        sections="\n".join(lines),
    )


def _html_figure(figure: Figure) -> Iterator[str]:
    yield f"<h3>{html_text(figure.title)}</h3>"
    if figure.missing is not None:
        yield html_missing(figure.missing)
        return
    yield f'<figure><div class="pictures p{min(len(figure.pictures), 2)}">'
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

# Colours are few: text, faint lines, one accent; both themes keep a contrast of 4.5 or more.
STYLE = """
:root { color-scheme: light dark; --text: #1d2025; --faint: #5b616b; --line: #d9dce1; --back: #fdfdfc; --band: #f3f4f2;
  --accent: #2a62ad; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6ea; --faint: #a0a6b0; --line: #363b43; --back: #15181c; --band: #1d2126; --accent: #8ab4ec; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1.1rem 4rem; background: var(--back); color: var(--text);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .3rem 0 .4rem; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 2.8rem 0 .3rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.9rem 0 .3rem; }
p { margin: .4rem 0 .8rem; max-width: 48rem; }
.lead { color: var(--faint); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 1rem 0 0; padding: 0; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
code { font: .86em/1.4 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.scroll { overflow-x: auto; margin: .4rem 0 .6rem; border-bottom: 1px solid var(--line);
  border-top: 1px solid var(--line); }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; min-width: 100%; font-size: .9rem; line-height: 1.4;
  font-variant-numeric: tabular-nums lining-nums; overflow-wrap: normal; }
th, td { padding: .38rem .7rem; text-align: left; vertical-align: top; }
th:first-child, td:first-child { padding-left: .2rem; }
thead th { font-weight: 600; color: var(--faint); border-bottom: 1px solid var(--line); vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--line) 55%, transparent); }
.n { text-align: right; white-space: nowrap; }
tr.group th { background: var(--band); font-weight: 600; padding-left: .5rem; }
tr.total td { background: var(--band); border-top: 1px solid var(--line); }
td:not(.n) { min-width: 5.5rem; }
td:first-child { white-space: nowrap; }
td:first-child, thead th:first-child { position: sticky; left: 0; background: var(--back); }
tr.total td:first-child { background: var(--band); }
td:nth-child(2):not(.text):not(.wide) { white-space: nowrap; }
td.text { min-width: 8.5rem; }
td.wide { min-width: 19rem; font-size: .93em; color: var(--faint); }
td code { white-space: nowrap; }
u { text-decoration-thickness: 2px; text-underline-offset: 3px; }
.notes { margin: .3rem 0 1rem; padding-left: 1.1rem; color: var(--faint); font-size: .86rem; max-width: 52rem; }
.notes li { margin: .15rem 0; }
.missing { border-left: 3px solid var(--line); padding: .1rem 0 .1rem .8rem; color: var(--faint); }
.missing code { display: block; color: var(--text); white-space: nowrap; overflow-x: auto; padding: .15rem 0; }
@media (max-width: 40rem) { body { padding: 1rem .8rem 3rem; } table { font-size: .84rem; }
  th, td { padding: .3rem .5rem; } h2 { margin-top: 2.2rem; } }
figure { margin: .5rem 0 1rem; }
.pictures { display: grid; gap: 1rem 1.6rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.picture { min-width: 0; overflow-x: auto; }
.pictures.p1 .picture svg { min-width: 34rem; }
svg { display: block; width: 100%; height: auto; color: var(--text); }
figcaption { color: var(--faint); font-size: .86rem; margin-top: .5rem; max-width: 52rem; }
@media print { body { max-width: none; } .scroll { overflow: visible; } section { break-inside: auto; } }
"""
