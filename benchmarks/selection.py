"""Selection at the size the tool is made for, each figure beside its goal, in one run.

    python benchmarks/selection.py              1,000 trials × 384,000 frames × 2 targets, and 20,000 trials; 4 GB of disk
    python benchmarks/selection.py --quick      a tenth of it
    python benchmarks/selection.py --folder DIR  keep the world in DIR, and use it again

Real files of a store and a bank (as in ensemble_shell.py), and the command itself. Seconds are of the
processor, user and system. "reading" sums every byte of the mapped predictions in float32; "the pass" is
`measure_members` on the very same columns, in turns with it, the least of three each. Cold: no statistics
are kept yet, the trials' seals are verified and the files are in memory. Warm: the same command
again. "beyond mapped files" is the peak of memory that is no file's (anonymous pages), looked at
every few milliseconds. The trials of `--compare` are warm. 20,000 trials are of few frames: what is
measured is that nothing is refused, and the memory."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from ensemble_shell import fill_bank, make_store
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from va_search.data.store import Store, frames_hash, positions
from va_search.ensemble.measure import MemberFrames, measure_members
from va_search.home import Home
from va_search.predictions.bank import Bank

CONSOLE = Console(width=110)
TRIALS, RECORDINGS, FRAMES = 1000, 300, 1280
MANY, MANY_RECORDINGS, MANY_FRAMES = 20_000, 30, 40
LOOK = 0.005
"""Seconds between two looks at the memory."""


def main() -> None:
    """Print the table of figures and goals."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="A tenth of the trials.")
    parser.add_argument("--folder", type=Path, help="Where the world is kept (default: nowhere).")
    parser.add_argument("--no-many", action="store_true", help="Without the 20,000 trials.")
    parser.add_argument("--no-compare", action="store_true", help="Without --compare.")
    options = parser.parse_args()
    shrink = 10 if options.quick else 1
    table = Table(title=f"selection, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for heading in ("step", "CPU s", "GiB beyond mapped files", "goal"):
        table.add_column(heading, justify="left" if heading in ("step", "goal") else "right")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        os.environ["VA_SEARCH_CACHE"] = str(folder / "cache")
        home = _world(folder / "world", TRIALS // shrink, RECORDINGS, FRAMES)
        _add_pass(table, home)
        _add_commands(table, home, with_compare=not options.no_compare)
        if not options.no_many:
            many = _world(folder / "many", MANY // shrink, MANY_RECORDINGS, MANY_FRAMES)
            seconds, peak = _command(many, "--name", "cold")
            goal = "not refused"
            table.add_row(f"{MANY // shrink:,} trials, cold", f"{seconds:.2f}", f"{peak:.2f}", goal)
    CONSOLE.print(table)


def _world(folder: Path, trials: int, recordings: int, frames: int) -> Home:
    """A home with a study `many`, made unless it is there."""
    home = Home(folder / "home")
    if not (folder / "made").exists():
        CONSOLE.print(f"making {trials:,} trials × {recordings * frames:,} frames …")
        fill_bank(home, make_store(folder / "store", recordings, frames), trials)
        (folder / "made").touch()
    return home


def _add_pass(table: Table, home: Home) -> None:
    """Reading and summing every byte, and the pass over the same columns."""
    bank = Bank(home.bank)
    trials = bank.trials("many")
    store = Store.open(bank.trial("many", trials[0]).store_path or "")
    recordings = store.split("validation")
    annotations = store.annotations[positions(recordings)]
    frames = frames_hash(recordings)
    opened = [bank.columns("many", trial, "validation", frames_hash=frames) for trial in trials]
    reading: list[float] = []
    passing: list[float] = []
    for _ in range(3):
        begin = time.process_time()
        for columns in opened:
            for values in columns.values():
                float(values.sum(dtype=np.float32))
        reading.append(time.process_time() - begin)
        begin = time.process_time()
        for index, target in enumerate(store.target_names):
            of_target = [columns[target] for columns in opened]
            _pass(of_target, np.ascontiguousarray(annotations[:, index]), recordings, trials)
        passing.append(time.process_time() - begin)
    least, of_pass = min(reading), min(passing)
    table.add_row("reading and summing every byte", f"{least:.2f}", "", "the floor")
    share = f"{100 * least / of_pass:.0f} % of reading's speed"
    table.add_row(f"the pass: {share}", f"{of_pass:.2f}", "", "≥ 60 %")


def _pass(
    columns: list[NDArray[np.float32]],
    annotation: NDArray[np.float32],
    recordings: tuple[object, ...],
    names: list[str],
) -> None:
    pairs = [(recording.name, recording.frames) for recording in recordings]  # type: ignore[attr-defined]
    measure_members(MemberFrames(columns.__getitem__, annotation, pairs), names)


def _add_commands(table: Table, home: Home, *, with_compare: bool) -> None:
    """The default recipe cold and warm, and all recipes compared."""
    _command(home, "--name", "verifies")  # the seals, once for all
    shutil.rmtree(home.study("many") / "statistics", ignore_errors=True)
    seconds, peak = _command(home, "--name", "cold")
    table.add_row("ensemble, cold", f"{seconds:.2f}", f"{peak:.2f}", "≤ 3 s, ≤ .5 GB")
    seconds, peak = _command(home, "--name", "cold")
    table.add_row("ensemble, warm", f"{seconds:.2f}", f"{peak:.2f}", "< 1 s")
    if with_compare:
        seconds, peak = _command(home, "--compare")
        table.add_row("--compare, the first time", f"{seconds:.2f}", f"{peak:.2f}", "")
        seconds, peak = _command(home, "--compare")
        table.add_row("--compare, warm", f"{seconds:.2f}", f"{peak:.2f}", "≤ 10 s")


def _command(home: Home, *options: str) -> tuple[float, float]:
    """CPU seconds of `va-search ensemble many`, and its peak of anonymous memory in GiB."""
    command = [sys.executable, "-m", "va_search", "ensemble", "many", *options, "--force"]
    if "--name" in options:
        command.append("--no-tracking")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S603
            [*command, "--home", str(home.root)], stdout=output, stderr=subprocess.STDOUT
        )
        peak = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            peak = max(peak, _anonymous(process.pid))
            time.sleep(LOOK)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read().decode()}")
    return usage.ru_utime + usage.ru_stime, peak / 2**20


def _anonymous(pid: int) -> int:
    """KiB of a process's pages that are no file's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


if __name__ == "__main__":
    main()
