"""The floor of a search: its trainings alone, on data in memory, one process per core; search.py
measures it.

    python benchmarks/training_floor.py CONFIG.json

No Ray, no log, no checkpoint, no prediction kept. What a trial takes is the time from its model's
making to its last validation; every process has read the data before its first trial."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from va_search.data.store import FeatureSet
from va_search.metrics import ccc
from va_search.models.estimator import Estimator
from va_search.training.losses import ccc_loss
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings

Split = tuple[Tensor, Tensor, Tensor]
"""x [segment, step, feature], mask [segment, step], label [segment, step, 2] (NaN unlabelled)."""

data: dict[str, Split] = {}
sets: list[FeatureSet] = []


def read(folder: Path, length: int) -> None:
    """Put both splits into this process's memory, cut into padded segments."""
    torch.set_num_threads(1)
    about = json.loads((folder / "about.json").read_text())
    sets.extend(FeatureSet(**one) for one in about["feature_sets"])
    for split in ("train", "validation"):
        parts = [_segments(folder, name, length) for name in about[split]]
        x, mask, label = (
            torch.from_numpy(np.concatenate(columns)) for columns in zip(*parts, strict=True)
        )
        data[split] = (x, mask, label)


def _segments(folder: Path, name: str, length: int) -> tuple[Any, Any, Any]:
    x = np.concatenate([np.load(folder / one.name / f"{name}.npy") for one in sets], axis=1)
    label = np.load(folder / "labels" / f"{name}.npy")
    missing = -len(x) % length
    mask = np.pad(np.ones(len(x), bool), (0, missing))
    x, label = (
        np.pad(x, ((0, missing), (0, 0))),
        np.pad(label, ((0, missing), (0, 0)), constant_values=np.nan),
    )
    return x.reshape(-1, length, x.shape[1]), mask.reshape(-1, length), label.reshape(-1, length, 2)


def train(settings: TrialSettings) -> dict[str, float]:
    """When the trial began, the seconds it took, its score (mean of the two dimensions' best
    epochs)."""
    wall, began = time.time(), time.perf_counter()
    torch.manual_seed(settings.seed)
    model = build_model(settings, sets)
    optimiser = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    x, mask, label = data["train"]
    best = np.full(2, -1.0)
    for _ in range(settings.epochs):
        model.train()
        for batch in torch.split(torch.randperm(len(x)), settings.batch_size):
            loss = ccc_loss(model(x[batch], mask[batch])[0], label[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(
                model.parameters(), settings.clip_gradient or float("inf")
            )
            optimiser.step()
        schedule.step()
        best = np.maximum(best, _validate(model))
    return {"began": wall, "seconds": time.perf_counter() - began, "score": float(best.mean())}


def _validate(model: Estimator) -> tuple[float, float]:
    x, mask, label = data["validation"]
    model.eval()
    with torch.no_grad():
        prediction = torch.cat(
            [
                model(*pair)[0]
                for pair in zip(torch.split(x, 256), torch.split(mask, 256), strict=True)
            ]
        )
    found, truth = prediction[mask].numpy(), label[mask].numpy()
    return ccc(found[:, 0], truth[:, 0]), ccc(found[:, 1], truth[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="written by search.py")
    given = json.loads(parser.parse_args().config.read_text())
    trials = [TrialSettings(**one) for one in given["trials"]]
    arguments = (Path(given["data"]), trials[0].segment_length)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        given["concurrent"], context, initializer=read, initargs=arguments
    ) as pool:
        found = list(pool.map(train, trials))
    Path(given["scores"]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
