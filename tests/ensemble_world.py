"""A small challenge with trials in its bank, for the tests of ensembles and submissions: real
files, no training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from trial_world import make_trial

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.files import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.targets import affect
from va_search.trial_settings import TrialSettings

# name, subject, video, split, fold, frames
ROWS = (
    ("t1", "s8", "t1", "train", 0, 30),
    ("t2", "s9", "t2", "train", 0, 25),
    ("v1", "s1", "v1", "validation", 1, 60),
    ("v1_left", "s2", "v1", "validation", 1, 80),
    ("v2", "s1", "v2", "validation", 1, 41),
    ("v3", "s3", "v3", "validation", 1, 70),
    ("v4", "s4", "v4", "validation", 1, 55),
    ("v5", "s5", "v5", "validation", 1, 90),
    ("x1", "s6", "x1", "test", None, 33),
    ("x2", "s7", "x2", "test", None, 48),
)
RANGE = (0.5, 9.5)


def labels_of(index: int, frames: int) -> NDArray[np.float64]:
    """(frames, 2) smooth annotations on the source's scale; the first tenth is unlabelled."""
    rng = np.random.default_rng(1000 + index)
    walk = rng.normal(size=(frames, 2)).cumsum(axis=0)
    pair = np.clip(5.0 + rng.normal(size=2) + walk / 4.0, *RANGE)
    pair[: frames // 10] = np.nan
    return pair


def make_store(
    folder: Path, *, time_column: str | None = "time", label_range: tuple[float, float] = RANGE
) -> Store:
    """Ten recordings; two persons share video v1, subject s1 stands in two recordings."""
    sources = [
        Source(name, subject, video, split, fold, 20.0, ())
        for name, subject, video, split, fold, _ in ROWS
    ]
    description = Description(
        "world", affect(*label_range), {"face": ("visual", ("a",))}, "float32", time_column
    )
    draft = Draft(folder, description, sources)
    for index in draft.missing():
        frames = ROWS[index][-1]
        labels = None if ROWS[index][3] == "test" else labels_of(index, frames)
        times = np.arange(frames) * 50.0 if time_column else None
        draft.add(index, Part({"face": np.ones((frames, 1))}, labels, times))
    return draft.finish()


@dataclass
class World:
    """A home, a store, and trials whose predictions are annotations blurred by noise."""

    home: Home
    store: Store

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    @property
    def validation(self) -> tuple[Recording, ...]:
        return self.store.split("validation")

    @property
    def labels(self) -> NDArray[np.float32]:
        return self.store.annotations[positions(self.validation)]

    def predict(self, seed: int, noise: float) -> dict[str, Predictions]:
        """Validation: filled annotations times .7 plus noise of its own; test: noise around 5."""
        rng = np.random.default_rng(seed)
        found = {}
        for split in ("validation", "test"):
            recordings = self.store.split(split)
            truth = np.nan_to_num(self.store.annotations[positions(recordings)], nan=5.0)
            bias = rng.normal(size=(len(recordings), 2)) * noise
            parts = [np.repeat(bias[i : i + 1], r.frames, axis=0) for i, r in enumerate(recordings)]
            values = (
                5 + (truth - 5) * 0.7 + np.concatenate(parts) + rng.normal(size=truth.shape) * noise
            )
            found[split] = Predictions(values.astype(np.float32), frames_hash(recordings))
        return found

    def add(
        self,
        study: str,
        trial: str,
        seed: int,
        noise: float,
        *,
        flipped: bool = False,
        **changes: Any,
    ) -> dict[str, Predictions]:
        """One complete trial, as a search writes it; `flipped`: up is down around 5, in
        both dimensions."""
        predictions = self.predict(seed, noise)
        if flipped:
            predictions = {
                split: Predictions(10.0 - one.values, one.frames_hash)
                for split, one in predictions.items()
            }
        values = predictions["validation"].values
        valence, arousal = (ccc(values[:, i], self.labels[:, i]) for i in range(2))
        settings = TrialSettings(features=("face",), encoder=("lstm", "gru")[seed % 2], seed=seed)
        fields = {"settings": settings, "on": self.store, "ccc": (valence, arousal), **changes}
        self.bank.write(make_trial(study, trial, **fields), predictions)
        return predictions


def make_world(folder: Path, *, trials: int = 6, time_column: str | None = "time") -> World:
    """A world whose study `first` has trials a0, a1, …, the later the noisier."""
    world = World(Home(folder / "home"), make_store(folder / "store", time_column=time_column))
    for index in range(trials):
        world.add("first", f"a{index}", seed=index, noise=0.6 + 0.25 * index)
    return world


def write_outside(
    folder: Path, world: World, seed: int, rows: str = "labelled", time: bool = True
) -> None:
    """An outside model's folder: `rows` all, labelled (test: the middle), with or without times."""
    folder.mkdir(parents=True)
    predictions = world.predict(seed, 1.0)
    for split in ("validation", "test"):
        start = 0
        for recording in world.store.split(split):
            values = predictions[split].values[start : start + recording.frames]
            start += recording.frames
            frames = np.arange(recording.frames)
            if rows == "labelled":
                labelled = ~np.isnan(world.store.annotations[recording.start : recording.stop, 0])
                frames = np.flatnonzero(labelled) if split == "validation" else frames[5:-5]
            if rows == "labelled" and split == "test" and not time:
                frames = np.arange(recording.frames)
            lines = ["time,valence,arousal" if time else "valence,arousal"]
            for frame in frames:
                pair = f"{values[frame, 0]:.4f},{values[frame, 1]:.4f}"
                lines.append(f"{frame * 50},{pair}" if time else pair)
            (folder / f"{recording.name}.csv").write_text("\n".join(lines) + "\n")
