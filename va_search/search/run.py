"""A whole search: what may be searched, the study it resumes, the loop that trains, its runs in
MLflow, and its summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError, VaSearchError
from va_search.files import checked_name
from va_search.home import Home
from va_search.search.budget import planned_trials
from va_search.search.configurations import Space
from va_search.search.interruption import ending_in, seconds_since_signal
from va_search.search.loop import Watch, train
from va_search.search.machine import Options
from va_search.search.outcomes import Credit
from va_search.search.readiness import check_ready
from va_search.search.scheduler import Scheduler, Surroundings, need_of
from va_search.search.searchers import Searchers
from va_search.search.study import Study
from va_search.search.summary import (
    Progress,
    Summary,
    front,
    progress_of,
    summary_of,
    unfinished,
)
from va_search.search.warm import warm_start_of
from va_search.search.worth import Prospect
from va_search.storage.keeper import kept
from va_search.tracking.delivery import Delivery, Pictures
from va_search.tracking.door import ParentRun, Place, tracking_place
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

DELIVERY_SECONDS = 150.0
"""How long the end of a search waits for a tracking server that is silent, before it leaves the
rest to the next search: a minute's outage, and the requests that wait for their time-out when it
ends."""
INTERRUPTED_SECONDS = 10.0
"""The same for a search that was asked to stop, or can't go on."""
TRACKED_SECONDS = 20.0
"""So long after its beginning a search is tracked at the latest, whether or not a trial has begun."""
LEAVING_SECONDS = 13.0
"""So long after a signal a search is over, whatever hangs."""


@dataclass(frozen=True)
class Request:
    """The search that is asked for, of the study with this name.

    `warm_start`: studies whose trials TPE learns first, now and whenever this study goes on.
    `only`: train nothing but what `failed`, or what was `begun` and is not complete, whatever the
    budget. `stop_after`: so many seconds of wall time at most, whatever runs then. `join`: search
    together with the processes that search the study already. `options` say on what to run."""

    study: str
    options: Options = field(default_factory=Options)
    warm_start: Sequence[str] = ()
    only: Literal["failed", "begun"] | None = None
    stop_after: float | None = None
    join: bool = False


@dataclass(frozen=True)
class Callbacks:
    """Functions that a search calls.

    `watch` about once a second, with the progress. `note` before anything is trained, with each
    sentence that whoever searches should know by then. `credit` is what objective ensemble asks,
    `prospect` what the ensemble may gain.
    `pictures` draws the study for its parent run, `load_pictures` imports what that needs."""

    watch: Watch
    note: Callable[[str], None] = lambda text: None
    credit: Credit | None = None
    prospect: Prospect | None = None
    pictures: Pictures | None = None
    load_pictures: Callable[[], None] = lambda: None


def run_search(
    home: Home, space: Space, store: Store, request: Request, callbacks: Callbacks
) -> Summary:
    """Search `space` on `store`; the same call again resumes.

    Raises TimeIsUp when `stop_after` did not suffice, Unfinished when trials are missing for no
    reason of the budget's, Interrupted after Ctrl-C or SIGTERM with everything finished saved,
    JobError when every trial fails for one reason, InputError when the store changed under the
    study."""
    study = Study(home, checked_name(request.study, "study name"))
    options, note = request.options, callbacks.note
    tracked_at = tracking_place(home, options.tracking_uri)
    if space.objective == "ensemble" and callbacks.credit is None:
        raise ValueError("objective ensemble needs a callable that credits trials")
    ready = check_ready(home, space, store, options, complete=len(study.bank.trials(study.name)))
    options = replace(options, concurrent=ready.concurrent or options.concurrent, gpus=ready.gpus)
    for remark in ready.remarks:
        note(remark)
    ends: list[str] = []
    with (
        ending_in(request.stop_after) as deadline,
        study.searching(join=request.join) as searchers,
        kept(home, study.name, lost=ends.append, need=need_of(space)) as everywhere,
    ):
        warm = warm_start_of(study, request.warm_start, space, store)
        joined = not searchers.leads or bool(searchers.others())
        changes = _begin(study, space, store, request.warm_start, joins=joined)
        for change in changes:
            note(f"space changed: {change}")
        if joined:
            note(_joined_text(study, searchers, options))
        if request.only is None:
            searchers.announce()
        surroundings = Surroundings(
            spent=study.document()["seconds"],
            warm=warm,
            credit=callbacks.credit,
            prospect=callbacks.prospect,
            shared=everywhere,
            only=None if request.only is None else _open_trials(study, request.only),
            deadline=deadline,
            patience=options.patience,
            ends=ends,
            searchers=None if request.only is not None else searchers,
            joined=joined,
        )

        def deliver(trial: Trial) -> None:
            deliveries.put(trial)

        scheduler = Scheduler(study, space, store, deliver, surroundings)
        deliveries = Deliveries(
            searchers,
            lambda: [*scheduler.results.records.values(), *study.failures()],
            lambda: _delivery(scheduler, tracked_at, callbacks),
        )
        complete_before = len(scheduler.results.finished)
        latest = time.monotonic() + TRACKED_SECONDS

        def watch(progress: Progress) -> None:
            # Not before something trains: importing MLflow takes a core for seconds, which the
            # processes that are about to train need as well.
            if has_begun(progress) or time.monotonic() >= latest:
                deliveries.open_if_due()
            callbacks.watch(progress)

        try:
            with scheduler.stop.heard(lambda: len(scheduler.results.finished)):
                train(scheduler, options, watch, lambda: _end(scheduler, deliveries.delivery))
        finally:
            with suppress(OSError, VaSearchError):  # a home that is away hides no other error
                if not searchers.others():
                    study.forget_stop()
                    study.note_pause(None)
            deliveries.open_if_due()
            undelivered = _close(scheduler, deliveries.delivery, callbacks.watch)
        return summary_of(scheduler, complete_before, changes, undelivered, deliveries.problem)


def has_begun(progress: Progress) -> bool:
    """Return True once a trial has reported from its process, or is over."""
    if progress.finished or progress.failed:
        return True
    return any(trial.process is not None for trial in progress.trials)


def _begin(
    study: Study, space: Space, store: Store, warm_start: Sequence[str], *, joins: bool
) -> list[str]:
    """Note with the study that it is searched, and return what of the space changed since the last
    time. InputError where other processes search it, which have another space or version."""
    noted = study.check(store)
    changes = space.changes(noted["space"]) if noted is not None else []
    if joins and noted is not None:
        _check_alike(study, noted, changes)
    study.begin(store, space.document, warm_start=warm_start, changes=changes, joins=joins)
    return changes


def _check_alike(study: Study, noted: Mapping[str, Any], changes: Sequence[str]) -> None:
    searchers = ", ".join(study.searchers())
    problems = []
    for change in changes:
        problems.append(
            f"--join: study {study.name!r} is searched by {searchers} on another space ({change})"
        )
    if noted["package_version"] != __version__:
        problems.append(
            f"--join: study {study.name!r} is searched by {searchers} with va-search "
            f"{noted['package_version']}, this is {__version__}"
        )
    if problems:
        raise InputError(*problems)


def _joined_text(study: Study, searchers: Searchers, options: Options) -> str:
    text = f"joins the search of study {study.name!r} by {', '.join(searchers.others())}"
    on_same_cores = searchers.on_same_cores()
    if on_same_cores and options.concurrent is None and options.address is None:
        text += (
            f"; note: process {on_same_cores[0]} uses the same cores of this machine: give each "
            "process --concurrent, or cores of its own (taskset)"
        )
    return text


class Deliveries:
    """The delivery of a study's trials to MLflow, by the one of its processes that leads.

    `trials` are all that are known here, `make` opens a delivery."""

    def __init__(
        self,
        searchers: Searchers,
        trials: Callable[[], Sequence[Trial]],
        make: Callable[[], Delivery],
    ) -> None:
        self._searchers, self._trials, self._make = searchers, trials, make
        self.delivery: Delivery | None = None

    def open_if_due(self) -> None:
        """Deliver from now on, where no other process does."""
        if self.delivery is None and self._searchers.take_lead():
            self.delivery = self._make()
            for trial in self._trials():
                self.delivery.put(trial)

    def put(self, trial: Trial) -> None:
        """Deliver a trial that is complete or has failed."""
        if self.delivery is not None:
            self.delivery.put(trial)

    @property
    def problem(self) -> str | None:
        """The reason for which MLflow does not take what is delivered here."""
        return None if self.delivery is None else self.delivery.problem


def _delivery(scheduler: Scheduler, tracked_at: Place, callbacks: Callbacks) -> Delivery:
    """Return the delivery of the study's trials to MLflow, begun."""
    study = scheduler.study
    return Delivery(
        tracked_at.uri,
        study=study.name,
        artifacts=tracked_at.artifacts,
        parent=_parent(scheduler.space, scheduler.store),
        keys=TrialSettings.model_fields,
        whole=partial(study.bank.trial, study.name),
        pictures=callbacks.pictures,
        load_pictures=callbacks.load_pictures,
        owner=tracked_at.owner,
        report=study.note_tracking,
        located=partial(study.note_experiment, tracked_at.uri),
        # MLflow would make the folder of a home that is away anew.
        check=study.check_exists if tracked_at.artifacts is not None else lambda: None,
    )


def _close(scheduler: Scheduler, delivery: Delivery | None, watch: Watch) -> list[str]:
    """Close the study, whatever ended its training, and deliver what is finished; return the trials
    that the tracking server did not take."""
    for close in (scheduler.claims.release_all, scheduler.note_time):
        with suppress(OSError, VaSearchError):  # a home that is away hides no other error
            close()
    _end(scheduler, delivery)
    if delivery is None:  # another process delivers
        return []
    return delivery.close(
        _patience(scheduler),
        watch=lambda waiting: watch(progress_of(scheduler, undelivered=waiting)),
    )


def _patience(scheduler: Scheduler) -> float:
    """Return the seconds to wait for the tracking server; after a signal few are left, since who
    sent it may kill."""
    stop = scheduler.stop
    if not stop.interrupted:
        return INTERRUPTED_SECONDS if scheduler.cannot_go_on else DELIVERY_SECONDS
    if stop.by_command:
        return INTERRUPTED_SECONDS
    return max(1.0, min(INTERRUPTED_SECONDS, LEAVING_SECONDS - seconds_since_signal()))


def _end(scheduler: Scheduler, delivery: Delivery | None) -> None:
    """Give the study's run in MLflow its last word; the first call counts."""
    if delivery is None:
        return
    status = "FINISHED"
    if scheduler.stop.interrupted:
        status = "KILLED"
    elif unfinished(scheduler) is not None:
        status = "FAILED"
    pareto = front(scheduler)
    delivery.end(status, {} if pareto is None else {"pareto.json": pareto})


def _open_trials(study: Study, only: Literal["failed", "begun"]) -> frozenset[str]:
    """Return the trials whose last training failed, or with these all that were asked for; complete
    ones among them do no harm."""
    failed = frozenset(trial.id for trial in study.failures())
    return failed if only == "failed" else failed | {trial.id for trial in study.asked()}


def _parent(space: Space, store: Store) -> ParentRun:
    """Return what the study's run in MLflow says of the search."""
    return ParentRun(
        params={
            "store": store.name,
            "sampler": space.sampler,
            "objective": space.objective,
            "seeds": " ".join(map(str, space.seeds)),
            "folds": " ".join(map(str, space.folds)),
        },
        tags={"va_search.version": __version__},
        artifacts={"space.yaml": space.document, "plan.json": _plan(space)},
        targets=store.target_names,
    )


def _plan(space: Space) -> dict[str, Any]:
    """Return how much there is to search; numbers are None where there is no end."""
    return {
        "configurations": space.size(),
        "exact": space.size_is_exact,
        "seeds": space.seeds,
        "folds": space.folds,
        "trials_each": space.trials_each,
        "trials": planned_trials(space),
        "budget": space.budget.model_dump(mode="json"),
        "sampler": space.sampler,
        "objective": space.objective,
    }
