"""The page's one file: markup, style, script and the plotting library, put together.

Conventions: the parts lie in page/, plain files without a build step. The script files share one
scope and stand in the order in which they use one another. uPlot's licence is a comment of the
page."""

from __future__ import annotations

from html import escape
from importlib.resources import files

SCRIPTS = (
    "numbers.js",
    "data.js",
    "colours.js",
    "list.js",
    "traces.js",
    "gestures.js",
    "values.js",
    "player.js",
    "address.js",
    "elan.js",
    "export.js",
    "keys.js",
    "page.js",
)
LIBRARY = "uplot/uPlot.iife.min.js"
STYLES = ("uplot/uPlot.min.css", "page.css")
LICENCE = "uplot/LICENSE"


def page_html(title: str) -> str:
    """Return index.html of a folder of `va-search look`; it reads data/index.js beside it."""
    page = _read("page.html")
    style = "\n".join(_read(name) for name in STYLES)
    script = "\n".join(_read(name) for name in SCRIPTS)
    licence = (
        f"uPlot, which draws the curves (https://github.com/leeoniya/uPlot):\n\n{_read(LICENCE)}"
    )
    # The title last: a title may hold braces, and is no place to put anything.
    parts = {"style": style, "script": script, "library": _read(LIBRARY), "licence": licence}
    for name, text in parts.items():
        page = page.replace("{{" + name + "}}", text)
    return page.replace("{{title}}", escape(title))


def _read(name: str) -> str:
    folder = files("va_search.look") / "page"
    return (folder / name).read_text(encoding="utf-8").strip("\n")
