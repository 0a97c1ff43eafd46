"""What a person sees: a real MLflow page in a real browser (Debian's chromium), without a network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from va_search.tracking.delivery import Delivery
from va_search.tracking.door import TRIALS_VIEW, open_client
from va_search.tracking.entries import run_name

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--window-size=1900,1000", "--virtual-time-budget=30000"),
]


@pytest.fixture
def page(tmp_path: Path) -> Callable[[str, str], str]:
    """Gives a page's elements after its scripts have run; asks again while what is wanted is not there yet."""
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
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        return browser.communicate(timeout=80)[0]
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)
        return browser.communicate()[0] or ""


def test_the_experiment_page_shows_the_trials(
    make_server: Callable[[], Any], page: Callable[[str, str], str], parent: Any, records: Any, empty_store: Path
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

    query = urllib.parse.urlencode({"workflowType": "machine_learning", "viewStateShareKey": TRIALS_VIEW})
    best = run_name(put[-1])
    shown = page(f"{server.uri}/#/experiments/{experiment}/runs?{query}", best)
    for record in put:
        assert run_name(record) in shown
    for column in ("best_score", "best_ccc_valence", "encoder", "features"):
        assert column in shown
    assert "0.48" in shown, "the best score of the last trial"
    assert "study night" not in shown, "the view lists trials alone"
