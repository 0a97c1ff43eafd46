"""Which settings matter: parallel coordinates of what varies, and importances."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from va_search.errors import counted
from va_search.report.figures.drawing import (
    COLOURS,
    INK,
    SERIES,
    drawing,
    legend_below,
    panel,
    picture,
    short,
)
from va_search.report.gather import Gathered
from va_search.report.model import Figure, Missing, Picture
from va_search.report.words import Configuration, configurations, number, value_text, varying
from va_search.search.importance import LEAST, Importances, importances
from va_search.trial import Trial
from va_search.trial_settings import unused

AXES = 12
"""Settings that get an axis."""
LINES = 250
"""Configurations that are drawn: the best, and of the rest every so many-th."""
VALUES = 8
"""Different values of a numeric setting that are still written at its axis one by one."""


UNUSED: Any = object()
"""Stands for the value of a setting that has no effect in a configuration."""
BELOW = -0.18


@dataclass(frozen=True)
class Axis:
    """One setting: where each configuration crosses it, 0 to 1, and what is written beside it."""

    name: str
    places: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


def parallel_coordinates(gathered: Gathered) -> Figure:
    """A line per configuration through the settings that vary, to its score at the right."""
    title = "Parallel coordinates"
    found = [one for one in configurations(gathered.on_main_fold) if one.settings is not None]
    if len(found) < 3:
        return Figure(
            title,
            missing=Missing(
                f"{counted(len(found), 'configuration')} found; three or more are needed."
            ),
        )
    ranked = sorted(found, key=lambda one: one.mean("score"))
    step = max(1, math.ceil(len(ranked) / LINES))
    shown = ranked[::-1][::step][::-1]
    axes = _axes(shown)
    dropped = [axis.name for axis in axes[AXES:]]
    caption = (
        f"{len(shown)} of {len(found)} configurations, score over seeds (in-sample best epochs); the brighter, the "
        "better; the best is drawn thickest."
    )
    caption += f" Not shown: {', '.join(dropped)}." if dropped else ""
    return Figure(title, (_parallel(shown, axes[:AXES]),), caption)


def _axes(shown: Sequence[Configuration]) -> list[Axis]:
    """An axis per setting that varies where it has an effect; `features` as their number."""
    several = [one.settings for one in shown if one.settings is not None]
    documents = [settings.model_dump(mode="json") for settings in several]
    idle = [unused(document) for document in documents]
    sizes = _axis("feature sets", [len(settings.features) for settings in several])
    found = [
        sizes,
        *(
            _axis(name, [document[name] for document in documents])
            for name in ("encoder", "fusion")
        ),
    ]
    for name in varying(several):
        values: list[Any] = []
        for document, names in zip(documents, idle, strict=True):
            has_effect = name in document and name not in names
            values.append(document[name] if has_effect else UNUSED)
        found.append(_axis(name, values))
    return [axis for axis in found if axis is not None]


def _axis(name: str, values: list[Any]) -> Axis | None:
    """None where all values are the same; what has no effect crosses below the others."""
    used = [value for value in values if value is not UNUSED]
    if len({json.dumps(value) for value in used}) < 2:
        return None
    kinds = _places(used)
    ticks = [(place, short(value_text(json.loads(text)), 16)) for text, place in kinds.items()]
    if len(ticks) > VALUES:
        ticks = [min(ticks), max(ticks)]
    if len(used) < len(values):
        ticks.append((BELOW, "not used"))
    return Axis(
        name,
        tuple(BELOW if one is UNUSED else kinds[json.dumps(one)] for one in values),
        tuple(ticks),
    )


def _places(used: list[Any]) -> dict[str, float]:
    """Where each value (as JSON) stands, 0 to 1: numbers to scale, a wide range by its logarithm,
    words one by one."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in used):
        numbers = np.array(sorted(set(used)), dtype=np.float64)
        scaled = np.log(numbers) if numbers[0] > 0 and numbers[-1] / numbers[0] >= 8 else numbers
        unit = (scaled - scaled[0]) / (scaled[-1] - scaled[0])
        return {
            json.dumps(value): float(place)
            for value, place in zip(sorted(set(used)), unit, strict=True)
        }
    words = sorted({json.dumps(value) for value in used})
    return {word: index / (len(words) - 1) for index, word in enumerate(words)}


def _parallel(shown: Sequence[Configuration], axes: Sequence[Axis]) -> Picture:
    from matplotlib import colormaps

    scores = np.array([one.mean("score") for one in shown])
    low, high = float(scores.min()), float(scores.max())
    unit = (scores - low) / ((high - low) or 1.0)
    last = Axis("score", tuple(unit.tolist()), ((0.0, number(low)), (1.0, number(high))))
    every = [*axes, last]
    shift = np.random.default_rng(0).uniform(-0.012, 0.012, size=(len(shown), len(every)))
    with drawing("parallel"):
        figure, axis = panel(width=max(4.7, 1.12 * len(every) + 0.6), height=3.8)
        for index in range(len(shown)):
            heights = [
                one.places[index] + (shift[index, at] if at < len(axes) else 0.0)
                for at, one in enumerate(every)
            ]
            best = index == len(shown) - 1
            colour = colormaps["viridis"](0.12 + 0.78 * float(unit[index]))
            axis.plot(
                range(len(every)),
                heights,
                color=colour,
                alpha=1.0 if best else 0.6,
                linewidth=2.6 if best else 0.9,
            )
        for at, one in enumerate(every):
            axis.axvline(at, color=INK, linewidth=0.7)
            for place, text in one.ticks:
                axis.text(at + 0.04, place, text, fontsize=7.5, va="center")
        axis.set_xticks(
            range(len(every)), [one.name.replace("_", "\n") for one in every], fontsize=8
        )
        axis.set_yticks([])
        axis.set_xlim(-0.1, len(every) - 0.55)
        axis.spines[:].set_visible(False)
        axis.tick_params(length=0)
        alt = (
            f"Parallel coordinates of {len(shown)} configurations over {', '.join(one.name for one in axes)}; scores "
            f"from {number(low)} to {number(high)}."
        )
        return picture(figure, "parallel", alt)


def importance_figure(gathered: Gathered, *, forests: bool = True) -> Figure:
    """How much of the differences in CCC each setting accounts for, by Optuna; without `forests` in
    under a second."""
    title = "Importance of settings"
    trials = [trial for trial in gathered.on_main_fold if trial.settings is not None]
    if len(trials) < LEAST:
        are = "is 1 trial" if len(trials) == 1 else f"are {len(trials)} trials"
        why = f"There {are} with a score; importances need at least {LEAST}. A search with a larger budget gives them."
        return Figure(title, missing=Missing(why))
    found = {
        dimension: _importances(trials, dimension, forests) for dimension in ("valence", "arousal")
    }
    if not all(found.values()):
        return Figure(
            title, missing=Missing("No setting varies over the trials, so none can matter.")
        )
    names = sorted({name for one in found.values() if one for name in one.evaluators})
    caption = (
        f"Over {len(trials)} trials, seeds apart; each kind of bar sums to 1. {_explained(names)} A feature set counts "
        "as a setting that is on or off. With few trials this is uncertain: trust the order of the long bars, not the "
        "numbers."
    )
    pictures = tuple(_importance(one, dimension) for dimension, one in found.items() if one)
    return Figure(title, pictures, caption)


def _importances(trials: Sequence[Trial], dimension: str, forests: bool) -> Importances | None:
    pairs = [(trial.settings, trial.ccc(dimension)) for trial in trials]
    known = [
        (settings, value) for settings, value in pairs if settings is not None and value is not None
    ]
    return importances(known, forests=forests)


def _explained(names: Sequence[str]) -> str:
    said = {
        "fANOVA": "fANOVA: share of the variance of the CCC over all trials (forests, Hutter 2014).",
        "PED-ANOVA": "PED-ANOVA: what sets the best quarter of the trials apart (Watanabe 2023).",
    }
    return " ".join(said[name] for name in names)


def _importance(found: Importances, dimension: str) -> Picture:
    evaluators = list(found.evaluators)
    first = found.evaluators[evaluators[0]]
    names = sorted(first, key=lambda name: -first[name])[:12]
    with drawing(f"importance-{dimension}"):
        figure, axis = panel(height=1.2 + 0.33 * len(names))
        height = 0.8 / len(evaluators)
        colours = [COLOURS[dimension], SERIES[4]]
        for at, evaluator in enumerate(evaluators):
            places = [
                index + (at - (len(evaluators) - 1) / 2) * height for index in range(len(names))
            ]
            values = [found.evaluators[evaluator].get(name, 0.0) for name in names]
            axis.barh(
                places, values, height=height, color=colours[at % 2], label=evaluator, linewidth=0
            )
        axis.set_yticks(range(len(names)), [short(name, 24) for name in names])
        axis.invert_yaxis()
        axis.set_title(dimension, loc="left")
        axis.set_xlabel("importance")
        if len(evaluators) > 1:
            legend_below(figure)
        told = ", ".join(f"{name} {number(first[name], 2)}" for name in names[:6])
        alt = f"Importance of settings for {dimension} by {evaluators[0]}: {told}."
        return picture(figure, f"importance-{dimension}", alt)
