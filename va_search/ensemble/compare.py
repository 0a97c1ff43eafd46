"""A recipe carried out and judged, and several of them ranked.

Conventions: `in_sample` is measured on the recordings everything was chosen on, so too high;
`out_of_fold` repeats all of it without the recordings judged (honest.py), for `auto` the choice of
the recipe too. Intervals are 95 % ones over what is kept together in folds (bootstrap.py). The
ranking is by the out-of-fold score, the mean of the two CCCs; recipes without one stand last, by
their in-sample score."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from va_search.ensemble import bootstrap, sums
from va_search.ensemble.honest import Fit, Fits, nested, winner
from va_search.ensemble.material import Material, Materials
from va_search.ensemble.moments import Vector
from va_search.ensemble.plan import Best, Plan
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.select import from_highest
from va_search.errors import InputError
from va_search.metrics import DIMENSIONS, score

Interval = tuple[float, float]
LISTED = 10
"""Candidates that an error names."""


@dataclass(frozen=True)
class Outcome:
    """One dimension of a carried-out recipe. `recipe`: whose plan it is, of those `auto` chose
    from.

    `predicted` (recording, 6): sums of the out-of-fold predictions; None where there are no folds.
    """

    recipe: str
    fits: Fits
    in_sample: float
    predicted: Vector | None

    @property
    def fit(self) -> Fit:
        return self.fits.fit()

    @property
    def out_of_fold(self) -> float | None:
        return None if self.predicted is None else float(sums.ccc(self.predicted.sum(axis=0)))


@dataclass(frozen=True)
class Spread:
    """CCCs of single recordings, out-of-fold: quartiles of the defined ones.

    Undefined (and counted) where a recording's annotation, or prediction and annotation, do not
    vary. `correlation`: the median correlation within a recording, which says whether time is
    followed there."""

    low: float | None
    median: float | None
    high: float | None
    recordings: int
    undefined: int
    correlation: float | None = None


@dataclass(frozen=True)
class Row:
    """One recipe's scores: {valence, arousal, score} each; None where impossible. `takes`: recipes
    `auto` took.

    `predicted`: sums of the out-of-fold predictions, by which two recipes are compared.
    """

    recipe: str
    in_sample: dict[str, float]
    out_of_fold: dict[str, float] | None
    intervals: dict[str, Interval | None] | None
    spread: dict[str, Spread | None]
    takes: dict[str, str] | None
    predicted: dict[str, Vector | None] = field(repr=False, default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Plain data for JSON."""
        spread = {name: None if one is None else asdict(one) for name, one in self.spread.items()}
        names = ("recipe", "in_sample", "out_of_fold", "intervals", "takes")
        return {**{name: getattr(self, name) for name in names}, "spread": spread}


def carry_out(
    recipe: Recipe, materials: Materials, known: Mapping[str, dict[str, Fits]] | None = None
) -> dict[str, Outcome]:
    """The outcome of each dimension; `known` are fits by recipe (`_key`), made before on these very
    materials.

    InputError as in `refuse_harm`.
    """
    if not recipe.members.outside:
        materials, known = materials.own(), None
    refuse_harm(materials)
    several = recipe.among or (recipe,)
    found = {}
    for dimension, material in materials.items():
        fits = [
            known[_key(one)][dimension]
            if known and _key(one) in known
            else Fits(material if one is recipe else _allowed(material, one), one.plans[dimension])
            for one in several
        ]
        found[dimension] = _outcome(several, fits)
    return found


def refuse_harm(materials: Materials) -> None:
    """InputError for each dimension where no candidate's CCC is above 0, which is what a constant
    has.

    Every weighted mean of such candidates is no better than a constant either, whatever the recipe.
    """
    problems = []
    for dimension, material in materials.items():
        each = material.statistics.total().ccc_of_each()
        if (each > 0.0).any():
            continue
        ranked = from_highest(each).tolist()
        listed = [f"{material.candidates[i].label} {each[i]:.3f}" for i in ranked[:LISTED]]
        more = f" and {len(ranked) - LISTED} more" if len(ranked) > LISTED else ""
        problems.append(
            f"{dimension}: no candidate is better than a constant, whose CCC is 0, and neither is any weighted mean of "
            f"them; no ensemble is made. Their CCCs on the {len(material.recordings)} recordings: "
            f"{', '.join(listed)}{more}"
        )
    if problems:
        raise InputError(*problems)


def best_single(materials: Materials) -> dict[str, Outcome]:
    """The best single trial, judged like a recipe: chosen again in every fold."""
    found = {}
    for dimension, material in materials.items():
        fits = Fits(material, Plan(Best()))
        found[dimension] = Outcome("best", fits, _total(fits.in_sample()), fits.out_of_fold())
    return found


def compare(recipes: Sequence[Recipe], materials: Materials) -> list[Row]:
    """Every recipe carried out on the same materials, the one with the highest out-of-fold score
    first."""
    known: dict[str, dict[str, Fits]] = {}
    rows = []
    for recipe in sorted(
        recipes, key=lambda one: bool(one.among)
    ):  # `auto` last: the others' fits are there then
        outcomes = carry_out(recipe, materials, known)
        if not recipe.among and recipe.members.outside:
            known[_key(recipe)] = {
                dimension: outcome.fits for dimension, outcome in outcomes.items()
            }
        rows.append(row(recipe, outcomes, materials))
    return sorted(rows, key=_rank)


def row(recipe: Recipe, outcomes: Mapping[str, Outcome], materials: Materials) -> Row:
    """The scores of a carried-out recipe."""
    valence, arousal = (outcomes[dimension] for dimension in DIMENSIONS)
    return Row(
        recipe=recipe.name,
        in_sample=named(valence.in_sample, arousal.in_sample),
        out_of_fold=out_of_fold(outcomes),
        intervals=intervals(outcomes, materials),
        spread={dimension: spread(outcome.predicted) for dimension, outcome in outcomes.items()},
        takes={dimension: outcome.recipe for dimension, outcome in outcomes.items()}
        if recipe.among
        else None,
        predicted=predicted_by(outcomes),
    )


def predicted_by(outcomes: Mapping[str, Outcome]) -> dict[str, Vector | None]:
    """Sums of the out-of-fold predictions by dimension; None where there are no folds."""
    return {dimension: outcome.predicted for dimension, outcome in outcomes.items()}


def out_of_fold(outcomes: Mapping[str, Outcome]) -> dict[str, float] | None:
    """{valence, arousal, score}; None where there are no folds."""
    valence, arousal = (outcomes[dimension].out_of_fold for dimension in DIMENSIONS)
    return None if valence is None or arousal is None else named(valence, arousal)


def named(valence: float, arousal: float) -> dict[str, float]:
    """The two CCCs and the challenge's score, their mean."""
    return {"valence": valence, "arousal": arousal, "score": score(valence, arousal)}


def intervals(
    outcomes: Mapping[str, Outcome], materials: Materials
) -> dict[str, Interval | None] | None:
    """95 % intervals of {valence, arousal, score}, from the same bootstrap samples; None where
    there are no folds."""
    return intervals_of(predicted_by(outcomes), materials)


def intervals_of(
    predicted: Mapping[str, Vector | None], materials: Materials
) -> dict[str, Interval | None] | None:
    """As `intervals`, of sums of out-of-fold predictions by dimension."""
    both = [predicted[dimension] for dimension in DIMENSIONS]
    known = [one for one in both if one is not None]
    if len(known) < len(DIMENSIONS):
        return None
    drawn, groups = materials.drawn, len(materials.folds.groups)
    found = {
        dimension: bootstrap.interval([one], drawn, groups)
        for dimension, one in zip(DIMENSIONS, known, strict=True)
    }
    return {**found, "score": bootstrap.interval(known, drawn, groups)}


def spread(predicted: Vector | None) -> Spread | None:
    """Quartiles of the CCC of every labelled recording by itself; None where there are no folds."""
    if predicted is None:
        return None
    labelled = predicted[predicted[:, 0] > 0.0]
    _, _, moves, varies, together = sums.moments(labelled)
    each = sums.ccc(labelled)
    known = each[np.isfinite(each) & (varies > 1e-12)]
    low, median, high = np.quantile(known, [0.25, 0.5, 0.75]).tolist() if known.size else [None] * 3
    both = (varies > 1e-12) & (moves > 1e-12)
    correlations = together[both] / np.sqrt(varies[both] * moves[both])
    correlation = float(np.median(correlations)) if correlations.size else None
    return Spread(low, median, high, len(labelled), len(labelled) - len(known), correlation)


def _allowed(material: Material, one: Recipe) -> Material:
    """The members that a recipe to choose from may use."""
    if one.members.outside:
        return material
    own = material.own()
    if not own.candidates:
        raise InputError(
            f"recipe {one.name}: no member left: all candidates are models from elsewhere"
        )
    return own


def _key(recipe: Recipe) -> str:
    """What tells two recipes apart: two files may have one name, as one of the user's beside the
    shipped one."""
    return json.dumps([recipe.name, recipe.document], sort_keys=True)


def _outcome(several: Sequence[Recipe], fits: Sequence[Fits]) -> Outcome:
    if len(fits) == 1:
        return Outcome(several[0].name, fits[0], _total(fits[0].in_sample()), fits[0].out_of_fold())
    taken = winner(fits)
    return Outcome(several[taken].name, fits[taken], _total(fits[taken].in_sample()), nested(fits))


def _total(predicted: Vector) -> float:
    return float(sums.ccc(predicted.sum(axis=0)))


def _rank(one: Row) -> tuple[bool, float, str]:
    scores: Any = one.out_of_fold or one.in_sample
    value = scores["score"]
    return one.out_of_fold is None, -value if np.isfinite(value) else np.inf, one.recipe
