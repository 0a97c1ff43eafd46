"""What travels to the process that trains a trial, and what that reports; no Ray is started."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from va_search.search.ray_backend.actor import TrialActor
from va_search.search.ray_backend.nodes import Expected
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
