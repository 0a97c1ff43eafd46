"""One run of `search`: what it hands out, what comes back, when it stops. Knows no Ray: `waves.py`
connects the two.

A session draws trials from the proposals, passes over those the bank has, adopts those another
study of the same home completed, and leaves alone those another process is training until they are
done."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from va_search.data.store import Store
from va_search.errors import JobError, counted
from va_search.files import remove_folder
from va_search.metrics import DIMENSIONS
from va_search.search.configurations import Space
from va_search.search.credits import Credit, Told
from va_search.search.failures import Breaker, Outage
from va_search.search.improvement import Improvement
from va_search.search.interruption import Deadline
from va_search.search.outcomes import Values, objective
from va_search.search.proposals import Proposals, take
from va_search.search.ray_backend.nodes import Expected
from va_search.search.saves import Claims
from va_search.search.study import Study
from va_search.search.warm import Warm
from va_search.storage.homes import HomeCopy, Need
from va_search.training.own_models import own_sources
from va_search.trial import Failure, Trial
from va_search.trial_settings import TrialSettings, configuration_id, trial_id

LOG = logging.getLogger(__name__)

LOSSES = 2
"""So often a trial goes on after its process died, its node went or its machine failed it."""

LOOK_SECONDS = 0.5
"""So often the study's folder is looked at for a request to stop."""

KILLED = "a trial's process was killed since the memory of its machine ran out"

TIME_SPENT = "the budget's hours are spent; with more of them, search again goes on"


@dataclass(frozen=True)
class Progress:
    """The state of a search for a watcher; `planned` counts trials of the whole study, None where only time bounds
    it."""

    planned: int | None
    finished: int
    running: int
    failed: int
    best_valence: float | None
    best_arousal: float | None
    seconds: float
    seconds_left: float | None
    stopping: bool
    device: str | None = None
    """What trials are trained on, in words; None before that is known."""
    lacks: str | None = None
    """What the cluster lacks to run a single trial; None while it can."""
    undelivered: int | None = None
    """Trials that the tracking server has yet to take, once training is over; None before."""
    remarks: tuple[str, ...] = ()
    """What happened so far that is worth a line of its own, such as who killed a trial's
    process."""


@dataclass
class Session:
    """State of one run; `deliver` takes each finished or failed trial's record (tracking), `credit`
    tells what trials add to an ensemble (objective ensemble), `warm` is what earlier studies tell
    the sampler."""

    study: Study
    space: Space
    store: Store
    deliver: Callable[[Trial], None]
    concurrent: int = 1
    started: float = field(default_factory=time.monotonic)
    interrupted: bool = False
    spent: float = 0.0
    only: frozenset[str] | None = (
        None  # train nothing but these of the trials asked for before, whatever the budget
    )
    credit: Credit | None = None
    warm: Sequence[Warm] = ()
    copy: HomeCopy | None = None
    """Of a home at a URL: brings what a trial's node put there."""
    deadline: Deadline | None = None
    """When the search must be over, whatever runs then."""
    ends: list[str] = field(default_factory=list)
    """Why the search can't go on, whatever its trials do: another one has the home, a node must not
    train."""

    def __post_init__(self) -> None:
        self.claims = Claims(self.study.home.root / "claims")
        self.proposals = Proposals(self.space, self.trial_id)
        self.told = Told(self.space.objective, self.credit)
        self.running: dict[str, TrialSettings] = {}
        self.damaged: set[str] = set()
        """Trials whose record in the bank can't be read: neither complete nor trained again."""
        self.reasons: Counter[str] = Counter()
        self._breaker = Breaker(
            {
                failed.id: failed.failure.reason
                for failed in self.study.failures()
                if failed.failure is not None
            }
        )
        self.trained: list[float] = []
        self.adopted = 0
        self.recovered = 0
        self.remarks: list[str] = []
        self.asked_to_stop = False
        self.lacks: str | None = None
        self.device: str | None = None
        self.wanted: Expected | None = None
        self._looked = 0.0
        self._improvement = Improvement()
        self._losses: Counter[str] = Counter()
        self._asked: set[str] = set()  # by this run
        self.given_up: dict[str, str] = {}
        """Trials that the machine failed too often, and why; they are no failures, the next search
        begins with them."""
        self._returned: deque[tuple[str, TrialSettings]] = (
            deque()
        )  # to be handed out again, after others
        self._alone: deque[tuple[str, TrialSettings]] = deque()  # found no memory beside others
        self._by_itself: str | None = None  # the one of these that runs
        self._bearable: int | None = (
            None  # so many trials at a time, after one was killed since the memory ran out
        )
        self._again: deque[tuple[str, TrialSettings]] = deque()
        self._restarts: deque[tuple[str, TrialSettings]] = deque()
        """Trials whose process died, to be handed out again before any others."""
        self._noted = 0.0
        self._deferred: deque[tuple[str, TrialSettings]] = deque()
        self._best: dict[str, float] = {}
        self.records: dict[str, Trial] = {}
        self.beside: Counter[str] = Counter()  # complete trials that do not count, by why
        self.devices: Counter[str] = Counter()  # of the trials that were trained in this run
        self.finished = self._resume()
        for trial in self.finished:
            self._count(self.records[trial])

    def _resume(self) -> set[str]:
        """Complete trials that lie in the space; they count, and the sampler learns from them.

        What was asked for and is not complete comes first, with what its configurations lack
        (folds, seeds)."""
        inside = []
        meanings: set[str] = set()
        for record in self.study.bank.each_trial(self.study.name):
            self._remember(record)
            settings = self._ours(record.id, record.settings)
            meaning = None if settings is None else self.space.meaning(settings)
            if settings is None:
                self.beside[
                    "added with bank add" if record.is_outside else "outside this space"
                ] += 1
            elif meaning in meanings:
                self.beside["the same as another one"] += 1
            else:
                meanings.add(str(meaning))
                inside.append((record.id, settings))
                self._breaker.works(record.noted_settings or {})
        told = self._tell_all(trial for trial, _ in inside)
        earlier = [(record.id, settings) for one in self.warm for settings, record in one.used]
        self.proposals.warm_up([(trial, settings, told.get(trial)) for trial, settings in earlier])
        self.proposals.learn([(trial, settings, told.get(trial)) for trial, settings in inside])
        asked = [(trial.id, self._ours(trial.id, trial.settings)) for trial in self.study.asked()]
        begun = [(trial, found) for trial, found in asked if found is not None]
        one_of_each = {configuration_id(found, but=("seed", "fold")): found for _, found in begun}
        lacking = [one for settings in one_of_each.values() for one in self._siblings(settings)]
        unfinished = {
            trial: found
            for trial, found in [*begun, *lacking]
            if trial not in self.records and self.space.meaning(found) not in meanings
        }
        self.begun = len(unfinished)
        if self.only is None:
            self.proposals.resume(list(unfinished.items()))
        else:
            self._again.extend(
                (trial, found) for trial, found in unfinished.items() if trial in self.only
            )
        return {trial for trial, _ in inside}

    def _remember(self, record: Trial) -> None:
        """Keep what ranks a trial; its settings and history stay in the bank."""
        self.records[record.id] = record.compact()
        if record.source != "trained":
            return
        for dimension in DIMENSIONS:
            value = record.ccc(dimension)
            if value is not None:
                self._best[dimension] = max(value, self._best.get(dimension, value))

    def _count(self, record: Trial) -> None:
        value = objective(record, self.space.objective)
        self._improvement.add(record.finished_at or "", record.id, value)

    def _tell_all(self, trials: Iterable[str]) -> dict[str, Values]:
        """Return the values, as of now, of these trials and of those of earlier studies."""
        earlier = [
            record for one in self.warm for _, record in one.used if record.id not in self.records
        ]
        return self.told.of_all([*earlier, *(self.records[trial] for trial in trials)])

    def _siblings(self, settings: TrialSettings) -> list[tuple[str, TrialSettings]]:
        """The trials of this one's configuration on all of the space's folds and seeds."""
        configuration = self.space.configuration(settings) if self.space.trials_each > 1 else None
        trials = [] if configuration is None else self.space.trials(configuration)
        return [(self.trial_id(one), one) for one in trials]

    def _ours(self, trial: str, settings: TrialSettings | None) -> TrialSettings | None:
        """Settings noted for a trial; None unless the trial is one of this space, on this data, by
        this package's training (an outside model, or a trial of another version, is none)."""
        if settings is None or not self.space.contains(settings):
            return None
        return settings if self.trial_id(settings) == trial else None

    def trial_id(self, settings: TrialSettings) -> str:
        return trial_id(settings, self.store.data_hash(settings.features, settings.fold))

    @property
    def need(self) -> Need:
        """The part of a finished trial that the search itself reads."""
        return need_of(self.space)

    @property
    def out_of_time(self) -> bool:
        hours = self.space.budget.hours
        return hours is not None and self.spent + time.monotonic() - self.started >= hours * 3600

    @property
    def enough(self) -> str | None:
        """The reason for which the budget lets no further trial begin; None while it does."""
        without = self.space.budget.no_improvement
        if self.only is not None:
            return None
        if self.out_of_time:
            return TIME_SPENT
        if without is not None and self._improvement.since_best >= without:
            trials = counted(self._improvement.since_best, "trial")
            return f"no better {self.space.objective} in {trials} (budget.no_improvement)"
        return None

    def heed(self) -> None:
        """Notice a request of `va-search stop`; cheap to call at any time."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            self.asked_to_stop = self.asked_to_stop or self.study.stop_asked
            self.interrupted = self.interrupted or self.asked_to_stop or self.out_of_wall_time

    @property
    def out_of_wall_time(self) -> bool:
        """True once the search must end to be over in time."""
        return self.deadline is not None and self.deadline.near

    @property
    def hopeless(self) -> str | None:
        """The reason for which the trainings to come would be lost as well, whatever they are: the machine fails one
        after another, or all fail for one reason (but for those that fail again as they did in an
        earlier run, which says nothing of the others)."""
        return self.ends[0] if self.ends else self._breaker.reason

    @property
    def stopping(self) -> bool:
        return self.interrupted or self.hopeless is not None

    def next_alike(
        self, wanted: Callable[[TrialSettings], bool], most: int
    ) -> list[tuple[str, TrialSettings]]:
        """At most so many trials to train now, claimed, of those already asked for that are
        `wanted`."""
        found: list[tuple[str, TrialSettings]] = []
        while len(found) < most and (drawn := self.next_trial(wanted)) is not None:
            found.append(drawn)
        return found

    def next_trial(
        self, wanted: Callable[[TrialSettings], bool] | None = None
    ) -> tuple[str, TrialSettings] | None:
        """A trial to train now, claimed; None when there is none (`waiting` tells whether there
        will be)."""
        while not self.stopping and self.enough is None:
            if self._held_back:
                return None
            drawn = self._draw(wanted) or (self._draw_alone() if wanted is None else None)
            if drawn is None:
                return None
            trial, settings = drawn
            if self._known(trial) or self._known_alike(trial, settings):
                continue
            if not self.claims.take(trial):
                self._deferred.append(drawn)
                return None
            if self._known(trial):  # completed elsewhere between the look and the claim
                self.claims.release(trial)
                continue
            if trial not in self._asked:
                configuration = self.proposals.configuration(trial)
                self.study.ask(trial, settings.model_dump(mode="json"), configuration)
                self._asked.add(trial)
            self.running[trial] = settings
            return trial, settings
        return None

    @property
    def waiting(self) -> bool:
        """True while there may be a trial later: another process trains it now, its own process
        died, or it must wait for memory."""
        later = self._restarts or self._returned or self._deferred or self._alone or self._held_back
        return bool(later) and not self.stopping and self.enough is None

    @property
    def _held_back(self) -> bool:
        """True while no trial may begin beside those that run, lest the memory run out again."""
        if self._by_itself in self.running:
            return True
        return self._bearable is not None and len(self.running) >= self._bearable

    @property
    def left(self) -> int:
        """The number of trials that were handed out, or were to be, and neither are complete nor have
        failed."""
        waiting = len(self._restarts) + len(self._returned) + len(self._deferred) + len(self._alone)
        return len(self.running) + waiting + len(self.given_up)

    def _draw_alone(self) -> tuple[str, TrialSettings] | None:
        """One of those that found no memory beside others, once nothing else runs."""
        if self.running or not self._alone:
            return None
        drawn = self._alone.popleft()
        self._by_itself = drawn[0]
        return drawn

    def _draw(
        self, wanted: Callable[[TrialSettings], bool] | None
    ) -> tuple[str, TrialSettings] | None:
        # These first: of a space without an end new ones never run out.
        restart = take(self._restarts, wanted or (lambda settings: True))
        if restart is not None:
            return restart
        if self.only is not None:
            if wanted is not None:
                return take(self._again, wanted) or take(self._returned, wanted)
            waiting = self._again or self._returned or self._deferred
            return waiting.popleft() if waiting else None
        budget = self.space.budget_trials
        handed_out = len(self.finished) + self.reasons.total() + self.left
        if budget is None or handed_out < budget:
            drawn = self.proposals.next(wanted)
            if drawn is not None:
                return drawn
        if wanted is not None:
            return take(self._returned, wanted)  # what another process trains is no partner
        waiting = self._returned or self._deferred
        return waiting.popleft() if waiting else None

    def _known(self, trial: str, *, asked: str | None = None) -> bool:
        """Complete already, here or in another study of this home; then it counts and is not
        trained. `asked`: under which id the sampler asked for it, where that is another one."""
        bank, name = self.study.bank, self.study.name
        if bank.is_complete(name, trial):
            if bank.readable_trial(name, trial) is None:  # it blocks itself, and nothing else
                if asked is not None:
                    return False
                self.damaged.add(trial)
                self.proposals.tell(trial, None)
                return True
        else:
            sources = [
                study
                for study in bank.holders(trial)
                if self._as_wanted(bank.readable_trial(study, trial))
            ]
            if not sources:
                return False
            if self.copy is not None:
                self.copy.bring_entry(sources[0], trial, Need.WEIGHTS)
            bank.adopt(name, trial, source=sources[0], link=self.copy is None)
            if self.copy is not None:
                self.copy.put_entry(name, trial)
            self.adopted += 1
        self._accept(trial, asked=asked)
        return True

    def _known_alike(self, trial: str, settings: TrialSettings) -> bool:
        """Complete in a study of this home under other settings that mean the same; then that trial
        counts."""
        others = self.space.alternatives(settings)
        return any(self._known(self.trial_id(other), asked=trial) for other in others)

    def _as_wanted(self, record: Trial | None) -> bool:
        """Return True if this study would train it no further: one stopped early counts only where
        trials are stopped early, one whose record is damaged (None) never."""
        if record is None:
            return False
        return self.space.early_stopping is not None or not record.stopped

    def _accept(self, trial: str, *, asked: str | None = None) -> Trial:
        record = self.study.bank.trial(self.study.name, trial)
        self._remember(record)
        self.finished.add(trial)
        self._count(record)
        self._breaker.works(record.noted_settings or {})
        self.study.forget_failure(trial)
        remove_folder(
            self.study.home.running(self.study.name, trial)
        )  # of a trial that another study completed
        self.proposals.tell(asked or trial, self.told.of(record))
        if self.told.due:
            self.proposals.retell(self._tell_all(sorted(self.finished)))
        self.deliver(record)
        return record

    def ended(self, trial: str, failed: str | None) -> None:
        """A training ended: complete when the bank says so, failed with a reason, or given up by a
        stop."""
        settings = self.running.pop(trial, None)
        if settings is None:
            return
        if self.copy is not None:
            self.copy.bring_entry(self.study.name, trial, self.need)
        if self.study.bank.is_complete(self.study.name, trial):
            record = self._accept(trial)
            self.trained.append(record.seconds or 0.0)
            self.devices[record.device or "unknown"] += 1
            self._breaker.trained()
        elif failed is not None or not self.stopping:
            failed = failed or "the training ended, but the bank does not have the trial"
            why, document = Failure(failed).reason, settings.model_dump(mode="json")
            self.reasons[why] += 1
            self._breaker.failed(trial, why, document)
            self.proposals.tell(trial, None)
            self.deliver(self.study.record_failure(trial, document, failed))
        self.claims.release(trial)
        self.note_time()

    def failed_by_machine(self, trials: Sequence[str], outage: Outage) -> None:
        """The machine failed the process that trained these trials together: none of them is
        charged with it. They are handed out again, from their checkpoints, a few times."""
        left = self._but_complete(trials)
        self._breaker.failed_by_machine(outage)
        self._hand_out_again(
            left, outage.reason, self._returned
        )  # others first: do they fail as well?

    def found_no_memory(self, trials: Sequence[str], failed: str) -> None:
        """Trials that are trained together found no memory for a tensor: each is tried again by
        itself if others trained beside them, and has failed if none did."""
        left = self._but_complete(trials)
        if all(trial in left for trial in self.running):
            for trial in left:
                self.ended(trial, failed)
            return
        for trial in left:
            settings = self.running.pop(trial, None)
            if settings is not None:
                self.claims.release(trial)
                self._alone.append((trial, settings))

    def died(self, trials: Sequence[str], why: str, *, for_memory: bool = False) -> None:
        """The process that trained these trials died, or Ray gave it up. They go on from their
        checkpoints, a few times, and then failed. But if it was killed since the memory ran out,
        that is the machine's failure, and fewer trials run side by side from now on."""
        left = self._but_complete(trials)
        if not for_memory:
            for trial in left:
                if self._losses[trial] >= LOSSES:
                    self.ended(trial, why)
            self._hand_out_again(
                [trial for trial in left if trial in self.running], why, self._restarts
            )
            return
        beside = [trial for trial in self.running if trial not in trials]
        if beside:
            self._bearable = len(beside)
        else:
            self._breaker.failed_by_machine(Outage("memory", KILLED, why))
        self._hand_out_again(left, KILLED, self._returned)

    def dropped(self) -> None:
        """Ray Tune has ended, and did not say what became of these: they are handed out again, a
        few times."""
        for trial in self._but_complete(list(self.running)):
            self._hand_out_again([trial], "Ray ended its training without a reason", self._restarts)

    def _is_complete(self, trial: str) -> bool:
        """Return True if a trial was written before its process failed; with a home at a URL: to there."""
        if self.copy is not None:
            return self.copy.has_entry(self.study.name, trial)
        return self.study.bank.is_complete(self.study.name, trial)

    def _but_complete(self, trials: Sequence[str]) -> list[str]:
        """Those of trials that were trained together which are not complete; the others have ended
        well."""
        complete = [trial for trial in trials if self._is_complete(trial)]
        for trial in complete:
            self.ended(trial, None)
        return [trial for trial in trials if trial not in complete]

    def _hand_out_again(
        self, trials: Sequence[str], why: str, queue: deque[tuple[str, TrialSettings]]
    ) -> None:
        """Have trials of one process wait for their next turn; after a few each is left to the next
        search."""
        waiting = len(queue)
        for trial in trials:
            settings = self.running.pop(trial, None)
            if settings is None:
                continue
            self.claims.release(trial)
            self._losses[trial] += 1
            if self._losses[trial] > LOSSES:
                self.given_up[trial] = why
            else:
                queue.append((trial, settings))
        self.recovered += len(queue) > waiting

    def refused(self, trial: str, why: str) -> None:
        """A node that must not train got a trial: no failure of the trial, which the next search
        begins with."""
        if self.running.pop(trial, None) is not None:
            self.claims.release(trial)
        self.ends.append(why)

    def note_time(self) -> None:
        """Keep the time this run took so far with the study, so that a kill gives none of it back
        to the budget."""
        elapsed = time.monotonic() - self.started
        try:
            self.study.spend(elapsed - self._noted)
        except (
            OSError,
            JobError,
        ) as error:  # a full disk: noted the next time, and no reason to hide another error
            LOG.warning("the time of study %s is not noted: %s", self.study.name, error)
            return
        self._noted = elapsed

    def progress(self) -> Progress:
        """A picture for the watcher."""
        elapsed = time.monotonic() - self.started
        return Progress(
            planned=planned_trials(self.space),
            finished=len(self.finished),
            running=len(self.running),
            failed=sum(self.reasons.values()),
            best_valence=self._best.get("valence"),
            best_arousal=self._best.get("arousal"),
            seconds=elapsed,
            seconds_left=self._seconds_left(elapsed),
            stopping=self.stopping,
            device=self.device,
            lacks=self.lacks,
            remarks=tuple(self.remarks),
        )

    def _seconds_left(self, elapsed: float) -> float | None:
        """None while nothing tells: the budget of hours is no estimate, but it ends what would take
        longer."""
        planned, hours = planned_trials(self.space), self.space.budget.hours
        within = math.inf if hours is None else max(0.0, hours * 3600 - self.spent - elapsed)
        if planned is None:
            return None if hours is None else within  # nothing but time ends it
        if not self.trained:
            return None
        mean = sum(self.trained) / len(self.trained)
        to_come = max(0, planned - len(self.finished) - sum(self.reasons.values()))
        return min(within, to_come * mean / min(self.concurrent, max(1, to_come)))


def planned_trials(space: Space) -> int | None:
    """Return the number of trials of a whole search; None where only time bounds it."""
    size = space.size()
    whole = None if size is None else size * space.trials_each
    bounds = [bound for bound in (space.budget_trials, whole) if bound is not None]
    return min(bounds) if bounds else None


def need_of(space: Space) -> Need:
    """Return the share of finished trials that a search over this space reads, of a home at a URL."""
    return Need.PREDICTIONS if space.objective == "ensemble" else Need.RECORDS


def task(
    session: Session, trial: str, settings: TrialSettings, *, device: str, threads: int
) -> dict[str, Any]:
    """Return all that an actor needs to train a trial; plain data, so that it travels to any node."""
    store, early = session.store, session.space.early_stopping
    return {
        "trial": trial,
        "settings": settings.model_dump(mode="json"),
        "code": own_sources(settings),
        "study": session.study.name,
        "home": session.study.home.place,
        "store": store.place,
        "store_name": store.name,
        "data_hash": store.data_hash(settings.features, settings.fold),
        "objective": session.space.objective,
        "early_stopping": None if early is None else early.model_dump(),
        "device": device,
        "threads": threads,
        "wanted": None if session.wanted is None else asdict(session.wanted),
    }
