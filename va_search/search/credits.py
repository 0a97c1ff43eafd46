"""Values of finished trials for the sampler: their measures, or their worth to an ensemble.

Conventions: with objective `ensemble` a trial's value is its credit, the CCC that the greedy
ensemble of the study's trials would lose without it (a callable that cli/ hands in: search knows no
ensemble), plus `TIE` of its own score, which ranks the many whose credit is 0. While there are no
credits yet the value is the score. Credits age: what adds much to three members adds little to
thirty. So the values of all trials are made anew each time the study has grown by `GROWTH`, and on
resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from va_search.search.outcomes import Values, objective, values
from va_search.trial import Trial

Credit = Callable[[Sequence[tuple[str, str]]], Mapping[tuple[str, str], float]]
"""Credits of trials given as (study, trial); those that have none are left out."""

TIE = 0.01
GROWTH = 1.25


class Told:
    """Values of trials by objective `name`; without a `credit`, objective ensemble is the score."""

    def __init__(self, name: str, credit: Credit | None) -> None:
        self._name = name
        self._credit = credit if name == "ensemble" else None
        self._begun = False
        self._trials = 0
        self._due = 0.0

    def of(self, trial: Trial) -> Values | None:
        """Return the values of a trial that is complete now; None for one without validation."""
        self._trials += 1
        measured = values(trial, self._name)
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
            measured = values(trial, self._name)
            if measured is not None:
                by_trial[trial.id] = measured
        return by_trial

    @property
    def due(self) -> bool:
        """True once the sampler's values are old, and all are to be made anew."""
        return self._begun and self._trials >= self._due

    def _credited(self, trials: Sequence[Trial], credit: Credit) -> dict[str, Values]:
        credits = credit([(trial.study, trial.id) for trial in trials])
        if credits and not self._begun:
            # From scores to credits: the values so far don't compare, so all are due at once.
            self._begun = True
            self._due = 0.0
        by_trial: dict[str, Values] = {}
        for trial in trials:
            value = objective(trial, self._name) or 0.0
            if self._begun:
                value = max(credits.get((trial.study, trial.id), 0.0), 0.0) + TIE * value
            by_trial[trial.id] = (value,)
        return by_trial
