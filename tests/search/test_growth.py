"""What must not grow with a study: memory per finished trial, and what Tune holds at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from loop_world import loop_of
from ray.tune.search import Searcher
from trial_world import make_trial

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.events import Done
from va_search.search.loop import Loop
from va_search.search.ray_backend.hooks import TaskSearcher
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.summary import progress_of
from va_search.trial import Epoch, Trial
from va_search.trial_settings import TrialSettings

SPACE = """sampler: grid
settings:
  features: [face]
  encoder: gru
  learning_rate: {choice: [0.1, 0.2, 0.3, 0.4, 0.5]}
"""


@pytest.fixture
def scheduler(tmp_path: Path, tiny_store: Store) -> Scheduler:
    (tmp_path / "space.yaml").write_text(SPACE)
    space = load_space(tmp_path / "space.yaml", tiny_store)
    study = Study(Home(tmp_path / "home"), "s")
    study.begin(tiny_store, space.document)
    return Scheduler(study, space, tiny_store)


def complete(scheduler: Scheduler, trial: str, settings: TrialSettings, value: float) -> Trial:
    finished_at = f"2026-01-01T00:00:00.{int(value * 100):03}+00:00"
    history = [Epoch(1, 0.5, score=value)] * 200
    return make_trial(
        "s",
        trial,
        settings=settings,
        ccc=(value, value / 2),
        seconds=1.0,
        history=history,
        finished_at=finished_at,
    )


def test_a_scheduler_keeps_little_of_a_finished_trial(scheduler: Scheduler) -> None:
    for value in (0.3, 0.9, 0.6):
        drawn = scheduler.ask()
        assert drawn is not None
        trial, settings = drawn
        scheduler.study.bank.write(complete(scheduler, trial, settings, value), {})
        scheduler.tell(Done(trial))
    scheduler.claims.release_all()
    again = Scheduler(scheduler.study, scheduler.space, scheduler.store)
    for one in (scheduler, again):
        assert len(one.results.finished) == 3
        assert all(len(json.dumps(each.to_json())) < 500 for each in one.results.records.values())
        progress = progress_of(one)
        assert progress.best == {"valence": 0.9, "arousal": 0.45}


def test_a_wave_ends_and_the_next_goes_on(scheduler: Scheduler) -> None:
    drawn: list[str] = []
    waves = 0

    def wave(loop: Loop) -> None:
        nonlocal waves
        waves += 1
        searcher = TaskSearcher(loop, 2)
        while (suggested := searcher.suggest("x")) != Searcher.FINISHED:
            drawn.append(suggested["trial"])
        assert searcher.suggest("x") == Searcher.FINISHED

    loop = loop_of(scheduler)
    loop._next, loop._backend.train = scheduler.ask(), wave  # type: ignore[method-assign]
    loop.run()
    assert waves == 3 and len(set(drawn)) == len(drawn) == 5
