"""Several raters of simulated people whose true signal is known: the mean of the raters against EWE,
and training with and without `weight_by_agreement`, judged by the truth on people nobody has seen.

    python benchmarks/raters.py --seeds 12        # about ten minutes on two free cores

Each seed makes a world, imports it twice (fused by mean and by EWE) and trains each store twice, with
and without weights; differences are paired over the seeds. A rater follows the truth with a gain and
a delay of its own and with noise that drifts, and leaves out a quarter of a recording; in three
recordings of ten one of the four raters follows nothing. In the worlds `passages` the noise grows
four-fold in passages that are hard for all raters; in `alike` it does not, so that spreads tell
nothing but chance. Features are noisy mixtures of the truth, other signals and the person."""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from va_search.data.store import Store
from va_search.data.streams import import_streams
from va_search.metrics import ccc
from va_search.training.fit import Fit
from va_search.trial_settings import TrialSettings

Signal = NDArray[np.float64]
FRAMES, RATERS, COLUMNS, OTHERS = 400, 4, 12, 4
WORLDS = ["passages", "alike"]
SPLITS = {"train": 24, "validation": 8, "test": 24}
TRIAL: dict[str, Any] = {
    "features": ("face",), "normalise": "train", "segment_length": 100, "width": 32, "layers": 1,
    "attention_heads": 4, "feed_forward": 32, "head_sizes": (32,), "batch_size": 8, "epochs": 12,
    "learning_rate": 2e-3,
}  # fmt: skip


@dataclass(frozen=True)
class RatedPerson:
    """One recording: (frames,) truth, (frames, raters) traces, (frames, columns) features."""

    truth: Signal
    traces: Signal
    features: Signal


def drift(rng: np.random.Generator, memory: float, columns: int) -> Signal:
    """(frames, columns) first-order autoregressive signals of variance 1."""
    noise = rng.normal(size=(FRAMES, columns))
    signal = noise.copy()
    for frame in range(1, FRAMES):
        signal[frame] = memory * signal[frame - 1] + np.sqrt(1 - memory**2) * noise[frame]
    return signal


def rated_person(rng: np.random.Generator, mixture: Signal, world: str) -> RatedPerson:
    """A person whose features are a `mixture` (signals, columns) of the truth and other signals."""
    truth = np.tanh(0.8 * drift(rng, 0.98, 1)[:, 0] + 0.3 * rng.normal())
    signals = np.column_stack([truth, drift(rng, 0.95, OTHERS)])
    features = signals @ mixture + 0.3 * rng.normal(size=COLUMNS)
    features += 0.8 * rng.normal(size=features.shape)
    noise = np.full(FRAMES, 0.35)
    if world == "passages":
        hard = drift(rng, 0.98, 1)[:, 0] > 0.5
        noise = np.where(hard, 0.8, 0.2)
    traces = np.empty((FRAMES, RATERS))
    careless = rng.integers(RATERS) if rng.random() < 0.3 else RATERS
    for rater in range(RATERS):
        delay = int(rng.integers(0, 8))
        followed = rng.uniform(0.6, 1.1) * np.roll(truth, delay)
        if rater == careless:
            followed = 0.5 * drift(rng, 0.98, 1)[:, 0]
        traces[:, rater] = followed + noise * drift(rng, 0.9, 1)[:, 0]
        begin = int(rng.integers(0, FRAMES))
        traces[begin : begin + FRAMES // 4, rater] = np.nan
    return RatedPerson(truth, np.clip(traces, -1, 1), features)


def write_world(folder: Path, seed: int, world: str) -> dict[str, Signal]:
    """Write a source of streams; the truth (frames,) by recording."""
    rng = np.random.default_rng(seed)
    mixture = rng.normal(size=(1 + OTHERS, COLUMNS))
    names = [f"rater{rater}" for rater in range(RATERS)]
    recordings, truths = [], {}
    for split, count in SPLITS.items():
        for number in range(count):
            name = f"{split}{number:02d}"
            person = rated_person(rng, mixture, world)
            traces = person.traces
            if split == "test":
                traces = np.full(traces.shape, np.nan)
            recordings.append([name, name, split])
            truths[name] = person.truth
            write_columns(folder / "labels" / f"{name}.csv", names, traces)
            columns = [f"f{column}" for column in range(COLUMNS)]
            write_columns(folder / "face" / f"{name}.csv", columns, person.features)
    with open(folder / "recordings.csv", "w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([["recording", "subject", "split"], *recordings])
    return truths


def write_columns(path: Path, names: list[str], values: Signal) -> None:
    """A CSV file of (frames, columns) at 5 frames per second; NaN is an empty cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["time_s", *names])
        for frame, row in enumerate(values.tolist()):
            cells = ["" if np.isnan(value) else f"{value:.6g}" for value in row]
            writer.writerow([frame / 5, *cells])


def imported(folder: Path, fuse: str) -> Store:
    """The store of a written world whose raters are fused by `fuse`."""
    document = {
        "name": "raters",
        "targets": {
            "valence": {
                "range": [-1, 1],
                "files": "labels/{recording}.csv",
                "raters": ["rater*"],
                "fuse": fuse,
            }
        },
        "features": {"face": {"modality": "visual", "files": "face/{recording}.csv"}},
    }
    (folder / "streams.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return import_streams(folder, folder / f"store-{fuse}")[0]


def ccc_of_labels(store: Store, truths: dict[str, Signal]) -> float:
    """CCC of the fused labels of training with the truth."""
    recordings = store.split("train")
    labels = np.concatenate([store.annotations[recording.span, 0] for recording in recordings])
    truth = np.concatenate([truths[recording.name] for recording in recordings])
    labelled = np.isfinite(labels)
    return ccc(labels[labelled].astype(np.float64), truth[labelled])


def ccc_on_unseen(store: Store, truths: dict[str, Signal], seed: int, *, weighted: bool) -> float:
    """CCC with the truth on the people of test, of a trial that is trained on this store."""
    fit = Fit(TrialSettings(**TRIAL, seed=seed, weight_by_agreement=weighted), store)
    while not fit.finished:
        fit.run_epoch()
    predicted = fit.predictions()["test"].values[:, 0]
    truth = np.concatenate([truths[recording.name] for recording in store.split("test")])
    return ccc(predicted.astype(np.float64), truth)


def with_error(values: list[float]) -> str:
    """Mean ± standard error."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{np.mean(values):+.4f} ± {error:.4f}"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=WORLDS)
    options = parser.parse_args()
    # Models this small are trained fastest by one thread, above all beside other work.
    torch.set_num_threads(1)
    print("| world | fused by | labels, truth | plain | weighted | weighted - plain | better in |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for world in options.worlds:
        plain: dict[str, list[float]] = defaultdict(list)
        weighted: dict[str, list[float]] = defaultdict(list)
        labels: dict[str, list[float]] = defaultdict(list)
        for seed in range(options.seeds):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                truths = write_world(folder, seed, world)
                for fuse in ("mean", "ewe"):
                    store = imported(folder, fuse)
                    labels[fuse].append(ccc_of_labels(store, truths))
                    plain[fuse].append(ccc_on_unseen(store, truths, seed, weighted=False))
                    weighted[fuse].append(ccc_on_unseen(store, truths, seed, weighted=True))
                    print(world, seed, fuse, plain[fuse][-1], weighted[fuse][-1], file=sys.stderr)
        for fuse, scores in plain.items():
            gains = np.subtract(weighted[fuse], scores).tolist()
            better = sum(gain > 0 for gain in gains)
            cells = [world, fuse, f"{np.mean(labels[fuse]):.3f}", f"{np.mean(scores):.3f}"]
            cells += [f"{np.mean(weighted[fuse]):.3f}", with_error(gains)]
            cells.append(f"{better} of {len(gains)}")
            print(f"| {' | '.join(cells)} |", flush=True)
        ewe_gains = np.subtract(plain["ewe"], plain["mean"]).tolist()
        ewe_labels = np.subtract(labels["ewe"], labels["mean"]).tolist()
        print(f"\n{world}: EWE - mean: {with_error(ewe_gains)} on unseen people, plain; ", end="")
        print(f"{with_error(ewe_labels)} of the labels\n", flush=True)


if __name__ == "__main__":
    main()
