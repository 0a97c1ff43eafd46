"""The numbers by which a search ranks trials, and of which the sampler learns.

Conventions: a trial without validation (train_val_mix) has no best and so no objective; nothing is
ranked by it. `objective` is a space's word for its goal; a measure is a number each trial has: the
CCC of each target, and their mean, the score.

With objective `ensemble` a trial's value is its credit, the CCC that the greedy ensemble of the
study's trials would lose without it (a callable from outside: search knows no ensemble), plus `TIE`
of its own score, which ranks the many whose credit is 0. While there are no credits yet the value
is the score. Credits age: what adds much to three members adds little to thirty. So the values of
all trials are made anew each time the study has grown by `GROWTH`, and on resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from va_search.targets import AFFECT
from va_search.trial import SCORE, Trial

Values = tuple[float, ...]
"""Numbers that the sampler learns of a trial: one, or one for each target where all are searched
together."""

Credit = Callable[[Sequence[tuple[str, str]]], Mapping[tuple[str, str], float]]
"""Credits of trials given as (study, trial); those that have none are left out."""

TIE = 0.01
GROWTH = 1.25


def measures(objective: str, targets: Sequence[str] = AFFECT) -> tuple[str, ...]:
    """Return the measures of an objective: all targets for `both`, the score for `ensemble`,
    otherwise itself."""
    if objective == "both":
        return tuple(targets)
    return (SCORE,) if objective == "ensemble" else (objective,)


def values(trial: Trial, objective: str) -> Values | None:
    """Return a trial's measures of an objective; None for one without validation (train_val_mix)."""
    if not trial.best:
        return None
    return tuple(trial.best[measure].ccc for measure in measures(objective, trial.target_names))


def objective(trial: Trial, name: str) -> float | None:
    """Return one number for a trial: the mean of its measures of the objective `name`, which is
    the score where these are all targets."""
    measured = values(trial, name)
    return None if measured is None else sum(measured) / len(measured)


def pareto(trials: Iterable[Trial]) -> list[dict[str, Any]]:
    """Return the trials that no other beats on one target without losing on another, the best on
    the first target first.

    Each as {trial, valence, arousal} with its targets' names: best validation CCCs. Trials without
    validation are left out."""
    points: list[tuple[Values, Trial]] = []
    for trial in trials:
        cccs = values(trial, "both")
        if cccs is not None:
            points.append((cccs, trial))
    # Whatever beats a point on all targets comes before it in this order.
    points.sort(key=lambda point: ([-ccc for ccc in point[0]], point[1].id))
    front: list[tuple[Values, Trial]] = []
    for cccs, trial in points:
        if not any(_dominates(better, cccs) for better, _ in front):
            front.append((cccs, trial))
    return [
        {"trial": trial.id, **dict(zip(trial.target_names, cccs, strict=True))}
        for cccs, trial in front
    ]


def _dominates(cccs: Values, beaten: Values) -> bool:
    """Return True if a trial is at least as good as another on all targets, and better on one."""
    as_good = all(ccc >= bound for ccc, bound in zip(cccs, beaten, strict=True))
    return as_good and cccs != beaten


class SamplerValues:
    """Values of trials by an objective; without a `credit`, objective ensemble is the score."""

    def __init__(self, objective: str, credit: Credit | None) -> None:
        self._objective = objective
        self._credit = credit if objective == "ensemble" else None
        self._has_credits = False
        self._trials = 0
        self._due = 0.0

    def of(self, trial: Trial) -> Values | None:
        """Return the values of a trial that is complete now; None for one without validation."""
        self._trials += 1
        measured = values(trial, self._objective)
        if self._credit is None or measured is None:
            return measured
        return self._credited([trial], self._credit).get(trial.id)

    def of_all(self, trials: Iterable[Trial]) -> dict[str, Values]:
        """Return the values of trials by their ids, all measured now; those without validation are
        left out."""
        scored = [trial for trial in trials if trial.best]
        if self._credit is not None:
            credited = self._credited(scored, self._credit)
            self._trials, self._due = len(scored), len(scored) * GROWTH
            return credited
        by_trial = {}
        for trial in scored:
            measured = values(trial, self._objective)
            if measured is not None:
                by_trial[trial.id] = measured
        return by_trial

    @property
    def are_due(self) -> bool:
        """True once the sampler's values are old, and all are to be made anew."""
        return self._has_credits and self._trials >= self._due

    def _credited(self, trials: Sequence[Trial], credit: Credit) -> dict[str, Values]:
        credits = credit([(trial.study, trial.id) for trial in trials])
        if credits and not self._has_credits:
            # From scores to credits: the values so far don't compare, so all are due at once.
            self._has_credits = True
            self._due = 0.0
        by_trial: dict[str, Values] = {}
        for trial in trials:
            value = objective(trial, self._objective) or 0.0
            if self._has_credits:
                value = max(credits.get((trial.study, trial.id), 0.0), 0.0) + TIE * value
            by_trial[trial.id] = (value,)
        return by_trial
