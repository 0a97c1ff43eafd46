"""What a trial adds to the greedy ensemble of those known so far, which a search may look for
(objective ensemble).

Conventions: a trial's credit is how much CCC the ensemble would lose without it, the mean of both
dimensions. The ensemble is greedy (Caruana et al. 2004), chosen per dimension, and judged
out-of-fold: members and weights are chosen without the recordings they are judged on (in-sample
where there are no folds). A trial without weight in any fold has credit 0; a copy of another one
has about 0, since the other takes its place; below 0 is one that spoils the choice.

Only the `POOL` trials that are most useful per dimension are kept (those with weight, then those
with the highest CCC), as sums over the folds' recordings: a newcomer costs one pass over the kept
trials' frames, and nothing is read twice. Trials that are validated on different frames (folds) are
credited apart, each within its own fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.folds import Folds, make_folds
from va_search.ensemble.moments import Moments, Statistics, Vector
from va_search.ensemble.select import greedy
from va_search.ensemble.statistics import measure
from va_search.errors import InputError
from va_search.files import Home
from va_search.metrics import DIMENSIONS
from va_search.predictions.bank import Bank

POOL = 64
"""Trials kept per dimension and fold."""
FEWEST = 3
"""No credit while fewer trials are known: everything adds to an ensemble of nothing."""
STEPS, START = 25, 5
"""Of the greedy selection: additions tried, and of how many best the plain mean may start it."""

Name = tuple[str, str]
"""A study and a trial."""


class Credits:
    """Credits of the trials in a home's bank that are validated on folds of a store; call it with
    new ones."""

    def __init__(self, home: Home, store: Store) -> None:
        self._bank = Bank(home.bank)
        self._store = store
        validated = [found for key in store.fold_keys if (found := store.fold(key).validation)]
        self._folds = {frames_hash(found): found for found in validated if _varies(store, found)}
        self._contests: dict[str, dict[str, Contest]] = {}
        self._place: dict[Name, str] = {}

    def __call__(self, trials: Sequence[Name]) -> dict[Name, float]:
        """The credits of these trials, after making all of them known.

        Without credit are those that validate on no fold of the store, whose predictions can't be
        read, and all while fewer than `FEWEST` are known of a fold."""
        arrived: dict[str, list[Name]] = {}
        for name in dict.fromkeys(trials):
            if name not in self._place and (place := self._placed(name)) is not None:
                self._place[name] = place
                arrived.setdefault(place, []).append(name)
        for place, names in arrived.items():
            for contest in self._contest(place).values():
                contest.enter(names)
        return {name: self._credit(name) for name in trials if self._counts(name)}

    def _placed(self, name: Name) -> str | None:
        """The hash of the frames a trial is validated on; None where it can't be credited."""
        try:
            place = self._bank.trial(*name).frames_hash("validation")
            if place is not None and place in self._folds:
                study, trial = name
                self._bank.column(study, trial, "validation", DIMENSIONS[0], frames_hash=place)
                return place
        except InputError:
            pass
        return None

    def _contest(self, place: str) -> dict[str, Contest]:
        if place not in self._contests:
            recordings = self._folds[place]
            annotations = self._store.annotations[positions(recordings)]
            self._contests[place] = {
                dimension: Contest(self._bank, place, dimension, recordings, annotations[:, index])
                for index, dimension in enumerate(DIMENSIONS)
            }
        return self._contests[place]

    def _counts(self, name: Name) -> bool:
        place = self._place.get(name)
        return place is not None and all(
            one.known >= FEWEST for one in self._contests[place].values()
        )

    def _credit(self, name: Name) -> float:
        contests = self._contests[self._place[name]].values()
        return float(np.mean([contest.credit(name) for contest in contests]))


class Contest:
    """One dimension of the trials validated on the same frames: who of them is in the ensemble."""

    def __init__(
        self,
        bank: Bank,
        place: str,
        dimension: str,
        recordings: Sequence[Recording],
        annotation: NDArray[np.float32],
    ) -> None:
        self.known = 0
        self._bank, self._place, self._dimension = bank, place, dimension
        self._recordings = [(recording.name, recording.frames) for recording in recordings]
        self._annotation = np.ascontiguousarray(annotation)
        self._parts = _folds(recordings, self._annotation).parts
        self._pool: list[Name] = []
        self._columns: list[NDArray[np.float32]] = []
        self._statistics: Statistics | None = None
        self._moments: list[Moments] = []
        self._weights: list[Vector] = []
        self._ccc = float("nan")

    def enter(self, names: Sequence[Name]) -> None:
        """Make trials known, at most `POOL` at a time."""
        for low in range(0, len(names), POOL):
            some = list(names[low : low + POOL])
            self._columns += [
                self._bank.column(
                    study, trial, "validation", self._dimension, frames_hash=self._place
                )
                for study, trial in some
            ]
            self._pool += some
            self._measure()
            if len(self._pool) > POOL:
                self._keep(self._best())
        self.known += len(names)

    def credit(self, name: Name) -> float:
        """What the ensemble would lose without this trial; 0 for one that is not in it."""
        if name not in self._pool or not np.isfinite(self._ccc):
            return 0.0
        member = self._pool.index(name)
        if not any(weights[member] for weights in self._weights):
            return 0.0
        others = np.delete(np.arange(len(self._pool)), member)
        lost = self._ccc - self._judged(self._chosen(others))
        return float(lost) if np.isfinite(lost) else 0.0

    # -- inside
    # ------------------------------------------------------------------------------------------------------

    def _measure(self) -> None:
        """Statistics with rows for those that are new, and the ensemble of all."""
        inside = {index for part in self._parts for index in part}
        blocks = max(1, len(self._parts) + (len(inside) < len(self._recordings)))
        self._statistics = measure(
            self._columns,
            self._annotation,
            self._recordings,
            ["/".join(name) for name in self._pool],
            parts=self._parts,
            budget=8 * blocks * len(self._pool) ** 2,  # a block for each fold
            known=self._statistics,
        )
        self._choose()

    def _choose(self) -> None:
        assert self._statistics is not None
        found = self._statistics
        self._moments = [found.total(found.without(part)) for part in self._parts] or [
            found.total()
        ]
        self._weights = self._chosen(np.arange(len(self._pool)))
        self._ccc = self._judged(self._weights)

    def _chosen(self, members: NDArray[np.intp]) -> list[Vector]:
        """The ensemble's weights among some of the members, for each part chosen without that
        part."""
        found = []
        for moments in self._moments:
            weights = np.zeros(len(self._pool))
            weights[members] = greedy(moments.subset(members), STEPS, START)
            found.append(weights)
        return found

    def _judged(self, chosen: list[Vector]) -> float:
        """CCC over all recordings, each part predicted with its own weights."""
        statistics = self._statistics
        assert statistics is not None
        weights = np.zeros((statistics.recordings, len(self._pool)))
        for part, one in zip(self._parts or [range(len(self._recordings))], chosen, strict=True):
            weights[statistics.only(part).astype(bool)] = one
        return statistics.pooled_ccc(weights)

    def _best(self) -> NDArray[np.intp]:
        """The members to keep: those with weight, then by CCC."""
        assert self._statistics is not None
        each = np.nan_to_num(self._statistics.total().ccc_of_each(), nan=-np.inf)
        order = np.lexsort((-each, -np.max(self._weights, axis=0)))
        return np.sort(order[:POOL])

    def _keep(self, members: NDArray[np.intp]) -> None:
        assert self._statistics is not None
        self._statistics = self._statistics.subset(members)
        self._pool = [self._pool[member] for member in members.tolist()]
        self._columns = [self._columns[member] for member in members.tolist()]
        self._choose()


def _varies(store: Store, recordings: tuple[Recording, ...]) -> bool:
    """Whether both dimensions have a CCC there."""
    columns = [column[~np.isnan(column)] for column in store.annotations[positions(recordings)].T]
    return all(column.size and column.min() < column.max() for column in columns)


def _folds(recordings: Sequence[Recording], annotation: NDArray[np.float32]) -> Folds:
    ends = np.cumsum([recording.frames for recording in recordings])
    return make_folds(
        recordings, [int((~np.isnan(part)).sum()) for part in np.split(annotation, ends[:-1])]
    )
