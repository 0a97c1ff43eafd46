"""Ray Tune's hooks, each thin: the searcher asks for tasks, the callback reports events, the
scheduler and the stopper stop.

Tune takes a callback's exception for the trial's own, and would train it again, which may be
complete; one of a searcher ends it with a traceback. So nothing that these call may raise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from va_search.search.events import (
    Died,
    Done,
    Event,
    Failed,
    FoundNoMemory,
    MachineFailed,
    OnSickGpu,
    Reached,
    Recovered,
    Refused,
    event_of,
)
from va_search.search.failures import Outage
from va_search.search.ray_backend.actor import BEST
from va_search.search.ray_backend.connection import RunningRay
from va_search.search.ray_backend.deaths import outage_in
from va_search.search.ray_backend.nodes import LOOK_SECONDS
from va_search.search.ray_backend.sick_gpus import SickGpus
from va_search.search.task import Task
from va_search.storage.redaction import without_secrets

WATCH_SECONDS = 1.0
"""So often whoever watches is shown the search."""


class Driver(Protocol):
    """Questions of the backend while it trains. No answer raises."""

    def ask(self) -> Task | None:
        """Return a task to train now; None where there is none."""

    @property
    def waiting(self) -> bool:
        """True while there may be a task later, where there is none now."""

    @property
    def training(self) -> bool:
        """True while a trial is trained."""

    def tell(self, event: Event) -> None:
        """Hear what became of a task."""

    def hear(self, running: Sequence[Mapping[str, Any]]) -> None:
        """Hear how trials go that one process trains, as `RunningTrial.to_json`."""

    def is_behind(self, reached: Reached) -> bool:
        """Return True to stop a trial early."""

    def show(self) -> None:
        """Show how it goes."""

    @property
    def stopping(self) -> bool:
        """True once everything is to end."""


class Unsaved:
    """Tune pickles its own snapshot, which we never read: what holds the driver leaves it out."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class TaskSearcher(Unsaved, Searcher):
    """Asks for at most `most` tasks."""

    def __init__(self, driver: Driver, most: int) -> None:
        super().__init__(metric="objective", mode="max")
        self._driver = driver
        self._left = most
        self.has_ended = False
        self._shown = 0.0

    def suggest(self, trial_id: str) -> Any:
        """Tune: the next trial's config, None to be asked again, FINISHED when there is no more."""
        task = self._driver.ask() if self._left else None
        if task is not None:
            self._left -= 1
            return task.to_json()
        # While nothing is trained Tune asks again and again, and calls no callback.
        if time.monotonic() - self._shown >= WATCH_SECONDS:
            self._shown = time.monotonic()
            self._driver.show()
        if self._left and self._driver.waiting:
            return None
        self.has_ended = True
        return Searcher.FINISHED

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tune: the callback does this, since it is told why a trial failed."""

    def save(self, checkpoint_path: str) -> None:
        """Tune: nothing to save, the bank and the study's files have it all."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Tune: likewise."""

    def get_state(self) -> dict[str, Any]:
        """Tune: likewise."""
        return {}

    def restore(self, checkpoint_path: str) -> None:
        """Tune: a study resumes from the bank, never from Tune's snapshots."""


class EventCallback(Unsaved, Callback):
    """Reports what ended and how, and has the search shown at most once a second; `count` looks at
    the nodes every few."""

    def __init__(
        self,
        driver: Driver,
        ray: RunningRay,
        count: Callable[[], None],
        gpus: SickGpus,
        concurrent: Callable[[], int],
    ) -> None:
        self._driver = driver
        self._ray = ray
        self._count = count
        self._gpus = gpus
        self._concurrent = concurrent
        self._shown = self._counted = 0.0
        self._over: set[str] = set()  # Tune's trials whose end is reported already

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune: one turn of its loop is over."""
        if time.monotonic() - self._counted >= LOOK_SECONDS:
            self._counted = time.monotonic()
            self._count()
        if time.monotonic() - self._shown >= WATCH_SECONDS:
            self._shown = time.monotonic()
            self._driver.show()

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune: a step is over. One that reports a failure of its machine was the trial's last: its
        process ends. One on a GPU that is left out trains nothing."""
        if trial.trial_id in self._over:
            return
        self._driver.hear(result.get("live", ()))
        if "left_out" in result:
            self._over.add(trial.trial_id)
            self._driver.tell(OnSickGpu(trials_of(trial)))
        elif "outage" in result:
            self._over.add(trial.trial_id)
            self._report_outage(trial, result)

    def _report_outage(self, trial: Any, result: dict[str, Any]) -> None:
        # Of trials trained as one model some may have ended by themselves in that very step.
        failures = {}
        for name, traceback in result.get("failures", {}).items():
            if traceback != result["failed"]:
                failures[name] = traceback
                self._driver.tell(Failed(name, traceback))
        left = tuple(name for name in trials_of(trial) if name not in failures)
        outage = Outage(**result["outage"], traceback=result["failed"])
        if outage.kind == "memory":
            has_whole_gpu = "no_gpu_memory" in result and trial.config.get("gpus", 0) >= 1
            self._driver.tell(FoundNoMemory(left, outage.traceback, alone=has_whole_gpu))
            return
        self._driver.tell(MachineFailed(left, outage))
        if outage.kind == "gpu" and self._is_sick_now(result.get("gpu")):
            advice = "look at it (nvidia-smi); the search goes on without it"
            self._driver.tell(OnSickGpu((), f"a GPU is left out: {outage.reason}; {advice}"))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial ended by itself, by the scheduler or by a stop."""
        if trial.trial_id in self._over:
            return
        result = trial.last_result or {}
        names = trials_of(trial)
        if result.get("unfit"):
            self._driver.tell(Refused(names, result["unfit"]))
            return
        if result.get("gpu") is not None:
            self._gpus.works(result["gpu"])
        for name in names:
            failed = result.get("failures", {}).get(name, result.get("failed"))
            self._driver.tell(Done(name) if failed is None else Failed(name, failed))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial's node was taken away by its owner, and another one takes over."""
        if self._ray.supervisor.lost() is None:
            self._driver.tell(Recovered())

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial's process died, or its node went."""
        if trial.trial_id in self._over or self._ray.supervisor.lost() is not None:
            return  # where Ray itself is gone, that is no failure of the trial; the search ends
        try:
            event = self._event_of_error(trial)
        except Exception as error:  # such as a log that can't be read
            event = event_of(error)
        self._driver.tell(event)

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Tune: the last word."""
        self._driver.show()

    def get_state(self) -> dict[str, Any] | None:
        """Tune: nothing to save."""
        return None

    def _is_sick_now(self, gpu: str | None) -> bool:
        return gpu is not None and self._gpus.failed(gpu, self._concurrent())

    def _event_of_error(self, trial: Any) -> Event:
        text = _error_text(trial)
        outage = outage_in(text)
        if outage is not None:
            return MachineFailed(trials_of(trial), outage)
        outage = self._ray.deaths.outage_of_store()
        if outage is not None:
            return MachineFailed(trials_of(trial), outage)
        death = self._ray.deaths.explain(text, (trial.last_result or {}).get("pid"))
        reason = f"{text}\n{death.reason}"
        return Died(trials_of(trial), reason, for_memory=death.for_memory, own=death.crashed)


class StopBehind(Unsaved, FIFOScheduler):  # type: ignore[misc]
    """Early stopping: ends a trial that is behind; what it reached goes to the bank as complete."""

    def __init__(self, driver: Driver) -> None:
        super().__init__()
        self._driver = driver

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune: a trial reports and would go on."""
        return str(TrialScheduler.STOP if self._behind(trial, result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tune: a trial ended by itself, perhaps at a rung: others are measured by it."""
        if not result.get("failed") and not result.get("unfit"):
            self._behind(trial, result)

    def _behind(self, trial: Any, result: Mapping[str, Any]) -> bool:
        best = {}
        for name, value in result.items():
            if name.startswith(BEST):
                best[name.removeprefix(BEST)] = value
        return self._driver.is_behind(Reached(trial.config["trial"], result["epoch"], best))


class StopWhenAsked(Unsaved, Stopper):
    """Ends the whole run once everything is to end, and trials that hold a GPU which is left out
    once nothing is trained any more."""

    def __init__(self, driver: Driver, searcher: TaskSearcher) -> None:
        self._driver = driver
        self._searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune: True to end a single trial."""
        return "left_out" in result and self._searcher.has_ended and not self._driver.training

    def stop_all(self) -> bool:
        """Tune: True to end the run."""
        return self._driver.stopping


def trials_of(trial: Any) -> tuple[str, ...]:
    """Return our trials of one of Tune's: one, or a group trained as one model."""
    partners = trial.config.get("partners", ())
    return (trial.config["trial"], *(partner["trial"] for partner in partners))


def _error_text(trial: Any) -> str:
    """Return Ray's messages on the failures of a trial, the last one at the end; empty where there
    is none.

    `trial.get_error` reads a copy that Tune makes later."""
    file = trial.error_file
    if not file or not Path(file).is_file():
        return ""
    return without_secrets(Path(file).read_text(encoding="utf-8", errors="replace"))
