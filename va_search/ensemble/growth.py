"""The growth of an ensemble with the number of trials it may choose from, and the gain that more of
them may bring.

    score(n) = a − b · n^−c        mean out-of-fold CCC of the greedy ensemble of n of the N trials

is fitted to random parts of the trials: `SHARES` of them, in `ORDERS` random orders. The trials are
taken to come in any order, which holds for a random search; a sampler that learns finds better ones
later, so that its gain is estimated somewhat low while it still improves quickly.

Conventions: scores as of a trial's credit (credit.py): greedy, per target, members and weights
chosen without the recordings they are judged on; the mean over targets, and over folds if trials
are validated on several. Only the most useful trials of each contest are at hand; of a random part
those of them that it has. Orders are drawn from the number of trials alone, so results repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from va_search.ensemble.credit import Contest, Credits, Name
from va_search.ensemble.statistics import Vector

FEWEST = 24
"""Of fewer trials on a fold nothing is extrapolated."""
ORDERS = 16
SHARES = (0.35, 0.5, 0.7, 1.0)
POWERS = (0.25, 0.5, 1.0, 2.0)
"""Values of c that are tried; the one that fits best is taken."""
LOW, HIGH = 0.1, 0.9
"""Quantiles of the gain over the orders."""


@dataclass(frozen=True)
class Growth:
    """Scores of ensembles: `sizes` (size,) numbers of trials, the last one is all; `scores`
    (order, size)."""

    sizes: Vector
    scores: Vector

    @property
    def score(self) -> float:
        """The score of the ensemble of all trials."""
        return float(self.scores[:, -1].mean())

    def gain(self, more: float) -> tuple[float, float, float]:
        """Return the CCC that so many `more` trials are expected to add, and a low and a high value
        of it: the quantiles of the same estimate by single orders."""
        fits = []
        for power in POWERS:
            falling = self.sizes**-power
            slopes = _slopes(falling, self.scores)
            mean_slope = _slopes(falling, self.scores.mean(axis=0)[None])[0]
            fitted = mean_slope * (falling - falling.mean())
            centred = self.scores.mean(axis=0) - self.scores.mean()
            lost = float(((centred + fitted) ** 2).sum())
            size = self.sizes[-1]
            per_slope = float(size**-power - (size + more) ** -power)
            fits.append((lost, mean_slope * per_slope, slopes * per_slope))
        _, expected, of_orders = min(fits, key=lambda fit: fit[0])
        low, high = np.quantile(of_orders, (LOW, HIGH))
        return float(expected), float(low), float(high)


def _slopes(falling: Vector, scores: Vector) -> Vector:
    """(order,) b of score = a − b · falling by least squares, 0 at least."""
    centred = falling - falling.mean()
    covariance = (scores - scores.mean(axis=1, keepdims=True)) @ centred
    slopes: Vector = np.maximum(0.0, -covariance / float(centred @ centred))
    return slopes


def growth_of(credits: Credits, trials: Sequence[Name]) -> Growth | None:
    """Return the growth of the ensemble of these trials, after making all of them known; None while
    they are too few, or nothing is validated."""
    contests_of = credits.contests(trials)
    known = {frames: names for frames, names in contests_of.items() if len(names) >= FEWEST}
    if not known:
        return None
    sizes: list[Vector] = []
    scores: list[Vector] = []
    for frames, names in known.items():
        numbers = np.unique(np.ceil(np.array(SHARES) * len(names)).astype(int))
        for contest in credits.contests_on(frames):
            sizes.append(numbers.astype(float))
            scores.append(scores_of(contest, names, numbers.tolist()))
    if not np.isfinite(scores).all():  # where no ensemble has a CCC nothing can grow
        return None
    # Folds have about equally many trials: their curves are averaged size by size.
    return Growth(len(known) * np.mean(sizes, axis=0), np.mean(scores, axis=0))


def scores_of(contest: Contest, names: Sequence[Name], sizes: Sequence[int]) -> Vector:
    """(order, size) scores of one target's ensembles of the first trials of random orders."""
    generator = np.random.default_rng(len(names))
    whole = contest.score_of(names)
    scores = np.full((ORDERS, len(sizes)), whole)
    for order in scores:
        shuffled = [names[number] for number in generator.permutation(len(names))]
        for column, size in enumerate(sizes[:-1]):
            order[column] = contest.score_of(shuffled[:size])
    # Where a part has no CCC (constant predictions) it says nothing.
    return np.where(np.isfinite(scores), scores, whole)
