"""One trial as Ray Tune runs it: an actor that trains epoch after epoch and puts the finished trial
in the bank.

An actor is used for many trials. It catches a training's exception and reports it, so that one bad
trial costs no new process; what the actor can't catch (the process is killed) Ray reports to the
driver, which hands the trial out again. Another actor then goes on from the last checkpoint. A
failure of the machine (failures.py) is reported likewise, the checkpoint is kept, and the actor ends
its process at the step after, so that no other trial begins in it."""

from __future__ import annotations

import os
import socket
import time
import traceback
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.train._internal.session import _TrainingResult
from ray.tune import Trainable

from va_search import __version__
from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import remove_folder
from va_search.models.sources import Source, trust
from va_search.predictions.bank import Bank
from va_search.search.early_stopping import is_rung
from va_search.search.failures import Outage, StoreGone, outage_of
from va_search.search.nodes import where
from va_search.search.ray_backend.deaths import NothingToReport
from va_search.search.ray_backend.nodes import Expected, problems_here
from va_search.search.saves import SECONDS, Saves
from va_search.search.study import now
from va_search.storage.homes import copy_of, home_at
from va_search.targets import AFFECT
from va_search.trial import Best, Trial
from va_search.trial_settings import TrialSettings

if TYPE_CHECKING:
    from va_search.training.fit import Fit

REPORT_SECONDS = 1.0
"""Epochs shorter than this are reported several at a time, so that the driver is not flooded."""

LOOKED: set[str] = set()
"""The searches for which this process has found its node fit to train."""

WORST = -1.0
"""The objective of a trial without a score: the smallest CCC."""


class TrialActor(Trainable):
    """`config` is what `session.task` makes."""

    def setup(self, config: dict[str, Any]) -> None:
        """Ray: a new actor, its first trial."""
        self._task = config
        self._fit: Fit | None = None
        seconds = config.get("checkpoint_seconds", SECONDS)
        self._saves = Saves(home_at(config["home"]), config["study"], config["trial"], seconds)
        self._started = time.monotonic()
        self._written = False
        self._sick = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ray: the same actor, its next trial."""
        self._saves.end(keep=True)
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Ray: train for about a second, one epoch, or to the next rung; the last step writes the
        trial to the bank."""
        self._end_if_sick()
        try:
            unfit = problems_of(self._task)
            return {**self._report(), "unfit": unfit, "done": True} if unfit else self._advance()
        except (
            Exception
        ) as error:  # any exception of a training is that trial's result, not the study's end
            outage = outage_of(error)
            if outage is not None:
                self._keep_what_is_trained(outage)
            self._fit = None
            self._saves.end(keep=outage is not None)
            return {**self._report(), **self._failure(traceback.format_exc(), outage)}

    def save(self, checkpoint_dir: str | None = None) -> _TrainingResult:
        """Ray: the scheduler stopped this trial early: what it reached goes to the bank as
        complete.

        Overrides what would also write a checkpoint of Tune's, which nobody reads, into the
        driver's folder, which other machines do not have."""
        if self._fit is not None and not self._written:
            try:
                self._write(stopped=True)
            except (
                Exception
            ) as error:  # `cleanup` follows, which keeps the training as a checkpoint
                if (outage := outage_of(error)) is not None:
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
        """What a step reports of a failure. After one of the machine the driver asks for one more
        step, which ends this process; but a trial that finds no memory leaves the process as good
        as it was."""
        if outage is None:
            return {"failed": failed, "done": True}
        self._sick = outage.kind != "memory"
        return {
            "failed": failed,
            "outage": {"kind": outage.kind, "reason": outage.reason},
            "done": not self._sick,
        }

    def _keep_what_is_trained(self, outage: Outage) -> None:
        """A training that is done and could not be written: the next process then has it to write
        and no more."""
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
        fit, until = self._fit, time.monotonic() + REPORT_SECONDS
        while not fit.finished:
            fit.run_epoch()
            if not fit.finished:
                self._saves.after_epoch(fit)
            if time.monotonic() >= until or is_rung(len(fit.history), self._task["early_stopping"]):
                break
        if fit.finished:
            self._write(stopped=False)
        return {**self._report(), "done": fit.finished}

    def _report(self) -> dict[str, Any]:
        targets = AFFECT if self._fit is None else self._fit.store.target_names
        best = dict.fromkeys(targets, WORST)
        if self._fit is not None:
            best |= {name: reached.ccc for name, reached in self._fit.best.items()}
        best["score"] = sum(best.values()) / len(best)
        epoch = len(self._fit.history) if self._fit is not None else 0
        names = {f"best_{name}": value for name, value in best.items()}
        return {
            **names,
            "objective": best.get(self._task["objective"], best["score"]),
            "epoch": epoch,
            "pid": os.getpid(),
        }

    def _write(self, *, stopped: bool) -> None:
        assert self._fit is not None
        seconds = self._fit.seconds_before + time.monotonic() - self._started
        write_trial(self._fit, self._task, stopped=stopped, seconds=seconds)
        self._written = True
        self._saves.end(keep=False)


def gpu_is_usable() -> bool:
    """Whether PyTorch finds a GPU in this process; without one a trial would train on the CPU
    unasked."""
    import torch

    return torch.cuda.is_available()


def problems_of(task: dict[str, Any]) -> str | None:
    """Why this node must not train, where it joined a cluster after the search had looked at its
    nodes."""
    if task.get("device") == "cuda" and not gpu_is_usable():
        return f"{where()} has a GPU for Ray that PyTorch can't use; mend that, or train with --gpus-per-trial 0"
    wanted = task.get("wanted")
    if wanted is None or wanted["token"] in LOOKED:
        return None
    problems = problems_here(Expected(**wanted))
    if not problems:
        LOOKED.add(wanted["token"])
        return None
    return "; ".join(f"{where()} {problem}" for problem in problems)


def open_fit(task: dict[str, Any]) -> Fit:
    """A new training for a task: its store opened, its device chosen."""
    from va_search.training.fit import Fit

    for code in task.get("code", ()):  # of files that the user named in the space
        trust(Source(**code))
    settings = TrialSettings(**task["settings"])
    return Fit(settings, store_of(task, settings), device=device_of(task))


def open_fits(task: dict[str, Any], settings: list[dict[str, Any]]) -> list[Fit]:
    """New trainings of a group that is trained as one model; the rest as for `open_fit`."""
    from va_search.training.fused import fits_of

    several = [TrialSettings(**document) for document in settings]
    return fits_of(several, store_of(task, several[0]), device=device_of(task))


def store_of(task: dict[str, Any], settings: TrialSettings) -> Store:
    """Return a task's store as this node has it; StoreGone when it is not there, or its content is
    not what the driver saw."""
    try:
        store = Store.open(task["store"])
        data_hash = store.data_hash(settings.features, settings.fold)
    except (InputError, OSError, pa.ArrowException) as error:
        raise StoreGone(f"{task['store']} can't be opened any more ({error})") from error
    if data_hash != task["data_hash"]:
        raise StoreGone(
            f"{task['store']}: on {socket.gethostname()} its content is not what the search began on"
        )
    return store


def device_of(task: dict[str, Any]) -> str:
    """The device a task's training takes; on a CPU its threads are set."""
    import torch

    device = task["device"]
    if device == "cpu":
        torch.set_num_threads(task["threads"])
    return str(device)


def is_complete(task: dict[str, Any]) -> bool:
    """Whether the bank has the trial already; one that is complete on this machine alone is put at
    the home's URL."""
    study, trial, home = task["study"], task["trial"], home_at(task["home"])
    here, copy = Bank(home.bank).is_complete(study, trial), copy_of(home)
    if copy is None or copy.has_entry(study, trial):
        return here or copy is not None
    if here:
        copy.put_entry(study, trial)
    return here


def write_trial(fit: Fit, task: dict[str, Any], *, stopped: bool, seconds: float) -> None:
    """Predictions, weights and at last trial.json of a finished training; then the same at the
    home's URL, if any."""
    home = home_at(task["home"])
    bank = Bank(home.bank)
    folder = bank.folder(task["study"], task["trial"])
    remove_folder(folder)  # what a killed training may have left
    predictions = fit.predictions()
    fit.save_weights(folder)
    bank.write(trained_trial(fit, task, stopped=stopped, seconds=seconds), predictions)
    copy = copy_of(home)
    if copy is not None:
        copy.put_entry(task["study"], task["trial"])


def trained_trial(fit: Fit, task: dict[str, Any], *, stopped: bool, seconds: float) -> Trial:
    """Return the trial of a finished training."""
    names = fit.store.target_names
    return Trial(
        study=task["study"],
        id=task["trial"],
        targets=None if names == AFFECT else names,
        settings=fit.settings,
        data_hash=task["data_hash"],
        store=task["store_name"],
        store_path=task["store"],
        best=best_of(fit),
        averaged_epochs=fit.settings.averaged_epochs,
        history_json=[epoch.to_json() for epoch in fit.history],
        epochs=len(fit.history),
        stopped=stopped,
        seconds=round(seconds, 3),
        training_seconds=round(sum(epoch.seconds for epoch in fit.history), 3),
        frames_per_second=fit.history[-1].frames_per_second,
        device=device_name(fit),
        node=socket.gethostname(),
        remarks=fit.remarks,
        resumed_at=fit.resumed_at or None,
        package_version=__version__,
        finished_at=now(),
    )


def best_of(fit: Fit) -> dict[str, Best]:
    """Return the best epoch of each target and of the score; empty where nothing was validated
    (train_val_mix)."""
    if not fit.best:
        return {}
    scores = [(epoch.score, -epoch.epoch) for epoch in fit.history if epoch.score is not None]
    mean = sum(best.ccc for best in fit.best.values()) / len(fit.best)
    return {**fit.best, "score": Best(mean, -max(scores)[1])}


def device_name(fit: Fit) -> str:
    """ "cpu" or the name of the GPU a training ran on."""
    import torch

    device = torch.device(fit.device)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
