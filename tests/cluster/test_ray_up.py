"""The five commands of docs/cluster.md on three hosts, with clusters/on_premises.yaml as it is
shipped.

Real: `ray up` over SSH, a token on every host, Ray Jobs through the tunnel, the head's MLflow, a
worker host whose plug is pulled. Not real: the hosts are network namespaces of this machine,
/mnt/va-search is one of its folders, and the Python environment that the file's install step would
make is this test's own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts as machines
import pytest
from hosts import Hosts
from laptop import ENVIRONMENT, REPOSITORY, Laptop, install
from ray_world import trials, wait_for, write_space

from va_search.data.simulate import simulate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

RATES = [0.001 * n for n in range(1, 11)]
SHARED = Path("/mnt/va-search")
MLFLOW = "http://127.0.0.1:5000"
"""As the head sees it; the driver runs there."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all hosts have at /mnt/va-search: the store; later the home."""
    folder = tmp_path_factory.mktemp("shared")
    simulate(folder / "store", size="tiny")
    return folder


@pytest.fixture(scope="module")
def spaces(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The laptop's folder of search spaces: what is sent along with a job."""
    folder = tmp_path_factory.mktemp("spaces")
    write_space(folder / "first.yaml", shared / "store", rates=str(RATES), epochs=60)
    others = [
        rate * 1.01 for rate in RATES
    ]  # one home: trials of the same settings would not be trained again
    write_space(folder / "second.yaml", shared / "store", rates=str(others), epochs=200)
    return folder


@pytest.fixture(scope="module")
def laptop(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """A cluster of a head and two workers that is up, and the machine it is used from."""
    reason = machines.lacking() or _without_jobs()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("hosts")
    base = Path(sys.base_prefix)
    mounts = {SHARED: shared, **{path: path for path in (REPOSITORY, ENVIRONMENT, base)}}
    with machines.running_hosts(folder, ["head", "one", "two"], mounts=mounts) as hosts:
        laptop = Laptop(folder, hosts)
        try:
            install(hosts)
            laptop.configure()
            laptop.run("ray", "get-auth-token", "--generate")
            up(laptop)
            yield laptop
            laptop.run("ray", "down", "--yes", str(laptop.cluster))
            wait_for(
                lambda: not raylets(hosts), 120
            )  # the workers end when they have missed their head for a minute
        finally:
            laptop.clean()
    assert machines.left_links() == []
    assert machines.left_mounts(folder) == []


def _without_jobs() -> str | None:
    """Ray Jobs is in ray[default], which one machine does not need."""
    from importlib.util import find_spec

    absent = [
        name for name in ("aiohttp_cors", "opencensus", "smart_open") if find_spec(name) is None
    ]
    return f"absent: {', '.join(absent)} (pip install 'va-search[cluster]')" if absent else None


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def raylets(hosts: Hosts) -> list[int]:
    """Ray's main process on each host that has one."""
    return [pid for host in hosts.hosts for pid in host.processes() if "/raylet " in _title(pid)]


def up(laptop: Laptop, workers: int = 2) -> None:
    """`ray up`, until that many workers have joined."""
    laptop.run("ray", "up", "--yes", str(laptop.cluster))
    wait_for(lambda: joined(laptop) >= workers, 240)


def joined(laptop: Laptop) -> int:
    """Workers that are part of the cluster, as the head counts them."""
    head = laptop.hosts["head"]
    ask = "export RAY_AUTH_MODE=token; ~/.va-search/bin/ray list nodes --format json --filter state=ALIVE"
    said = subprocess.run(
        [*laptop.hosts.ssh(head), ask], capture_output=True, text=True, timeout=60, check=False
    )
    start = said.stdout.find("[")
    nodes = json.loads(said.stdout[start:]) if start >= 0 and said.returncode == 0 else []
    return sum(not node["is_head_node"] for node in nodes)


def submit(laptop: Laptop, tunnel: int, spaces: Path, study: str) -> str:
    """Hand a search to the head; returns at once with the job's id."""
    job = f"{study}-{time.time_ns()}"
    laptop.run(
        "ray", "job", "submit", "--address", f"http://127.0.0.1:{tunnel}", "--working-dir", str(spaces),
        "--submission-id", job, "--no-wait", "--",
        "va-search", "search", f"{study}.yaml", "--data", str(SHARED / "store"), "--study", study,
        "--address", "auto", "--tracking-uri", MLFLOW,
    )  # fmt: skip
    return job


def job_ended(laptop: Laptop, tunnel: int, job: str) -> str | None:
    """The job's last state, None while it runs."""
    address = f"http://127.0.0.1:{tunnel}"
    said = laptop.run("ray", "job", "status", "--address", address, job)
    return next((word for word in ("SUCCEEDED", "FAILED", "STOPPED") if word in said.upper()), None)


def status(laptop: Laptop, tunnel: int, study: str) -> dict[str, Any]:
    """`va-search status` from outside."""
    said = laptop.run(
        "va-search", "status", study, "--address", f"http://127.0.0.1:{tunnel}", "--json"
    )
    document: dict[str, Any] = json.loads(said)
    return document


def searched_here(spaces: Path, shared: Path, home: Path) -> dict[str, dict[str, Any]]:
    """The trials of the same search on this machine, without a cluster."""
    where = [
        "--data",
        str(shared / "store"),
        "--study",
        "first",
        "--home",
        str(home),
        "--concurrent",
        "2",
    ]
    command = [
        sys.executable,
        "-m",
        "va_search.cli.main",
        "search",
        str(spaces / "first.yaml"),
        *where,
    ]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, capture_output=True, timeout=240, env=environment)
    return trials(home, "first")


def test_five_commands_with_a_worker_lost(
    laptop: Laptop, shared: Path, spaces: Path, tmp_path: Path
) -> None:
    hosts: Hosts = laptop.hosts
    home = shared / "home"
    with laptop.tunnel(8265) as tunnel:
        job = submit(laptop, tunnel, spaces, "first")
    with laptop.tunnel(8265) as tunnel:  # the laptop was closed, and is open again
        wait_for(
            lambda: {one["node"] for one in trials(home, "first").values()} == {"one", "two"}, 240
        )
        hosts["two"].power_off()
        before = set(trials(home, "first"))
        assert len(before) < 20, "the worker was to be lost in the middle of the study"
        assert status(laptop, tunnel, "first")["searching"]
        wait_for(lambda: job_ended(laptop, tunnel, job), 400)
        logs = laptop.run("ray", "job", "logs", "--address", f"http://127.0.0.1:{tunnel}", job)
        assert job_ended(laptop, tunnel, job) == "SUCCEEDED", logs
        told = status(laptop, tunnel, "first")
    found, expected = trials(home, "first"), searched_here(spaces, shared, tmp_path / "home")
    assert (len(told["complete"]), told["failed"], told["searching"]) == (20, [], False)
    assert found.keys() == expected.keys()
    assert len(found) == 20
    for trial, record in found.items():
        for name in ("valence", "arousal"):
            here = expected[trial]["best"][name]
            assert record["best"][name]["epoch"] == here["epoch"]
            assert math.isclose(record["best"][name]["ccc"], here["ccc"], abs_tol=1e-6)
    assert {record["node"] for record in found.values()} == {"one", "two"}
    asked = [
        json.loads(line)["trial"]
        for line in (home / "studies" / "first" / "asked.jsonl").read_text().splitlines()
    ]
    assert sorted(asked) == sorted(found), "each trial was handed out once"
    with laptop.tunnel(5000) as tunnel:
        assert runs_in_mlflow(tunnel, "first") == 20


def runs_in_mlflow(tunnel: int, study: str) -> int:
    """Trials of a study in the head's MLflow, asked through the tunnel."""
    address = f"http://127.0.0.1:{tunnel}/api/2.0/mlflow"
    with urllib.request.urlopen(
        f"{address}/experiments/get-by-name?experiment_name={study}", timeout=30
    ) as answer:
        experiment = json.load(answer)["experiment"]["experiment_id"]
    body = {
        "experiment_ids": [experiment],
        "filter": "tags.`va_search.role` = 'trial'",
        "max_results": 100,
    }
    ask = urllib.request.Request(
        f"{address}/runs/search", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(ask, timeout=30) as answer:
        return len(json.load(answer).get("runs", []))


def test_job_stopped_and_head_restarted(laptop: Laptop, shared: Path, spaces: Path) -> None:
    """`ray job stop` ends a search as Ctrl-C does; the head's Ray dies under the next one; the
    third finishes."""
    home = shared / "home"
    if not laptop.hosts["two"].running:
        laptop.hosts.power_on(laptop.hosts["two"])
    up(laptop)
    with laptop.tunnel(8265) as tunnel:
        address = f"http://127.0.0.1:{tunnel}"
        job = submit(laptop, tunnel, spaces, "second")
        wait_for(lambda: trials(home, "second"), 240)
        laptop.run("ray", "job", "stop", "--address", address, job)
        said = laptop.run("ray", "job", "logs", "--address", address, job)
        assert "are complete and saved; the same command again goes on from there" in said
        stopped = trials(home, "second")
        assert len(stopped) < 20, "it was to be stopped in the middle of the study"
        submit(laptop, tunnel, spaces, "second")
        before = wait_for(
            lambda: len(found := trials(home, "second")) > len(stopped) and found, 240
        )
        laptop.run("ray", "exec", str(laptop.cluster), "ray stop --force")
        assert len(trials(home, "second")) < 20, (
            "the head was to be lost in the middle of the study"
        )
    up(laptop)
    with laptop.tunnel(8265) as tunnel:
        job = submit(laptop, tunnel, spaces, "second")
        wait_for(lambda: job_ended(laptop, tunnel, job), 400)
    found = trials(home, "second")
    assert len(found) == 20
    assert {trial: found[trial] for trial in before} == before, (
        "what was complete was not trained again"
    )


def test_status_in_plain_words(laptop: Laptop) -> None:
    """No tunnel, another cluster's token, a study that the head doesn't know."""
    words = ["va-search", "status", "nosuch", "--address"]
    said = laptop.run(*words, "http://127.0.0.1:9", "--json", expect=1)
    assert "nothing answers there; open the tunnel first" in json.loads(said)["error"]
    with laptop.tunnel(8265) as tunnel:
        address = f"http://127.0.0.1:{tunnel}"
        said = laptop.run(*words, address, "--json", expect=2)
        assert "unknown study 'nosuch'" in json.loads(said)["error"]
        other = ["env", f"RAY_AUTH_TOKEN={'0' * 64}", *words, address, "--json"]
        assert "is not this cluster's" in json.loads(laptop.run(*other, expect=2))["error"]
