"""An ensemble from the bank: candidates -> statistics -> weights per dimension -> honest scores ->
saved.

Conventions: everything is chosen on the validation recordings alone (with `folds: all` on every
labelled recording, out-of-fold). Test predictions are not read here. What can't be judged is made
in unscored.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import numpy as np

from va_search.data.store import MIX, Store
from va_search.ensemble import compare, paired, sums
from va_search.ensemble.compare import Interval, Outcome
from va_search.ensemble.fresh import complete_trials, forget_explanation
from va_search.ensemble.material import Material, Materials, gather
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.saved import (
    Both,
    Ensemble,
    MeasuredOn,
    Scores,
    Single,
    Spread,
    Weighted,
    read_ensemble,
)
from va_search.ensemble.unscored import blend, heading, mean_of_mix, member_of
from va_search.errors import InputError
from va_search.files import Home, write_json
from va_search.metrics import DIMENSIONS

CHANGED = 0.01
"""A trial whose CCC now differs from its record's by more was judged on other annotations."""
NAMED = 5
"""Candidates without weight that a note names."""
GAINS = 20
"""Members, by weight, whose gain is measured."""


def build(
    home: Home,
    studies: Sequence[str],
    recipe: Recipe,
    name: str,
    store: Store | None = None,
    *,
    force: bool = False,
) -> Ensemble:
    """Build the ensemble `name` from complete trials of `studies`, and save it under home.

    The store is the one the trials' records name, or `store`. The same name again is built anew
    where recipe and studies are the same (new trials then come in), and refused otherwise unless
    `force`. InputError as in `gather`."""
    notes = _same_again(home, name, recipe, studies, force)
    complete = complete_trials(
        home, studies
    )  # before they are read: what ends meanwhile counts as newer
    ensemble = _built(home, studies, recipe, name, store)
    ensemble = ensemble.model_copy(
        update={"notes": [*notes, *ensemble.notes], "complete": complete}
    )
    removed = forget_explanation(home, name, ensemble)
    if removed:
        ensemble = ensemble.model_copy(update={"notes": [removed, *ensemble.notes]})
    write_json(home.ensemble(name), ensemble.model_dump(mode="json"))
    return ensemble


def _built(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, store: Store | None
) -> Ensemble:
    """The ensemble of any recipe, not saved."""
    if recipe.of:
        parts = [(share, _built(home, studies, one, one.name, store)) for share, one in recipe.of]
        return blend(home, recipe, name, studies, parts)
    if recipe.members.folds == MIX:
        return mean_of_mix(home, studies, recipe, name, store)
    return _chosen(home, studies, recipe, name, store)


def _chosen(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, store: Store | None
) -> Ensemble:
    """Members and weights chosen on the materials, and judged."""
    materials = gather(
        home, studies, store, outside=recipe.members.outside, folds=recipe.members.folds
    )
    outcomes, singles = compare.carry_out(recipe, materials), compare.best_single(materials)
    intervals = {
        "ensemble": compare.intervals(outcomes, materials),
        "best_single": compare.intervals(singles, materials),
    }
    changed = [
        text for dimension, material in materials.items() for text in _changed(material, dimension)
    ]
    useless = [
        text for dimension, outcome in outcomes.items() for text in _no_weight(outcome, dimension)
    ]
    lines = materials.lines
    return Ensemble(
        **heading(recipe, name, studies, lines.store),
        frames_hash=lines.frames_hash,
        test_frames_hash=lines.test_frames_hash,
        candidates=len(lines.candidates),
        left_out=lines.left_out,
        notes=[*materials.notes, *changed, *useless],
        measured_on=MeasuredOn.model_validate(materials.measured_on()),
        dimensions={
            d: _weighted(d, outcomes[d], singles[d], intervals, bool(recipe.among))
            for d in DIMENSIONS
        },
        scores=_both(outcomes),
        best_single=_both(singles),
        intervals=intervals if materials.folds.parts else None,
        best_for_both=_for_both(materials),
        differences=paired.differences(
            compare.predicted_by(outcomes), compare.predicted_by(singles), materials
        ),
    )


def _for_both(materials: Materials) -> Both | None:
    """The best single trial for both dimensions, as it is saved."""
    best = paired.best_for_both(materials)
    if best is None:
        return None
    out_of_fold, intervals = None, None
    if best.predicted is not None:
        pair = [float(sums.ccc(best.predicted[dimension].sum(axis=0))) for dimension in DIMENSIONS]
        out_of_fold = compare.named(*pair)
        intervals = compare.intervals_of(best.predicted, materials)
    scores = {"in_sample": best.in_sample, "out_of_fold": out_of_fold}
    return Both(study=best.study, trial=best.trial, scores=scores, intervals=intervals)


def _same_again(
    home: Home, name: str, recipe: Recipe, studies: Sequence[str], force: bool
) -> list[str]:
    path = home.ensemble(name)
    if not path.is_file():
        return []
    try:
        old = read_ensemble(home, name)
    except InputError:
        if force:
            return [f"{path} was not readable and is replaced"]
        raise InputError(f"{path}: exists and can't be read; --force replaces it") from None
    if not force and (
        old.recipe_document != recipe.document or sorted(old.studies) != sorted(studies)
    ):
        raise InputError(
            f"ensemble {name!r} exists, of recipe {old.recipe} and studies {', '.join(old.studies)}; "
            "choose another --name, or replace it with --force"
        )
    return [
        f"replaces the ensemble {name!r} of {old.created_at} ({old.candidates} candidates then)"
    ]


def _weighted(
    dimension: str,
    outcome: Outcome,
    single: Outcome,
    intervals: Mapping[str, Mapping[str, Interval | None] | None],
    auto: bool,
) -> Weighted:
    fit, material = outcome.fit, outcome.fits.material
    each = np.nan_to_num(material.statistics.total().ccc_of_each())
    order = [
        int(i) for i in np.lexsort((-each, -fit.weights)) if fit.weights[i] != 0.0
    ]  # by weight, then by CCC
    gains = _gains(outcome, order)
    best = single.fits.material.candidates[int(np.argmax(single.fit.weights))]
    spread = compare.spread(outcome.predicted)
    return Weighted(
        recipe=outcome.fits.plan.document(),
        members=[
            member_of(material.candidates[i], float(fit.weights[i]), float(each[i]), gains.get(i))
            for i in order
        ],
        scores=_scores(outcome, intervals["ensemble"], dimension),
        best_single=Single(
            study=best.study,
            trial=best.id,
            scores=_scores(single, intervals["best_single"], dimension),
        ),
        post=fit.post,
        shrink=fit.shrink,
        takes=outcome.recipe if auto else None,
        outside=any(candidate.is_outside for candidate in material.candidates),
        per_recording=None if spread is None else Spread(**asdict(spread)),
    )


def _gains(outcome: Outcome, order: Sequence[int]) -> dict[int, float]:
    """What the members with most weight add; nothing where one has all the weight, or there are no
    folds."""
    measured = list(order[:GAINS])
    found = outcome.fits.gains(measured) if len(order) > 1 else None
    return (
        {}
        if found is None
        else {i: gain for i, gain in zip(measured, found, strict=True) if np.isfinite(gain)}
    )


def _scores(
    outcome: Outcome, intervals: Mapping[str, Interval | None] | None, dimension: str
) -> Scores:
    interval = None if intervals is None else intervals[dimension]
    return Scores(in_sample=outcome.in_sample, out_of_fold=outcome.out_of_fold, interval=interval)


def _changed(material: Material, dimension: str) -> list[str]:
    """Trials whose record tells another CCC than the bank and the store give now."""
    notes = []
    for candidate, now in zip(
        material.candidates, material.statistics.total().ccc_of_each(), strict=True
    ):
        then = candidate.ccc(dimension)
        if then is not None and abs(then - now) > CHANGED:
            notes.append(
                f"{candidate.label}: its record says {dimension} {then:.3f}, its predictions give {now:.3f} on this "
                "store's annotations: they changed since, or --data is another store"
            )
    return notes


def _no_weight(outcome: Outcome, dimension: str) -> list[str]:
    """A note that names the candidates which are not weighed because they do not help."""
    members = outcome.fits.unhelpful()
    if not members:
        return []
    material = outcome.fits.material
    each = material.statistics.total().ccc_of_each()
    named = [f"{material.candidates[i].label} ({each[i]:.3f})" for i in members[:NAMED]]
    more = ", …" if len(members) > NAMED else ""
    get = "gets" if len(members) == 1 else "get"
    return [
        f"{dimension}: {len(members)} of {len(material.candidates)} candidates {get} no weight, "
        f"no better than a constant (CCC 0) or only by chance: {', '.join(named)}{more}"
    ]


def _both(outcomes: Mapping[str, Outcome]) -> dict[str, dict[str, float] | None]:
    """The two dimensions and the challenge's score, in-sample and out-of-fold."""
    in_sample = compare.named(*(outcomes[dimension].in_sample for dimension in DIMENSIONS))
    return {"in_sample": in_sample, "out_of_fold": compare.out_of_fold(outcomes)}
