"""What making a batch's inputs costs beside the plain way: core-nanoseconds for each value of its
frames, and memory.

    python benchmarks/gathering.py [--store STORE]      a minute; without a store, a simulated one

Of a store's features (float16, normalised per recording, clipped) batches of 32 segments of 100
steps are made, at 1 and at 6 frames a step. Sides, alternating, the least of `--rounds`:

    plain    NumPy on the whole batch: take rows, shift, scale, clip, mean over each step's frames
    at once  `Gather` on the whole batch
    ours     `Gather`, a few segments at a time

Inputs of both `Gather`s must have the same bits, and be those of the plain way but for rounding;
otherwise the exit code is 1. Memory is what a side holds for a batch: its frames and its inputs in
float32."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.normalise import Normalisation
from va_search.data.segments import Ranges, padded
from va_search.data.simulate_affwild2 import simulate_affwild2
from va_search.data.store import Store
from va_search.training import features
from va_search.training.batches import Steps
from va_search.training.features import Gather, in_order

ROWS, STEPS, BATCHES = 32, 100, 6
CLIP = 5.0
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """One number of frames a step: the store's batches, the same for every side."""

    store: Store
    statistics: Normalisation
    steps: Steps
    batches: list[Ranges]
    frame_step: int

    @property
    def values(self) -> int:
        """Values of the frames that are in all batches, padding with them."""
        positions = sum(padded(batch)[0].size for batch in self.batches)
        return int(positions * self.frame_step * self.statistics.shift.shape[1])

    def gather(self) -> Gather:
        sets = in_order(list(self.store.feature_sets.values()))
        cpu = torch.device("cpu")
        return Gather(
            self.store, sets, self.statistics, frame_step=self.frame_step, clip=CLIP, device=cpu
        )


def job_of(store: Store, frame_step: int) -> Job:
    """The first batches of the training recordings; shifts and scales are made up, by recording."""
    recordings = store.split("train")
    columns = sum(feature_set.dim for feature_set in store.feature_sets.values())
    random = np.random.default_rng(0)
    shift = random.normal(0, 0.1, (len(recordings), columns)).astype(np.float32)
    scale = random.uniform(0.8, 1.2, shift.shape).astype(np.float32)
    group = {recording.name: row for row, recording in enumerate(recordings)}
    steps = Steps.of(store, recordings, frame_step, group)
    segments, _ = steps.segments(STEPS, STEPS)
    batches = [segments[start : start + ROWS] for start in range(0, BATCHES * ROWS, ROWS)]
    batches = [batch for batch in batches if len(batch)]
    return Job(store, Normalisation(shift, scale, group), steps, batches, frame_step)


def plain(job: Job, batch: Ranges) -> Values:
    """(row, step, feature) of a batch, in NumPy."""
    position, mask = padded(batch)
    count = job.steps.count[position]
    within = np.minimum(np.arange(job.frame_step), count[..., None] - 1)
    frame = job.steps.frame[position][..., None] + within  # (row, step, frame)
    row = job.steps.row[position[:, 0]]
    sets = in_order(list(job.store.feature_sets.values()))
    parts = [job.store.features(feature_set.name)[frame] for feature_set in sets]
    x = np.concatenate(parts, axis=-1).astype(np.float32)
    x -= job.statistics.shift[row][:, None, None]
    x *= job.statistics.scale[row][:, None, None]
    np.clip(x, -CLIP, CLIP, out=x)
    real = np.arange(job.frame_step) < count[..., None]
    means: Values = x.sum(axis=2, where=real[..., None]) / count[..., None].astype(np.float32)
    means[~mask] = 0
    return means


def measure(job: Job, rounds: int) -> bool:
    """Print a row a side; return whether all sides make the same inputs."""
    gathers = {"at once": job.gather(), "ours": job.gather()}
    limits = {"at once": 2**62, "ours": features.AT_ONCE}

    def by(side: str) -> Callable[[Ranges], Values]:
        def inputs(batch: Ranges) -> Values:
            features.AT_ONCE = limits[side]
            return gathers[side].inputs(job.steps, batch).x.numpy()

        return inputs

    sides = {"plain": lambda batch: plain(job, batch), "at once": by("at once"), "ours": by("ours")}
    spent: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, inputs in sides.items():
            began = time.process_time()
            for batch in job.batches:
                inputs(batch)
            spent[side].append(time.process_time() - began)
    frames = max(padded(batch)[0].size for batch in job.batches) * job.frame_step
    whole = 4 * frames * job.statistics.shift.shape[1]
    held = {"plain": whole + whole // job.frame_step}
    for side, gather in gathers.items():
        held[side] = 4 * (gather._frames._memory.numel() + gather._inputs._memory.numel())
    held["at once"] += whole // job.frame_step if job.frame_step > 1 else 0
    for side, seconds in spent.items():
        cells = [f"{min(seconds) / job.values * 1e9:.2f}", f"{held[side] / 1e6:.0f}"]
        print(f"| {job.frame_step} | {side} | " + " | ".join(cells) + " |", flush=True)
    agree = True
    for batch in job.batches:
        at_once, ours = sides["at once"](batch).copy(), sides["ours"](batch).copy()
        agree &= np.array_equal(at_once, ours)
        agree &= np.allclose(ours, plain(job, batch), rtol=0, atol=1e-5)
    features.AT_ONCE = limits["ours"]
    return agree


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    features.LAID_OUT = 0  # a small store would be laid out whole
    with tempfile.TemporaryDirectory() as folder:
        if options.store is None:
            store = simulate_affwild2(Path(folder) / "store", scale=0.02)
        else:
            store = Store.open(options.store)
        print("| frames a step | side | core-ns a value | MB of a batch |\n|---|---|---|---|")
        agree = [measure(job_of(store, frame_step), options.rounds) for frame_step in (1, 6)]
    if not all(agree):
        raise SystemExit("the sides make different inputs")


if __name__ == "__main__":
    main()
