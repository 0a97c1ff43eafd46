"""What trials at a time share: memory of the store's files, and of their own.

    python benchmarks/shared_memory.py           1, 2 and 4 trials at a time on wide features: about a minute

Trains k trials at once, each in a process, on the paper's feature sets (--like affwild2), and
prints how much of the store's files all of them hold together (PSS), and the memory of their own at
its peak while they train."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from process_tree import memory, parse_mapped
from rich.console import Console
from rich.table import Table

from va_search.data.simulate_affwild2 import simulate_affwild2
from va_search.data.store import Store
from va_search.training.fit import Fit
from va_search.training.predict import MOST_ROWS, VALUES
from va_search.trial_settings import TrialSettings

WIDE: dict[str, Any] = {
    "normalise": "none", "segment_length": 100, "encoder": "transformer", "width": 64, "layers": 2, "feed_forward": 128,
    "head_sizes": [64], "epochs": 1_000_000,
}  # fmt: skip
MIB = 2**20


def train_on(store: Path, settings: TrialSettings, pipe: Connection) -> None:
    """Train until killed; tells its own memory before there is a model or data, and when an epoch
    is done."""
    torch.set_num_threads(1)
    opened = Store.open(store)
    torch.optim.Adam([torch.zeros(1)])  # imports a good deal more of torch
    pipe.send(memory(os.getpid())["Pss_Anon"])
    fit = Fit(settings, opened)
    fit.run_epoch()
    pipe.send("trained")
    while True:
        fit.run_epoch()


def held(
    store: Store, settings: TrialSettings, number: int, seconds: float
) -> tuple[float, float, float]:
    """Bytes of `number` trainings at once: of the store's files, of their own (both the highest sum
    seen while they train), and of their own before they had a model or data."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe(duplex=False) for _ in range(number)]
    processes = [
        context.Process(target=train_on, args=(store.path, settings, give), daemon=True)
        for _, give in pipes
    ]
    for process in processes:
        process.start()
    try:
        before = sum(take.recv() for take, _ in pipes)
        for take, _ in pipes:
            take.recv()
        pids = [process.pid for process in processes if process.pid is not None]
        files = own = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            own = max(own, sum(memory(pid)["Pss_Anon"] for pid in pids))
            maps = (Path(f"/proc/{pid}/smaps").read_text() for pid in pids)
            files = max(files, sum(parse_mapped(text, str(store.path)) for text in maps))
            time.sleep(0.1)
    finally:
        for process in processes:
            process.kill()
            process.join()
    return files, own, before


def model_and_batch(store: Store, settings: TrialSettings) -> tuple[float, float]:
    """Bytes of a trial's parameters (with gradients, Adam's two moments, two best epochs), and of
    the inputs of its largest batch, which is one of prediction."""
    data = Fit(settings, store)
    parameters = sum(one.numel() for one in data.model.parameters())
    columns = sum(store.feature_sets[name].dim for name in settings.features)
    row = settings.segment_length * settings.frame_step * columns
    rows = min(MOST_ROWS, max(settings.batch_size, VALUES // row))
    return 6 * 4 * parameters, 4 * rows * row


def show_memory(store: Store, counts: list[int], seconds: float) -> None:
    settings = TrialSettings(features=tuple(store.feature_sets), **WIDE)
    table = Table(title="memory of trials at a time, MiB", title_justify="left")
    headings = (
        "trials",
        "store's files, all",
        "own, all",
        "own, each further",
        "of it before model and data",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    first: tuple[int, float, float] | None = None
    for number in counts:
        files, own, before = held(store, settings, number, seconds)
        further = ["–", "–"]
        if first is not None:
            more = (own - first[1], before - first[2])
            further = [f"{value / (number - first[0]) / MIB:,.0f}" for value in more]
        first = first or (number, own, before)
        table.add_row(str(number), f"{files / MIB:,.0f}", f"{own / MIB:,.0f}", *further)
    Console(width=120).print(table)
    model, batch = (value / MIB for value in model_and_batch(store, settings))
    size = sum(store.features(name).nbytes for name in store.feature_sets) / MIB
    print(
        f"features on disk {size:,.0f} MiB; model, optimiser and best epochs {model:,.1f} MiB; the inputs of"
    )
    print(f"the largest batch {batch:,.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--at-once", type=int, nargs="+", default=[1, 2, 4], help="trials at a time"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is looked at")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="va", ignore_cleanup_errors=True) as name:
        show_memory(
            simulate_affwild2(Path(name) / "store", scale=0.01), given.at_once, given.seconds
        )


if __name__ == "__main__":
    main()
