"""Ray Tune's hooks, each thin: the searcher draws trials, the scheduler and the stopper stop, the
callback reports."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.tune import Callback, Stopper
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from va_search.errors import VaSearchError
from va_search.search.failures import Outage, outage_of
from va_search.search.ray_backend.deaths import Death, outage_in
from va_search.search.ray_backend.nodes import LOOK_SECONDS
from va_search.search.rungs import Rungs
from va_search.search.session import Progress, Session


class Unsaved:
    """Tune pickles its own snapshot, which we never read: what holds the session leaves it out."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class SessionSearcher(Unsaved, Searcher):
    """Draws at most `most` tasks from a session; `first` is a trial drawn before."""

    def __init__(
        self, session: Session, first: Any, to_task: Callable[[str, Any], dict[str, Any]], most: int
    ) -> None:
        super().__init__(metric="objective", mode="max")
        self._session = session
        self._first = first
        self._to_task = to_task
        self._left = most

    def suggest(self, trial_id: str) -> Any:
        """Tune: the next trial's config, None to be asked again, FINISHED when there is no more."""
        if self._left == 0:
            return Searcher.FINISHED
        with or_the_search_ends(self._session):
            drawn, self._first = self._first or self._session.next_trial(), None
            if drawn is not None:
                self._left -= 1
                return self._to_task(*drawn)
        return None if self._session.waiting else Searcher.FINISHED

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


class Progressing(Unsaved, Callback):
    """Tells the session what ended and how, and the watcher how it goes, at most once a second;
    `count` looks at the nodes every few."""

    def __init__(
        self,
        session: Session,
        watch: Callable[[Progress], None],
        count: Callable[[], None],
        *,
        lost: Callable[[], str | None] = lambda: None,
        explain: Callable[[str, int | None], Death] = lambda error, process: Death(
            "the trial's process died"
        ),
    ) -> None:
        """`lost` says why Ray itself can't go on; `explain` what killed a process, from Ray's
        message and its id."""
        self._session = session
        self._watch, self._count = watch, count
        self._lost, self._explain = lost, explain
        self._last = self._counted = 0.0
        self._over: set[str] = set()  # Tune's trials whose end the session knows already

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune: one turn of its loop is over."""
        if time.monotonic() - self._counted >= LOOK_SECONDS:
            self._counted = time.monotonic()
            self._count()
        if time.monotonic() - self._last >= 1.0:
            self._last = time.monotonic()
            self._watch(self._session.progress())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Tune: a step is over. One that reports a failure of its machine was the trial's last: its
        process ends."""
        if "outage" not in result or trial.trial_id in self._over:
            return
        self._over.add(trial.trial_id)
        ours = _trials(trial)
        # Of trials trained as one model some may have ended by themselves in that very step.
        failures = {
            one: why for one, why in result.get("failures", {}).items() if why != result["failed"]
        }
        left = [one for one in ours if one not in failures]
        with or_the_search_ends(self._session):
            for one, failed in failures.items():
                self._session.ended(one, failed)
            if result["outage"]["kind"] == "memory":
                self._session.found_no_memory(left, result["failed"])
            else:
                outage = Outage(**result["outage"], traceback=result["failed"])
                self._session.failed_by_machine(left, outage)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial ended by itself, by the scheduler or by a stop."""
        if trial.trial_id in self._over:
            return
        result = trial.last_result or {}
        for one in _trials(trial):
            if result.get("unfit"):
                self._session.refused(one, result["unfit"])
            else:
                failed = result.get("failures", {}).get(one, result.get("failed"))
                with or_the_search_ends(self._session):
                    self._session.ended(one, failed)

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial's node was taken away by its owner, and another one takes over."""
        if self._lost() is None:
            self._session.recovered += 1

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Tune: a trial's process died, or its node went."""
        if trial.trial_id in self._over or self._lost() is not None:
            return  # where Ray itself is gone, that is no failure of the trial; the search ends
        with or_the_search_ends(self._session):
            error = _error(trial)
            outage = outage_in(error)
            if outage is not None:
                self._session.failed_by_machine(_trials(trial), outage)
                return
            death = self._explain(error, (trial.last_result or {}).get("pid"))
            self._session.died(
                _trials(trial), f"{error}\n{death.reason}", for_memory=death.for_memory
            )
            self._session.remarks.append(f"trial {trial.config['trial']}: {death.reason}")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """Tune: the last word."""
        self._watch(self._session.progress())

    def get_state(self) -> dict[str, Any] | None:
        """Tune: nothing to save."""
        return None


@contextmanager
def or_the_search_ends(session: Session) -> Iterator[None]:
    """Tune takes a callback's exception for the trial's own, and would train it again, which may be
    complete; one of a searcher ends it with a traceback."""
    try:
        yield
    except (
        Exception
    ) as error:  # storage that does not answer, a full disk: the next search begins with the trial
        outage = outage_of(error)
        plain = outage.reason if outage is not None else traceback.format_exc()
        session.ends.append(str(error) if isinstance(error, VaSearchError) else plain)


def _error(trial: Any) -> str:
    """Ray's messages on the failures of a trial, the last one at the end; empty where there is
    none.

    `trial.get_error` reads a copy that Tune makes later.
    """
    file = trial.error_file
    return (
        Path(file).read_text(encoding="utf-8", errors="replace")
        if file and Path(file).is_file()
        else ""
    )


def _trials(trial: Any) -> list[str]:
    """Our trials of one of Tune's: one, or a group trained as one model (fused_trial.py)."""
    return [one["trial"] for one in trial.config.get("group", ())] or [trial.config["trial"]]


class StopBehind(Unsaved, FIFOScheduler):  # type: ignore[misc]
    """Early stopping: ends a trial that is behind at a rung; what it reached goes to the bank as
    complete."""

    def __init__(self, rungs: Rungs) -> None:
        super().__init__()
        self._rungs = rungs

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Tune: a trial reports and would go on."""
        return str(TrialScheduler.STOP if self._behind(trial, result) else TrialScheduler.CONTINUE)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Tune: a trial ended by itself, perhaps at a rung: others are measured by it."""
        if not result.get("failed") and not result.get("unfit"):
            self._behind(trial, result)

    def _behind(self, trial: Any, result: dict[str, Any]) -> bool:
        best = {
            name.removeprefix("best_"): value
            for name, value in result.items()
            if name.startswith("best_")
        }
        return self._rungs.behind(trial.config["trial"], result["epoch"], best)


class StopWhenAsked(Unsaved, Stopper):
    """Ends the whole run once the session is interrupted or has given up."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tune: never stops a single trial."""
        return False

    def stop_all(self) -> bool:
        """Tune: whether to end the run."""
        self._session.heed()
        return self._session.stopping
