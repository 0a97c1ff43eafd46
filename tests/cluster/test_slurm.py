"""clusters/slurm.sh, as it is shipped, on a real SLURM of two nodes: what docs/slurm.md says.

Real: SLURM's daemons, its signals and its queue, the nodes as hosts that lose their power. Not real:
the nodes are network namespaces of this machine, and the lines marked CHANGE are this cluster's."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hosts as machines
import pytest
import slurm_world
from hosts import Host
from ray_world import trials, wait_for, write_space
from slurm_world import ENVIRONMENT, REPOSITORY, Slurm

from va_search.data.simulate import simulate

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SHIPPED = REPOSITORY / "clusters" / "slurm.sh"
SECONDS = 400.0
OFTEN = ("--checkpoint-seconds", "0.5")

CHANGES = {
    "source .venv/bin/activate": f"source {ENVIRONMENT}/bin/activate",
    "--cpus-per-task=8 ": "--cpus-per-task=1 ",
    "--mem=32G ": "--mem=0 ",
    "--gpus-per-node=1 ": "--gpus-per-node=0 ",
}


class Cluster:
    """The cluster as its user has it: a folder that all nodes share, the file, the commands."""

    def __init__(self, slurm: Slurm) -> None:
        self.slurm = slurm
        self.home = slurm.folder / "va-home"
        self.store = slurm.folder / "store"
        simulate(self.store, size="tiny")
        text = SHIPPED.read_text()
        for line, own in CHANGES.items():
            assert line in text, f"{SHIPPED}: no {line} any more"
            text = text.replace(line, own)
        (slurm.folder / "slurm.sh").write_text(text)
        self._spaces = 0

    def space(self, *, epochs: int, rates: int = 2) -> str:
        """Write a grid of two encoders and so many learning rates, other ones each time: one home
        trains nothing twice."""
        self._spaces += 1
        values = [0.001 * rate + 0.0001 * self._spaces for rate in range(1, rates + 1)]
        path = self.slurm.folder / f"space-{self._spaces}.yaml"
        write_space(path, self.store, rates=str(values), epochs=epochs)
        return path.name

    def submit(self, space: str, study: str, *options: str, more: tuple[str, ...] = OFTEN) -> str:
        """Queue a search as docs/slurm.md does; its job's id."""
        said = self.slurm.run(
            "sbatch", *options, "slurm.sh", space, "--data", "store", "--study", study, *more
        )
        return said.split()[-1]

    def output(self, job: str) -> str:
        return "\n".join(
            path.read_text() for path in sorted(self.slurm.folder.glob(f"va-search-{job}*.out"))
        )

    def wait(self, what: Callable[[], Any], job: str) -> Any:
        """Wait until it is so; where it never is, the job's output says why."""
        try:
            return wait_for(what, SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{self.slurm.state(job)}\n{self.output(job)}") from error

    def wait_for_state(self, job: str, state: str) -> None:
        """Wait until a job has this state, and none that a job keeps for ever."""
        ends = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}

        def reached() -> bool:
            now = self.slurm.state(job)
            assert now == state or now not in ends, f"{now}: {self.output(job)}"
            return now == state

        self.wait(reached, job)

    def checkpoints(self, study: str) -> list[str]:
        """The trials of a study that have a checkpoint of what they did so far."""
        running = self.home / "studies" / study / "running"
        return sorted(path.parent.name for path in running.glob("*/checkpoint.safetensors"))

    def repair(self, lost: Host) -> None:
        """Start a node again whose plug was pulled; its /tmp is empty, as after most reboots."""
        self.slurm.hosts.power_on(lost)
        for folder in (lost.folder / "tmp").glob("va-*"):
            shutil.rmtree(folder)
        self.slurm.start_node(lost)

    def left(self) -> list[str]:
        """Whatever jobs left on nodes: processes, and folders in /tmp."""
        here = [line for host in self.slurm.hosts.hosts for line in _processes(host)]
        for host in self.slurm.hosts.hosts:
            folders = (host.folder / "tmp").iterdir()
            here += [str(path) for path in folders if path.name.startswith("va-")]
        return here


def _processes(host: Host) -> list[str]:
    """The command lines of what runs on a node, but for its daemons."""
    lines = []
    for process in host.processes():
        try:
            words = Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if words and not re.search(r"sshd|slurmd|slurmstepd", words):
            lines.append(f"{host.name}: {words}")
    return lines


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = slurm_world.lacking()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("slurm")
    with slurm_world.running_slurm(folder, ["one", "two"]) as slurm:
        yield Cluster(slurm)
    assert machines.left_links() == []
    assert machines.left_mounts(folder) == []


@pytest.fixture(autouse=True)
def nothing_left(cluster: Cluster) -> Iterator[None]:
    """After each test no job is left, and nothing of one."""
    yield
    for job in cluster.slurm.run("squeue", "--noheader", "--format", "%A").split():
        cluster.slurm.run("scancel", job)
    wait_for(lambda: not cluster.slurm.run("squeue", "--noheader"), 60)
    until = time.monotonic() + 30
    while cluster.left() and time.monotonic() < until:
        time.sleep(0.5)
    assert cluster.left() == []


def test_the_file_is_checked_before_it_is_queued(cluster: Cluster) -> None:
    cluster.slurm.run("va-search", "cluster", "check", "slurm.sh")


def test_a_job_is_told_of_its_end_and_goes_on_in_the_next(cluster: Cluster) -> None:
    job = cluster.submit(cluster.space(epochs=150), "first")
    cluster.wait(lambda: cluster.checkpoints("first"), job)
    cluster.slurm.run("scancel", "--batch", "--signal=USR1", job)
    cluster.wait_for_state(job, "PENDING")
    before = trials(cluster.home, "first")
    assert len(before) < 4, "it was to be told in the middle of the study"
    assert cluster.checkpoints("first"), "running trials write a checkpoint"
    assert cluster.left() == []
    cluster.wait_for_state(job, "COMPLETED")
    after = trials(cluster.home, "first")
    assert len(after) == 4
    assert {trial: after[trial] for trial in before} == before
    assert any(record.get("resumed_at") for record in after.values())
    assert cluster.slurm.restarts(job) == 1
    status = json.loads(cluster.slurm.run("va-search", "status", "first", "--json"))
    assert (len(status["complete"]), status["failed"]) == (4, [])
    cluster.slurm.run("va-search", "ensemble", "first", "--name", "first-best")


def test_a_second_node_trains_too_and_is_lost(cluster: Cluster) -> None:
    """Its trial goes on from its checkpoint, on the node that is left."""
    space = cluster.space(epochs=200, rates=5)
    job = cluster.submit(space, "wide", "--nodes=2")

    def trains_on_both() -> list[str]:
        nodes = {record["node"] for record in trials(cluster.home, "wide").values()}
        checkpoints = cluster.checkpoints("wide")
        return checkpoints if nodes == {"one", "two"} and len(checkpoints) == 2 else []

    running = cluster.wait(trains_on_both, job)
    lost = cluster.slurm.hosts["two"]
    lost.power_off()
    before = trials(cluster.home, "wide")
    try:
        cluster.wait_for_state(job, "COMPLETED")
        after = trials(cluster.home, "wide")
        assert len(after) == 10
        assert {trial: after[trial] for trial in before} == before
        (resumed,) = [trial for trial, record in after.items() if record.get("resumed_at")]
        assert resumed in running and after[resumed]["node"] == "one"
        assert cluster.slurm.restarts(job) == 0
    finally:
        cluster.repair(lost)
        cluster.slurm.wait_for_idle()


def test_a_first_node_that_is_lost_ends_the_job_which_begins_again(cluster: Cluster) -> None:
    """No batch shell is left, so the other node has SLURM queue the job again."""
    space = cluster.space(epochs=600, rates=1)
    soon = "--export=ALL,RAY_gcs_rpc_server_reconnect_timeout_s=20"  # Ray's own patience is 60 s
    job = cluster.submit(space, "headless", "--nodes=2", soon)
    cluster.wait(lambda: len(cluster.checkpoints("headless")) == 2, job)
    lost = cluster.slurm.hosts["one"]
    lost.power_off()
    try:
        cluster.wait_for_state(job, "PENDING")
    finally:
        cluster.repair(lost)
    cluster.wait_for_state(job, "COMPLETED")
    after = trials(cluster.home, "headless")
    assert len(after) == 2
    assert all(record["resumed_at"] for record in after.values())
    assert cluster.slurm.restarts(job) == 1


def test_jobs_that_are_cancelled_leave_their_checkpoints_and_nothing_else(
    cluster: Cluster,
) -> None:
    """A job of one node, and one of two that shares it."""
    studies = {"narrow": "--nodes=1", "broad": "--nodes=2"}
    jobs = {}
    for study, nodes in studies.items():
        jobs[study] = cluster.submit(cluster.space(epochs=20000, rates=1), study, nodes)
        cluster.wait(partial(cluster.checkpoints, study), jobs[study])
    cluster.slurm.run("scancel", "--name", "va-search")
    wait_for(lambda: not cluster.slurm.run("squeue", "--noheader"), 60)
    for study, job in jobs.items():
        assert cluster.slurm.state(job) == "CANCELLED"
        assert cluster.checkpoints(study)
        assert list((cluster.home / "studies" / study).glob("failures/*")) == []


STAND_IN = """#!/bin/bash
# In the place of va-search: what the batch file does with a search, without a Ray.
home=$VA_SEARCH_HOME
mkdir -p "$home/bank/$2" "$home/studies/$2/running"
case $2 in
  nowhere) trap 'exit 130' USR1; kill -USR1 $PPID ;;
  fails) trap '' USR1; kill -USR1 $PPID; sleep 2; exit 1 ;;
  *) trap 'touch "$home/studies/$2/running/checkpoint"; exit 130' USR1 TERM ;;
esac
for trial in 1 2 3; do
  [ -e "$home/bank/$2/$trial" ] && continue
  sleep 3 & wait $!
  touch "$home/bank/$2/$trial"
  echo "trained $trial"
done
"""


@pytest.fixture(scope="module")
def stand_in(cluster: Cluster) -> Callable[[str], str]:
    """Queue the file as it is, with a stand-in for va-search; the study's name says what it does."""
    folder = cluster.slurm.folder / "stand-in"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "va-search"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    (folder / "bin" / "activate").write_text(f"PATH={folder / 'bin'}:$PATH\n")
    text = (cluster.slurm.folder / "slurm.sh").read_text()
    path = folder / "slurm.sh"
    path.write_text(text.replace(f"{ENVIRONMENT}/bin/activate", f"{folder}/bin/activate"))

    def submit(study: str) -> str:
        return cluster.slurm.run("sbatch", str(path), study, "--study", study).split()[-1]

    return submit


def test_how_the_batch_file_takes_the_end_of_a_search(
    cluster: Cluster, stand_in: Callable[[str], str]
) -> None:
    """Four jobs at once: SLURM leaves one that is queued again waiting for 20 s each time."""
    studies = cluster.home / "studies"
    goes_on, cancelled = stand_in("goes-on"), stand_in("cancelled")
    nowhere, fails = stand_in("nowhere"), stand_in("fails")

    # Told to stop: it goes on in the same job.
    cluster.wait(lambda: "trained 1" in cluster.output(goes_on), goes_on)
    cluster.slurm.run("scancel", "--batch", "--signal=USR1", goes_on)
    # Cancelled: it is over.
    cluster.wait(lambda: "trained 1" in cluster.output(cancelled), cancelled)
    cluster.slurm.run("scancel", cancelled)
    cluster.wait_for_state(cancelled, "CANCELLED")
    assert (studies / "cancelled" / "running" / "checkpoint").exists()

    cluster.wait_for_state(goes_on, "PENDING")
    assert (studies / "goes-on" / "running" / "checkpoint").exists()
    cluster.wait_for_state(goes_on, "COMPLETED")
    lines = [line for line in cluster.output(goes_on).splitlines() if line.startswith("trained")]
    assert lines == ["trained 1", "trained 2", "trained 3"]

    # Told to stop, but failed: it is over.
    cluster.wait_for_state(fails, "FAILED")
    assert cluster.slurm.restarts(fails) == 0
    # Told to stop each time before anything is trained: it is not begun for ever.
    cluster.wait_for_state(nowhere, "FAILED")
    assert cluster.slurm.restarts(nowhere) == 3
    assert "nothing was trained in this run" in cluster.output(nowhere)
    assert cluster.slurm.restarts(cancelled) == 0


def test_an_array_of_three(cluster: Cluster) -> None:
    """Three jobs, two nodes."""
    space = cluster.space(epochs=30, rates=3)
    job = cluster.submit(space, "array", "--array=1-3")
    cluster.wait_for_state(job, "COMPLETED")
    records = trials(cluster.home, "array")
    assert len(records) == 6
    asked = (cluster.home / "studies" / "array" / "asked.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["trial"] for line in asked) == sorted(records)
