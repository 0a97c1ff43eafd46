"""The summary of a run of `search`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from va_search.errors import JobError, counted
from va_search.search.outcomes import pareto
from va_search.search.session import Session, planned_trials


@dataclass(frozen=True)
class Summary:
    """The work of a run of `search`, and the state of the study after it.

    `planned` counts the trials of the whole study and `missing` those of them that are neither
    complete nor failed in this run; both are None where only time bounds them, and `missing` for a
    retry, which comes to no others. `reason` is what lets no more begin: the budget, or the space's
    end. `best` maps a measure to (trial, value), and is empty where no trial has a validation score
    (train_val_mix). `pareto`: for objective both, the trials that no other beats on one dimension
    without losing on the other, {trial, valence, arousal} each; None for any other objective.
    `beside`: complete trials of the study that are not counted here but are by `status`, `ensemble`
    and `report`, by why. `devices`: how many of the trials trained now ran on which device."""

    study: str
    planned: int | None
    complete: int
    trained: int
    found: int
    adopted: int
    failed: int
    missing: int | None
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


class Unfinished(JobError):
    """A search ended, and not for its budget: trials are missing, or none is complete."""

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


def summary_of(
    session: Session,
    found: int,
    changes: list[str],
    undelivered: list[str],
    tracking_problem: str | None,
) -> Summary:
    """Return the summary of a session that is over; Unfinished unless all that was planned is
    complete or has failed, or the budget says why not. `found`: trials complete before it began."""
    planned, failed = planned_trials(session.space), session.reasons.total()
    missing = None
    if planned is not None and session.only is None:
        missing = max(0, planned - len(session.finished) - failed)
    summary = Summary(
        study=session.study.name,
        planned=planned,
        complete=len(session.finished),
        trained=len(session.trained),
        found=found,
        adopted=session.adopted,
        failed=failed,
        missing=missing,
        seconds=time.monotonic() - session.started,
        recovered=session.recovered,
        changes=changes,
        warm_start=[earlier.counts() for earlier in session.warm],
        best=best_of(session),
        pareto=front(session),
        beside=dict(session.beside),
        devices=dict(session.devices),
        undelivered=len(undelivered),
        tracking_problem=tracking_problem,
        reason=None if missing == 0 else _why_no_more(session),
    )
    problem = _problem(session, summary)
    if problem is not None:
        raise Unfinished(problem, summary)
    return summary


def _problem(session: Session, summary: Summary) -> str | None:
    """Return the reason for which a search must not be called done; None when it may."""
    tracebacks = f"tracebacks: {session.study.folder / 'failures'}"
    if session.hopeless is not None:
        return f"stopped early: {session.hopeless}" + (f"\n{tracebacks}" if summary.failed else "")
    if summary.failed and not summary.complete:
        return f"no trial is complete, {summary.failed} failed: {' | '.join(session.reasons)}\n{tracebacks}"
    if session.given_up:
        reasons = " | ".join(dict.fromkeys(session.given_up.values()))
        trials = counted(len(session.given_up), "trial")
        whose = "its" if len(session.given_up) == 1 else "their"
        return f"{trials} could not be trained, through no fault of {whose} own: {reasons}"
    if summary.missing and summary.reason is None:
        return (
            f"missing: {summary.missing} of {summary.planned} trials (complete: {summary.complete}, failed: "
            f"{summary.failed}); {_why_missing(session)}"
        )
    return None


def _why_no_more(session: Session) -> str | None:
    """Return what ends a search of which fewer trials are done than could be: the budget, or the
    space's end."""
    if session.enough is not None:
        return session.enough
    if session.proposals.exhausted and not session.left and not session.damaged:
        return "every configuration of the space was asked for: it has no more"
    return None


def _why_missing(session: Session) -> str:
    if not session.damaged:
        return "the search ended before it came to them, and the same command goes on with them"
    study = session.study
    folders = ", ".join(
        str(study.bank.folder(study.name, trial)) for trial in sorted(session.damaged)
    )
    return (
        f"the bank has {counted(len(session.damaged), 'damaged record')}; remove {folders}, and the same command "
        "trains again what was there"
    )


def best_of(session: Session) -> dict[str, tuple[str, float]]:
    """Return by measure the best complete trial of the space and its value; nothing where no trial
    has a validation score."""
    finished = [session.records[trial] for trial in sorted(session.finished)]
    scored = [trial for trial in finished if trial.best]
    if not scored:
        return {}
    best = {}
    for name in ("valence", "arousal", "score"):
        trial = max(scored, key=lambda each: each.best[name].ccc)
        best[name] = (trial.id, trial.best[name].ccc)
    return best


def front(session: Session) -> list[dict[str, Any]] | None:
    """The Pareto set where both dimensions are searched together; None otherwise."""
    if session.space.objective != "both":
        return None
    return pareto(session.records[trial] for trial in session.finished)
