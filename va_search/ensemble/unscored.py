"""Ensembles that can't be chosen or judged on their own: the mean of Train-Val-Mix trials, and
blends of ensembles.

Conventions: trials of fold train_val_mix trained on every labelled recording (paper 4.7), so all of
them count alike and every score is None. No score would show that one is of data that changed
since, so such trials are left out. A blend is the weighted mean of whole ensembles, each with its
own post-processing; where its parts were measured on the same recordings, it is measured there too,
in-sample. Test predictions are not read here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from va_search import __version__
from va_search.data.store import MIX, Recording, Store, frames_hash, positions
from va_search.ensemble.candidates import (
    NO_TARGET,
    find_candidates,
    find_store,
    predicting,
    space_advice,
    test_hash_of,
)
from va_search.ensemble.compare import named
from va_search.ensemble.pipeline import Pipeline
from va_search.ensemble.post_processing import PostProcessing
from va_search.ensemble.recipe import Recipe
from va_search.ensemble.saved import (
    BlendPart,
    Ensemble,
    EnsembleMember,
    MeasuredOn,
    Scores,
    Weighted,
    predict,
)
from va_search.errors import InputError
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.trial import OTHER_DATA, FoldKind, Trial

UNSCORED: dict[str, dict[str, float] | None] = {"in_sample": None, "out_of_fold": None}


def heading(recipe: Recipe, name: str, studies: Sequence[str], store: Store) -> dict[str, Any]:
    """Return the first entries of every ensemble's document."""
    return {
        "name": name,
        "recipe": recipe.name,
        "recipe_document": recipe.document,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "package_version": __version__,
        "studies": list(studies),
        "store": store.place,
        "store_name": store.name,
        "targets": store.targets,
    }


def member_of(
    candidate: Trial, weight: float, ccc: float | None, gain: float | None
) -> EnsembleMember:
    """A candidate with its weight, as it is saved."""
    settings = candidate.noted_settings or {}
    family = settings.get("family", "network")
    return EnsembleMember(
        study=candidate.study,
        trial=candidate.id,
        weight=weight,
        ccc=ccc,
        gain=gain,
        source=candidate.source,
        trials=None if candidate.trials is None else dict(candidate.trials),
        content=candidate.content if candidate.is_outside else None,
        encoder=settings.get("encoder") if family == "network" else family,
        fusion=settings.get("fusion"),
        features=settings.get("features"),
        seed=settings.get("seed"),
    )


def mean_of_mix(
    home: Home, studies: Sequence[str], recipe: Recipe, name: str, store: Store | None
) -> Ensemble:
    """The mean of the studies' trials of fold train_val_mix; InputError when there is none."""
    candidates, left_out = find_candidates(Bank(home.bank), studies, outside=recipe.members.outside)
    mixed = [trial for trial in candidates if not trial.has_validation]
    store = store or find_store(mixed or candidates)
    plans = recipe.plans(store.target_names)
    test_hash = test_hash_of(store)
    counts = Counter(left_out)
    members = []
    for trial in candidates:
        reason = _left_out_reason(trial, store, test_hash)
        if reason is None:
            members.append(trial)
        else:
            counts[reason] += 1
    weighted = {}
    for target, plan in plans.items():
        members_of_target = predicting(members, target)
        if not members_of_target:
            reasons = "; ".join(f"{number} left out: {reason}" for reason, number in counts.items())
            of_target = f" that predicts {target}" if members else ""
            raise InputError(
                f"no trial of fold train_val_mix{of_target} in {', '.join(studies)} "
                f"({reasons or 'no trials'}){space_advice(home, studies, MIX)}"
            )
        weighted[target] = _equal(members_of_target, plan)
    return Ensemble(
        **heading(recipe, name, studies, store),
        frames_hash=frames_hash(()),
        test_frames_hash=test_hash,
        candidates=len(members),
        left_out=dict(counts),
        notes=recipe.notes_on(store.target_names),
        measured_on=nowhere(
            MIX, "members trained on train and validation, so no validation is left to score on"
        ),
        dimensions=weighted,
        scores=UNSCORED,
        best_single=UNSCORED,
    )


def blend(
    home: Home,
    recipe: Recipe,
    name: str,
    studies: Sequence[str],
    parts: Sequence[tuple[float, Ensemble]],
) -> Ensemble:
    """The weighted mean of whole ensembles; InputError when they are of different stores or test
    recordings."""
    ensembles = [ensemble for _, ensemble in parts]
    bases = {(part.store, part.test_frames_hash, part.targets) for part in ensembles}
    if len(bases) > 1:
        named_stores = ", ".join(f"{part.name} of {part.store}" for part in ensembles)
        raise InputError(
            f"recipe {recipe.name}: its parts are of different stores: {named_stores}; say with --data which one"
        )
    store = Store.open(ensembles[0].store)
    blended = Ensemble(
        **heading(recipe, name, studies, store),
        frames_hash=ensembles[0].frames_hash,
        test_frames_hash=ensembles[0].test_frames_hash,
        candidates=sum(part.candidates for part in ensembles),
        left_out={},
        notes=_notes_of_parts(ensembles),
        measured_on=_of_parts(ensembles),
        dimensions={},
        scores=UNSCORED,
        best_single=UNSCORED,
        parts=[BlendPart(share=share, ensemble=ensemble) for share, ensemble in parts],
    )
    if not blended.measured_on.recordings:
        return blended.model_copy(update={"frames_hash": frames_hash(())})
    scores = {**UNSCORED, "in_sample": in_sample(blended, Bank(home.bank), store)}
    return blended.model_copy(update={"scores": scores})


def _notes_of_parts(parts: Sequence[Ensemble]) -> list[str]:
    notes = []
    for part in parts:
        notes += [f"part {part.name}: {note}" for note in part.notes]
    return notes


def measured_recordings(ensemble: Ensemble, store: Store) -> tuple[Recording, ...]:
    """The recordings an ensemble was measured on, in the store's order; none where it was not.

    InputError when the store has other ones.
    """
    if not ensemble.measured_on.recordings:
        return ()
    recordings = FoldKind(ensemble.measured_on.fold).recordings(store)
    if frames_hash(recordings) != ensemble.frames_hash:
        raise InputError(
            f"{store.path}: its validation recordings are not those {ensemble.name!r} was built on"
        )
    return recordings


def in_sample(ensemble: Ensemble, bank: Bank, store: Store) -> dict[str, float] | None:
    """The CCCs in-sample and their mean as bank and store give them now; None where the ensemble
    was not measured."""
    recordings = measured_recordings(ensemble, store)
    if not recordings:
        return None
    predictions = predict(ensemble, bank, "validation", recordings)
    annotations = store.annotations[positions(recordings)]
    cccs = {}
    for index, target in enumerate(ensemble.target_names):
        cccs[target] = ccc(predictions[:, index], annotations[:, index])
    return named(cccs)


def _left_out_reason(candidate: Trial, store: Store, test_hash: str | None) -> str | None:
    """Return the reason for which a candidate can't be a member of the mean; None when it can."""
    if candidate.has_validation:
        fold = candidate.fold
        return "model from elsewhere" if fold is None else f"trained on fold {fold}"
    if not set(candidate.target_names) & set(store.target_names):
        return NO_TARGET
    if test_hash is not None and candidate.frames_hash("test") != test_hash:
        return "no predictions of this store's test recordings"
    return None if candidate.is_of(store) else OTHER_DATA


def _equal(trials: Sequence[Trial], plan: Pipeline) -> Weighted:
    """All members alike, finished as the recipe says."""
    filters = plan.filters[0]
    return Weighted(
        recipe=plan.document(),
        members=[member_of(trial, 1.0 / len(trials), None, None) for trial in trials],
        scores=Scores(in_sample=None, out_of_fold=None),
        best_single=None,
        post=PostProcessing(filters.smoothing, filters.window_seconds, filters.delay_seconds),
    )


def nowhere(fold: str, reason: str) -> MeasuredOn:
    """Return what an ensemble without scores was measured on, with the reason."""
    return MeasuredOn(
        split="none",
        fold=fold,
        recordings=0,
        labelled_frames=0,
        folds=0,
        kept_together="subject",
        reason=reason,
    )


def _of_parts(parts: Sequence[Ensemble]) -> MeasuredOn:
    """Return the recordings that a blend can be measured on: those that all its parts were."""
    unscored = [part.name for part in parts if not part.measured_on.recordings]
    if unscored:
        return nowhere(
            "blend", f"part {', '.join(unscored)} has no validation score, so the blend has none"
        )
    if len({part.frames_hash for part in parts}) > 1:
        folds = ", ".join(f"{part.name} on fold {part.measured_on.fold}" for part in parts)
        return nowhere("blend", f"its parts were measured on different recordings ({folds})")
    reason = "a blend is scored in-sample only: see its parts' out-of-fold scores"
    return parts[0].measured_on.model_copy(update={"folds": 0, "reason": reason})
