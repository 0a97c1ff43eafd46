"""What travels to the process that trains a trial, and what that reports; no Ray is started."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from loop_world import tasks_of

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.ray_backend.actor import TrialActor
from va_search.search.ray_backend.nodes import Expected
from va_search.search.scheduler import Scheduler
from va_search.search.space import load_space
from va_search.search.study import Study
from va_search.search.task import Partner, Task
from va_search.trial import Best


def task_of(**fields: object) -> Task:
    given = {"settings_json": {"seed": 0}, "study": "s", "home": "h", "store": "d"}
    return Task(**{"trial": "t1", "store_name": "n", "data_hash": "x", **given, **fields})  # type: ignore[arg-type]


def test_a_task_travels_as_plain_data() -> None:
    expected = Expected("1", "3.11.0", home="h", token="t", store="d", manifest="m")
    task = task_of(expected=expected, rungs=[2, 6], partners=[Partner("t2", {"seed": 1})])
    arrived = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert arrived.expected == expected and list(arrived.rungs) == [2, 6]
    assert [(member.trial, member.settings_json) for member in arrived.group] == [
        ("t1", {"seed": 0}),
        ("t2", {"seed": 1}),
    ]
    assert not task_of().group
    # A node with an older version of the package must come to the point where it says so.
    assert Task.from_json({**task.to_json(), "of_a_newer_version": 1}) == Task.from_json(
        task.to_json()
    )


@pytest.mark.parametrize(
    ("early", "rungs"), [("{grace_epochs: 2, reduction_factor: 3}", [2, 6]), ("", [])]
)
def test_a_task_names_the_epochs_after_which_it_may_be_stopped(
    tmp_path: Path, tiny_store: Store, early: str, rungs: list[int]
) -> None:
    stopping = f"early_stopping: {early}\n" if early else ""
    text = f"sampler: grid\n{stopping}settings: {{features: [face], encoder: gru, epochs: 9}}\n"
    (tmp_path / "space.yaml").write_text(text)
    space = load_space(tmp_path / "space.yaml", tiny_store)
    study = Study(Home(tmp_path / "home"), "s")
    study.begin(tiny_store, space.document)
    scheduler = Scheduler(study, space, tiny_store)
    trial = scheduler.ask()
    assert trial is not None and tasks_of(scheduler).task(trial).rungs == rungs


@pytest.mark.parametrize("targets", [("engagement",), ("valence", "arousal", "stress")])
def test_a_step_reports_the_best_of_every_target(targets: tuple[str, ...]) -> None:
    actor = TrialActor.__new__(TrialActor)
    actor._task, actor._fit = task_of(targets=targets, objective=targets[-1]), None
    report = actor._report()
    assert report["objective"] == report["best_score"] == -1.0
    best = {target: Best(number / 4, 2) for number, target in enumerate(targets)}
    actor._fit = SimpleNamespace(best=best, history=[None, None])  # type: ignore[assignment]
    report = actor._report()
    assert [report[f"best_{target}"] for target in targets] == [0.0, 0.25, 0.5][: len(targets)]
    assert report["objective"] == (len(targets) - 1) / 4 and report["epoch"] == 2
    assert report["best_score"] == pytest.approx((len(targets) - 1) / 8)
