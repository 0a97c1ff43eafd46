"""Where a trial's random numbers come from: its seed and the epoch's number, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(device: torch.device, seed: int, epoch: int) -> Iterator[None]:
    """torch's global generators at a state that only the seed and epoch decide; as before
    afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(epoch_seed(seed, epoch))
        yield


def epoch_seed(seed: int, epoch: int) -> int:
    """63 bits that stand for a trial's seed and an epoch; epoch 0 is the model's initialisation."""
    return int(
        np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> np.uint64(1)
    )
