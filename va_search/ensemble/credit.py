"""Credit of a trial: what it adds to the greedy ensemble of those known so far, which a search may
look for (objective ensemble).

Conventions: a trial's credit is how much CCC the ensemble would lose without it, the mean over the
targets. The ensemble is greedy (Caruana et al. 2004), chosen per target, and judged
out-of-fold: members and weights are chosen without the recordings they are judged on (in-sample
where there are no folds). A trial without weight in any fold has credit 0; a copy of another one
has about 0, since the other takes its place; below 0 is one that spoils the choice.

Only the `POOL` trials that are most useful per target are kept (those with weight, then those
with the highest CCC), as sums over the folds' recordings: a newcomer costs one pass over the kept
trials' frames, and nothing is read twice. Trials that are validated on different frames (folds) are
credited apart, each within its own fold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from va_search.data.generalisation import scores_unseen_clips
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.folds import make_folds
from va_search.ensemble.measure import measure
from va_search.ensemble.methods import select_greedily
from va_search.ensemble.on_demand import blocks_of
from va_search.ensemble.statistics import Indexes, Moments, Statistics, Vector
from va_search.ensemble.sums import ccc_of_blocks
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank

POOL = 64
"""Trials kept per target and fold."""
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
        self._folds: dict[str, tuple[Recording, ...]] = {}
        self._unseen_stimuli: dict[str, bool] = {}
        for key in store.fold_keys:
            recordings = store.fold(key).validation
            if recordings and _varies(store, recordings):
                frames = frames_hash(recordings)
                self._folds[frames] = recordings
                self._unseen_stimuli[frames] = scores_unseen_clips(store, [key])
        self._contests: dict[str, list[Contest]] = {}
        self._frames_of: dict[Name, str] = {}

    def __call__(self, trials: Sequence[Name]) -> dict[Name, float]:
        """The credits of these trials, after making all of them known.

        Without credit are those that validate on no fold of the store, whose predictions can't be
        read, and all while fewer than `FEWEST` are known of a fold."""
        self._enter(trials)
        # A credit is the mean over the targets' contests.
        credits = {}
        for name in trials:
            contests = self._contests.get(self._frames_of.get(name, ""), [])
            if contests and all(contest.known >= FEWEST for contest in contests):
                credits[name] = float(np.mean([contest.credit(name) for contest in contests]))
        return credits

    def contests(self, trials: Sequence[Name]) -> dict[str, list[Name]]:
        """Return the trials that can be credited by the hash of the frames they are validated on,
        after making all of them known."""
        self._enter(trials)
        by_frames: dict[str, list[Name]] = {}
        for name in dict.fromkeys(trials):
            if name in self._frames_of:
                by_frames.setdefault(self._frames_of[name], []).append(name)
        return by_frames

    def _enter(self, trials: Sequence[Name]) -> None:
        """Have those of the trials that are new enter the contests on their frames."""
        arrived: dict[str, list[Name]] = {}
        for name in dict.fromkeys(trials):
            if name in self._frames_of:
                continue
            frames = self._frames(name)
            if frames is not None:
                self._frames_of[name] = frames
                arrived.setdefault(frames, []).append(name)
        for frames, names in arrived.items():
            for contest in self.contests_on(frames):
                contest.enter(names)

    def _frames(self, name: Name) -> str | None:
        """The hash of the frames a trial is validated on; None where it can't be credited."""
        study, trial = name
        try:
            frames = self._bank.trial(*name).frames_hash("validation")
            if frames is None or frames not in self._folds:
                return None
            for target in self._store.target_names:
                self._bank.column(
                    study, trial, "validation", target, frames_hash=frames, is_mapped=True
                )
            return frames
        except InputError:
            return None

    def contests_on(self, frames: str) -> list[Contest]:
        """Return the contests of the trials that are validated on these frames, one per target."""
        if frames not in self._contests:
            recordings = self._folds[frames]
            annotations = self._store.annotations[positions(recordings)].T
            contests = []
            for target, annotation in zip(self._store.target_names, annotations, strict=True):
                contest = Contest(
                    self._bank,
                    frames,
                    target,
                    recordings,
                    annotation,
                    unseen_stimuli=self._unseen_stimuli[frames],
                )
                contests.append(contest)
            self._contests[frames] = contests
        return self._contests[frames]


class Contest:
    """One target of the trials validated on the same frames: who of them is in the ensemble."""

    def __init__(
        self,
        bank: Bank,
        frames: str,
        target: str,
        recordings: Sequence[Recording],
        annotation: NDArray[np.float32],
        *,
        unseen_stimuli: bool = False,
    ) -> None:
        self.known = 0
        self._bank, self._frames, self._target = bank, frames, target
        self._recordings = [(recording.name, recording.frames) for recording in recordings]
        self._annotation = np.ascontiguousarray(annotation)
        # Folds, as an ensemble's out-of-fold scores have them.
        ends = np.cumsum([recording.frames for recording in recordings])
        by_recording = np.split(~np.isnan(annotation), ends[:-1])
        labelled = [int(part.sum()) for part in by_recording]
        self._folds = make_folds(recordings, labelled, unseen_stimuli=unseen_stimuli)
        self._pool: list[Name] = []
        self._columns: list[NDArray[np.float32]] = []
        self._statistics: Statistics | None = None
        self._moments: list[Moments] = []
        self._weights: list[Vector] = []
        self._ccc = float("nan")

    def enter(self, names: Sequence[Name]) -> None:
        """Make trials known, at most `POOL` at a time."""
        for low in range(0, len(names), POOL):
            batch = list(names[low : low + POOL])
            for study, trial in batch:
                self._columns.append(
                    self._bank.column(
                        study,
                        trial,
                        "validation",
                        self._target,
                        frames_hash=self._frames,
                        is_mapped=True,
                    )
                )
            self._pool += batch
            statistics = self._measured()
            self._choose(statistics)
            # Who is not among the most useful goes, before the next batch comes.
            if len(self._pool) > POOL:
                best = self._best(statistics)
                pool, columns = self._pool, self._columns
                self._pool = [pool[member] for member in best]
                self._columns = [columns[member] for member in best]
                self._choose(statistics.subset(best))
        self.known += len(names)

    def credit(self, name: Name) -> float:
        """The CCC that the ensemble would lose without this trial; 0 for one that is not in it."""
        if name not in self._pool or not np.isfinite(self._ccc) or self._statistics is None:
            return 0.0
        member = self._pool.index(name)
        if not any(weights[member] for weights in self._weights):
            return 0.0
        # Choose again among the others, in every fold.
        others = np.delete(np.arange(len(self._pool)), member)
        lost = self._ccc - self._judged(self._statistics, self._chosen(others))
        return float(lost) if np.isfinite(lost) else 0.0

    def score_of(self, names: Sequence[Name]) -> float:
        """The out-of-fold CCC of the ensemble of some trials, as far as these are kept; NaN where it
        has none."""
        chosen = set(names)
        members = [index for index, name in enumerate(self._pool) if name in chosen]
        if self._statistics is None or not members:
            return float("nan")
        return self._judged(self._statistics, self._chosen(np.array(members)))

    def chosen_by_all(self) -> tuple[list[Name], Vector]:
        """Return the trials that are kept and the weights that all recordings together choose."""
        if self._statistics is None:
            return [], np.zeros(0)
        moments = self._statistics.total()
        return list(self._pool), select_greedily(moments, STEPS, START)

    def _measured(self) -> Statistics:
        """Statistics with a block for each fold and rows for the trials that are new."""
        return measure(
            self._columns,
            self._annotation,
            self._recordings,
            ["/".join(name) for name in self._pool],
            groups=blocks_of(self._folds.parts, len(self._recordings)),
            known=self._statistics,
        )

    def _choose(self, statistics: Statistics) -> None:
        """Choose the ensemble of the whole pool, and judge it."""
        self._statistics = statistics
        self._moments = []
        for part in range(len(self._folds.parts)):
            weights = statistics.without(self._folds.left_out({part}))
            self._moments.append(statistics.total(weights))
        if not self._moments:
            self._moments = [statistics.total()]
        self._weights = self._chosen(np.arange(len(self._pool)))
        self._ccc = self._judged(statistics, self._weights)

    def _chosen(self, members: Indexes) -> list[Vector]:
        """The ensemble's weights among some of the members, for each part chosen without that
        part."""
        chosen = []
        for moments in self._moments:
            weights = np.zeros(len(self._pool))
            weights[members] = select_greedily(moments.subset(members), STEPS, START)
            chosen.append(weights)
        return chosen

    def _judged(self, statistics: Statistics, chosen: Sequence[Vector]) -> float:
        """CCC over all recordings, each part predicted with its own weights."""
        parts = self._folds.parts or [tuple(range(len(self._recordings)))]
        by_block = np.zeros((statistics.recordings, len(self._pool)))
        for part, weights in zip(parts, chosen, strict=True):
            by_block[statistics.only(part) > 0.0] = weights
        return ccc_of_blocks(statistics, by_block)

    def _best(self, statistics: Statistics) -> Indexes:
        """The members to keep: those with weight, then by CCC."""
        ccc = np.nan_to_num(statistics.alone().ccc_of_each(), nan=-np.inf)
        order = np.lexsort((-ccc, -np.max(self._weights, axis=0)))
        return np.sort(order[:POOL])


def _varies(store: Store, recordings: tuple[Recording, ...]) -> bool:
    """True where the annotations of every target vary, so that there is a CCC."""
    for column in store.annotations[positions(recordings)].T:
        labels = column[~np.isnan(column)]
        if not labels.size or labels.min() == labels.max():
            return False
    return True
