"""A search as it would go if it began now: `search --dry-run`. Nothing is trained or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from va_search.data.store import Store
from va_search.files import checked_name
from va_search.home import Home
from va_search.search.configurations import Space
from va_search.search.machine import Options
from va_search.search.plan import Plan, make_plan
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.spending import spent_by
from va_search.search.study import Study
from va_search.search.warm import warm_start_of
from va_search.trial_settings import TrialSettings

LISTED = 10_000
"""So many trials are listed at most."""


@dataclass(frozen=True)
class Preview:
    """`complete` trials count already, `elsewhere` were completed by other studies of the home and
    are linked in.

    `next` lists the trials that a search would train, the first first and at most `LISTED`: {trial,
    settings (what the space varies), status: new, failed or begun}. For a sampler that learns it ends where
    what is chosen depends on results to come. `to_train` counts all, None where only time bounds
    them. `reason`: why the study's budget lets none begin. `warm_start`: what the sampler would
    learn of each earlier study first (`warm.Warm.counts`)."""

    study: str
    plan: Plan
    complete: int
    elsewhere: int
    statuses: dict[str, int]
    to_train: int | None
    next: list[dict[str, Any]]
    changes: list[str]
    reason: str | None
    warm_start: list[dict[str, Any]]


def make_preview(
    home: Home,
    space: Space,
    store: Store,
    *,
    study: str,
    options: Options | None = None,
    warm_start: Sequence[str] = (),
) -> Preview:
    """Look at the study and draw from the space; InputError where `search` would refuse."""
    named = Study(home, checked_name(study, "study name"))
    document = named.check(store)
    spent = document["seconds"] if document else 0.0
    warm = warm_start_of(named, warm_start, space, store)
    surroundings = Surroundings(spent=spent, warm=warm)
    scheduler = Scheduler(named, space, store, surroundings=surroundings)
    plan = make_plan(home, space, store, options, timed=False, spent=spent_by(named))
    trials, elsewhere = _draw(scheduler)
    listed = _listed(named, space, trials)
    bound = 0 if scheduler.enough else plan.trials
    to_train = (
        None if bound is None else max(0, bound - len(scheduler.results.finished) - elsewhere)
    )
    if scheduler.proposals.exhausted:
        # Fewer than were planned: the plan of a large space is an upper bound.
        to_train = len(trials)
    return Preview(
        study=study,
        plan=plan,
        complete=len(scheduler.results.finished),
        elsewhere=elsewhere,
        statuses=dict(Counter(str(entry["status"]) for entry in listed)),
        to_train=to_train,
        next=listed,
        changes=space.changes(document["space"]) if document else [],
        reason=scheduler.enough,
        warm_start=[earlier.counts() for earlier in warm],
    )


def _listed(
    study: Study, space: Space, trials: list[tuple[str, TrialSettings]]
) -> list[dict[str, Any]]:
    """Return the trials as `Preview.next` lists them."""
    failed = {trial.id for trial in study.failures()}
    begun = {trial.id for trial in study.asked()}
    varied = ("seed", "fold", *space.named_settings)
    listed = []
    for trial, settings in trials:
        status = "new"
        if trial in failed:
            status = "failed"
        elif trial in begun:
            status = "begun"
        noted = settings.model_dump(mode="json", include=set(varied))
        shown = {name: noted[name] for name in varied if name in noted}
        listed.append({"trial": trial, "settings": shown, "status": status})
    return listed


def _draw(scheduler: Scheduler) -> tuple[list[tuple[str, TrialSettings]], int]:
    """Draw the trials that would be trained, and count those that another study has; for a sampler that
    learns those
    that are settled already."""
    space, budget = scheduler.space, scheduler.space.budget_trials
    to_train: list[tuple[str, TrialSettings]] = []
    elsewhere = 0
    if scheduler.enough:
        return to_train, elsewhere
    while len(to_train) < LISTED:
        drawn = len(to_train) + elsewhere
        if budget is not None and len(scheduler.results.finished) + drawn >= budget:
            break
        if space.sampler_learns and drawn >= scheduler.begun:
            break
        proposed = scheduler.proposals.next()
        if proposed is None:
            break
        trial, settings = proposed
        if scheduler.study.bank.is_complete(scheduler.study.name, trial):
            continue  # with a damaged record: it is not trained again
        alike = (scheduler.trial_id(alternative) for alternative in space.alternatives(settings))
        if any(_taken_over(scheduler, name) for name in (trial, *alike)):
            elsewhere += 1
        else:
            to_train.append(proposed)
    return to_train, elsewhere


def _taken_over(scheduler: Scheduler, trial: str) -> bool:
    """Return True if the search would take the trial from another study, by the scheduler's rule."""
    return scheduler.source_of(trial) is not None
