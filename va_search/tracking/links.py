"""Address of a study's trials in MLflow's page, and the command that starts the page where none
runs.

MLflow is not imported here: a home's own database is read with sqlite3, which takes milliseconds.
The address names the experiment and the kind of page (`workflowType`, without which MLflow 3 opens
its page for language models) and the saved view that lists the trials, best first (door.py)."""

from __future__ import annotations

import json
import shlex
import socket
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from va_search.home import Home
from va_search.tracking.door import TRIALS_VIEW
from va_search.tracking.shown import shown

HOST = "127.0.0.1"
PORTS = range(5000, 5020)
"""Ports at which a page is looked for, and the first free one of which a new one gets."""

ANSWER_SECONDS = 1.0

QUERY = urlencode({"workflowType": "machine_learning", "viewStateShareKey": TRIALS_VIEW})


@dataclass(frozen=True)
class Experiment:
    """The experiment of a study: its id at the store or server `uri`, which has no password."""

    uri: str
    id: str


@dataclass(frozen=True)
class TrialsPage:
    """The page that lists a study's trials. `command` starts it; None where it answers already, or
    is a server's."""

    address: str
    command: str | None

    @property
    def lines(self) -> Iterator[str]:
        """Yield the address, and before it the command where one is needed."""
        if self.command is not None:
            yield f"MLflow: {self.command}"
            yield f"        then open {self.address}"
        else:
            yield f"MLflow: {self.address}"


def trials_page(home: Home, experiment: Experiment) -> TrialsPage | None:
    """Return where an experiment's trials are seen; None at a store that has no page of its own,
    such as Databricks."""
    scheme = urlsplit(experiment.uri).scheme.partition("+")[0]
    if scheme in ("http", "https"):
        return TrialsPage(_address(experiment.uri, experiment.id), None)
    if scheme not in ("sqlite", "postgresql", "mysql", "mssql"):
        return None
    free = None
    for port in PORTS:
        server = f"http://{HOST}:{port}"
        if not _listens(port):
            free = port if free is None else free
            break
        if scheme == "sqlite" and _shows(server, experiment, home.artifacts):
            return TrialsPage(_address(server, experiment.id), None)
    port = PORTS[0] if free is None else free
    words = ["mlflow", "ui", "--backend-store-uri", experiment.uri]
    if port != PORTS[0]:
        words += ["--port", str(port)]
    return TrialsPage(_address(f"http://{HOST}:{port}", experiment.id), shlex.join(words))


def experiment_in_database(home: Home, study: str) -> Experiment | None:
    """Return a study's experiment in the home's own database; None where there is none."""
    path = (home.root / "mlflow.db").absolute()
    if not path.is_file():
        return None
    asked = "select experiment_id from experiments where name = ? and lifecycle_stage = 'active'"
    location = f"file:{quote(str(path))}?mode=ro"
    with suppress(sqlite3.Error), closing(sqlite3.connect(location, uri=True)) as database:
        row = database.execute(asked, (study,)).fetchone()
        if row is not None:
            return Experiment(f"sqlite:///{path}", str(row[0]))
    return None


def location_of(uri: str, experiment: str) -> Experiment:
    """Return an experiment as it may be noted: without a password, and with an absolute path."""
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///")).absolute()
        return Experiment(f"sqlite:///{path}", experiment)
    return Experiment(shown(uri), experiment)


def _address(server: str, experiment: str) -> str:
    return f"{server.rstrip('/')}/#/experiments/{experiment}/runs?{QUERY}"


def _listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection((HOST, port), ANSWER_SECONDS).close()
        return True
    return False


def _shows(server: str, experiment: Experiment, artifacts: Path) -> bool:
    """Return True if the page of a server on this machine shows this home's experiment."""
    # This machine is asked without a proxy, whatever the environment says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    address = f"{server}/api/2.0/mlflow/experiments/get?experiment_id={experiment.id}"
    with suppress(OSError, ValueError, KeyError, TypeError):
        with opener.open(address, timeout=ANSWER_SECONDS) as answer:
            document = json.loads(answer.read(1_000_000))
        location = document["experiment"]["artifact_location"]
        return bool(location.startswith(artifacts.resolve().as_uri()))
    return False
