"""Delivery to a server whose store is a real Postgres, on loopback only."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from va_search.tracking.delivery import Delivery
from va_search.tracking.door import open_client

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]
TRIAL = "tags.`va_search.role` = 'trial'"


def binaries() -> Path | None:
    """The folder of initdb and pg_ctl: Debian keeps them out of the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("pg_ctl")
    folders += [Path(found).resolve().parent] if found else []
    return next(
        (one for one in folders if (one / "initdb").exists() and (one / "pg_ctl").exists()), None
    )


@pytest.fixture
def database() -> Iterator[str]:
    """The URI of an empty Postgres of its own, which ends with the test. Postgres refuses to run as
    root."""
    at = binaries()
    if at is None:
        pytest.skip("Postgres is not installed (apt-get install postgresql)")
    if importlib.util.find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed (pip install psycopg2-binary)")
    folder = Path(tempfile.mkdtemp(prefix="va-postgres-"))
    prefix: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        prefix = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command: object) -> None:
        done = subprocess.run(
            [*prefix, *map(str, command)],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()

    data = folder / "data"
    run(at / "initdb", "-D", data, "-U", "va", "-A", "trust", "--no-sync", "-E", "UTF8")
    listen = f"-h 127.0.0.1 -p {port} -k ''"
    run(at / "pg_ctl", "-D", data, "-o", listen, "-l", folder / "log", "-w", "start")
    try:
        yield f"postgresql+psycopg2://va@127.0.0.1:{port}/postgres"
    finally:
        run(at / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def test_two_searches_at_once_deliver_to_a_server_on_postgres(
    database: str, make_server: Callable[[], Any], parent: Any, records: Any
) -> None:
    server = make_server()
    server.store = database
    server.start()
    left: dict[str, list[str]] = {}

    def search(study: str) -> None:
        delivery = Delivery(
            server.uri,
            study=study,
            artifacts=None,
            parent=parent,
            pictures=lambda known: {"a.txt": study},
        )
        for number in range(6):
            delivery.put(records.trained(number, epochs=30, study=study))
        delivery.put(replace(records.failed(6), study=study))
        left[study] = delivery.close(120)

    searches = [threading.Thread(target=search, args=(study,)) for study in ("day", "night")]
    for one in searches:
        one.start()
    for one in searches:
        one.join()
    assert left == {"day": [], "night": []}
    client = open_client(server.uri)
    for study in left:
        experiment = client.get_experiment_by_name(study).experiment_id
        runs = client.search_runs([experiment], filter_string=TRIAL)
        assert sorted(run.info.status for run in runs) == ["FAILED"] + 6 * ["FINISHED"]
        best = max(runs, key=lambda run: run.data.metrics.get("best_score", 0.0))
        assert len(client.get_metric_history(best.info.run_id, "ccc_valence")) == 30
        (whole,) = client.search_runs([experiment], filter_string="tags.`va_search.role` = 'study'")
        assert whole.info.status == "FINISHED" and whole.data.metrics["trials_complete"] == 6
        assert "a.txt" in {found.path for found in client.list_artifacts(whole.info.run_id)}


def test_a_postgres_without_a_server_will_do(
    database: str, tmp_path: Path, parent: Any, records: Any
) -> None:
    for count in (3, 5):  # the second time three are there already
        delivery = Delivery(database, study="night", artifacts=tmp_path, parent=parent)
        for number in range(count):
            delivery.put(records.trained(number))
        assert delivery.close(120) == [] and delivery.problem is None
        client = open_client(database)
        experiment = client.get_experiment_by_name("night").experiment_id
        assert len(client.search_runs([experiment], filter_string=TRIAL)) == count
