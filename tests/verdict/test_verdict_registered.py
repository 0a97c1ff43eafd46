"""The verdict on a real MLflow store: shown on the run, and an older registered version said."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient
from serving_world import TRIALS, train
from typer.testing import CliRunner

import va_search as va
from va_search.cli.main import app
from va_search.data.simulate import simulate
from va_search.home import Home
from va_search.predictions.bank import Bank

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def call(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def description(home: Home) -> str:
    """The description of the ensemble's run."""
    client = MlflowClient(home.tracking_uri)
    (experiment,) = client.search_experiments(filter_string="name = 'first'")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`va_search.ensemble` = 'mix'")
    return str(run.data.tags["mlflow.note.content"])


def test_an_older_registered_version_is_said_until_the_new_one_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    home, store = Home(Path("va-home")), simulate(tmp_path / "store", size="tiny")
    *before, (newer, settings) = TRIALS.items()
    for trial, settings_before in before:
        train(Bank(home.bank), store, "first", trial, settings_before)
    build = ("ensemble", "first", "--recipe", "mean", "--name", "mix")
    call(*build)
    block = va.open_ensemble("mix").judged()
    assert description(home) == block.markdown and "earlier build" not in block.text
    call("register", "mix")
    train(Bank(home.bank), store, "first", newer, settings)
    stale = "models:/mix/1 is of an earlier build of ensemble mix; to register this one: "
    assert stale + "va-search register mix" in call(*build)
    assert "models:/mix/1 is of an earlier build" in description(home)
    call(*["register", "mix"])
    assert "earlier build" not in description(home)
    assert "earlier build" not in va.open_ensemble("mix").judged().text
