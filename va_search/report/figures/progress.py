"""Progress of a study over its trials, and of its best trials over their epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search.errors import counted
from va_search.report.figures.drawing import GREY, SCORE_COLOUR, SERIES, panel, target_colours
from va_search.report.gather import Gathered
from va_search.report.pages import Figure, Picture
from va_search.report.words import model_name
from va_search.search.outcomes import pareto
from va_search.table import Missing, number
from va_search.tracking.entries import times
from va_search.trial import SCORE, Trial

MOST_DOTS = 1000
"""Trials that get a dot: every so many-th of more."""
MOST_CURVES = 5
"""Trials whose learning curves are shown."""
Points = NDArray[np.float64]
DOTS: dict[str, Any] = {"color": GREY, "markersize": 4, "alpha": 0.6}
NOTHING_YET = Missing("No trial with a validation score is complete yet.")


def history_figure(trials: Sequence[Trial]) -> Figure:
    """The best of each target and the best score so far, over trained trials in the order they finished; a
    dot is a trial."""
    title = "Best so far"
    scored = _with_score(trials)
    if not scored:
        return Figure(title, missing=NOTHING_YET)
    # The bank lists trials by id; how a search went is seen by the time they ended.
    scored.sort(key=lambda trial: times(trial)[1])
    with panel("history", x="complete trials", y="validation CCC", width=6.4, height=3.4) as drawn:
        # Of a long study every so many-th trial is a dot, but the lines are over all of them.
        numbers = range(1, len(scored) + 1)
        step = math.ceil(len(scored) / MOST_DOTS)
        scores = [_measured(trial, SCORE) for trial in scored]
        drawn.axis.plot(numbers[::step], scores[::step], ".", label="score of a trial", **DOTS)
        reached = []
        lines = {**target_colours(scored[0].target_names), SCORE: SCORE_COLOUR}
        for name, colour in lines.items():
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
    measured = trial.ccc(name)
    return -math.inf if measured is None else measured


def pareto_figure(trials: Sequence[Trial], targets: Sequence[str]) -> Figure:
    """A picture for every two targets: the second over the first, and the trials that no other
    beats on one target without losing on another."""
    title = f"Pareto set of {', '.join(targets[:-1])} and {targets[-1]}"
    scored = _with_score(trials)
    front = pareto(scored)
    if not front:
        return Figure(title, missing=NOTHING_YET)
    pictures = []
    for x, y in combinations(targets, 2):
        name = "pareto" if len(targets) == 2 else f"pareto-{x}-{y}"
        points = np.array([(_measured(trial, x), _measured(trial, y)) for trial in scored])
        best = np.array([(point[x], point[y]) for point in front])
        # Over two targets alone the set falls from one trial to the next, and a line shows it.
        style = "o-" if len(targets) == 2 else "o"
        pictures.append(_pareto_picture(name, (x, y), points, best, style))
    caption = (
        f"{len(scored)} trained trials, CCC of each target's best epoch (in-sample); "
        f"{len(front)} in the set."
    )
    return Figure(title, tuple(pictures), caption)


def _pareto_picture(
    name: str, targets: tuple[str, str], points: Points, front: Points, style: str
) -> Picture:
    """`points`: (trial, 2) CCCs of the two targets, `front`: those of the Pareto set."""
    x, y = targets
    with panel(
        name,
        x=f"validation CCC of {x}",
        y=f"validation CCC of {y}",
        grid="both",
        width=6.4,
        height=3.8,
    ) as drawn:
        dots = points[:: math.ceil(len(points) / MOST_DOTS)]
        drawn.axis.plot(*dots.T, ".", label="trial", **DOTS)
        (line,) = drawn.axis.plot(*front.T, style, color=SCORE_COLOUR)
        line.set(label="Pareto set", markersize=5)
        drawn.legend_below()
        alt = f"{len(front)} of {len(points)} trials are in the Pareto set:"
        for first, second in front[:8]:
            alt += f" {number(first)} and {number(second)};"
        return drawn.picture(f"{alt.removesuffix(';')}.")


def learning_curves(gathered: Gathered) -> Figure:
    """Validation CCC over epochs of the best trials by score; a dot is the best epoch, whose
    weights are used."""
    title = "Learning curves"
    with_history = [trial for trial in gathered.on_main_fold if trial.history_json]
    best = sorted(with_history, key=lambda trial: -(trial.score or 0.0))[:MOST_CURVES]
    if not best:
        reason = "No complete trial was trained here with a validation score per epoch."
        return Figure(title, missing=Missing(reason))
    caption = (
        f"The {len(best)} best trials by score, validation CCC after each epoch (in-sample). A dot "
        "is the best epoch, which differs between the targets; the trial predicts each target from "
        "its own."
    )
    if any(trial.keep != "best" for trial in best):
        caption += " With another `keep` than best it is the last epoch."
    stopped = sum(bool(trial.stopped) for trial in best)
    if stopped:
        were = "was" if stopped == 1 else "were"
        caption += f" {stopped} of them {were} stopped early by the search."
    pictures = [_curves_picture(best, target) for target in gathered.targets]
    return Figure(title, tuple(pictures), caption)


def _curves_picture(best: Sequence[Trial], target: str) -> Picture:
    name = f"learning-{target}"
    with panel(name, title=target, x="epoch", y="validation CCC", height=3.8) as drawn:
        for trial, colour in zip(best, SERIES, strict=False):
            epochs = [epoch.epoch for epoch in trial.history]
            cccs = [epoch.ccc(target) for epoch in trial.history]
            curve = np.array(cccs, dtype=np.float64)  # NaN where an epoch has none
            label = f"{model_name(trial.settings)} {trial.id[:6]}"
            drawn.axis.plot(epochs, curve, color=colour, label=label)
            top = int(np.nan_to_num(curve, nan=-math.inf).argmax())
            if trial.keep != "best":
                top = len(curve) - 1
            drawn.axis.plot(epochs[top], curve[top], "o", color=colour, markersize=5)
        drawn.whole_numbers()
        drawn.legend_below()
        reached = ", ".join(number(trial.ccc(target)) for trial in best)
        return drawn.picture(
            f"Validation {target} CCC over epochs of the {len(best)} best trials; they reach "
            f"{reached}."
        )
