"""Pictures of an explanation, as PNG files: correlation of members, weight by what they share, gain
of each part.

Conventions: valence left, arousal right. Matplotlib is imported when a picture is drawn, and used
without pyplot, so nothing of it is global. Long names are cut; the tables have them whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from va_search.ensemble.explain import ELSEWHERE, SHARED, Addition, Explanation
from va_search.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DOTS = 13.0, 110
MOST = 30
"""Members in the correlation's picture, by weight."""

SINGLE = 15
"""Members in the picture of what each part adds, by weight."""

KINDS = {"feature set": "#4269d0", "encoder": "#efb118", "source": "#9498a0", "member": "#3ca951"}
Explained = Mapping[str, Explanation]


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
    for axis, (dimension, explanation) in zip(axes[0], explained.items(), strict=True):
        members = len(explanation.labels)
        labels = [_short(name, 30) for name in _names(explanation)[:MOST]]
        values = explanation.correlation[: len(labels), : len(labels)]
        image = axis.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        pairs = values[np.triu_indices(len(labels), 1)]
        about = f"mean {np.nanmean(pairs):.2f}" if np.isfinite(pairs).any() else "one member"
        if members > MOST:
            about += f", the {MOST} with most weight of {members}"
        axis.set_title(f"{dimension}: correlation of members ({about})", fontsize=10)
        if len(labels) <= 12:
            _write_values(axis, values)
        figure.colorbar(image, ax=axis, shrink=0.7, label="Pearson correlation")
    return figure


def weight_picture(explained: Explained) -> Figure:
    """The share of weight by encoder, feature sets, fusion and seed."""
    shares = {}
    for dimension, explanation in explained.items():
        for what in SHARED:
            shares[dimension, what] = [s for s in explanation.shares if s.what == what]
    counts = [max(len(shares[dimension, what]) for dimension in explained) for what in SHARED]
    height = 1.5 + sum(0.6 + 0.27 * count for count in counts)
    figure, axes = _figure(len(explained), len(SHARED), height, counts)
    # Transposed, the axes are in the order of the shares: a dimension a column.
    for axis, ((dimension, what), drawn) in zip(axes.T.flat, shares.items(), strict=True):
        names = [f"{_short(share.value)} ({share.members})" for share in drawn]
        weights = [share.weight for share in drawn]
        bars = axis.barh(names, weights, color="#4269d0")
        axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
        axis.set_title(f"{dimension}: weight by {what} (members)", fontsize=10)
        _tidy(axis, weights)
    for axis in axes[-1]:
        axis.set_xlabel("sum of weights")
    return figure


def adds_picture(explained: Explained) -> Figure:
    """The CCC that each group adds; a bar to the left: the recipe is better without."""
    shown = {dimension: _groups_and_members(one) for dimension, one in explained.items()}
    most = max(len(additions) for additions in shown.values())
    figure, axes = _figure(len(explained), 1, 1.8 + 0.25 * most)
    for axis, (dimension, explanation) in zip(axes[0], explained.items(), strict=True):
        additions = shown[dimension]
        name_of = dict(zip(explanation.labels, _names(explanation), strict=True))
        names = [_short(f"{a.kind} {name_of.get(a.name, a.name)}", 40) for a in additions]
        gains = [a.gain or 0.0 for a in additions]
        bars = axis.barh(range(len(names)), gains, color=[KINDS[a.kind] for a in additions])
        axis.set_yticks(range(len(names)), names, fontsize=8)
        texts = ["–" if a.gain is None else f"{a.gain:+.4f}" for a in additions]
        axis.bar_label(bars, labels=texts, padding=3, fontsize=8)
        axis.axvline(0.0, color="black", linewidth=0.8)
        measured = explanation.measured.replace("_", "-")
        whole = "" if explanation.ccc is None else f" (with: {explanation.ccc:.3f})"
        axis.set_title(f"{dimension}: what each part adds", fontsize=10)
        axis.set_xlabel(f"{measured} CCC with − without{whole}")
        _tidy(axis, gains)
    return figure


def _groups_and_members(explanation: Explanation) -> list[Addition]:
    """All groups, and the members with most weight."""
    groups = [addition for addition in explanation.additions if addition.kind != "member"]
    members = [addition for addition in explanation.additions if addition.kind == "member"]
    return groups + members[:SINGLE]


def _figure(
    columns: int, rows: int, height: float, bars: list[int] | None = None
) -> tuple[Figure, Any]:
    """A figure and its axes (row, column); rows are as high as their number of bars asks for."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    heights = [count + 1.2 for count in bars] if bars else None
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def _tidy(axis: Axes, values: list[float]) -> None:
    """First bar on top, room for the numbers, no box."""
    axis.invert_yaxis()
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 0.22 * ((high - low) or 1.0)
    axis.set_xlim(low - room if low < 0 else low, high + room)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


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
