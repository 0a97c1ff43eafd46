"""How long a report of a large study takes, by its parts.

    python benchmarks/report.py                  1,000 trials: a minute or two on two cores
    python benchmarks/report.py --trials 100

The trials are written, not trained: noise added to the annotations of the simulated challenge, less
of it where the settings are good ones. Printed are the seconds to build the ensemble that the
report shows, to put the report together, to write it, and the page's size."""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path

import numpy as np

from va_search.data.simulate import simulate
from va_search.data.store import Store, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.report.write import assemble, save
from va_search.search.study import Study
from va_search.trial import Best, Epoch, Trial, TrialState
from va_search.trial_settings import TrialSettings, trial_id

STUDY = "many"
ENCODERS = ("lstm", "gru", "transformer", "transformer_lstm")
EPOCHS = 15


def drawn_settings(rng: np.random.Generator, store: Store) -> TrialSettings:
    """Settings as a random search draws them."""
    sets = list(store.feature_sets)
    count = int(rng.integers(1, len(sets) + 1))
    features = sorted(rng.choice(sets, count, replace=False).tolist())
    return TrialSettings(
        features=tuple(features),
        encoder=str(rng.choice(ENCODERS)),
        normalise=str(rng.choice(["train", "recording"])),
        learning_rate=float(10 ** rng.uniform(-4, -2)),
        hidden_size=int(rng.choice([32, 64, 128])),
        seed=int(rng.integers(3)),
        epochs=EPOCHS,
    )


def write_trial(
    bank: Bank, store: Store, settings: TrialSettings, rng: np.random.Generator
) -> None:
    """A complete trial that follows the annotations, with noise by its settings."""
    noise = 0.5 if settings.normalise == "train" else 0.8
    noise *= rng.uniform(0.8, 1.2)
    predictions = {}
    for split in ("validation", "test"):
        recordings = store.split(split)
        truth = np.nan_to_num(store.annotations[positions(recordings)])
        values = 0.7 * truth + noise * rng.normal(size=truth.shape) / 2
        clipped = np.clip(values, -1, 1).astype(np.float32)
        predictions[split] = Predictions(clipped, frames_hash(recordings))
    labels = store.annotations[positions(store.split("validation"))]
    cccs = {}
    for column, target in enumerate(store.target_names):
        cccs[target] = ccc(predictions["validation"].values[:, column], labels[:, column])
    score = sum(cccs.values()) / len(cccs)
    history = []
    for epoch in range(1, EPOCHS + 1):
        share = epoch / EPOCHS
        reached = {target: share * value for target, value in cccs.items()}
        history.append(Epoch(epoch, cccs=reached, score=share * score).to_json())
    best = {target: Best(value, EPOCHS) for target, value in cccs.items()}
    data_hash = store.data_hash(settings.features, settings.fold)
    trial = Trial(
        study=STUDY,
        id=trial_id(settings, data_hash),
        state=TrialState.COMPLETE,
        settings=settings,
        settings_json=settings.model_dump(mode="json"),
        history_json=history,
        best={**best, "score": Best(score, EPOCHS)},
        failure=None,
        data_hash=data_hash,
        store=store.name,
        store_path=str(store.path.resolve()),
        seconds=30.0,
    )
    bank.write(trial, predictions)


def make_home(folder: Path, trials: int) -> tuple[Home, Store]:
    """A home with one study of so many trials on the simulated challenge."""
    store = simulate(folder / "store")
    home = Home(folder / "home")
    space = {"sampler": "random", "settings": {"features": list(store.feature_sets)}}
    Study(home, STUDY).begin(store, space)
    rng = np.random.default_rng(0)
    for _ in range(trials):
        write_trial(Bank(home.bank), store, drawn_settings(rng, store), rng)
    return home, store


def main() -> None:
    """Print the seconds of every part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--folder", type=Path, help="keep the home here, and use it again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if (folder / "home").is_dir():
            home, store = Home(folder / "home"), Store.open(folder / "store")
        else:
            home, store = make_home(folder, options.trials)
            started = time.perf_counter()
            build(home, [STUDY], load_recipe("bagged_greedy"), "best", store)
            print(f"ensemble     {time.perf_counter() - started:6.1f} s")
        profile = cProfile.Profile()
        for run in ("first time", "again"):
            started, busy = time.perf_counter(), time.process_time()
            if options.profile and run == "again":
                profile.enable()
            report = assemble(home, [STUDY], store, out=Path(scratch) / "report")
            profile.disable()
            assembled, busy = time.perf_counter(), time.process_time() - busy
            page = save(report, Path(scratch) / "report")
            written = time.perf_counter()
            print(f"put together {assembled - started:6.1f} s ({busy:.1f} s of a core), {run}")
            print(f"written      {written - assembled:6.1f} s, {page.stat().st_size / 1e6:.2f} MB")
        if options.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
