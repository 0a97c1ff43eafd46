"""A session on Ray Tune: on this machine by default, on a cluster with an address.

Tune places trials and starts a killed process anew; it remembers nothing for us: the bank does. Our searcher draws from
the session, ASHA (where the space asks for it) stops trials early, and a stopped trial still goes to the bank.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from va_search import __version__
from va_search.data.check import leaks
from va_search.data.store import Store
from va_search.errors import InputError, Interrupted, JobError
from va_search.files import Home, checked_name, remove_folder
from va_search.search.credits import Credit
from va_search.search.machine import Options, check_options, ray_running, side_by_side
from va_search.search.outcomes import measures, objective, pareto
from va_search.search.rungs import Rungs
from va_search.search.session import Progress, Session, planned_trials, task
from va_search.search.space import Space
from va_search.search.study import Study
from va_search.search.warm import Warm, warm_start_from
from va_search.tracking.delivery import Delivery, Pictures
from va_search.tracking.door import tracking_place
from va_search.training.settings import TrialSettings

DELIVERY_SECONDS = 60.0
"""How long the end of a search waits for the tracking server before it leaves the rest to the next search."""

WAVE, WAVE_EACH = 500, 50
"""Trials in a wave: so many in all, or for each that runs beside others. At its end some wait for the last one: with 50
each that is about one part in a hundred."""

RETRIES = 2
"""So many times a trial whose process was killed goes on from its checkpoint in a process of its own. An exception of a
training is no such failure: the actor reports it, and only `search` again retries it."""


@dataclass(frozen=True)
class Summary:
    """What a run of `search` did and where the study stands; `best` maps a measure to (trial, value),
    and is empty where no trial has a validation score (train_val_mix). `pareto`: for objective both, the trials that no
    other beats on one dimension without losing on the other, {trial, valence, arousal} each; None for any other."""

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
    undelivered: int
    tracking_problem: str | None
    reason: str | None


def run_search(
    home: Home,
    space: Space,
    store: Store,
    *,
    study: str,
    options: Options,
    watch: Callable[[Progress], None],
    credit: Credit | None = None,
    pictures: Pictures | None = None,
    warm_start: Sequence[str] = (),
    only: Literal["failed", "begun"] | None = None,
) -> Summary:
    """Search `space` on `store` under a study's name; the same call again resumes.

    `only`: train nothing but what `failed`, or what was `begun` and is not complete, whatever the budget.
    `watch` is called about once a second; `credit` is what objective ensemble asks; `pictures`
    draws the study for its parent run; `warm_start` are studies whose trials TPE learns first, now and whenever this
    study goes on.
    Raises Interrupted after Ctrl-C or SIGTERM with everything finished saved,
    JobError when every trial fails for one reason, InputError when the store changed under the study.
    """
    named = Study(home, checked_name(study, "study name"))
    place = tracking_place(home, options.tracking_uri)
    check_options(options)
    if space.objective == "ensemble" and credit is None:
        raise ValueError("objective ensemble needs a callable that credits trials")
    _refuse_leaks(store)
    with named.searching():
        named.forget_stop()
        warm = _warm(named, warm_start, space, store)
        before = named.begin(store, space.document, warm_start=warm_start)
        changes = space.changes(before) if before is not None else []
        spent = named.document()["seconds"]
        again = None if only is None else frozenset(_unfinished(named, only))
        session = Session(named, space, store, lambda record: None, spent=spent, credit=credit, warm=warm, only=again)
        delivery = Delivery(
            place.uri,
            study=study,
            artifacts=place.artifacts,
            parent=_parent(space, store),
            keys=TrialSettings.model_fields,
            whole=partial(named.bank.record, study),
            pictures=pictures,
        )
        session.deliver = delivery.put  # opened once nothing is left to refuse, lest its thread dies with the process
        found = len(session.finished)
        for record in [*session.records.values(), *named.failures()]:
            delivery.put(record)
        try:
            with _stoppable(session):
                _run(session, options, watch)
        finally:
            session.claims.release_all()
            session.note_time()
            named.forget_stop()
            status = "KILLED" if session.interrupted else "FINISHED"
            front = _front(session)
            undelivered = delivery.close(
                DELIVERY_SECONDS / 6 if session.interrupted else DELIVERY_SECONDS,
                status=status,
                artifacts={} if front is None else {"pareto.json": front},
            )
        return _summary(session, found, changes, undelivered, delivery.problem)


def _unfinished(study: Study, only: Literal["failed", "begun"]) -> set[str]:
    """Trials whose last training failed, or with these all that were asked for; complete ones among them do no harm."""
    failed = {str(record["trial"]) for record in study.failures()}
    return failed if only == "failed" else failed | {trial for trial, _ in study.asked()}


def _run(session: Session, options: Options, watch: Callable[[Progress], None]) -> None:
    first = session.next_trial()
    if first is None and not session.waiting:
        return  # nothing to do: Ray is not even started
    with (
        redirect_stdout(sys.stderr),
        ray_running(options) as resources,
    ):  # Ray prints on standard output when a worker dies
        _listen(session)
        gpus = options.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
        if options.address is None and gpus > resources.get("GPU", 0):
            has = f"this machine has {resources.get('GPU', 0):g} that Ray can use"
            raise InputError(f"--gpus-per-trial {gpus:g}: {has}; leave the option out to train on what there is")
        session.concurrent = options.concurrent or side_by_side(resources, gpus, options.threads)
        if not session.stopping:
            _tune(session, options, first, gpus, watch)


def _refuse_leaks(store: Store) -> None:
    """A subject who trains and validates, or is tested, makes every score too good: refused before a trial starts."""
    found = [finding for finding in leaks(store) if finding.level == "error"]
    if found:
        hint = "where the challenge means it so, give each recording a subject of its own and import again"
        raise InputError(*(f"{store.path}: {one.where} {one.text}" for one in found), hint)


def _tune(session: Session, options: Options, first: Any, gpus: float, watch: Callable[[Progress], None]) -> None:
    """Train in waves: until it ends, Tune keeps all finished trials and looks through them at every turn."""
    scheduler = _scheduler(session)
    while first is not None or session.waiting:
        _wave(session, options, first, gpus=gpus, scheduler=scheduler, watch=watch)
        gc.collect()  # Tune's trials refer to one another
        first = session.next_trial()


def _wave(
    session: Session, options: Options, first: Any, *, gpus: float, scheduler: Any, watch: Callable[[Progress], None]
) -> None:
    from ray import tune

    from va_search.search.adapters import Progressing, SessionSearcher, StopWhenAsked
    from va_search.search.trial import TrialActor

    def to_task(trial: str, settings: Any) -> dict[str, Any]:
        made = task(session, trial, settings, device="cpu" if gpus == 0 else "auto", threads=options.threads)
        return {**made, "checkpoint_seconds": options.checkpoint_seconds}

    scratch = session.study.folder / "ray"
    remove_folder(scratch)
    early = session.space.early_stopping
    trainable = tune.with_resources(TrialActor, {"cpu": options.threads, "gpu": gpus})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            num_samples=-1,
            search_alg=SessionSearcher(session, first, to_task, max(WAVE, WAVE_EACH * session.concurrent)),
            scheduler=scheduler,
            max_concurrent_trials=session.concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=session.study.name,
            storage_path=str(scratch.resolve()),
            stop=StopWhenAsked(session),
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=early is not None),
            callbacks=[Progressing(session, watch)],
            verbose=0,
        ),
    )
    tuner.fit()
    remove_folder(scratch)


def _trial_name(trial: Any) -> str:
    return str(trial.config["trial"])


def _scheduler(session: Session) -> Any:
    from va_search.search.adapters import StopBehind

    early = session.space.early_stopping
    if early is None:
        return None
    rungs = Rungs(early.grace_epochs, early.reduction_factor, measures(session.space.objective))
    rungs.learn(session.study.bank.record(session.study.name, trial) for trial in sorted(session.finished))
    return StopBehind(rungs)


@contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the session to stop; a second one stops at once. Then raise what became of it."""
    before = _listen(session)
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # the latter from Ray's own SIGTERM handler, while it starts
        session.interrupted = True
    except (JobError, RuntimeError):  # such as a Ray that was stopped while it started
        if not session.interrupted:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if session.interrupted:
        done = len(session.finished)
        by = f"stopped by `va-search stop {session.study.name}`" if session.asked_to_stop else "interrupted"
        raise Interrupted(f"{by}: {done} trials are complete and saved; the same command again goes on from there")


def _listen(session: Session) -> dict[int, Any]:
    """Take SIGINT and SIGTERM for this session (Ray takes SIGTERM when it starts); returns the handlers before."""

    def ask(_signal: int, _frame: Any) -> None:
        if session.interrupted:
            raise KeyboardInterrupt
        session.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}


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


def _warm(study: Study, given: Sequence[str], space: Space, store: Store) -> list[Warm]:
    """What the studies given now, and those given before, tell; of the latter, what is still there, and TPE can use."""
    before = [name for name in study.warm_start if name not in given]
    still = [name for name in before if space.sampler == "tpe" and study.bank.trials(name)]
    return warm_start_from(study.bank, [*still, *given], space, store, study=study.name)


def _front(session: Session) -> list[dict[str, Any]] | None:
    if session.space.objective != "both":
        return None
    return pareto(session.records[trial] for trial in session.finished)


def _summary(
    session: Session, found: int, changes: list[str], undelivered: list[str], tracking_problem: str | None
) -> Summary:
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
        pareto=_front(session),
        undelivered=len(undelivered),
        tracking_problem=tracking_problem if undelivered else None,
        reason=session.enough if open_still else None,
    )
