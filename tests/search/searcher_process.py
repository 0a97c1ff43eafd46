"""A search in a process of its own that trains nothing: `searcher_process.py SPACE STORE HOME LOG`.

Each trial takes a moment and is written to the bank as a training would; LOG gets a line for each
that begins."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from loop_world import finish

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.space import load_space
from va_search.search.study import Study

SECONDS = 0.2
"""Of each training."""


def search(space_file: Path, store_folder: Path, home: Path, log: Path) -> None:
    store = Store.open(store_folder)
    space = load_space(space_file, store)
    study = Study(Home(home), "s")
    with study.searching(join=True) as searchers:
        joined = not searchers.leads
        study.begin(store, space.document, joins=joined)
        searchers.announce()
        around = Surroundings(searchers=searchers, joined=joined)
        scheduler = Scheduler(study, space, store, surroundings=around)
        complete_before = len(scheduler.results.finished)
        while True:
            trial = scheduler.ask()
            if trial is not None:
                with open(log, "a") as file:
                    file.write(f"{os.getpid()} {trial.id}\n")
                time.sleep(SECONDS)
                finish(scheduler, trial.id)
            elif scheduler.waiting:
                time.sleep(0.05)
            else:
                break
            searchers.take_lead()
        results = scheduler.results
        counts = (complete_before, len(results.seconds), results.elsewhere, len(results.finished))
        sys.stdout.write(" ".join(map(str, counts)))


if __name__ == "__main__":
    search(*(Path(argument) for argument in sys.argv[1:]))
