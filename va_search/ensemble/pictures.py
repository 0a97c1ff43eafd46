"""Pictures of an explanation, as PNG files: correlation of members, weight by what they share, what
each part adds.

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
    paths = []
    for name, picture in pictures.items():
        with whole_file(folder / name) as beside:
            picture(explained).savefig(beside, format="png", dpi=DOTS)
        paths.append(folder / name)
    return paths


def correlation_picture(explained: Explained) -> Figure:
    """Members by weight along both sides; a dark square is a pair that predicts nearly the same."""
    rows = max(min(len(one.labels), MOST) for one in explained.values())
    figure, axes = _figure(len(explained), 1, 2.2 + max(4.5, 0.21 * rows))
    for axis, (dimension, one) in zip(axes[0], explained.items(), strict=True):
        labels = [_short(name, 30) for name in _names(one)[:MOST]]
        values = one.correlation[: len(labels), : len(labels)]
        image = axis.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r")
        axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
        axis.set_yticks(range(len(labels)), labels, fontsize=7)
        pairs = values[np.triu_indices(len(labels), 1)]
        mean = f"mean {np.nanmean(pairs):.2f}" if np.isfinite(pairs).any() else "one member"
        cut = (
            f", the {MOST} with most weight of {len(one.labels)}" if len(one.labels) > MOST else ""
        )
        axis.set_title(f"{dimension}: correlation of members ({mean}{cut})", fontsize=10)
        if len(labels) <= 12:
            _write_values(axis, values)
        figure.colorbar(image, ax=axis, shrink=0.7, label="Pearson correlation")
    return figure


def weight_picture(explained: Explained) -> Figure:
    """The share of weight by encoder, feature sets, fusion and seed."""
    counts = [
        max(sum(s.what == what for s in one.shares) for one in explained.values())
        for what in SHARED
    ]
    figure, axes = _figure(
        len(explained), len(SHARED), sum(0.6 + 0.27 * count for count in counts) + 1.5, counts
    )
    for column, (dimension, one) in enumerate(explained.items()):
        for row, what in enumerate(SHARED):
            axis = axes[row][column]
            found = [share for share in one.shares if share.what == what]
            names = [f"{_short(share.value)} ({share.members})" for share in found]
            bars = axis.barh(names, [share.weight for share in found], color="#4269d0")
            axis.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
            axis.set_title(f"{dimension}: weight by {what} (members)", fontsize=10)
            _tidy(axis, [share.weight for share in found])
    axes[-1][0].set_xlabel("sum of weights")
    axes[-1][-1].set_xlabel("sum of weights")
    return figure


def adds_picture(explained: Explained) -> Figure:
    """What the recipe loses without each group; a bar to the left: it is better without."""
    shown = {dimension: _groups_and_first(one) for dimension, one in explained.items()}
    figure, axes = _figure(
        len(explained), 1, 1.8 + 0.25 * max(len(some) for some in shown.values())
    )
    for axis, (dimension, one) in zip(axes[0], explained.items(), strict=True):
        additions = shown[dimension]
        known = dict(zip(one.labels, _names(one), strict=True))
        names = [_short(f"{a.kind} {known.get(a.name, a.name)}", 40) for a in additions]
        gains = [np.nan if a.gain is None else a.gain for a in additions]
        bars = axis.barh(
            range(len(names)), np.nan_to_num(gains), color=[KINDS[a.kind] for a in additions]
        )
        axis.set_yticks(range(len(names)), names, fontsize=8)
        texts = ["–" if np.isnan(gain) else f"{gain:+.4f}" for gain in gains]
        axis.bar_label(bars, labels=texts, padding=3, fontsize=8)
        axis.axvline(0.0, color="black", linewidth=0.8)
        measured = one.measured.replace("_", "-")
        whole = "" if one.ccc is None else f" (with: {one.ccc:.3f})"
        axis.set_title(f"{dimension}: what each part adds", fontsize=10)
        axis.set_xlabel(f"{measured} CCC with − without{whole}")
        _tidy(axis, list(np.nan_to_num(gains)))
    return figure


def _groups_and_first(one: Explanation) -> list[Addition]:
    """All groups, and the members with most weight."""
    groups = [addition for addition in one.additions if addition.kind != "member"]
    return groups + [addition for addition in one.additions if addition.kind == "member"][:SINGLE]


def _figure(
    columns: int, rows: int, height: float, ratios: list[int] | None = None
) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    heights = [count + 1.2 for count in ratios] if ratios else None
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=heights)


def _tidy(axis: Axes, values: list[float]) -> None:
    """First bar on top, room for the numbers, no box."""
    axis.invert_yaxis()
    low, high = min([0.0, *values]), max([0.0, *values])
    room = 0.22 * ((high - low) or 1.0)
    axis.set_xlim(low - (room if low < 0 else 0.0), high + room)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _write_values(axis: Axes, values: Any) -> None:
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        if np.isfinite(value):
            color = "white" if abs(value) > 0.6 else "black"
            axis.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color
            )


def _names(one: Explanation) -> list[str]:
    """Members by trial (its first characters, when it is a hash) and encoder."""
    trials = [label.split("/")[-1] for label in one.labels]
    return [
        trial if model == ELSEWHERE else f"{trial[:8]} {model.split(',')[0]}"
        for trial, model in zip(trials, one.models, strict=True)
    ]


def _short(name: str, most: int = 28) -> str:
    """The name, cut where it is too long; of several feature sets, each is cut, so that they still
    differ."""
    if len(name) <= most:
        return name
    parts = name.split(" + ")
    each = max(2, (most + 1) // len(parts) - 1)
    return "+".join(part[:each] for part in parts) if len(parts) > 1 else f"{name[: most - 1]}…"
