"""A study's experiment in MLflow is called otherwise, or goes among the deleted ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from va_search.tracking.door import OWNER, ParentRun, Place, every_run, open_client
from va_search.tracking.renaming import remove_experiment, rename_experiment
from va_search.tracking.study_runs import StudyRuns


@pytest.fixture
def place(tmp_path: Path, empty_store: Path) -> Place:
    """An MLflow store with nothing in it."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return Place(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts")


def track(place: Place, parent: ParentRun, study: str, *trials: Any) -> StudyRuns:
    runs = StudyRuns(place.uri, study, place.artifacts, parent)
    for trial in trials:
        runs.deliver(trial, set())
    return runs


def test_a_renamed_experiment_is_gone_on_with(
    place: Place, parent: ParentRun, records: Any
) -> None:
    track(place, parent, "night", records.trained(1))
    for _ in range(2):  # the second call finds nothing to do
        rename_experiment(place, "night", "day")
    client = open_client(place.uri)
    assert client.get_experiment_by_name("night") is None
    experiment = client.get_experiment_by_name("day")
    assert experiment.tags["mlflow.note.content"].startswith("Study `day` of va-search")
    renamed = [replace(records.trained(number), study="day") for number in (1, 2)]
    runs = track(place, parent, "day", *renamed)
    assert runs.has(records.trained(1))
    kinds = [run.data.tags["va_search.role"] for run in every_run(client, experiment.experiment_id)]
    assert sorted(kinds) == ["study", "trial", "trial"]
    names = {
        run.data.tags["va_search.study"] for run in every_run(client, experiment.experiment_id)
    }
    assert "night" not in names


def test_a_new_study_has_nothing_of_a_removed_one(
    place: Place, parent: ParentRun, records: Any
) -> None:
    track(place, parent, "night", records.trained(1))
    for _ in range(2):
        remove_experiment(place, "night")
    assert not track(place, parent, "night").has(records.trained(1))


def test_an_experiment_of_another_home_is_left_alone(
    place: Place, parent: ParentRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(place, parent, "night")
    client = open_client(place.uri)
    experiment = client.get_experiment_by_name("night")
    client.set_experiment_tag(experiment.experiment_id, OWNER, "theirs")
    monkeypatch.setattr(Place, "owner", "ours")
    rename_experiment(place, "night", "day")
    remove_experiment(place, "night")
    assert client.get_experiment_by_name("night").lifecycle_stage == "active"


def test_a_home_that_was_never_tracked_gets_no_store(tmp_path: Path) -> None:
    place = Place(f"sqlite:///{tmp_path / 'mlflow.db'}", None)
    rename_experiment(place, "night", "day")
    remove_experiment(place, "night")
    assert list(tmp_path.iterdir()) == []
