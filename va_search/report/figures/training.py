"""Learning curves of the best trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

from va_search.metrics import DIMENSIONS
from va_search.report.figures.drawing import (
    SERIES,
    drawing,
    grid,
    legend_below,
    panel,
    picture,
    whole_numbers,
)
from va_search.report.gather import Gathered
from va_search.report.model import Figure, Missing, Picture
from va_search.report.words import model_name, number
from va_search.trial import Trial

CURVES = 5
"""Trials that are shown."""


def learning_curves(gathered: Gathered) -> Figure:
    """Validation CCC over epochs of the best trials by score; a dot is the best epoch, whose
    weights are used."""
    title = "Learning curves"
    with_history = [trial for trial in gathered.on_main_fold if trial.history]
    best = sorted(with_history, key=lambda trial: -(trial.score or 0.0))[:CURVES]
    if not best:
        return Figure(
            title,
            missing=Missing(
                "No complete trial was trained here with a validation score per epoch."
            ),
        )
    pictures = [_curves(best, dimension) for dimension in DIMENSIONS]
    stopped = sum(bool(trial.stopped) for trial in best)
    caption = (
        f"The {len(best)} best trials by score, validation CCC after each epoch (in-sample). A dot is the best epoch, "
        "which differs between the dimensions; the trial predicts each dimension from its own."
    )
    were = "was" if stopped == 1 else "were"
    caption += f" {stopped} of them {were} stopped early by the search." if stopped else ""
    return Figure(title, tuple(pictures), caption)


def _curves(best: Sequence[Trial], dimension: str) -> Picture:
    name = f"learning-{dimension}"
    with drawing(name):
        figure, axis = panel(height=3.8)
        for trial, colour in zip(best, SERIES, strict=False):
            epochs = [epoch.epoch for epoch in trial.history]
            values = [_value(epoch.ccc(dimension)) for epoch in trial.history]
            label = f"{model_name(trial.settings)} {trial.id[:6]}"
            axis.plot(epochs, values, color=colour, label=label)
            top = max(
                range(len(values)),
                key=lambda at: -math.inf if math.isnan(values[at]) else values[at],
            )
            axis.plot(epochs[top], values[top], "o", color=colour, markersize=5)
        axis.set_title(f"{dimension}", loc="left")
        axis.set_xlabel("epoch")
        axis.set_ylabel("validation CCC")
        whole_numbers(axis)
        legend_below(figure)
        grid(axis)
        reached = ", ".join(number(trial.ccc(dimension)) for trial in best)
        alt = f"Validation {dimension} CCC over epochs of the {len(best)} best trials; they reach {reached}."
        return picture(figure, name, alt)


def _value(ccc: float | None) -> float:
    return float("nan") if ccc is None else float(ccc)
