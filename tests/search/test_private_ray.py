"""A search's own Ray is nobody else's: `--address auto` does not take it for a cluster, another user
of the machine is refused everywhere, other machines reach nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from va_search.search.ray_backend.guard import processes_in
from va_search.search.ray_backend.privacy import listeners

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OWNER = """
import ray
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running
with ray_running(Options(concurrent=1)) as running:
    print("at", ray.get_runtime_context().gcs_address, flush=True)
    input()
"""

OTHER = """
import sys
from ray._private import services
# Whatever other Rays run on this machine, auto sees this one alone.
assert sys.argv[1] in services.find_gcs_addresses()
services.find_gcs_addresses = lambda *words: {sys.argv[1]}
from va_search.errors import InputError
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import ray_running
try:
    with ray_running(Options(address="auto")):
        print("taken for a cluster")
except InputError as error:
    print("refused:", error)
"""

INTRUDER = """
import os, socket, sys, urllib.error, urllib.request
from pathlib import Path
from ray._raylet import GcsClient
socket.getaddrinfo("localhost", 80)  # loads what another user may not read
user, address, folder, *ports = sys.argv[1:]
if user != "same":
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def try_to(name, deed):
    try:
        print(name, "done", deed(), flush=True)
    except Exception as error:
        print(name, "refused", type(error).__name__, flush=True)

def connect(path):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)

def get(port):
    answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/api/job_agent/jobs/", timeout=5)
    text = answer.read().decode(errors="replace")
    return "metrics" if text.startswith("# HELP") else "answer"

session = f"{folder}/r/session_latest"
try_to("list", lambda: len(os.listdir(folder)))
try_to("token", lambda: len(Path(folder, "token").read_text()))
try_to("logs", lambda: len(os.listdir(f"{session}/logs")))
try_to("raylet", lambda: connect(f"{session}/sockets/raylet"))
try_to("plasma", lambda: connect(f"{session}/sockets/plasma_store"))
for port in ports:
    try_to(f"port {port}", lambda: get(port))
try_to("reads", lambda: len(GcsClient(address=address).internal_kv_keys(b"", None, timeout=10)))
try_to("writes", lambda: GcsClient(address=address).internal_kv_put(b"x", b"y", True, None, 10))
"""

USERS_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "1" * 64}
"""Whoever uses clusters has one token for all; without, Ray makes one in the home folder for each
user."""


@dataclass
class OwnRay:
    """A search's Ray that runs: the address of its GCS, its private folder, the search's process."""

    address: str
    folder: Path
    process: int


@pytest.fixture(scope="module")
def own_ray() -> Iterator[OwnRay]:
    """In a process of its own, with a token of the user's that it must not take."""
    with tempfile.TemporaryDirectory(prefix="va") as parent:
        Path(parent).chmod(0o755)
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER],
            stdin=-1,
            stdout=-1,
            stderr=-3,
            text=True,
            env=os.environ | USERS_TOKEN | {"RAY_TMPDIR": parent},
        )
        try:
            assert owner.stdout is not None
            address = next(line.split()[1] for line in owner.stdout if line.startswith("at "))
            (folder,) = Path(parent).glob("va-ray-*")
            yield OwnRay(address, folder, owner.pid)
        finally:
            owner.communicate("\n", timeout=60)
        assert list(Path(parent).iterdir()) == []


def intrude(ray: OwnRay, user: str, **token: str) -> dict[str, str]:
    """Try everything with this token; the outcome of each attempt by its name."""
    environment = {key: value for key, value in os.environ.items() if "RAY_AUTH" not in key}
    ports = [str(listener.port) for listener in listeners(processes_in(ray.folder))]
    done = subprocess.run(
        [sys.executable, "-c", INTRUDER, user, ray.address, str(ray.folder), *ports],
        capture_output=True,
        text=True,
        env=environment | token,
        timeout=120,
        check=False,
    )
    outcomes = {}
    for line in done.stdout.splitlines():
        for word in (" done", " refused"):
            name, found, outcome = line.partition(word)
            if found:
                outcomes[name] = f"{word.strip()}{outcome}"
    assert len(outcomes) == 7 + len(ports), done.stdout + done.stderr
    return outcomes


def test_another_searchs_ray_is_refused(own_ray: OwnRay) -> None:
    environment = os.environ | USERS_TOKEN
    # What auto finds where no cluster is, and where the variable names it.
    for named in ({"RAY_ADDRESS": own_ray.address}, {}):
        done = subprocess.run(
            [sys.executable, "-c", OTHER, own_ray.address],
            stdout=-1,
            stderr=-2,
            text=True,
            env=environment | named,
            timeout=120,
            check=False,
        )
        assert "refused: " in done.stdout, done.stdout
        assert "another search on this machine started for itself" in done.stdout


def test_its_processes_listen_on_this_machine_alone(own_ray: OwnRay) -> None:
    processes = processes_in(own_ray.folder)
    sockets = listeners(processes | {own_ray.process: "search"})
    assert {"gcs_server", "raylet", "search"} <= {listener.name for listener in sockets}
    assert [str(listener) for listener in sockets if not listener.is_private] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
@pytest.mark.parametrize(
    "token",
    [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}],
    ids=["no token", "a guessed token"],
)
def test_another_user_is_refused_everywhere(own_ray: OwnRay, token: dict[str, str]) -> None:
    outcomes = intrude(own_ray, "other", **token)
    allowed = {name: outcome for name, outcome in outcomes.items() if "refused" not in outcome}
    # Ray counts its tasks for whoever asks; docs/security.md says so.
    assert set(allowed.values()) <= {"done metrics"}, allowed
    assert outcomes["reads"] == outcomes["writes"] == "refused AuthenticationError"
    assert outcomes["token"] == outcomes["raylet"] == "refused PermissionError"


def test_its_own_user_with_its_token_is_not(own_ray: OwnRay) -> None:
    """Otherwise the test above would prove nothing."""
    path = str(own_ray.folder / "token")
    outcomes = intrude(own_ray, "same", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=path)
    for name in ("list", "token", "logs", "raylet", "plasma", "reads", "writes"):
        assert outcomes[name].startswith("done"), outcomes
