"""Where studies and ensembles stand: how far a search is, and what is out of date.

Conventions: sentences come as a list, empty where nothing is to be said. A few small files are
read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from va_search.data.store import Store
from va_search.ensemble.fresh import newer_trials, stale_explanation, stale_models
from va_search.ensemble.refit import is_stale
from va_search.ensemble.saved import Ensemble
from va_search.errors import InputError, counted
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.live import live_searches
from va_search.search.saves import Claims
from va_search.search.space_header import Budget
from va_search.search.spending import Account, accounts, first_to_end, spent_by
from va_search.search.study import Study
from va_search.search.worth import Gain, last_gain
from va_search.storage.lease import searched
from va_search.storage.places import is_url
from va_search.trial import Trial


@dataclass(frozen=True)
class StudyProgress:
    """Progress of a study's search. `planned`, `running`, `seconds_left`: None where not known.

    `tracking`: why MLflow takes nothing, where a search noted that; `pause`: why it is paused.
    `accounts` of its budget, and the one that ends first if all goes on as so far, with the seconds
    to that. `processes`: how many search it. `gain`: what the ensemble may gain in a further hour,
    as the search noted it last. `seconds`: for which the present search has gone on."""

    study: str
    complete: int
    failed: int
    planned: int | None
    searching: bool
    running: int | None
    seconds_left: float | None
    tracking: str | None
    pause: str | None
    accounts: tuple[Account, ...] = ()
    ends_first: tuple[Account, float] | None = None
    processes: int = 0
    gain: Gain | None = None
    seconds: float = 0.0


def progress_of(
    home: Home,
    study: str,
    trials: Sequence[Trial],
    failures: Sequence[Trial],
    *,
    brings_store: bool = True,
) -> StudyProgress:
    """The study's progress; `trials`: its complete ones, `failures`: its failed ones.

    `brings_store`: whether a store at a URL is brought to count what is planned."""
    searching = is_searched(home, study)
    running, live = None, []
    if searching:
        # Begun trials that are not complete are running where a search holds their claim.
        complete = {trial.id for trial in trials}
        begun = {trial.id for trial in Study(home, study).asked()} - complete
        claims = Claims(home.root / "claims")
        running = sum(claims.is_held(trial) for trial in begun)
        live = live_searches(home, study)
        if home.url is not None:  # claims are those of this machine
            running = max(running, sum(search.running for search in live))
    planned = planned_trials(home, study, brings_store=brings_store)
    left = None
    if planned is not None:
        left = max(0, planned - len(trials) - len(failures))
    settled = len(trials) + len(failures)
    kept = accounts_of(Study(home, study), settled, planned)
    seconds_left = _seconds_left(trials, left, running)
    if len(live) == 1:  # what the search itself shows
        seconds_left = live[0].seconds_left
    return StudyProgress(
        study=study,
        complete=len(trials),
        failed=len(failures),
        planned=planned,
        searching=searching,
        running=running,
        seconds_left=seconds_left,
        tracking=Study(home, study).tracking_problem,
        pause=Study(home, study).pause_problem,
        accounts=kept,
        ends_first=first_to_end(kept, spent_by(Study(home, study)).seconds),
        processes=max(len(Study(home, study).searchers()), int(searching)),
        gain=last_gain(Study(home, study).folder),
        seconds=max((search.seconds for search in live), default=0.0),
    )


def accounts_of(study: Study, trials: int, planned: int | None) -> tuple[Account, ...]:
    """Return the accounts of a study of which so many `trials` are over; none for one that was never
    searched, or whose budget another version wrote."""
    if not study.exists():
        return ()
    space = study.document()["space"]
    document = space.get("budget") if isinstance(space, dict) else None
    try:
        budget = Budget.model_validate(document or {})
    except ValidationError:
        return ()
    return tuple(accounts(budget, spent_by(study), trials, planned))


def _seconds_left(trials: Sequence[Trial], left: int | None, running: int | None) -> float | None:
    """From the mean time of the trials trained so far, with as many side by side as now."""
    times = [trial.seconds for trial in trials if trial.seconds]
    if not times or left is None or not running:
        return None
    return sum(times) / len(times) * left / running


def is_searched(home: Home, study: str) -> bool:
    """Tell whether a process searches the study now, on this machine or, for a home at a URL,
    elsewhere."""
    return Study(home, study).is_searched or searched(home, study)


def searched_now(home: Home, studies: Sequence[str]) -> list[str]:
    """A sentence for each study that is being searched, with how many of its trials are
    finished."""
    sentences = []
    for study in dict.fromkeys(studies):
        if is_searched(home, study):
            finished = finished_of_planned(home, study)
            sentences.append(
                f"study {study} is being searched now: {finished}; only these are used here"
            )
    return sentences


def finished_of_planned(home: Home, study: str) -> str:
    """`13 of 16 planned trials are finished`."""
    finished = len(Bank(home.bank).trials(study))
    planned = planned_trials(home, study)
    are = "is" if finished == 1 else "are"
    if planned is None or finished > planned:
        return f"{counted(finished, 'trial')} {are} finished"
    return f"{finished:,} of {counted(planned, 'planned trial')} {are} finished"


def planned_trials(home: Home, study: str, *, brings_store: bool = True) -> int | None:
    """Trials of the study's whole search; None where only time bounds it, or its store is gone.

    Without `brings_store` it is None for a store at a URL too."""
    try:
        document = Study(home, study).document()
        if is_url(document["store_path"]) and not brings_store:
            return None
        store = Store.open(document["store_path"])
    except (InputError, KeyError, OSError):
        return None
    return planned_by_space(document.get("space"), store)


def planned_by_space(document: Any, store: Store | None) -> int | None:
    """Trials of a whole search over the space in `document`; None where only time bounds it, or it
    can't be read on this store."""
    if not isinstance(document, dict) or store is None:
        return None
    from va_search.search.budget import planned_trials as planned_of
    from va_search.search.space import read_space

    # The document was read from a file once; a message about it would go nowhere.
    try:
        space = read_space(document, store, path=Path("study.json"), name="space", kept=True)
    except InputError:
        return None
    return planned_of(space)


def out_of_date(home: Home, ensemble: Ensemble) -> list[str]:
    """Things older than what they were made from: the ensemble itself, its explanation, its
    registered models."""
    # A study that is still searched comes first: the numbers below will change by themselves.
    sentences = searched_now(home, ensemble.studies)
    newer = newer_trials(home, ensemble)
    if newer:
        were, them = ("trial was", "it") if newer == 1 else ("trials were", "them")
        completed = f"{newer:,} {were} completed after ensemble {ensemble.name} was built"
        sentences.append(f"{completed}; the same ensemble command again takes {them} in")
    return sentences + stale_of(home, ensemble)


def stale_of(home: Home, ensemble: Ensemble) -> list[str]:
    """Things made from an earlier build: a refitted ensemble, an explanation, registered models."""
    sentences = []
    if is_stale(home, ensemble):
        source = ensemble.recipe_document["of"]
        again = home.command("refit", source, "--name", ensemble.name)
        sentences.append(
            f"ensemble {ensemble.name} is of an earlier build of {source}; to train the members of "
            f"this one again: {again}"
        )
    if stale_explanation(home, ensemble):
        stale = f"the explanation of ensemble {ensemble.name} is of an earlier build"
        sentences.append(f"{stale}; --explain makes it again")
    for model in stale_models(home, ensemble):
        sentences.append(register_advice(home, ensemble, model))
    return sentences


def register_advice(home: Home, ensemble: Ensemble, model: str) -> str:
    """That `models:/NAME/VERSION` is of an earlier build, and the command that registers this
    one."""
    name = model.removeprefix("models:/").rpartition("/")[0]
    words = ["register", ensemble.name]
    if name != ensemble.name:
        words += ["--name", name]
    stale = f"{model} is of an earlier build of ensemble {ensemble.name}"
    return f"{stale}; to register this one: {home.command(*words)}"
