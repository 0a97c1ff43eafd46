"""GPUs that fail one training after another, and are left out of a search.

Conventions: a GPU is named by its node and the entry of CUDA_VISIBLE_DEVICES that stands for it
there. Ray gives a GPU to whoever asks next, and takes no word against one. So the actor that comes to
a GPU that is left out hands its trial back and holds the GPU, doing nothing, until the search ends.
"""

from __future__ import annotations

import socket
from collections import Counter

from va_search.search.gpus import gpu_of_this_process

SICK_AFTER = 2
"""So many failures of one GPU in a row, and it is left out: before as many as pause a study."""


def gpu_here() -> str | None:
    """Return the name of this process's GPU, on this node; None on a CPU."""
    entry = gpu_of_this_process()
    return None if entry is None else f"{socket.gethostname()} {entry}"


class SickGpus:
    """Counts failures by GPU; `left_out` is what the tasks to come are told. A GPU bears
    `trials_each` trials at a time."""

    def __init__(self, gpus_per_trial: float) -> None:
        self.left_out: list[str] = []
        self._failures: Counter[str] = Counter()
        self._trials_each = max(1, int(1 / gpus_per_trial)) if gpus_per_trial else 1

    def works(self, gpu: str) -> None:
        """Note that a training ended on a GPU as it should."""
        self._failures.pop(gpu, None)

    def failed(self, gpu: str, concurrent: int) -> bool:
        """Note a failure; True where the GPU is left out from now on. The last one never is, of those
        that bear `concurrent` trials at a time."""
        self._failures[gpu] += 1
        left = concurrent - self._trials_each * (len(self.left_out) + 1)
        if self._failures[gpu] < SICK_AFTER or gpu in self.left_out or left < 1:
            return False
        self.left_out.append(gpu)
        return True
