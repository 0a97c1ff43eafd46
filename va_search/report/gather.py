"""What the studies hold: trials that are complete, failed, stopped early and missing, read from
home and store.

Conventions: a trial's CCCs are those of its record, on validation and at each target's best
epoch (in-sample). Trials of fold `train_val_mix` have none. A trial that is part of several of the
studies is counted in each and listed once. Damaged or foreign records, and trials on data that
changed since, are left out of the tables and named, never an error: a report is asked for when
something went wrong, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from va_search.data.store import OFFICIAL, Store, frames_hash
from va_search.errors import InputError, counted, unknown_name
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.extent import planned_by_space
from va_search.search.study import Study
from va_search.targets import AFFECT
from va_search.trial import OTHER_DATA, Trial, TrialState

NAMED = 3
"""Trials on other data that are named one by one, of each study."""


@dataclass(frozen=True)
class StudyState:
    """Where one study stands. `planned`: trials of the whole search, None where only time bounds it
    or unknown.

    `failures`: trials whose last training failed, `unfinished`: these and those asked for and not
    complete. `outdated`: how many complete trials are left out because the data changed since."""

    name: str
    trials: tuple[Trial, ...]
    unfinished: tuple[Trial, ...]
    planned: int | None
    seconds: float | None
    problems: tuple[str, ...]
    failures: tuple[Trial, ...] = ()
    outdated: int = 0

    @property
    def failed(self) -> list[Trial]:
        return [trial for trial in self.unfinished if trial.state is TrialState.FAILED]

    @property
    def missing(self) -> list[Trial]:
        return [trial for trial in self.unfinished if trial.state is TrialState.ASKED]


@dataclass(frozen=True)
class Gathered:
    """All of the studies; `store` is None, with the reason in `store_problem`, where it can't be
    opened."""

    home: Home
    studies: tuple[StudyState, ...]
    store: Store | None
    store_problem: str | None
    left_out: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        return [study.name for study in self.studies]

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every complete trial once, in the order of studies and trial ids; of other data or
        another version none."""
        once: dict[str, Trial] = {}
        for study in self.studies:
            for trial in study.trials:
                once.setdefault(trial.id if trial.settings else trial.label, trial)
        return tuple(once.values())

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets: the store's, in its order; without the store those of its trials."""
        return targets_of(self.store, self.trials)

    @property
    def trained(self) -> list[Trial]:
        """Trials that were trained here: models from elsewhere are none."""
        return [trial for trial in self.trials if trial.settings is not None]

    @property
    def scored(self) -> list[Trial]:
        """Trials that were validated. A model from elsewhere that predicts some of the targets is
        one of them, and has no score."""
        return [trial for trial in self.trials if trial.best]

    @property
    def unscored(self) -> list[Trial]:
        return [trial for trial in self.trials if not trial.best]

    @cached_property
    def main_fold(self) -> str | int:
        """The fold that most scored trials were validated on; the official split where that is a
        tie."""
        counts: dict[str | int, int] = {OFFICIAL: 0}
        for trial in self.scored:
            fold = validated_fold(trial)
            counts[fold] = counts.get(fold, 0) + 1
        return max(counts, key=lambda fold: counts[fold])

    @property
    def on_main_fold(self) -> list[Trial]:
        """Scored trials of the main fold: their CCCs compare."""
        return [trial for trial in self.scored if validated_fold(trial) == self.main_fold]


def targets_of(store: Store | None, trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return the names of the store's targets; without it those of the first trial, which as a
    record without any, are valence and arousal."""
    if store is not None:
        return store.target_names
    return trials[0].target_names if trials else AFFECT


def gather(home: Home, studies: Sequence[str], store: Store | None = None) -> Gathered:
    """Read the studies; InputError naming every unknown one.

    `store`: what they were made on; None takes the one they name, where it is still there.
    """
    names = list(dict.fromkeys(studies))
    bank = Bank(home.bank)
    known = sorted({*bank.studies(), *home.searched})
    problems = [unknown_name("study", name, known) for name in names if name not in known]
    if problems or not names:
        raise InputError(
            *(f"{home.root}: {problem}" for problem in problems or ["no study was named"])
        )
    store, problem = (store, None) if store is not None else _find_store(home, bank, names)
    folds = None if store is None else _folds(store)
    left_out: list[str] = []
    states = tuple(_state(Study(home, name), store, folds, left_out) for name in names)
    return Gathered(home, states, store, problem, tuple(left_out))


def _state(
    study: Study, store: Store | None, folds: set[str] | None, left_out: list[str]
) -> StudyState:
    problems: list[str] = []
    document: dict[str, Any] = {}
    if study.exists():
        try:
            document = study.document()
        except InputError as error:
            problems += error.problems
    complete = study.bank.trials(study.name)
    trials, outdated = [], []
    for name in complete:
        try:
            trial = study.bank.trial(study.name, name)
            check_trial(trial, folds)
        except InputError as error:
            left_out += [f"{study.name}/{name}: {problem}" for problem in error.problems]
            continue
        if store is None or trial.is_of(store):
            trials.append(trial)
        else:
            outdated.append(name)
    if outdated:
        left_out.append(_outdated(study.name, outdated))
    failures = [trial for trial in study.failures() if trial.id not in complete]
    return StudyState(
        name=study.name,
        trials=tuple(trials),
        unfinished=tuple(_unfinished(study, set(complete), failures)),
        planned=planned_by_space(document.get("space"), store),
        seconds=document.get("seconds"),
        problems=tuple(problems),
        failures=tuple(failures),
        outdated=len(outdated),
    )


def _outdated(study: str, trials: list[str]) -> str:
    """Trials on other data in words: how many, the first ones by name."""
    more = f" and {len(trials) - NAMED} more" if len(trials) > NAMED else ""
    return f"study {study}: {counted(len(trials), 'trial')} {OTHER_DATA} ({', '.join(trials[:NAMED])}{more})"


def check_trial(trial: Trial, folds: set[str] | None) -> None:
    """InputError when a trial is of another version of the package, or was validated on other
    frames than those of `folds` (hashes of recordings; None: not known)."""
    if trial.settings_json and trial.settings is None:
        raise InputError("its settings are not those of this version")
    validated = trial.frames_hash("validation")
    if folds is not None and validated is not None and validated not in folds:
        raise InputError("it was validated on recordings that are no fold of this store")


def validated_fold(trial: Trial) -> str | int:
    """Return the fold a trial was validated on: the official split for a model from elsewhere."""
    return OFFICIAL if trial.fold is None else trial.fold


def _unfinished(study: Study, complete: set[str], failures: list[Trial]) -> list[Trial]:
    """Return the trials that were asked for or failed and are not complete, failed ones first."""
    unfinished = {trial.id: trial for trial in failures}
    for trial in study.asked():
        unfinished.setdefault(trial.id, trial)
    return [trial for trial in unfinished.values() if trial.id not in complete]


def _folds(store: Store) -> set[str]:
    return {frames_hash(store.fold(key).validation) for key in store.fold_keys}


def _find_store(home: Home, bank: Bank, names: list[str]) -> tuple[Store | None, str | None]:
    """The store that the studies name, or why there is none."""
    paths: dict[str, None] = {}
    for name in names:
        study = Study(home, name)
        try:
            path = study.document()["store_path"] if study.exists() else None
            for trial in bank.trials(name) if path is None else ():
                path = path or bank.trial(name, trial).store_path
        except InputError:
            continue
        if path:
            paths[str(path)] = None
    if len(paths) > 1:
        raise InputError(
            f"the studies were made on {len(paths)} stores ({', '.join(paths)}); report on those of one store"
        )
    if not paths:
        return None, "the studies name no store"
    try:
        return Store.open(next(iter(paths))), None
    except (InputError, OSError) as error:
        return None, str(error)
