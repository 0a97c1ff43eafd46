"""What a search would do if it began now: `search --dry-run`. Nothing is trained or written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from va_search.data.store import Store
from va_search.files import Home, checked_name
from va_search.search.configurations import Space
from va_search.search.machine import Options
from va_search.search.plan import Plan, make_plan
from va_search.search.session import Session
from va_search.search.study import Study
from va_search.search.warm import warm_start_of

LISTED = 10_000
"""So many trials are listed at most."""


@dataclass(frozen=True)
class Preview:
    """`complete` trials count already, `elsewhere` were completed by other studies of the home and
    are linked in.

    `next` lists the trials that a search would train, the first first and at most `LISTED`: {trial,
    settings (what the space varies), status: new, failed or begun}. For sampler tpe it ends where
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
    """Look at what is there and draw from the space; InputError where `search` would refuse."""
    named = Study(home, checked_name(study, "study name"))
    before = named.check(store)
    spent = before["seconds"] if before else 0.0
    warm = warm_start_of(named, warm_start, space, store)
    session = Session(named, space, store, lambda record: None, spent=spent, warm=warm)
    plan = make_plan(home, space, store, options, timed=False)
    failed, asked = (
        {trial.id for trial in named.failures()},
        {trial.id for trial in named.asked()},
    )
    trials, elsewhere = _draw(session)
    listed: list[dict[str, Any]] = [
        {
            "trial": trial,
            "settings": {
                name: settings[name] for name in ("seed", "fold", *space.document["settings"])
            },
            "status": "failed" if trial in failed else "begun" if trial in asked else "new",
        }
        for trial, settings in trials
    ]
    bound = 0 if session.enough else plan.trials
    to_train = None if bound is None else max(0, bound - len(session.finished) - elsewhere)
    if (
        session.proposals.exhausted
    ):  # fewer than were planned: the plan of a large space is an upper bound
        to_train = len(trials)
    return Preview(
        study=study,
        plan=plan,
        complete=len(session.finished),
        elsewhere=elsewhere,
        statuses=dict(Counter(str(one["status"]) for one in listed)),
        to_train=to_train,
        next=listed,
        changes=space.changes(before["space"]) if before else [],
        reason=session.enough,
        warm_start=[one.counts() for one in warm],
    )


def _draw(session: Session) -> tuple[list[tuple[str, dict[str, Any]]], int]:
    """Trials that would be trained, and how many another study has; for tpe those that are settled
    already."""
    space = session.space
    budget, begun = space.budget_trials, session.begun
    found: list[tuple[str, dict[str, Any]]] = []
    elsewhere = 0
    if session.enough:
        return found, elsewhere
    while len(found) < LISTED and (
        budget is None or len(session.finished) + elsewhere + len(found) < budget
    ):
        if space.sampler == "tpe" and len(found) + elsewhere >= begun:
            break
        drawn = session.proposals.next()
        if drawn is None:
            break
        if session.study.bank.is_complete(session.study.name, drawn[0]):
            continue  # with a damaged record: it is not trained again
        alike = (session.trial_id(other) for other in space.alternatives(drawn[1]))
        if any(_taken_over(session, trial) for trial in (drawn[0], *alike)):
            elsewhere += 1
        else:
            found.append((drawn[0], drawn[1].model_dump(mode="json")))
    return found, elsewhere


def _taken_over(session: Session, trial: str) -> bool:
    """Whether the search would take the trial from another study: by the session's own rule."""
    bank = session.study.bank
    return any(
        session._as_wanted(bank.readable_trial(study, trial)) for study in bank.holders(trial)
    )
