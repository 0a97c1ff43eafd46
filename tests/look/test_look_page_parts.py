"""The page as one file: complete, without a network, readable in both themes."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from va_search.look.page import LIBRARY, LICENCE, SCRIPTS, page_html

TEXT_CONTRAST, LINE_CONTRAST = 4.5, 3.0
"""Least contrast of texts and of lines (WCAG 2.1, 1.4.3 and 1.4.11); shades need none."""
TEXTS = ("text", "faint", "accent", "alarm")
LINES = ("error", *(f"curve{number}" for number in range(7)))


def test_the_page_is_one_file_that_asks_no_network() -> None:
    page = page_html("best")
    assert "{{" not in page.replace("${{", "")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "eval(", "innerHTML", "@import", "url("):
        assert word not in _own_parts(page), word


def _own_parts(page: str) -> str:
    """The page without the library."""
    folder = files("va_search.look") / "page"
    return page.replace((folder / LIBRARY).read_text(encoding="utf-8").strip("\n"), "")


def test_every_script_of_the_folder_is_in_the_page() -> None:
    folder = files("va_search.look") / "page"
    names = {entry.name for entry in folder.iterdir() if entry.name.endswith(".js")}
    assert names == set(SCRIPTS)


def test_the_library_comes_with_its_licence() -> None:
    page = page_html("best")
    licence = (files("va_search.look") / "page" / LICENCE).read_text(encoding="utf-8")
    assert "The MIT License" in licence
    assert licence.strip() in page
    assert "uPlot (v1.6.32)" in page


def test_a_title_is_text() -> None:
    page = page_html('</title><script>alert("1")</script>')
    assert "<title>&lt;/title&gt;&lt;script&gt;" in page
    assert 'alert("1")' not in page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_and_lines_stand_out_from_the_ground(theme: str) -> None:
    style = (files("va_search.look") / "page" / "page.css").read_text(encoding="utf-8")
    light = _colours(style, ":root")
    colours = light | (_colours(style, ':root[data-theme="dark"]') if theme == "dark" else {})
    for name in TEXTS:
        assert _contrast(colours[name], colours["back"]) >= TEXT_CONTRAST, name
    for name in LINES:
        least = TEXT_CONTRAST if name in ("error", "curve0") else LINE_CONTRAST
        assert _contrast(colours[name], colours["back"]) >= least, name


def test_both_ways_to_the_dark_theme_have_the_same_colours() -> None:
    style = (files("va_search.look") / "page" / "page.css").read_text(encoding="utf-8")
    chosen = _colours(style, ':root[data-theme="dark"]')
    assert chosen == _colours(style, ':root:not([data-theme="light"])')


def _colours(style: str, selector: str) -> dict[str, str]:
    """Hexadecimal colours by name, of a rule."""
    rule = re.search(re.escape(selector) + r" \{(.*?)\}", style, re.DOTALL)
    assert rule is not None
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", rule[1]))


def _contrast(first: str, second: str) -> float:
    """Contrast of two colours, 1 to 21."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    """Relative luminance of a colour."""
    total = 0.0
    for start, weight in ((1, 0.2126), (3, 0.7152), (5, 0.0722)):
        channel = int(colour[start : start + 2], 16) / 255
        linear = channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
        total += weight * linear
    return total
