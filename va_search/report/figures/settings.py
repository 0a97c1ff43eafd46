"""Which settings matter: parallel coordinates of those that vary, and what they
decided."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from va_search.errors import counted
from va_search.report.figures.drawing import INK, panel, short, target_colours
from va_search.report.gather import Gathered
from va_search.report.pages import Figure, Picture
from va_search.report.tables.decisive import DecisiveByMeasure, why_undecided
from va_search.report.words import (
    ConfigurationTrials,
    configurations,
    settings_of,
    shown_settings,
    value_text,
    varying,
)
from va_search.search.importance import Decisive
from va_search.table import Missing, number
from va_search.trial import SCORE

MOST_AXES = 12
"""Settings that get an axis."""
MOST_LINES = 250
"""Configurations that are drawn: the best, and of the others every so many-th."""
MOST_TICKS = 8
"""Different values of a setting that are written at its axis one by one; of more, two."""
MOST_BARS = 12
"""Settings that are drawn by what they decided."""
WIDE_RANGE = 8
"""Numbers whose largest is this many times the smallest are drawn by their logarithm."""
BELOW = -0.18
"""Height at which a configuration without the setting crosses its axis."""


# Parallel coordinates -----------------------------------------------------------------------------


@dataclass(frozen=True)
class SettingAxis:
    """One setting: the height at which each configuration crosses it, 0 to 1, and what is written
    beside it at which height."""

    name: str
    heights: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_coordinates(gathered: Gathered) -> Figure:
    """A line per configuration through the settings that vary, to its score at the right."""
    title = "Parallel coordinates"
    trained = [trial for trial in gathered.on_main_fold if trial.settings is not None]
    groups = configurations(trained)
    if len(groups) < 3:
        count = counted(len(groups), "configuration")
        return Figure(title, missing=Missing(f"{count} found; three or more are needed."))
    # The best first for the choice, the best last for the drawing: it stays on top.
    groups.sort(key=lambda group: group.mean("score"), reverse=True)
    step = max(1, math.ceil(len(groups) / MOST_LINES))
    shown = groups[::step][::-1]
    axes = _axes(shown)
    caption = (
        f"{len(shown)} of {len(groups)} configurations, score over seeds (in-sample best epochs); "
        "the brighter, the better; the best is drawn thickest."
    )
    if len(axes) > MOST_AXES:
        caption += f" Not shown: {', '.join(axis.name for axis in axes[MOST_AXES:])}."
    return Figure(title, (_parallel_picture(shown, axes[:MOST_AXES]),), caption)


def _axes(shown: Sequence[ConfigurationTrials]) -> list[SettingAxis]:
    """An axis per setting that varies where it has an effect; `features` as their number."""
    several = settings_of(shown)
    documents = []
    for settings in several:
        sets = {"feature sets": len(settings.features)}
        documents.append({**shown_settings(settings), **sets})
    axes = []
    for name in ("feature sets", "encoder", "fusion", *varying(several)):
        axis = _axis(name, documents)
        if axis is not None:
            axes.append(axis)
    return axes


def _axis(name: str, documents: Sequence[dict[str, Any]]) -> SettingAxis | None:
    """The axis of a setting; None where all values are the same."""
    used = {}
    for document in documents:
        if name in document:
            used[json.dumps(document[name])] = document[name]
    if len(used) < 2:
        return None
    by_value = _heights(used)
    ticks = []
    for text, height in by_value.items():
        ticks.append((height, short(value_text(used[text]), 16)))
    # A fine range is legible from its two ends.
    if len(ticks) > MOST_TICKS:
        ticks = [min(ticks), max(ticks)]
    heights = []
    for document in documents:
        if name in document:
            heights.append(by_value[json.dumps(document[name])])
        else:
            heights.append(BELOW)
    if BELOW in heights:
        ticks.append((BELOW, "not used"))
    return SettingAxis(name, tuple(heights), tuple(ticks))


def _heights(used: dict[str, Any]) -> dict[str, float]:
    """Height of each value, 0 to 1, by its JSON: numbers to scale, a wide range by its logarithm,
    words at equal distances."""
    types = set(map(type, used.values()))
    if not types <= {int, float}:
        words = sorted(used)
        return dict(zip(words, np.linspace(0, 1, len(words)).tolist(), strict=True))
    texts = sorted(used, key=lambda text: float(used[text]))
    scaled = np.array([used[text] for text in texts], dtype=np.float64)
    if scaled[0] > 0 and scaled[-1] / scaled[0] >= WIDE_RANGE:
        scaled = np.log(scaled)
    heights = (scaled - scaled[0]) / (scaled[-1] - scaled[0])
    return dict(zip(texts, heights.tolist(), strict=True))


def _parallel_picture(shown: Sequence[ConfigurationTrials], axes: Sequence[SettingAxis]) -> Picture:
    from matplotlib import colormaps

    scores = np.array([group.mean("score") for group in shown])
    low, high = float(scores.min()), float(scores.max())
    # Scores from 0 to 1 are both the height on the last axis and the colour.
    unit = (scores - low) / ((high - low) or 1.0)
    score_ticks = ((0.0, number(low)), (1.0, number(high)))
    every_axis = [*axes, SettingAxis("score", tuple(unit.tolist()), score_ticks)]
    # (configuration, axis); lines through the same values are shifted apart, but not at the score.
    heights = np.array([axis.heights for axis in every_axis]).T
    shift = np.random.default_rng(0).uniform(-0.012, 0.012, size=heights.shape)
    heights[:, :-1] += shift[:, :-1]
    best = len(heights) - 1
    width = max(4.7, 1.12 * len(every_axis) + 0.6)
    with panel("parallel", grid=None, width=width, height=3.8) as drawn:
        axis = drawn.axis
        for index, line in enumerate(heights):
            colour = colormaps["viridis"](0.12 + 0.78 * float(unit[index]))
            (drawn_line,) = axis.plot(line, color=colour, alpha=0.6, linewidth=0.9)
            if index == best:
                drawn_line.set(alpha=1.0, linewidth=2.6)
        for index, setting in enumerate(every_axis):
            axis.axvline(index, color=INK, linewidth=0.7)
            for height, text in setting.ticks:
                axis.text(index + 0.04, height, text, fontsize=7.5, va="center")
        names = [setting.name for setting in every_axis]
        labels = [name.replace("_", "\n") for name in names]
        axis.set_xticks(range(len(labels)), labels, fontsize=8)
        axis.set_yticks([])
        axis.set_xlim(-0.1, len(every_axis) - 0.55)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        return drawn.picture(
            f"Parallel coordinates of {len(shown)} configurations over {', '.join(names[:-1])}; "
            f"scores from {number(low)} to {number(high)}."
        )


# What decided -------------------------------------------------------------------------------------

DECIDED = "What decided"


def decisive_figure(decisive: DecisiveByMeasure, sample: str = "") -> Figure:
    """A picture for each target and the score: the settings with the largest share, a dot for what
    the best value gives over the others, and its interval."""
    missing = why_undecided(decisive)
    if missing is not None:
        return Figure(DECIDED, missing=missing)
    targets = [measure for measure in decisive if measure != SCORE]
    pictures = []
    for target, colour in target_colours(targets).items():
        judged = [setting for setting in decisive[target] if setting.interval is not None]
        if judged:
            pictures.append(_decisive_picture(target, judged[:MOST_BARS], colour))
    caption = (
        "The CCC that a setting's best value gives over its other values, with the 95 % interval; "
        "the settings with the largest share in the differences between configurations come first. "
        "Filled dots: more than chance. Intervals are drawn up to three times the largest of these "
        "differences."
    )
    if sample:
        caption += f" {sample}"
    return Figure(DECIDED, tuple(pictures), caption)


def _decisive_picture(target: str, judged: Sequence[Decisive], colour: str) -> Picture:
    """`judged`: settings with an interval, the largest share first."""
    height = 1.2 + 0.33 * len(judged)
    label = "CCC over the other values"
    with panel(f"decided-{target}", title=target, x=label, grid="x", height=height) as drawn:
        axis = drawn.axis
        axis.axvline(0.0, color=INK, linewidth=0.8)
        names = []
        for index, setting in enumerate(judged):
            assert setting.interval is not None
            axis.plot(setting.interval, (index, index), color=colour, linewidth=1.6, alpha=0.8)
            (dot,) = axis.plot(setting.difference, index, "o", color=colour, markersize=6)
            if not setting.is_certain:
                dot.set_markerfacecolor("none")
            names.append(short(f"{setting.setting}: {setting.best}", 32))
        # A setting that the trials hardly tell would shrink all others to dots.
        reach = 3 * max(abs(setting.difference) for setting in judged)
        low = min(0.0, *(setting.interval[0] for setting in judged if setting.interval))
        high = max(setting.interval[1] for setting in judged if setting.interval)
        if reach > 0:
            axis.set_xlim(max(low, -reach) * 1.05, min(high, reach) * 1.05)
        axis.set_yticks(range(len(names)), names)
        axis.invert_yaxis()
        sentences = "; ".join(setting.sentence for setting in judged[:6])
        return drawn.picture(f"What decided for {target}: {sentences}.")
