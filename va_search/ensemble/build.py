"""An ensemble from the bank: candidates → statistics → pipeline per target → honest scores → saved.

Conventions: everything is chosen on the validation recordings alone (with `folds: all` on every
labelled recording, out-of-fold). Test predictions are not read here. What can't be judged is made
in unscored.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from va_search.data.baselines import baselines
from va_search.data.store import Store
from va_search.ensemble import compare
from va_search.ensemble.compare import CarriedOut, ScoreIntervals
from va_search.ensemble.estimate import best_epoch_gain
from va_search.ensemble.fresh import complete_trials, forget_explanation
from va_search.ensemble.material import Material, Materials, gather
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.saved import (
    Ensemble,
    MeasuredOn,
    Scores,
    Single,
    SingleForBoth,
    Weighted,
    read_ensemble,
    save_ensemble,
)
from va_search.ensemble.unscored import blend, heading, mean_of_mix, member_of
from va_search.errors import InputError
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.trial import SCORE, FoldKind, Trial

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

    The store is the one the trials' records name, or `store`. An ensemble of this name is built
    anew where recipe and studies are the same (new trials then come in), and refused otherwise
    unless `force`. InputError as in `gather`."""
    notes = _notes_on_earlier(home, name, recipe, studies, force)
    # Counted before they are read: what ends meanwhile is newer than the ensemble.
    complete = complete_trials(home, studies)
    ensemble = _built(home, studies, recipe, name, store)
    removed = forget_explanation(home, name, ensemble)
    if removed:
        notes.insert(0, removed)
    update = {"notes": [*notes, *ensemble.notes], "complete": complete}
    return save_ensemble(home, ensemble.model_copy(update=update))


def _notes_on_earlier(
    home: Home, name: str, recipe: Recipe, studies: Sequence[str], force: bool
) -> list[str]:
    """A note on the ensemble of this name that is replaced; InputError where it may not be."""
    path = home.ensemble(name)
    if not path.is_file():
        return []
    try:
        old = read_ensemble(home, name)
    except InputError:
        if force:
            return [f"{path} was not readable and is replaced"]
        raise InputError(f"{path}: exists and can't be read; --force replaces it") from None
    same = old.recipe_document == recipe.document and sorted(old.studies) == sorted(studies)
    if not same and not force:
        raise InputError(
            f"ensemble {name!r} exists, of recipe {old.recipe} and studies {', '.join(old.studies)}; "
            "choose another --name, or replace it with --force"
        )
    return [
        f"replaces the ensemble {name!r} of {old.created_at} ({old.candidates} candidates then)"
    ]


def _built(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, store: Store | None
) -> Ensemble:
    """The ensemble of any recipe, not saved."""
    if recipe.of:
        parts = []
        for share, part in recipe.of:
            parts.append((share, _built(home, studies, part, part.name, store)))
        return blend(home, recipe, name, studies, parts)
    if not recipe.members.have_validation:
        return mean_of_mix(home, studies, recipe, name, store)
    materials = gather(
        home, studies, store, outside=recipe.members.outside, folds=recipe.members.folds
    )
    return choose(home, materials, recipe, name, studies)


def choose(
    home: Home, materials: Materials, recipe: Recipe, name: str, studies: Sequence[str]
) -> Ensemble:
    """The ensemble of members and weights chosen on the materials, judged and not saved."""
    # The ensemble and the best single trial are judged alike, and then compared.
    outcomes, singles = compare.carry_out(recipe, materials), compare.best_single(materials)
    predicted, single_predicted = compare.predicted_by(outcomes), compare.predicted_by(singles)
    intervals = compare.intervals(predicted, materials)
    single_intervals = compare.intervals(single_predicted, materials)
    # Notes: trials judged on other annotations, candidates that do not help.
    notes = [*materials.notes, *recipe.notes_on(tuple(materials))]
    for target, material in materials.items():
        notes += _changed(material, target)
    dimensions = {}
    for target, outcome in outcomes.items():
        notes += _without_weight(outcome, target)
        single = _single(singles[target], single_intervals, target)
        takes = outcome.recipe if recipe.among else None
        dimensions[target] = _weighted(outcome, single, intervals, target, takes)
    for_both = _for_both(materials)
    materials.keep_products()
    lines, in_folds = materials.lines, bool(materials.folds.parts)
    untrained = baselines(lines.store, FoldKind(lines.fold).keys(lines.store), home.baselines)
    return Ensemble(
        **heading(recipe, name, studies, lines.store),
        frames_hash=lines.frames_hash,
        test_frames_hash=lines.test_frames_hash,
        candidates=len(lines.candidates),
        left_out=lines.left_out,
        notes=notes,
        measured_on=MeasuredOn.of(materials),
        dimensions=dimensions,
        scores=_by_measure(outcomes),
        best_single=_by_measure(singles),
        intervals={"ensemble": intervals, "best_single": single_intervals} if in_folds else None,
        best_for_both=for_both,
        differences=compare.differences(predicted, single_predicted, materials),
        baselines={entry.name: {**entry.cccs, SCORE: entry.score} for entry in untrained},
        estimate=compare.estimate(name, predicted, materials, _too_high(home, outcomes)),
    )


def _too_high(home: Home, outcomes: Mapping[str, CarriedOut]) -> dict[str, float]:
    """By how much out-of-fold scores {each target, score} are too high because members chose their
    best epochs on the people scored; empty where none did."""
    too_high = dict.fromkeys(outcomes, 0.0)
    chose_epochs = False
    for target, outcome in outcomes.items():
        weights, candidates = outcome.fit.weights, outcome.fits.material.candidates
        for index in np.flatnonzero(weights).tolist():
            candidate = candidates[index]
            if candidate.is_outside or candidate.keep != "best":
                continue
            chose_epochs = True
            too_high[target] += weights[index] * _best_epoch_gain(home, candidate, target)
    return compare.named(too_high) if chose_epochs else {}


def _best_epoch_gain(home: Home, candidate: Trial, target: str) -> float:
    """The gain of a candidate's best epoch; of a configuration over folds the mean of its trials'."""
    trials = [candidate]
    if candidate.trials:
        bank = Bank(home.bank)
        trials = [bank.trial(candidate.study, trial) for trial in candidate.trials.values()]
    return sum(best_epoch_gain(trial.history, target) for trial in trials) / len(trials)


def _for_both(materials: Materials) -> SingleForBoth | None:
    """The best single trial for all targets, as it is saved."""
    best = compare.best_for_both(materials)
    if best is None:
        return None
    return SingleForBoth(
        study=best.study,
        trial=best.trial,
        scores={
            "in_sample": best.in_sample,
            "out_of_fold": compare.out_of_fold(best.predicted),
        },
        intervals=compare.intervals(best.predicted, materials),
    )


def _weighted(
    outcome: CarriedOut,
    single: Single,
    intervals: ScoreIntervals | None,
    target: str,
    takes: str | None,
) -> Weighted:
    # Members by weight, then by their own CCC.
    fit, material = outcome.fit, outcome.fits.material
    ccc = np.nan_to_num(material.statistics.alone().ccc_of_each())
    by_weight = np.lexsort((-ccc, -fit.weights))
    order = by_weight[fit.weights[by_weight] != 0.0].tolist()
    gains = _gains(outcome, order)
    members = []
    for i in order:
        weight = float(fit.weights[i])
        members.append(member_of(material.candidates[i], weight, float(ccc[i]), gains.get(i)))
    return Weighted(
        recipe=outcome.fits.pipeline.document(),
        members=members,
        scores=_scores(outcome, intervals, target),
        best_single=single,
        post=fit.post,
        shrink=fit.shrink,
        takes=takes,
        outside=any(candidate.is_outside for candidate in material.candidates),
        per_recording=compare.spread(outcome.predicted),
    )


def _single(outcome: CarriedOut, intervals: ScoreIntervals | None, target: str) -> Single:
    best = outcome.fits.material.candidates[int(np.argmax(outcome.fit.weights))]
    scores = _scores(outcome, intervals, target)
    return Single(study=best.study, trial=best.id, scores=scores)


def _gains(outcome: CarriedOut, order: Sequence[int]) -> dict[int, float]:
    """The gains of the members with most weight; nothing where one has all the weight, or there are
    no folds."""
    measured = list(order[:GAINS])
    gains = outcome.fits.gains(measured) if len(order) > 1 else None
    if gains is None:
        return {}
    return {i: gain for i, gain in zip(measured, gains, strict=True) if np.isfinite(gain)}


def _scores(outcome: CarriedOut, intervals: ScoreIntervals | None, target: str) -> Scores:
    interval = None if intervals is None else intervals[target]
    return Scores(in_sample=outcome.in_sample, out_of_fold=outcome.out_of_fold, interval=interval)


def _changed(material: Material, target: str) -> list[str]:
    """Notes on trials whose record tells another CCC than the bank and the store give now."""
    notes = []
    ccc_now = material.statistics.alone().ccc_of_each()
    for candidate, ccc in zip(material.candidates, ccc_now, strict=True):
        recorded = candidate.ccc(target)
        if recorded is not None and abs(recorded - ccc) > CHANGED:
            notes.append(
                f"{candidate.label}: its record says {target} {recorded:.3f}, its predictions give {ccc:.3f} on this "
                "store's annotations: they changed since, or --data is another store"
            )
    return notes


def _without_weight(outcome: CarriedOut, target: str) -> list[str]:
    """A note that names the candidates which are not weighed because they do not help."""
    members = outcome.fits.unhelpful()
    if not members:
        return []
    material = outcome.fits.material
    ccc = material.statistics.alone().ccc_of_each()
    named = [f"{material.candidates[i].label} ({ccc[i]:.3f})" for i in members[:NAMED]]
    if len(members) > NAMED:
        named.append("…")
    get = "gets" if len(members) == 1 else "get"
    return [
        f"{target}: {len(members)} of {len(material.candidates)} candidates {get} no weight, "
        f"no better than a constant (CCC 0) or only by chance: {', '.join(named)}"
    ]


def _by_measure(outcomes: dict[str, CarriedOut]) -> dict[str, dict[str, float] | None]:
    """Each target's CCC and the score, in-sample and out-of-fold."""
    return {
        "in_sample": compare.in_sample(outcomes),
        "out_of_fold": compare.out_of_fold(compare.predicted_by(outcomes)),
    }
