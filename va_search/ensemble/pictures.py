"""Pictures of an explanation, as PNG files: correlation of members, weight by what they share, gain
of each part.

Conventions: targets from left to right, in the ensemble's order. Matplotlib is imported when a picture is drawn, and used
without pyplot, so nothing of it is global. Long names are cut; the tables have them whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from va_search.ensemble.explain import ELSEWHERE, KINDS, SHARED, Explanation
from va_search.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, LEAST_WIDTH, DOTS = 6.5, 8.0, 110
"""Inches of a target's column and of a picture, and dots per inch."""
MOST = 30
"""Members in the correlation's picture, by weight."""

SINGLE = 15
"""Members in the picture of what each part adds, by weight."""

BLUE = "#4269d0"
COLOURS = dict(zip(KINDS, (BLUE, "#efb118", "#9498a0", "#3ca951"), strict=True))
Explained = Mapping[str, Explanation]


class Bar(NamedTuple):
    name: str
    length: float
    text: str
    colour: str


def draw(explained: Explained, folder: Path) -> list[Path]:
    """Write correlation.png, weight.png and adds.png into `folder`; returns their paths."""
    pictures: dict[str, Callable[[Explained], Figure]] = {
        "correlation.png": correlation_picture,
        "weight.png": weight_picture,
        "adds.png": adds_picture,
    }
    for name, picture in pictures.items():
        with whole_file(folder / name) as beside:
            picture(explained).savefig(beside, format="png", dpi=DOTS)
    return [folder / name for name in pictures]


def correlation_picture(explained: Explained) -> Figure:
    """Members by weight along both sides; a dark square is a pair that predicts nearly the same."""
    rows = max(len(explanation.labels) for explanation in explained.values())
    figure, axes = _figure(len(explained), 1, 2.2 + max(4.5, 0.21 * min(rows, MOST)))
    for axis, (target, explanation) in zip(axes[0], explained.items(), strict=True):
        members = len(explanation.labels)
        labels = [_short(name, 30) for name in _names(explanation)[:MOST]]
        values = explanation.correlation[: len(labels), : len(labels)]
        image = axis.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        pairs = values[np.triu_indices(len(labels), 1)]
        summary = "one member"
        if np.isfinite(pairs).any():
            summary = f"mean {np.nanmean(pairs):.2f}"
        if members > MOST:
            summary += f", the {MOST} with most weight of {members}"
        axis.set_title(f"{target}: correlation of members ({summary})", fontsize=10)
        if len(labels) <= 12:
            _write_values(axis, values)
        figure.colorbar(image, ax=axis, shrink=0.7, label="Pearson correlation")
    return figure


def weight_picture(explained: Explained) -> Figure:
    """The share of weight by encoder, feature sets, fusion and seed."""
    drawn = {}
    for target, explanation in explained.items():
        for setting in SHARED:
            drawn[target, setting] = [s for s in explanation.shares if s.what == setting]
    # As many bars in a row as its target with more of them has.
    rows = [max(len(drawn[target, what]) for target in explained) for what in SHARED]
    height = 1.5 + sum(0.6 + 0.27 * count for count in rows)
    figure, axes = _figure(len(explained), len(SHARED), height, rows)
    # Transposed, the axes are in the order of `drawn`: one target after the other.
    for axis, ((target, setting), shares) in zip(axes.T.flat, drawn.items(), strict=True):
        bars = []
        for share in shares:
            name = f"{_short(share.value)} ({share.members})"
            bars.append(Bar(name, share.weight, f"{share.weight:.2f}", BLUE))
        _draw_bars(axis, bars)
        axis.set_title(f"{target}: weight by {setting} (members)", fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel("sum of weights")
    return figure


def adds_picture(explained: Explained) -> Figure:
    """The CCC that each group adds; a bar to the left: the recipe is better without."""
    bars = {target: _gain_bars(explanation) for target, explanation in explained.items()}
    most = max(len(bars_of_target) for bars_of_target in bars.values())
    figure, axes = _figure(len(explained), 1, 1.8 + 0.25 * most)
    for axis, (target, explanation) in zip(axes[0], explained.items(), strict=True):
        _draw_bars(axis, bars[target])
        axis.axvline(0.0, color="black", linewidth=0.8)
        measured = explanation.measured.replace("_", "-")
        whole = "" if explanation.ccc is None else f" (with: {explanation.ccc:.3f})"
        axis.set_title(f"{target}: what each part adds", fontsize=10)
        axis.set_xlabel(f"{measured} CCC with − without{whole}")
    return figure


def _gain_bars(explanation: Explanation) -> list[Bar]:
    """Bars of all groups, and of the members with most weight."""
    name_of = dict(zip(explanation.labels, _names(explanation), strict=True))
    # Additions come with the groups first, then members by weight.
    bars, members = [], 0
    for addition in explanation.additions:
        members += addition.kind == "member"
        if addition.kind == "member" and members > SINGLE:
            continue
        name = _short(f"{addition.kind} {name_of.get(addition.name, addition.name)}", 40)
        text = "–" if addition.gain is None else f"{addition.gain:+.4f}"
        bars.append(Bar(name, addition.gain or 0.0, text, COLOURS[addition.kind]))
    return bars


def _figure(
    columns: int, rows: int, height: float, bars: list[int] | None = None
) -> tuple[Figure, Any]:
    """A figure and its axes (row, column); rows are as high as their number of bars asks for."""
    from matplotlib.figure import Figure

    width = max(LEAST_WIDTH, WIDTH * columns)
    figure = Figure(figsize=(width, height), layout="constrained")
    heights = (np.array(bars or [1] * rows) + 1.2).tolist()
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def _draw_bars(axis: Axes, bars: Sequence[Bar]) -> None:
    """The first bar on top, room for the numbers, no box."""
    if not bars:  # no member is left whose weight could be drawn
        return
    names, lengths, texts, colours = zip(*bars, strict=True)
    drawn = axis.barh(range(len(bars)), lengths, color=colours)
    axis.set_yticks(range(len(bars)), names)
    axis.bar_label(drawn, labels=texts, padding=3, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.invert_yaxis()
    low, high = min([0.0, *lengths]), max([0.0, *lengths])
    room = 0.22 * ((high - low) or 1.0)
    axis.set_xlim(low - room if low < 0 else low, high + room)
    axis.spines[["top", "right"]].set_visible(False)


def _write_values(axis: Axes, values: Any) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 else "black"
            text = f"{value:.2f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=7, color=color)


def _names(explanation: Explanation) -> list[str]:
    """Members by trial (its first characters, when it is a hash) and encoder."""
    names = []
    for label, model in zip(explanation.labels, explanation.models, strict=True):
        trial = label.split("/")[-1]
        names.append(trial if model == ELSEWHERE else f"{trial[:8]} {model.split(',')[0]}")
    return names


def _short(name: str, most: int = 28) -> str:
    """The name, cut where it is too long; of several feature sets, each is cut, so that they still
    differ."""
    parts = name.split(" + ")
    if len(name) <= most:
        return name
    if len(parts) == 1:
        return f"{name[: most - 1]}…"
    length = max(2, (most + 1) // len(parts) - 1)
    return "+".join(part[:length] for part in parts)
