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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from va_search.report.pages import Picture
from va_search.table.plain_text import html_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 4.7, 2.9
"""Inches; the page scales pictures to its columns."""
INK = "#0b0c0d"
"""Stands for the page's text colour while drawing."""
TARGET_COLOURS = ("#3f7fd1", "#d8762b", "#b0569c", "#c9a227", "#3a9fae", "#7a6ad8")
"""Of the first, second, … target of a store; from the seventh on they come again."""
SCORE_COLOUR = "#3b9c6e"
GREY = "#8c8f94"
SERIES = ("#3f7fd1", "#d8762b", "#3b9c6e", "#b0569c", GREY, "#c9a227")
DASHED = (0, (4, 3))
FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif"

SETTINGS: dict[str, Any] = {
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    "svg.fonttype": "none",
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
"""Matplotlib's settings for pictures of a report."""

_LOCK = threading.RLock()
"""One thread draws at a time: Matplotlib's settings are the whole process's."""


@dataclass(frozen=True)
class Panel:
    """A figure with one axis, while it is drawn."""

    name: str
    figure: Figure
    axis: Axes

    def legend_below(self) -> None:
        """The legend under the axis, where no data is."""
        self.figure.legend(loc="outside lower center", ncols=2)

    def whole_numbers(self) -> None:
        """Ticks of the horizontal axis at whole numbers only: epochs, members."""
        from matplotlib.ticker import MaxNLocator

        self.axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))

    def picture(self, alt: str) -> Picture:
        """The figure as an SVG element whose ids begin with the panel's name."""
        svg = io.StringIO()
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(svg, format="svg", metadata=no_metadata, transparent=True)
        return Picture(alt, _for_page(svg.getvalue(), self.name, alt))


@contextmanager
def panel(
    name: str,
    *,
    title: str = "",
    x: str = "",
    y: str = "",
    grid: Literal["x", "y", "both"] | None = "y",
    width: float = WIDTH,
    height: float = HEIGHT,
) -> Iterator[Panel]:
    """A panel to draw on and to make a picture of, both inside; `name` salts the picture's ids.

    `x`, `y`: labels of the axes; `grid`: faint lines behind the data."""
    import matplotlib
    from matplotlib.figure import Figure

    with _LOCK, matplotlib.rc_context(), warnings.catch_warnings():
        # Matplotlib warns of glyphs that its own font lacks; the browser's font has them.
        warnings.simplefilter("ignore")
        matplotlib.rcdefaults()
        for key, value in {**SETTINGS, "svg.hashsalt": name}.items():
            matplotlib.rcParams[key] = value  # type: ignore[index]
        figure = Figure(figsize=(width, height), layout="constrained")
        axis = figure.subplots()
        axis.set_title(title, loc="left")
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        if grid is not None:
            axis.grid(True, axis=grid, color=INK, alpha=0.12, linewidth=0.6)
            axis.set_axisbelow(True)
        yield Panel(name, figure, axis)


def _for_page(text: str, name: str, alt: str) -> str:
    """Matplotlib's SVG without its head and metadata, with the page's colour, font and ids."""
    svg = text[text.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    body = body.replace("xlink:href=", "href=").replace(INK, "currentColor")
    # Several pictures share one page, so ids and what refers to them get the picture's name.
    body = re.sub(r'(?<= id=")', f"{name}-", body)
    body = re.sub(r'(?<=href="#)|(?<=url\(#)', f"{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", FONT, body)
    body = re.sub(r"\n\s*", "\n", body)
    box = re.search(r'viewBox="([^"]*)"', head)
    view = box.group(1) if box else "0 0 340 210"
    label = html_text(alt, quote=True)
    return f'<svg viewBox="{view}" role="img" aria-label="{label}"><title>{label}</title>{body}'


def target_colours(targets: Sequence[str]) -> dict[str, str]:
    """Return the colour of each target, by its place in the store."""
    return dict(zip(targets, cycle(TARGET_COLOURS), strict=False))


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Indexes of at most `most` of `count` items, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def short(text: str, most: int = 28) -> str:
    """The text, its middle cut where it is too long."""
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    return f"{text[:half]}…{text[-half:]}"
