"""Gain of each technique on people who took no part in its training.

    python benchmarks/techniques.py case=stores/case forrest=stores/forrest --out techniques

With `--base any`: the gain of changes to what search_spaces/any.yaml is made of.

Each technique is a handful of settings on top of one plain trial: a causal LSTM of 64 units on all
feature sets, normalised by subject, at about five steps a second, the whole recording as one
segment, 12 epochs of cosine. It is trained on every fold of a store with every seed and scored on
the fold's people with the weights of its last epoch, so that nothing was chosen on them. A
technique's row is the mean over folds and seeds of its score minus the plain trial's on the same
fold and seed, with the standard error of these differences, and the ratio of the seconds that
training took. Scores are means over the targets of the CCC pooled over the fold's frames.

The folder given by --out keeps a line per finished training: the same command again goes on where
it stopped, and a technique added to the list trains what is new. The table is printed at the end
(and by --print alone, without training)."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from va_search.data.store import Store
from va_search.training.fit import fit_of
from va_search.trial_settings import TrialSettings, trial_id_on

RATE = "steps_per_second"
"""The key of a base or technique that becomes the frames of a step."""
PLAIN: dict[str, Any] = {
    RATE: 5,
    "normalise": "subject",
    "normalise_by": "median_mad",
    "clip": 5,
    "encoder": "lstm",
    "width": 64,
    "layers": 2,
    "feed_forward": 128,
    "hidden_size": 64,
    "encoder_dropout": 0.2,
    "head_sizes": [64],
    "learning_rate": 2e-3,
    "schedule": "cosine",
    "epochs": 12,
    "keep": "last",
}
BOTH_VIEWS = ["subject", "recording"]
TECHNIQUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "context: recording": {"context": "recording"},
    "context: running": {"context": "running"},
    "views: subject and recording": {"normalise": BOTH_VIEWS},
    "context: recording, both views": {"context": "recording", "normalise": BOTH_VIEWS},
    "family: ridge": {"family": "ridge"},
    "family: ridge, both views": {"family": "ridge", "normalise": BOTH_VIEWS},
    "family: boosting": {"family": "boosting"},
    "family: boosting, both views": {"family": "boosting", "normalise": BOTH_VIEWS},
    "normalise: train": {"normalise": "train"},
    "normalise: recording": {"normalise": "recording"},
    "encoder: gru": {"encoder": "gru"},
    "encoder: bilstm": {"encoder": "bilstm"},
    "encoder: bigru": {"encoder": "bigru"},
    "encoder: tcn": {"encoder": "tcn"},
    "encoder: ssm": {"encoder": "ssm"},
    "encoder: mlp": {"encoder": "mlp"},
    "encoder: transformer": {"encoder": "transformer", "learning_rate": 1e-3},
    "encoder: mlp, context: recording": {"encoder": "mlp", "context": "recording"},
    "encoder: tcn, context: recording": {"encoder": "tcn", "context": "recording"},
    "fusion: late": {"fusion": "late"},
    "fusion: gated": {"fusion": "gated"},
    "fusion: cross_attention": {"fusion": "cross_attention"},
    "loss: ccc_mse": {"loss": "ccc_mse"},
    "loss: ccc_recording": {"loss": "ccc_recording"},
    "loss: ccc_binned": {"loss": "ccc_binned", "heads": "binned"},
    "heads: binned": {"heads": "binned"},
    "loss_smoothness: 1": {"loss_smoothness": 1.0},
    "encoder_dropout: 0.5": {"encoder_dropout": 0.5},
    "feature_noise: 0.3": {"feature_noise": 0.3},
    "offset and gain jitter: 0.3": {"offset_jitter": 0.3, "gain_jitter": 0.3},
    "time_masking: 0.2": {"time_masking": 0.2},
    "modality_dropout: 0.2": {"modality_dropout": 0.2},
    "mixup: 0.4": {"mixup": 0.4},
    "label_delay: 1": {"label_delay": 1.0},
    "keep: best (chosen on these people)": {"keep": "best"},
    "keep: mean_last_5": {"keep": "mean_last_5"},
    "keep: ema": {"keep": "ema"},
    "epochs: 20": {"epochs": 20},
}
LIKE_ANY: dict[str, Any] = {
    **PLAIN,
    RATE: 2,
    "context": "recording",
    "normalise": BOTH_VIEWS,
    "encoder_dropout": 0.3,
    "keep": "mean_last_5",
}
CHANGES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one step a second": {RATE: 1},
    "five steps a second": {RATE: 5},
    "normalise: subject": {"normalise": "subject"},
    "normalise: train": {"normalise": "train"},
    "normalise: train, subject": {"normalise": ["train", "subject"]},
    "normalise: train, subject, recording": {"normalise": ["train", *BOTH_VIEWS]},
    "encoder: mlp": {"encoder": "mlp"},
    "encoder: mlp, learning_rate: 0.004": {"encoder": "mlp", "learning_rate": 4e-3},
    "encoder: gru": {"encoder": "gru"},
    "encoder: bilstm": {"encoder": "bilstm"},
    "encoder: bigru": {"encoder": "bigru"},
    "encoder: tcn": {"encoder": "tcn"},
    "encoder: ssm": {"encoder": "ssm"},
    "family: ridge": {"family": "ridge"},
    "family: boosting": {"family": "boosting"},
    "fusion: late": {"fusion": "late"},
    "context: running": {"context": "running"},
    "context: none": {"context": "none"},
    "encoder_dropout: 0.1": {"encoder_dropout": 0.1},
    "encoder_dropout: 0.5": {"encoder_dropout": 0.5},
    "learning_rate: 0.001": {"learning_rate": 1e-3},
    "learning_rate: 0.004": {"learning_rate": 4e-3},
    "epochs: 20": {"epochs": 20},
}


@dataclass(frozen=True)
class Study:
    """The plain trial, by its settings, and what is changed of it, by name."""

    plain: dict[str, Any]
    changes: dict[str, dict[str, Any]]
    ending: str


STUDIES = {"plain": Study(PLAIN, TECHNIQUES, ""), "any": Study(LIKE_ANY, CHANGES, "-any")}


@dataclass(frozen=True)
class Training:
    """One finished training: its technique and data set by name, and what it reached."""

    data: str
    technique: str
    fold: int
    seed: int
    trial: str
    score: float
    cccs: dict[str, float]
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="+", metavar="NAME=STORE", help="data sets with folds")
    parser.add_argument("--out", type=Path, required=True, help="folder of finished trainings")
    parser.add_argument("--base", choices=STUDIES, default="plain", help="what is changed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", metavar="TECHNIQUE", help="these beside `plain`")
    parser.add_argument("--print", action="store_true", help="the table of what is finished")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    stores: dict[str, Store] = {}
    for pair in options.stores:
        name, _, path = pair.partition("=")
        stores[name] = Store.open(path)
    study = STUDIES[options.base]
    techniques = chosen(study, options.only)
    files = {name: options.out / f"{name}{study.ending}.jsonl" for name in stores}
    if not options.print:
        for name, store in stores.items():
            train(name, store, study, techniques, seeds=options.seeds, path=files[name])
    print_table(techniques, {name: finished(file) for name, file in files.items()})


def chosen(study: Study, only: list[str] | None) -> list[str]:
    """Names of the techniques to train, `plain` first."""
    if only is None:
        return list(study.changes)
    unknown = set(only) - set(study.changes)
    if unknown:
        sys.exit(f"unknown techniques {sorted(unknown)} (known: {', '.join(study.changes)})")
    return ["plain", *(name for name in study.changes if name in only and name != "plain")]


def train(
    data: str, store: Store, study: Study, techniques: list[str], *, seeds: int, path: Path
) -> None:
    """Train whatever of the techniques is not in the file at `path` yet, and add it there."""
    done = {(training.technique, training.trial) for training in finished(path)}
    # seeds outermost: every technique has a first number early
    for seed in range(seeds):
        for technique in techniques:
            for fold in store.fold_numbers:
                settings = settings_of(store, study, technique, fold, seed)
                trial = trial_id_on(settings, store)
                # without effect on this store: it is another technique's trial
                if (technique, trial) in done or is_plain(store, technique):
                    continue
                training = trained(data, store, technique, settings, trial)
                with path.open("a") as file:
                    file.write(json.dumps(vars(training)) + "\n")
                line = f"{data} {technique}, fold {fold}, seed {seed}"
                print(f"{line}: {training.score:.3f} in {training.seconds:.0f} s", flush=True)


def settings_of(store: Store, study: Study, technique: str, fold: int, seed: int) -> TrialSettings:
    """Return the plain trial of this store with the technique's settings."""
    changed = {**study.plain, **study.changes[technique]}
    rate = max(recording.frames_per_second for recording in store.recordings)
    frame_step = max(1, round(rate / changed.pop(RATE)))
    longest = max(recording.frames for recording in store.recordings)
    settings: dict[str, Any] = {
        **changed,
        "features": sorted(store.feature_sets),
        "frame_step": frame_step,
        "segment_length": -(-longest // frame_step),
    }
    return TrialSettings(**settings, fold=fold, seed=seed)


def is_plain(store: Store, technique: str) -> bool:
    """Return True for a technique that means the plain trial on this store, such as late fusion of
    one modality."""
    modalities = {feature_set.modality for feature_set in store.feature_sets.values()}
    of_modalities = technique.startswith(("fusion", "modality_dropout"))
    return of_modalities and len(modalities) == 1


def trained(
    data: str, store: Store, technique: str, settings: TrialSettings, trial: str
) -> Training:
    """Train one trial and score it on its fold's people."""
    began = time.process_time()
    fit = fit_of(settings, store)
    while not fit.finished:
        fit.run_epoch()
    cccs = {target: best.ccc for target, best in fit.best.items()}
    return Training(
        data,
        technique,
        int(settings.fold),
        settings.seed,
        trial,
        statistics.fmean(cccs.values()),
        cccs,
        time.process_time() - began,
    )


def finished(path: Path) -> list[Training]:
    """Trainings in the file at `path`; a line cut short by a kill is left out."""
    if not path.exists():
        return []
    trainings: list[Training] = []
    for line in path.read_text().splitlines():
        try:
            trainings.append(Training(**json.loads(line)))
        except json.JSONDecodeError:
            continue
    return trainings


def print_table(techniques: list[str], tables: dict[str, list[Training]]) -> None:
    """Print a Markdown table: a row per technique, a column per data set."""
    print("\n| technique |" + "".join(f" {name} | cost |" for name in tables))
    print("|---|" + "---|---|" * len(tables))
    for technique in techniques:
        cells = "".join(" | ".join(cell(technique, rows)) + " | " for rows in tables.values())
        print(f"| {technique} | {cells.rstrip()}")
    print("\ndifference of the mean CCC to plain, ± standard error over folds and seeds (pairs)")


def cell(technique: str, trainings: list[Training]) -> Iterator[str]:
    """Yield the difference to `plain` on the same folds and seeds, and the ratio of seconds."""
    plain = {(row.fold, row.seed): row for row in trainings if row.technique == "plain"}
    rows = [row for row in trainings if row.technique == technique]
    pairs = [(row, plain[row.fold, row.seed]) for row in rows if (row.fold, row.seed) in plain]
    if not pairs:
        yield from ("", "")
        return
    if technique == "plain":
        yield f"{statistics.fmean(row.score for row in rows):.3f} itself ({len(rows)})"
        yield f"{statistics.fmean(row.seconds for row in rows):.1f} s"
        return
    differences = [row.score - base.score for row, base in pairs]
    error = "" if len(pairs) < 2 else f" ± {standard_error(differences):.3f}"
    ratio = sum(row.seconds for row, _ in pairs) / sum(base.seconds for _, base in pairs)
    yield f"{statistics.fmean(differences):+.3f}{error} ({len(pairs)})"
    yield f"× {ratio:.1f}"


def standard_error(values: list[float]) -> float:
    """Standard error of the mean of the values."""
    return float(statistics.stdev(values) / len(values) ** 0.5)


if __name__ == "__main__":
    main()
