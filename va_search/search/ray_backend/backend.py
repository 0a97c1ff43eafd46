"""A session's trials on Ray Tune, in waves.

Tune places trials and starts their processes; it remembers nothing for us: the bank does. Until it
ends it keeps all finished trials and looks through them at every turn; so it ends now and then, and
the next wave begins on the same Ray. ASHA (where the space asks for it) stops trials early, and a
stopped trial still goes to the bank."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from va_search.files import remove_folder
from va_search.search.machine import Options
from va_search.search.outcomes import measures
from va_search.search.ray_backend.connection import RunningRay
from va_search.search.ray_backend.nodes import living, places, waiting_for
from va_search.search.rungs import Rungs
from va_search.search.session import Progress, Session, task

WAVE, WAVE_EACH = 500, 50
"""Trials in a wave: so many in all, or for each that runs beside others. At its end some wait for
the last one: with 50 each that is about one part in a hundred."""

RETRIES = 0
"""Of a trial whose process was killed, by Tune: the session hands it out again, beside as many
others as it sees fit. An exception of a training is no such failure: the actor reports it, and only
`search` again retries it."""


def tune_in_waves(
    session: Session,
    options: Options,
    first: Any,
    gpus: float,
    *,
    watch: Callable[[Progress], None],
    ray: RunningRay,
) -> None:
    """Train what the session hands out until there is no more; `first` was drawn before Ray was
    started."""
    scheduler = _scheduler(session)
    _use_waiting_processes()
    while first is not None or session.waiting:
        _wave(session, options, first, gpus=gpus, scheduler=scheduler, watch=watch, ray=ray)
        if not session.stopping:
            session.dropped()
        gc.collect()  # Tune's trials refer to one another
        first = session.next_trial()


def _wave(
    session: Session,
    options: Options,
    first: Any,
    *,
    gpus: float,
    scheduler: Any,
    watch: Callable[[Progress], None],
    ray: RunningRay,
) -> None:
    from ray import tune
    from ray.tune.search import ConcurrencyLimiter

    from va_search.search.proposals import partners
    from va_search.search.ray_backend.actor import TrialActor
    from va_search.search.ray_backend.fused_actor import FusedActor
    from va_search.search.ray_backend.hooks import Progressing, SessionSearcher, StopWhenAsked

    def to_task(trial: str, settings: Any) -> dict[str, Any]:
        made = task(
            session, trial, settings, device="cpu" if gpus == 0 else "cuda", threads=options.threads
        )
        made["checkpoint_seconds"] = options.checkpoint_seconds
        others = session.next_alike(partners(settings), options.fuse_seeds - 1)
        if others:
            group = [(trial, settings), *others]
            made["group"] = [
                {"trial": one, "settings": each.model_dump(mode="json")} for one, each in group
            ]
        return made

    scratch = session.study.folder / "ray"
    remove_folder(scratch)
    early = session.space.early_stopping
    searcher = SessionSearcher(session, first, to_task, max(WAVE, WAVE_EACH * session.concurrent))
    limiter = ConcurrencyLimiter(searcher, max_concurrent=session.concurrent)

    def count_nodes() -> None:
        """A cluster's nodes come and go: as many trials as they bear, and what to tell where they
        bear none."""
        if options.address is not None:
            nodes = living()
            session.lacks = waiting_for(nodes, gpus, options.threads)
            session.concurrent = options.concurrent or max(1, places(nodes, gpus, options.threads))
            limiter.max_concurrent = session.concurrent

    actor = TrialActor if options.fuse_seeds == 1 else FusedActor
    trainable = tune.with_resources(actor, {"cpu": options.threads, "gpu": gpus})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            num_samples=-1,
            search_alg=limiter,
            scheduler=scheduler,
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
            callbacks=[
                Progressing(
                    session,
                    watch,
                    count_nodes,
                    lost=ray.supervisor.lost,
                    explain=ray.deaths.explain,
                )
            ],
            progress_reporter=tune.CLIReporter(),  # a notebook's would clear our line of progress
            verbose=0,
        ),
    )
    tuner.fit()
    remove_folder(scratch)


def _use_waiting_processes() -> None:
    """Let actors begin in the processes that have imported torch already (machine.py: PRELOADED).

    Ray gives an actor with environment variables of its own a process of its own, and Tune sets
    one: for PyTorch Lightning, which is not used here. Without effect on results; where Tune
    changes this, trials begin later."""
    from ray.tune.execution import class_cache

    getattr(class_cache, "DEFAULT_ENV_VARS", {}).pop("PL_DISABLE_FORK", None)


def _trial_name(trial: Any) -> str:
    return str(trial.config["trial"])


def _scheduler(session: Session) -> Any:
    from va_search.search.ray_backend.hooks import StopBehind

    early = session.space.early_stopping
    if early is None:
        return None
    rungs = Rungs(early.grace_epochs, early.reduction_factor, measures(session.space.objective))
    rungs.learn(
        session.study.bank.trial(session.study.name, trial) for trial in sorted(session.finished)
    )
    return StopBehind(rungs)
