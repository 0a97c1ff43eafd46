"""Studies of stores of any targets, for tests: complete trials with predictions, without training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from target_world import make_target_store
from trial_world import make_trial

from va_search.data.store import Store, frames_hash, positions
from va_search.home import Home
from va_search.predictions.bank import Bank, Predictions
from va_search.search.study import Study
from va_search.targets import Target, names
from va_search.trial import SCORE, Best, Epoch, Trial
from va_search.trial_settings import TrialSettings, trial_id

STUDY = "first"
SHARES = (0.5, 1.0, 0.9)
"""Of its best CCC a trial reaches this much after each epoch."""


@dataclass(frozen=True)
class TargetStudy:
    """A home with one study of four trials on one store; `trials`: GRU and LSTM with seeds 0 and 1,
    the first with the most noise."""

    home: Home
    store: Store
    trials: Sequence[Trial]

    def annotation(self, split: str = "validation") -> NDArray[np.float32]:
        """(frames, targets)"""
        return self.store.annotations[positions(self.store.split(split))]

    def best(self, measure: str) -> Trial:
        return max(self.trials, key=lambda trial: trial.ccc(measure) or 0.0)


def make_target_study(folder: Path, targets: Sequence[Target]) -> TargetStudy:
    """A study whose trials predict the annotations, drawn toward the middle, with noise."""
    store = make_target_store(folder / "store", targets)
    home = Home(folder / "home")
    features = {"features": list(store.feature_sets), "encoder": {"choice": ["gru", "lstm"]}}
    space = {"sampler": "grid", "seeds": [0, 1], "settings": features}
    Study(home, STUDY).begin(store, space)
    trials = []
    for number in range(4):
        encoder = "gru" if number < 2 else "lstm"
        settings = TrialSettings(
            features=tuple(store.feature_sets), encoder=encoder, seed=number % 2, epochs=3
        )
        trials.append(add_trial(home, store, settings, noise=0.4 - 0.1 * number))
    return TargetStudy(home, store, tuple(trials))


def add_trial(home: Home, store: Store, settings: TrialSettings, *, noise: float) -> Trial:
    """Write a complete trial to the bank; `noise` in halves of each target's range."""
    key = trial_id(settings, store.data_hash(settings.features))
    random = np.random.default_rng(int(key, 16) % 2**32)
    low = np.array([target.low for target in store.targets])
    high = np.array([target.high for target in store.targets])
    predictions = {}
    for split in ("validation", "test"):
        recordings = store.split(split)
        truth = store.annotations[positions(recordings)]
        middle = np.where(np.isnan(truth), (low + high) / 2, truth)
        spread = noise * random.normal(size=truth.shape) * (high - low) / 2
        values = (0.9 * middle + spread).astype(np.float32)
        predictions[split] = Predictions(values, frames_hash(recordings))
    annotation = store.annotations[positions(store.split("validation"))]
    cccs = slow_cccs(predictions["validation"].values, annotation, store.target_names)
    best = {target: Best(ccc, 2) for target, ccc in cccs.items()}
    best[SCORE] = Best(sum(cccs.values()) / len(cccs), 2)
    trial = make_trial(
        STUDY,
        key,
        settings=settings,
        on=store,
        history=_history(cccs),
        targets=None if names(store.targets) == ("valence", "arousal") else store.target_names,
        epochs=3,
        seconds=6.0,
        stopped=False,
        package_version="0.1.0",
        finished_at="2026-01-02T10:00:00+00:00",
    )
    trial = replace(trial, best=best)
    Bank(home.bank).write(trial, predictions)
    return Bank(home.bank).trial(STUDY, key)


def slow_cccs(
    predictions: NDArray[np.float32], annotation: NDArray[np.float32], targets: Sequence[str]
) -> dict[str, float]:
    """The CCC of each target over the frames that have a label for it, frame by frame."""
    cccs = {}
    for column, target in enumerate(targets):
        pairs = []
        for predicted, label in zip(predictions[:, column], annotation[:, column], strict=True):
            if not np.isnan(label):
                pairs.append((float(predicted), float(label)))
        mean_x = sum(x for x, _ in pairs) / len(pairs)
        mean_y = sum(y for _, y in pairs) / len(pairs)
        covariance = sum((x - mean_x) * (y - mean_y) for x, y in pairs) / len(pairs)
        spread_x = sum((x - mean_x) ** 2 for x, _ in pairs) / len(pairs)
        spread_y = sum((y - mean_y) ** 2 for _, y in pairs) / len(pairs)
        cccs[target] = 2 * covariance / (spread_x + spread_y + (mean_x - mean_y) ** 2)
    return cccs


def _history(cccs: Mapping[str, float]) -> list[Epoch]:
    epochs = []
    for number, share in enumerate(SHARES, start=1):
        reached = {target: share * ccc for target, ccc in cccs.items()}
        score = sum(reached.values()) / len(reached)
        epochs.append(Epoch(number, loss=1.0 / number, cccs=reached, score=score, seconds=2.0))
    return epochs
