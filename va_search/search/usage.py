"""Memory, processor and GPU that the process of a running trial takes.

Conventions: memory is in bytes; None: the system does not say, or there is no GPU. Trials that share
a process (`--fuse-seeds`) share its numbers. No Ray is imported here."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from va_search.search.nvml import gpu_load

STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Usage:
    """What one process takes: resident `memory`, `cores` (1.0: one processor core all the time),
    the GPU's number or identity, the share of the time in which that GPU computes, for whomever,
    and the memory on it that PyTorch holds in this process."""

    memory: int | None = None
    cores: float | None = None
    gpu: str | None = None
    gpu_load: float | None = None
    gpu_memory: int | None = None


class Meter:
    """Measures this process, on its GPU `gpu`: an entry of CUDA_VISIBLE_DEVICES, None on a CPU."""

    def __init__(self, gpu: str | None = None) -> None:
        self._gpu = gpu
        self._measured_at, self._cpu_seconds = time.monotonic(), time.process_time()

    def measure(self) -> Usage:
        """Return the usage now; `cores` is the mean since the measurement before."""
        now, cpu_seconds = time.monotonic(), time.process_time()
        passed = now - self._measured_at
        used = cpu_seconds - self._cpu_seconds
        self._measured_at, self._cpu_seconds = now, cpu_seconds
        return Usage(
            memory=resident_memory(),
            cores=round(used / passed, 2) if passed > 0 else None,
            gpu=self._gpu,
            gpu_load=None if self._gpu is None else gpu_load(self._gpu),
            gpu_memory=None if self._gpu is None else gpu_memory(),
        )


def resident_memory() -> int | None:
    """Return the bytes of this process that are in memory."""
    with suppress(OSError, ValueError, IndexError):
        pages = int(STATM.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return None


def gpu_memory() -> int | None:
    """Return the bytes of GPU memory that PyTorch holds in this process."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.memory_reserved())
