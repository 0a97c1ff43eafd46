"""Several searches of one study: schedulers that share claims, budget, hours and failures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from loop_world import SPACE, finish, take
from ray_world import wait_for

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import write_json
from va_search.home import Home
from va_search.locks import only_one
from va_search.search.events import Failed
from va_search.search.run import _begin
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.searchers import Searchers
from va_search.search.space import load_space
from va_search.search.spending import spent_by
from va_search.search.study import Study

Join = Callable[..., Scheduler]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(Home(tmp_path / "home"), "s")


@pytest.fixture
def join(
    tmp_path: Path, tiny_store: Store, study: Study, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Join]:
    """Searches of one study in one process: their locks are as those of several."""
    monkeypatch.setattr("va_search.search.shared_search.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("va_search.search.shared_search.PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("va_search.search.searchers.LEADING_SECONDS", 0.0)
    with ExitStack() as running:

        def begin(trials: int = 4, sampler: str = "grid", folds: str = "[official]") -> Scheduler:
            file = tmp_path / "space.yaml"
            document = SPACE.format(
                rates="[0.1, 0.2, 0.3, 0.4]", trials=trials, sampler=sampler, folds=folds,
                objective="score",
            )  # fmt: skip
            file.write_text(document)
            space = load_space(file, tiny_store)
            searchers = running.enter_context(study.searching(join=True))
            joined = not searchers.leads
            study.begin(tiny_store, space.document, joins=joined)
            searchers.announce()
            around = Surroundings(
                spent=study.document()["seconds"], searchers=searchers, joined=joined
            )
            return Scheduler(study, space, tiny_store, surroundings=around)

        yield begin


def searchers_of(scheduler: Scheduler) -> Searchers:
    assert scheduler.sharing is not None
    return scheduler.sharing.searchers


def test_each_trial_is_trained_by_one_and_learnt_by_all(join: Join) -> None:
    first, second = join(), join()
    trained = [take(first), take(second), take(first)]
    finish(first, trained[0])
    finish(second, trained[1])
    trained.append(take(second))
    assert len(set(trained)) == 4
    finish(first, trained[2])
    # The last one is trained by the second: the first waits for it, and begins nothing.
    assert first.ask() is None and first.waiting
    finish(second, trained[3])
    for search in (first, second):
        assert search.ask() is None and not search.waiting
        assert len(search.results.finished) == 4
        assert search.results.elsewhere == 2
    # Early stopping hears of each once.
    assert sorted(first.results.take_news()) == sorted([trained[1], trained[3]])
    assert first.results.take_news() == []


def test_the_budget_is_that_of_the_study(join: Join) -> None:
    searches = [join(trials=3) for _ in range(3)]
    taken = [take(search) for search in searches]
    assert len(set(taken)) == 3
    assert [search.ask() for search in searches] == [None] * 3
    assert all(search.waiting for search in searches)


def test_what_a_killed_search_left_is_trained_by_another(join: Join) -> None:
    first, second = join(trials=2), join(trials=2)
    left, own = take(first), take(second)
    first.claims.release_all()  # as the kernel does for a killed process
    finish(second, own)
    assert take(second) == left
    finish(second, left)
    assert second.ask() is None and not second.waiting


def test_a_trial_that_failed_elsewhere_counts_and_is_not_tried_again(join: Join) -> None:
    first, second = join(trials=2), join(trials=2)
    failed, own = take(first), take(second)
    assert second.ask() is None and second.waiting
    first.tell(Failed(failed, "Traceback\nValueError: no"))
    finish(second, own)
    assert second.ask() is None and not second.waiting
    assert (len(second.results.finished), second.results.failed) == (1, 1)
    assert dict(second.results.failures) == {"ValueError: no": 1}


def test_who_comes_later_does_not_retry_what_the_others_saw_fail(join: Join) -> None:
    first = join(trials=2)
    failed = take(first)
    first.tell(Failed(failed, "Traceback\nValueError: no"))
    second = join(trials=2)
    assert take(second) not in (failed, None)
    assert second.ask() is None and second.results.failed == 1


def test_a_search_that_begins_alone_retries_what_failed(join: Join, study: Study) -> None:
    with study.searching() as searchers:
        searchers.announce()
    study.record_failure("a" * 16, {}, "Traceback\nValueError: no")
    sharing = join().sharing
    assert sharing is not None and sharing.failed_elsewhere("a" * 16) is None


def test_hours_count_once(join: Join, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("va_search.search.budget.time.monotonic", lambda: clock[0])
    first, second = join(), join()
    clock[0] += 10
    for search in (first, second):
        search.note_time()
    assert study.document()["seconds"] == 10
    # The first one ends; from now on the second one counts.
    searchers_of(first).leave()
    assert searchers_of(second).take_lead()
    clock[0] += 5
    second.note_time()
    assert study.document()["seconds"] == 15


def test_who_takes_the_lead_counts_no_hour_again(
    join: Join, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("va_search.search.budget.time.monotonic", lambda: clock[0])
    first, second = join(), join()
    clock[0] += 20
    second.accrue()  # as once a second; nothing is due to be noted yet
    first.note_time()
    searchers_of(first).leave()
    assert searchers_of(second).take_lead()
    clock[0] += 5
    second.note_time()
    assert study.document()["seconds"] == 25


def test_device_time_is_noted_by_each_process_and_hours_by_one(
    join: Join, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("va_search.search.budget.time.monotonic", lambda: clock[0])
    first, second = join(), join()
    for search in (first, second):
        search.budget.take_devices(1.0, 1.0)
        take(search)
    # A trial of a minute ends none of the looks, each of which may note the time.
    clock[0] += 60
    for search in (first, second):
        search.accrue()
    assert study.document()["seconds"] == 60
    clock[0] += 10
    second.note_time()  # as at its end
    assert study.document()["seconds"] == 60
    assert spent_by(study).gpu_seconds == pytest.approx(60 + 60)
    second.accrue()
    second.note_time()
    assert spent_by(study).gpu_seconds == pytest.approx(60 + 70)


def test_folds_of_a_configuration_are_shared(join: Join) -> None:
    first = join(trials=12, folds="[0, 1]")
    taken = take(first)
    second = join(trials=12, folds="[0, 1]")
    partner = take(second)
    settings = [first.queue.running[taken], second.queue.running[partner]]
    assert settings[0].learning_rate == settings[1].learning_rate
    assert settings[0].fold != settings[1].fold


def test_without_join_a_searched_study_is_refused(join: Join, study: Study) -> None:
    join()
    with pytest.raises(InputError, match=r"in use by process \d+ on .*--join"):
        study.searching().__enter__()


def test_a_search_that_is_alone_is_not_joined(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("va_search.search.searchers.JOINING_SECONDS", 0.1)
    with only_one(study.folder / "lock", "the study"):
        with pytest.raises(InputError, match=r"it trains alone \(retry, or another version\)"):
            study.searching(join=True).__enter__()


def test_the_study_is_searched_until_the_last_one_ends(study: Study) -> None:
    first, second = study.searching(join=True), study.searching(join=True)
    for context in (first, second):
        context.__enter__().announce()
    assert len(study.searchers()) == 2 and study.ask_to_stop()
    first.__exit__(None, None, None)
    assert study.is_searched and study.stop_asked and len(study.searchers()) == 1
    second.__exit__(None, None, None)
    assert not study.is_searched and not study.searchers()
    with study.searching(join=True):
        assert not study.stop_asked


def test_another_space_is_no_search_of_this_study(join: Join, study: Study) -> None:
    first = join()
    document = study.document()
    space = {**document["space"], "budget": {"trials": 3}}
    write_json(study.folder / "study.json", {**document, "space": space, "package_version": "0"})
    with pytest.raises(InputError) as refused:
        _begin(study, first.space, first.store, (), joins=True)
    assert "on another space (" in refused.value.problems[0]
    assert "with va-search 0, this is" in refused.value.problems[1]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_three_processes_of_which_one_is_killed(
    tmp_path: Path, tiny_store: Store, study: Study, sampler: str
) -> None:
    planned = 18
    space, log = tmp_path / "space.yaml", tmp_path / "log"
    rates = str([0.001 * number for number in range(1, 31)])
    document = SPACE.format(
        rates=rates, trials=planned, sampler=sampler, folds="[official]", objective="score"
    )
    space.write_text(document)
    script = Path(__file__).with_name("searcher_process.py")
    words = [sys.executable, str(script), str(space), str(tiny_store.path)]
    words += [str(study.home.root), str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    def begun() -> list[tuple[int, str]]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [(int(line.split()[0]), line.split()[1]) for line in lines]

    try:
        wait_for(lambda: len({pid for pid, _ in begun()}) == 3 and len(begun()) > 5)
        killed = begun()[-1][0]
        os.kill(killed, signal.SIGKILL)
        survivors = [process for process in processes if process.pid != killed]
        outputs = [process.communicate(timeout=300)[0].split() for process in survivors]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    complete = study.bank.trials("s")
    counts = Counter(trial for _, trial in begun())
    begun_twice = [trial for trial, times in counts.items() if times > 1]
    # What the killed one trained is trained again by another, and nothing else is.
    assert len(begun_twice) <= 1 and max(counts.values()) <= 2
    assert set(begun_twice) <= {trial for pid, trial in begun() if pid == killed}
    assert len(complete) == planned and set(counts) == set(complete)
    for output in outputs:
        before, trained, elsewhere, finished = map(int, output)
        assert finished == planned and before + trained + elsewhere == planned
    assert not study.is_searched
