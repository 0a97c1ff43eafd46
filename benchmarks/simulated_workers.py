"""A whole search without trainings: scheduler, loop, home and bank are real, workers are simulated.

Each of the workers holds a trial and hands it back complete, in turns: its record is written as a
process that trains would write it, and neither its time nor its file operations count. What is left
is the driver's work for a finished trial: choosing, claiming, noting, reading the record, telling
the sampler. Neither Ray nor MLflow take part."""

from __future__ import annotations

import builtins
import io
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from va_search.data.store import Store
from va_search.home import Home
from va_search.search.configurations import Space
from va_search.search.events import Done, Ready
from va_search.search.live import LiveFile
from va_search.search.loop import Loop
from va_search.search.machine import Options
from va_search.search.scheduler import Scheduler, Surroundings
from va_search.search.study import Study, now
from va_search.search.task import Task, TaskMaker
from va_search.trial import Best, Epoch, Trial, TrialState, known_settings

OPERATIONS = (
    *("open", "stat", "lstat", "access", "fsync", "utime", "readlink", "listdir", "scandir"),
    *("mkdir", "rmdir", "unlink", "remove", "rename", "replace", "link", "symlink"),
)
"""Functions of `os` by which Python's own code (pathlib, shutil, tempfile) works on files."""

SHOW_SECONDS = 1.0


@dataclass
class FileOperations:
    """Operations on files by name, since the beginning, but for those `uncounted`."""

    counts: Counter[str] = field(default_factory=Counter)
    counting: bool = True

    @property
    def total(self) -> int:
        return self.counts.total()

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Context whose operations are somebody else's."""
        self.counting = False
        try:
            yield
        finally:
            self.counting = True

    def counted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that counts its calls."""

        def call(*arguments: Any, **options: Any) -> Any:
            if self.counting:
                self.counts[name] += 1
            return function(*arguments, **options)

        return call


@contextmanager
def file_operations() -> Iterator[FileOperations]:
    """Context in which this process's operations on files are counted, as Python's code asks for
    them; those of libraries in C are not."""
    operations = FileOperations()
    with ExitStack() as stack:
        owners: list[tuple[Any, str]] = [(os, name) for name in OPERATIONS]
        for owner, name in [*owners, (builtins, "open"), (io, "open")]:
            function = getattr(owner, name)
            setattr(owner, name, operations.counted(name, function))
            stack.callback(setattr, owner, name, function)
        yield operations


@dataclass(frozen=True)
class Mark:
    """The driver when so many trials were finished: its core-seconds and file operations so far,
    its resident memory in bytes."""

    finished: int
    core_seconds: float
    operations: Counter[str]
    memory: int


def simulate_search(
    folder: Path,
    store: Store,
    space: Space,
    workers: int,
    finished: Callable[[Mark], None],
    *,
    shown: bool = True,
) -> Scheduler:
    """Search a space with so many simulated workers; `finished` hears of the driver after each
    trial. `shown`: progress and the live file are written about once a second, as always."""
    home = Home(folder / "home")
    study = Study(home, "s")
    with file_operations() as operations, study.searching() as searchers:
        study.begin(store, space.document)
        searchers.announce()
        scheduler = Scheduler(study, space, store, surroundings=Surroundings(searchers=searchers))
        options = Options(concurrent=workers)
        tasks = TaskMaker(study, space, store, options, "cpu")
        backend: Any = SimpleNamespace(options=options, tasks=tasks)
        loop = Loop(scheduler, backend, lambda progress: None, None, LiveFile(study))
        scheduler.tell(Ready("CPU", workers, 0.0, 1))
        running: deque[Task] = deque()
        outside, show_at, count = 0.0, 0.0, 0
        while True:
            while len(running) < workers and (task := loop.ask()) is not None:
                running.append(task)
            if not running:
                break
            task, count = running.popleft(), count + 1
            began = time.process_time()
            with operations.uncounted():
                study.bank.write(trained(task, store, count), {})
            outside += time.process_time() - began
            loop.tell(Done(task.trial))
            if shown and time.monotonic() >= show_at:
                show_at = time.monotonic() + SHOW_SECONDS
                loop.show()
            spent = time.process_time() - outside
            finished(Mark(count, spent, operations.counts.copy(), resident()))
        scheduler.claims.release_all()
        scheduler.note_time()
    return scheduler


def trained(task: Task, store: Store, number: int) -> Trial:
    """Return the record of a trial as the process that trained it writes it, with scores of no
    meaning."""
    ccc = (number * 0.61803398875) % 1.0
    settings = dict(task.settings_json)
    best = {name: Best(ccc, 1) for name in (*store.target_names, "score")}
    return Trial(
        study=task.study,
        id=task.trial,
        state=TrialState.COMPLETE,
        settings=known_settings(settings),
        settings_json=settings,
        history_json=[Epoch(1, 0.5, score=ccc).to_json()],
        best=best,
        seconds=1.0,
        finished_at=now(),
        store=store.name,
        data_hash=task.data_hash,
    )


def resident() -> int:
    """This process's resident memory, bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
