"""What one writes by the tutorials of Ray Tune (PyTorch; MLflow): search.py measures it, nothing
else uses it.

    python benchmarks/tutorial_recipe.py CONFIG.json

A function trainable, a Dataset over files per recording in a DataLoader, a report and a checkpoint
after every epoch, MLflowLoggerCallback on SQLite, RunConfig's defaults but for the folder. Network,
loss, optimiser, schedule and epochs are those of va-search, imported from it. It is spared some of
what others write: the files are normalised already."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from torch.utils.data import DataLoader, Dataset

from va_search.data.store import FeatureSet
from va_search.metrics import ccc
from va_search.training.losses import ccc_loss
from va_search.training.predict import build_model
from va_search.trial_settings import TrialSettings


class Windows(Dataset):  # type: ignore[type-arg]
    """Windows of the recordings of one split, padded at a recording's end; labels are NaN there."""

    def __init__(self, folder: Path, split: str, features: list[str], length: int) -> None:
        self.folder, self.features, self.length = folder, features, length
        self.windows: list[tuple[str, int]] = []
        for name in json.loads((folder / "about.json").read_text())[split]:
            frames = len(np.load(folder / "labels" / f"{name}.npy"))
            self.windows += [(name, start) for start in range(0, frames, length)]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        name, start = self.windows[index]
        features = np.concatenate(
            [np.load(self.folder / one / f"{name}.npy") for one in self.features], axis=1
        )
        labels = np.load(self.folder / "labels" / f"{name}.npy")
        part, label = features[start : start + self.length], labels[start : start + self.length]
        x = np.zeros((self.length, features.shape[1]), np.float32)
        y = np.full((self.length, 2), np.nan, np.float32)
        x[: len(part)], y[: len(label)] = part, label
        mask = torch.arange(self.length) < len(part)
        return torch.from_numpy(x), mask, torch.from_numpy(y)


def train(config: dict[str, Any]) -> None:
    Path(
        config["clock"], str(os.getpid())
    ).touch()  # tells the benchmark when the first trial began
    settings = TrialSettings(**config["settings"])
    folder = Path(config["data"])
    there = json.loads((folder / "about.json").read_text())["feature_sets"]
    sets = [FeatureSet(**one) for one in there if one["name"] in settings.features]
    names = [one.name for one in sets]
    torch.manual_seed(settings.seed)
    model = build_model(settings, sets)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    length, size = settings.segment_length, settings.batch_size
    train_loader = DataLoader(
        Windows(folder, "train", names, length), batch_size=size, shuffle=True
    )
    validation_loader = DataLoader(Windows(folder, "validation", names, length), batch_size=size)
    best_valence = best_arousal = -1.0
    for epoch in range(settings.epochs):
        model.train()
        total = 0.0
        for x, mask, y in train_loader:
            optimizer.zero_grad()
            loss = ccc_loss(model(x, mask)[0], y)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(
                model.parameters(), settings.clip_gradient or float("inf")
            )
            optimizer.step()
            total += loss.item()
        scheduler.step()
        valence, arousal = validate(model, validation_loader)
        best_valence, best_arousal = max(best_valence, valence), max(best_arousal, arousal)
        metrics = {
            "loss": total / len(train_loader),
            "ccc_valence": valence,
            "ccc_arousal": arousal,
            "score": (best_valence + best_arousal) / 2,
        }
        with tempfile.TemporaryDirectory() as checkpoint:
            state = {
                "epoch": epoch,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
            }
            torch.save(state, Path(checkpoint) / "checkpoint.pt")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(checkpoint))


def validate(model: torch.nn.Module, loader: DataLoader[Any]) -> tuple[float, float]:
    model.eval()
    predictions, labels = [], []
    with torch.no_grad():
        for x, mask, y in loader:
            predictions.append(model(x, mask)[0][mask])
            labels.append(y[mask])
    prediction, label = torch.cat(predictions).numpy(), torch.cat(labels).numpy()
    return ccc(prediction[:, 0], label[:, 0]), ccc(prediction[:, 1], label[:, 1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", type=Path, help="written by search.py")
    given = json.loads(parser.parse_args().config.read_text())
    folder = Path(given["folder"])
    ray.init(num_cpus=given["concurrent"])
    tuner = tune.Tuner(
        train,
        param_space={
            "data": given["data"],
            "clock": given["clock"],
            "settings": tune.grid_search(given["trials"]),
        },
        tune_config=tune.TuneConfig(metric="score", mode="max"),
        run_config=tune.RunConfig(
            name="recipe",
            storage_path=str(folder / "ray_results"),
            callbacks=[
                MLflowLoggerCallback(
                    tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="recipe"
                )
            ],
        ),
    )
    results = tuner.fit()
    ray.shutdown()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
    Path(given["scores"]).write_text(json.dumps([result.metrics["score"] for result in results]))


if __name__ == "__main__":
    main()
