"""A recipe carried out and judged, and several of them ranked.

Conventions: `in_sample` is measured on the recordings everything was chosen on, so too high;
`out_of_fold` repeats all of it without the recordings judged (out_of_fold.py), for `auto` the
choice of the recipe too. Intervals are 95 % ones over what is kept together in folds
(bootstrap.py). The ranking is by the out-of-fold score, the mean of the targets' CCCs; recipes
without one stand last, by their in-sample score. `Predicted` are (recording, 6) sums of out-of-fold
predictions by target, None where there are no folds: by them two models are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from va_search.ensemble import bootstrap, sums
from va_search.ensemble.bootstrap import Difference, Interval, RecordingSpread
from va_search.ensemble.estimate import Estimate, interval_on_others, other_people
from va_search.ensemble.material import NOTHING, Material, Materials, Without
from va_search.ensemble.methods import first_highest, ranking
from va_search.ensemble.out_of_fold import Fits, FittedPipeline, nested, winner
from va_search.ensemble.pipeline import Pipeline
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.statistics import Vector
from va_search.errors import InputError
from va_search.trial import SCORE

Predicted = Mapping[str, Vector | None]
ScoreIntervals = dict[str, Interval | None]
"""Of {each target, score}."""
FitsByRecipe = dict[tuple[str, str], Fits]
"""By the recipe's `_key` and the target."""
LISTED = 10
"""Candidates that an error names."""
BEST = Pipeline.read({"method": "best"})


@dataclass(frozen=True)
class CarriedOut:
    """One target of a carried-out recipe. `recipe`: whose pipeline it is, of those `auto` chose
    from.

    `predicted` (recording, 6): sums of the out-of-fold predictions; None where there are no
    folds."""

    recipe: str
    fits: Fits
    in_sample: float
    predicted: Vector | None

    @property
    def fit(self) -> FittedPipeline:
        return self.fits.fit()

    @property
    def out_of_fold(self) -> float | None:
        return None if self.predicted is None else sums.pooled_ccc(self.predicted)


@dataclass(frozen=True)
class RecipeScores:
    """One recipe's scores: {each target, score} each; None where impossible. `takes`: the recipe
    that `auto` took for each target."""

    recipe: str
    in_sample: dict[str, float]
    out_of_fold: dict[str, float] | None
    intervals: ScoreIntervals | None
    spread: dict[str, RecordingSpread | None]
    takes: dict[str, str] | None
    predicted: dict[str, Vector | None] = field(repr=False, default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "recipe": self.recipe,
            "in_sample": self.in_sample,
            "out_of_fold": self.out_of_fold,
            "intervals": self.intervals,
            "takes": self.takes,
            "spread": {name: spread and asdict(spread) for name, spread in self.spread.items()},
        }


def compare(recipes: Sequence[Recipe], materials: Materials) -> list[RecipeScores]:
    """Every recipe carried out on the same materials, the one with the highest out-of-fold score
    first."""
    fitted: FitsByRecipe = {}
    rows = []
    # `auto` last: the fits of the recipes it chooses from are made by then.
    for recipe in sorted(recipes, key=lambda recipe: bool(recipe.among)):
        outcomes = carry_out(recipe, materials, fitted)
        if not recipe.among and recipe.members.outside:
            for target, outcome in outcomes.items():
                fitted[_key(recipe), target] = outcome.fits
        rows.append(row(recipe, outcomes, materials))
    materials.keep_products()
    return sorted(rows, key=_rank)


def carry_out(
    recipe: Recipe, materials: Materials, fitted: FitsByRecipe | None = None
) -> dict[str, CarriedOut]:
    """The outcome of each target; `fitted` are fits made before on these very materials.

    InputError as in `refuse_harm` and `Recipe.plans`."""
    plans: dict[str, Pipeline] = {}
    if not recipe.among:
        plans = recipe.plans(tuple(materials))
    if not recipe.members.outside:
        materials, fitted = materials.own(), None
    refuse_harm(materials)
    outcomes = {}
    for target, material in materials.items():
        if not recipe.among:
            fits = Fits(material, plans[target])
            outcomes[target] = _judged(recipe.name, fits, fits.out_of_fold())
            continue
        # `auto`: the recipe that wins out-of-fold is taken, and judged with this choice made again.
        several = [_fits(choice, materials, target, fitted or {}) for choice in recipe.among]
        taken = winner(several)
        name = recipe.among[taken].name
        outcomes[target] = _judged(name, several[taken], nested(several))
    return outcomes


def _fits(recipe: Recipe, materials: Materials, target: str, fitted: FitsByRecipe) -> Fits:
    """The fits of a recipe that `auto` chooses from, made before or new."""
    key = (_key(recipe), target)
    if key in fitted:
        return fitted[key]
    material = materials[target]
    if not recipe.members.outside:
        material = material.own()
        if not material.candidates:
            raise InputError(
                f"recipe {recipe.name}: no member left: all candidates are models from elsewhere"
            )
    return Fits(material, recipe.plans(tuple(materials))[target])


def _judged(recipe: str, fits: Fits, predicted: Vector | None) -> CarriedOut:
    return CarriedOut(recipe, fits, sums.pooled_ccc(fits.in_sample()), predicted)


def _key(recipe: Recipe) -> str:
    """A key that tells two recipes apart: two files may have one name, as one of the user's beside
    the shipped one."""
    return json.dumps([recipe.name, recipe.document], sort_keys=True)


def refuse_harm(materials: Materials) -> None:
    """InputError for each target where no candidate's CCC is above 0, which is what a constant
    has.

    Every weighted mean of such candidates is no better than a constant either, whatever the
    recipe."""
    problems = []
    for target, material in materials.items():
        ccc = material.statistics.alone().ccc_of_each()
        if (ccc > 0.0).any():
            continue
        ranked = ranking(ccc).tolist()
        listed = [f"{material.candidates[i].label} {ccc[i]:.3f}" for i in ranked[:LISTED]]
        if len(ranked) > LISTED:
            listed[-1] += f" and {len(ranked) - LISTED} more"
        problems.append(
            f"{target}: no candidate is better than a constant, whose CCC is 0, and neither is any weighted mean of "
            f"them; no ensemble is made. Their CCCs on the {len(material.recordings)} recordings: "
            f"{', '.join(listed)}"
        )
    if problems:
        raise InputError(*problems)


def row(recipe: Recipe, outcomes: Mapping[str, CarriedOut], materials: Materials) -> RecipeScores:
    """The scores of a carried-out recipe."""
    predicted = predicted_by(outcomes)
    takes = None
    if recipe.among:
        takes = {target: outcome.recipe for target, outcome in outcomes.items()}
    return RecipeScores(
        recipe=recipe.name,
        in_sample=in_sample(outcomes),
        out_of_fold=out_of_fold(predicted),
        intervals=intervals(predicted, materials),
        spread={target: spread(sums_of_target) for target, sums_of_target in predicted.items()},
        takes=takes,
        predicted=predicted,
    )


def _rank(row: RecipeScores) -> tuple[bool, float, str]:
    value = (row.out_of_fold or row.in_sample)[SCORE]
    return row.out_of_fold is None, float(np.nan_to_num(-value, nan=np.inf)), row.recipe


def predicted_by(outcomes: Mapping[str, CarriedOut]) -> dict[str, Vector | None]:
    """Sums of the out-of-fold predictions by target; None where there are no folds."""
    return {target: outcome.predicted for target, outcome in outcomes.items()}


def named(cccs: Mapping[str, float]) -> dict[str, float]:
    """The targets' CCCs and the score, their mean."""
    return {**cccs, SCORE: sum(cccs.values()) / len(cccs)}


def in_sample(outcomes: Mapping[str, CarriedOut]) -> dict[str, float]:
    """{each target, score}."""
    return named({target: outcome.in_sample for target, outcome in outcomes.items()})


def out_of_fold(predicted: Predicted) -> dict[str, float] | None:
    """{each target, score}; None where there are no folds, even of one target."""
    known = _known(predicted)
    if known is None:
        return None
    return named({target: sums.pooled_ccc(by_recording) for target, by_recording in known.items()})


def intervals(predicted: Predicted, materials: Materials) -> ScoreIntervals | None:
    """95 % intervals of {each target, score}, from the same bootstrap samples; None where there are
    no folds."""
    known = _known(predicted)
    if known is None:
        return None
    drawn, result = materials.drawn, {}
    for name, several in _by_score(known).items():
        result[name] = bootstrap.interval(several, drawn, _groups(name, materials))
    return result


def estimate(
    name: str, predicted: Predicted, materials: Materials, too_high: Mapping[str, float]
) -> Estimate | None:
    """The estimate of what the ensemble called `name` will give on the store's test people, or on
    as many as validated; None where there are no folds. `too_high`: by how much out-of-fold scores
    {each target, score} are, where that is known."""
    known = _known(predicted)
    if known is None:
        return None
    others = other_people(materials.lines.store.split("test"), materials.lines.recordings)
    scores: dict[str, float] = {}
    intervals_on_others: ScoreIntervals = {}
    for measure, several in _by_score(known).items():
        folds = materials.folds if measure == SCORE else materials[measure].folds
        score = float(np.mean([sums.pooled_ccc(by_recording) for by_recording in several]))
        score -= too_high.get(measure, 0.0)
        scores[measure] = score
        intervals_on_others[measure] = interval_on_others(
            several, folds.groups, others.groups, score=score
        )
    return Estimate(name, others.people, others.tested, scores, intervals_on_others, dict(too_high))


def differences(
    predicted: Predicted, other: Predicted, materials: Materials
) -> dict[str, Difference] | None:
    """`predicted` less `other`, of {each target, score}, with paired 95 % intervals.

    Without those where a CCC is not defined; None where none is left, or there are no folds."""
    known, other_known = _known(predicted), _known(other)
    if known is None or other_known is None:
        return None
    drawn, other_scores = materials.drawn, _by_score(other_known)
    result = {}
    for name, several in _by_score(known).items():
        groups = _groups(name, materials)
        difference = bootstrap.difference(several, other_scores[name], drawn, groups)
        if np.isfinite(difference.value):
            result[name] = difference
    return result or None


def spread(predicted: Vector | None) -> RecordingSpread | None:
    """Quartiles of the CCC of every labelled recording by itself; None where there are no folds."""
    return None if predicted is None else bootstrap.spread(predicted)


def _known(predicted: Predicted) -> dict[str, Vector] | None:
    """The sums of every target; None where those of one are missing."""
    known = {target: sums for target, sums in predicted.items() if sums is not None}
    return known if len(known) == len(predicted) else None


def _by_score(known: Mapping[str, Vector]) -> dict[str, list[Vector]]:
    """The sums that each score is made from: each target by itself, and all for the score."""
    by_score = {target: [by_recording] for target, by_recording in known.items()}
    return {**by_score, SCORE: list(known.values())}


def _groups(name: str, materials: Materials) -> int:
    """Number of groups that a score is measured on; of the mean, those of the target with fewest."""
    targets = materials if name == SCORE else [name]
    return min(len(materials[target].folds.groups) for target in targets)


def best_single(materials: Materials) -> dict[str, CarriedOut]:
    """The best single trial of each target, judged like a recipe: chosen again in every fold."""
    outcomes = {}
    for target, material in materials.items():
        fits = Fits(material, BEST)
        outcomes[target] = _judged("best", fits, fits.out_of_fold())
    return outcomes


@dataclass(frozen=True)
class OverallBest:
    """The single trial with the highest mean of the targets' CCCs, chosen again in every fold for
    `predicted`."""

    study: str
    trial: str
    in_sample: dict[str, float]
    predicted: dict[str, Vector | None]


def best_for_both(materials: Materials) -> OverallBest | None:
    """The one trial that is best for all targets together, judged as everything is; None where none
    predicts them all, or there is only one target.

    This is the trial of a search's `best score`; the best trial per target is `best_single`."""
    shared = _predicting_all(materials)
    candidates = next(iter(shared.values())).candidates
    if len(shared) == 1 or not candidates:
        return None
    # Named is the best on all recordings; out-of-fold it is chosen again in every fold.
    best, scores = _best_overall(shared, dict.fromkeys(shared, NOTHING))
    predicted = _out_of_fold_for_all(shared, materials.folds.parts)
    return OverallBest(candidates[best].study, candidates[best].id, scores, predicted)


def _predicting_all(materials: Materials) -> dict[str, Material]:
    """Every target with the candidates that all targets have, in the same order."""
    labels = [material.statistics.labels for material in materials.values()]
    common = list(set(labels[0]).intersection(*labels))
    shared = {}
    for target, material in materials.items():
        inside = np.isin(material.statistics.labels, common)
        shared[target] = material.subset(np.flatnonzero(inside))
    return shared


def _best_overall(
    shared: Mapping[str, Material], withouts: Mapping[str, Without]
) -> tuple[int, dict[str, float]]:
    """Index of the candidate with the highest mean CCC on what is not left out (the first wins
    ties), and its CCCs with their mean."""
    ccc_of_each = {}
    for target, material in shared.items():
        ccc_of_each[target], _ = sums.ccc_and_worth(
            material.statistics, material.times(withouts[target])
        )
    best = first_highest(np.nan_to_num(list(ccc_of_each.values())).mean(axis=0))
    return best, named({target: float(ccc[best]) for target, ccc in ccc_of_each.items()})


def _out_of_fold_for_all(
    shared: Mapping[str, Material], parts: Sequence[Sequence[int]]
) -> dict[str, Vector | None]:
    """(recording, 6) by target: each of the `parts` of all targets predicted by the trial that is
    best on the others; None for a target without parts."""
    predicted: dict[str, Vector | None] = dict.fromkeys(shared)
    for recordings in parts:
        withouts = {}
        for target, material in shared.items():
            withouts[target] = material.parts_within(recordings)
        best, _ = _best_overall(shared, withouts)
        for target, material in shared.items():
            alone = Fits(material.subset(np.array([best])), BEST)
            for part in withouts[target]:
                sums_of_target = predicted[target]
                if sums_of_target is None:
                    sums_of_target = np.zeros((len(material.recordings), 6))
                    predicted[target] = sums_of_target
                sums_of_part = alone.predicted(withouts[target], part)
                sums_of_target[material.of(part)] = sums_of_part
    return predicted
