"""Training on a GPU: frames per second beside the card's own matrix rate, fused seeds, trials that
share a card.

    python benchmarks/gpu.py                          everything, on the first GPU: some minutes
    python benchmarks/gpu.py --store stores/affwild2  the paper's size on a store that is there already
    python benchmarks/gpu.py --only fused sharing     parts: matrix, paper, fused, sharing
    python benchmarks/gpu.py --device cpu --small     the same code on a CPU, too small to say anything of a GPU

matrix: the best rate of one large matrix product (bf16; float32 on a CPU), the rate the rest is compared with.
paper: one trial of the paper's transformer (4.2: width 1,024, 4 layers, segments of 150 frames, batches of 16) on a
  simulated store of Aff-Wild2's shape; frames through training per second of the fastest epoch behind the first, and
  the share of the matrix rate that its matrix products come to. float32 and bf16; features streamed and resident;
  eager and compiled.
fused: seconds per epoch (with validation) of one seed, of eight fused, of eight one after another, at the demo's size;
  on a CPU core-seconds of one thread, so that other work on the machine matters less.
sharing: trials per hour of `va-search search` with one trial a GPU and with four (on a CPU: one and two side by side).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from va_search.data.simulate import simulate
from va_search.data.simulate_affwild2 import simulate_affwild2
from va_search.data.store import Store
from va_search.training.features import place
from va_search.training.fit import Fit
from va_search.training.fused import Fused, fits_of
from va_search.trial_settings import TrialSettings

PARTS = ("matrix", "paper", "fused", "sharing")
PAPER_SETS = ("mae", "fau", "wav2vec")
"""2,048 columns of the simulated challenge."""
DEMO: dict[str, Any] = {
    "features": ("face", "voice"), "frame_step": 2, "segment_length": 100, "width": 48, "layers": 2,
    "feed_forward": 96, "head_sizes": (32,), "learning_rate": 2e-3, "normalise": "recording",
}  # fmt: skip
SPACE = """sampler: grid
seeds: {seeds}
settings:
  features: [face, voice]
  normalise: recording
  frame_step: 2
  segment_length: 100
  width: 48
  layers: 2
  feed_forward: 96
  head_sizes: [32]
  learning_rate: 0.002
  epochs: {epochs}
"""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    matrix: int  # rows and columns of the product
    scale: float  # share of Aff-Wild2's frames
    paper: dict[str, Any]  # changes to the paper's settings
    epochs: int  # per row, the first of which is warm-up
    seeds: int
    trials: int


FULL = Sizes(matrix=8192, scale=0.1, paper={}, epochs=3, seeds=8, trials=16)
SMALL = Sizes(
    matrix=512,
    scale=0.01,
    paper={"width": 32, "layers": 1, "feed_forward": 32},
    epochs=2,
    seeds=4,
    trials=2,
)


def finish(device: str) -> None:
    """Wait for what the GPU still has to do."""
    if device != "cpu":
        torch.cuda.synchronize()


def matrix_rate(device: str, size: int) -> float:
    """Floating-point operations per second of the best of some products [size, size] @ [size,
    size]."""
    kind = torch.float32 if device == "cpu" else torch.bfloat16
    a, b = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    best = 0.0
    for _ in range(20):
        finish(device)
        began = time.perf_counter()
        for _ in range(5):
            a @ b
        finish(device)
        best = max(best, 5 * 2 * size**3 / (time.perf_counter() - began))
    return best


def operations(fit: Fit) -> float:
    """Of one frame forward and backward, in matrix products alone: 6 per weight, and attention's
    two products."""
    settings = fit.settings
    weights = sum(one.numel() for one in fit.model.parameters() if one.dim() == 2)
    attention = 6 * 2 * settings.layers * settings.segment_length * settings.width
    return float(6 * weights + attention) / settings.frame_step


def speed(
    settings: TrialSettings, store: Store, device: str, *, epochs: int, most: int | None
) -> tuple[float, Fit]:
    """Frames per second of the fastest epoch behind the first."""
    fit = Fit(settings, store, device=device)
    fit.data.gather.features = place(store, fit.data.feature_sets, torch.device(device), most=most)
    found = [fit.run_epoch().frames_per_second for _ in range(epochs)]
    return max(found[1:]), fit


def paper(store: Store, device: str, sizes: Sizes, rate: float | None) -> Iterator[tuple[str, ...]]:
    """A row for each way of training the paper's transformer."""
    cuda, plenty = device != "cpu", 10**15
    ways: list[tuple[str, dict[str, Any], int | None]] = [
        ("float32, streamed" if cuda else "float32, mapped", {}, 0 if cuda else None),
        ("float32, resident", {}, plenty),
    ]
    if cuda:
        ways += [
            ("bf16, streamed", {"precision": "bf16"}, 0),
            ("bf16, resident", {"precision": "bf16"}, plenty),
            ("bf16, resident, compiled", {"precision": "bf16", "compile": True}, plenty),
            (
                "bf16, resident, compiled, batches of 64",
                {"precision": "bf16", "compile": True, "batch_size": 64},
                plenty,
            ),
        ]
    for name, changes, most in ways:
        base: dict[str, Any] = {"features": PAPER_SETS, "normalise": "none", "epochs": sizes.epochs}
        frames, fit = speed(
            TrialSettings(**(base | sizes.paper | changes)),
            store,
            device,
            epochs=sizes.epochs,
            most=most,
        )
        share = "–" if rate is None else f"{frames * operations(fit) / rate:.1%}"
        yield name, f"{frames:,.0f}", f"{operations(fit) / 1e9:.3f}", share
        del fit
        if cuda:
            torch.cuda.empty_cache()


def seconds_per_epoch(run_epoch: Callable[[], Any], epochs: int, device: str) -> float:
    """The fastest of the epochs behind the first; on a CPU core-seconds."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    found = []
    for _ in range(epochs):
        finish(device)
        began = clock()
        run_epoch()
        finish(device)
        found.append(clock() - began)
    return min(found[1:])


def fused(store: Store, device: str, sizes: Sizes) -> Iterator[tuple[str, ...]]:
    """Rows: one seed, all fused, all one after another; seconds per epoch and times one."""
    epochs = sizes.epochs + 4
    trials = [TrialSettings(**DEMO, seed=seed, epochs=epochs) for seed in range(sizes.seeds)]
    alone = [Fit(trial, store, device=device) for trial in trials]
    one = seconds_per_epoch(alone[0].run_epoch, epochs, device)
    group = Fused(fits_of(trials, store, device=device))
    together = seconds_per_epoch(group.run_epoch, epochs, device)
    after = sum(seconds_per_epoch(fit.run_epoch, epochs, device) for fit in alone[1:]) + one
    for name, seconds in (
        ("one seed", one),
        (f"{sizes.seeds} seeds fused", together),
        (f"{sizes.seeds} one after another", after),
    ):
        yield name, f"{seconds:.3f}", f"{seconds / one:.2f}"
    apart = max(
        abs(a.score - b.score)
        for fit, other in zip(group.fits[:1], alone[:1], strict=True)
        for a, b in zip(fit.history, other.history, strict=True)
        if a.score is not None and b.score is not None
    )
    yield "largest difference in a score, fused to alone (seed 0)", f"{apart:.1e}", ""


def sharing(store: Store, device: str, sizes: Sizes, folder: Path) -> Iterator[tuple[str, ...]]:
    """Trials per hour of a whole search, its start included, for one and for several trials at a
    time."""
    for together in (1, 4 if device != "cpu" else 2):
        space = folder / f"space{together}.yaml"
        space.write_text(
            SPACE.format(seeds=list(range(sizes.trials)), epochs=10 * (sizes.epochs - 1))
        )
        gpus = 0.0 if device == "cpu" else 1 / together
        command = [
            sys.executable,
            "-m",
            "va_search.cli.main",
            "search",
            str(space),
            "--data",
            str(store.path),
            "--json",
        ]
        command += [
            "--study",
            f"s{together}",
            "--home",
            str(folder / f"home{together}"),
            "--concurrent",
            str(together),
        ]
        began = time.time()
        done = subprocess.run(  # noqa: S603
            [*command, "--gpus-per-trial", f"{gpus:g}"], check=True, capture_output=True, text=True
        )
        took = time.time() - began
        assert json.loads(done.stdout)["trained"] == sizes.trials, done.stderr
        yield (
            f"{together} at a time, --gpus-per-trial {gpus:g}",
            f"{took:.1f}",
            f"{3600 * sizes.trials / took:,.0f}",
        )


def show(title: str, headings: Sequence[str], rows: Iterator[tuple[str, ...]]) -> None:
    table = Table(title=title)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    Console(width=110).print(table)


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--device", default="cuda", help="cuda (default), cuda:1, …, or cpu")
    arguments.add_argument(
        "--small", action="store_true", help="small sizes, for a look at whether it runs"
    )
    arguments.add_argument(
        "--store", type=Path, help="a store with the simulated challenge's feature sets"
    )
    arguments.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="the parts to run"
    )
    given = arguments.parse_args()
    device, sizes = given.device, SMALL if given.small else FULL
    torch.set_num_threads(1)  # a GPU's training needs no more, and a CPU's is compared by core
    if device != "cpu" and not torch.cuda.is_available():
        sys.exit("no GPU that this torch can use; --device cpu --small runs the same code on a CPU")
    print(
        f"device: {device if device == 'cpu' else torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    )
    rate = None
    if "matrix" in given.only:
        rate = matrix_rate(device, sizes.matrix)
        print(f"matrix products of {sizes.matrix}: {rate / 1e12:.2f} TFLOP/s")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "paper" in given.only:
            store = (
                Store.open(given.store)
                if given.store
                else simulate_affwild2(folder / "paper", scale=sizes.scale)
            )
            show(
                "the paper's transformer" + (" (small)" if given.small else ""),
                ("", "frames/s", "GFLOP a frame", "of the matrix rate"),
                paper(store, device, sizes, rate),
            )
        demo = simulate(folder / "demo", size="demo")
        if "fused" in given.only:
            show(
                "the demo's size",
                ("", "seconds per epoch", "times one seed"),
                fused(demo, device, sizes),
            )
        if "sharing" in given.only:
            show(
                f"a search of {sizes.trials} trials, its start included",
                ("", "seconds", "trials/h"),
                sharing(demo, device, sizes, folder),
            )


if __name__ == "__main__":
    main()
