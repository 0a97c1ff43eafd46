"""A recipe carried out and judged, and several of them ranked.

Conventions: `in_sample` is measured on the recordings everything was chosen on, so too high;
`out_of_fold` repeats all of it without the recordings judged (out_of_fold.py), for `auto` the
choice of the recipe too. Intervals are 95 % ones over what is kept together in folds
(bootstrap.py). The ranking is by the out-of-fold score, the mean of the two CCCs; recipes without
one stand last, by their in-sample score. `Predicted` are (recording, 6) sums of out-of-fold
predictions by dimension, None where there are no folds: by them two models are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from va_search.ensemble import bootstrap, sums
from va_search.ensemble.bootstrap import Difference, Interval, RecordingSpread
from va_search.ensemble.material import NOTHING, Material, Materials, Without
from va_search.ensemble.methods import first_highest, ranking
from va_search.ensemble.out_of_fold import Fits, FittedPipeline, nested, winner
from va_search.ensemble.pipeline import Pipeline
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.statistics import Vector
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS, score

Predicted = Mapping[str, Vector | None]
ScoreIntervals = dict[str, Interval | None]
"""Of {valence, arousal, score}."""
FitsByRecipe = dict[tuple[str, str], Fits]
"""By the recipe's `_key` and the dimension."""
LISTED = 10
"""Candidates that an error names."""
BEST = Pipeline.read({"method": "best"})


@dataclass(frozen=True)
class CarriedOut:
    """One dimension of a carried-out recipe. `recipe`: whose pipeline it is, of those `auto` chose
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
    """One recipe's scores: {valence, arousal, score} each; None where impossible. `takes`: recipes
    `auto` took."""

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
            for dimension, outcome in outcomes.items():
                fitted[_key(recipe), dimension] = outcome.fits
        rows.append(row(recipe, outcomes, materials))
    return sorted(rows, key=_rank)


def carry_out(
    recipe: Recipe, materials: Materials, fitted: FitsByRecipe | None = None
) -> dict[str, CarriedOut]:
    """The outcome of each dimension; `fitted` are fits made before on these very materials.

    InputError as in `refuse_harm`."""
    if not recipe.members.outside:
        materials, fitted = materials.own(), None
    refuse_harm(materials)
    outcomes = {}
    for dimension, material in materials.items():
        if not recipe.among:
            fits = Fits(material, recipe.plans[dimension])
            outcomes[dimension] = _judged(recipe.name, fits, fits.out_of_fold())
            continue
        # `auto`: the recipe that wins out-of-fold is taken, and judged with this choice made again.
        several = [_fits(choice, material, dimension, fitted or {}) for choice in recipe.among]
        taken = winner(several)
        name = recipe.among[taken].name
        outcomes[dimension] = _judged(name, several[taken], nested(several))
    return outcomes


def _fits(recipe: Recipe, material: Material, dimension: str, fitted: FitsByRecipe) -> Fits:
    """The fits of a recipe that `auto` chooses from, made before or new."""
    key = (_key(recipe), dimension)
    if key in fitted:
        return fitted[key]
    if not recipe.members.outside:
        material = material.own()
        if not material.candidates:
            raise InputError(
                f"recipe {recipe.name}: no member left: all candidates are models from elsewhere"
            )
    return Fits(material, recipe.plans[dimension])


def _judged(recipe: str, fits: Fits, predicted: Vector | None) -> CarriedOut:
    return CarriedOut(recipe, fits, sums.pooled_ccc(fits.in_sample()), predicted)


def _key(recipe: Recipe) -> str:
    """A key that tells two recipes apart: two files may have one name, as one of the user's beside
    the shipped one."""
    return json.dumps([recipe.name, recipe.document], sort_keys=True)


def refuse_harm(materials: Materials) -> None:
    """InputError for each dimension where no candidate's CCC is above 0, which is what a constant
    has.

    Every weighted mean of such candidates is no better than a constant either, whatever the
    recipe."""
    problems = []
    for dimension, material in materials.items():
        ccc = material.statistics.total().ccc_of_each()
        if (ccc > 0.0).any():
            continue
        ranked = ranking(ccc).tolist()
        listed = [f"{material.candidates[i].label} {ccc[i]:.3f}" for i in ranked[:LISTED]]
        if len(ranked) > LISTED:
            listed[-1] += f" and {len(ranked) - LISTED} more"
        problems.append(
            f"{dimension}: no candidate is better than a constant, whose CCC is 0, and neither is any weighted mean of "
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
        takes = {dimension: outcome.recipe for dimension, outcome in outcomes.items()}
    return RecipeScores(
        recipe=recipe.name,
        in_sample=in_sample(outcomes),
        out_of_fold=out_of_fold(predicted),
        intervals=intervals(predicted, materials),
        spread={dimension: spread(predicted[dimension]) for dimension in predicted},
        takes=takes,
        predicted=predicted,
    )


def _rank(row: RecipeScores) -> tuple[bool, float, str]:
    value = (row.out_of_fold or row.in_sample)["score"]
    return row.out_of_fold is None, float(np.nan_to_num(-value, nan=np.inf)), row.recipe


def predicted_by(outcomes: Mapping[str, CarriedOut]) -> dict[str, Vector | None]:
    """Sums of the out-of-fold predictions by dimension; None where there are no folds."""
    return {dimension: outcome.predicted for dimension, outcome in outcomes.items()}


def named(valence: float, arousal: float) -> dict[str, float]:
    """The two CCCs and the challenge's score, their mean."""
    return {"valence": valence, "arousal": arousal, "score": score(valence, arousal)}


def in_sample(outcomes: Mapping[str, CarriedOut]) -> dict[str, float]:
    """{valence, arousal, score}."""
    return named(*(outcomes[dimension].in_sample for dimension in DIMENSIONS))


def out_of_fold(predicted: Predicted) -> dict[str, float] | None:
    """{valence, arousal, score}; None where there are no folds."""
    both = _both(predicted)
    return None if both is None else named(*(sums.pooled_ccc(recordings) for recordings in both))


def intervals(predicted: Predicted, materials: Materials) -> ScoreIntervals | None:
    """95 % intervals of {valence, arousal, score}, from the same bootstrap samples; None where
    there are no folds."""
    both = _both(predicted)
    if both is None:
        return None
    drawn, groups = materials.drawn, len(materials.folds.groups)
    single = [bootstrap.interval([recordings], drawn, groups) for recordings in both]
    score_interval = bootstrap.interval(both, drawn, groups)
    return {**dict(zip(DIMENSIONS, single, strict=True)), "score": score_interval}


def differences(
    predicted: Predicted, other: Predicted, materials: Materials
) -> dict[str, Difference] | None:
    """`predicted` less `other`, of {valence, arousal, score}, with paired 95 % intervals.

    Without those where a CCC is not defined; None where none is left, or there are no folds."""
    both, both_others = _both(predicted), _both(other)
    if both is None or both_others is None:
        return None
    # Each dimension by itself, and both for the score.
    slices = {dimension: slice(i, i + 1) for i, dimension in enumerate(DIMENSIONS)}
    slices["score"] = slice(None)
    drawn, groups = materials.drawn, len(materials.folds.groups)
    result = {}
    for name, part in slices.items():
        difference = bootstrap.difference(both[part], both_others[part], drawn, groups)
        if np.isfinite(difference.value):
            result[name] = difference
    return result or None


def spread(predicted: Vector | None) -> RecordingSpread | None:
    """Quartiles of the CCC of every labelled recording by itself; None where there are no folds."""
    return None if predicted is None else bootstrap.spread(predicted)


def _both(predicted: Predicted) -> list[Vector] | None:
    both = [sums for name in DIMENSIONS if (sums := predicted[name]) is not None]
    return both if len(both) == len(DIMENSIONS) else None


def best_single(materials: Materials) -> dict[str, CarriedOut]:
    """The best single trial, judged like a recipe: chosen again in every fold."""
    outcomes = {}
    for dimension, material in materials.items():
        fits = Fits(material, BEST)
        outcomes[dimension] = _judged("best", fits, fits.out_of_fold())
    return outcomes


@dataclass(frozen=True)
class OverallBest:
    """The single trial with the highest mean of the two CCCs, chosen again in every fold for
    `predicted`."""

    study: str
    trial: str
    in_sample: dict[str, float]
    predicted: dict[str, Vector | None]


def best_for_both(materials: Materials) -> OverallBest | None:
    """The one trial that is best for both dimensions together, judged as everything is; None where
    none predicts both.

    This is the trial of a search's `best score`; the best trial per dimension is `best_single`."""
    shared = _predicting_both(materials)
    candidates = shared[DIMENSIONS[0]].candidates
    if not candidates:
        return None
    # Named is the best on all recordings; out-of-fold it is chosen again in every fold.
    best, scores = _best_overall(shared, NOTHING)
    predicted: dict[str, Vector | None] = dict.fromkeys(shared)
    if len(materials.folds.parts) > 1:
        predicted |= _out_of_fold_for_both(shared, len(materials.folds.parts))
    return OverallBest(candidates[best].study, candidates[best].id, scores, predicted)


def _predicting_both(materials: Materials) -> dict[str, Material]:
    """Both dimensions with the candidates that are in both, in the same order."""
    labels = [material.statistics.labels for material in materials.values()]
    common = list(set(labels[0]).intersection(*labels))
    shared = {}
    for dimension, material in materials.items():
        inside = np.isin(material.statistics.labels, common)
        shared[dimension] = material.subset(np.flatnonzero(inside))
    return shared


def _best_overall(shared: Mapping[str, Material], without: Without) -> tuple[int, dict[str, float]]:
    """Index of the candidate with the highest mean CCC on what is not left out (the first wins
    ties), and its CCCs with their mean."""
    both = []
    for dimension in DIMENSIONS:
        material = shared[dimension]
        ccc, _ = sums.ccc_and_worth(material.statistics, material.blocks(without))
        both.append(ccc)
    best = first_highest(np.nan_to_num(both).mean(axis=0))
    valence, arousal = (float(ccc[best]) for ccc in both)
    return best, named(valence, arousal)


def _out_of_fold_for_both(shared: Mapping[str, Material], parts: int) -> dict[str, Vector]:
    """(recording, 6) by dimension: each part predicted by the trial that is best on the other
    parts."""
    predicted = {name: np.zeros((len(material.recordings), 6)) for name, material in shared.items()}
    for part in range(parts):
        without = frozenset({part})
        best, _ = _best_overall(shared, without)
        for name, material in shared.items():
            alone = Fits(material.subset(np.array([best])), BEST)
            predicted[name][material.of(part)] = alone.predicted(without, part)
    return predicted
