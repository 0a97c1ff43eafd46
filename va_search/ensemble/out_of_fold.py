"""Honest scores: the whole pipeline repeated without the recordings it is judged on.

`Fits` fits one pipeline to one target, without any of the folds' parts, and remembers every fit.
Out-of-fold, part k is predicted by the fit without k: pruning, weights, shrinkage, matching,
smoothing and delay are all made again there. What a pipeline leaves open (lists of candidates) is
chosen inside each fit, again out-of-fold: without k, part j is predicted by the fit without j and
k. `nested` does the same with the choice of a recipe on top.

Conventions: predictions out-of-fold are kept as per-recording sums (sums.py), of one target.
They are not clipped to the target's range. What clips, a submission, can only be nearer to the
annotation. `without` is the set of the parts that a fit does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from va_search.ensemble import sums
from va_search.ensemble.material import NOTHING, Material, Without
from va_search.ensemble.methods import first_highest
from va_search.ensemble.pipeline import Match, Pipeline
from va_search.ensemble.post_processing import PostProcessing, finished
from va_search.ensemble.statistics import Indexes, Vector


@dataclass(frozen=True)
class FittedPipeline:
    """A pipeline on some recordings: weights (member,), how far they were shrunk, what is done to
    the weighted sum."""

    weights: Vector
    shrink: float
    post: PostProcessing


@dataclass(frozen=True)
class Possibility:
    """One of the possibilities that a pipeline leaves open.

    `shrink` is an index into the pipeline's list; `post` smooths and delays, and its scale and
    offset are not set yet."""

    post: PostProcessing
    match: Match
    shrink: int


class Fits:
    """One pipeline on one target, fitted without any parts asked for."""

    def __init__(self, material: Material, pipeline: Pipeline) -> None:
        self.material = material
        self.pipeline = pipeline
        self.amounts = np.array(pipeline.shared.shrink)
        matches, amounts = pipeline.shared.match, range(len(self.amounts))
        triples = product(pipeline.filters, matches, amounts)
        self.possibilities = [Possibility(*triple) for triple in triples]
        self._members: dict[Without, Indexes] = {}
        self._weights: dict[Without, Vector] = {}
        self._series: dict[Without, Vector] = {}
        self._sums: dict[tuple[Without, PostProcessing], Vector] = {}
        self._chosen: dict[Without, Possibility] = {}

    def fit(self, without: Without = NOTHING) -> FittedPipeline:
        """The pipeline fitted to all recordings but those of `without`."""
        chosen = self.choice(without)
        series = self._sums_of([without], chosen.post)[0]
        scales, offsets = self._matching(series, without, chosen.match)
        scale, offset = float(scales[chosen.shrink]), float(offsets[chosen.shrink])
        # Sums are relative to a centre c: scale · (p − c) + offset + c.
        centre = self.material.statistics.label_shift
        post = replace(chosen.post, scale=scale, offset=offset + centre - scale * centre)
        weights = self.weights(without)[:, chosen.shrink]
        return FittedPipeline(weights, self.pipeline.shared.shrink[chosen.shrink], post)

    def out_of_fold(self, without: Without = NOTHING) -> Vector | None:
        """(recording, 6) sums of out-of-fold predictions of every part not in `without`, zeros
        elsewhere; None where fewer than two parts are left."""
        parts = _parts(self.material, without)
        if len(parts) < 2:
            return None
        self._prepare([without | {part} for part in parts])
        predicted = np.zeros((len(self.material.recordings), 6))
        for part in parts:
            predicted[self.material.of(part)] = self.predicted(without | {part}, part)
        return predicted

    def in_sample(self) -> Vector:
        """(recording, 6) sums of the fit to all recordings, on those very recordings."""
        return self._predicted(NOTHING)

    def predicted(self, without: Without, part: int) -> Vector:
        """(recording of the part, 6) sums of what the fit without `without` predicts there."""
        sums: Vector = self._predicted(without)[self.material.of(part)]
        return sums

    def _predicted(self, without: Without) -> Vector:
        chosen = self.choice(without)
        series = self._sums_of([without], chosen.post)[0]
        matched: Vector = self._matched(series, without, chosen.match)[chosen.shrink]
        return matched

    def choice(self, without: Without) -> Possibility:
        """The possibility with the highest CCC out-of-fold among the parts not in `without`; the
        first wins ties, and where fewer than two parts are left."""
        if without not in self._chosen:
            self._chosen[without] = self._choose(without)
        return self._chosen[without]

    def _choose(self, without: Without) -> Possibility:
        parts = _parts(self.material, without)
        if len(self.possibilities) == 1 or len(parts) < 2:
            return self.possibilities[0]
        self._prepare([without | {part} for part in parts])
        # Each filter and match is judged with all shrinkages at once, in the possibilities' order.
        scores: list[float] = []
        for post, match in product(self.pipeline.filters, self.pipeline.shared.match):
            total = np.zeros((len(self.amounts), 6))
            for part in parts:
                inner = without | {part}
                series = self._matched(self._sums_of([inner], post)[0], inner, match)
                total += series[:, self.material.of(part)].sum(axis=1)
            scores += sums.ccc(total).tolist()
        return self.possibilities[first_highest(np.array(scores))]

    def gains(self, members: Sequence[int]) -> list[float] | None:
        """The CCC out-of-fold less that without each member, the others keeping their proportions.

        Weights are not chosen again, scale and offset are. NaN for a member that has all the weight
        of a fold; None where there are no folds."""
        everyone = self.out_of_fold()
        if everyone is None:
            return None
        total = np.zeros((len(members), 6))
        for part in _parts(self.material, NOTHING):
            total += self._without_each(members, part)
        gains: list[float] = (sums.pooled_ccc(everyone) - sums.ccc(total)).tolist()
        return gains

    def _without_each(self, members: Sequence[int], part: int) -> Vector:
        """(member, 6) sums of a part, predicted out-of-fold without each of the members."""
        without = frozenset({part})
        chosen = self.choice(without)
        weights = self.weights(without)[:, [chosen.shrink]]
        remaining = weights.sum() - weights[list(members), 0]  # (left out,)
        some_remain = np.abs(remaining) > 1e-9
        remaining[~some_remain] = 1.0
        if self._reads_frames(chosen.post, weights):
            series = self._series_without_each(members, weights) / remaining
            series = self._sums_of_series(self._smoothed(series, chosen.post))
        else:
            # (member, left out) weights without one of the members, scaled to sum to 1 again.
            weights = np.repeat(weights, len(members), axis=1)
            weights[list(members), np.arange(len(members))] = 0.0
            series = sums.from_statistics(self.material.statistics, weights / remaining)
        predicted = self._matched(series, without, chosen.match)[:, self.material.of(part)]
        total = predicted.sum(axis=1)
        total[~some_remain] = np.nan
        return np.asarray(total)

    def _series_without_each(self, members: Sequence[int], weights: Vector) -> Vector:
        """(frames, left out) weighted sums without each of the members; `weights` (member, 1)."""
        alone = np.zeros((len(weights), len(members)))
        alone[list(members), np.arange(len(members))] = weights[list(members), 0]
        return self.material.weighted(weights) - self.material.weighted(alone)

    def weights(self, without: Without) -> Vector:
        """(member, shrink) weights, one column per candidate of shrinkage."""
        if without not in self._weights:
            members, material = self.members(without), self.material
            self._weights[without] = self.pipeline.weights_of(
                members, material.statistics, material.times(without)
            )
        return self._weights[without]

    def members(self, without: Without) -> Indexes:
        """Indexes of the members that are weighed, after pruning."""
        if without not in self._members:
            material = self.material
            self._members[without] = self.pipeline.members(
                material.statistics,
                material.times(without),
                material.candidates,
                material.independent,
            )
        return self._members[without]

    def unhelpful(self) -> list[int]:
        """Indexes of the members that are not weighed because they do not help."""
        return self.pipeline.unhelpful(self.material.statistics, self.material.independent)

    def _matched(self, series: Vector, without: Without, match: Match) -> Vector:
        """Sums (series, recording, 6) of the series matched on the recordings not left out."""
        scale, offset = self._matching(series, without, match)
        return sums.affine(series, scale[:, None], offset[:, None])

    def _matching(self, series: Vector, without: Without, match: Match) -> tuple[Vector, Vector]:
        """(series,) scale and offset of sums (series, recording, 6), relative to their centre."""
        if not match:
            return np.ones(len(series)), np.zeros(len(series))
        times = self.material.each(without)
        if match == "partial":
            return sums.match_in_part(series * times[:, None], self.material.folds.groups)
        return sums.match(np.tensordot(times, series, axes=(0, 1)))

    def _prepare(self, withouts: Sequence[Without]) -> None:
        """Make the sums of these fits, for every filter, in as few passes as possible."""
        if self.pipeline.prunes:
            members = np.unique(np.concatenate([self.members(without) for without in withouts]))
            self.material.statistics.pairs.ask(members)
        for post in self.pipeline.filters:
            self._sums_of(withouts, post)

    def _sums_of(self, withouts: Sequence[Without], post: PostProcessing) -> list[Vector]:
        """(shrink, recording, 6) of every fit, not matched."""
        missing = [without for without in withouts if (without, post) not in self._sums]
        if missing:
            measured = np.split(self._measured(missing, post), len(missing))
            for without, sums_of_fit in zip(missing, measured, strict=True):
                self._sums[without, post] = sums_of_fit
        return [self._sums[without, post] for without in withouts]

    def _measured(self, withouts: Sequence[Without], post: PostProcessing) -> Vector:
        """(fit and shrinkage, recording, 6), one fit after another."""
        weights = np.hstack([self.weights(without) for without in withouts])
        if not self._reads_frames(post, weights):
            return sums.from_statistics(self.material.statistics, weights)
        # Smoothing is linear: the two ends are smoothed, and mixed to every shrinkage afterwards.
        smoothed = self._smoothed(np.hstack(self._weighted(withouts)), post)
        mixed = []
        for without, ends in zip(withouts, np.split(smoothed, len(withouts), axis=1), strict=True):
            _, mixture = self._ends(without)
            mixed.append(ends @ mixture)
        return self._sums_of_series(np.hstack(mixed))

    def _reads_frames(self, post: PostProcessing, weights: Vector) -> bool:
        """True where products don't give the sums: something moves in time, or too many members
        have weights (member, series)."""
        used = np.flatnonzero(weights.any(axis=1))
        return post.moves_in_time or not self.material.statistics.pairs.subset(used).at_hand

    def _smoothed(self, series: Vector, post: PostProcessing) -> Vector:
        return finished(series, self.material.recordings, post)

    def _sums_of_series(self, series: Vector) -> Vector:
        """(series, recording, 6) sums of (frames, series)."""
        material = self.material
        centre = material.statistics.label_shift
        return sums.from_series(series, material.annotation, material.recordings, centre)

    def _ends(self, without: Without) -> tuple[Vector, Vector]:
        """Weights of at most two series (member, series), and (series, shrink) how every shrinkage
        mixes them."""
        weights, amounts = self.weights(without), self.amounts
        low, high = int(np.argmin(amounts)), int(np.argmax(amounts))
        if amounts[high] == amounts[low]:
            return weights[:, :1], np.ones((1, len(amounts)))
        toward = (amounts - amounts[low]) / (amounts[high] - amounts[low])
        return weights[:, [low, high]], np.stack([1.0 - toward, toward])

    def _weighted(self, withouts: Sequence[Without]) -> list[Vector]:
        """(frames, series) of every fit's ends, read from the members in one pass."""
        missing = [without for without in withouts if without not in self._series]
        if missing:
            weights = np.hstack([self._ends(without)[0] for without in missing])
            # Equal ones, as of the plain mean in every fold, are summed once.
            different, place = np.unique(weights, axis=1, return_inverse=True)
            together = np.split(self.material.weighted(different)[:, place], len(missing), axis=1)
            self._series |= dict(zip(missing, together, strict=True))
        return [self._series[without] for without in withouts]


def nested(several: Sequence[Fits], without: Without = NOTHING) -> Vector | None:
    """(recording, 6) out-of-fold sums of `take the recipe that wins out-of-fold`, the choice made
    again in each fold; None where fewer than two parts are left."""
    material = several[0].material
    parts = _parts(material, without)
    if len(parts) < 2:
        return None
    predicted = np.zeros((len(material.recordings), 6))
    for part in parts:
        inner = without | {part}
        fits = several[winner(several, inner)]
        predicted[material.of(part)] = fits.predicted(inner, part)
    return predicted


def winner(several: Sequence[Fits], without: Without = NOTHING) -> int:
    """Index of the fits with the highest out-of-fold CCC among the parts not in `without`.

    The first wins ties, and where fewer than two parts are left to compare on."""
    scores = []
    for fits in several:
        predicted = fits.out_of_fold(without)
        scores.append(np.nan if predicted is None else sums.pooled_ccc(predicted))
    return first_highest(np.array(scores))


def _parts(material: Material, without: Without) -> list[int]:
    return material.folds.judged(without)
