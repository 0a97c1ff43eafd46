"""One trial as Ray Tune runs it: an actor that trains epoch after epoch and puts the finished trial
in the bank.

An actor is used for many trials. It catches a training's exception and reports it, so that one bad
trial costs no new process; what the actor can't catch (the process is killed) Ray reports to the
driver, which hands the trial out again. Another actor then goes on from the last checkpoint. A
failure of the machine (failures.py) is reported likewise, and the checkpoint is kept; after one of
its GPU the actor ends its process at the step after, so that no other trial begins in it."""

from __future__ import annotations

import os
import time
import traceback
from typing import TYPE_CHECKING, Any

import ray
from ray.train._internal.session import _TrainingResult
from ray.tune import Trainable

from va_search.search.failures import Outage, outage_of
from va_search.search.gpus import gpu_in_words, gpu_of_this_process
from va_search.search.live import RunningTrial
from va_search.search.ray_backend.deaths import NothingToReport
from va_search.search.ray_backend.nodes import problems_here, where
from va_search.search.ray_backend.sick_gpus import gpu_here
from va_search.search.task import Task, check_home, is_complete, open_fit, write_trial
from va_search.search.usage import Meter
from va_search.storage.redaction import without_secrets
from va_search.trial import SCORE

if TYPE_CHECKING:
    from va_search.training.fit import Fit

REPORT_SECONDS = 1.0
"""Epochs shorter than this are reported several at a time, so that the driver is not flooded."""

LOOKED: set[str] = set()
"""The searches for which this process has found its node fit to train."""

BREAKS_PROCESS = frozenset({"gpu", "library"})
"""Kinds of failures after which no other trial may begin in the process."""

WORST = -1.0
"""The objective of a trial without a score: the smallest CCC."""

NO_GPU_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "ALLOC_FAILED")
"""Words of CUDA and its libraries where a GPU has no memory left."""

BEST = "best_"
"""Begins the names under which a step reports the best values so far."""


class TrialActor(Trainable):
    """Trains a task, as Tune's config `Task.to_json` (task.py)."""

    _gpu: str | None = None

    def setup(self, config: dict[str, Any]) -> None:
        """Ray: a new actor, its first trial."""
        self._task = Task.from_json(config)
        self._fit: Fit | None = None
        self._saves = self._task.saves()
        self._started = time.monotonic()
        self._written = False
        self._sick = False
        on_gpu = self._task.device == "cuda"
        self._gpu = gpu_here() if on_gpu else None
        self._meter = Meter(gpu_of_this_process() if on_gpu else None)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ray: the same actor, its next trial."""
        self._saves.end(keep=True)
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Ray: train for about a second, one epoch, or to the next rung; the last step writes the
        trial to the bank."""
        self._end_if_sick()
        if self._gpu is not None and self._gpu in self._task.left_out:
            time.sleep(REPORT_SECONDS)
            return {**self._report(), "left_out": True, "done": False}
        result = self._step()
        if "no_gpu_memory" in result:
            # Not before the exception is gone, which holds what it was raised among.
            free_gpu_memory()
        return {**result, "live": [trial.to_json() for trial in self._running_trials()]}

    def _step(self) -> dict[str, Any]:
        try:
            unfit = problems_of(self._task)
            if unfit is not None:
                return {**self._report(), "unfit": unfit, "done": True}
            check_home(self._task)
            return self._advance()
        except Exception as error:
            # Any exception of a training is that trial's result, not the study's end.
            outage = outage_of(error)
            if outage is not None:
                self._keep_what_is_trained(outage)
            self._fit = None
            self._saves.end(keep=outage is not None)
            return {**self._report(), **self._failure(traceback_of_now(), outage)}

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Ray: the scheduler stopped this trial early: what it reached goes to the bank as
        complete.

        Tune's public hook for this, `save_checkpoint`, would also write a checkpoint of Tune's,
        which nobody reads, into the driver's folder, which other machines do not have. So `save`
        itself is replaced, with the result that Tune wants of it."""
        if self._fit is not None and not self._written:
            try:
                self._write(stopped=True)
            except Exception as error:
                # `cleanup` follows, which keeps the training as a checkpoint.
                outage = outage_of(error)
                if outage is not None:
                    raise NothingToReport(outage) from error
                raise
        return _TrainingResult(checkpoint=None, metrics={})

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """Ray: nothing to load, a trial goes on from its own checkpoint (saves.py), whichever
        search asks for it."""

    def cleanup(self) -> None:
        """Ray: the actor ends, perhaps in the middle of a trial, which then goes on from here
        another time."""
        if self._fit is not None and self._fit.history and not self._written:
            self._saves.write(self._fit)
        self._fit = None
        self._saves.end(keep=True)

    def _end_if_sick(self) -> None:
        """Leave the process at once: after an error of its GPU even a tidy exit may hang."""
        if not self._sick:
            return
        if not ray.is_initialized():
            raise RuntimeError("no process of Ray's to end")
        os._exit(1)

    def _failure(self, failed: str, outage: Outage | None) -> dict[str, Any]:
        """Return what a step reports of a failure. After one that leaves the process broken the driver
        asks for one more step, which ends it; a store that is away, a full disk or too little memory
        leave it as good as it was."""
        if outage is None:
            return {"failed": failed, "done": True}
        self._sick = outage.kind in BREAKS_PROCESS
        reason = outage.reason
        if outage.kind == "gpu" and self._gpu is not None:
            reason = f"{reason} ({gpu_in_words(self._gpu.split()[-1])})"
        result = {
            "failed": failed,
            "outage": {"kind": outage.kind, "reason": reason},
            "done": not self._sick,
        }
        if any(words in reason for words in NO_GPU_MEMORY):
            result["no_gpu_memory"] = True
        return result

    def _keep_what_is_trained(self, outage: Outage) -> None:
        """Save a training that is done and could not be written: the next process then has it to
        write and no more."""
        if self._fit is not None and self._fit.finished and outage.kind != "gpu":
            self._saves.write(self._fit)

    def _advance(self) -> dict[str, Any]:
        if self._fit is None:
            fit = open_fit(self._task)
            self._saves.begin(fit)
            if is_complete(self._task):
                self._saves.end(keep=False)  # by what a killed search had left running
                return {**self._report(), "done": True}
            self._fit = fit
        fit = self._fit
        until = time.monotonic() + REPORT_SECONDS
        while not fit.finished:
            fit.run_epoch()
            if not fit.finished:
                self._saves.after_epoch(fit)
            if time.monotonic() >= until or len(fit.history) in self._task.rungs:
                break
        if fit.finished:
            self._write(stopped=False)
        return {**self._report(), "done": fit.finished}

    def _report(self) -> dict[str, Any]:
        """Return a step's result for Tune: the best values so far, which it may rank by."""
        best = dict.fromkeys(self._task.targets, WORST)
        epoch = 0
        if self._fit is not None:
            best |= {target: reached.ccc for target, reached in self._fit.best.items()}
            epoch = len(self._fit.history)
        best[SCORE] = sum(best.values()) / len(best)
        return {
            **{f"{BEST}{name}": value for name, value in best.items()},
            "objective": best.get(self._task.objective, best[SCORE]),
            "epoch": epoch,
            "pid": os.getpid(),
            "gpu": self._gpu,
        }

    def _running_trials(self) -> list[RunningTrial]:
        """Return the trial as it stands, for whoever watches the search; none before it begins."""
        if self._fit is None:
            return []
        seconds = self._fit.seconds_before + time.monotonic() - self._started
        usage = self._meter.measure()
        return [RunningTrial.of_fit(self._task.trial, self._fit, seconds, usage)]

    def _write(self, *, stopped: bool) -> None:
        assert self._fit is not None
        seconds = self._fit.seconds_before + time.monotonic() - self._started
        self._saves.check_held()
        write_trial(self._fit, self._task, stopped=stopped, seconds=seconds)
        self._written = True
        self._saves.end(keep=False)


def free_gpu_memory() -> None:
    """Give back what a training that found no GPU memory leaves of it in this process."""
    from va_search.training import features

    features.free_gpu_memory()


def traceback_of_now() -> str:
    """Return the traceback of the exception that is handled, without the secrets that its message
    may hold: from here it goes to Ray, the study's folder and MLflow."""
    return without_secrets(traceback.format_exc())


def gpu_is_usable() -> bool:
    """Return True if PyTorch finds a GPU in this process; without one a trial would train on the
    CPU unasked."""
    import torch

    return torch.cuda.is_available()


def problems_of(task: Task) -> str | None:
    """Return the reason why this node must not train, where it joined a cluster after the search
    had looked at its nodes; None where it may."""
    if task.device == "cuda" and not gpu_is_usable():
        advice = "mend that, or train with --gpus-per-trial 0"
        return f"{where()} has a GPU for Ray that PyTorch can't use; {advice}"
    if task.expected is None or task.expected.token in LOOKED:
        return None
    problems = problems_here(task.expected)
    if not problems:
        LOOKED.add(task.expected.token)
        return None
    return "; ".join(f"{where()} {problem}" for problem in problems)
