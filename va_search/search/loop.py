"""The search while it trains, read from top to bottom:

    ask → train → events → tell → progress → stop

The scheduler decides, the backend trains, and the loop connects the two. Ray Tune turns the wheel:
it calls `Loop` whenever it has room for a trial, whenever one ends and at every turn, on Ray's
thread; the main thread meanwhile waits and hears signals (ray_backend/supervisor.py)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from typing import Any

from va_search.search.early_stopping import Rungs
from va_search.search.events import CannotGoOn, Event, Reached, event_of
from va_search.search.live import LiveFile, RunningTrial
from va_search.search.machine import Options
from va_search.search.probes import Look, Probe
from va_search.search.proposals import AskedTrial
from va_search.search.ray_backend.backend import RayBackend, ray_backend
from va_search.search.ray_backend.connection import ray_running
from va_search.search.ray_backend.supervisor import RayLost
from va_search.search.scheduler import Scheduler
from va_search.search.sizes import disk_of_trial
from va_search.search.summary import Progress, progress_of
from va_search.search.task import Task

Watch = Callable[[Progress], None]

SAVED = (
    "finished trials are saved, running ones keep their last checkpoint; the same command again "
    "goes on from there"
)


def train(scheduler: Scheduler, options: Options, watch: Watch, ended: Callable[[], None]) -> None:
    """Train what the scheduler hands out until there is no more, or it is to stop. `ended` is
    called when all is trained, while Ray still shuts down."""
    scheduler.stop.heed()  # a stop may have been asked for while the home was brought
    trial = scheduler.ask()
    if trial is None and not scheduler.waiting:
        return  # nothing to do: Ray is not even started

    def stop() -> bool:
        scheduler.stop.heed()
        return scheduler.stop.interrupted

    study, space, store = scheduler.study, scheduler.space, scheduler.store
    live = LiveFile(study)
    live.write(progress_of(scheduler).live)  # Ray starts now, which takes some seconds
    try:
        with (
            redirect_stdout(sys.stderr),  # Ray prints on standard output when a worker dies
            ray_running(options, stop) as ray,
            ray_backend(ray, options, study, space, store) as backend,
        ):
            scheduler.tell(backend.ready)
            if not scheduler.stopping:
                loop = Loop(scheduler, backend, watch, trial, live)
                ray.supervisor.call(loop.run)
            if not scheduler.stopping:
                ended()
    except RayLost as lost:
        scheduler.tell(CannotGoOn(f"{lost}; {SAVED}"))
    finally:
        live.remove()


class Loop:
    """The driver of the backend (ray_backend/hooks.py: Driver), which Tune calls."""

    def __init__(
        self,
        scheduler: Scheduler,
        backend: RayBackend,
        watch: Watch,
        first: AskedTrial | None,
        live: LiveFile | None = None,
    ) -> None:
        """`first`: a trial that was asked for before Ray was started. `live`: the file for those who
        watch from elsewhere; None: nobody does."""
        self._scheduler, self._backend, self._watch = scheduler, backend, watch
        self._next, self._live = first, live
        self._running: dict[str, RunningTrial] = {}
        self._rungs = _rungs(scheduler)
        self._look: Look | None = None
        self._untold: list[Event] = []
        """Events that the scheduler could not note, to be told again after the pause."""

    def run(self) -> None:
        """Train wave after wave while there are trials."""
        while self._next is not None or self._scheduler.waiting:
            self._backend.train(self)
            self._next = self._asked()

    def ask(self) -> Task | None:
        """Return the next task, alone or with others as one model; None where there is none."""
        fused = self._backend.options.fuse_seeds
        trial, self._next = self._next or self._asked(), None
        if trial is None:
            return None
        running = set(self._scheduler.queue.running) - {trial.id}
        try:
            partners = self._scheduler.ask_partners(trial.settings, fused - 1)
            return self._backend.tasks.task(trial, partners)
        except Exception as error:
            begun = set(self._scheduler.queue.running) - running
            self._scheduler.tell(event_of(error, tuple(sorted(begun))))
            return None

    def _asked(self) -> AskedTrial | None:
        try:
            return self._scheduler.ask()
        except Exception as error:
            self._scheduler.tell(event_of(error))
            return None

    @property
    def waiting(self) -> bool:
        """True while there may be a task later, where there is none now."""
        return self._scheduler.waiting

    @property
    def training(self) -> bool:
        """True while a trial is trained."""
        return bool(self._scheduler.queue.running)

    def tell(self, event: Event) -> None:
        """Tell the scheduler what became of a task; after the pause, where it can't be noted now."""
        try:
            self._scheduler.tell(event)
        except Exception as error:
            self._untold.append(event)
            self._scheduler.tell(event_of(error))

    def is_behind(self, reached: Reached) -> bool:
        """Return True to stop a trial early."""
        if self._rungs is None:
            return False
        study = self._scheduler.study
        news = self._scheduler.results.take_news()
        self._rungs.learn(study.bank.trial(study.name, trial) for trial in news)
        return self._rungs.behind(reached.trial, reached.epoch, reached.best)

    def show(self) -> None:
        """Show whoever watches how it goes; during a pause look at its cause now and then."""
        self._look_at_machine()
        self._scheduler.accrue()
        progress = progress_of(self._scheduler, trials=self._running_trials())
        if self._live is not None:
            self._live.write(progress.live)
        self._watch(progress)

    def hear(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Keep how trials go; what is not readable (a node's other version) is left out."""
        for document in running:
            with suppress(TypeError, KeyError, ValueError):
                trial = RunningTrial.from_json(document)
                self._running[trial.id] = trial

    def _running_trials(self) -> tuple[RunningTrial, ...]:
        """Return the trials that run; of one that has not reported yet only its epochs are known."""
        known, self._running = self._running, {}
        for name, settings in self._scheduler.queue.running.items():
            self._running[name] = known.get(name) or RunningTrial(name, settings.trained_epochs)
        return tuple(self._running.values())

    def _look_at_machine(self) -> None:
        pause = self._scheduler.pause
        if self._look is None:
            if pause.outage is not None and pause.look_is_due:
                self._look = Look(_probe(self._scheduler, self._backend).problem, pause.outage)
            return
        answer = self._look.answer
        if answer is None:
            return
        self._look = None
        self._scheduler.tell(answer)
        if not pause.is_on:
            untold, self._untold = self._untold, []
            for event in untold:
                self.tell(event)

    @property
    def stopping(self) -> bool:
        """True once everything is to end: a stop was asked for, or there is no hope."""
        self._scheduler.stop.heed()
        return self._scheduler.stopping


def _probe(scheduler: Scheduler, backend: RayBackend) -> Probe:
    """Return the look at the machine that suits a search."""
    room = scheduler.concurrent * disk_of_trial(scheduler.space, scheduler.store)
    is_local = backend.options.address is None
    return Probe(scheduler.study, scheduler.store, room, is_local, backend.options.gpus)


def _rungs(scheduler: Scheduler) -> Rungs | None:
    """Return the rungs of early stopping, with what finished trials reached there; None where no
    trial is stopped early."""
    early = scheduler.space.early_stopping
    if early is None:
        return None
    rungs = Rungs(early.grace_epochs, early.reduction_factor, scheduler.space.measures)
    study = scheduler.study
    finished = sorted(scheduler.results.finished)
    rungs.learn(study.bank.trial(study.name, trial) for trial in finished)
    return rungs
