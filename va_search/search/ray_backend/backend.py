"""The trials of a search on Ray Tune, in waves.

Tune places trials and starts their processes; it remembers nothing for us: the bank does. Until it
ends it keeps all finished trials and looks through them at every turn; so it ends now and then, and
the next wave begins on the same Ray. A trial that is stopped early still goes to the bank."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import remove_folder
from va_search.search.configurations import Space
from va_search.search.events import Capacity, Idle, Ready
from va_search.search.machine import Options, device_in_words, gpus_each, side_by_side
from va_search.search.ray_backend.connection import RunningRay
from va_search.search.ray_backend.nodes import Expected, checked_nodes, living, places, waiting_for
from va_search.search.ray_backend.privacy import keep_secrets_from_tune
from va_search.search.ray_backend.sick_gpus import SickGpus
from va_search.search.study import Study
from va_search.search.task import TaskMaker

WAVE, WAVE_EACH = 500, 50
"""Trials in a wave: so many in all, or for each that runs beside others. At its end some wait for
the last one: with 50 each that is about one part in a hundred."""

RETRIES = 0
"""Of a trial whose process was killed, by Tune: the scheduler hands it out again, beside as many
others as it sees fit. An exception of a training is no such failure: the actor reports it, and only
`search` again retries it."""


@dataclass
class RayBackend:
    """Trains the trials of one study on a Ray that runs, each on `gpus` GPUs."""

    ray: RunningRay
    options: Options
    study: Study
    gpus: float
    concurrent: int
    tasks: TaskMaker
    stops_early: bool
    sick_gpus: SickGpus
    waves: int = 0
    """Those that were trained."""

    @property
    def ready(self) -> Ready:
        """The event that it can begin."""
        words = device_in_words(self.gpus)
        return Ready(words, self.concurrent, self.gpus, self.options.threads)

    def train(self, driver: Any) -> None:
        """Train one wave of tasks for a `Driver` (hooks.py), which is told what becomes of them."""
        from ray import tune
        from ray.tune.search import ConcurrencyLimiter

        from va_search.search.ray_backend.actor import TrialActor
        from va_search.search.ray_backend.fused_actor import FusedActor
        from va_search.search.ray_backend.hooks import (
            EventCallback,
            StopBehind,
            StopWhenAsked,
            TaskSearcher,
        )

        if self.waves:
            gc.collect()  # Tune's trials refer to one another
        self.waves += 1
        _use_waiting_processes()
        keep_secrets_from_tune(on_cluster=self.options.address is not None)
        scratch = self._scratch
        remove_folder(scratch)
        options = self.options
        searcher = TaskSearcher(driver, max(WAVE, WAVE_EACH * self.concurrent))
        limiter = ConcurrencyLimiter(searcher, max_concurrent=self.concurrent)

        def count_nodes() -> None:
            # A cluster's nodes come and go: as many trials as they bear, and what to tell where
            # they bear none.
            if options.address is not None:
                capacity = _capacity(options, self.gpus)
                self.concurrent = limiter.max_concurrent = capacity.concurrent
                driver.tell(capacity)

        actor = TrialActor if options.fuse_seeds == 1 else FusedActor
        tuner = tune.Tuner(
            tune.with_resources(actor, {"cpu": options.threads, "gpu": self.gpus}),
            tune_config=tune.TuneConfig(
                metric="objective",
                mode="max",
                num_samples=-1,
                search_alg=limiter,
                scheduler=StopBehind(driver) if self.stops_early else None,
                reuse_actors=True,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                name=self.study.name,
                storage_path=str(scratch.resolve()),
                stop=StopWhenAsked(driver, searcher),
                failure_config=tune.FailureConfig(max_failures=RETRIES),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=self.stops_early),
                callbacks=[
                    EventCallback(
                        driver, self.ray, count_nodes, self.sick_gpus, lambda: self.concurrent
                    )
                ],
                # A notebook's reporter would clear our line of progress.
                progress_reporter=tune.CLIReporter(),
                verbose=0,
            ),
        )
        tuner.fit()
        remove_folder(scratch)
        driver.tell(Idle())

    @property
    def _scratch(self) -> Path:
        """The folder for what Tune writes and nobody reads: of a Ray of our own beside Ray's, so that
        a home that is away or full does not end Tune."""
        folder = self.ray.supervisor.folder
        return self.study.scratch if folder is None else folder / "tune"


@contextmanager
def ray_backend(
    ray: RunningRay, options: Options, study: Study, space: Space, store: Store
) -> Iterator[RayBackend]:
    """Yield a backend for a study. On a cluster its nodes are fit to train, and those that join
    later know what they must have; InputError naming those that are not."""
    call = ray.supervisor.call
    ray.deaths.check_store = store.check_files

    def make(gpus: float, concurrent: int, expected: Expected | None) -> RayBackend:
        sick_gpus = SickGpus(gpus)
        tasks = TaskMaker(
            study, space, store, options, _device(gpus), expected, gpus, sick_gpus.left_out
        )
        stops_early = space.early_stopping is not None
        return RayBackend(ray, options, study, gpus, concurrent, tasks, stops_early, sick_gpus)

    if options.address is None:
        gpus = gpus_each(options, ray.resources.get("GPU", 0))
        concurrent = options.concurrent or side_by_side(ray.resources, gpus, options.threads)
        yield make(gpus, concurrent, None)
        return
    gpus = _gpus_on_cluster(options, ray)
    with checked_nodes(study.home, store, call) as expected:
        concurrent = call(lambda: _capacity(options, gpus)).concurrent
        yield make(gpus, concurrent, expected)


def _gpus_on_cluster(options: Options, ray: RunningRay) -> float:
    """Return the GPUs each trial takes: as asked, else one where a node has one."""
    if options.gpus_per_trial is not None:
        return options.gpus_per_trial
    if not ray.resources.get("CPU", 0):
        raise InputError(
            f"--address {options.address}: no worker is up yet, so say what a trial needs: "
            "--gpus-per-trial 1, a share such as 0.25, or 0 to train on CPUs"
        )
    return 1.0 if ray.resources.get("GPU", 0) >= 1 else 0.0


def _capacity(options: Options, gpus: float) -> Capacity:
    """Look at the nodes of a cluster; on Ray's thread."""
    nodes = living()
    concurrent = options.concurrent or max(1, places(nodes, gpus, options.threads))
    return Capacity(concurrent, waiting_for(nodes, gpus, options.threads))


def _device(gpus: float) -> str:
    return "cpu" if gpus == 0 else "cuda"


def _use_waiting_processes() -> None:
    """Let actors begin in the processes that have imported torch already (connection.py:
    PRELOADED).

    Ray gives an actor with environment variables of its own a process of its own, and Tune sets
    one for every actor: for PyTorch Lightning, which is not used here. Neither `RunConfig` nor an
    environment variable turns that off, so its table is emptied. Without effect on results; where
    Tune changes this, trials begin later."""
    from ray.tune.execution import class_cache

    getattr(class_cache, "DEFAULT_ENV_VARS", {}).pop("PL_DISABLE_FORK", None)


def _trial_name(trial: Any) -> str:
    return str(trial.config["trial"])
