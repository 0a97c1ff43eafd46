"""The hosts that the launcher's test stands on: they end with the process that made them, however
it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import hosts as machines
import pytest
from ray_world import wait_for

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def test_hosts_end_with_the_test(tmp_path: Path) -> None:
    """A test that is killed leaves no process, and its bridge for the next one to remove."""
    reason = machines.lacking()
    if reason:
        pytest.skip(reason)
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from hosts import running_hosts\n"
        "with running_hosts(Path(sys.argv[2]), ['head', 'one'], mounts={}) as hosts:\n"
        "    print(*[pid for host in hosts.hosts for pid in host.processes()], flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(Path(machines.__file__).parent), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) >= 4
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    wait_for(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], 10)
    assert machines.left_mounts(tmp_path) == []
    with machines.running_hosts(tmp_path / "again", ["head"], mounts={}) as hosts:
        assert hosts["head"].running
    assert machines.left_links() == []
