"""The head's MLflow server, started and stopped by the shipped script: once, again when it dies,
and gone."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ray_world import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SCRIPT = Path(__file__).resolve().parents[2] / "clusters" / "mlflow_server.sh"


@pytest.fixture
def server(tmp_path):
    """Runs the script with a folder and port of its own; stops the server whatever happens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {
        **os.environ,
        "PATH": path,
        "MLFLOW_FOLDER": str(tmp_path),
        "MLFLOW_PORT": str(port),
    }

    def run(word):
        return subprocess.run(
            ["bash", SCRIPT, word], env=environment, check=False, timeout=60, capture_output=True
        )

    yield run, port, tmp_path
    run("stop")


def healthy(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def members(group):
    """Processes of the server's group that are alive, and their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state != "Z":
                found[int(path.parent.name)] = (path.parent / "cmdline").read_text()
        except (OSError, ValueError):
            continue
    return found


def test_starts_once_comes_back_and_ends(server):
    run, port, folder = server
    assert run("start").returncode == 0
    wait_for(lambda: healthy(port), 120)
    group = int((folder / "pid").read_text())
    assert run("start").returncode == 0
    assert int((folder / "pid").read_text()) == group
    assert (
        sum("mlflow.db" in line and "server" in line for line in members(group).values()) == 2
    )  # the loop, the server
    for pid, line in members(group).items():
        if pid != group and "while true" not in line:
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: healthy(port), 120)
    assert (folder / "mlflow.db").is_file()
    assert run("stop").returncode == 0
    assert members(group) == {}
    assert not healthy(port)
    assert run("stop").returncode == 0


def test_listens_on_this_machine_only(server):
    run, port, _ = server
    run("start")
    wait_for(lambda: healthy(port), 120)
    listening = {
        line.split()[1]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[3] == "0A"
    }
    assert {address for address in listening if address.endswith(f":{port:04X}")} == {
        f"0100007F:{port:04X}"
    }
    six = Path("/proc/net/tcp6")
    assert not six.exists() or f":{port:04X} " not in six.read_text()


def test_refuses_another_word(server):
    run, _, _ = server
    done = run("restart")
    assert done.returncode == 2
    assert b"start|stop" in done.stderr
