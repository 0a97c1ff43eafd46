"""Frames per second of a trial, and the share of training time outside forward, backward and
optimiser.

    python benchmarks/training.py            every encoder at the demo's size: under a minute
    python benchmarks/training.py --data S   and on the store S, at the sizes of search_spaces/any.yaml
    python benchmarks/training.py --trials S whole trials of any.yaml on S beside the LSTM trial that it had at first
    python benchmarks/training.py --paper    and at the paper's size, a few batches each: some minutes on a CPU

Demo size: 30 recordings of about 500 frames, 100 columns in two modalities, width 64, hidden size
64, 2 layers; the fastest epoch behind the first is printed. The encoders take turns, epoch by epoch,
and core-seconds (of this process, validation included) are the figure to compare: other work on the
machine slows the clock's seconds more than it slows them. On a store: fold 0, all features, 4
frames a step, width 64, hidden size 64, 2 layers. Paper size (4.2): 2,048 float16 columns, width
1,024, 4 layers, hidden size 512, segments of 150 frames, batches of 16: two batches, which are the
first and only epoch, so warm-up is in it. The ceiling is the frames per core-second of the layers'
matrix products alone: forward and both of backward, of a batch's rows with each of the model's
weight matrices, in float32, timed in the same run (attention's products of steps with steps,
activations, norms, dropout and losses are not in it); the share is what a trial reaches of it.
Random features where no store is given: speed does not depend on them. One torch thread unless
--threads says otherwise."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Store
from va_search.models.menu import ENCODERS
from va_search.targets import affect
from va_search.training.fit import Fit
from va_search.trial import Epoch
from va_search.trial_settings import TrialSettings

DEMO: dict[str, Any] = {
    "width": 64, "hidden_size": 64, "layers": 2, "feed_forward": 128, "head_sizes": (64,), "segment_length": 100,
}  # fmt: skip
ANY: dict[str, Any] = {
    **DEMO, "fold": 0, "frame_step": 4, "normalise": "subject", "normalise_by": "median_mad", "clip": 5.0,
}  # fmt: skip

FORMER: dict[str, Any] = {
    "encoder": "lstm", "normalise": "subject", "normalise_by": "median_mad", "clip": 5, "rate": 5, "epochs": 20,
    "segment_length": 100, "width": 64, "hidden_size": 64, "head_sizes": [64], "schedule": "cosine",
}  # fmt: skip
"""An LSTM trial of any.yaml as it was before its techniques were measured; `rate`: steps a second."""
TODAY: dict[str, Any] = {
    **FORMER, "normalise": ["subject", "recording"], "context": "recording", "segment_length": 500, "epochs": 12,
    "keep": "mean_last_5", "layers": 2,
}  # fmt: skip
TRIALS: dict[str, dict[str, Any]] = {
    "the former LSTM, 20 epochs": FORMER,
    "lstm, 2 steps a second": {**TODAY, "rate": 2},
    "mlp, 2 steps a second": {**TODAY, "rate": 2, "encoder": "mlp"},
    "mlp, 1 step a second": {**TODAY, "rate": 1, "encoder": "mlp"},
    "tcn, 2 steps a second": {**TODAY, "rate": 2, "encoder": "tcn"},
    "tcn, 1 step a second": {**TODAY, "rate": 1, "encoder": "tcn"},
}


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


@dataclass(frozen=True)
class Measured:
    """An epoch, the processor's time it took, in seconds of one core, and the frames per
    core-second of its matrix products alone."""

    epoch: Epoch
    core_seconds: float
    ceiling: float

    @property
    def frames_per_core_second(self) -> float:
        """Frames that were trained in a core-second of training."""
        return self.epoch.frames_per_second * self.epoch.seconds / self.core_seconds


def ceiling(fit: Fit) -> float:
    """Return frames per core-second, were training nothing but the products of a batch's rows with
    the model's weight matrices: one forward, two backward."""
    settings = fit.settings
    rows = settings.batch_size * (settings.segment_length or 1)
    device = fit.device
    seconds = 0.0
    for weight in fit.model.parameters():
        if weight.dim() != 2:
            continue
        outputs, inputs = weight.shape
        x = torch.randn(rows, inputs, device=device)
        gradient = torch.randn(rows, outputs, device=device)
        runs: list[float] = []
        for _ in range(3):
            began = process_time()
            x @ weight.detach().T
            gradient @ weight.detach()
            gradient.T @ x
            runs.append(process_time() - began)
        seconds += min(runs)
    return rows * settings.frame_step / seconds


def measure(store: Store, epochs: int, device: str, sizes: dict[str, Any]) -> dict[str, Measured]:
    """Each encoder's epoch of fewest core-seconds behind the first, or its only one."""
    features = tuple(store.feature_sets)
    fits: dict[str, Fit] = {}
    fastest: dict[str, Measured] = {}
    for number in range(epochs):
        for encoder in ENCODERS:
            fit = fits.pop(encoder, None)
            if fit is None:
                settings = TrialSettings(features=features, encoder=encoder, epochs=epochs, **sizes)
                fit = Fit(settings, store, device=device)
            began = process_time()
            epoch = fit.run_epoch()
            core_seconds = process_time() - began
            measured = Measured(epoch, core_seconds, ceiling(fit))
            if number + 1 < epochs:
                fits[encoder] = fit  # the models of a single epoch would fill the memory
            if number < 2 or measured.core_seconds < fastest[encoder].core_seconds:
                fastest[encoder] = measured
    return fastest


def print_trials(store: Store) -> None:
    """Print the core-seconds of whole trials, the faster of two runs each."""
    rate = max(recording.frames_per_second for recording in store.recordings)
    table = Table(
        "trial", "core-seconds", "of the former LSTM", title=f"whole trials on {store.name}"
    )
    former = 0.0
    for name, trial in TRIALS.items():
        settings = {**trial, "frame_step": max(1, round(rate / trial["rate"]))}
        del settings["rate"]
        runs: list[float] = []
        for _ in range(2):
            began = process_time()
            fit = Fit(TrialSettings(features=tuple(store.feature_sets), fold=0, **settings), store)
            while not fit.finished:
                fit.run_epoch()
            runs.append(process_time() - began)
        former = former or min(runs)
        table.add_row(name, f"{min(runs):.2f}", f"{min(runs) / former:.2f}")
    Console(width=100).print(table)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--data", type=Path, help="also measure on this store")
    arguments.add_argument("--trials", type=Path, help="whole trials on this store, nothing else")
    arguments.add_argument("--paper", action="store_true", help="also measure the paper's size")
    arguments.add_argument("--device", default="cpu", help="cpu or cuda")
    arguments.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    if given.trials:
        print_trials(Store.open(given.trials))
        return
    rng = np.random.default_rng(1)
    lengths = rng.integers(400, 600, 30).tolist()
    table = Table(title=f"training on {given.device}, {given.threads} thread(s)")
    table.add_column("size")
    table.add_column("encoder")
    for heading in (
        "frames/s",
        "frames/core-s",
        "ceiling",
        "share",
        "outside forward/backward/optimiser",
        "core-seconds/epoch",
        "of lstm",
    ):
        table.add_column(heading, justify="right")

    def add(name: str, store: Store, epochs: int, sizes: dict[str, Any]) -> None:
        fastest = measure(store, epochs, given.device, sizes)
        for encoder, measured in fastest.items():
            table.add_row(
                name,
                encoder,
                f"{measured.epoch.frames_per_second:,.0f}",
                f"{measured.frames_per_core_second:,.0f}",
                f"{measured.ceiling:,.0f}",
                f"{measured.frames_per_core_second / measured.ceiling:.0%}",
                f"{measured.epoch.outside_share:.1%}",
                f"{measured.core_seconds:.2f}",
                f"{measured.core_seconds / fastest['lstm'].core_seconds:.2f}",
            )

    with tempfile.TemporaryDirectory() as folder:
        add("demo", random_store(Path(folder) / "demo", lengths, 100, "float32"), 4, DEMO)
        if given.data:
            add("any.yaml", Store.open(given.data), 3, ANY)
        if given.paper:
            store = random_store(Path(folder) / "paper", [300] * 24, 2048, "float16")
            add("paper", store, 1, {})
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
