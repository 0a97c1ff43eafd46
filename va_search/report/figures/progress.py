"""Progress of a study over its trials, and of its best trials over their epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from va_search.errors import counted
from va_search.metrics import DIMENSIONS
from va_search.report.figures.drawing import COLOURS, GREY, SERIES, panel
from va_search.report.gather import Gathered
from va_search.report.pages import Figure, Picture
from va_search.report.words import model_name
from va_search.search.outcomes import pareto, values
from va_search.table import Missing, number
from va_search.tracking.entries import times
from va_search.trial import Trial

MOST_DOTS = 1000
"""Trials that get a dot: every so many-th of more."""
MOST_CURVES = 5
"""Trials whose learning curves are shown."""
DOTS: dict[str, Any] = {"color": GREY, "markersize": 4, "alpha": 0.6}
NOTHING_YET = Missing("No trial with a validation score is complete yet.")


def history_figure(trials: Sequence[Trial]) -> Figure:
    """The best valence, arousal and score so far, over trained trials in the order they finished; a
    dot is a trial."""
    title = "Best so far"
    scored = _with_score(trials)
    if not scored:
        return Figure(title, missing=NOTHING_YET)
    scored.sort(key=lambda trial: times(trial)[1])
    with panel("history", x="complete trials", y="validation CCC", width=6.4, height=3.4) as drawn:
        # Of a long study every so many-th trial is a dot, but the lines are over all of them.
        numbers = range(1, len(scored) + 1)
        step = math.ceil(len(scored) / MOST_DOTS)
        scores = [_measured(trial, "score") for trial in scored]
        drawn.axis.plot(numbers[::step], scores[::step], ".", label="score of a trial", **DOTS)
        reached = []
        for name, colour in COLOURS.items():
            best = np.maximum.accumulate([_measured(trial, name) for trial in scored])
            drawn.axis.step(numbers, best, where="post", color=colour, label=f"best {name}")
            reached.append(f"{name} {number(best[-1])}")
        drawn.whole_numbers()
        drawn.legend_below()
        number_of_trials = counted(len(scored), "trial")
        picture = drawn.picture(
            f"Best validation CCC so far over {number_of_trials}; it reaches {', '.join(reached)}."
        )
    caption = (
        f"{len(scored)} trained trials in the order they finished, CCC of each one's best epoch "
        "(in-sample)."
    )
    return Figure(title, (picture,), caption)


def _with_score(trials: Sequence[Trial]) -> list[Trial]:
    """The trials that were validated."""
    return [trial for trial in trials if trial.best]


def _measured(trial: Trial, name: str) -> float:
    measured = values(trial, name)
    return -math.inf if measured is None else measured[0]


def pareto_figure(trials: Sequence[Trial]) -> Figure:
    """Arousal over valence, and the trials that no other beats on one without losing on the
    other."""
    title = "Pareto set of valence and arousal"
    scored = _with_score(trials)
    points = np.array([values(trial, "both") for trial in scored])
    front = [(point["valence"], point["arousal"]) for point in pareto(scored)]
    if not front:
        return Figure(title, missing=NOTHING_YET)
    with panel(
        "pareto",
        x="validation CCC of valence",
        y="validation CCC of arousal",
        grid="both",
        width=6.4,
        height=3.8,
    ) as drawn:
        dots = points[:: math.ceil(len(points) / MOST_DOTS)]
        drawn.axis.plot(*dots.T, ".", label="trial", **DOTS)
        (line,) = drawn.axis.plot(*np.transpose(front), "o-", color=COLOURS["score"])
        line.set(label="Pareto set", markersize=5)
        drawn.legend_below()
        alt = f"{len(front)} of {len(points)} trials are in the Pareto set:"
        for valence, arousal in front[:8]:
            alt += f" {number(valence)} and {number(arousal)};"
        picture = drawn.picture(f"{alt.removesuffix(';')}.")
    caption = (
        f"{len(points)} trained trials, CCC of each dimension's best epoch (in-sample); "
        f"{len(front)} in the set."
    )
    return Figure(title, (picture,), caption)


def learning_curves(gathered: Gathered) -> Figure:
    """Validation CCC over epochs of the best trials by score; a dot is the best epoch, whose
    weights are used."""
    title = "Learning curves"
    with_history = [trial for trial in gathered.on_main_fold if trial.history]
    best = sorted(with_history, key=lambda trial: -(trial.score or 0.0))[:MOST_CURVES]
    if not best:
        reason = "No complete trial was trained here with a validation score per epoch."
        return Figure(title, missing=Missing(reason))
    caption = (
        f"The {len(best)} best trials by score, validation CCC after each epoch (in-sample). A dot "
        "is the best epoch, which differs between the dimensions; the trial predicts each "
        "dimension from its own."
    )
    stopped = sum(bool(trial.stopped) for trial in best)
    if stopped:
        were = "was" if stopped == 1 else "were"
        caption += f" {stopped} of them {were} stopped early by the search."
    pictures = [_curves_picture(best, dimension) for dimension in DIMENSIONS]
    return Figure(title, tuple(pictures), caption)


def _curves_picture(best: Sequence[Trial], dimension: str) -> Picture:
    name = f"learning-{dimension}"
    with panel(name, title=dimension, x="epoch", y="validation CCC", height=3.8) as drawn:
        for trial, colour in zip(best, SERIES, strict=False):
            epochs = [epoch.epoch for epoch in trial.history]
            cccs = [epoch.ccc(dimension) for epoch in trial.history]
            curve = np.array(cccs, dtype=np.float64)  # NaN where an epoch has none
            label = f"{model_name(trial.settings)} {trial.id[:6]}"
            drawn.axis.plot(epochs, curve, color=colour, label=label)
            top = int(np.nan_to_num(curve, nan=-math.inf).argmax())
            drawn.axis.plot(epochs[top], curve[top], "o", color=colour, markersize=5)
        drawn.whole_numbers()
        drawn.legend_below()
        reached = ", ".join(number(trial.ccc(dimension)) for trial in best)
        return drawn.picture(
            f"Validation {dimension} CCC over epochs of the {len(best)} best trials; they reach "
            f"{reached}."
        )
