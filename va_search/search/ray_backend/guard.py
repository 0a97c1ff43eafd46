"""What is left of a Ray of our own when the process that searches is killed: found, ended, removed.

Runs as a script too: a process of its own, whose standard input ends when the process that searches
does. It imports nothing but the standard library, so that it starts at once."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

ENDING_SECONDS = 3.0
"""How long processes may take to be gone once they were killed."""


def processes_in(folder: Path) -> dict[int, str]:
    """Return the names of the processes of the Ray whose folder this is, by id, whoever their parent is by
    now.

    Each of Ray's processes writes a log file there, which its children inherit. Somebody who only
    reads one, and this process itself, are left out. Empty where the system has no /proc."""
    names = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if int(process.name) != os.getpid() and _writes_in(folder, process):
                names[int(process.name)] = (process / "comm").read_text().strip()
    return names


def _writes_in(folder: Path, process: Path) -> bool:
    """Return True where a process, by its path in /proc, has a file open for writing below a folder."""
    for link in (process / "fd").iterdir():
        if link.readlink().is_relative_to(folder) and link.lstat().st_mode & stat.S_IWUSR:
            return True
    return False


def end_processes(folder: Path) -> None:
    """Kill what is left of the Ray whose folder this is, and wait until it is gone."""
    until = time.monotonic() + ENDING_SECONDS
    while (left := processes_in(folder)) and time.monotonic() < until:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)


def guard(folder: Path, searcher: int) -> None:
    """Wait until the process that searches is gone, then end its Ray and remove the folder.
    `searcher`: its process id."""
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.valid_signals()))
    sys.stdin.buffer.read()
    # A process that ends closes our input before it is gone: killed in between, it would lose its
    # exit code.
    while os.getppid() == searcher:
        time.sleep(0.05)
    end_processes(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))
