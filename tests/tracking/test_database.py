"""MLflow's SQLite database while trials are delivered: locked by another process, deleted."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from va_search.tracking import delivery as module
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import every_run, open_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    """A home with an empty MLflow store."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return tmp_path


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
"""


def wait_for(what: Callable[[], Any], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def delivery_to(home: Path, parent: Any) -> Delivery:
    return Delivery(
        f"sqlite:///{home / 'mlflow.db'}",
        study="night",
        artifacts=home / "artifacts",
        parent=parent,
    )


def delivered(home: Path) -> list[str]:
    """The trials in the database, by a process that has no connection to an earlier one."""
    client = open_client(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("night")
    if experiment is None:
        return []
    runs = every_run(client, experiment.experiment_id, "tags.`va_search.role` = 'trial'")
    assert all(run.info.status == "FINISHED" for run in runs)
    return sorted(run.data.tags["va_search.trial"] for run in runs)


def test_a_database_that_another_process_locks_is_told_and_gets_everything_later(
    home: Path, parent: Any, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE", 1.0)
    delivery = delivery_to(home, parent)
    delivery.put(records.trained(1))
    wait_for(lambda: not delivery._waiting)
    locker = subprocess.Popen(
        [sys.executable, "-c", LOCKER, str(home / "mlflow.db")], stdin=-1, stdout=-1, text=True
    )
    try:
        assert locker.stdout is not None and locker.stdout.readline() == "locked\n"
        began = time.monotonic()
        delivery.put(records.trained(2))
        assert time.monotonic() - began < 1.0, "a search waited for the database"
        wait_for(lambda: delivery.problem is not None)
        assert "database is locked" in str(delivery.problem)
    finally:
        locker.communicate("\n", timeout=30)
    assert delivery.close(100) == [] and delivery.problem is None
    assert delivered(home) == [f"{1:016x}", f"{2:016x}"]


@pytest.mark.parametrize("when", ["between two trials", "before the end"])
def test_a_database_that_is_deleted_is_made_anew_with_every_trial(
    home: Path, parent: Any, records: Any, when: str
) -> None:
    delivery = delivery_to(home, parent)
    delivery.put(records.trained(1))
    wait_for(lambda: not delivery._waiting)
    for file in home.glob("mlflow.db*"):
        file.unlink()
    if when == "between two trials":
        delivery.put(records.trained(2))
    assert delivery.close(100) == [] and delivery.problem is None
    ids = [f"{number:016x}" for number in ((1, 2) if when == "between two trials" else (1,))]
    # As another process sees it.
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from pathlib import Path; "
        "from test_database import delivered; print(*delivered(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ids
