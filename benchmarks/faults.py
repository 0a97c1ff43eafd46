"""Faults injected into real searches, at random moments, and what each of them cost.

    python benchmarks/faults.py                            every fault once: half an hour on two quiet cores
    python benchmarks/faults.py --repeats 5 --only store-away,kernel
    python benchmarks/faults.py --list

Each search trains small trials on the tiny simulated store, with a checkpoint after every epoch. At
a random moment after the first trial is complete the fault is injected, and lifted some seconds
later where it can be. A search that it ended is begun again by the same command until it is done.
Printed for each fault: how often it was injected, finished trials that were lost or changed, trials
recorded as failed, how often the messages named the cause, processes that were left, and seconds
(median) from the fault until the search had ended or a trial was completed after it.

Disks of a few megabytes are mounted and control groups made, which needs root (Linux)."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from va_search.data.simulate import simulate
from va_search.files import remove_folder

SPACE = """sampler: grid
settings:
  features: [FEATURES]
  encoder: {choice: [gru, transformer]}
  learning_rate: {choice: [0.001, 0.002, 0.003]}
  width: 8
  layers: 1
  attention_heads: 2
  feed_forward: 8
  hidden_size: 8
  head_sizes: [8]
  segment_length: 50
  epochs: 60
"""
TRIALS = 6

T = TypeVar("T")

MARK = "VA_SEARCH_FAULT"
"""Environment variable by which all processes of a search are found."""

QUOTA_FLAG = "VA_SEARCH_FAULT_QUOTA"
"""Environment variable with the path of a file: while it is there, a quota is used up."""

SITE = f"""
import errno, os
from pathlib import Path
fsync = os.fsync
def limited(file):
    if Path(os.environ["{QUOTA_FLAG}"]).exists():
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    return fsync(file)
os.fsync = limited
"""
"""What Python imports first in each process of a search with a quota: writing fails as on NFS, when
the file is flushed."""

ENDS_IN_SECONDS, WAITS_SECONDS = 600.0, 600.0
HELD_SECONDS = 8.0
"""A fault that can be lifted lasts about so long."""


class Search:
    """The same search again and again on one home, and what it wrote on standard error."""

    def __init__(self, folder: Path, store: Path, environment: Mapping[str, str]) -> None:
        self.folder, self.store, self.home = folder, store, folder / "home"
        self.mark = uuid.uuid4().hex
        self.errors = folder / "errors.txt"
        self._output = folder / "output.json"
        self._space = folder / "space.yaml"
        features = sorted(path.stem for path in (store / "features").glob("*.arrow"))[0]
        self._space.write_text(SPACE.replace("FEATURES", features))
        self._environment = dict(environment)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, undisturbed: bool = False) -> None:
        """Begin, or go on; `undisturbed`: without what the fault put into the environment."""
        extra = {} if undisturbed else self._environment
        command = [sys.executable, "-m", "va_search.cli.main", "search", str(self._space)]
        command += ["--data", str(self.store), "--study", "s", "--home", str(self.home), "--json"]
        command += ["--concurrent", "2", "--checkpoint-seconds", "0", "--patience", "3"]
        with open(self._output, "wb") as output, open(self.errors, "ab") as errors:
            self.process = subprocess.Popen(  # noqa: S603 (our own command)
                command,
                stdout=output,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, **extra, MARK: self.mark},
            )

    @property
    def is_over(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None

    def wait(self) -> int:
        """Wait for the end; the exit code, minus the signal that killed it."""
        assert self.process is not None
        return self.process.wait(ENDS_IN_SECONDS)

    def complete(self) -> dict[str, bytes]:
        """Records of the complete trials by id."""
        records = {}
        for path in self.home.glob("bank/s/*/trial.json"):
            with suppress(FileNotFoundError):
                records[path.parent.name] = path.read_bytes()
        return records

    def charged(self) -> int:
        """Trials recorded as failed."""
        return len(list(self.home.glob("studies/s/failures/*.json")))

    def processes(self, title: str = "") -> list[int]:
        """Ids of the living processes of this search, its own among them, whose title begins so."""
        marked = f"{MARK}={self.mark}".encode()
        living = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                is_ours = marked in (folder / "environ").read_bytes() and state not in "ZX"
                if is_ours and (folder / "cmdline").read_bytes().startswith(title.encode()):
                    living.append(int(folder.name))
        return living

    def summary(self) -> dict[str, object]:
        """The last run's summary."""
        return dict(json.loads(self._output.read_text() or "{}"))


def kill_worker(search: Search) -> None:
    """Kill a process that trains, as a person would."""
    os.kill(random.choice(_workers(search)), signal.SIGKILL)  # noqa: S311


def kill_worker_by_kernel(search: Search) -> None:
    """Leave a process that trains so little memory that the kernel kills it."""
    worker = random.choice(_workers(search))  # noqa: S311
    group = Path(f"/sys/fs/cgroup/memory/va-fault-{os.getpid()}-{worker}")
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(2**20))
    (group / "cgroup.procs").write_text(str(worker))
    wait_until(lambda: not (group / "cgroup.procs").read_text().strip() or search.is_over, 60)
    with suppress(OSError):
        group.rmdir()


def _workers(search: Search) -> list[int]:
    return wait_until(lambda: search.processes("ray::ResourceTrainable"), WAITS_SECONDS)


def move_store(search: Search) -> None:
    """Take the store away, and bring it back after some seconds."""
    away = search.store.with_name("away")
    search.store.rename(away)
    hold()
    away.rename(search.store)


def move_home(search: Search) -> None:
    """Take the home away, and bring it back after some seconds."""
    away = search.home.with_name("home-away")
    search.home.rename(away)
    hold()
    remove_folder(search.home)  # what was written meanwhile is in the way
    away.rename(search.home)


def fill_disk(search: Search) -> None:
    """Shrink the disk of the bank to what is on it, and enlarge it after some seconds."""
    bank = str(search.home / "bank")
    disk = os.statvfs(bank)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    run("mount", "-o", f"remount,size={used + 8192}", bank)
    hold()
    run("mount", "-o", "remount,size=100m", bank)


def use_up_quota(search: Search) -> None:
    """Have every write below a home answer EDQUOT for some seconds."""
    flag = search.folder / "quota"
    flag.touch()
    hold()
    flag.unlink()


def run(*words: str) -> None:
    """Run a command of the system."""
    subprocess.run(words, check=True)  # noqa: S603


def do_nothing(search: Search) -> None:
    """The fault was there from the beginning."""


def hold() -> None:
    """Let a fault last."""
    time.sleep(HELD_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311


def to_driver(number: int) -> Callable[[Search], None]:
    def send(search: Search) -> None:
        assert search.process is not None
        os.kill(search.process.pid, number)

    return send


def to_job(number: int) -> Callable[[Search], None]:
    def send(search: Search) -> None:
        assert search.process is not None
        os.killpg(search.process.pid, number)

    return send


def to_tree(number: int) -> Callable[[Search], None]:
    def send(search: Search) -> None:
        for process in search.processes():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    return send


def small_disk(search: Search) -> None:
    """A bank on a disk of its own."""
    bank = search.home / "bank"
    bank.mkdir(parents=True)
    run("mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(bank))


def no_artifacts(search: Search) -> None:
    """A home where MLflow's artifacts can't be written: a file is in the place of their folder."""
    search.home.mkdir(parents=True)
    (search.home / "mlflow-artifacts").write_text("")


def nothing_before(search: Search) -> None:
    """No fault needs anything prepared, but for a few."""


@dataclass(frozen=True)
class Fault:
    """`inject` does it, at a random moment; `name`: what the messages must say; `before`: what is
    prepared; `environment` of the search as long as it is disturbed. `at_once`: it works from the
    beginning, so no trial has to be complete before."""

    inject: Callable[[Search], None]
    name: str
    before: Callable[[Search], None] = nothing_before
    environment: Mapping[str, str] = field(default_factory=dict)
    at_once: bool = False


MONITOR = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
QUOTA = {QUOTA_FLAG: "{folder}/quota", "PYTHONPATH": "{folder}/site:{path}"}

FAULTS = {
    "killed by hand": Fault(kill_worker, "was killed .*by hand"),
    "killed by the kernel": Fault(kill_worker_by_kernel, "killed by the kernel"),
    "killed by Ray's memory monitor": Fault(
        do_nothing, "memory monitor", environment=MONITOR, at_once=True
    ),
    "store away and back": Fault(move_store, "paused: .*can't be opened"),
    "home away and back": Fault(move_home, "paused: .*(not there any more|No such file)"),
    "disk full and freed": Fault(fill_disk, "paused: .*no space left", before=small_disk),
    "quota used up and raised": Fault(use_up_quota, "paused: .*quota", environment=QUOTA),
    "MLflow's artifacts unwritable": Fault(do_nothing, "no artifacts", before=no_artifacts),
    "TERM to all (scancel)": Fault(to_tree(signal.SIGTERM), "interrupted by SIGTERM"),
    "USR1 to all": Fault(to_tree(signal.SIGUSR1), "interrupted by SIGUSR1"),
    "KILL to all": Fault(to_tree(signal.SIGKILL), ""),
    "TERM to the search": Fault(to_driver(signal.SIGTERM), "interrupted by SIGTERM"),
    "USR1 to the search": Fault(to_driver(signal.SIGUSR1), "interrupted by SIGUSR1"),
    "KILL to the search": Fault(to_driver(signal.SIGKILL), ""),
    "TERM to its process group": Fault(to_job(signal.SIGTERM), "interrupted by SIGTERM"),
    "USR1 to its process group": Fault(to_job(signal.SIGUSR1), "interrupted by SIGUSR1"),
    "KILL to its process group": Fault(to_job(signal.SIGKILL), ""),
}


@dataclass
class Damage:
    """What one fault cost."""

    lost: int
    charged: int
    named: bool
    left: int
    seconds: float
    done: bool


def wait_until(look: Callable[[], T], seconds: float) -> T:
    """Look until there is something, and return it; TimeoutError after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    raise TimeoutError("it did not happen in time")


def injected(fault: Fault, folder: Path) -> Damage:
    """Inject a fault into a new search, bring that to its end, and count."""
    store = simulate(folder / "store", size="tiny", hidden=None).path
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SITE)
    words = {"folder": str(folder), "path": os.environ.get("PYTHONPATH", "")}
    environment = {name: text.format(**words) for name, text in fault.environment.items()}
    search = Search(folder, store, environment)
    fault.before(search)
    try:
        return _damage(fault, search)
    finally:
        for process in search.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        if os.path.ismount(search.home / "bank"):
            run("umount", "-l", str(search.home / "bank"))


def _damage(fault: Fault, search: Search) -> Damage:
    search.start()
    if not fault.at_once:
        _wait_for_trial(search)
        time.sleep(random.uniform(0.0, 3.0))  # noqa: S311
    before = search.complete()
    began = time.monotonic()
    fault.inject(search)
    during = len(search.complete())
    wait_until(lambda: search.is_over or len(search.complete()) > during, ENDS_IN_SECONDS)
    seconds = time.monotonic() - began
    search.wait()
    with suppress(TimeoutError):  # a killed search's guard needs a moment
        wait_until(lambda: not search.processes(), 10.0)
    left = len(search.processes())
    charged = search.charged()
    text = search.errors.read_text(errors="replace")
    for _ in range(3):
        if len(search.complete()) == TRIALS:
            break
        search.start(undisturbed=True)
        search.wait()
    after = search.complete()
    lost = sum(after.get(trial) != record for trial, record in before.items())
    named = re.search(fault.name, text.replace("\n", " ")) is not None
    if charged or lost or not named:  # whoever reads the table wants to know why
        print(f"the search printed:\n{text}", file=sys.stderr)
    return Damage(lost, charged, named, left, seconds, len(after) == TRIALS)


def _wait_for_trial(search: Search) -> None:
    """Wait for the first complete trial; on a machine so busy that Ray does not start, again."""
    until = time.monotonic() + WAITS_SECONDS
    while time.monotonic() < until and not search.complete():
        if search.is_over:
            search.start()
        time.sleep(0.1)


def main() -> None:
    """Inject, count, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", help="names of faults, or parts of them, with commas between")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    parts = (arguments.only or "").split(",")
    chosen = {name: fault for name, fault in FAULTS.items() if any(part in name for part in parts)}
    if arguments.list:
        print("\n".join(chosen))
        return
    random.seed(arguments.seed)
    table = Table("fault", "injected", "lost", "charged", "named", "left", "done", "seconds")
    console = Console()
    for name, fault in chosen.items():
        damages = []
        for _ in range(arguments.repeats):
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                damages.append(injected(fault, Path(folder)))
        number = len(damages)
        named = f"{sum(damage.named for damage in damages)} of {number}" if fault.name else "–"
        row = [
            name,
            str(number),
            str(sum(damage.lost for damage in damages)),
            str(sum(damage.charged for damage in damages)),
            named,
            str(sum(damage.left for damage in damages)),
            f"{sum(damage.done for damage in damages)} of {number}",
            f"{statistics.median(damage.seconds for damage in damages):.0f}",
        ]
        table.add_row(*row)
        console.print(" | ".join(row), soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
