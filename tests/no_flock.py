"""Run Python code where the kernel answers every `flock` with an error, as file systems without
such locks do."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
import subprocess
import sys
from typing import Any

FLOCK = {"x86_64": 73, "aarch64": 32}
"""Number of the system call `flock` by machine."""

CAN_REFUSE = sys.platform == "linux" and platform.machine() in FLOCK


def start_without_flock(
    code: str, error: int = errno.ENOLCK, **options: Any
) -> subprocess.Popen[str]:
    """A Python process that runs `code`, and in which `flock` fails with `error`."""
    return subprocess.Popen(
        [sys.executable, __file__, str(error), code],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def _refuse_flock(error: int) -> None:
    """Install a seccomp filter in this process: load the call's number, compare, return the error
    or allow."""
    instructions = [
        (0x20, 0, 0, 0),  # load the number of the system call
        (
            0x15,
            0,
            1,
            FLOCK[platform.machine()],
        ),  # is it flock? then go on, else pass over one instruction
        (0x06, 0, 0, 0x00050000 | error),  # return SECCOMP_RET_ERRNO with the error
        (0x06, 0, 0, 0x7FFF0000),  # return SECCOMP_RET_ALLOW
    ]
    program = ctypes.create_string_buffer(
        b"".join(struct.pack("HBBI", *one) for one in instructions)
    )
    description = struct.pack("HxxxxxxP", len(instructions), ctypes.addressof(program))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, seccomp_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(seccomp, seccomp_filter, description, 0, 0) == 0, ctypes.get_errno()


if __name__ == "__main__":
    _refuse_flock(int(sys.argv[1]))
    exec(sys.argv[2], {"__name__": "__main__"})
