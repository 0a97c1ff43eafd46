"""The address of a study's trials in MLflow, and the command that starts its page."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from va_search.api.home import open_home
from va_search.api.study import OpenStudy
from va_search.files import write_json
from va_search.home import Home
from va_search.search.study import Study
from va_search.tracking import links
from va_search.tracking.door import open_client, open_experiment
from va_search.tracking.links import (
    Experiment,
    TrialsPage,
    experiment_in_database,
    location_of,
    trials_page,
)

QUERY = "workflowType=machine_learning&viewStateShareKey=trials"


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Home:
    home = Home(tmp_path / "home")
    home.root.mkdir()
    shutil.copyfile(empty_store, home.root / "mlflow.db")
    return home


class Page:
    """A server at a port of this machine that has one experiment, whose artifacts are in a folder."""

    def __init__(self, artifacts: Path) -> None:
        location = f"{artifacts.resolve().as_uri()}/night"
        body = json.dumps({"experiment": {"artifact_location": location}}).encode()

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Answer)
        self.port = self.server.server_port
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serve pages of homes; they are looked for at their ports, then at a free one."""
    pages: list[Page] = []
    with socket.create_server(("127.0.0.1", 0)) as unused:
        free = unused.getsockname()[1]

    def start(*folders: Path) -> list[int]:
        pages.extend(Page(folder) for folder in folders)
        ports = [*(page.port for page in pages), free]
        monkeypatch.setattr(links, "PORTS", ports)
        return ports

    yield start
    for page in pages:
        page.server.shutdown()
        page.server.server_close()


def test_a_study_of_the_homes_own_database(home: Home, serve: Any) -> None:
    assert experiment_in_database(home, "night") is None
    client = open_client(home.tracking_uri)
    experiment = open_experiment(client, "night", home.artifacts)
    (port,) = serve()
    page = OpenStudy(open_home(home.root), "night").mlflow
    assert page == TrialsPage(
        f"http://127.0.0.1:{port}/#/experiments/{experiment}/runs?{QUERY}",
        f"mlflow ui --backend-store-uri sqlite:///{home.root / 'mlflow.db'}",
    )
    command, address = page.lines
    assert command == f"MLflow: {page.command}"
    assert address.strip() == f"then open {page.address}"


def test_a_page_that_runs_already_needs_no_command(home: Home, serve: Any, tmp_path: Path) -> None:
    experiment = Experiment(home.tracking_uri, "7")
    ports = serve(tmp_path / "another home", home.artifacts)
    page = trials_page(home, experiment)
    assert page == TrialsPage(f"http://127.0.0.1:{ports[1]}/#/experiments/7/runs?{QUERY}", None)
    assert page is not None and list(page.lines) == [f"MLflow: {page.address}"]


def test_a_port_that_another_page_has_is_left_to_it(home: Home, serve: Any, tmp_path: Path) -> None:
    ports = serve(tmp_path / "another home")
    page = trials_page(home, Experiment(home.tracking_uri, "7"))
    assert page is not None and page.command is not None
    assert page.command.endswith(f"--port {ports[-1]}")
    assert f":{ports[-1]}/#/experiments/7/" in page.address


def test_a_server_has_the_address_without_a_password(home: Home) -> None:
    location = location_of("http://me:hush@mlflow.example:5000/", "12")
    assert "hush" not in location.uri
    page = trials_page(home, location)
    assert page == TrialsPage(f"http://mlflow.example:5000/#/experiments/12/runs?{QUERY}", None)
    assert trials_page(home, Experiment("databricks", "12")) is None


def test_the_study_notes_where_mlflow_has_it(home: Home) -> None:
    study = Study(home, "night")
    study.note_experiment("http://127.0.0.1:5000", "3")
    assert study.trials_page is None, "a study that is not there is not made"
    write_json(study.folder / "study.json", {"study": "night"})
    study.note_experiment("http://127.0.0.1:5000", "3")
    page = study.trials_page
    assert page is not None and "/#/experiments/3/runs?" in page.address
    (study.folder / "experiment.json").write_text("{")
    assert study.trials_page is None


def test_a_database_that_cannot_be_read_has_no_page(home: Home) -> None:
    (home.root / "mlflow.db").write_text("no database")
    assert Study(home, "night").trials_page is None
