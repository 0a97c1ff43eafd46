"""What a search on a cluster of several nodes costs beside its trainings: wall time, the driver's
and Ray's own cores.

    python benchmarks/cluster_scale.py                          2,000 trials on 2 and on 8 nodes
    python benchmarks/cluster_scale.py --trials 200 --nodes 2   a first look

The nodes are simulated on this machine (ray.cluster_utils.Cluster): a head without CPUs, as in the
launcher's files, and nodes of two virtual CPUs each, with a scheduler, an object store and worker
processes of their own. Each trial is one epoch of a tiny model on the tiny simulated store, another
learning rate each; tracked by MLflow as always.

Printed for each part of the study: wall seconds per trial; what a trial took itself (from the
opening of the store to its last file; more on more nodes, since all of them share this machine's
cores); core-seconds per trial of the driver and of Ray's control service (GCS), which are one
process each however many nodes there are, so that their inverse bounds the trials per second of any
cluster; and the driver's resident memory."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--trials", type=int, default=2000)
    arguments.add_argument("--nodes", type=int, nargs="+", default=[2, 8])
    given = arguments.parse_args()
    columns = ("nodes × CPUs", "trials", "wall s per trial", "trial's own s")
    table = Table(*columns, "driver core-s per trial", "GCS core-s per trial", "driver MiB")
    with tempfile.TemporaryDirectory() as name:
        store = simulate(Path(name) / "store", size="tiny")
        for nodes in given.nodes:
            folder = Path(name) / str(nodes)
            folder.mkdir()
            marks = grow(folder, store, make_space(folder, store, "random", given.trials), nodes)
            add_rows(table, marks, folder, nodes)
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
