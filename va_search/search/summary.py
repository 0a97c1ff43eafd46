"""What a run of `search` did, for whoever asked for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from va_search.errors import JobError
from va_search.search.outcomes import objective, pareto
from va_search.search.session import Session, planned_trials


@dataclass(frozen=True)
class Summary:
    """What a run of `search` did and where the study stands; `best` maps a measure to (trial, value),
    and is empty where no trial has a validation score (train_val_mix). `pareto`: for objective both, the trials that no
    other beats on one dimension without losing on the other, {trial, valence, arousal} each; None for any other.
    `beside`: complete trials of the study that are not counted here but are by `status`, `ensemble` and `report`, by
    why. `devices`: how many of the trials trained now ran on which device."""

    study: str
    complete: int
    trained: int
    found: int
    adopted: int
    failed: int
    seconds: float
    recovered: int
    changes: list[str]
    warm_start: list[dict[str, Any]]
    best: dict[str, tuple[str, float]]
    pareto: list[dict[str, Any]] | None
    beside: dict[str, int]
    devices: dict[str, int]
    undelivered: int
    tracking_problem: str | None
    reason: str | None


def summary_of(
    session: Session, found: int, changes: list[str], undelivered: list[str], tracking_problem: str | None
) -> Summary:
    """The summary of a session that is over; JobError when nothing came of it."""
    failed, tracebacks = session.reasons.total(), f"tracebacks: {session.study.folder / 'failures'}"
    if session.hopeless is not None:
        raise JobError(f"stopped early: {session.hopeless}\n{tracebacks}")
    if failed and not session.finished:
        raise JobError(f"no trial is complete, {failed} failed: {' | '.join(session.reasons)}\n{tracebacks}")
    planned = planned_trials(session.space)
    open_still = planned is None or len(session.finished) + failed < planned
    inside = [session.records[trial] for trial in sorted(session.finished)]
    best = {}
    for name in ("valence", "arousal", "score"):
        scored = [(value, record["trial"]) for record in inside if (value := objective(record, name)) is not None]
        if scored:
            value, trial = max(scored, key=lambda pair: pair[0])
            best[name] = (str(trial), value)
    return Summary(
        study=session.study.name,
        complete=len(session.finished),
        trained=len(session.trained),
        found=found,
        adopted=session.adopted,
        failed=failed,
        seconds=time.monotonic() - session.started,
        recovered=session.recovered,
        changes=changes,
        warm_start=[one.counts() for one in session.warm],
        best=best,
        pareto=front(session),
        beside=dict(session.beside),
        devices=dict(session.devices),
        undelivered=len(undelivered),
        tracking_problem=tracking_problem,
        reason=session.enough if open_still else None,
    )


def front(session: Session) -> list[dict[str, Any]] | None:
    """The Pareto set where both dimensions are searched together; None otherwise."""
    if session.space.objective != "both":
        return None
    return pareto(session.records[trial] for trial in session.finished)
