"""A Matplotlib figure as an SVG element for a page, light or dark.

Conventions: texts stay texts; the background is transparent; axes and texts have the page's text
colour (currentColor) and data have colours that read well on light and dark. Ids are unique to the
picture, there is no namespace, metadata or address in it, and the same figure gives the same bytes.
A picture is drawn about as wide as a phone; wider screens show several side by side."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

from va_search.report.model import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.7, 2.9
"""Inches; the page scales pictures to its columns."""
INK = "#0b0c0d"
"""Stands for the page's text colour while drawing."""
COLOURS = {"valence": "#3f7fd1", "arousal": "#d8762b", "score": "#3b9c6e"}
SERIES = ("#3f7fd1", "#d8762b", "#3b9c6e", "#b0569c", "#8c8f94", "#c9a227")
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"

_ONE = threading.RLock()


@contextmanager
def drawing(name: str) -> Iterator[None]:
    """Matplotlib as pictures of a report need it, for what is drawn and rendered inside; `name`
    salts the ids.

    One thread at a time: Matplotlib's settings are the whole process's.
    """
    import matplotlib

    with _ONE, matplotlib.rc_context(), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a glyph that Matplotlib's own font lacks: the browser's has it
        matplotlib.rcdefaults()
        for key, value in _rc(name).items():
            matplotlib.rcParams[key] = value  # type: ignore[index]
        yield


def _rc(name: str) -> dict[str, Any]:
    colours = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    )
    clear = dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none")
    return {
        **colours,
        **clear,
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,
        "font.size": 9.0,
        "axes.titlesize": 10.0,
        "axes.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "lines.linewidth": 1.4,
        "path.simplify_threshold": 0.3,
    }


def panel(width: float = WIDTH, height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure with one axis; only inside `drawing`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def picture(figure: Figure, name: str, alt: str) -> Picture:
    """The figure as an SVG element whose ids begin with `name`; only inside `drawing`."""
    written = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(written, format="svg", metadata=nothing, transparent=True)
    return Picture(alt, _for_page(written.getvalue(), name, alt))


def _for_page(text: str, name: str, alt: str) -> str:
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    body = body.replace("xlink:href=", "href=").replace(INK, "currentColor")
    body = re.sub(r'(?<= id=")', f"{name}-", body)
    body = re.sub(r'(?<=href="#)|(?<=url\(#)', f"{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, body)
    body = re.sub(r"\n\s*", "\n", body)
    said = escape(alt, quote=True)
    view = box.group(1) if box else "0 0 340 210"
    return f'<svg viewBox="{view}" role="img" aria-label="{said}"><title>{said}</title>{body}'


def grid(axis: Axes, which: str = "y") -> None:
    """Faint lines behind the data."""
    axis.grid(True, axis=which, color=INK, alpha=0.12, linewidth=0.6)  # type: ignore[arg-type]
    axis.set_axisbelow(True)


def legend_below(figure: Figure) -> None:
    """The legend under the axis, where no data is."""
    figure.legend(loc="outside lower center", ncols=2)


def whole_numbers(axis: Axes) -> None:
    """Ticks of the horizontal axis at whole numbers only: epochs, members."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def short(text: str, most: int = 28) -> str:
    """The text, its middle cut where it is too long."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
