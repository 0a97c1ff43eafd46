"""What a person sees: a real MLflow page in a real browser (Debian's chromium), without a
network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from va_search.home import Home
from va_search.tracking.delivery import Delivery
from va_search.tracking.door import TRIALS_VIEW, open_client
from va_search.tracking.entries import run_name
from va_search.tracking.links import Experiment, trials_page

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1900,1000", "--virtual-time-budget=30000"),
]


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str, str], str]:
    """Gives a page's elements after its scripts have run; asks again while what is wanted is not
    there yet."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")

    def dump(address: str, wanted: str) -> str:
        dom = ""
        for attempt in range(3):
            profile = tmp_path / f"profile{attempt}"
            command = [chromium, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", address]
            dom = _output(command)
            if wanted in dom:
                break
        return dom

    return dump


def _output(command: list[str]) -> str:
    browser = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        return browser.communicate(timeout=80)[0]
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)
        return browser.communicate()[0] or ""


def test_the_experiment_page_shows_the_trials(
    make_server: Callable[[], Any],
    page: Callable[[str, str], str],
    parent: Any,
    records: Any,
    empty_store: Path,
) -> None:
    server = make_server()
    shutil.copyfile(empty_store, server.folder / "mlflow.db")
    store = f"sqlite:///{server.folder / 'mlflow.db'}"
    put = [records.trained(number) for number in range(4)]
    delivery = Delivery(store, study="night", artifacts=server.folder / "artifacts", parent=parent)
    for record in put:
        delivery.put(record)
    assert delivery.close(60) == []
    experiment = open_client(store).get_experiment_by_name("night").experiment_id
    server.start()

    listed = page(f"{server.uri}/#/experiments", ">night<")
    assert ">night<" in listed

    trials = trials_page(Home(server.folder), Experiment(server.uri, experiment))
    assert trials is not None
    best = run_name(put[-1])
    shown = page(trials.address, best)
    for record in put:
        assert run_name(record) in shown
    for column in ("best_score", "best_ccc_valence", "encoder", "features"):
        assert column in shown
    assert "0.48" in shown, "the best score of the last trial"
    assert "study night" not in shown, "the view lists trials alone"


def table_address(server: Any, experiment: str, **more: str) -> str:
    query = urllib.parse.urlencode(
        {"workflowType": "machine_learning", "viewStateShareKey": TRIALS_VIEW, **more}
    )
    return f"{server.uri}/#/experiments/{experiment}/runs?{query}"


def test_the_parent_run_shows_the_table_and_the_page(
    make_server: Callable[[], Any],
    page: Callable[[str, str], str],
    parent: Any,
    records: Any,
    empty_store: Path,
) -> None:
    server = make_server()
    shutil.copyfile(empty_store, server.folder / "mlflow.db")
    store = f"sqlite:///{server.folder / 'mlflow.db'}"
    made = {
        "study.html": "<h1>Study</h1>",
        "best.json": {"columns": ["trial"], "data": [["the very best"]]},
    }
    place = {
        "artifacts": server.folder / "artifacts",
        "parent": parent,
        "pictures": lambda known: made,
    }
    delivery = Delivery(store, study="night", **place)
    delivery.put(records.trained(1))
    assert delivery.close(60) == []
    client = open_client(store)
    experiment = client.get_experiment_by_name("night").experiment_id
    (study,) = client.search_runs([experiment], filter_string="tags.`va_search.role` = 'study'")
    server.start()
    artifacts = f"{server.uri}/#/experiments/{experiment}/runs/{study.info.run_id}/artifacts"
    table = page(f"{artifacts}/best.json", "the very best")
    assert "View as table" in table and "the very best" in table
    assert '"columns"' not in table, "not as the text it is"
    assert "mlflow-html-iframe" in page(f"{artifacts}/study.html", "mlflow-html-iframe")


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_a_study_of_a_thousand_trials_opens_as_table_and_as_charts(
    make_server: Callable[[], Any],
    page: Callable[[str, str], str],
    parent: Any,
    records: Any,
    empty_store: Path,
) -> None:
    """About 100 s on two busy cores, most of it delivery; the pages take seconds."""
    server = make_server()
    shutil.copyfile(empty_store, server.folder / "mlflow.db")
    store = f"sqlite:///{server.folder / 'mlflow.db'}"
    delivery = Delivery(store, study="night", artifacts=server.folder / "artifacts", parent=parent)
    for number in range(1000):
        delivery.put(records.trained(number, epochs=2))
    assert delivery.close(350) == []
    experiment = open_client(store).get_experiment_by_name("night").experiment_id
    server.start()
    best = [run_name(records.trained(number)) for number in (999, 998, 997)]

    began = time.monotonic()
    table = page(table_address(server, experiment), best[0])
    assert time.monotonic() - began < 75, "one attempt is enough"
    assert all(name in table for name in best), "best first, of all of them"
    assert run_name(records.trained(0)) not in table
    assert "Load more" in table, "the page shows a hundred at a time"
    for column in ("best_score", "best_ccc_valence", "encoder"):
        assert column in table

    charts = page(table_address(server, experiment, compareRunsMode="CHART"), "js-plotly-plot")
    assert charts.count("experiment-view-compare-runs-card-menu") >= 4
    assert charts.count("js-plotly-plot") >= 4, "drawn, not only framed"
    assert best[0] in charts and "best_score" in charts
