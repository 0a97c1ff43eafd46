"""What a process and all it started take of the machine: core-seconds and memory, read from /proc
(Linux only).

Memory is proportional set size (PSS): a page that n processes map counts 1/n in each, so a sum over
processes counts every page once. Anonymous pages are a process's own; file pages are mapped from
files, such as a store's features."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
EACH, SHARE = 0.25, 50.0
"""Seconds between looks at the processes; memory at most so seldom that looking takes 1 / SHARE of
one core."""


@dataclass(frozen=True)
class Taken:
    """Of a command and everything it started: wall seconds, when it began (time.time()),
    core-seconds, peak PSS, and `own`: peak of anonymous pages and shared memory."""

    began: float
    seconds: float
    core_seconds: float
    peak: float  # bytes
    own: float = 0.0  # bytes

    @property
    def ended(self) -> float:
        return self.began + self.seconds


def parse_rollup(text: str) -> dict[str, int]:
    """The sizes in a smaps_rollup file by name (Pss, Pss_Anon, Pss_File …), in bytes."""
    rows = (line.split() for line in text.splitlines())
    return {row[0][:-1]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def parse_mapped(text: str, folder: str) -> int:
    """PSS in bytes of all mappings of files below `folder`, from a smaps file."""
    total, inside = 0, False
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if not words[0].endswith(":"):  # address perms offset device inode path
            inside = len(words) == 6 and words[5].startswith(folder.rstrip("/") + "/")
        elif inside and words[0] == "Pss:":
            total += int(words[1]) * 1024
    return total


def parse_stat(text: str) -> tuple[int, int, float]:
    """(parent, start in ticks since boot, core-seconds) of a process's stat file; its name may hold
    anything."""
    words = text.rpartition(")")[2].split()
    return int(words[1]), int(words[19]), (int(words[11]) + int(words[12])) / TICKS


def memory(pid: int) -> dict[str, int]:
    """`parse_rollup` of a process; empty when it has ended."""
    with contextlib.suppress(OSError):
        return parse_rollup(Path(f"/proc/{pid}/smaps_rollup").read_text())
    return {}


@dataclass
class Tree:
    """A process and its descendants, those too whose parent has ended since they were seen
    first."""

    root: int
    core_seconds: dict[tuple[int, int], float] = field(default_factory=dict)
    """By process: pid and start, since pids are used again."""

    def look(self) -> list[int]:
        """The pids alive now; their core-seconds are noted, so what ends between two looks is
        lost."""
        found: dict[int, tuple[int, int, float]] = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                with contextlib.suppress(OSError):
                    found[int(path.name)] = parse_stat((path / "stat").read_text())
        inside = {
            pid
            for pid, (_, start, _) in found.items()
            if pid == self.root or (pid, start) in self.core_seconds
        }
        while more := {
            pid for pid, (parent, _, _) in found.items() if parent in inside and pid not in inside
        }:
            inside |= more
        for pid in inside:
            _, start, spent = found[pid]
            self.core_seconds[pid, start] = spent
        return sorted(inside)

    def end(self) -> None:
        """Kill what is left of it."""
        for pid in self.look():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def watch(command: Sequence[str], environment: dict[str, str], log: Path) -> Taken:
    """Run a command to its end, its output in `log`; SystemExit with the log's end when it
    fails."""
    began, peak, own, next_memory = time.time(), 0.0, 0.0, 0.0
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603
            command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL
        )
    tree = Tree(process.pid)
    try:
        while process.poll() is None:
            pids, now = tree.look(), time.perf_counter()
            if now >= next_memory:
                sizes = [memory(pid) for pid in pids]
                peak = max(peak, sum(size.get("Pss", 0) for size in sizes))
                held = (size.get("Pss_Anon", 0) + size.get("Pss_Shmem", 0) for size in sizes)
                own = max(own, sum(held))
                next_memory = time.perf_counter() + (time.perf_counter() - now) * SHARE
            time.sleep(EACH)
        seconds = time.time() - began
    finally:
        tree.end()
        process.wait()
    if process.returncode:
        end = log.read_text(errors="replace")[-3000:]
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}\n{end}")
    return Taken(began, seconds, sum(tree.core_seconds.values()), peak, own)
