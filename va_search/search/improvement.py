"""How long a study has not got better, for `budget.no_improvement`.

Conventions: trials count in the order in which they were completed, whichever run of `search` that was; of two that
share a time, the one with the smaller id comes first. Better means above every earlier one. A trial without an
objective (train_val_mix) is not counted.
"""

from __future__ import annotations

from bisect import insort


class Improvement:
    """The objectives of a study's finished trials, by time."""

    def __init__(self) -> None:
        self._told: list[tuple[str, str, float]] = []
        self.since_best = 0

    def add(self, finished_at: str, trial: str, value: float | None) -> None:
        """A finished trial; `since_best` then is the number of trials completed after the best one."""
        if value is None:
            return
        insort(self._told, (finished_at, trial, value))
        best = max(range(len(self._told)), key=lambda at: (self._told[at][2], -at))
        self.since_best = len(self._told) - 1 - best
