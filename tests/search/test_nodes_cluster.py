"""Several nodes on one machine: who may train, who joins late, who dies; nothing is trained twice,
nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ray_world import alive, command, trials, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]


class Nodes:
    """A cluster whose head trains nothing; nodes of one CPU are added and taken away."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
        self.address = self._cluster.address

    def add(self, **more: Any) -> Any:
        return self._cluster.add_node(**{"num_cpus": 1, **SMALL, **more})

    def lose(self, node: Any) -> None:
        """As a spot machine goes: all at once."""
        self._cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        self._cluster.shutdown()


SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.end()


@pytest.fixture
def search(
    nodes: Nodes, store: Path, tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a search on the cluster, from a folder without the package: Ray gives workers the
    driver's folder."""
    processes: list[subprocess.Popen[str]] = []

    def start(space: Path, *more: str) -> subprocess.Popen[str]:
        where = ("--address", nodes.address, "--checkpoint-seconds", "0")
        arguments = command(space, store, tmp_path / "home", "s", *where, *more)
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(arguments, cwd=tmp_path, **pipes))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    out, text = process.communicate(timeout=400)
    return process.returncode, json.loads(out), text


def checkpoints(home: Path) -> list[Path]:
    return list((home / "studies" / "s" / "running").glob("*/checkpoint.safetensors"))


def test_a_node_lost_in_the_middle_and_one_that_joins_late(
    nodes: Nodes, search: Callable[..., Any], space: Callable[..., Path], tmp_path: Path
) -> None:
    home = tmp_path / "home"
    lost = nodes.add()
    process = search(space(epochs=60), "--concurrent", "2")
    wait_for(lambda: checkpoints(home) or process.poll() is not None)
    interrupted = {path.parent.name for path in checkpoints(home)}
    nodes.lose(lost)
    before = {trial: record["finished_at"] for trial, record in trials(home).items()}
    time.sleep(2)
    nodes.add()
    code, summary, text = ended(process)
    assert code == 0, text
    assert (summary["complete"], summary["failed"]) == (4, 0), text
    records = trials(home)
    assert len(records) == 4 and summary["recovered"] >= 1
    assert (
        before.items()
        <= {trial: record["finished_at"] for trial, record in records.items()}.items()
    )
    for trial in interrupted - before.keys():
        assert records[trial].get("resumed_at"), "it began again from nothing"
    assert all(len(record["history"]) == 60 for record in records.values())
    assert not checkpoints(home)


def test_a_cluster_grows_and_more_trials_run_at_a_time(
    nodes: Nodes, store: Path, space: Callable[..., Path], tmp_path: Path
) -> None:
    """Without a node the search says what it waits for; each that joins trains."""
    arguments = command(
        space(rates="[0.001, 0.003, 0.01]", epochs=60), store, tmp_path / "home", "s"
    )
    arguments = [word for word in arguments if word not in ("--concurrent", "2")]
    with open(tmp_path / "error", "w+") as error:
        process = subprocess.Popen(
            [*arguments, "--address", nodes.address, "--gpus-per-trial", "0"], stderr=error, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            said = "waiting for nodes: a trial needs 1 CPU on one of them; 1 node is up with 0 CPU and 0 GPU in all"
            wait_for(lambda: said in (tmp_path / "error").read_text() or process.poll() is not None)
            nodes.add()
            nodes.add()
            running = tmp_path / "home" / "claims" / "training"
            wait_for(lambda: len(list(running.glob("*.lock"))) == 2 or process.poll() is not None)
            out, _ = process.communicate(timeout=400)
        finally:
            process.kill()
    assert json.loads(out)["complete"] == 6, (tmp_path / "error").read_text()


def test_a_node_without_a_gpu_is_waited_for_and_ctrl_c_is_heard(
    nodes: Nodes, search: Callable[..., Any], space: Callable[..., Path], tmp_path: Path
) -> None:
    nodes.add()
    process = search(space(), "--gpus-per-trial", "1")
    wait_for(
        lambda: (
            (tmp_path / "home" / "studies" / "s" / "asked.jsonl").exists()
            or process.poll() is not None
        )
    )
    time.sleep(8)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    code, said, text = ended(process)
    assert code == 130 and "0 trials are complete" in said["error"], text
    assert trials(tmp_path / "home") == {}


def test_trials_with_a_gpu_go_where_gpus_are(
    nodes: Nodes, search: Callable[..., Any], space: Callable[..., Path], tmp_path: Path
) -> None:
    nodes.add()
    with_gpu = nodes.add(num_gpus=1)
    code, summary, text = ended(search(space(), "--gpus-per-trial", "0.5"))
    if torch.cuda.is_available():
        assert (code, summary["complete"], summary["failed"]) == (0, 4, 0), text
    else:  # the trial went there, and PyTorch finds no GPU: it never trains on the CPU unasked, and is not charged
        assert (code, summary["complete"], summary["failed"]) == (1, 0, 0), text
        assert "has a GPU for Ray that PyTorch can't use" in text
    assert with_gpu is not None


@pytest.fixture
def other_package(tmp_path: Path) -> Path:
    """A folder with this package, of another version."""
    import va_search

    folder = tmp_path / "other"
    shutil.copytree(
        Path(va_search.__file__).parent,
        folder / "va_search",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "va_search" / "__init__.py").write_text('"""Another."""\n\n__version__ = "0.0.1"\n')
    return folder


def test_a_node_with_another_version_is_refused_by_name(
    nodes: Nodes,
    search: Callable[..., Any],
    space: Callable[..., Path],
    other_package: Path,
    tmp_path: Path,
) -> None:
    nodes.add()
    nodes.add(env_vars={"PYTHONPATH": str(other_package)})
    code, said, text = ended(search(space()))
    assert code == 2, text
    assert "has va_search 0.0.1, expected" in said["error"] and said["error"].startswith("node "), (
        text
    )
    assert trials(tmp_path / "home") == {} and not list((tmp_path / "home").glob("probe-*"))


def test_one_that_joins_with_another_version_ends_the_search_and_costs_no_trial(
    nodes: Nodes,
    search: Callable[..., Any],
    space: Callable[..., Path],
    other_package: Path,
    tmp_path: Path,
) -> None:
    good = nodes.add()
    # trials that take longer than a node's first process: Tune gives
    rates = "[0.001, 0.002, 0.003, 0.004, 0.005]"
    process = search(
        space(rates=rates, epochs=200), "--concurrent", "2"
    )  # what waits for it to one that is free
    wait_for(lambda: trials(tmp_path / "home") or process.poll() is not None)
    nodes.add(env_vars={"PYTHONPATH": str(other_package)})
    code, said, text = ended(process)
    assert code == 1 and "has va_search 0.0.1, expected" in said["error"], text
    before = trials(tmp_path / "home")
    assert (
        before
        and not list((tmp_path / "home" / "studies" / "s").glob("failures/*"))
        and good is not None
    )


def test_a_home_or_store_that_a_node_does_not_see_is_refused(
    nodes: Nodes, space: Callable[..., Path], store: Path, tmp_path: Path
) -> None:
    """What nodes of one machine share, they see: the probe is asked for folders that are not
    there."""
    from dataclasses import replace

    from va_search.data.store import Store
    from va_search.home import Home
    from va_search.search.ray_backend.nodes import expected, problems_here

    with expected(Home(tmp_path / "home"), Store.open(store)) as wanted:
        assert problems_here(wanted) == []
        elsewhere = replace(wanted, home="/not/shared", store="/nor/this")
        assert problems_here(elsewhere) == [
            "does not see the home /not/shared; it must be a folder that all nodes share, or an s3:// URL",
            "does not see the store /nor/this; it must be a folder that all nodes share, or an s3:// URL",
        ]
        assert "has another store at" in problems_here(replace(wanted, manifest="0"))[0]
    assert not list((tmp_path / "home").glob("probe-*"))


def test_mlflow_out_of_reach_for_a_while(
    nodes: Nodes, search: Callable[..., Any], space: Callable[..., Path], tmp_path: Path
) -> None:
    """Its server is paused in the middle: the search goes on to its end, and what waited is
    delivered once the server answers again."""
    import sys
    import urllib.request

    from va_search.tracking.door import open_client

    nodes.add()
    port = 20000 + os.getpid() % 20000
    server = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", "--backend-store-uri",
         f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "artifacts")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
    )  # fmt: skip

    def answers() -> bool:
        try:
            return (
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
            )
        except OSError:
            return False

    try:
        wait_for(answers)
        process = search(space(epochs=20), "--tracking-uri", f"http://127.0.0.1:{port}")
        wait_for(lambda: trials(tmp_path / "home") or process.poll() is not None)
        os.killpg(server.pid, signal.SIGSTOP)
        # However long the rest takes: the end of the search waits for the server.
        wait_for(lambda: len(trials(tmp_path / "home")) == 4 or process.poll() is not None)
        time.sleep(5)
        os.killpg(server.pid, signal.SIGCONT)
        code, summary, text = ended(process)
        assert (code, summary["complete"], summary["failed"], summary["undelivered"]) == (
            0,
            4,
            0,
            0,
        ), text
        client = open_client(f"http://127.0.0.1:{port}")
        experiment = client.get_experiment_by_name("s")
        runs = client.search_runs([experiment.experiment_id], "tags.`va_search.role` = 'trial'")
        assert sorted(run.data.tags["va_search.trial"] for run in runs) == sorted(
            trials(tmp_path / "home")
        )
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert {len(client.get_metric_history(run.info.run_id, "score")) for run in runs} == {20}
    finally:
        os.killpg(server.pid, signal.SIGCONT)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert not alive(server.pid)
