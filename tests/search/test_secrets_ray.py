"""Secrets planted in the environment and in URLs of a real search, whose trials fail with them in
their messages: nothing that is left holds one, nor does a log of the running search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from ray_world import command, trials

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-access-key-id",
    "AWS_SECRET_ACCESS_KEY": "planted/secret+access/key",
    "AWS_SECURITY_TOKEN": "planted-security-token",
    "AWS_SESSION_TOKEN": "planted-session-token",
    "GOOGLE_SERVICE_ACCOUNT_KEY": "planted-google-key",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "MLFLOW_TRACKING_TOKEN": "planted-mlflow-token",
    "MLFLOW_TRACKING_USERNAME": "planted",
    "RAY_AUTH_TOKEN": "planted-ray-token" + "0" * 47,
}
URL = "http://me:planted-url-password@127.0.0.1:9/?token=planted-query-token"
MARKS = [value for name, value in PLANTED.items() if name != "MLFLOW_TRACKING_USERNAME"]
MARKS += ["planted-url-password", "planted-query-token", "planted-signature"]

LEAKY = """
import os, sys
from va_search.search.ray_backend import actor

class LeakyActor(actor.TrialActor):
    def _advance(self):
        if self._task.settings().encoder == "transformer" and "LEAK" in os.environ:
            secrets = " ".join(value for value in os.environ.values() if "planted" in value)
            raise ValueError(f"{secrets} in https://b/x?X-Amz-Signature=planted-signature&a=b")
        print("training with", os.environ["AWS_SESSION_TOKEN"][:8], flush=True)
        return super()._advance()

actor.TrialActor = LeakyActor
from va_search.cli.main import app
app()
"""
"""The command line with actors that need a secret, and some of which fail with all of them in their
message. What a trial's own code prints goes to Ray's logs, so this one prints a part."""


@pytest.fixture
def place() -> Iterator[Path]:
    """All folders of the search, short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="va", dir="/tmp") as folder:
        for name in ("home", "user", "tmp"):
            (Path(folder) / name).mkdir()
        yield Path(folder)


def leaks(folder: Path) -> set[str]:
    """The files below a folder that hold a planted secret, each with it."""
    names = set()
    for inside, _, files in os.walk(folder):  # passes over a folder that is gone meanwhile
        for file in files:
            path = Path(inside, file)
            with suppress(OSError):  # a socket, or gone meanwhile
                content = path.read_bytes() if path.is_file() else b""
                names |= {f"{path}: {mark}" for mark in MARKS if mark.encode() in content}
    return names


def test_no_secret_is_left_nor_logged(
    space: Callable[..., Path], store: Path, tmp_path: Path, place: Path
) -> None:
    script = tmp_path / "leaky.py"
    script.write_text(LEAKY)
    environment = os.environ | PLANTED | {"HOME": str(place / "user"), "LEAK": "1"}
    environment |= {"TMPDIR": str(place / "tmp")}
    environment.pop("RAY_TMPDIR", None)
    file = space(rates="[0.001]", epochs=1)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            [sys.executable, str(script), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        seen: set[str] = set()
        logs = False
        while process.poll() is None:
            seen |= leaks(place / "tmp")
            logs = logs or any(place.glob("tmp/va-ray-*/r/session_*/logs/raylet.out"))
            time.sleep(0.3)
        out, errors = process.communicate()
        assert seen == set(), seen
        assert logs or arguments[0] != "search", "no log was looked at: nothing is proven"
        assert [mark for mark in MARKS if mark in out + errors] == [], out + errors
        return subprocess.CompletedProcess(arguments, process.returncode, out, errors)

    home = place / "home"
    search = command(file, store, home)[3:]
    tracked = run(*search, "--tracking-uri", URL)
    summary = json.loads(tracked.stdout)
    assert (summary["complete"], summary["failed"]) == (1, 1), tracked.stderr
    assert summary["undelivered"] == 2, tracked.stderr
    # Once more into the home's own database, then the pages.
    again = run(*search)
    assert json.loads(again.stdout)["undelivered"] == 0, again.stderr
    status = run("status", "s", "--home", str(home))
    report = run("report", "s", "--home", str(home), "--out", str(place / "report"))
    assert (status.returncode, report.returncode) == (0, 0), status.stderr + report.stderr

    failure = next(home.glob("studies/s/failures/*.json")).read_text()
    assert "***" in failure and "X-Amz-Signature=***&a=b" in failure
    assert (home / "mlflow.db").exists() and (place / "report").is_dir()
    assert leaks(place) == set()
    assert list((place / "tmp").glob("va-ray-*")) == []
    assert len(trials(home)) == 1
