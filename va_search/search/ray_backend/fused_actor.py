"""A group of trials as Ray Tune runs it: one actor trains several of our trials as one model
(`--fuse-seeds`).

Conventions: the trials of a group are of one configuration and fold and differ in their seeds. Each
is claimed, keeps its checkpoint, fails and ends in the bank by itself; a group is nothing that is
remembered: whatever of it a killed search left unfinished is put together anew. `Task.group` has
a task for each."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from va_search.search.failures import Outage, outage_of
from va_search.search.live import RunningTrial
from va_search.search.ray_backend.actor import (
    REPORT_SECONDS,
    TrialActor,
    problems_of,
    traceback_of_now,
)
from va_search.search.saves import Saves, StillTrained
from va_search.search.task import Task, check_home, is_complete, open_fits, write_trial

if TYPE_CHECKING:
    from va_search.training.fit import Fit
    from va_search.training.fused import Fused


class Unwritten(Exception):
    """Between two epochs a finished trial could not be written, for a failure of the machine."""


@dataclass
class FusedTrial:
    """One trial of a group: what an actor needs to know of it, and how it ended."""

    task: Task
    saves: Saves
    fit: Fit | None = None
    ended: bool = False
    failed: str | None = None

    def end(self, failed: str | None = None) -> None:
        """Train it no more: it is complete, or failed for a reason."""
        self.ended, self.failed, self.fit = True, failed, None
        self.saves.end(keep=False)

    def leave(self, failed: str, *, save: bool) -> None:
        """Train it no more in this process, whose machine failed it; its checkpoint is kept, and
        written if `save`."""
        self.failed = failed
        if save and self.fit is not None and self.fit.history:
            self.saves.write(self.fit)
        self.fit = None
        self.saves.end(keep=True)


class FusedActor(TrialActor):
    """Trains groups as one model, and a trial without a group as `TrialActor` does."""

    def setup(self, config: dict[str, Any]) -> None:
        """Ray: a new actor, its first trial or group."""
        super().setup(config)
        self._fused: Fused | None = None
        self._members = [FusedTrial(task, task.saves()) for task in self._task.group]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Ray: the same actor, its next trial or group."""
        self._leave()
        return super().reset_config(new_config)

    def cleanup(self) -> None:
        """Ray: the actor ends, perhaps in the middle of a group, which then goes on from here
        another time."""
        for member in self._members:
            if member.fit is not None and member.fit.history:
                member.saves.write(member.fit)
        self._leave()
        super().cleanup()

    def _step(self) -> dict[str, Any]:
        """Train for about a second or an epoch; each trial that ends goes to the bank, or reports
        its failure."""
        if not self._members:
            return super()._step()
        failure: dict[str, Any] = {}
        try:
            unfit = problems_of(self._task)
            if unfit is not None:
                return {**self._report(), "unfit": unfit, "done": True}
            check_home(self._task)
            self._train()
        except Exception as error:
            # Not of one trial, such as too little memory: it ends all that are left.
            outage = outage_of(error)
            if outage is None:
                self._end_all(traceback_of_now())
            else:
                self._leave_all(outage, between_epochs=isinstance(error, Unwritten))
                failure = self._failure(outage.traceback, outage)
        failures = {}
        for member in self._members:
            if member.failed is not None:
                failures[member.task.trial] = member.failed
        done = all(member.ended for member in self._members)
        return {**self._report(), "failures": failures, "done": done, **failure}

    def _running_trials(self) -> list[RunningTrial]:
        """Return the trials of the group that go on; the process's usage is all of theirs."""
        if not self._members:
            return super()._running_trials()
        usage = self._meter.measure()
        passed = time.monotonic() - self._started
        running = []
        for member in self._members:
            fit = member.fit
            if fit is not None and not member.ended:
                seconds = fit.seconds_before + passed * fit.share
                running.append(RunningTrial.of_fit(member.task.trial, fit, seconds, usage))
        return running

    def _train(self) -> None:
        if self._fused is None:
            self._fused = self._open()
        until = time.monotonic() + REPORT_SECONDS
        while not self._fused.finished:
            self._fused.run_epoch()
            for member in self._members:
                if member.fit is not None and not member.fit.finished:
                    member.saves.after_epoch(member.fit)
            if time.monotonic() >= until:
                break
        self._end_finished()

    def _open(self) -> Fused:
        from va_search.training.fused import Fused

        fits = open_fits(self._task)
        for member, fit in zip(self._members, fits, strict=True):
            try:
                member.saves.begin(fit)
            except StillTrained:
                member.end(traceback_of_now())
                continue
            if is_complete(member.task):
                member.end()  # by what a killed search had left running
            else:
                fit.remarks.append(
                    f"trained as one model with {len(fits) - 1} other seeds of its configuration"
                )
                member.fit = fit
        return Fused([member.fit for member in self._members if member.fit is not None])

    def _end_finished(self) -> None:
        """Write what is finished; a diverged trial fails alone. Unwritten, at the end, when the
        machine failed one."""
        assert self._fused is not None
        unwritten: Exception | None = None
        fits = self._fused.fits
        diverged = {id(fits[index]): error for index, error in self._fused.diverged.items()}
        for member in self._members:
            fit = member.fit
            if fit is None:
                continue
            try:
                if id(fit) in diverged:
                    raise diverged[id(fit)]
                if fit.finished:
                    seconds = fit.seconds_before + (time.monotonic() - self._started) * fit.share
                    member.saves.check_held()
                    write_trial(fit, member.task, stopped=False, seconds=seconds)
                    member.end()
            except Exception as error:  # that trial's result, not the others' end
                if outage_of(error) is None:
                    member.end(traceback_of_now())
                else:
                    unwritten = error
        if unwritten is not None:
            raise Unwritten(str(unwritten)) from unwritten

    def _end_all(self, failed: str) -> None:
        for member in self._members:
            if not member.ended:
                member.end(failed)

    def _leave_all(self, outage: Outage, *, between_epochs: bool) -> None:
        """Train no trial of the group on here. Between two epochs, which is where trials are
        written, all can be saved; in the middle of one only the checkpoints that are there tell the
        truth."""
        for member in self._members:
            if not member.ended:
                member.leave(outage.traceback, save=between_epochs and outage.kind != "gpu")

    def _leave(self) -> None:
        for member in self._members:
            member.saves.end(keep=True)
        self._members, self._fused = [], None
