"""Where a study is tracked, and the view its page offers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from va_search.errors import InputError
from va_search.home import Home
from va_search.targets import AFFECT
from va_search.tracking.door import (
    Place,
    best_metric,
    open_client,
    tracking_place,
    trials_view,
)
from va_search.trial_settings import TrialSettings

HOME = Home(Path("va-home"))


def test_a_home_tracks_to_its_own_store() -> None:
    assert tracking_place(HOME, None) == Place(
        "sqlite:///va-home/mlflow.db", Path("va-home/mlflow-artifacts")
    )


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:5000", "https://host/mlflow", "postgresql+psycopg2://u@h/db"]
)
def test_a_server_keeps_its_artifacts_itself(uri: str) -> None:
    assert tracking_place(HOME, uri) == Place(uri, None, HOME)


def test_another_sqlite_store_keeps_artifacts_in_the_home() -> None:
    assert tracking_place(HOME, "sqlite:///other.db").artifacts == HOME.artifacts


@pytest.mark.parametrize("uri", ["mlruns", "./mlruns", "file:///tmp/mlruns", "localhost:5000", ""])
def test_what_mlflow_cannot_track_to_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match=r"expected a server such as http://127\.0\.0\.1:5000"):
        tracking_place(HOME, uri)


def test_the_view_of_the_trials_names_columns_that_exist() -> None:
    state = json.loads(json.loads(trials_view(AFFECT))["state"])
    kinds = {
        "metrics": {best_metric(name) for name in ("score", *AFFECT)},
        "params": set(TrialSettings.model_fields),
    }
    for column in [*state["selectedColumns"], state["orderByKey"]]:
        kind, name = column.split(".", 1)
        assert name.strip("`") in kinds[kind]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_kill_while_the_store_is_made_leaves_no_half_of_it(tmp_path: Path) -> None:
    """MLflow can't open a store whose tables were made in part."""
    uri = f"sqlite:///{tmp_path / 'home' / 'mlflow.db'}"
    program = f"from va_search.tracking.door import open_client; open_client({uri!r})"
    process = subprocess.Popen([sys.executable, "-c", program])
    until = time.monotonic() + 60
    while time.monotonic() < until and not list(tmp_path.glob("home/.mlflow.db.*.partial")):
        time.sleep(0.01)
    time.sleep(0.3)
    process.kill()
    process.wait()
    assert (
        list(tmp_path.glob("home/.mlflow.db.*.partial"))
        and not (tmp_path / "home" / "mlflow.db").exists()
    )
    assert open_client(uri).create_experiment("e")
    assert open_client(uri).get_experiment_by_name("e") is not None
