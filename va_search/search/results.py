"""The trials of a study that are over, as far as a search needs to know them.

Conventions: of a complete trial only what ranks it is kept (`Trial.compact`); settings and history
stay in the bank. Complete trials count where they lie in the space; the others of the study stand
in `beside`, by the reason."""

from __future__ import annotations

from collections import Counter
from typing import Any

from va_search.search.outcomes import pareto
from va_search.trial import SCORE, Trial


class Results:
    """Complete and failed trials. `finished` are the ids of those that count, `records` all
    complete ones of the study, `failures` counts this run's failures by reason, `damaged` are
    trials whose record in the bank can't be read: neither complete nor trained again."""

    def __init__(self) -> None:
        self.records: dict[str, Trial] = {}
        self.finished: set[str] = set()
        self.failures: Counter[str] = Counter()
        self.beside: Counter[str] = Counter()
        self.damaged: set[str] = set()
        self.adopted = 0
        self.elsewhere = 0
        self._news: list[str] = []
        self.seconds: list[float] = []
        """Of each trial that was trained in this run."""
        self.devices: Counter[str] = Counter()
        """Of these trials."""
        self.best: dict[str, float] = {}
        """The best CCC by target, of all trials that a search of this study trained."""

    @property
    def failed(self) -> int:
        """The number of trials that failed in this run."""
        return self.failures.total()

    def remember(self, record: Trial) -> None:
        """Keep a complete trial of the study."""
        self.records[record.id] = record.compact()
        if record.source != "trained":
            return
        for target in record.target_names:
            ccc = record.ccc(target)
            if ccc is not None:
                self.best[target] = max(ccc, self.best.get(target, ccc))

    def leave_aside(self, reason: str) -> None:
        """Count a complete trial that does not count."""
        self.beside[reason] += 1

    def finish(self, trial: str) -> None:
        """Have a complete trial count."""
        self.finished.add(trial)

    def finish_adopted(self) -> None:
        """Count a trial that was taken over from another study."""
        self.adopted += 1

    def finish_elsewhere(self, trial: str) -> None:
        """Count a trial that another process trained, which searches the study too."""
        self.elsewhere += 1
        self._news.append(trial)

    def take_news(self) -> list[str]:
        """Return the trials that others trained since this was asked last."""
        news, self._news = self._news, []
        return news

    def finish_trained(self, record: Trial) -> None:
        """Count a trial that was trained in this run."""
        self.seconds.append(record.seconds or 0.0)
        self.devices[record.device or "unknown"] += 1

    def fail(self, reason: str) -> None:
        """Count a trial that failed."""
        self.failures[reason] += 1

    def damage(self, trial: str) -> None:
        """Note a trial whose record can't be read."""
        self.damaged.add(trial)

    def best_trials(self) -> dict[str, tuple[str, float]]:
        """Return by measure the best trial that counts and its value; nothing where no trial has a
        validation score."""
        scored = []
        for trial in sorted(self.finished):
            if self.records[trial].best:
                scored.append(self.records[trial])
        best: dict[str, tuple[str, float]] = {}
        if not scored:
            return best
        for measure in (*scored[0].target_names, SCORE):
            trial_with_best = max(scored, key=lambda trial: trial.best[measure].ccc)
            best[measure] = (trial_with_best.id, trial_with_best.best[measure].ccc)
        return best

    def pareto(self) -> list[dict[str, Any]]:
        """Return the Pareto set of the trials that count."""
        return pareto(self.records[trial] for trial in self.finished)
