"""What a search costs beside its trainings, and whether that grows: seconds per trial and the
driver's memory.

    python benchmarks/search_growth.py                     300 trials: some minutes on two cores
    python benchmarks/search_growth.py --trials 5000       the whole claim: seven minutes or so on a quiet machine
    python benchmarks/search_growth.py --trials 1000 --sampler tpe
    python benchmarks/search_growth.py --asks 5000         the sampler alone, nothing is trained

One study of trivial trials (one epoch of a tiny model on the tiny simulated store, every trial
another learning rate), on one Ray, with MLflow in the home as always. Printed for each part of the
study: wall seconds per trial, times trials side by side, less what the trials themselves took
(their `seconds`, from the opening of the store to the last file), which leaves what starting,
choosing, claiming, reporting and tracking cost; and the driver's resident memory."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.configurations import Space
from va_search.search.machine import Options
from va_search.search.proposals import Proposals
from va_search.search.run import Callbacks, Request, run_search
from va_search.search.space import load_space
from va_search.search.summary import Progress
from va_search.trial_settings import trial_id

SPACE = """sampler: {sampler}
budget: {{trials: {trials}}}
settings:
  features: {{choice: [[{feature}]]}}
  encoder: {{choice: [gru, lstm]}}
  learning_rate: {{float: [1.0e-5, 1.0e-2], log: true}}
  weight_decay: {{float: [1.0e-6, 1.0e-3], log: true}}
  head_dropout: {{float: [0.0, 0.5]}}
  width: 4
  hidden_size: 4
  head_sizes: [4]
  segment_length: 100
  epochs: 1
"""
MARKS = (10, 30, 100, 300, 1000, 2000, 3000, 4000, 5000)


@dataclass(frozen=True)
class Mark:
    """The study when so many trials were finished: seconds since the first, the driver's memory in
    MiB."""

    finished: int
    seconds: float
    memory: float


def resident() -> float:
    """This process's resident memory, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def make_space(folder: Path, store: Store, sampler: str, trials: int) -> Space:
    path = folder / "space.yaml"
    path.write_text(SPACE.format(sampler=sampler, trials=trials, feature=min(store.feature_sets)))
    return load_space(path, store)


def grow(folder: Path, store: Store, space: Space, concurrent: int) -> list[Mark]:
    """Run the study; a mark a second from the first finished trial on, and one at its end."""
    marks: list[Mark] = []

    def watch(progress: Progress) -> None:
        if progress.finished:
            marks.append(Mark(progress.finished, time.monotonic(), resident()))

    run_search(
        Home(folder / "home"),
        space,
        store,
        Request("s", Options(concurrent=concurrent)),
        Callbacks(watch),
    )
    return marks


def show_growth(marks: list[Mark], folder: Path, concurrent: int) -> None:
    bank = Bank(folder / "home" / "bank")
    trials = sorted(bank.each_trial("s"), key=lambda trial: trial.finished_at or "")
    table = Table(
        "trials", "wall s per trial", "trial's own s", "overhead s per trial", "driver MiB"
    )
    before = marks[0]
    last = marks[-1].finished
    for mark in [m for m in MARKS if m < last] + [last]:
        now = next(one for one in marks if one.finished >= mark)
        count = now.finished - before.finished
        if count == 0:
            continue
        own = sum(trial.seconds or 0.0 for trial in trials[before.finished : now.finished]) / count
        wall = (now.seconds - before.seconds) / count
        part = f"{before.finished + 1} to {now.finished}"
        table.add_row(
            part, f"{wall:.3f}", f"{own:.3f}", f"{wall * concurrent - own:.3f}", f"{now.memory:.0f}"
        )
        before = now
    Console().print(table)


def show_asks(space: Space, store: Store, asks: int) -> None:
    """Seconds per proposal of the sampler alone, told a made-up objective for each."""
    proposals = Proposals(
        space, lambda settings: trial_id(settings, store.data_hash(settings.features, "official"))
    )
    table = Table("proposals", "ms per proposal", "MiB")
    part, began = 0, time.perf_counter()
    for number in range(1, asks + 1):
        drawn = proposals.next()
        assert drawn is not None
        proposals.tell(
            drawn[0], (-abs(drawn[1].learning_rate - 1e-3) * 100 + drawn[1].head_dropout / 10,)
        )
        if number in MARKS or number == asks:
            spent = (time.perf_counter() - began) / (number - part) * 1000
            table.add_row(f"{part + 1} to {number}", f"{spent:.1f}", f"{resident():.0f}")
            part, began = number, time.perf_counter()
    Console().print(table)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--trials", type=int, default=300)
    arguments.add_argument("--sampler", choices=["random", "tpe"], default="random")
    arguments.add_argument("--concurrent", type=int, default=2, help="trials side by side")
    arguments.add_argument(
        "--asks", type=int, help="measure the sampler alone, TPE, with so many proposals"
    )
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = simulate(folder / "store", size="tiny")
        if given.asks:
            show_asks(make_space(folder, store, "tpe", given.asks), store, given.asks)
            return
        space = make_space(folder, store, given.sampler, given.trials)
        show_growth(grow(folder, store, space, given.concurrent), folder, given.concurrent)


if __name__ == "__main__":
    main()
