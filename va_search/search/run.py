"""A whole search: a session on Ray (on this machine, or a cluster with an address), tracked, and
its summary."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import Home, checked_name
from va_search.search.configurations import Space
from va_search.search.credits import Credit
from va_search.search.interruption import ending_in, seconds_since_signal
from va_search.search.machine import Options, device_in_words, gpus_each, side_by_side
from va_search.search.ray_backend.backend import tune_in_waves
from va_search.search.ray_backend.connection import RunningRay, ray_running
from va_search.search.ray_backend.nodes import checked_nodes, living, places
from va_search.search.ray_backend.supervisor import RayLost
from va_search.search.readiness import check_ready
from va_search.search.session import Progress, Session, need_of, planned_trials
from va_search.search.stopping import stoppable
from va_search.search.study import Study
from va_search.search.summary import Summary, front, summary_of
from va_search.search.warm import warm_start_of
from va_search.storage.keeper import kept
from va_search.tracking.delivery import Delivery, Pictures
from va_search.tracking.door import tracking_place
from va_search.trial_settings import TrialSettings

DELIVERY_SECONDS = 150.0
"""How long the end of a search waits for a tracking server that is silent, before it leaves the
rest to the next search: a minute's outage, and the requests that wait for their time-out when it
ends."""
INTERRUPTED_SECONDS = 10.0
"""The same for a search that was asked to stop, or can't go on."""
LEAVING_SECONDS = 13.0
"""So long after a signal a search is over, whatever hangs."""
KEPT = "finished trials are saved, running ones keep their last checkpoint; the same command again goes on from there"


def run_search(
    home: Home,
    space: Space,
    store: Store,
    *,
    study: str,
    options: Options,
    watch: Callable[[Progress], None],
    note: Callable[[str], None] = lambda text: None,
    credit: Credit | None = None,
    pictures: Pictures | None = None,
    warm_start: Sequence[str] = (),
    only: Literal["failed", "begun"] | None = None,
    stop_after: float | None = None,
) -> Summary:
    """Search `space` on `store` under a study's name; the same call again resumes.

    `only`: train nothing but what `failed`, or what was `begun` and is not complete, whatever the
    budget. `note` is called before anything is trained, with each sentence that whoever searches
    should know by then. `watch` is called about once a second; `credit` is what objective ensemble
    asks; `pictures` draws the study for its parent run; `warm_start` are studies whose trials TPE
    learns first, now and whenever this study goes on. `stop_after`: so many seconds of wall time at
    most, whatever runs then. Raises TimeIsUp when these did not suffice, Unfinished when trials are
    missing for no reason of the budget's, Interrupted after Ctrl-C or SIGTERM with everything
    finished saved, JobError when every trial fails for one reason, InputError when the store
    changed under the study."""
    named = Study(home, checked_name(study, "study name"))
    place = tracking_place(home, options.tracking_uri)
    if space.objective == "ensemble" and credit is None:
        raise ValueError("objective ensemble needs a callable that credits trials")
    ready = check_ready(home, space, store, options, complete=len(named.bank.trials(study)))
    if ready.concurrent is not None:
        options = replace(options, concurrent=ready.concurrent)
    for remark in ready.remarks:
        note(remark)
    ends: list[str] = []
    with (
        ending_in(stop_after) as deadline,
        named.searching(),
        kept(home, study, lost=ends.append, need=need_of(space)) as copy,
    ):
        warm = warm_start_of(named, warm_start, space, store)
        before = named.check(store)
        changes = space.changes(before["space"]) if before is not None else []
        for change in changes:
            note(f"space changed: {change}")
        named.begin(store, space.document, warm_start=warm_start, changes=changes)
        spent = named.document()["seconds"]
        again = None if only is None else frozenset(_unfinished(named, only))
        session = Session(
            named, space, store, lambda record: None,
            spent=spent, credit=credit, warm=warm, only=again, copy=copy, ends=ends, deadline=deadline,
        )  # fmt: skip
        delivery = Delivery(
            place.uri,
            study=study,
            artifacts=place.artifacts,
            parent=_parent(space, store),
            keys=TrialSettings.model_fields,
            whole=partial(named.bank.trial, study),
            pictures=pictures,
            owner=place.owner,
            report=named.note_tracking,
        )
        session.deliver = (
            delivery.put
        )  # opened once nothing is left to refuse, lest its thread dies with the process
        found = len(session.finished)
        for trial in [*session.records.values(), *named.failures()]:
            delivery.put(trial)
        try:
            with stoppable(session):
                _run(session, options, watch, lambda: _end(session, delivery))
        finally:
            session.claims.release_all()
            session.note_time()
            named.forget_stop()
            _end(session, delivery)
            undelivered = delivery.close(
                _patience(session),
                watch=lambda waiting: watch(replace(session.progress(), undelivered=waiting)),
            )
        return summary_of(session, found, changes, undelivered, delivery.problem)


def _patience(session: Session) -> float:
    """Seconds to wait for the tracking server; after a signal few are left, since who sent it may
    kill."""
    if not session.interrupted:
        return INTERRUPTED_SECONDS if session.ends else DELIVERY_SECONDS
    if session.asked_to_stop:
        return INTERRUPTED_SECONDS
    return max(1.0, min(INTERRUPTED_SECONDS, LEAVING_SECONDS - seconds_since_signal()))


def _end(session: Session, delivery: Delivery) -> None:
    """No more records: the study's run in MLflow gets its last word, once."""
    pareto = front(session)
    status = "KILLED" if session.interrupted else "FAILED" if session.hopeless else "FINISHED"
    delivery.end(status, {} if pareto is None else {"pareto.json": pareto})


def _unfinished(study: Study, only: Literal["failed", "begun"]) -> set[str]:
    """Trials whose last training failed, or with these all that were asked for; complete ones among
    them do no harm."""
    failed = {trial.id for trial in study.failures()}
    return failed if only == "failed" else failed | {trial.id for trial in study.asked()}


def _run(
    session: Session, options: Options, watch: Callable[[Progress], None], ended: Callable[[], None]
) -> None:
    """Train; `ended` is called when all is trained, while Ray still shuts down."""
    session.heed()  # a stop may have been asked for while the home was brought
    first = session.next_trial()
    if first is None and not session.waiting:
        return  # nothing to do: Ray is not even started

    def stop() -> bool:
        session.heed()
        return session.interrupted

    try:
        with (
            redirect_stdout(sys.stderr),  # Ray prints on standard output when a worker dies
            ray_running(options, stop) as ray,
        ):
            _train(session, options, first, ray, watch)
            if not session.stopping:
                ended()
    except RayLost as lost:
        session.ends.append(f"{lost}; {KEPT}")


def _train(
    session: Session,
    options: Options,
    first: Any,
    ray: RunningRay,
    watch: Callable[[Progress], None],
) -> None:
    gpus = options.gpus_per_trial
    if options.address is None:
        gpus = gpus_each(gpus, ray.resources.get("GPU", 0))
    elif gpus is None:
        gpus = 1.0 if ray.resources.get("GPU", 0) >= 1 else 0.0
    session.device = device_in_words(gpus)
    call = ray.supervisor.call
    with _fit_nodes(session, options, ray):
        if options.address is None:
            most = side_by_side(ray.resources, gpus, options.threads)
        else:
            most = max(1, call(lambda: places(living(), gpus, options.threads)))
        session.concurrent = options.concurrent or most
        if not session.stopping:
            call(partial(tune_in_waves, session, options, first, gpus, watch=watch, ray=ray))


@contextmanager
def _fit_nodes(session: Session, options: Options, ray: RunningRay) -> Iterator[None]:
    """Around a search on a cluster: its nodes are fit to train, and those that join later know what
    they must have."""
    if options.address is None:
        yield
        return
    if options.gpus_per_trial is None and not ray.resources.get("CPU", 0):
        raise InputError(
            f"--address {options.address}: no worker is up yet, so say what a trial needs: --gpus-per-trial 1, a "
            "share such as 0.25, or 0 to train on CPUs"
        )
    with checked_nodes(session.study.home, session.store, ray.supervisor.call) as session.wanted:
        yield


def _parent(space: Space, store: Store) -> dict[str, Any]:
    return {
        "params": {
            "store": store.name,
            "sampler": space.sampler,
            "objective": space.objective,
            "seeds": " ".join(map(str, space.seeds)),
            "folds": " ".join(map(str, space.folds)),
        },
        "tags": {"va_search.version": __version__},
        "artifacts": {"space.yaml": space.document, "plan.json": _plan(space)},
    }


def _plan(space: Space) -> dict[str, Any]:
    """How much there is to search; numbers are None where there is no end."""
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
