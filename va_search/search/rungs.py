"""Early stopping by asynchronous successive halving (ASHA, Li et al. 2020), over one measure or
several.

Conventions: a rung is an epoch, the first one `grace_epochs`, each next one `reduction_factor`
times as late. A trial that reaches a rung is behind on a measure when its best value so far is
below the quantile 1 - 1/`reduction_factor` of what earlier arrivals had there (the first one never
is), and it is stopped when it is behind on every measure: with valence and arousal searched
together, one that is good at either goes on. No Ray here: adapters.py asks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from va_search.metrics import DIMENSIONS
from va_search.trial import Trial


class Rungs:
    """What trials had reached at each rung: (measure,) values by trial id."""

    def __init__(self, grace_epochs: int, reduction_factor: int, measures: Sequence[str]) -> None:
        self._early = {"grace_epochs": grace_epochs, "reduction_factor": reduction_factor}
        self._measures = tuple(measures)
        self._reached: dict[int, dict[str, tuple[float, ...]]] = {}

    def behind(self, trial: str, epoch: int, best: dict[str, float]) -> bool:
        """Note what a trial has reached (`best` by measure) and say whether to stop it; False where
        no rung is."""
        if not is_rung(epoch, self._early):
            return False
        arrived = self._reached.setdefault(epoch, {})
        others = [values for other, values in arrived.items() if other != trial]
        values = tuple(best[measure] for measure in self._measures)
        arrived[trial] = values
        if not others:
            return False
        cutoffs = np.quantile(np.array(others), 1 - 1 / self._early["reduction_factor"], axis=0)
        return bool((np.array(values) < cutoffs).all())

    def learn(self, trials: Iterable[Trial]) -> None:
        """Note what finished trials had at the rungs they passed, so that a resumed search is as
        strict as before."""
        for trial in trials:
            best = {measure: -np.inf for measure in DIMENSIONS}
            for epoch in trial.history:
                if epoch.score is None:
                    break
                for measure in DIMENSIONS:
                    best[measure] = max(best[measure], epoch.ccc(measure) or 0.0)
                score = sum(best.values()) / len(best)
                self.behind(trial.id, epoch.epoch, {**best, "score": score})


def is_rung(epoch: int, early_stopping: dict[str, Any] | None) -> bool:
    """Whether ASHA decides after this epoch, so that it must hear of the trial then, however short
    its epochs are."""
    if early_stopping is None:
        return False
    rung = early_stopping["grace_epochs"]
    while rung < epoch:
        rung *= early_stopping["reduction_factor"]
    return bool(rung == epoch)
