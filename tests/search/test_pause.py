"""A search that its machine fails pauses, looks and goes on: without Ray, on a clock of its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from loop_world import loop_of

from va_search.api.progress import progress_text
from va_search.data.store import Store
from va_search.errors import JobError
from va_search.home import Home
from va_search.report import standing
from va_search.search.events import Died, Done, Failed, Looked, MachineFailed, SearchFailed
from va_search.search.failures import SAME_REASON, Kind, Outage
from va_search.search.pause import LONGEST_LOOK_SECONDS, Pause
from va_search.search.probes import Probe, import_problem
from va_search.search.ray_backend.hooks import TaskSearcher
from va_search.search.scheduler import KILLED, Scheduler, Surroundings
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.summary import progress_of
from va_search.search.trial_queue import MOST_LOSSES

SPACE = """sampler: grid
budget: {trials: 8}
settings:
  features: [face]
  encoder: gru
  epochs: 2
  learning_rate: {choice: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]}
"""

PATIENCE = 100.0


class Clock:
    """A clock that is moved by hand, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def outage(kind: Kind = "store", reason: str = "on n1: the store is gone") -> Outage:
    return Outage(kind, reason, "Traceback …")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def scheduler(tmp_path: Path, tiny_store: Store, clock: Clock) -> Scheduler:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    space = load_space(file, tiny_store)
    study = Study(Home(tmp_path / "home"), "s")
    study.begin(tiny_store, space.document)
    made = Scheduler(study, space, tiny_store, surroundings=Surroundings(patience=PATIENCE))
    made.pause = Pause(PATIENCE, clock)
    return made


def take(scheduler: Scheduler) -> str:
    trial = scheduler.ask()
    assert trial is not None
    return trial.id


def fail_until_paused(scheduler: Scheduler, kind: Kind = "store") -> list[str]:
    """Have trial after trial fail for one reason; return their ids."""
    failed = []
    while not scheduler.pause.is_on:
        failed.append(take(scheduler))
        scheduler.tell(MachineFailed((failed[-1],), outage(kind)))
    return failed


def test_like_failures_pause_the_search_which_goes_on_with_the_same_trials(
    scheduler: Scheduler, clock: Clock
) -> None:
    running = take(scheduler)
    failed = fail_until_paused(scheduler)
    assert len(failed) == SAME_REASON
    assert scheduler.ask() is None and scheduler.waiting and not scheduler.stopping
    assert running in scheduler.queue.running
    assert scheduler.remarks[0].startswith("paused: on n1: the store is gone; bring the store back")

    clock.now += 30
    scheduler.tell(Looked("no such store"))
    assert scheduler.pause.is_on
    scheduler.tell(Looked(None))
    assert not scheduler.pause.is_on and scheduler.remarks[-1].endswith("after a pause of 30 s")
    asked = {trial.id for trial in iter(scheduler.ask, None)}
    assert set(failed) <= asked and len(asked) == 7
    assert (scheduler.pause.times, scheduler.pause.seconds) == (1, 30)
    assert not scheduler.results.failures and scheduler.study.failures() == []


def test_when_patience_is_at_an_end_the_search_is_and_says_why(
    scheduler: Scheduler, clock: Clock
) -> None:
    fail_until_paused(scheduler)
    scheduler.tell(Looked("stores/mine: no such folder"))
    clock.now += PATIENCE - 1
    assert scheduler.hopeless is None
    clock.now += 1
    assert scheduler.stopping and scheduler.cannot_go_on and not scheduler.waiting
    assert scheduler.hopeless is not None
    assert "stores/mine: no such folder\nThe search waited 1.67 min" in scheduler.hopeless
    assert "none is counted as failed" in scheduler.hopeless
    scheduler.tell(Looked(None))  # too late
    assert scheduler.stopping


def test_a_cause_that_comes_back_at_once_is_not_waited_for_for_ever(
    scheduler: Scheduler, clock: Clock
) -> None:
    rounds = 0
    while not scheduler.stopping:
        fail_until_paused(scheduler)
        clock.now += 30
        scheduler.tell(Looked(None))
        rounds += 1
    assert rounds == 4  # three times 30 s are not yet 100
    assert scheduler.queue.given_up == {}


def test_a_completed_trial_restores_the_patience(clock: Clock) -> None:
    pause = Pause(PATIENCE, clock)
    for _ in range(5):
        pause.begin(outage())
        clock.now += 60
        assert pause.end() == 60
        pause.restore_patience()
    assert pause.seconds == 300 and pause.times == 5


def test_looks_come_with_growing_pauses(clock: Clock) -> None:
    pause, began, looks = Pause(10_000, clock), clock.now, []
    pause.begin(outage())
    while len(looks) < 9:
        clock.now += 1
        if pause.look_is_due:
            looks.append(clock.now - began)
            pause.looked("still away")
    assert looks[:3] == [2, 6, 14]
    assert looks[-1] - looks[-2] == LONGEST_LOOK_SECONDS


@pytest.mark.parametrize("kind", ["disk", "files", "gpu", "library"])
def test_every_kind_but_memory_pauses(scheduler: Scheduler, kind: Kind) -> None:
    failed = fail_until_paused(scheduler, kind)
    assert len(failed) == (1 if kind == "disk" else SAME_REASON) and not scheduler.stopping


def test_a_trial_that_needs_more_memory_than_there_is_is_not_waited_for(
    scheduler: Scheduler,
) -> None:
    while not scheduler.stopping:
        scheduler.tell(Died((take(scheduler),), KILLED, for_memory=True))
    assert scheduler.hopeless is not None and "waited" not in scheduler.hopeless


def test_a_stop_is_heeded_during_a_pause(scheduler: Scheduler) -> None:
    fail_until_paused(scheduler)
    scheduler.stop.interrupt()
    assert scheduler.stopping and not scheduler.waiting
    scheduler.tell(Looked(None))
    assert scheduler.ask() is None


def test_a_trial_that_breaks_the_machine_itself_is_given_up_in_the_end(
    scheduler: Scheduler,
) -> None:
    breaking = take(scheduler)
    while scheduler.ask() is not None:
        pass  # the others are still trained
    losses = 0
    while breaking not in scheduler.queue.given_up and losses < 2 * MOST_LOSSES:
        scheduler.tell(MachineFailed((breaking,), outage("gpu", "on n1: CUDA error")))
        scheduler.tell(Looked(None))
        scheduler.ask()
        losses += 1
    assert losses == MOST_LOSSES and not scheduler.stopping


def test_the_end_of_a_trial_that_cannot_be_noted_is_told_again_after_the_pause(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of failures can't be written for a while."""
    trial = take(scheduler)
    loop = loop_of(scheduler)
    failures = scheduler.study.folder / "failures"
    failures.write_text("a file where a folder must be")
    loop.tell(Failed(trial, "Traceback …\nValueError: nope"))
    assert scheduler.pause.is_on and not scheduler.results.failures
    assert trial in scheduler.queue.running
    failures.unlink()
    answer(loop, scheduler, Looked(None), monkeypatch)
    assert not scheduler.pause.is_on and scheduler.results.failures.total() == 1
    assert [failure.id for failure in scheduler.study.failures()] == [trial]


def answer(loop: Any, scheduler: Scheduler, looked: Looked, monkeypatch: Any) -> None:
    """Let the loop find this answer of a look."""
    loop._look = SimpleNamespace(answer=looked)
    loop._look_at_machine()


def test_a_trial_that_cannot_be_noted_is_the_first_after_the_pause(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = loop_of(scheduler)
    ledger = scheduler.study.folder / "asked.jsonl"
    ledger.mkdir()
    assert loop.ask() is None and scheduler.pause.is_on and loop.waiting
    ledger.rmdir()
    answer(loop, scheduler, Looked(None), monkeypatch)
    task = loop.ask()
    assert task is not None
    assert task.settings_json["learning_rate"] == 0.1  # the grid's first


def test_a_home_that_is_away_charges_nobody(scheduler: Scheduler) -> None:
    trial = take(scheduler)
    away = scheduler.study.home.root.with_name("away")
    scheduler.study.home.root.rename(away)
    with pytest.raises(JobError, match="not there any more"):
        scheduler.tell(Done(trial))
    assert trial in scheduler.queue.running and not scheduler.study.home.root.exists()


def test_the_search_itself_failing_gives_back_what_was_about_to_begin(scheduler: Scheduler) -> None:
    trial = take(scheduler)
    scheduler.tell(SearchFailed(outage("files", "on n1: Stale file handle"), (trial,)))
    assert scheduler.pause.is_on and not scheduler.queue.running
    scheduler.tell(Looked(None))
    assert trial in {asked.id for asked in iter(scheduler.ask, None)}


def test_the_progress_says_what_is_wrong_since_when_and_for_how_long(
    scheduler: Scheduler, clock: Clock
) -> None:
    fail_until_paused(scheduler)
    clock.now += 42
    text = progress_text(progress_of(scheduler))
    assert text.startswith("paused since ") and "(42 s): on n1: the store is gone" in text
    assert "bring the store back" in text and "waits 58 s more (Ctrl-C stops)" in text


def test_a_trial_that_was_written_to_a_home_that_was_away_is_trained_again(
    scheduler: Scheduler,
) -> None:
    trial = take(scheduler)
    fail_until_paused(scheduler)
    scheduler.tell(Looked(None))
    scheduler.tell(Done(trial))  # the bank does not have it
    assert not scheduler.results.failures and scheduler.study.failures() == []
    assert trial in {asked.id for asked in iter(scheduler.ask, None)}


def test_the_status_says_that_the_search_is_paused_and_why(scheduler: Scheduler) -> None:
    study = scheduler.study
    with study.searching():
        fail_until_paused(scheduler)
        assert study.pause_problem is not None
        assert study.pause_problem.startswith("on n1: the store is gone; bring the store back")
        progress = standing.progress_of(study.home, study.name, [], [])
        assert progress.pause == study.pause_problem
        scheduler.tell(Looked(None))
        assert study.pause_problem is None
        study.note_pause("killed while it was paused")
    assert study.pause_problem is None  # nobody searches
    with study.searching():
        assert study.pause_problem is None


def test_while_nothing_is_trained_the_search_is_shown_and_looked_after_too() -> None:
    """Tune then waits inside of its searcher, and calls nothing else of ours."""
    shown: list[bool] = []
    driver: Any = SimpleNamespace(ask=lambda: None, waiting=True, show=lambda: shown.append(True))
    assert TaskSearcher(driver, 2).suggest("1") is None
    assert shown == [True]


@pytest.fixture
def probe(scheduler: Scheduler) -> Probe:
    return Probe(scheduler.study, scheduler.store, room=1000, is_local=True)


def test_a_probe_sees_a_home_and_a_store_and_leaves_nothing(
    probe: Probe, scheduler: Scheduler
) -> None:
    before = sorted(scheduler.study.home.root.rglob("*"))
    assert probe.problem(outage()) is None
    assert sorted(scheduler.study.home.root.rglob("*")) == before


def test_a_probe_sees_that_the_store_is_away(
    probe: Probe, scheduler: Scheduler, tmp_path: Path
) -> None:
    gone = SimpleNamespace(place=str(tmp_path / "gone"))
    problem = Probe(scheduler.study, gone, 1000, True).problem(outage())  # type: ignore[arg-type]
    assert problem is not None and str(tmp_path / "gone") in problem


def test_a_probe_sees_that_the_home_is_away(probe: Probe, scheduler: Scheduler) -> None:
    scheduler.study.home.root.rename(scheduler.study.home.root.with_name("away"))
    problem = probe.problem(outage("files"))
    assert problem is not None and "not there" in problem


def test_a_probe_sees_a_module_that_is_missing() -> None:
    assert import_problem("on n1: No module named 'no_such_module'") is not None


def test_a_probe_looks_at_the_gpus_that_the_search_takes(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    @cache
    def problem_of(visible: tuple[str, ...] | None = None) -> str | None:
        return "it is gone" if visible == ("2",) else None

    monkeypatch.setattr("va_search.search.probes.torch_problem", problem_of)
    probe = Probe(scheduler.study, scheduler.store, 1000, is_local=True, gpus=("2",))
    assert "it is gone" in str(probe.problem(outage("gpu")))
