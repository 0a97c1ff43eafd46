"""How long a study has not got better, for `budget.no_improvement`.

Conventions: trials count in the order in which they were completed, whichever run of `search` that
was; of two that share a time, the one with the smaller id comes first. Better means above every
earlier one. A trial without an objective (train_val_mix) is not counted."""

from __future__ import annotations

from bisect import bisect_left, insort


class Improvement:
    """The objectives of a study's finished trials, by time."""

    def __init__(self) -> None:
        self._told: list[tuple[str, str, float]] = []
        self._best: tuple[str, str, float] | None = None
        self.since_best = 0

    def add(self, finished_at: str, trial: str, value: float | None) -> None:
        """A finished trial; `since_best` then is the number of trials completed after the best
        one."""
        if value is None:
            return
        ended = (finished_at, trial, value)
        insort(self._told, ended)
        # Of equally good ones the earliest is the best: what came later brought no improvement.
        if (
            self._best is None
            or value > self._best[2]
            or (value == self._best[2] and ended < self._best)
        ):
            self._best = ended
        self.since_best = len(self._told) - 1 - bisect_left(self._told, self._best)
