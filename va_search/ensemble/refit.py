"""An ensemble's members trained again on everything that is labelled, with the weights they have.

Members and weights were chosen on people that the members did not train on. Once that is done, the
validation people are worth more as training data: each member is trained again on train and
validation together (fold train_val_mix), with its settings and seed, for all its epochs. No epoch
can be chosen, so that a member that kept its best one is the mean of its last five. Weights,
smoothing and delay stay.

Matching. Members that trained on more people vary differently, so the weighted sum of the test
predictions is scaled and shifted, per target, to the mean and the standard deviation of all
labelled frames. That reads test predictions, and no test label.

Conventions: a model from elsewhere can't be trained again and keeps its predictions. Members that
differ in nothing but the fold they were trained on become one, with the sum of their weights.
Nothing is left to score a refitted ensemble on; the scores of the one it was made of are an
estimate of what its people and weights are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.store import MIX, Store, frames_hash, positions
from va_search.ensemble.candidates import test_hash_of
from va_search.ensemble.fresh import complete_trials, content_id
from va_search.ensemble.post_processing import PostProcessing
from va_search.ensemble.saved import (
    BlendPart,
    Ensemble,
    EnsembleMember,
    MeasuredOn,
    Scores,
    Weighted,
    bank_of,
    check_members,
    known_ensembles,
    predict,
    read_ensemble,
    save_ensemble,
)
from va_search.ensemble.unscored import UNSCORED, nowhere
from va_search.errors import InputError
from va_search.home import Home
from va_search.models.menu import SCHEDULES
from va_search.predictions.bank import Bank
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, trial_id_on

REFIT = "refit"
"""The method that such an ensemble names in place of a recipe's."""

Member = tuple[str, str]
"""A member's study and trial."""


@dataclass(frozen=True)
class RefitPlan:
    """The trials to train, by the members that they stand for; `notes` say what changes."""

    trials: Mapping[Member, TrialSettings]
    notes: list[str]


def plan_refit(home: Home, ensemble: Ensemble) -> RefitPlan:
    """The trials that an ensemble's members become. InputError when the settings of one are not
    known, or when there is nothing to train."""
    trials: dict[Member, TrialSettings] = {}
    outside: list[str] = []
    problems: list[str] = []
    notes: list[str] = []
    check_members(ensemble, Bank(home.bank))
    for _, piece in ensemble.pieces:
        bank = bank_of(piece, Bank(home.bank))
        for weighted in piece.dimensions.values():
            for member in weighted.members:
                label = f"{member.study}/{member.trial}"
                if member.source == "outside":
                    outside.append(label)
                    continue
                settings = _settings_of(bank, Bank(home.bank), member)
                if settings is None:
                    problems.append(f"{label}: settings that this version does not know")
                    continue
                refitted, note = on_everything(settings)
                trials[member.study, member.trial] = refitted
                notes += [] if note is None else [f"{note}: {label}"]
    if problems:
        raise InputError(*dict.fromkeys(problems))
    if not trials:
        raise InputError(
            f"ensemble {ensemble.name!r} has members from elsewhere alone; none can be trained again"
        )
    if outside:
        names = ", ".join(dict.fromkeys(outside))
        notes.append(f"from elsewhere, so not trained again: {names}")
    return RefitPlan(trials, [*dict.fromkeys(notes)])


def _settings_of(bank: Bank, trained: Bank, member: EnsembleMember) -> TrialSettings | None:
    """The settings that a member was trained with; a configuration over folds has those of the
    trial of any of its folds."""
    trial: Trial = bank.trial(member.study, member.trial)
    if trial.trials is not None:
        trial = trained.trial(member.study, next(iter(trial.trials.values())))
    return trial.settings


def on_everything(settings: TrialSettings) -> tuple[TrialSettings, str | None]:
    """Settings of the trial that trains on everything labelled, for all epochs; and a sentence on
    what else they change."""
    keep = "mean_last_5" if settings.keep == "best" else settings.keep
    document = settings.model_dump() | {"fold": MIX, "patience": None, "keep": keep}
    note = None
    if SCHEDULES[settings.schedule].needs_score:
        document["schedule"] = "cosine"
        note = f"schedule {settings.schedule} goes by validation scores; cosine takes its place"
    return TrialSettings(**document), note


def refit(
    home: Home,
    ensemble: Ensemble,
    plan: RefitPlan,
    store: Store,
    *,
    name: str,
    match: bool,
) -> Ensemble:
    """Save the ensemble `name` of the trials in the study of that name that are an ensemble's
    members, trained again; InputError while one is not complete."""
    trials = _complete(Bank(home.bank), name, plan, store)
    refitted = _refitted(ensemble, trials, name, store)
    notes = [*plan.notes]
    if match:
        refitted, matched = _matched(refitted, Bank(home.bank), store)
        notes.append(matched)
    document = {
        "method": REFIT,
        "of": ensemble.name,
        "match": match,
        "content": content_id(ensemble),
    }
    update = {
        "name": name,
        "recipe": REFIT,
        "recipe_document": document,
        "notes": notes,
        "complete": complete_trials(home, [name]),
    }
    return save_ensemble(home, refitted.model_copy(update=update))


def is_refit_of(ensemble: Ensemble, name: str) -> bool:
    """Return True for an ensemble that is the one called `name` with its members trained again."""
    document = ensemble.recipe_document
    return document.get("method") == REFIT and document.get("of") == name


def is_stale(home: Home, ensemble: Ensemble) -> bool:
    """Return True for an ensemble whose members were trained again, where the one that they were
    taken from was built anew since then, with others or other weights."""
    document = ensemble.recipe_document
    if document.get("method") != REFIT or document.get("of") not in known_ensembles(home):
        return False
    return content_id(read_ensemble(home, document["of"])) != document.get("content")


def _complete(bank: Bank, study: str, plan: RefitPlan, store: Store) -> dict[Member, Trial]:
    """The trained trial of each member."""
    trials: dict[Member, Trial] = {}
    missing: list[str] = []
    for member, settings in plan.trials.items():
        name = trial_id_on(settings, store)
        if bank.is_complete(study, name):
            trials[member] = bank.trial(study, name)
        else:
            missing.append(f"{member[0]}/{member[1]}")
    if missing:
        raise InputError(
            f"study {study}: {', '.join(missing)} not trained again yet; the same command goes on"
        )
    return trials


def _refitted(
    ensemble: Ensemble, trials: Mapping[Member, Trial], study: str, store: Store
) -> Ensemble:
    """The ensemble with its members replaced by the trials; a blend has its parts replaced."""
    dimensions: dict[str, Weighted] = {}
    for target, weighted in ensemble.dimensions.items():
        update = {
            "members": _members(weighted, trials),
            "scores": Scores(in_sample=None, out_of_fold=None),
            "best_single": None,
            "per_recording": None,
        }
        dimensions[target] = weighted.model_copy(update=update)
    parts: list[BlendPart] = []
    for part in ensemble.parts:
        of_part = _refitted(part.ensemble, trials, study, store)
        parts.append(part.model_copy(update={"ensemble": of_part}))
    return ensemble.model_copy(
        update={
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "package_version": __version__,
            "store": store.place,
            "store_name": store.name,
            "studies": [study],
            "frames_hash": frames_hash(()),
            "test_frames_hash": test_hash_of(store),
            "candidates": len(trials),
            "left_out": {},
            "measured_on": _measured_on(ensemble),
            "dimensions": dimensions,
            "scores": UNSCORED,
            "best_single": UNSCORED,
            "intervals": None,
            "best_for_both": None,
            "differences": None,
            "baselines": None,
            "parts": parts,
            "member_seals": None,
        }
    )


def _members(weighted: Weighted, trials: Mapping[Member, Trial]) -> list[EnsembleMember]:
    """The members of a target, trained again, by weight."""
    members: dict[Member, EnsembleMember] = {}
    for member in weighted.members:
        trial = trials.get((member.study, member.trial))
        refitted = member
        if trial is not None:
            update = {"study": trial.study, "trial": trial.id, "source": trial.source}
            nothing_known = {"ccc": None, "gain": None, "trials": None}
            refitted = member.model_copy(update=update | nothing_known)
        key = (refitted.study, refitted.trial)
        if key in members:  # another fold's trial of the same configuration
            weight = members[key].weight + refitted.weight
            refitted = refitted.model_copy(update={"weight": weight})
        members[key] = refitted
    return sorted(members.values(), key=lambda member: -member.weight)


def _measured_on(ensemble: Ensemble) -> MeasuredOn:
    reason = (
        f"its members trained on train and validation, so no validation is left; {ensemble.name}, "
        f"with the same members and weights, {_score_text(ensemble)}"
    )
    return nowhere(MIX, reason)


def _score_text(ensemble: Ensemble) -> str:
    """Say how an ensemble scored on people that its members did not train on."""
    out_of_fold = ensemble.scores.get("out_of_fold")
    if out_of_fold is None:
        return "has no out-of-fold score"
    return f"scored {out_of_fold['score']:.3f} out-of-fold"


def _matched(ensemble: Ensemble, bank: Bank, store: Store) -> tuple[Ensemble, str]:
    """The ensemble with its test predictions scaled and shifted to the mean and the spread of all
    labelled frames, and a sentence that says so."""
    recordings = store.split("test")
    predictions = predict(ensemble, bank, "test", recordings)
    annotations = store.annotations[positions(store.labelled)]
    scales: dict[str, tuple[float, float]] = {}
    texts: list[str] = []
    for column, target in enumerate(ensemble.target_names):
        scale, offset = matching(predictions[:, column], annotations[:, column])
        scales[target] = (scale, offset)
        sign = "+" if offset >= 0 else "−"
        texts.append(f"{target} × {scale:.2f} {sign} {abs(offset):.2f}")
    note = (
        f"test predictions ({len(recordings)} recordings) matched to the mean and spread of all "
        f"labelled frames, without any test label: {', '.join(texts)}"
    )
    return _scaled(ensemble, scales), note


def matching(
    predictions: NDArray[np.floating], annotation: NDArray[np.floating]
) -> tuple[float, float]:
    """Scale and offset that give predictions (frames,) the mean and the standard deviation of the
    labelled frames of an annotation; of constant predictions 1 and 0."""
    spread = float(np.std(predictions))
    if spread == 0.0:
        return 1.0, 0.0
    labels = annotation[~np.isnan(annotation)].astype(np.float64)
    scale = float(np.std(labels)) / spread
    return scale, float(labels.mean()) - scale * float(np.mean(predictions))


def _scaled(ensemble: Ensemble, scales: Mapping[str, tuple[float, float]]) -> Ensemble:
    """The ensemble with every prediction of a target times its scale, plus its offset. Shares of a
    blend sum to 1, so that each part takes both."""
    dimensions: dict[str, Weighted] = {}
    for target, weighted in ensemble.dimensions.items():
        scale, offset = scales[target]
        post = weighted.post
        matched = PostProcessing(
            post.smoothing,
            post.window_seconds,
            post.delay_seconds,
            scale * post.scale,
            scale * post.offset + offset,
        )
        dimensions[target] = weighted.model_copy(update={"post": matched})
    parts: list[BlendPart] = []
    for part in ensemble.parts:
        parts.append(part.model_copy(update={"ensemble": _scaled(part.ensemble, scales)}))
    return ensemble.model_copy(update={"dimensions": dimensions, "parts": parts})
