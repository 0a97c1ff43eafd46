"""A session on Ray Tune: on this machine by default, on a cluster with an address.

Tune places trials, restarts nothing and remembers nothing for us: the bank does. Our searcher draws from the
session, ASHA (where the space asks for it) stops trials early, and a stopped trial still goes to the bank.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import Interrupted, JobError
from va_search.files import Home, remove_folder
from va_search.search.session import Progress, Session, objective, task
from va_search.search.space import Space
from va_search.search.study import Study
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import tracking_place

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_GLOBAL_CHECKPOINT_S": "100000",
}
"""Nothing leaves the machine, no second log of results, our own Ctrl-C, and no snapshots of a state the bank has."""

DELIVERY_SECONDS = 60.0
"""How long the end of a search waits for the tracking server before it leaves the rest to the next search."""


@dataclass(frozen=True)
class Options:
    """How to run, none of which changes a result: Ray's address, trials side by side, GPU share, tracking server."""

    address: str | None = None
    concurrent: int | None = None
    gpus_per_trial: float | None = None
    tracking_uri: str | None = None
    threads: int = 1


@dataclass(frozen=True)
class Summary:
    """What a run of `search` did and where the study stands; `best` maps a measure to (trial, value)."""

    study: str
    complete: int
    trained: int
    found: int
    adopted: int
    failed: int
    seconds: float
    changes: list[str]
    best: dict[str, tuple[str, float]]
    undelivered: int
    reason: str | None


def run_search(
    home: Home, space: Space, store: Store, *, study: str, options: Options, watch: Callable[[Progress], None]
) -> Summary:
    """Search `space` on `store` under a study's name; the same call again resumes.

    `watch` is called about once a second. Raises Interrupted after Ctrl-C or SIGTERM with everything finished saved,
    JobError when every trial fails for one reason, InputError when the store changed under the study.
    """
    named = Study(home, study)
    home.root.mkdir(parents=True, exist_ok=True)
    place = tracking_place(home, options.tracking_uri)
    with named.searching():
        before = named.begin(store, space.document)
        changes = space.changes(before) if before is not None else []
        delivery = Delivery(place.uri, study=study, artifacts=place.artifacts, parent=_parent(space, store))
        session = Session(named, space, store, delivery.put, spent=named.document()["seconds"])
        found = len(session.finished)
        for record in [*session.records.values(), *named.failures()]:
            delivery.put(record)
        try:
            with _stoppable(session):
                _run(session, options, watch)
        finally:
            session.claims.release_all()
            named.spend(time.monotonic() - session.started)
            status = "KILLED" if session.interrupted else "FINISHED"
            undelivered = delivery.close(
                DELIVERY_SECONDS / 6 if session.interrupted else DELIVERY_SECONDS, status=status
            )
        return _summary(session, found, changes, len(undelivered))


def _run(session: Session, options: Options, watch: Callable[[Progress], None]) -> None:
    first = session.next_trial()
    if first is None and not session.waiting:
        return  # nothing to do: Ray is not even started
    with _ray(options) as resources:
        gpus = options.gpus_per_trial
        if gpus is None:
            gpus = 1.0 if resources.get("GPU", 0) >= 1 else 0.0
        session.concurrent = options.concurrent or _side_by_side(resources, gpus, options.threads)
        _tune(session, options, first, gpus, watch)


def _side_by_side(resources: dict[str, float], gpus: float, threads: int) -> int:
    by_cpu = int(resources.get("CPU", 1) // threads)
    by_gpu = int(resources.get("GPU", 0) / gpus) if gpus else by_cpu
    return max(1, min(by_cpu, by_gpu))


def _tune(session: Session, options: Options, first: Any, gpus: float, watch: Callable[[Progress], None]) -> None:
    from ray import tune

    from va_search.search.adapters import Progressing, SessionSearcher, StopWhenAsked
    from va_search.search.trial import TrialActor

    def to_task(trial: str, settings: Any) -> dict[str, Any]:
        return task(session, trial, settings, device="cpu" if gpus == 0 else "auto", threads=options.threads)

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
            search_alg=SessionSearcher(session, first, to_task),
            scheduler=_scheduler(session.space) if early else None,
            max_concurrent_trials=session.concurrent,
            reuse_actors=True,
            trial_name_creator=_trial_name,
            trial_dirname_creator=_trial_name,
        ),
        run_config=tune.RunConfig(
            name=session.study.name,
            storage_path=str(scratch.resolve()),
            stop=StopWhenAsked(session),
            failure_config=tune.FailureConfig(max_failures=0),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=early is not None),
            callbacks=[Progressing(session, watch)],
            verbose=0,
        ),
    )
    tuner.fit()
    remove_folder(scratch)


def _trial_name(trial: Any) -> str:
    return str(trial.config["trial"])


def _scheduler(space: Space) -> Any:
    from ray.tune.schedulers import ASHAScheduler

    early = space.early_stopping
    assert early is not None
    longest = max(10_000, early.grace_epochs)
    return ASHAScheduler(
        time_attr="epoch", grace_period=early.grace_epochs, reduction_factor=early.reduction_factor, max_t=longest
    )


@contextmanager
def _ray(options: Options) -> Iterator[dict[str, float]]:
    """A Ray that is ours alone on this machine, or a connection to a cluster; yields its resources."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    address: dict[str, Any] = {"address": options.address}
    if options.address is None:
        count = (options.concurrent or os.cpu_count() or 1) * options.threads
        address = {
            "address": "local",
            "num_cpus": count,
            "object_store_memory": 100 * 2**20,
            "include_dashboard": False,
        }
    try:
        ray.init(**address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = options.address or "this machine"
        raise JobError(f"Ray could not be started or reached at {where}: {error}") from error
    try:
        yield dict(ray.cluster_resources())
    finally:
        ray.shutdown()


@contextmanager
def _stoppable(session: Session) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the session to stop; a second Ctrl-C stops at once. Then raise what became of it."""

    def ask(_signal: int, _frame: Any) -> None:
        if session.interrupted:
            raise KeyboardInterrupt
        session.interrupted = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if session.interrupted:
        done = len(session.finished)
        raise Interrupted(
            f"interrupted: {done} trials are complete and saved; the same command again goes on from there"
        )


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
        "artifacts": {"space.json": space.document},
    }


def _summary(session: Session, found: int, changes: list[str], undelivered: int) -> Summary:
    if session.hopeless is not None:
        raise JobError(f"stopped early: {session.hopeless}\ntracebacks: {session.study.folder / 'failures'}")
    inside = [session.records[trial] for trial in sorted(session.finished)]
    best = {}
    for name in ("valence", "arousal", "score"):
        if inside:
            top = max(inside, key=lambda record: objective(record, name))
            best[name] = (str(top["trial"]), objective(top, name))
    return Summary(
        study=session.study.name,
        complete=len(session.finished),
        trained=len(session.trained),
        found=found,
        adopted=session.adopted,
        failed=sum(session.reasons.values()),
        seconds=time.monotonic() - session.started,
        changes=changes,
        best=best,
        undelivered=undelivered,
        reason="the time budget is spent" if session.out_of_time else None,
    )
