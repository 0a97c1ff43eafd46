"""How far a study has come: the best so far over its trials, and the Pareto set of valence and
arousal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

from va_search.errors import counted
from va_search.report.figures.drawing import (
    COLOURS,
    SERIES,
    drawing,
    grid,
    legend_below,
    panel,
    picture,
    whole_numbers,
)
from va_search.report.model import Figure, Missing
from va_search.report.words import number
from va_search.search.outcomes import MEASURES, pareto, values
from va_search.tracking.entries import times
from va_search.trial import Trial

DOTS = 1000
"""Trials that get a dot: every so many-th of more."""


def history_figure(trials: Sequence[Trial]) -> Figure:
    """The best valence, arousal and score so far, over trained trials in the order they finished; a
    dot is a trial."""
    title = "Best so far"
    scored = sorted((trial for trial in trials if trial.best), key=lambda trial: times(trial)[1])
    if not scored:
        return Figure(title, missing=Missing("No trial with a validation score is complete yet."))
    best = {name: _best_so_far(scored, name) for name in COLOURS}
    with drawing("history"):
        figure, axis = panel(width=6.4, height=3.4)
        places = range(1, len(scored) + 1)
        step = math.ceil(len(scored) / DOTS)
        dots = [_measured(trial, "score") for trial in scored[::step]]
        axis.plot(
            places[::step],
            dots,
            ".",
            color=SERIES[4],
            markersize=4,
            alpha=0.6,
            label="score of a trial",
        )
        for name, line in best.items():
            axis.step(places, line, where="post", color=COLOURS[name], label=f"best {name}")
        axis.set_xlabel("complete trials")
        axis.set_ylabel("validation CCC")
        whole_numbers(axis)
        legend_below(figure)
        grid(axis)
        reached = ", ".join(f"{name} {number(line[-1])}" for name, line in best.items())
        shown = picture(
            figure,
            "history",
            f"Best validation CCC so far over {counted(len(scored), 'trial')}; it reaches {reached}.",
        )
    caption = f"{len(scored)} trained trials in the order they finished, CCC of each one's best epoch (in-sample)."
    return Figure(title, (shown,), caption)


def _best_so_far(scored: Sequence[Trial], name: str) -> list[float]:
    return list(accumulate((_measured(trial, name) for trial in scored), max))


def _measured(trial: Trial, name: str) -> float:
    found = values(trial, name)
    return -math.inf if found is None else found[0]


def pareto_figure(trials: Sequence[Trial]) -> Figure:
    """Arousal over valence, and the trials that no other beats on one without losing on the
    other."""
    title = "Pareto set of valence and arousal"
    pairs = [pair for trial in trials if (pair := values(trial, "both")) is not None]
    front = pareto(trials)
    if not front:
        return Figure(title, missing=Missing("No trial with a validation score is complete yet."))
    with drawing("pareto"):
        figure, axis = panel(width=6.4, height=3.8)
        some = pairs[:: math.ceil(len(pairs) / DOTS)]
        axis.plot(
            *zip(*some, strict=True), ".", color=SERIES[4], markersize=4, alpha=0.6, label="trial"
        )
        line = [(one["valence"], one["arousal"]) for one in front]
        axis.plot(
            *zip(*line, strict=True), "o-", color=COLOURS["score"], markersize=5, label="Pareto set"
        )
        axis.set_xlabel(f"validation CCC of {MEASURES['both'][0]}")
        axis.set_ylabel(f"validation CCC of {MEASURES['both'][1]}")
        legend_below(figure)
        grid(axis, "both")
        told = "; ".join(
            f"{number(valence)} and {number(arousal)}" for valence, arousal in line[:8]
        )
        shown = picture(
            figure, "pareto", f"{len(front)} of {len(pairs)} trials are in the Pareto set: {told}."
        )
    caption = f"{len(pairs)} trained trials, CCC of each dimension's best epoch (in-sample); {len(front)} in the set."
    return Figure(title, (shown,), caption)
