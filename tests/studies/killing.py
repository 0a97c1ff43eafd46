"""Runs a function in a process of its own that is killed (SIGKILL) before its nth change of a
file."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

CHANGES = {"os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"}


def killed_before_change(number: int, action: Callable[[], object]) -> bool:
    """Run `action` in a forked process; True where it was killed before change `number` (from 1),
    False where it ended before. AssertionError where it failed."""
    pid = os.fork()
    if pid == 0:
        changes = [0]

        def count(event: str, arguments: tuple[object, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            if event in CHANGES or writes:
                changes[0] += 1
                if changes[0] == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            sys.addaudithook(count)
            action()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False
