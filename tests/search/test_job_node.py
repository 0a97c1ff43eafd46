"""A node of a job's Ray (clusters/slurm.sh): its start, tried once more when it takes too long."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray_world import alive, children, wait_for

from va_search.search.ray_backend import job_node

TIMES_OUT = "echo 'Exception: The current node timed out during startup.'; exit 1"
STARTS = "echo 'Ray runtime started.'; sleep 60"
STAND_IN = """
import sys
from va_search.search.ray_backend import job_node
attempts = sys.argv[3:]
job_node._command = lambda options, is_head: ["sh", "-c", attempts.pop(0)]
sys.exit(job_node.main(*sys.argv[1:3]))
"""
"""The module with a stand-in for `ray start`."""

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Start a head, with these words for Python before its own and those after; it has its token."""
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    nodes: list[subprocess.Popen[str]] = []

    def run(program: list[str], *more: str) -> subprocess.Popen[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        node = subprocess.Popen(
            [sys.executable, *program, address, str(tmp_path / "job"), *more],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        nodes.append(node)
        assert node.stdin is not None
        node.stdin.write("ab" * 32 + "\n")
        node.stdin.flush()
        return node

    yield run
    for node in nodes:
        if node.poll() is None:
            node.kill()
            node.wait()


def is_ready(folder: Path, node: subprocess.Popen[str]) -> bool:
    assert node.poll() is None, node.communicate()
    return (folder / "job" / job_node.READY).exists()


def test_it_is_started_once_more(begin: Begin, tmp_path: Path) -> None:
    node = begin(["-c", STAND_IN], TIMES_OUT, STARTS)
    wait_for(lambda: is_ready(tmp_path, node), 60)
    _, text = node.communicate()  # ends the life line
    assert node.returncode == 0
    assert text == f"{socket.gethostname()}: Ray was not ready in time; it is started once more\n"
    assert (tmp_path / "job" / job_node.ENDED).exists()


@pytest.mark.parametrize(
    ("attempts", "starts"),
    [
        ([TIMES_OUT, TIMES_OUT], 2),
        (["echo 'no such option'; exit 2"], 1),
        (["echo 'Ray runtime started.'; echo 'a deadline was exceeded'; exit 1"], 1),
    ],
)
def test_other_ends_and_a_second_one_are_told(
    begin: Begin, attempts: list[str], starts: int
) -> None:
    node = begin(["-c", STAND_IN], *attempts)
    assert node.wait(60) == 1
    _, text = node.communicate()
    assert text.count("Ray ended:") == 1
    assert text.count("it is started once more") == starts - 1


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_one_whose_agent_is_too_slow(begin: Begin, tmp_path: Path) -> None:
    node = begin(["-m", job_node.__name__])
    agent = wait_for(lambda: [one for one in children(node.pid, "") if is_agent(one)])[0]
    os.kill(agent, signal.SIGSTOP)
    wait_for(lambda: is_ready(tmp_path, node))
    assert not alive(agent)
    below = children(node.pid, "")
    _, text = node.communicate(timeout=60)
    assert node.returncode == 0, text
    assert text.count("it is started once more") == 1, text
    wait_for(lambda: not any(alive(process) for process in below), 10)


def is_agent(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
    except OSError:
        return False
    return any(word.endswith("dashboard/agent.py") for word in words)
