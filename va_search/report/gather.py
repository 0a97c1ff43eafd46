"""What the studies hold: trials that are complete, failed, stopped early and missing, read from
home and store.

Conventions: a trial's CCCs are those of its record, on validation and each of its dimension's best
epoch (in-sample). Trials of fold `train_val_mix` have none. A trial that is part of several of the
studies is counted in each and listed once. Damaged or foreign records, and trials on data that
changed since, are left out of the tables and named, never an error: a report is asked for when
something went wrong, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from va_search.data.store import MIX, OFFICIAL, Store, frames_hash
from va_search.errors import InputError, counted, unknown_name
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.report.standing import planned_by_space
from va_search.search.study import Study
from va_search.training.settings import OTHER_DATA, TrialSettings, of_this_data

NAMED = 3
"""Trials on other data that are named one by one, of each study."""


@dataclass(frozen=True)
class Trial:
    """A complete trial; `settings` is None for a model from elsewhere, a CCC None where it has no
    validation."""

    study: str
    trial: str
    settings: TrialSettings | None
    valence: float | None
    arousal: float | None
    history: tuple[dict[str, Any], ...] = ()
    stopped: bool = False
    frames_hash: str | None = None

    @property
    def score(self) -> float | None:
        """Mean of the two CCCs, each of its own best epoch."""
        return (
            None
            if self.valence is None or self.arousal is None
            else (self.valence + self.arousal) / 2
        )

    def ccc(self, dimension: str) -> float | None:
        """Of `valence`, `arousal` or their mean, `score`."""
        return {"valence": self.valence, "arousal": self.arousal, "score": self.score}[dimension]

    @property
    def fold(self) -> str | int:
        return OFFICIAL if self.settings is None else self.settings.fold


@dataclass(frozen=True)
class Unfinished:
    """A trial that was asked for and is not complete; `why`: the last line of its failure, None
    when there is none."""

    study: str
    trial: str
    settings: TrialSettings | None
    why: str | None


@dataclass(frozen=True)
class StudyState:
    """Where one study stands. `planned`: trials of the whole search, None where only time bounds it
    or unknown.

    `records`: trial.json of `trials`; `failures`: of the trials whose last training failed.
    `outdated`: how many complete trials are left out because the data changed since."""

    name: str
    trials: tuple[Trial, ...]
    unfinished: tuple[Unfinished, ...]
    planned: int | None
    seconds: float | None
    problems: tuple[str, ...]
    records: tuple[dict[str, Any], ...] = ()
    failures: tuple[dict[str, Any], ...] = ()
    outdated: int = 0

    @property
    def failed(self) -> list[Unfinished]:
        return [one for one in self.unfinished if one.why is not None]

    @property
    def missing(self) -> list[Unfinished]:
        return [one for one in self.unfinished if one.why is None]


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
                once.setdefault(
                    trial.trial if trial.settings else f"{trial.study}/{trial.trial}", trial
                )
        return tuple(once.values())

    @property
    def scored(self) -> list[Trial]:
        """Trials with a validation score."""
        return [trial for trial in self.trials if trial.score is not None]

    @property
    def unscored(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.score is None]

    @cached_property
    def main_fold(self) -> str | int:
        """The fold that most scored trials were validated on; the official split where that is a
        tie."""
        counts: dict[str | int, int] = {OFFICIAL: 0}
        for trial in self.scored:
            counts[trial.fold] = counts.get(trial.fold, 0) + 1
        return max(counts, key=lambda fold: counts[fold])

    @property
    def on_main_fold(self) -> list[Trial]:
        """Scored trials of the main fold: their CCCs compare."""
        return [trial for trial in self.scored if trial.fold == self.main_fold]


def gather(home: Home, studies: Sequence[str], store: Store | None = None) -> Gathered:
    """Read the studies; InputError naming every unknown one.

    `store`: what they were made on; None takes the one they name, where it is still there.
    """
    names = list(dict.fromkeys(studies))
    bank = Bank(home.bank)
    known = sorted(
        {*bank.studies(), *(path.parent.name for path in home.studies.glob("*/study.json"))}
    )
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
    trials, records, outdated = [], [], []
    for name in complete:
        try:
            record = study.bank.record(study.name, name)
            trial = as_trial(record, folds)
        except InputError as error:
            left_out += [f"{study.name}/{name}: {problem}" for problem in error.problems]
            continue
        if store is None or of_this_data(record, store):
            trials.append(trial)
            records.append(record)
        else:
            outdated.append(name)
    if outdated:
        left_out.append(_outdated(study.name, outdated))
    failures = [record for record in study.failures() if record["trial"] not in complete]
    return StudyState(
        name=study.name,
        trials=tuple(trials),
        unfinished=tuple(_unfinished(study, set(complete), failures)),
        planned=planned_by_space(document.get("space"), store),
        seconds=document.get("seconds"),
        problems=tuple(problems),
        records=tuple(records),
        failures=tuple(failures),
        outdated=len(outdated),
    )


def _outdated(study: str, trials: list[str]) -> str:
    """Trials on other data in words: how many, the first ones by name."""
    more = f" and {len(trials) - NAMED} more" if len(trials) > NAMED else ""
    return f"study {study}: {counted(len(trials), 'trial')} {OTHER_DATA} ({', '.join(trials[:NAMED])}{more})"


def as_trial(record: dict[str, Any], folds: set[str] | None) -> Trial:
    """A record as a trial; InputError when it is of another version or was validated on other
    frames."""
    settings = None
    if record.get("settings"):
        settings = _settings(record["settings"])
        if settings is None:
            raise InputError("its settings are not those of this version")
    lines_up = (record["predictions"].get("validation") or {}).get("frames_hash")
    if folds is not None and lines_up is not None and lines_up not in folds:
        raise InputError("it was validated on recordings that are no fold of this store")
    best = record.get("best") or {}
    each = {name: (best.get(name) or {}).get("ccc") for name in ("valence", "arousal")}
    without = settings is not None and settings.fold == MIX
    return Trial(
        study=record["study"],
        trial=record["trial"],
        settings=settings,
        valence=None if without else each["valence"],
        arousal=None if without else each["arousal"],
        history=tuple(record.get("history") or ()),
        stopped=bool(record.get("stopped", False)),
        frames_hash=lines_up,
    )


def _unfinished(
    study: Study, complete: set[str], failures: list[dict[str, Any]]
) -> list[Unfinished]:
    """Trials asked for or failed and not complete, failed ones with their reason; in the order they
    were asked for."""
    failed = {str(record["trial"]): record for record in failures}
    asked = {
        **{name: record.get("settings") for name, record in failed.items()},
        **dict(study.asked()),
    }
    found = []
    for name, document in asked.items():
        if name not in complete:
            why = None if name not in failed else last_line(str(failed[name]["failed"]))
            found.append(Unfinished(study.name, name, _settings(document), why))
    return found


def last_line(failed: str) -> str:
    """A traceback's last line."""
    lines = [line.strip() for line in failed.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "unknown"


def _settings(document: Any) -> TrialSettings | None:
    try:
        return TrialSettings.model_validate(document)
    except ValidationError:
        return None


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
                path = path or bank.record(name, trial).get("store_path")
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
