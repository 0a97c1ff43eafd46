"""Honest scores: the whole recipe repeated without the recordings it is judged on.

`Fits` fits one plan to one dimension, without any of the folds' parts, and remembers every fit.
Out-of-fold, part k is predicted by the fit without k: pruning, weights, shrinkage, matching,
smoothing and delay are all made again there. What a plan leaves open (lists of candidates) is
chosen inside each fit, again out-of-fold: without k, part j is predicted by the fit without j and
k. `nested` does the same with the choice of a recipe on top.

Conventions: predictions out-of-fold are kept as per-recording sums (sums.py), of one dimension.
They are not clipped to the label range. What clips, a submission, can only be nearer to the
annotation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from va_search.ensemble import sums
from va_search.ensemble.apply import PostProcessing, finished
from va_search.ensemble.material import NOTHING, Material, Without
from va_search.ensemble.moments import Indexes, Vector
from va_search.ensemble.plan import Filter, Match, Plan, Prune
from va_search.ensemble.prune import prune
from va_search.ensemble.weigh import TOWARD, shrink
from va_search.ensemble.worth import ccc_and_worth, helping


@dataclass(frozen=True)
class Fit:
    """What a plan comes to on some recordings: weights (member,), how far they were shrunk, what is
    done to the sum."""

    weights: Vector
    shrink: float
    post: PostProcessing


@dataclass(frozen=True)
class Choice:
    """One of the possibilities that a plan leaves open; `shrink` is an index into the plan's
    list."""

    shrink: int
    match: Match
    filter: Filter


class Fits:
    """One plan on one dimension, fitted without any parts asked for."""

    def __init__(self, material: Material, plan: Plan) -> None:
        self.material = material
        self.plan = plan
        shared = plan.shared
        self.choices = [
            Choice(index, match, filter)
            for filter, match, index in product(
                plan.filters, shared.match, range(len(shared.shrink))
            )
        ]
        self._weights: dict[Without, Vector] = {}
        self._series: dict[Without, Vector] = {}
        self._sums: dict[tuple[Without, Filter], Vector] = {}
        self._chosen: dict[Without, Choice] = {}

    def fit(self, without: Without = NOTHING) -> Fit:
        """The plan fitted to all recordings but those of `without`."""
        choice = self.choice(without)
        scale, offset = self._matching(without, choice.filter, choice.match)
        s, centre = float(scale[choice.shrink]), self.material.statistics.label_shift
        o = float(offset[choice.shrink]) + centre - s * centre  # sums are relative to the centre
        how = choice.filter
        post = PostProcessing(how.smoothing, how.window_seconds, how.delay_seconds, s, o)
        return Fit(
            self.weights(without)[:, choice.shrink], self.plan.shared.shrink[choice.shrink], post
        )

    def out_of_fold(self, without: Without = NOTHING) -> Vector | None:
        """(recording, 6) sums of out-of-fold predictions of every part not in `without`, zeros
        elsewhere.

        None where fewer than two parts are left.
        """
        parts = self._parts(without)
        if len(parts) < 2:
            return None
        found = np.zeros((len(self.material.recordings), 6))
        self._prepare([without | {part} for part in parts])
        for part in parts:
            choice = self.choice(without | {part})
            found[self.material.of(part)] = self.predicted(without | {part}, part, choice)
        return found

    def in_sample(self) -> Vector:
        """(recording, 6) sums of the fit to all recordings, on those very recordings."""
        choice = self.choice(NOTHING)
        scale, offset = self._matching(NOTHING, choice.filter, choice.match)
        one = self._sums_of([NOTHING], choice.filter)[0][choice.shrink]
        return sums.affine(one, scale[choice.shrink], offset[choice.shrink])

    def choice(self, without: Without) -> Choice:
        """The possibility with the highest CCC out-of-fold among the parts not in `without`; the
        first wins ties."""
        if without not in self._chosen:
            self._chosen[without] = self._choose(without)
        return self._chosen[without]

    def gains(self, members: Sequence[int]) -> list[float] | None:
        """What each member adds: the CCC out-of-fold less that without it, the others keeping their
        proportions.

        Weights are not chosen again, scale and offset are. NaN for a member that has all the weight
        of a fold."""
        all_of_it = self.out_of_fold()
        if all_of_it is None:
            return None
        found = np.zeros((len(members), 6))
        for part in self._parts(NOTHING):
            found += self._without_each(frozenset({part}), part, members)
        return [float(ccc) for ccc in sums.ccc(all_of_it.sum(axis=0)) - sums.ccc(found)]

    def _without_each(self, without: Without, part: int, members: Sequence[int]) -> Vector:
        """(member, 6) sums of a part, predicted without each of the members."""
        choice = self.choice(without)
        weights = np.repeat(self.weights(without)[:, [choice.shrink]], len(members), axis=1)
        weights[list(members), np.arange(len(members))] = 0.0
        total = weights.sum(axis=0)
        weights /= np.where(np.abs(total) > 1e-9, total, np.nan)
        if not choice.filter.changes and self.material.by_recording:
            one = sums.from_statistics(self.material.statistics, weights)
        else:
            one = self._of_series(self._filtered(self.material.weighted(weights), choice.filter))
        there = one[:, self.material.of(part)].sum(axis=1)
        if not choice.match:
            return np.asarray(there)
        return sums.affine(there, *self._matched(one, without, choice.match))

    def predicted(self, without: Without, part: int, choice: Choice) -> Vector:
        """(recording of the part, 6) sums of what the fit without `without` predicts there."""
        scale, offset = self._matching(without, choice.filter, choice.match)
        there = self._sums_of([without], choice.filter)[0][choice.shrink, self.material.of(part)]
        return sums.affine(there, scale[choice.shrink], offset[choice.shrink])

    def weights(self, without: Without) -> Vector:
        """(member, shrink) weights, one column per candidate of shrinkage."""
        if without not in self._weights:
            self._weights[without] = self._weigh(without)
        return self._weights[without]

    def _weigh(self, without: Without) -> Vector:
        """(member, shrink) weights: pruned, matched, weighed and shrunk on the recordings not left
        out."""
        material, shared = self.material, self.plan.shared
        each = material.blocks(without)
        kept = self._kept(each)
        chosen = (
            material.statistics
            if len(kept) == material.statistics.members
            else material.statistics.subset(kept)
        )
        scale = np.ones(len(kept))
        if shared.match_members:
            chosen, scale = chosen.matched(each)
        weights = _unscaled(self.plan.options.weigh(chosen, each), scale)
        toward = _unscaled(TOWARD[shared.toward](chosen, each), scale)
        found = np.zeros((material.statistics.members, len(shared.shrink)))
        found[kept] = np.stack(
            [shrink(weights, toward, amount) for amount in shared.shrink], axis=1
        )
        return found

    def unhelpful(self) -> list[int]:
        """Indexes of the members that `prune: {helpful: true}` leaves out, on all recordings; none
        without it."""
        shared = self.plan.shared
        if not shared.prune.helpful:
            return []
        measured = ccc_and_worth(
            self.material.statistics, None, self.material.independent, matched=shared.match_members
        )
        return np.flatnonzero(~helping(*measured)).tolist()

    def _kept(self, each: Vector) -> Indexes:
        """Indexes of the members that are weighed at all."""
        material, limits = self.material, self.plan.shared.prune
        if limits == Prune():
            return np.arange(material.statistics.members)
        kept = prune(
            material.statistics,
            each,
            material.candidates,
            **limits.model_dump(),
            matched=self.plan.shared.match_members,
            groups=material.independent,
        )
        return np.flatnonzero(kept)

    def _parts(self, without: Without) -> list[int]:
        return [part for part in range(len(self.material.folds.parts)) if part not in without]

    def _choose(self, without: Without) -> Choice:
        parts = self._parts(without)
        if len(self.choices) == 1 or len(parts) < 2:
            return self.choices[0]
        self._prepare([without | {part} for part in parts])
        shared, scores = self.plan.shared, []
        for filter, match in product(self.plan.filters, shared.match):
            total = np.zeros((len(shared.shrink), 6))
            for part in parts:
                inner = without | {part}
                scale, offset = self._matching(inner, filter, match)
                there = self._sums_of([inner], filter)[0][:, self.material.of(part)].sum(axis=1)
                total += sums.affine(there, scale, offset)
            scores += sums.ccc(total).tolist()
        highest = np.nan_to_num(np.array(scores), nan=-np.inf)
        return self.choices[int(np.argmax(highest >= highest.max() - 1e-12))]

    def _matching(self, without: Without, filter: Filter, match: Match) -> tuple[Vector, Vector]:
        """(shrink,) scale and offset, relative to the sums' centre, matched on the recordings not
        left out."""
        if not match:
            return np.ones(len(self.plan.shared.shrink)), np.zeros(len(self.plan.shared.shrink))
        return self._matched(self._sums_of([without], filter)[0], without, match)

    def _matched(self, series: Vector, without: Without, match: Match) -> tuple[Vector, Vector]:
        """(series,) scale and offset of sums (series, recording, 6), matched on the recordings not
        left out."""
        each = self.material.each(without)
        if match == "partial":
            return sums.match_in_part(series * each[:, None], self.material.folds.groups)
        return sums.match(np.tensordot(each, series, axes=(0, 1)))

    def _prepare(self, withouts: Iterable[Without]) -> None:
        """Make the sums of these fits, for every filter, in as few passes as possible."""
        wanted = list(withouts)
        for filter in self.plan.filters:
            self._sums_of(wanted, filter)

    def _sums_of(self, withouts: list[Without], filter: Filter) -> list[Vector]:
        """(shrink, recording, 6) of every fit, not matched."""
        missing = [without for without in withouts if (without, filter) not in self._sums]
        if missing:
            measured = np.split(self._measured(missing, filter), len(missing))
            self._sums |= {
                (without, filter): one for without, one in zip(missing, measured, strict=True)
            }
        return [self._sums[without, filter] for without in withouts]

    def _measured(self, withouts: list[Without], filter: Filter) -> Vector:
        """(fit and shrinkage, recording, 6), one fit after another."""
        material = self.material
        if not filter.changes and material.by_recording:
            return sums.from_statistics(
                material.statistics, np.hstack([self.weights(w) for w in withouts])
            )
        series = np.split(
            self._filtered(np.hstack(self._weighted(withouts)), filter), len(withouts), axis=1
        )
        mixed = [
            part @ self._ends(without)[1] for part, without in zip(series, withouts, strict=True)
        ]
        return self._of_series(np.hstack(mixed))

    def _filtered(self, series: Vector, filter: Filter) -> Vector:
        post = PostProcessing(filter.smoothing, filter.window_seconds, filter.delay_seconds)
        return finished(series, self.material.recordings, post)

    def _of_series(self, series: Vector) -> Vector:
        material = self.material
        return sums.from_series(
            series, material.annotation, material.recordings, material.statistics.label_shift
        )

    def _ends(self, without: Without) -> tuple[Vector, Vector]:
        """Weights of at most two series (member, series), and (series, shrink) how every shrinkage
        mixes them."""
        weights, amounts = self.weights(without), np.array(self.plan.shared.shrink)
        low, high = int(np.argmin(amounts)), int(np.argmax(amounts))
        if amounts[high] == amounts[low]:
            return weights[:, :1], np.ones((1, len(amounts)))
        toward = (amounts - amounts[low]) / (amounts[high] - amounts[low])
        return weights[:, [low, high]], np.stack([1.0 - toward, toward])

    def _weighted(self, withouts: list[Without]) -> list[Vector]:
        """(frames, series) of every fit, read from the members in one pass."""
        missing = [without for without in withouts if without not in self._series]
        if missing:
            ends = [self._ends(without)[0] for without in missing]
            together = self.material.weighted(np.hstack(ends))
            for without, series in zip(
                missing, np.split(together, len(missing), axis=1), strict=True
            ):
                self._series[without] = series
        return [self._series[without] for without in withouts]


def _unscaled(weights: Vector, scale: Vector) -> Vector:
    """The weights of members as they are, from those of members times `scale`; they sum to 1
    again."""
    weights = weights * scale
    unscaled: Vector = weights / weights.sum()
    return unscaled


def nested(several: Sequence[Fits], without: Without = NOTHING) -> Vector | None:
    """(recording, 6) out-of-fold sums of `take the plan that wins out-of-fold`, the choice made
    again in each fold."""
    material = several[0].material
    parts = [part for part in range(len(material.folds.parts)) if part not in without]
    if len(parts) < 2:
        return None
    found = np.zeros((len(material.recordings), 6))
    for part in parts:
        inner = without | {part}
        fits = several[winner(several, inner)]
        found[material.of(part)] = fits.predicted(inner, part, fits.choice(inner))
    return found


def winner(several: Sequence[Fits], without: Without = NOTHING) -> int:
    """Index of the plan with the highest out-of-fold CCC among the parts not in `without`.

    The first wins ties, and where fewer than two parts are left to compare on.
    """
    scores = []
    for fits in several:
        found = fits.out_of_fold(without)
        scores.append(float("-inf") if found is None else float(sums.ccc(found.sum(axis=0))))
    highest = np.nan_to_num(np.array(scores), nan=-np.inf)
    return int(np.argmax(highest >= highest.max() - 1e-12))
