"""Searches whose Ray is hit: by signals to one process or all, by kills of Ray's own processes and
of workers.

What holds in each: it ends soon, in our words, nothing of Ray is left, running trials keep their
checkpoints and nothing is counted as failed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ray_world import alive, children, command, wait_for

from va_search.home import Home
from va_search.search.ray_backend import stand_in
from va_search.tracking.door import every_run, open_client

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LONG = 3000
"""Epochs of a trial that is still trained when the search ends."""


class Search:
    """A search in a process of its own, with all that it has started so far."""

    def __init__(self, arguments: list[str], home: Path) -> None:
        self.home = home
        before = signal.signal(
            signal.SIGHUP, signal.SIG_DFL
        )  # a test run under nohup ignores it, its child would too
        self.process = subprocess.Popen(arguments, stdout=-1, stderr=-1, text=True)
        signal.signal(signal.SIGHUP, before)
        self.processes: list[int] = []

    @property
    def checkpoints(self) -> list[Path]:
        return sorted((self.home / "studies" / "s" / "running").glob("*/checkpoint.safetensors"))

    def look(self) -> list[int]:
        """Ids of all processes below the search now."""
        found = children(self.process.pid, "")
        self.processes += [process for process in found if process not in self.processes]
        return found

    def named(self, name: str) -> int:
        """One of Ray's processes, by the name the system has for it; it is waited for."""

        def find() -> int | None:
            for process in self.look():
                with suppress(OSError):
                    if Path(f"/proc/{process}/comm").read_text().strip() == name:
                        return process
            return None

        return int(wait_for(find))

    def with_word(self, word: str) -> int | None:
        """One of Ray's Python processes, by a word of its command line, before it has a name; None
        while there is none. (The raylet's own command line has those of its agents.)"""
        for process in self.look():
            with suppress(OSError):
                words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
                if any(each.endswith(word) for each in words):
                    return process
        return None

    def signal(self, number: int, *, all_processes: bool) -> None:
        below = self.look()
        for process in [self.process.pid, *(below if all_processes else [])]:
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def ended(self) -> tuple[int, dict[str, Any], str, float]:
        """Exit code, document, messages, and how long the end took; nothing of it runs any more."""
        began = time.monotonic()
        out, text = self.process.communicate(timeout=120)
        seconds = time.monotonic() - began
        wait_for(lambda: not [process for process in self.processes if alive(process)], seconds=10)
        return self.process.returncode, json.loads(out or "{}"), text, seconds

    def parent_status(self) -> str:
        """How the study's run in MLflow ended."""
        client = open_client(Home(self.home).tracking_uri)
        experiment = client.get_experiment_by_name("s")
        assert experiment is not None
        runs = every_run(client, experiment.experiment_id)
        (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
        return str(parent.info.status)


SLOW_AGENT = f"""
import os, runpy, time
from pathlib import Path
hung = Path(__file__).with_name("hung")
if not hung.exists():
    hung.touch()
    time.sleep(600)
runpy.run_path({stand_in.__file__!r}, run_name="__main__")
"""

Start = Callable[..., Search]


@pytest.fixture
def start(space: Callable[..., Path], store: Path, tmp_path: Path) -> Any:
    """Start a search of long trials; `training` waits until two have a checkpoint. `before`: code
    that its process runs first."""
    searches: list[Search] = []

    def begin(*more: str, training: bool = True, before: str = "") -> Search:
        home = tmp_path / "home"
        file = space(rates="[0.001, 0.002]", epochs=LONG)
        arguments = command(file, store, home, "s", "--checkpoint-seconds", "0.5", *more)
        if before:
            code = f"""from va_search.search.ray_backend import stand_in
from va_search.cli.main import app
{before}
app()"""
            arguments[1:3] = ["-c", code]
        searches.append(Search(arguments, home))
        if training:
            wait_for(lambda: len(searches[-1].checkpoints) == 2)
            searches[-1].look()
        return searches[-1]

    yield begin
    for search in searches:
        if search.process.poll() is None:
            search.process.kill()
            search.process.wait()


@pytest.mark.parametrize(
    ("name", "all_processes"),
    [("SIGUSR1", False), ("SIGUSR2", True), ("SIGHUP", True), ("SIGTERM", True)],
)
def test_a_signal_to_one_process_or_all_stops_as_ctrl_c_does(
    start: Start, name: str, all_processes: bool
) -> None:
    search = start()
    search.signal(getattr(signal, name), all_processes=all_processes)
    code, document, text, seconds = search.ended()
    assert (code, document["exit_code"]) == (130, 130), text
    assert (
        f"interrupted by {name}: 0 trials are complete and saved" in text
        and "Traceback" not in text
    ), text
    assert seconds < 15
    assert len(search.checkpoints) == 2 and not list(
        (search.home / "studies" / "s").glob("failures/*")
    )
    assert search.parent_status() == "KILLED"


def test_a_signal_to_all_processes_while_ray_starts(start: Start) -> None:
    search = start(training=False)
    search.named("gcs_server")
    search.signal(signal.SIGTERM, all_processes=True)
    code, _, text, seconds = search.ended()
    assert code == 130 and "interrupted by SIGTERM" in text and seconds < 15, text


@pytest.mark.parametrize(("name", "title"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_when_a_process_of_rays_own_dies_the_search_ends_and_nobody_is_charged(
    start: Start, name: str, title: str
) -> None:
    search = start()
    os.kill(search.named(name), signal.SIGKILL)
    code, document, text, seconds = search.ended()
    assert (code, document["exit_code"]) == (1, 1), text
    assert (
        f"Ray's {title} process on this machine was ended by SIGKILL; finished trials are saved"
        in text
    ), text
    assert "Traceback" not in text and seconds < 30
    assert len(search.checkpoints) == 2 and not list(
        (search.home / "studies" / "s").glob("failures/*")
    )
    assert search.parent_status() == "FAILED"


def test_a_raylet_that_dies_while_ray_starts_is_named(start: Start) -> None:
    search = start(training=False)
    os.kill(search.named("raylet"), signal.SIGKILL)
    code, _, text, seconds = search.ended()
    assert code == 1 and "Ray could not be started" in text and "was ended by SIGKILL" in text, text
    assert "Traceback" not in text and seconds < 30


def test_a_ray_whose_agent_is_too_slow_is_started_once_more(start: Start, tmp_path: Path) -> None:
    """What stands in for an agent hangs the first time, as on a slow disk; Ray waits 15 s for it."""
    slow = tmp_path / "slow_agent.py"
    slow.write_text(SLOW_AGENT)
    search = start(training=False, before=f"stand_in.__file__ = {str(slow)!r}")
    agent = wait_for(lambda: search.with_word("slow_agent.py"))
    raylet = search.named("raylet")
    wait_for(lambda: len(search.checkpoints) == 2)
    assert not alive(agent) and not alive(raylet)
    search.look()
    search.signal(signal.SIGINT, all_processes=False)
    code, _, text, _ = search.ended()
    assert code == 130, text
    assert text.count("Ray was not ready in time (a load of ") == 1, text
    assert "Traceback" not in text


def test_a_killed_search_leaves_no_process_and_no_folder(start: Start) -> None:
    search = start()
    files = [link.readlink() for link in Path(f"/proc/{search.process.pid}/fd").iterdir()]
    (lock,) = [
        path for path in files if path.name == "lock" and path.parent.name.startswith("va-ray-")
    ]
    search.process.kill()
    code, _, _, _ = search.ended()
    assert code == -signal.SIGKILL
    wait_for(lambda: not lock.parent.exists(), seconds=10)
    assert len(search.checkpoints) == 2


@pytest.mark.parametrize("milliseconds", [10000, 0])
def test_who_killed_a_trials_process_is_said(
    start: Start, monkeypatch: pytest.MonkeyPatch, milliseconds: int
) -> None:
    """Ray waits this long for the details of a death; on a busy machine they come later, and it
    names no process."""
    monkeypatch.setenv("RAY_timeout_ms_task_wait_for_death_info", str(milliseconds))
    search = start()
    workers = children(search.process.pid, "ray::Resource")
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    os.kill(workers[1], signal.SIGSEGV)
    wait_for(lambda: not [process for process in workers if alive(process)])
    wait_for(lambda: len(children(search.process.pid, "ray::Resource")) == 2)
    time.sleep(2)
    search.signal(signal.SIGINT, all_processes=False)
    code, _, text, _ = search.ended()
    assert code == 130
    killed = "the trial's process was killed with SIGKILL (signal 9) by hand or by another program"
    assert killed in text, text
    assert "the trial's process crashed: SIGSEGV (invalid memory access) at " in text, text


def test_a_cluster_that_no_longer_answers_ends_the_search(start: Start) -> None:
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **small})
    address = cluster.address
    try:
        search = start("--address", address, "--gpus-per-trial", "0")
        cluster.head_node.kill_gcs_server()
        code, _, text, seconds = search.ended()
        assert code == 1, text
        assert f"the Ray cluster at {address} has not answered for" in text and seconds < 75
        assert len(search.checkpoints) == 2 and not list(
            (search.home / "studies" / "s").glob("failures/*")
        )
    finally:
        cluster.shutdown()
