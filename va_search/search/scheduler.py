"""One run of `search`: which trial is next, what became of each, when it is over. No Ray is known
here, and no thread is started: `loop.py` asks and tells.

A scheduler draws trials from the proposals, passes over those the bank has, adopts those another
study of the same home completed, and leaves alone those another process is training until they are
done: it may search this very study (`sharing`). Its parts own what they count: `queue` the trials
that run or wait for another turn, `results` those that are over, `budget` what may still be spent,
`stop` the requests to end, `pause` the time in which nothing begins since the machine fails.

`ask` and `tell` raise what reading and writing the home raises. Then they have changed nothing that
matters: the same call again does what is left to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from va_search.data.store import Store
from va_search.files import remove_folder
from va_search.search.budget import StudyBudget
from va_search.search.configurations import Space
from va_search.search.earlier_runs import EarlierRuns
from va_search.search.events import (
    CannotGoOn,
    Capacity,
    Died,
    Done,
    Event,
    Failed,
    FoundNoMemory,
    Idle,
    Looked,
    MachineFailed,
    OnSickGpu,
    Ready,
    Recovered,
    Refused,
    SearchFailed,
)
from va_search.search.failures import ADVICE, Breaker, Outage
from va_search.search.interruption import Deadline, StopRequest
from va_search.search.outcomes import Credit, SamplerValues, Values, objective
from va_search.search.pause import Pause
from va_search.search.proposals import AskedTrial, Proposals, partner_of
from va_search.search.results import Results
from va_search.search.saves import Claims
from va_search.search.searchers import Searchers
from va_search.search.shared_search import SharedSearch
from va_search.search.sizes import with_smaller_batch
from va_search.search.study import Study
from va_search.search.trial_queue import TrialQueue, Wanted
from va_search.search.warm import Warm
from va_search.search.worth import Prospect
from va_search.storage.homes import Need, SharedHome, shared
from va_search.trial import Failure, Trial
from va_search.trial_settings import TrialSettings, trial_id_on

KILLED = "a trial's process was killed since the memory of its machine ran out"
LOST = "Ray ended its training without a reason"
NOT_IN_BANK = "the training ended, but the bank does not have the trial"

Deliver = Callable[[Trial], None]
"""Takes each trial's record once it is complete or has failed: tracking does."""


@dataclass(frozen=True)
class Surroundings:
    """Everything that a run of `search` depends on, besides its study.

    `spent`: seconds that earlier runs took. `warm`: earlier studies that the sampler learns from.
    `credit`: what trials add to an ensemble (objective ensemble). `prospect`: what an ensemble may
    gain by more of them. `shared`: the home as all machines
    see it, which brings what a trial's node put there; None: the study's own. `only`: train nothing
    but these of the trials asked for before, whatever the budget. `deadline`: when the search must
    be over, whatever runs then. `patience`: seconds that a failing machine is waited for. `ends`:
    reasons for which the search can't go on, whatever its trials do; others may add to it, such as
    who keeps the home's lease. `searchers`: the processes that search the study, None: this one
    alone; `joined`: others did before it."""

    spent: float = 0.0
    warm: Sequence[Warm] = ()
    credit: Credit | None = None
    prospect: Prospect | None = None
    shared: SharedHome | None = None
    only: frozenset[str] | None = None
    deadline: Deadline | None = None
    patience: float = 0.0
    ends: list[str] = field(default_factory=list)
    searchers: Searchers | None = None
    joined: bool = False


class Scheduler:
    """The state of one run. `ask` hands trials out, `tell` takes what became of them."""

    def __init__(
        self,
        study: Study,
        space: Space,
        store: Store,
        deliver: Deliver = lambda trial: None,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.study, self.space, self.store = study, space, store
        self._deliver = deliver
        around = surroundings or Surroundings()
        self.only, self.warm = around.only, around.warm
        self._shared, self._ends = around.shared or shared(study.home), around.ends
        self.stop = StopRequest(study, around.deadline)
        self.budget = StudyBudget(study, space, around.spent, around.prospect, self._leads)
        self.results = Results()
        self.proposals = Proposals(space, self.trial_id)
        self.claims = Claims(study.home.root / "claims")
        self._values = SamplerValues(space.objective, around.credit)
        self._breaker = Breaker(_reasons(study.failures()))
        self.pause = Pause(around.patience)
        self._asked: set[str] = set()  # by this run
        self._partners: set[str] = set()  # running trials that share another one's device
        self._earlier_runs = EarlierRuns(study, space, self.trial_id)
        self.sharing: SharedSearch | None = None
        if around.searchers is not None:
            self.sharing = SharedSearch(
                study, around.searchers, self._earlier_runs, joined=around.joined
            )
        # Told by the backend, for those who watch.
        self.device: str | None = None
        self.concurrent = 1
        self.lacks: str | None = None
        self.remarks: list[str] = []
        requested = self._resume()
        self.queue = TrialQueue(requested)

    # --- What earlier runs left -------------------------------------------------------------------

    def _resume(self) -> list[AskedTrial]:
        """Count the complete trials of the space, and let the sampler learn from them. What was
        asked for and is not complete comes first; it is returned where nothing else may be
        trained."""
        complete = self._earlier_runs.complete(self.results, self._breaker)
        for trial in complete:
            self._count(self.results.records[trial.id])
        worth = self._worth_of(trial.id for trial in complete)
        learnt = []
        for warm in self.warm:
            learnt += [
                (record.id, settings, worth.get(record.id)) for settings, record in warm.used
            ]
        self.proposals.warm_up(learnt)
        finished = [(*trial, worth.get(trial.id)) for trial in complete]
        self.proposals.learn(finished, self._earlier_runs.own)
        self._consider_worth()
        unfinished = self._earlier_runs.unfinished(self.results)
        self._earlier_runs.own.clear()  # of thousands of trials, and needed no more
        self.begun = len(unfinished)
        if self.only is not None:
            return [trial for trial in unfinished if trial.id in self.only]
        self.proposals.resume(unfinished)
        return []

    # --- Which trial is next ----------------------------------------------------------------------

    def ask(self, wanted: Wanted | None = None) -> AskedTrial | None:
        """Return a trial to train now, claimed; None when there is none (`waiting` is True where
        there will be). With `wanted`: one of those asked for already whose settings pass."""
        if self.stopping or self.pause.is_on:
            return None
        self.study.check_exists()  # a claim or a turn would make its folder anew
        if self.sharing is None:
            return self._ask(wanted)
        if self.sharing.pauses:
            return None
        with self.sharing.turn() as asked_by_others:
            self.proposals.resume(asked_by_others)
            if self.sharing.is_due():
                self._settle_deferred()
            return self._ask(wanted)

    def _ask(self, wanted: Wanted | None) -> AskedTrial | None:
        claimed_by_others: set[str] = set()
        while not self.stopping and self.enough is None and not self.pause.is_on:
            if self.queue.is_full:
                return None
            trial = self._draw(wanted)
            if trial is None and wanted is None:
                trial = self.queue.next_alone()
            if trial is None:
                return None
            try:
                if self._is_known(trial.id) or self._is_known_alike(trial):
                    continue
                if not self.claims.take(trial.id):
                    self.queue.defer(trial)
                    if self.sharing is None:
                        return None
                    if trial.id in claimed_by_others:
                        self.sharing.pause()
                        return None
                    claimed_by_others.add(trial.id)
                    continue
                if self._has_ended_elsewhere(trial):  # between the look and the claim
                    self.claims.release(trial.id)
                    continue
                self._note_asked(trial)
            except Exception:
                self.queue.put_back(trial)
                self.claims.release(trial.id)
                raise
            self.queue.begin(trial)
            if wanted is not None:
                self._partners.add(trial.id)
            self.accrue()
            return trial
        return None

    def _has_ended_elsewhere(self, trial: AskedTrial) -> bool:
        """Return True if a trial is complete by now, or another process that searches the study
        has seen it fail; then it counts."""
        if self.sharing is None:
            return self._is_known(trial.id)
        self.sharing.look_afresh(trial.id)
        if self._is_known(trial.id):
            return True
        record = self.sharing.failed_elsewhere(trial.id)
        if record is None:
            return False
        assert record.failure is not None
        self.results.fail(record.failure.reason)
        self.proposals.tell(trial.id, None)
        self._deliver(record)
        return True

    def _settle_deferred(self) -> None:
        """Learn from what other processes have ended since the last look."""
        for trial in self.queue.deferred:
            if not self.claims.is_held(trial.id) and self._has_ended_elsewhere(trial):
                self.queue.forget(trial)

    def ask_partners(self, settings: TrialSettings, most: int) -> list[AskedTrial]:
        """Return at most so many trials, claimed, that can be trained as one model with a trial of
        these settings."""
        partners: list[AskedTrial] = []
        while len(partners) < most:
            trial = self.ask(partner_of(settings))
            if trial is None:
                break
            partners.append(trial)
        return partners

    def _draw(self, wanted: Wanted | None) -> AskedTrial | None:
        # These first: of a space without an end new ones never run out.
        trial = self.queue.next_restart(wanted)
        if trial is None and self.only is not None:
            trial = self.queue.next_requested(wanted)
        elif trial is None and self._may_begin_new():
            trial = self.proposals.next(wanted)
        return self.queue.next_later(wanted) if trial is None else trial

    def _may_begin_new(self) -> bool:
        """Return True while fewer trials were handed out than the budget has."""
        handed_out = len(self.results.finished) + self.results.failed + self.queue.left
        return self.budget.trials is None or handed_out < self.budget.trials

    def _note_asked(self, trial: AskedTrial) -> None:
        if trial.id not in self._asked:
            configuration = self.proposals.configuration(trial.id)
            self.study.ask(trial.id, trial.settings.model_dump(mode="json"), configuration)
            self._asked.add(trial.id)

    # --- What is complete already -----------------------------------------------------------------

    def _is_known(self, trial: str, *, asked: str | None = None) -> bool:
        """Return True if a trial is complete already, here or in another study of this home; then
        it counts and is not trained. `asked`: under which id the sampler asked for it, where that
        is another one."""
        bank, study = self.study.bank, self.study.name
        if not bank.is_complete(study, trial):
            if not self._adopt(trial):
                return False
        elif bank.readable_trial(study, trial) is None:  # it blocks itself, and nothing else
            if asked is None:
                self.results.damage(trial)
                self.proposals.tell(trial, None)
            return asked is None
        elif self.sharing is not None and trial not in self.results.finished:
            self.results.finish_elsewhere(trial)
        self._accept(trial, asked=asked)
        return True

    def _is_known_alike(self, trial: AskedTrial) -> bool:
        """Return True if a trial is complete under other settings that mean the same; then that one
        counts."""
        alternatives = self.space.alternatives(trial.settings)
        return any(
            self._is_known(self.trial_id(settings), asked=trial.id) for settings in alternatives
        )

    def _adopt(self, trial: str) -> bool:
        """Take a complete trial over from another study of the home; False where none has it."""
        bank, link = self.study.bank, self._shared.may_link
        for study in self._sources_of(trial):
            self._shared.bring_entry(study, trial, Need.WEIGHTS)
            # Where its files are damaged, those of another study may be whole.
            if bank.adopt(self.study.name, trial, source=study, link=link):
                self._shared.put_entry(self.study.name, trial)
                self.results.finish_adopted()
                return True
        return False

    def source_of(self, trial: str) -> str | None:
        """Return a study of the home whose trial this one would train no further; None where there
        is none."""
        return next(self._sources_of(trial), None)

    def _sources_of(self, trial: str) -> Iterator[str]:
        """Yield the studies of the home whose trial this one would train no further: one stopped
        early counts only where trials are stopped early, one whose record is damaged never."""
        for study in self.study.bank.holders(trial):
            record = self.study.bank.readable_trial(study, trial)
            if record is not None and (self.space.early_stopping or not record.stopped):
                yield study

    def _accept(self, trial: str, *, asked: str | None = None) -> Trial:
        """Have a complete trial of the bank count, and let everybody know."""
        # First whatever may fail: should it, nothing has been counted yet.
        record = self.study.bank.trial(self.study.name, trial)
        self.study.forget_failure(trial)
        # The checkpoint of a trial that another study completed.
        remove_folder(self.study.home.running(self.study.name, trial))
        values = self._values.of(record)
        if trial not in self.results.finished:
            self.results.remember(record)
            self.results.finish(trial)
            self._count(record)
            self._breaker.works(record.noted_settings or {})
            self.proposals.tell(asked or trial, values)
            self._deliver(record)
        if self._values.are_due:
            self.proposals.retell(self._worth_of(sorted(self.results.finished)))
        self._consider_worth()
        return record

    def _count(self, record: Trial) -> None:
        value = objective(record, self.space.objective)
        self.budget.improvement.add(record.finished_at or "", record.id, value)

    def _consider_worth(self) -> None:
        """Have the budget look at what a further hour may bring, now and then."""
        if not self.budget.worth.is_due(len(self.results.finished)):
            return
        trials = [(self.study.name, trial) for trial in sorted(self.results.finished)]
        self.budget.worth.consider(trials, self.budget.spent.seconds)

    def _worth_of(self, trials: Iterable[str]) -> dict[str, Values]:
        """Return the sampler's values, as of now, of these trials and of those of earlier
        studies."""
        records = self.results.records
        learnt = []
        for warm in self.warm:
            learnt += [record for _, record in warm.used if record.id not in records]
        return self._values.of_all([*learnt, *(records[trial] for trial in trials)])

    # --- What became of a trial -------------------------------------------------------------------

    def tell(self, event: Event) -> None:  # noqa: PLR0912 (a line or two for each event)
        """Take an event of the backend into account."""
        match event:
            case Ready(device, concurrent, gpus, cores):
                self.device, self.concurrent = device, concurrent
                self.remarks += self.budget.take_devices(gpus, cores)
            case Capacity(concurrent, lacks):
                self.concurrent, self.lacks = concurrent, lacks
            case Done(trial):
                self._end(trial, None)
            case Failed(trial, traceback):
                self._end(trial, traceback)
            case FoundNoMemory(trials, traceback, alone):
                self._found_no_memory(trials, traceback, alone=alone)
            case MachineFailed(trials, outage):
                self._failed_by_machine(self._but_complete(trials), outage)
            case SearchFailed(outage, trials):
                self._pause(outage)
                self._release(trials)
                self.queue.give_back(trials, outage.reason)
            case Looked(problem):
                self._looked(problem)
            case OnSickGpu(trials, reason):
                if reason is not None:
                    self.remarks.append(reason)
                self._release(trials)
                self.queue.hand_on(trials)
            case Died():
                self._died(event)
            case Refused(trials, reason):
                for trial in trials:
                    self.queue.end(trial)
                self._release(trials)
                self._ends.append(reason)
            case Recovered():
                self.queue.note_recovery()
            case Idle():
                self._lose_running()
            case CannotGoOn(reason):
                self._ends.append(reason)
        self.accrue()

    def accrue(self) -> None:
        """Have the budget count the time of the devices that train now."""
        self._partners &= self.queue.running.keys()
        self.budget.accrue(len(self.queue.running) - len(self._partners))

    def _end(self, trial: str, failed: str | None) -> None:
        """A training ended: complete when the bank says so, failed with a reason, or given up by a
        stop."""
        settings = self.queue.running.get(trial)
        if settings is None:
            return
        self.study.check_exists()  # else the trial would seem to be missing in its bank
        self._shared.bring_entry(self.study.name, trial, need_of(self.space))
        if self.study.bank.is_complete(self.study.name, trial):
            self.results.finish_trained(self._accept(trial))
            self._breaker.trained()
            self.pause.restore_patience()
        elif failed is None and self.pause.times:
            # What it wrote may have gone to a home that was away: another turn, and no failure.
            self._release([trial])
            self.queue.give_back([trial], NOT_IN_BANK)
            return
        elif failed is not None or not self.stopping:
            self._fail(trial, settings, failed or NOT_IN_BANK)
        self.queue.end(trial)
        self.claims.release(trial)

    def _leads(self) -> bool:
        """Return True unless another process counts the study's hours."""
        return self.sharing is None or self.sharing.leads

    def note_time(self) -> None:
        """Keep the time this run took so far."""
        self.budget.note_time()

    def _fail(self, trial: str, settings: TrialSettings, failed: str) -> None:
        reason = Failure(failed).reason
        document = settings.model_dump(mode="json")
        record = self.study.record_failure(trial, document, failed)
        self.results.fail(reason)
        self._breaker.failed(trial, reason, document)
        self.proposals.tell(trial, None)
        self._deliver(record)

    def _failed_by_machine(self, trials: Sequence[str], outage: Outage) -> None:
        """Hand these trials out again; pause where the machine fails one after another."""
        self._breaker.failed_by_machine(outage)
        sick = self._breaker.sick_machine()
        if sick is not None:
            self._pause(sick)
        self._release(trials)
        self.queue.give_back(trials, outage.reason)

    def _pause(self, outage: Outage) -> None:
        """Begin nothing more until the machine is as it was."""
        if not self.pause.is_on:
            self.pause.begin(outage)
            self.queue.forgive()
            if self.hopeless is None:
                advice = ADVICE[outage.kind]
                self.study.note_pause(f"{outage.reason}; {advice}")
                self.remarks.append(
                    f"paused: {outage.reason}; {advice}, and the search goes on by itself"
                )

    def _looked(self, problem: str | None) -> None:
        if problem is not None:
            self.pause.looked(problem)
            return
        seconds = self.pause.end()
        if seconds is not None:
            self.queue.forgive()
            self.study.note_pause(None)
            self.remarks.append(f"the search goes on after a pause of {seconds:.0f} s")

    def _found_no_memory(self, trials: Sequence[str], traceback: str, *, alone: bool) -> None:
        """Try each trial again by itself if others trained beside them; it has failed if none
        did."""
        incomplete = self._but_complete(trials)
        others_ran = any(trial not in incomplete for trial in self.queue.running)
        for trial in incomplete:
            if others_ran and not alone:
                self.claims.release(trial)
                self.queue.wait_for_memory(trial)
            else:
                settings = self.queue.running.get(trial)
                self._end(trial, traceback)
                if settings is not None:
                    self._try_smaller_batch(trial, settings)

    def _try_smaller_batch(self, trial: str, settings: TrialSettings) -> None:
        """Ask for the trial that differs in a smaller batch, where the space has it and the budget
        has room: another trial, with an id of its own."""
        smaller = with_smaller_batch(self.space, settings)
        if smaller is None or self.only is not None or not self._may_begin_new():
            return
        smaller_trial = AskedTrial(self.trial_id(smaller), smaller)
        if self.proposals.resume([smaller_trial]):
            self.remarks.append(
                f"trial {trial} found no memory for batch_size {settings.batch_size} even by itself; "
                f"trial {smaller_trial.id} has {smaller.batch_size}"
            )

    def _died(self, death: Died) -> None:
        """Have trials whose process died go on from their checkpoints, a few times. Then they have
        failed if it crashed by itself, and are left to the next search if it was killed. But if it
        was killed since the memory ran out, fewer trials run side by side from now on."""
        incomplete = self._but_complete(death.trials)
        self.remarks.append(f"trial {death.trials[0]}: {Failure(death.text).reason}")
        if death.for_memory:
            self._killed_for_memory(death, incomplete)
            return
        if death.own:
            for trial in incomplete:
                if self.queue.is_spent(trial):
                    self._end(trial, death.text)
        still_running = [trial for trial in incomplete if trial in self.queue.running]
        self._release(still_running)
        self.queue.restart(still_running, Failure(death.text).reason)

    def _killed_for_memory(self, death: Died, incomplete: Sequence[str]) -> None:
        """Let no more run side by side than ran beside this one; one that ran alone was failed by
        the machine."""
        beside = [trial for trial in self.queue.running if trial not in death.trials]
        if beside:
            self.queue.allow(len(beside))
            self._release(incomplete)
            self.queue.give_back(incomplete, KILLED)
        else:
            self._failed_by_machine(incomplete, Outage("memory", KILLED, death.text))

    def _lose_running(self) -> None:
        """Hand out again what runs no more and has not ended, a few times; a stop leaves it to the
        next search."""
        if self.stopping:
            return
        for trial in self._but_complete(list(self.queue.running)):
            self.claims.release(trial)
            self.queue.restart([trial], LOST)

    def _but_complete(self, trials: Sequence[str]) -> list[str]:
        """Return those of trials that were trained together which are not complete; the others have
        ended well: they were written before their process failed."""
        incomplete = []
        for trial in trials:
            if self._is_complete(trial):
                self._end(trial, None)
            else:
                incomplete.append(trial)
        return incomplete

    def _is_complete(self, trial: str) -> bool:
        """Return True if a trial is in the bank; with a home at a URL: there."""
        return self._shared.has_entry(self.study.name, trial)

    def _release(self, trials: Iterable[str]) -> None:
        for trial in trials:
            self.claims.release(trial)

    # --- When it is over --------------------------------------------------------------------------

    @property
    def enough(self) -> str | None:
        """The reason for which the budget lets no further trial begin; None while it does."""
        return None if self.only is not None else self.budget.exhausted

    @property
    def hopeless(self) -> str | None:
        """The reason for which the trainings to come would be lost as well, whatever they are: the
        machine fails one after another, or all fail for one reason (but for those that fail again
        as they did in an earlier run, which says nothing of the others)."""
        if self._ends:
            return self._ends[0]
        return self.pause.reason_to_end or self._breaker.reason

    @property
    def stopping(self) -> bool:
        """True once nothing more is handed out, and what runs is to end."""
        return self.stop.interrupted or self.hopeless is not None

    @property
    def cannot_go_on(self) -> bool:
        """True where something but the trials ended the search."""
        return bool(self._ends) or self.pause.reason_to_end is not None

    @property
    def waiting(self) -> bool:
        """True while there may be a trial later: another process trains it now, its own process
        died, it must wait for memory, or the search is paused."""
        later = self.queue.is_waiting or self.queue.is_full or self.pause.is_on
        return later and not self.stopping and self.enough is None

    def trial_id(self, settings: TrialSettings) -> str:
        """Return the id of the trial with these settings on this store."""
        return trial_id_on(settings, self.store)


def need_of(space: Space) -> Need:
    """Return the share of finished trials that a search over this space reads, of a home at a
    URL."""
    reads = space.objective == "ensemble" or space.budget.worth is not None
    return Need.PREDICTIONS if reads else Need.RECORDS


def _reasons(failures: Iterable[Trial]) -> dict[str, str]:
    """Return the reasons of earlier runs' failures by trial."""
    return {trial.id: trial.failure.reason for trial in failures if trial.failure is not None}
