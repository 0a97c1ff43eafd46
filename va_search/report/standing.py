"""What a reader must know of a study or an ensemble before its numbers: is it still searched, is it
out of date?

Conventions: every function returns sentences, none where nothing is to be said. They read a few
small files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from va_search.data.store import Store
from va_search.ensemble.fresh import newer_trials, stale_explanation, stale_models
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, counted
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.report import planned as plans
from va_search.search.study import Study
from va_search.storage.lease import searched
from va_search.storage.places import is_url
from va_search.trial import Trial


@dataclass(frozen=True)
class Progress:
    """Where a study's search stands. `planned`, `running`, `seconds_left`: None where that is not
    known.

    `tracking`: why MLflow takes nothing, where a search noted that.
    """

    study: str
    complete: int
    failed: int
    planned: int | None
    searching: bool
    running: int | None
    seconds_left: float | None
    tracking: str | None


def progress_of(
    home: Home,
    study: str,
    trials: Sequence[Trial],
    failures: Sequence[Trial],
    *,
    brings_store: bool = True,
) -> Progress:
    """Where the study stands; `trials`: its complete ones; `failures`: its failed ones.

    `brings_store`: whether a store at a URL is brought to count what is planned.
    """
    searching = is_searched(home, study)
    planned = planned_trials(home, study, brings_store=brings_store)
    running = _running(home, study, {trial.id for trial in trials}) if searching else None
    left = None if planned is None else max(0, planned - len(trials) - len(failures))
    return Progress(
        study=study,
        complete=len(trials),
        failed=len(failures),
        planned=planned,
        searching=searching,
        running=running,
        seconds_left=_seconds_left(trials, left, running),
        tracking=Study(home, study).tracking_problem,
    )


def _running(home: Home, study: str, complete: set[str]) -> int:
    """Trials of the study that were begun, are not complete and are claimed by a search."""
    open_still = {trial.id for trial in Study(home, study).asked()} - complete
    return sum((home.root / "claims" / f"{trial}.lock").is_file() for trial in open_still)


def _seconds_left(trials: Sequence[Trial], left: int | None, running: int | None) -> float | None:
    """From the mean time of the trials trained so far, with as many side by side as now."""
    times = [trial.seconds for trial in trials if trial.seconds]
    if not times or left is None or not running:
        return None
    return sum(times) / len(times) * left / running


def is_searched(home: Home, study: str) -> bool:
    """Whether a process searches the study now, on this machine or, for a home at a URL,
    elsewhere."""
    return Study(home, study).is_searched or searched(home, study)


def searched_now(home: Home, studies: Sequence[str]) -> list[str]:
    """A sentence for each study that is being searched, with how many of its trials are
    finished."""
    found = []
    for study in dict.fromkeys(studies):
        if is_searched(home, study):
            found.append(
                f"study {study} is being searched now: {finished_of_planned(home, study)}; only these are used here"
            )
    return found


def finished_of_planned(home: Home, study: str) -> str:
    """`13 of 16 planned trials are finished`."""
    finished = len(Bank(home.bank).trials(study))
    planned = planned_trials(home, study)
    are = "is" if finished == 1 else "are"
    if planned is None or finished > planned:
        return f"{counted(finished, 'trial')} {are} finished"
    return f"{finished:,} of {counted(planned, 'planned trial')} {are} finished"


def planned_trials(home: Home, study: str, *, brings_store: bool = True) -> int | None:
    """How many trials the study's whole search has; None where only time bounds it, or its store is
    not there.

    Without `brings_store` it is None for a store at a URL too.
    """
    found = Study(home, study)
    try:
        document: dict[str, Any] = found.document()
        if is_url(document["store_path"]) and not brings_store:
            return None
        store = Store.open(document["store_path"])
    except (InputError, KeyError, OSError):
        return None
    return plans.planned_trials(document.get("space"), store)


def out_of_date(home: Home, ensemble: Ensemble) -> list[str]:
    """What is older than what it was made from: the ensemble itself, its explanation, its
    registered models."""
    found = searched_now(home, ensemble.studies)
    newer = newer_trials(home, ensemble)
    if newer:
        were, them = ("trial was", "it") if newer == 1 else ("trials were", "them")
        found.append(
            f"{newer:,} {were} completed after ensemble {ensemble.name} was built; the same ensemble command again "
            f"takes {them} in"
        )
    return found + stale_of(home, ensemble)


def stale_of(home: Home, ensemble: Ensemble) -> list[str]:
    """What was made from an earlier build of the ensemble: its explanation, its registered
    models."""
    found = []
    if stale_explanation(home, ensemble):
        found.append(
            f"the explanation of ensemble {ensemble.name} is of an earlier build; --explain makes it again"
        )
    return found + [
        register_advice(home, ensemble, model) for model in stale_models(home, ensemble)
    ]


def register_advice(home: Home, ensemble: Ensemble, model: str) -> str:
    """That `models:/NAME/VERSION` is of an earlier build, and the command that registers this
    one."""
    name = model.removeprefix("models:/").rpartition("/")[0]
    named = [] if name == ensemble.name else ["--name", name]
    again = home.command("register", ensemble.name, *named)
    return (
        f"{model} is of an earlier build of ensemble {ensemble.name}; to register this one: {again}"
    )
