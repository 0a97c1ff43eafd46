"""Frames per second of a trial, and the share of training time outside forward, backward and
optimiser.

    python benchmarks/training.py            every encoder at the demo's size: under a minute
    python benchmarks/training.py --paper    and at the paper's size, a few batches each: some minutes on a CPU

Demo size: 30 recordings of about 500 frames, 100 columns in two modalities, width 64, hidden size
64, 2 layers; the fastest epoch behind the first is printed. Paper size (4.2): 2,048 float16
columns, width 1,024, 4 layers, hidden size 512, segments of 150 frames, batches of 16: two batches,
which are the first and only epoch, so warm-up is in it. Features are random: speed does not depend
on them. One torch thread unless --threads says otherwise."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.targets import affect
from va_search.training.fit import Fit
from va_search.trial import Epoch
from va_search.trial_settings import TrialSettings

ENCODERS = ("lstm", "gru", "transformer", "transformer_lstm")
DEMO: dict[str, Any] = {
    "width": 64, "hidden_size": 64, "layers": 2, "feed_forward": 128, "head_sizes": (64,), "segment_length": 100,
}  # fmt: skip


def random_store(folder: Path, lengths: list[int], columns: int, dtype: str) -> Store:
    """Two thirds of the recordings train, the rest validate; half of the columns are visual, half
    audio."""
    rng = np.random.default_rng(0)
    half = columns // 2
    sets: dict[str, tuple[str, tuple[str, ...]]] = {"face": ("visual", ()), "voice": ("audio", ())}
    splits = ["train" if i < len(lengths) * 2 / 3 else "validation" for i in range(len(lengths))]
    sources = [
        Source(f"r{i}", f"s{i}", f"r{i}", split, None, 30.0, ()) for i, split in enumerate(splits)
    ]
    draft = Draft(folder, Description("random", affect(-1.0, 1.0), sets, dtype=dtype), sources)
    for index, frames in enumerate(lengths):
        face, voice = (rng.standard_normal((frames, half), dtype=np.float32) for _ in range(2))
        draft.add(index, Part({"face": face, "voice": voice}, rng.uniform(-1, 1, (frames, 2))))
    return draft.finish()


def measure(store: Store, encoder: str, epochs: int, device: str, sizes: dict[str, Any]) -> Epoch:
    """The fastest epoch behind the first, or the only one."""
    settings = TrialSettings(features=("face", "voice"), encoder=encoder, epochs=epochs, **sizes)  # type: ignore[arg-type]
    fit = Fit(settings, store, device=device)
    measured = [fit.run_epoch() for _ in range(epochs)]
    return max(measured[1:] or measured, key=lambda epoch: epoch.frames_per_second)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--paper", action="store_true", help="also measure the paper's size")
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    rng = np.random.default_rng(1)
    sizes = [("demo", rng.integers(400, 600, 30).tolist(), 100, "float32", 4, DEMO)]
    if given.paper:
        sizes.append(("paper", [300] * 24, 2048, "float16", 1, {}))
    table = Table(title=f"training on {given.device}, {given.threads} thread(s)")
    for heading in (
        "size",
        "encoder",
        "frames/s",
        "outside forward/backward/optimiser",
        "seconds per epoch",
    ):
        table.add_column(heading, justify="left" if heading in ("size", "encoder") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for name, lengths, columns, dtype, epochs, changes in sizes:
            store = random_store(Path(folder) / name, lengths, columns, dtype)
            for encoder in ENCODERS:
                epoch = measure(store, encoder, epochs, given.device, changes)
                speed, outside = f"{epoch.frames_per_second:,.0f}", f"{epoch.outside_share:.1%}"
                table.add_row(name, encoder, speed, outside, f"{epoch.seconds:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
