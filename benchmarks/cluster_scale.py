"""What a large search costs beside its trainings: the driver's core-seconds, memory and operations
on files for each finished trial, and on several nodes Ray's own cores.

    python benchmarks/cluster_scale.py                          20,000 trials, 64 simulated workers: some minutes
    python benchmarks/cluster_scale.py --trials 2000            a first look
    python benchmarks/cluster_scale.py --nodes 2 8              2,000 trials on 2 and on 8 nodes of a Ray

Without --nodes nothing is trained (simulated_workers.py): each trial is handed out, held beside the
others and handed back complete, by the real scheduler, loop, home and bank, with sampler random.
Printed for each part of the study: the driver's core-milliseconds and operations on files per
trial, and its resident memory; then each goal. An operation is one that Python's code asks for
(open, stat, rename, fsync and others), not one of a library in C; those that are due every few
seconds, such as the note of the time, are in the parts, and not in the comparison of single trials.
MLflow's delivery is measured by tracking.py.

With --nodes the nodes are simulated on this machine (ray.cluster_utils.Cluster): a head without
CPUs, as in the launcher's files, and nodes of two virtual CPUs each, with a scheduler, an object
store and worker processes of their own. Each trial is one epoch of a tiny model on the tiny
simulated store, another learning rate each; tracked by MLflow as always. Printed for each part of
the study: wall seconds per trial; what a trial took itself (from the opening of the store to its
last file; more on more nodes, since all of them share this machine's cores); core-seconds per trial
of the driver and of Ray's control service (GCS), which are one process each however many nodes there
are, so that their inverse bounds the trials per second of any cluster; and the driver's resident
memory."""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import simulated_workers
from process_tree import parse_stat
from rich.console import Console
from rich.table import Table
from search_growth import MARKS, make_space, resident

from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.configurations import Space
from va_search.search.machine import Options
from va_search.search.ray_backend.connection import QUIET
from va_search.search.run import Callbacks, Request, run_search
from va_search.search.summary import Progress

CPUS = 2
"""Of each simulated node."""

SIMULATED_MARKS = (100, 1000, 2000, 5000, 10_000)
NEIGHBOURS = 5
MIB = 2**20


@dataclass(frozen=True)
class Mark:
    """The study when so many trials were finished: the time, core-seconds spent so far, the
    driver's MiB."""

    finished: int
    seconds: float
    driver: float
    gcs: float
    memory: float


@contextmanager
def simulated_cluster(nodes: int) -> Iterator[Any]:
    """A head that trains nothing, and so many nodes."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from ray.cluster_utils import Cluster

    store = 100 * 2**20
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": store}
    )
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=CPUS, object_store_memory=store)
        yield cluster
    finally:
        cluster.shutdown()


def gcs_seconds(cluster: Any) -> float:
    """Core-seconds of the control service so far."""
    pid = cluster.head_node.all_processes["gcs_server"][0].process.pid
    return parse_stat(Path(f"/proc/{pid}/stat").read_text())[2]


def grow(folder: Path, store: Store, space: Space, nodes: int) -> list[Mark]:
    """Run the study; a mark about once a second."""
    marks: list[Mark] = []
    with simulated_cluster(nodes) as cluster:

        def watch(progress: Progress) -> None:
            if progress.finished:
                spent = time.process_time(), gcs_seconds(cluster)
                marks.append(Mark(progress.finished, time.monotonic(), *spent, resident()))

        options = Options(address=cluster.address, concurrent=CPUS * nodes)
        request = Request("s", options)
        run_search(Home(folder / "home"), space, store, request, Callbacks(watch))
    return marks


def add_rows(table: Table, marks: list[Mark], folder: Path, nodes: int) -> None:
    bank = Bank(folder / "home" / "bank")
    trials = sorted(bank.each_trial("s"), key=lambda trial: trial.finished_at or "")
    before, last = marks[0], marks[-1].finished
    for mark in [m for m in MARKS if 100 <= m < last] + [last]:
        now = next(one for one in marks if one.finished >= mark)
        count = now.finished - before.finished
        if count == 0:
            continue
        own = sum(trial.seconds or 0.0 for trial in trials[before.finished : now.finished]) / count
        each = [
            (getattr(now, name) - getattr(before, name)) / count
            for name in ("seconds", "driver", "gcs")
        ]
        numbers = [
            f"{each[0]:.3f}",
            f"{own:.3f}",
            f"{each[1]:.3f}",
            f"{each[2]:.4f}",
            f"{now.memory:.0f}",
        ]
        table.add_row(f"{nodes} × {CPUS}", f"{before.finished + 1} to {now.finished}", *numbers)
        before = now


def show_simulated(store: Store, folder: Path, trials: int, workers: int) -> bool:
    """Search with simulated workers, print what it costs, and return whether the goals are met."""
    space = make_space(folder, store, "random", trials)
    marks: list[simulated_workers.Mark] = []
    began = time.monotonic()
    simulated_workers.simulate_search(folder, store, space, workers, marks.append)
    minutes = (time.monotonic() - began) / 60
    title = f"{trials:,} trials, {workers} simulated workers, {minutes:.1f} minutes"
    table = Table(title=title, title_justify="left")
    for heading in (
        "trials",
        "driver core-ms per trial",
        "file operations per trial",
        "driver MiB",
    ):
        table.add_column(heading, justify="right")
    borders = [mark for mark in SIMULATED_MARKS if mark < trials] + [trials]
    costs = []
    for first, last in itertools.pairwise(borders):
        before, after = marks[first - 1], marks[last - 1]
        count = last - first
        costs.append((after.core_seconds - before.core_seconds) / count * 1000)
        operations = (after.operations.total() - before.operations.total()) / count
        memory = f"{after.memory / MIB:.0f}"
        table.add_row(f"{first + 1:,} to {last:,}", f"{costs[-1]:.2f}", f"{operations:.1f}", memory)
    Console(width=120).print(table)
    growth = costs[-1] / costs[0]
    # The last ones, after which none is handed out any more, cost less.
    later = min(2000, trials - workers - NEIGHBOURS)
    early, late = operations_at(marks, 10), operations_at(marks, later)
    per_thousand = (marks[-1].memory - marks[99].memory) / MIB / (trials - 100) * 1000
    print(f"last part over the first: {growth:.2f} times; goal: at most 1.2")
    print(f"file operations of trial 10: {early}, of trial {later:,}: {late}; goal: equal")
    print(f"driver: {per_thousand:.1f} MiB per further thousand trials")
    return growth <= 1.2 and early == late


def operations_at(marks: list[simulated_workers.Mark], trial: int) -> int:
    """Return the operations on files of a finished trial: the fewest among it and its neighbours,
    which leaves out what is done every few seconds."""
    counts = []
    for number in range(trial - NEIGHBOURS, trial + NEIGHBOURS):
        after, before = marks[number - 1].operations, marks[number - 2].operations
        counts.append(after.total() - before.total())
    return min(counts)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--trials", type=int, help="20,000, or 2,000 with --nodes")
    arguments.add_argument("--workers", type=int, default=64, help="simulated, without --nodes")
    arguments.add_argument("--nodes", type=int, nargs="+", help="of a Ray, each number in turn")
    given = arguments.parse_args()
    if given.nodes is None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            store = simulate(folder / "store", size="tiny")
            met = show_simulated(store, folder, given.trials or 20_000, given.workers)
        raise SystemExit(0 if met else 1)
    show_nodes(given.nodes, given.trials or 2000)


def show_nodes(numbers: list[int], trials: int) -> None:
    """Search on so many nodes of a Ray, one number after another, and print what it costs."""
    columns = ("nodes × CPUs", "trials", "wall s per trial", "trial's own s")
    table = Table(*columns, "driver core-s per trial", "GCS core-s per trial", "driver MiB")
    with tempfile.TemporaryDirectory() as name:
        store = simulate(Path(name) / "store", size="tiny")
        for nodes in numbers:
            folder = Path(name) / str(nodes)
            folder.mkdir()
            marks = grow(folder, store, make_space(folder, store, "random", trials), nodes)
            add_rows(table, marks, folder, nodes)
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
