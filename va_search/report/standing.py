"""Where a study stands: how far its search is. A few small files are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from va_search.home import Home
from va_search.search.budget import SHORT_TRIAL
from va_search.search.extent import is_searched, planned_trials
from va_search.search.live import live_searches
from va_search.search.saves import Claims
from va_search.search.space_header import Budget
from va_search.search.spending import Account, accounts, first_to_end, spent_by
from va_search.search.study import Study
from va_search.search.worth import Gain, last_gain
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
    """From the mean time of the trials trained so far, with as many side by side as now; None where
    they are so short that most of a search's time passes between them."""
    times = [trial.seconds for trial in trials if trial.seconds]
    if not times or left is None or not running:
        return None
    mean = sum(times) / len(times)
    return None if mean < SHORT_TRIAL else mean * left / running
