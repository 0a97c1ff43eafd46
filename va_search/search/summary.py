"""What a search shows: its progress while it runs, and its summary at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from va_search.data.generalisation import generalises_to
from va_search.errors import JobError, counted
from va_search.search.live import LiveSearch, RunningTrial, this_process
from va_search.search.pause import PauseState
from va_search.search.scheduler import Scheduler
from va_search.search.worth import Gain


@dataclass(frozen=True)
class Progress:
    """The state of a search for a watcher; `planned` counts trials of the whole study, None where
    only time bounds it.

    `best`: the best validation CCC by target; `score`: the best objective of a trial;
    `gain`: what the ensemble may gain in a further hour. `device`: what trials are trained on, in
    words; None before that is known. `lacks`: what the cluster lacks to run a single trial; None
    while it can. `undelivered`: trials that the tracking server has yet to take, once training is
    over; None before. `remarks`: what happened so far that is worth a line of its own, such as who
    killed a trial's process. `pause`: why nothing begins now, since the machine fails; None while
    it does. `trials`: those that run."""

    planned: int | None
    finished: int
    running: int
    failed: int
    best: Mapping[str, float]
    seconds: float
    seconds_left: float | None
    stopping: bool
    device: str | None = None
    lacks: str | None = None
    undelivered: int | None = None
    remarks: tuple[str, ...] = ()
    score: float | None = None
    gain: Gain | None = None
    pause: PauseState | None = None
    trials: tuple[RunningTrial, ...] = ()

    @property
    def live(self) -> LiveSearch:
        """The search for those who watch it from elsewhere (live.py)."""
        return LiveSearch(
            process=this_process(),
            planned=self.planned,
            finished=self.finished,
            failed=self.failed,
            running=self.running,
            seconds=self.seconds,
            seconds_left=self.seconds_left,
            device=self.device,
            stopping=self.stopping,
            remarks=self.remarks,
            trials=self.trials,
        )


def progress_of(
    scheduler: Scheduler,
    undelivered: int | None = None,
    trials: tuple[RunningTrial, ...] = (),
) -> Progress:
    """Return the state of a search now; `trials`: how those that run go."""
    results, budget = scheduler.results, scheduler.budget
    settled = len(results.finished) + results.failed + sum(trial.share_done for trial in trials)
    seconds = results.seconds or [trial.whole_seconds for trial in trials if trial.epoch]
    return Progress(
        planned=budget.planned,
        finished=len(results.finished),
        running=len(scheduler.queue.running),
        failed=results.failed,
        best=dict(results.best),
        seconds=budget.elapsed,
        seconds_left=budget.seconds_left(settled, seconds, scheduler.concurrent),
        stopping=scheduler.stopping,
        device=scheduler.device,
        lacks=scheduler.lacks,
        undelivered=undelivered,
        remarks=tuple(scheduler.remarks),
        score=budget.improvement.best,
        gain=budget.worth.gain,
        pause=scheduler.pause.state,
        trials=trials,
    )


@dataclass(frozen=True)
class Summary:
    """The work of a run of `search`, and the state of the study after it.

    `planned` counts the trials of the whole study and `missing` those of them that are neither
    complete nor failed in this run; both are None where only time bounds them, and `missing` for a
    retry, which comes to no others. `reason` is what lets no more begin: the budget, or the space's
    end. `best` maps a measure to (trial, value), and is empty where no trial has a validation score
    (train_val_mix). `pareto`: for objective both, the trials that no other beats on one target
    without losing on another, {trial, valence, arousal} each; None for any other objective.
    `beside`: complete trials of the study that are not counted here but are by `status`, `ensemble`
    and `report`, by why. `devices`: how many of the trials trained now ran on which device.
    `elsewhere`: how many were trained meanwhile by other processes that search the study.
    `generalises_to`: whether people and clips of validation are in training, over the space's
    folds; None where none of them validates. `gain`: CCC that the ensemble is expected to gain in a
    further hour (worth.Gain); None where it was not estimated. `pauses`: how often the search waited
    for a failing machine, `paused_seconds` in all."""

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
    generalises_to: str | None
    elsewhere: int = 0
    gain: dict[str, float] | None = None
    pauses: int = 0
    paused_seconds: float = 0.0


class Unfinished(JobError):
    """A search ended, and not for its budget: trials are missing, or none is complete."""

    def __init__(self, message: str, summary: Summary) -> None:
        super().__init__(message)
        self.summary = summary


def summary_of(
    scheduler: Scheduler,
    found: int,
    changes: list[str],
    undelivered: list[str],
    tracking_problem: str | None,
) -> Summary:
    """Return the summary of a search that is over; Unfinished unless all that was planned is
    complete or has failed, or the budget says why not. `found`: trials complete before it began."""
    results, gain = scheduler.results, scheduler.budget.worth.gain
    summary = Summary(
        study=scheduler.study.name,
        planned=scheduler.budget.planned,
        complete=len(results.finished),
        trained=len(results.seconds),
        found=found,
        adopted=results.adopted,
        failed=results.failed,
        missing=_missing(scheduler),
        seconds=scheduler.budget.elapsed,
        recovered=scheduler.queue.recovered,
        changes=changes,
        warm_start=[study.counts() for study in scheduler.warm],
        best=results.best_trials(),
        pareto=front(scheduler),
        beside=dict(results.beside),
        devices=dict(results.devices),
        undelivered=len(undelivered),
        tracking_problem=tracking_problem,
        reason=_why_no_more(scheduler),
        generalises_to=generalises_to(scheduler.store, scheduler.space.folds),
        elsewhere=results.elsewhere,
        gain=None if gain is None else asdict(gain),
        pauses=scheduler.pause.times,
        paused_seconds=round(scheduler.pause.seconds, 1),
    )
    problem = unfinished(scheduler)
    if problem is not None:
        raise Unfinished(problem, summary)
    return summary


def unfinished(scheduler: Scheduler) -> str | None:
    """Return the reason for which a search that is over must not be called done; None when it
    may."""
    results, given_up = scheduler.results, scheduler.queue.given_up
    tracebacks = f"tracebacks: {scheduler.study.folder / 'failures'}"
    if scheduler.hopeless is not None:
        problem = f"stopped early: {scheduler.hopeless}"
        return f"{problem}\n{tracebacks}" if results.failed else problem
    if results.failed and not results.finished:
        reasons = " | ".join(results.failures)
        return f"no trial is complete, {results.failed} failed: {reasons}\n{tracebacks}"
    if given_up:
        reasons = " | ".join(dict.fromkeys(given_up.values()))
        whose = "its" if len(given_up) == 1 else "their"
        trials = counted(len(given_up), "trial")
        return f"{trials} could not be trained, through no fault of {whose} own: {reasons}"
    missing = _missing(scheduler)
    if missing and _why_no_more(scheduler) is None:
        return (
            f"missing: {missing} of {scheduler.budget.planned} trials (complete: "
            f"{len(results.finished)}, failed: {results.failed}); {_why_missing(scheduler)}"
        )
    return None


def front(scheduler: Scheduler) -> list[dict[str, Any]] | None:
    """Return the Pareto set where all targets are searched together; None otherwise."""
    return scheduler.results.pareto() if scheduler.space.objective == "both" else None


def _missing(scheduler: Scheduler) -> int | None:
    planned, results = scheduler.budget.planned, scheduler.results
    if planned is None or scheduler.only is not None:
        return None
    return max(0, planned - len(results.finished) - results.failed)


def _why_no_more(scheduler: Scheduler) -> str | None:
    """Return what ends a search of which fewer trials are done than could be: the budget, or the
    space's end."""
    if _missing(scheduler) == 0:
        return None
    if scheduler.enough is not None:
        return scheduler.enough
    settled = not scheduler.queue.left and not scheduler.results.damaged
    if scheduler.proposals.exhausted and settled:
        return "every configuration of the space was asked for: it has no more"
    return None


def _why_missing(scheduler: Scheduler) -> str:
    study, damaged = scheduler.study, scheduler.results.damaged
    if not damaged:
        return "the search ended before it came to them, and the same command goes on with them"
    paths = [str(study.bank.folder(study.name, trial)) for trial in sorted(damaged)]
    records = counted(len(damaged), "damaged record")
    return (
        f"the bank has {records}; remove {', '.join(paths)}, and the same command trains again "
        "what was there"
    )
