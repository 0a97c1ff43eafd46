"""Asking a cluster's head from outside, where there is none: plain words at once."""

from __future__ import annotations

import json
import threading
from http.server import HTTPServer, SimpleHTTPRequestHandler

import pytest
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.errors import InputError, JobError
from va_search.search.ray_backend.jobs import run_on_head


def test_an_address_that_is_none() -> None:
    with pytest.raises(
        InputError, match=r"'auto': expected http://127\.0\.0\.1:8265.*ray dashboard"
    ):
        run_on_head("auto", ["va-search"])


def test_no_tunnel() -> None:
    done = CliRunner().invoke(app, ["status", "first", "--address", "http://127.0.0.1:9", "--json"])
    assert done.exit_code == 1
    assert "nothing answers there; open the tunnel first" in json.loads(done.stdout)["error"]


def test_something_else_answers() -> None:
    server = HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.raises(JobError, match="no Ray dashboard with Ray Jobs answers there"):
            run_on_head(f"http://127.0.0.1:{server.server_port}", ["va-search"])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
