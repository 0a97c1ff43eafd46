"""Delivery of a study's trials to MLflow by a thread of its own, so that a search never waits for
a server.

The bank is the queue: each run of `search` puts all trials of the study, and what the server
already has is passed over. An unreachable server is tried again with growing pauses; what waits at
the end is delivered by the next search."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from va_search.tracking.door import ParentRun, forget_connections, identity_of_database
from va_search.tracking.shown import reason, shown
from va_search.trial import Trial, TrialState

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
ATTEMPTS_AT_END = 3
"""Once the search is over a trial that is refused so often is left to the next one, and so is
everything where a database in a file fails so often in a row."""

SILENCE_AT_END = 60.0
"""So many seconds without an answer of a server end the waiting once the search is over: a server
that is started again needs half of that."""
BETWEEN_PICTURES, SHARE_OF_PICTURES = 60.0, 0.05
"""Pictures are drawn anew no sooner than so many seconds after the last ones, nor for more than
this share of time."""

LOG = logging.getLogger(__name__)

Pictures = Callable[[Sequence[Trial]], Mapping[str, Any]]
"""Makes the parent run's pictures of all trials: file name to text or JSON document."""


class Delivery:
    """Takes trials with `put` at any time and delivers them in the background; `end`, `close` at
    the end.

    `keys` are the params that every run has. `whole` reads a complete trial by its id: with it
    those that are put are kept compact, and may be so.

    `parent` describes the study. `pictures` makes more of them out of the trials, compact where there is a `whole`:
    now and then while trials come, and at the end of a search that is not interrupted. It runs in
    this thread; its failure is a warning. `load_pictures` imports what they need, which takes a
    second or so, once there is a trial: while others train, and not while the end is waited for.
    `owner` is the identity of the home, where other homes are tracked at the same place. `report`
    hears of trouble with the server when it begins, and None when it ends or there is none. `check`
    raises while nothing may be written, such as when the home is away whose folder MLflow would
    make anew; then it is tried again later."""

    def __init__(
        self,
        uri: str,
        *,
        study: str,
        artifacts: Path | None,
        parent: ParentRun,
        keys: Iterable[str] = (),
        whole: Callable[[str], Trial] | None = None,
        pictures: Pictures | None = None,
        load_pictures: Callable[[], None] = lambda: None,
        owner: str | None = None,
        report: Callable[[str | None], None] = lambda problem: None,
        check: Callable[[], None] = lambda: None,
        located: Callable[[str], None] = lambda experiment: None,
    ) -> None:
        self._located = located
        self._open = (uri, study, artifacts, parent, owner)
        self._report = report
        self._check = check
        self._study = study
        self._changed = threading.Condition()
        self._waiting: dict[str, Trial] = {}
        self._trials: dict[str, Trial] = {}
        self._keys: set[str] = set(keys)
        self._whole = whole
        self._pictures = pictures
        self._undrawn = False
        self._load_pictures: Callable[[], None] | None = load_pictures
        self._next_pictures = time.monotonic() + BETWEEN_PICTURES
        self._drawing = threading.Lock()
        self._status: str | None = None
        self._artifacts: Mapping[str, Any] = {}
        self._attempts: dict[str, int] = {}
        self._abandoned = False
        self._failures = 0
        self._answered = time.monotonic()  # or the search ended
        self._problem: str | None = None
        self._reported = False
        self._artifact_problem: str | None = None
        self._runs: Any = None
        self._database: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._work, name=f"tracking-{study}", daemon=True)
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """The reason for which delivery fails at the moment, or MLflow took no artifacts; None while
        all works."""
        return self._problem or self._artifact_problem

    def put(self, trial: Trial) -> None:
        """Queue a complete or failed trial; returns at once."""
        with self._changed:
            self._keys |= set(trial.noted_settings or ())
            if self._whole is not None and trial.state is not TrialState.FAILED:
                trial = trial.compact()
            self._waiting[trial.id] = trial
            self._trials[trial.id] = trial
            self._changed.notify_all()

    def end(self, status: str = "FINISHED", artifacts: Mapping[str, Any] | None = None) -> None:
        """No more trials come: deliver what waits, then give the parent run its `status`
        (FINISHED, or KILLED for an interrupted search). Returns at once; the first call counts.

        `artifacts`: what the study came to, file name to text or JSON document, for the parent run.
        """
        with self._changed:
            if self._status is None:
                self._status = status
                self._artifacts = dict(artifacts or {})
                self._failures = 0
                self._answered = time.monotonic()
                self._attempts.clear()
                self._changed.notify_all()

    def close(
        self,
        timeout: float,
        *,
        status: str = "FINISHED",
        artifacts: Mapping[str, Any] | None = None,
        watch: Callable[[int], None] = lambda waiting: None,
    ) -> list[str]:
        """`end`, and wait for it; `watch` hears about once a second how many trials wait, while
        some do.

        Gives up after `timeout` seconds, with Ctrl-C, or sooner where the server does not answer,
        and the seconds that pictures begun by then still take; returns the ids of the trials that
        were not delivered."""
        self.end(status, artifacts)
        until = time.monotonic() + timeout
        # Nobody has to wait for a server, so Ctrl-C ends the waiting: the bank has everything.
        with suppress(KeyboardInterrupt):
            while self._thread.is_alive() and (left := until - time.monotonic()) > 0:
                self._thread.join(min(1.0, left))
                if waiting := len(self._waiting):
                    watch(waiting)
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()
            undelivered = sorted(self._waiting)
        # A process that ends while a thread is in the drawing library's C++ is aborted.
        with self._drawing:
            return undelivered

    def _work(self) -> None:
        while not self._abandoned:
            trial: str | None = None
            try:
                self._check()
                self._connect()
                trial, ending = self._next()
                self._check()
                if trial is not None:
                    self._deliver(trial)
                elif ending is not None:
                    self._runs.finish(list(self._trials.values()), ending, self._artifacts)
                    if ending == "FINISHED":
                        self._draw()
                    self._note(None)
                    return
                if time.monotonic() >= self._next_pictures:
                    self._draw()
            # Whatever goes wrong between here and a server must not stop the search.
            except Exception as error:
                if self._give_up(trial, error):
                    return
            else:
                self._failures = 0
                self._answered = time.monotonic()
                self._note(None)

    def _note(self, problem: str | None) -> None:
        """Keep the state of the connection, and report it where it changed, or is known for the
        first time: an earlier search may have noted another one."""
        previous = self.problem
        artifact_problem = None if self._runs is None else self._runs.artifact_problem
        if artifact_problem is not None:
            where = shown(self._open[0])
            self._artifact_problem = (
                f"MLflow at {where} has params and metrics, but no artifacts: {artifact_problem}"
            )
        self._problem = problem
        if self.problem != previous or not self._reported:
            self._reported = True
            self._report(self.problem)

    def _connect(self) -> None:
        uri = self._open[0]
        if self._database is not None and identity_of_database(uri) != self._database:
            # Deleted, or another one in its place: what was delivered is not in this one.
            self._runs = self._database = None
            forget_connections(uri)
            with self._changed:
                self._waiting = self._trials | self._waiting
        if self._runs is None:
            from va_search.tracking.study_runs import StudyRuns

            self._runs = StudyRuns(*self._open)
            self._located(self._runs.experiment)
            self._database = identity_of_database(uri)

    def _next(self) -> tuple[str | None, str | None]:
        """Wait for a trial to deliver, and tell the status the study ends with, if it does.

        No trial when pictures are due sooner, and at the end, when only those are left that can't
        be delivered."""
        with self._changed:
            # Without pictures to draw there is nothing to wake up for but a trial or the end.
            patience = None
            if self._pictures and self._undrawn:
                patience = max(0.0, self._next_pictures - time.monotonic())
            self._changed.wait_for(
                lambda: self._waiting or self._status or self._abandoned, patience
            )
            ending = self._status is not None
            worth = (
                t for t in self._waiting if not ending or self._attempts.get(t, 0) < ATTEMPTS_AT_END
            )
            return next(worth, None), self._status

    def _deliver(self, name: str) -> None:
        trial = self._waiting[name]
        if not self._runs.has(trial):
            whole = trial
            if self._whole is not None and trial.state is not TrialState.FAILED:
                whole = self._whole(name)
            self._runs.deliver(whole, set(self._keys))
            self._undrawn = True
        with self._changed:
            # A newer record of it may have come meanwhile: that one has yet to be delivered.
            if self._waiting.get(name) is trial:
                del self._waiting[name]
        self._load_what_draws()

    def _load_what_draws(self) -> None:
        """Load it after the first trial; at the end of a search only what draws itself loads it."""
        load, self._load_pictures = self._load_pictures, None
        if load is None or self._status is not None:
            return
        try:
            with self._drawing:
                load()
        except Exception as error:  # as where it draws, which tells
            LOG.debug("what draws study %s can't be loaded: %s", self._study, error)

    def _draw(self) -> None:
        """Pictures of what is known now, where something was delivered since the last ones."""
        if self._pictures is None or not self._undrawn:
            return
        began = time.monotonic()
        self._undrawn = False
        try:
            with self._changed:
                trials = list(self._trials.values())
            with self._drawing:
                pictures = {} if self._abandoned else self._pictures(trials)
            self._runs.show(pictures)
        # Pictures are worth no search.
        except Exception as error:
            problem = reason(error, self._open[0])
            LOG.warning("the pictures of study %s could not be made: %s", self._study, problem)
        spent = time.monotonic() - began
        self._next_pictures = began + max(BETWEEN_PICTURES, spent / SHARE_OF_PICTURES)

    @property
    def _is_silent(self) -> bool:
        if self._open[0].startswith("sqlite"):
            return self._failures >= ATTEMPTS_AT_END
        return time.monotonic() - self._answered >= SILENCE_AT_END

    def _give_up(self, trial: str | None, error: Exception) -> bool:
        """After a failure: True at the end of a search when it is no use; otherwise pause, longer
        each time.

        The next attempt connects afresh, asks again what the server has, and lets the other trials
        go first."""
        self._runs = None
        self._failures += 1
        self._note(f"MLflow at {shown(self._open[0])}: {reason(error, self._open[0])}")
        with self._changed:
            if trial is not None:
                self._attempts[trial] = self._attempts.get(trial, 0) + 1
                self._waiting[trial] = self._waiting.pop(trial)
            ending = self._status is not None
            if ending and trial is None and self._is_silent:
                return True
            # At the end somebody waits for it, so pauses stay short.
            longest = FIRST_PAUSE if ending else LONGEST_PAUSE
            pause = min(FIRST_PAUSE * 2 ** (self._failures - 1), longest)
            self._changed.wait_for(
                lambda: self._abandoned or (self._status is not None) != ending, pause
            )
        return False
