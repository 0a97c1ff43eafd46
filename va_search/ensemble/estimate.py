"""Estimates of what an ensemble will give on other people, and the intervals that such scores lie
in.

The interval of bootstrap.py is one of the CCC on the whole population. Whoever looks at an
ensemble's score next looks at a handful of people again, who differ from the population as those do
that the score was measured on. So the variance between people counts for both: on Fisher's scale
(artanh) the CCC on m other people lies around that on n people with the variance

    s² (1/n + 1/m),

where s² is n times the jackknife's variance (Tukey 1958) over the groups of recordings that are
kept together. From six people s² is itself hardly known: in `benchmarks/estimates.py` the errors
that were made did not go with it. So what is known of people in general counts too: s² is averaged
with the square of the usual spread, which counts as much as `USUAL_WEIGHT` people (moderated t,
Smyth 2004), and t has as many degrees of freedom more. With many people nothing is left of it.

Members, weights and matching were chosen without the people scored. Epochs were not, where trials
keep their best one: the best epoch's CCC less the mean of those before and after it estimates how
much too high that makes a score (`best_epoch_gain`), and is taken off. In the benchmark's divisions
of CASE ensembles of best epochs said .0082 ± .0023 more than those of last epochs, measured against
the truth; the estimate was .0064 ± .0013.

Conventions: `sums` (recording, 6) of out-of-fold predictions, as in sums.py; of a score, which is a
mean of CCCs, those of every target. n and m count groups that are kept together: people, unless
two of them share a video."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from va_search.data.grouping import kept_together
from va_search.data.store import Recording
from va_search.ensemble import sums as series_sums
from va_search.ensemble.bootstrap import Interval
from va_search.ensemble.statistics import Vector
from va_search.errors import counted
from va_search.table import with_interval
from va_search.trial import SCORE, Epoch

USUAL_SPREAD = 0.45
"""Standard deviation between people that is usual: times 1/√n the error of a CCC of n people, on
Fisher's scale. Measured by `benchmarks/estimates.py`: .45 and .39 for CASE's targets, .46 to .51 in
worlds of 4 to 24 people."""
ALIKE = 0.25
"""Correlation of two targets' errors, which makes a mean of several less spread: measured on CASE."""
USUAL_WEIGHT = 8
"""People that the usual spread counts as much as."""
MOST_OF_NEXT = 3.0
"""A best epoch's gain is at most so many times what the next epoch lost."""
LEVEL = 0.975


@dataclass(frozen=True)
class OtherPeople:
    """The people that an estimate is of: their number, and that of the groups that are kept
    together. `tested`: they are a store's test people; else as many as an ensemble was validated
    on."""

    people: int
    groups: int
    tested: bool


@dataclass(frozen=True)
class Estimate:
    """Scores {each target, score} expected on so many other people, with the 95 % intervals that
    their CCCs lie in; `tested`: as in `OtherPeople`. `ensemble`: whose estimate it is. `too_high`: by how
    much out-of-fold scores are too high because trials chose their best epochs on the people
    scored; that is taken off already. 0 where their histories are not known, empty where none
    did."""

    ensemble: str
    people: int
    tested: bool
    scores: dict[str, float]
    intervals: dict[str, Interval | None]
    too_high: dict[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """`Expected on 6 other people`: whom it is of."""
        return f"Expected on {counted(self.people, 'other person', 'other people')}"

    @property
    def text(self) -> str:
        """One sentence with every score and its interval, the score first."""
        names = [SCORE, *(name for name in self.scores if name != SCORE)]
        if len(names) == 2:
            names = names[1:]  # of one target the score is its CCC
        scores: list[str] = []
        for name in names:
            scores.append(f"{name} {with_interval(self.scores[name], self.intervals[name])}")
        return f"{self.title} (CCC, 95 % interval): {', '.join(scores)}."

    @property
    def sentence(self) -> str:
        """One sentence on what the scores and their intervals mean."""
        as_many = "as many as the test set has" if self.tested else "as many as were scored"
        text = (
            f"{self.title}, {as_many}: the CCC of such a group lies in the interval in 95 of 100 "
            "cases; it counts that these people differ from those scored here, as those do among "
            "each other."
        )
        if self.too_high.get(SCORE):
            epochs = "because trials chose their best epochs on the people scored"
            text += f" Out-of-fold scores less {self.too_high[SCORE]:.3f}, {epochs}."
        return text


def other_people(test: Sequence[Recording], validated: Sequence[Recording]) -> OtherPeople:
    """The people of the test recordings; where there are none, as many as validated."""
    recordings = test or validated
    groups, _ = kept_together(recordings, range(len(recordings)))
    people = {recording.subject for recording in recordings}
    return OtherPeople(len(people), len(groups), tested=bool(test))


def interval_on_others(
    sums: Sequence[Vector], groups: Sequence[Sequence[int]], others: int, *, score: float
) -> Interval | None:
    """The 95 % interval, around `score`, of the mean CCC of `others` (groups of people), judged by
    the out-of-fold `sums` of other groups; None where fewer than two groups have labels, or a CCC
    is not defined."""
    spread = people_spread(sums, groups)
    if spread is None or not abs(score) < 1.0:
        return None
    usual = USUAL_SPREAD**2 * (1.0 + ALIKE * (len(sums) - 1)) / len(sums)
    # The usual spread counts as so many people more.
    freedom = len(groups) - 1 + USUAL_WEIGHT
    variance = ((len(groups) - 1) * spread**2 + USUAL_WEIGHT * usual) / freedom
    reach = _student(freedom) * math.sqrt(variance * (1.0 / len(groups) + 1.0 / others))
    middle = math.atanh(score)
    return math.tanh(middle - reach), math.tanh(middle + reach)


def best_epoch_gain(history: Sequence[Epoch], target: str) -> float:
    """The CCC of a trial's best epoch less the mean of the epochs before and after it; 0 where it
    was the last one, which is kept without a choice as well, or the only one.

    A trial that learns within an epoch or two was far worse before: that is no luck of a choice. So
    the gain is at most `MOST_OF_NEXT` times what the epoch after the best one lost."""
    cccs = [epoch.cccs.get(target) for epoch in history]
    known = [value for value in cccs if value is not None]
    best = int(np.argmax(known)) if known else 0
    if best + 1 >= len(known):
        return 0.0
    neighbours = [*known[max(0, best - 1) : best], known[best + 1]]
    gain = known[best] - sum(neighbours) / len(neighbours)
    return min(gain, MOST_OF_NEXT * (known[best] - known[best + 1]))


def people_spread(sums: Sequence[Vector], groups: Sequence[Sequence[int]]) -> float | None:
    """The standard deviation between people, on Fisher's scale, of which 1/√n is the standard error
    of the mean CCC of n groups; None where fewer than two groups have labels, or a CCC is not
    defined without one of them."""
    if len(groups) < 2:
        return None
    totals = [by_recording.sum(axis=0) for by_recording in sums]
    without_each: list[float] = []
    for group in groups:
        cccs: list[float] = []
        for total, by_recording in zip(totals, sums, strict=True):
            cccs.append(float(series_sums.ccc(total - by_recording[list(group)].sum(axis=0))))
        without_each.append(sum(cccs) / len(cccs))
    values = np.array(without_each)
    if not (np.abs(values) < 1.0).all():
        return None
    error = series_sums.standard_error(np.arctanh(values))
    return float(error) * math.sqrt(len(groups))


def _student(freedom: int) -> float:
    """Student's t of a 95 % interval."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, LEVEL))
