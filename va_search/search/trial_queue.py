"""The trials of one run of `search` that are trained now, and those that wait for another turn.

Conventions: a trial is handed out again after its process died (restart: before all others), after
the machine failed it (returned: others first, do they fail as well?), when another process trained
it the last time it was drawn (deferred), or when it found no memory beside others (alone: once
nothing else runs). After `LOSSES` turns that it lost it is given up, and left to the next search."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

from va_search.search.proposals import AskedTrial, take
from va_search.trial_settings import TrialSettings

LOSSES = 2
"""So often a trial goes on after its process died, its node went or its machine failed it."""

MOST_LOSSES = 12
"""So often even where its losses are forgiven: a trial may itself be what breaks the machine."""

Wanted = Callable[[TrialSettings], bool]
"""A test of a trial's settings: is it one of those that are looked for?"""


class TrialQueue:
    """Trials by id with their settings: `running` are trained now, `given_up` are no failures but
    lost too often, each with the reason."""

    def __init__(self, requested: Iterable[AskedTrial] = ()) -> None:
        """`requested`: trials to train in place of new ones."""
        self.running: dict[str, TrialSettings] = {}
        self.given_up: dict[str, str] = {}
        self.recovered = 0
        self._requested = deque(requested)
        self._restarts: deque[AskedTrial] = deque()
        self._returned: deque[AskedTrial] = deque()
        self._deferred: deque[AskedTrial] = deque()
        self._alone: deque[AskedTrial] = deque()
        self._runs_alone: str | None = None
        self._most: int | None = None
        self._losses: Counter[str] = Counter()  # that are not forgiven
        self._all_losses: Counter[str] = Counter()

    @property
    def is_waiting(self) -> bool:
        """True while a trial waits for another turn."""
        return bool(self._restarts or self._returned or self._deferred or self._alone)

    @property
    def is_full(self) -> bool:
        """True while no trial may begin beside those that run, lest the memory run out again."""
        if self._runs_alone in self.running:
            return True
        return self._most is not None and len(self.running) >= self._most

    @property
    def left(self) -> int:
        """The number of trials that were handed out, or were to be, and neither are complete nor
        have failed."""
        queues = (self._restarts, self._returned, self._deferred, self._alone)
        waiting = sum(len(queue) for queue in queues)
        return len(self.running) + waiting + len(self.given_up)

    def next_restart(self, wanted: Wanted | None) -> AskedTrial | None:
        """Take the first trial whose process died."""
        return take(self._restarts, wanted)

    def next_requested(self, wanted: Wanted | None) -> AskedTrial | None:
        """Take the first of the requested trials."""
        return take(self._requested, wanted)

    def next_later(self, wanted: Wanted | None) -> AskedTrial | None:
        """Take the first trial of those that come after all others.

        One that another process trains is no partner: with `wanted` none of these is taken."""
        trial = take(self._returned, wanted)
        if trial is None and wanted is None:
            trial = take(self._deferred, None)
        return trial

    def next_alone(self) -> AskedTrial | None:
        """Take one that found no memory beside others; None while anything runs."""
        if self.running or not self._alone:
            return None
        trial = self._alone.popleft()
        self._runs_alone = trial.id
        return trial

    def begin(self, trial: AskedTrial) -> None:
        """Note that a trial is handed out."""
        self.running[trial.id] = trial.settings

    def end(self, trial: str) -> TrialSettings | None:
        """Note that a trial runs no more, and return its settings; None where it did not run."""
        return self.running.pop(trial, None)

    def defer(self, trial: AskedTrial) -> None:
        """Have a trial wait that another process trains now."""
        self._deferred.append(trial)

    @property
    def deferred(self) -> list[AskedTrial]:
        """The trials that another process trained when they were drawn last."""
        return list(self._deferred)

    def forget(self, trial: AskedTrial) -> None:
        """Have a deferred trial wait no more: another process has ended it."""
        self._deferred.remove(trial)

    def wait_for_memory(self, trial: str) -> None:
        """Have a running trial wait until nothing else runs."""
        settings = self.end(trial)
        if settings is not None:
            self._alone.append(AskedTrial(trial, settings))

    def allow(self, most: int) -> None:
        """Let at most so many run side by side from now on."""
        self._most = most

    def is_spent(self, trial: str) -> bool:
        """Return True if a trial has lost all its turns but this one."""
        return self._losses[trial] >= LOSSES

    def forgive(self) -> None:
        """Forget how often trials lost their turn: a failure of the machine took it, which is being
        mended."""
        self._losses.clear()

    def put_back(self, trial: AskedTrial) -> None:
        """Have a trial that was drawn, and could not begin, be the next one again."""
        self._restarts.appendleft(trial)

    def restart(self, trials: Sequence[str], reason: str) -> None:
        """Hand running trials of one process out again, before any others."""
        self._hand_out_again(trials, reason, self._restarts)

    def give_back(self, trials: Sequence[str], reason: str) -> None:
        """Hand running trials of one process out again, after others."""
        self._hand_out_again(trials, reason, self._returned)

    def hand_on(self, trials: Sequence[str]) -> None:
        """Hand running trials out again, before any others and without a loss: they had not begun."""
        for trial in trials:
            settings = self.end(trial)
            if settings is not None:
                self._restarts.append(AskedTrial(trial, settings))

    def note_recovery(self) -> None:
        """Count a trial that goes on elsewhere without having been handed out again."""
        self.recovered += 1

    def _hand_out_again(self, trials: Sequence[str], reason: str, queue: deque[AskedTrial]) -> None:
        waiting = len(queue)
        for trial in trials:
            settings = self.end(trial)
            if settings is None:
                continue
            self._losses[trial] += 1
            self._all_losses[trial] += 1
            if self._losses[trial] > LOSSES or self._all_losses[trial] >= MOST_LOSSES:
                self.given_up[trial] = reason
            else:
                queue.append(AskedTrial(trial, settings))
        # One process that died is one recovery, however many it trained.
        self.recovered += len(queue) > waiting
