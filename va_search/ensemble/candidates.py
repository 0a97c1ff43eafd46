"""Candidates for membership: complete trials of the studies asked for, on the same validation
frames, or configurations over folds (over_folds.py), on all labelled frames.

Conventions: candidates stand in the order of their trial ids, which is how ties break. A candidate
predicts at least one of the store's targets, and can be a member for those that it predicts. Nothing
is dropped silently: what is left out is counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from va_search.data.store import MIX, OFFICIAL, Recording, Store, frames_hash
from va_search.errors import InputError, counted, unknown_name
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.storage.places import is_url
from va_search.trial import ALL, OTHER_DATA, FoldKind, Trial

NO_VALIDATION = "trained on train_val_mix, which leaves nothing to validate on"
NO_TARGET = "predicts none of this store's targets"


@dataclass(frozen=True)
class LineUp:
    """Candidates whose predictions line up: on fold `fold`'s validation recordings and the test
    recordings.

    Fold "all": on every labelled recording. `notes`: what a reader should know of the
    candidates."""

    store: Store
    fold: str | int
    recordings: tuple[Recording, ...]
    frames_hash: str
    test_frames_hash: str | None
    candidates: tuple[Trial, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    def bank(self, home: Home) -> Bank:
        """Return the bank that has the candidates' predictions."""
        return Bank(home.configurations if self.fold == ALL else home.bank)


def find_candidates(
    bank: Bank, studies: Sequence[str], *, outside: bool
) -> tuple[list[Trial], dict[str, int]]:
    """Return the candidates of the studies, each trial once, and how many were left out by reason;
    InputError for unknown studies."""
    in_bank = bank.studies()
    problems = []
    for study in dict.fromkeys(studies):
        if study not in in_bank:
            problems.append(unknown_name("study", study, in_bank))
    if problems:
        raise InputError(*problems)
    candidates: dict[tuple[str, str], Trial] = {}
    left_out: Counter[str] = Counter()
    for study in dict.fromkeys(studies):
        trials, damaged = bank.whole_trials(study)
        if damaged:
            left_out["damaged record (see the warning)"] += damaged
        for trial in trials:
            if trial.is_outside and not outside:
                left_out["outside model, and the recipe says `outside: false`"] += 1
                continue
            # A trained trial's id stands for its settings and data, a model's name for nothing.
            identity = (trial.id, trial.content or "")
            if identity in candidates:
                left_out["same trial in two of the studies, counted once"] += 1
                continue
            candidates[identity] = trial
    in_order = sorted(candidates.values(), key=lambda trial: (trial.id, trial.study))
    return in_order, dict(left_out)


def find_store(candidates: Sequence[Trial]) -> Store:
    """Open the store that the candidates' records name; InputError when there is none, or when they
    name several."""
    named = Counter(trial.store_path for trial in candidates if trial.store_path)
    if len(named) > 1:
        trials = ", ".join(
            f"{path} ({counted(count, 'trial')})" for path, count in sorted(named.items())
        )
        raise InputError(
            f"the trials were made on {len(named)} stores: {trials}; an ensemble is of trials of one store: name only "
            "its studies, or say with --data STORE which one to judge on (trials of other recordings are then left out)"
        )
    if not named:
        raise InputError(
            "the trials' records name no store; say with --data STORE which one to judge on"
        )
    path = next(iter(named))
    if not is_url(path) and not Path(path).exists():
        raise InputError(
            f"{path}: the store these trials were made on is not there any more; say where with --data STORE"
        )
    return Store.open(path)


def line_up(
    candidates: Sequence[Trial],
    store: Store,
    left_out: dict[str, int],
    *,
    fold: str | int | None = None,
) -> LineUp:
    """Keep the candidates on one fold: `fold`, or the one with most, the official split where that
    is a tie.

    InputError when none lines up with any fold of the store.
    """
    folds = _validation_of_folds(store)
    hashes = {key: frames_hash(recordings) for key, recordings in folds.items()}
    test_hash = test_hash_of(store)
    counted = Counter(candidate.frames_hash("validation") for candidate in candidates)
    description = "a validation fold" if fold is None else f"fold {fold}"
    if fold is None and hashes:
        # Of folds with equally many trials the first: the official split.
        fold = max(hashes, key=lambda key: counted[hashes[key]])
    elif fold is None:
        fold = OFFICIAL
    counts = Counter(left_out)
    members = []
    for candidate in candidates:
        reason = _left_out_reason(candidate, store, fold, hashes, test_hash)
        if reason is None:
            members.append(candidate)
        else:
            counts[reason] += 1
    if not members:
        reasons = "; ".join(f"{number} left out: {reason}" for reason, number in counts.items())
        raise InputError(
            f"{store.path}: no trial's predictions line up with {description} of this store ({reasons})"
        )
    # Trials of older data are named, and not left out: their predictions are judged on the
    # annotations of now, as those of a model from elsewhere are.
    older = sum(not candidate.is_of(store) for candidate in members)
    notes = (f"{older} of {len(members)} candidates: {OTHER_DATA}",) if older else ()
    return LineUp(
        store=store,
        fold=fold,
        recordings=folds[fold],
        frames_hash=hashes[fold],
        test_frames_hash=test_hash,
        candidates=tuple(members),
        left_out=dict(counts),
        notes=notes,
    )


def _validation_of_folds(store: Store) -> dict[str | int, tuple[Recording, ...]]:
    """Return the validation recordings of each fold of a store that has some."""
    validation: dict[str | int, tuple[Recording, ...]] = {}
    for key in store.fold_keys:
        recordings = FoldKind(key).recordings(store)
        if recordings:
            validation[key] = recordings
    return validation


def test_hash_of(store: Store) -> str | None:
    """Return what predictions of the test recordings line up with; None without any."""
    recordings = store.split("test")
    return frames_hash(recordings) if recordings else None


def predicting(candidates: Sequence[Trial], target: str) -> tuple[Trial, ...]:
    """Return the candidates that can be a member for a target, in their order."""
    return tuple(candidate for candidate in candidates if target in candidate.target_names)


def _left_out_reason(
    candidate: Trial,
    store: Store,
    fold: str | int,
    hashes: dict[str | int, str],
    test_hash: str | None,
) -> str | None:
    """Return the reason for which a candidate can't be a member; None when it can."""
    if not candidate.has_validation:
        return NO_VALIDATION
    if not set(candidate.target_names) & set(store.target_names):
        return NO_TARGET
    validated = candidate.frames_hash("validation")
    if validated != hashes.get(fold):
        for key, recordings_hash in hashes.items():
            if recordings_hash == validated:
                return f"validated on fold {key}"
        return "validated on other recordings (another store)"
    if test_hash is not None and candidate.frames_hash("test") != test_hash:
        return "no predictions of this store's test recordings"
    return None


def space_advice(home: Home, studies: Sequence[str], folds: str) -> str:
    """The command that makes a space of the studies' best configurations on these folds."""
    file = f"{studies[0]}-{'mix' if folds == MIX else 'folds'}.yaml"
    best = ("--best", "5", "--folds", folds)
    return f"; to train some: {home.command('space', *studies, *best, '--out', file)}"
