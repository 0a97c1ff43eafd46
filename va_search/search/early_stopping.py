"""Early stopping by asynchronous successive halving (ASHA, Li et al. 2020), over one measure or
several.

Conventions: a rung is an epoch, the first one `grace_epochs`, each next one `reduction_factor`
times as late. A trial that reaches a rung is behind on a measure when its best value so far is
below the quantile 1 - 1/`reduction_factor` of what earlier arrivals had there (the first one never
is), and it is stopped when it is behind on every measure: with several targets searched together,
one that is good at any of them goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from va_search.trial import SCORE, Trial


class Rungs:
    """Values that trials had reached at each rung, (measure,) by trial id."""

    def __init__(self, grace_epochs: int, reduction_factor: int, measures: Sequence[str]) -> None:
        self._grace_epochs = grace_epochs
        self._reduction_factor = reduction_factor
        self._measures = tuple(measures)
        self._reached: dict[int, dict[str, tuple[float, ...]]] = {}

    def behind(self, trial: str, epoch: int, best: Mapping[str, float]) -> bool:
        """Note what a trial has reached (`best` by measure) and return True if it is to be stopped;
        False where no rung is."""
        if not is_rung(epoch, self._grace_epochs, self._reduction_factor):
            return False
        arrived = self._reached.setdefault(epoch, {})
        # A trial that comes again is not measured by itself.
        arrived.pop(trial, None)
        earlier = list(arrived.values())
        values = tuple(best[measure] for measure in self._measures)
        arrived[trial] = values
        if not earlier:
            return False
        cutoffs = np.quantile(np.array(earlier), 1 - 1 / self._reduction_factor, axis=0)
        return bool((np.array(values) < cutoffs).all())

    def learn(self, trials: Iterable[Trial]) -> None:
        """Note what finished trials had at the rungs they passed, so that a resumed search is as
        strict as before."""
        for trial in trials:
            best = {target: -np.inf for target in trial.target_names}
            for epoch in trial.history:
                if epoch.score is None:
                    break
                for target in trial.target_names:
                    value = epoch.ccc(target) or 0.0
                    # where no epoch is chosen, the one it would have ended with counts
                    best[target] = max(best[target], value) if trial.keep == "best" else value
                score = sum(best.values()) / len(best)
                self.behind(trial.id, epoch.epoch, {**best, SCORE: score})


def is_rung(epoch: int, grace_epochs: int, reduction_factor: int) -> bool:
    """Return True if ASHA decides after this epoch, so that it must hear of the trial then, however
    short its epochs are."""
    rung = grace_epochs
    while rung < epoch:
        rung *= reduction_factor
    return rung == epoch
