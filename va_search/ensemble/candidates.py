"""Which trials may be members: complete, of the studies asked for, and on the same validation
frames.

(Or configurations over folds, which over_folds.py puts together, on all labelled frames.)

Conventions: candidates stand in the order of their trial ids, which is how ties break. Nothing is
dropped silently: what is left out is counted by its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.data.store import MIX, OFFICIAL, Recording, Store, frames_hash
from va_search.errors import InputError, counted, unknown_name
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.storage.places import is_url
from va_search.training.settings import OTHER_DATA, of_this_data

ALL = "all"
"""The fold of what was put together over all folds, measured on every labelled recording."""
NO_VALIDATION = "trained on train_val_mix, which leaves nothing to validate on"


@dataclass(frozen=True)
class Candidate:
    """A complete trial with its record."""

    study: str
    trial: str
    record: dict[str, Any]

    @property
    def label(self) -> str:
        return f"{self.study}/{self.trial}"

    def lines_up_with(self, split: str) -> str | None:
        """The frames hash of its predictions of a split; None where it has none."""
        found: str | None = self.record.get("predictions", {}).get(split, {}).get("frames_hash")
        return found

    @property
    def fold(self) -> Any:
        """What it was trained on: a key of the store's folds, "all", or None for a model from
        elsewhere."""
        return (self.record.get("settings") or {}).get("fold")


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
    candidates: tuple[Candidate, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()

    def bank(self, home: Home) -> Bank:
        """Where the candidates' predictions lie."""
        return Bank(home.configurations if self.fold == ALL else home.bank)


def find_candidates(
    bank: Bank, studies: Sequence[str], *, outside: bool
) -> tuple[list[Candidate], dict[str, int]]:
    """Candidates of the studies, each trial once, and what was left out by reason; InputError for
    unknown studies."""
    known = bank.studies()
    problems = [
        unknown_name("study", study, known)
        for study in dict.fromkeys(studies)
        if study not in known
    ]
    if problems:
        raise InputError(*problems)
    found: dict[tuple[str, str], Candidate] = {}
    left_out: Counter[str] = Counter()
    for study in dict.fromkeys(studies):
        for trial in bank.trials(study):
            record = bank.readable_record(study, trial)
            if record is None:
                left_out["damaged record (see the warning)"] += 1
                continue
            if record["source"] == "outside" and not outside:
                left_out["outside model, and the recipe says `outside: false`"] += 1
                continue
            same = (
                trial,
                record.get("content", ""),
            )  # a trial's id stands for its settings and data
            if same in found:
                left_out["same trial in two of the studies, counted once"] += 1
                continue
            found[same] = Candidate(study, trial, record)
    return sorted(found.values(), key=lambda c: (c.trial, c.study)), dict(left_out)


def find_store(candidates: Sequence[Candidate]) -> Store:
    """The store the candidates' records name; InputError when there is none, or when they name
    several."""
    named = Counter(str(c.record["store_path"]) for c in candidates if c.record.get("store_path"))
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
    place = next(iter(named))
    if not is_url(place) and not Path(place).exists():
        raise InputError(
            f"{place}: the store these trials were made on is not there any more; say where with --data STORE"
        )
    return Store.open(place)


def line_up(
    candidates: Sequence[Candidate],
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
    test = store.split("test")
    test_hash = frames_hash(test) if test else None
    counted = Counter(candidate.lines_up_with("validation") for candidate in candidates)
    asked = fold
    if fold is None:
        fold = (
            max(hashes, key=lambda key: counted[hashes[key]]) if hashes else OFFICIAL
        )  # the first where equal
    counts = Counter(left_out)
    kept = []
    for candidate in candidates:
        reason = _reason(candidate, fold, hashes, test_hash)
        if reason is None:
            kept.append(candidate)
        else:
            counts[reason] += 1
    if not kept:
        why = "; ".join(f"{number} left out: {reason}" for reason, number in counts.items())
        which = "a validation fold" if asked is None else f"fold {asked}"
        raise InputError(
            f"{store.path}: no trial's predictions line up with {which} of this store ({why})"
        )
    # told, but not left out: their predictions are judged on the annotations of now, as a model
    # from elsewhere
    older = sum(not of_this_data(candidate.record, store) for candidate in kept)
    notes = (f"{older} of {len(kept)} candidates: {OTHER_DATA}",) if older else ()
    return LineUp(
        store, fold, folds[fold], hashes[fold], test_hash, tuple(kept), dict(counts), notes
    )


def _validation_of_folds(store: Store) -> dict[str | int, tuple[Recording, ...]]:
    found: dict[str | int, tuple[Recording, ...]] = {}
    for key in store.fold_keys:
        recordings = store.fold(key).validation
        if recordings:
            found[key] = recordings
    return found


def _reason(
    candidate: Candidate, fold: str | int, hashes: dict[str | int, str], test_hash: str | None
) -> str | None:
    """Why a candidate can't be a member; None when it can."""
    if candidate.fold == MIX:
        return NO_VALIDATION
    found = candidate.lines_up_with("validation")
    if found != hashes.get(fold):
        other = next((key for key, value in hashes.items() if value == found), None)
        return (
            "validated on other recordings (another store)"
            if other is None
            else f"validated on fold {other}"
        )
    if test_hash is not None and candidate.lines_up_with("test") != test_hash:
        return "no predictions of this store's test recordings"
    return None
