"""What the sampler is told of finished trials: their measures, or what they add to an ensemble.

Conventions: with objective `ensemble` a trial's value is its credit, what the greedy ensemble of
the study's trials would lose without it (a callable that cli/ hands in: search knows no ensemble),
plus `TIE` of its own score, which ranks the many whose credit is 0. While there are no credits yet
it is the score. Credits age: what adds much to three members adds little to thirty. So all are told
anew each time the study has grown by `GROWTH`, and on resume."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from va_search.search.outcomes import Values, objective, values
from va_search.trial import Trial

Credit = Callable[[Sequence[tuple[str, str]]], Mapping[tuple[str, str], float]]
"""Credits of trials given as (study, trial); those that have none are left out."""

TIE = 0.01
GROWTH = 1.25


class Told:
    """Values of trials by objective `name`; without a `credit`, objective ensemble is the
    score."""

    def __init__(self, name: str, credit: Credit | None) -> None:
        self._name = name
        self._credit = credit if name == "ensemble" else None
        self._begun = False
        self._known = 0
        self._due = 0.0

    def of(self, trial: Trial) -> Values | None:
        """What to tell of a trial that is complete now; None for one without validation."""
        self._known += 1
        found = values(trial, self._name)
        if self._credit is None or found is None:
            return found
        return self._credited([trial], self._credit).get(trial.id)

    def of_all(self, trials: Iterable[Trial]) -> dict[str, Values]:
        """What to tell of trials by their ids, all measured now; those without validation are left
        out."""
        scored = [trial for trial in trials if trial.best]
        if self._credit is None:
            return {
                trial.id: measured
                for trial in scored
                if (measured := values(trial, self._name)) is not None
            }
        told = self._credited(scored, self._credit)
        self._known, self._due = len(scored), len(scored) * GROWTH
        return told

    @property
    def due(self) -> bool:
        """Whether what was told is old, so that all is to be told anew."""
        return self._begun and self._known >= self._due

    def _credited(self, trials: Sequence[Trial], credit: Credit) -> dict[str, Values]:
        names = {(trial.study, trial.id): trial for trial in trials}
        credits = credit(list(names))
        if credits and not self._begun:
            self._begun, self._due = (
                True,
                0.0,
            )  # from scores to credits: those told before don't compare
        found: dict[str, Values] = {}
        for name, trial in names.items():
            score = objective(trial, self._name) or 0.0
            found[name[1]] = (
                max(credits.get(name, 0.0), 0.0) + TIE * score if self._begun else score,
            )
        return found
