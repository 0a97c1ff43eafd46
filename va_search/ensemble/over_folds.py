"""Configurations over folds: every labelled recording predicted by the fold's trial that did not
train on it.

    configurations/<study>/<configuration>/     an entry as in the bank, put together from the trials of all folds
      validation.arrow     every labelled recording, each from the trial that validated it
      test.arrow           the mean of the folds' test predictions
      trial.json           written last; `trials` tells whose they are, `best` is pooled over all labelled recordings

Conventions: a configuration is settings with their seed, without fold; its trials are complete in
one study. A trial belongs to the fold whose recordings it validated, so the official split counts
as the fold that it is. An entry is used again while its trials' files, the recordings and the
annotations are those it was made of, and made anew otherwise; entries that are not complete any
more are taken away. Test annotations are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from va_search import __version__
from va_search.data.folds import folds_command
from va_search.data.store import OFFICIAL, Recording, Store, frames_hash, positions
from va_search.ensemble.candidates import (
    NO_VALIDATION,
    LineUp,
    find_candidates,
    space_advice,
    test_hash_of,
)
from va_search.errors import InputError, counted
from va_search.files import digest, remove_folder
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.trial import ALL, SCORE, Best, Trial
from va_search.trial_settings import configuration_id

FORMAT = 1
"""Raised when the same trials would be put together to something else."""

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Together:
    """Configurations over all folds. `made`: number of entries that were made anew; `left_out`
    counts by reason."""

    entries: tuple[Trial, ...]
    left_out: dict[str, int]
    made: int


@dataclass(frozen=True)
class _Folds:
    """The store's folds as trials are matched with them: validation recordings and their hash by
    number."""

    store: Store
    validation: dict[int, tuple[Recording, ...]]
    hashes: dict[str, int]
    test_hash: str | None

    @classmethod
    def of(cls, store: Store) -> _Folds:
        """InputError when the store has no folds, or a labelled recording is in none."""
        numbers = store.fold_numbers
        in_none = sum(recording.fold is None for recording in store.labelled)
        if len(numbers) < 2 or in_none:
            raise InputError(f"{store.place}: {_why_not_folds(store, in_none)}")
        validation = {number: store.fold(number).validation for number in numbers}
        hashes = {frames_hash(recordings): number for number, recordings in validation.items()}
        return cls(store, validation, hashes, test_hash_of(store))


def _why_not_folds(store: Store, in_none: int) -> str:
    """Return the reason for which nothing can be put together over the store's folds; `in_none`:
    number of labelled recordings that are in no fold."""
    if not store.fold_numbers:
        make_some = folds_command(store)
        return "it has no folds" + (f"; make some with `{make_some}`" if make_some else "")
    if in_none:
        are = "is" if in_none == 1 else "are"
        return f"{counted(in_none, 'labelled recording')} {are} in no fold, expected each of them in one"
    return "all labelled recordings are in one fold, expected several folds"


def put_together(home: Home, studies: Sequence[str], store: Store) -> Together:
    """Put the configurations that are complete on all folds of the store together, anew only where
    needed.

    They lie in `Bank(home.configurations)`. The same configuration in two studies is an entry of
    both, and a candidate once. InputError for unknown studies, a store without folds, trials'
    predictions that can't be read."""
    folds = _Folds.of(store)
    find_candidates(Bank(home.bank), studies, outside=True)  # all unknown studies at once
    entries: dict[tuple[str, str], Trial] = {}
    left_out: Counter[str] = Counter()
    made = 0
    for study in dict.fromkeys(studies):
        trials, _ = find_candidates(Bank(home.bank), [study], outside=True)
        complete, missing = _configurations(trials, folds)
        left_out.update(missing)
        for name, by_fold in complete.items():
            entry, is_new = _entry(home, study, name, by_fold, folds)
            made += is_new
            if entries.setdefault((name, entry.content or ""), entry) is not entry:
                left_out["same configuration in two of the studies, counted once"] += 1
        _take_away(Bank(home.configurations), study, complete)
    in_order = sorted(entries.values(), key=lambda entry: (entry.id, entry.study))
    return Together(tuple(in_order), dict(left_out), made)


def line_up(home: Home, studies: Sequence[str], store: Store) -> LineUp:
    """The configurations as candidates on every labelled recording; InputError when none is
    complete."""
    together = put_together(home, studies, store)
    if not together.entries:
        reasons = "; ".join(
            f"{count} left out: {reason}" for reason, count in together.left_out.items()
        )
        raise InputError(
            f"no configuration is complete on all folds of {store.path} ({reasons or 'no trials'})"
            f"{space_advice(home, studies, ALL)}"
        )
    return LineUp(
        store=store,
        fold=ALL,
        recordings=store.labelled,
        frames_hash=frames_hash(store.labelled),
        test_frames_hash=test_hash_of(store),
        candidates=together.entries,
        left_out=together.left_out,
    )


def _configurations(
    trials: Sequence[Trial], folds: _Folds
) -> tuple[dict[str, dict[int, Trial]], Counter[str]]:
    """Complete configurations by name, each with its trial of every fold; and what is left out, by
    reason."""
    left_out: Counter[str] = Counter()
    by_name: dict[str, dict[int, Trial]] = {}
    # Of two trials of one fold the later one counts: one of data that changed since comes first and
    # gives way.
    for trial in sorted(trials, key=lambda trial: (trial.is_of(folds.store), trial.id)):
        place_or_reason = _place(trial, folds)
        if isinstance(place_or_reason, str):
            left_out[place_or_reason] += 1
        else:
            name, number = place_or_reason
            by_name.setdefault(name, {})[number] = trial
    complete = {}
    for name, by_fold in sorted(by_name.items()):
        missing = [str(number) for number in folds.validation if number not in by_fold]
        if missing:
            left_out[_untrained(missing)] += len(by_fold)
        else:
            complete[name] = dict(sorted(by_fold.items()))
    return complete, left_out


def _untrained(missing: Sequence[str]) -> str:
    """Return why a configuration's trials are left out, such as `configuration not trained on folds 1, 2 and 3
    (use folds: all)`."""
    named = missing[-1] if len(missing) == 1 else f"{', '.join(missing[:-1])} and {missing[-1]}"
    return f"configuration not trained on fold{'s' if len(missing) > 1 else ''} {named} (use folds: all)"


def _place(trial: Trial, folds: _Folds) -> tuple[str, int] | str:
    """The configuration and the fold of a trial, or why it has none."""
    if trial.is_outside:
        return "model from elsewhere, which covers one fold only"
    if not trial.has_validation:
        return NO_VALIDATION
    number = folds.hashes.get(trial.frames_hash("validation") or "")
    if number is None:
        is_official = trial.fold == OFFICIAL
        recordings = "the official split, which is" if is_official else "recordings that are"
        return f"validated on {recordings} no fold of this store"
    settings, reason = trial.settings, None
    if folds.test_hash is not None and trial.frames_hash("test") != folds.test_hash:
        reason = "no predictions of this store's test recordings"
    elif trial.target_names != folds.store.target_names:
        reason = "predicts other targets than this store's"
    elif settings is None:
        reason = "settings that this version does not know"
    if reason is not None or settings is None:
        return str(reason)
    return configuration_id(settings, but=("fold",)), number


def _entry(
    home: Home, study: str, name: str, by_fold: Mapping[int, Trial], folds: _Folds
) -> tuple[Trial, bool]:
    """The entry of a configuration, and whether it was made anew."""
    bank = Bank(home.configurations)
    made_of = _made_of(Bank(home.bank), by_fold, folds)
    if bank.is_complete(study, name):
        with suppress(InputError):
            bank.check(study, name)
            old = bank.trial(study, name)
            if old.made_of == made_of:
                return old, False
        bank.retract(study, name)
    predictions = _predictions(Bank(home.bank), by_fold, folds)
    entry = replace(
        _over_folds(by_fold, folds, predictions["validation"].values),
        study=study,
        id=name,
        made_of=made_of,
    )
    bank.write(entry, predictions)
    return bank.trial(study, name), True


def _made_of(bank: Bank, by_fold: Mapping[int, Trial], folds: _Folds) -> dict[str, Any]:
    """Return marks that tell an entry from any other and from itself after a change."""
    store = folds.store
    splits = ("validation",) if folds.test_hash is None else ("validation", "test")
    files = {}
    for number, trial in by_fold.items():
        folder = bank.folder(trial.study, trial.id)
        files[str(number)] = [_fingerprint(folder / f"{split}.arrow") for split in splits]
    validation = {
        str(number): frames_hash(recordings) for number, recordings in folds.validation.items()
    }
    return {
        "format": FORMAT,
        "frames_hash": frames_hash(store.labelled),
        "test_frames_hash": folds.test_hash,
        "folds": validation,
        "annotations": store.hashes.get("annotations"),
        "files": files,
    }


def _fingerprint(path: Path) -> list[int]:
    """Size, inode and time of a file; a further link to it changes none of them. InputError if
    missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise InputError(
            f"{path}: missing; the trial's predictions are not there any more"
        ) from None
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns]


def _predictions(bank: Bank, by_fold: Mapping[int, Trial], folds: _Folds) -> dict[str, Predictions]:
    """Every labelled recording from the fold that validated it; of the test recordings the mean
    over folds."""
    labelled = folds.store.labelled
    parts: dict[str, Values] = {}
    for number, trial in by_fold.items():
        recordings = folds.validation[number]
        hash_of_fold = frames_hash(recordings)
        values = bank.read(trial.study, trial.id, "validation", frames_hash=hash_of_fold)
        ends = np.cumsum([0, *(recording.frames for recording in recordings)]).tolist()
        for recording, (low, high) in zip(recordings, pairwise(ends), strict=True):
            parts[recording.name] = values[low:high]
    validation = np.concatenate([parts[recording.name] for recording in labelled])
    predictions = {"validation": Predictions(validation, frames_hash(labelled))}
    if folds.test_hash is not None:
        test = [
            bank.read(trial.study, trial.id, "test", frames_hash=folds.test_hash)
            for trial in by_fold.values()
        ]
        mean = np.asarray(np.mean(test, axis=0, dtype=np.float64), dtype=np.float32)
        predictions["test"] = Predictions(mean, folds.test_hash)
    return predictions


def _over_folds(by_fold: Mapping[int, Trial], folds: _Folds, validation: Values) -> Trial:
    """Return a configuration's trial over all folds; `best` is pooled over all labelled recordings,
    `content` stands for the trials."""
    store = folds.store
    trials = {str(number): trial.id for number, trial in by_fold.items()}
    labels = store.annotations[positions(store.labelled)]
    best = {}
    for index, target in enumerate(store.target_names):
        best[target] = Best(_defined(ccc(validation[:, index], labels[:, index])))
    best[SCORE] = Best(sum(entry.ccc for entry in best.values()) / len(best))
    of_one_fold = next(iter(by_fold.values()))
    return Trial(
        study=of_one_fold.study,
        id=of_one_fold.id,
        source="folds",
        settings_json={**(of_one_fold.settings_json or {}), "fold": ALL},
        store=store.name,
        store_path=store.place,
        folds_hash=store.folds_hash,
        trials=trials,
        content=digest(trials),
        targets=of_one_fold.targets,
        best=best,
        seconds=sum(trial.seconds or 0.0 for trial in by_fold.values()),
        package_version=__version__,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _defined(value: float) -> float:
    """0 where the CCC is not defined (a constant prediction equal to a constant label)."""
    return value if np.isfinite(value) else 0.0


def _take_away(bank: Bank, study: str, complete: Mapping[str, Any]) -> None:
    """Remove a study's entries that are not complete any more, and what a killed process left of
    one."""
    for folder in sorted((bank.root / study).glob("*/")):
        if folder.name not in complete:
            bank.retract(study, folder.name)  # first: nothing that looks whole is taken apart
            remove_folder(folder)
