"""A home that is away while a search runs: moved, or its mount gone. Nothing makes it anew, which
would be in the way of its return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from loop_world import SPACE, finish, take

from va_search.data.store import Store
from va_search.errors import JobError
from va_search.home import Home
from va_search.search.budget import NOTED_SECONDS
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.searchers import Searchers
from va_search.search.space import load_space
from va_search.search.study import Study

Act = Callable[[Scheduler, Searchers], None]


@pytest.fixture
def searching(tmp_path: Path, tiny_store: Store) -> Iterator[tuple[Scheduler, Searchers]]:
    study = Study(Home(tmp_path / "home"), "s")
    file = tmp_path / "space.yaml"
    rates = "[0.1, 0.2, 0.3, 0.4]"
    file.write_text(
        SPACE.format(rates=rates, trials=4, sampler="grid", folds="[official]", objective="score")
    )
    space = load_space(file, tiny_store)
    with study.searching() as searchers:
        study.begin(tiny_store, space.document)
        searchers.announce()
        around = Surroundings(searchers=searchers)
        yield Scheduler(study, space, tiny_store, surroundings=around), searchers


def ask(scheduler: Scheduler, searchers: Searchers) -> None:
    with pytest.raises(JobError, match="not there any more"):
        scheduler.ask()


def note_time(scheduler: Scheduler, searchers: Searchers) -> None:
    scheduler.budget._noted_at -= 2 * NOTED_SECONDS
    scheduler.accrue()


def note_tracking(scheduler: Scheduler, searchers: Searchers) -> None:
    scheduler.study.note_tracking("no server")


def take_lead(scheduler: Scheduler, searchers: Searchers) -> None:
    searchers._lead.release()
    searchers._looked -= 60
    assert not searchers.take_lead()


def release(scheduler: Scheduler, searchers: Searchers) -> None:
    with suppress(OSError):
        scheduler.claims.release_all()


@pytest.mark.parametrize("act", [ask, note_time, note_tracking, take_lead, release])
def test_a_home_that_is_away_is_not_made_anew(
    act: Act, searching: tuple[Scheduler, Searchers], tmp_path: Path
) -> None:
    scheduler, searchers = searching
    trial = take(scheduler)
    home, away = tmp_path / "home", tmp_path / "away"
    home.rename(away)
    act(scheduler, searchers)
    assert not home.exists()
    away.rename(home)
    finish(scheduler, trial)
    assert take(scheduler) != trial
