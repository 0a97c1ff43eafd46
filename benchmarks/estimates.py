"""Does the score that an ensemble prints of itself hold on other people?

    python benchmarks/estimates.py case=stores/case again=stores/again_solid --worlds 300 --out estimates

A division: the labelled people of a store are drawn into training (a half), validation (a quarter)
and test (a quarter). Ten small trials, drawn from a space like any.yaml's, are trained on the
training people, once with `keep: mean_last_5` and once with `keep: best`. From each pool the
default ensemble is built as a user builds it, and says its score and its 95 % interval; the test
people, of whom it knew nothing but their number, tell the truth. Worlds (`--worlds`) are those of
do_no_harm.py, where nothing is trained: 6 people to choose on, 6 others to tell the truth.

Printed for each set and pool: the mean of what was expected and of what was true, the mean error
(expected less true) ± its standard error over divisions, how often the interval held the truth, its mean width
beside the oracle's (the central 95 % of the errors that were made, around every estimate alike),
and the ensemble's test score less that of the best single trial. Divisions of the same people
resemble each other, so that standard errors over divisions are too small.

The folder given by --out keeps homes with the trials' predictions: the same command again trains
only what is missing. `--quick`: a simulated store, two divisions, seconds."""

from __future__ import annotations

import argparse
import statistics
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import do_no_harm
import numpy as np
import torch
from numpy.typing import NDArray

from va_search.data.draft import Description, Draft, Part, Source
from va_search.data.grouping import kept_together
from va_search.data.simulate import simulate
from va_search.data.store import Recording, Store, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.compare import BEST
from va_search.ensemble.estimate import interval_on_others
from va_search.ensemble.out_of_fold import Fits
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import Ensemble, predict
from va_search.ensemble.sums import pooled_ccc
from va_search.files import digest
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank, Predictions
from va_search.search.task import best_of
from va_search.targets import AFFECT
from va_search.training.epochs import EPOCHS_KEPT, mean_of
from va_search.training.fit import Fit, fit_of
from va_search.training.predict import predict as predicted
from va_search.trial import SCORE, Trial
from va_search.trial_settings import TrialSettings, trial_id_on

KEEPS = ("mean_last_5", "best")
"""The pools: rules by which networks keep epochs; those without one are in both."""
PEOPLE = 6
"""People chosen on in a world, and tested on."""
HOPELESS = ("all bad", "all flipped")
"""Families of worlds in which there is nothing to estimate."""
TRIALS = 10
EPOCHS = 8


@dataclass(frozen=True)
class Statement:
    """Scores {each target, score} of one division: what the ensemble expects (`expected`, its 95 %
    interval from `low` to `high`), what it gives on the test people (`true`), and what the best
    single trial gives there (`single`)."""

    expected: dict[str, float]
    low: dict[str, float]
    high: dict[str, float]
    true: dict[str, float]
    single: dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="NAME=STORE", help="data sets")
    parser.add_argument("--out", type=Path, required=True, help="folder of what is trained")
    parser.add_argument("--divisions", type=int, default=60)
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--worlds", type=int, default=0, help="worlds without training")
    parser.add_argument("--quick", action="store_true", help="a simulated store, 2 divisions")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    stores = dict(pair.partition("=")[::2] for pair in options.stores)
    if options.quick:
        options.divisions, options.trials, options.epochs = 2, 3, 6
        simulate(options.out / "simulated")
        stores["quick"] = str(options.out / "simulated")
    table: dict[str, list[Statement]] = {}
    for name, path in stores.items():
        store = thinned(Store.open(path), options.out / f"{name}-thinned")
        table |= statements(name, store, options)
    if options.worlds:
        table["worlds"] = [in_world(number) for number in range(options.worlds)]
    print_table(table)


def statements(name: str, store: Store, options: argparse.Namespace) -> dict[str, list[Statement]]:
    """Expected and true scores of the ensembles of each pool, division by division."""
    rows: dict[str, list[Statement]] = {f"{name}, {keep}": [] for keep in KEEPS}
    for number in range(options.divisions):
        began = time.perf_counter()
        home = Home(options.out / f"{name}-{number}")
        division = divided(store, number)
        for settings in drawn_trials(division, number, options):
            train(settings, division, home)
        for keep in KEEPS:
            statement = judged(division, home, study=keep)
            rows[f"{name}, {keep}"].append(statement)
            interval = f"{statement.low[SCORE]:.2f} to {statement.high[SCORE]:.2f}"
            print(
                f"{name}, {keep}, division {number}: expected {statement.expected[SCORE]:.3f} "
                f"({interval}), true {statement.true[SCORE]:.3f}, "
                f"{time.perf_counter() - began:.0f} s",
                flush=True,
            )
    return rows


def thinned(store: Store, to: Path) -> Store:
    """Make a copy of the store's labelled recordings at about a frame a second, each the mean of as
    many frames (without a label where one of them has none), or open the one that is there."""
    recordings = store.labelled
    rate = max(recording.frames_per_second for recording in recordings)
    step = max(1, round(rate))
    sources: list[Source] = []
    for recording in recordings:
        slow = recording.frames_per_second / step
        sources.append(
            Source(recording.name, recording.subject, recording.video, "train", None, slow, ())
        )
    sets = {
        feature_set.name: (feature_set.modality, tuple(feature_set.columns))
        for feature_set in store.feature_sets.values()
    }
    draft = Draft(to, Description(f"{store.name} thinned", store.targets, sets), sources)
    for index in draft.missing():
        span = recordings[index].span
        starts = np.arange(0, recordings[index].frames, step)
        counts = np.diff(np.append(starts, recordings[index].frames))[:, None]
        columns = {name: store.features(name)[span] for name in sets} | {
            "": store.annotations[span]
        }
        means = {name: np.add.reduceat(values, starts) / counts for name, values in columns.items()}
        labels = means.pop("").astype(np.float32)
        features = {name: values.astype(np.float32) for name, values in means.items()}
        gaps = {gap // step for gap in recordings[index].gaps} - {0}
        draft.add(index, Part(features, labels, gaps=tuple(sorted(gaps))))
    return draft.finish()


def divided(store: Store, number: int) -> Store:
    """Return the store with its people drawn anew into training (a half), validation and test (a
    quarter each); who shares a video stays together."""
    groups, _ = kept_together(store.recordings, range(len(store.recordings)))
    order = np.random.default_rng([number, len(groups)]).permutation(len(groups))
    quarter = len(groups) // 4
    split_of: dict[int, str] = {}
    for drawn, group in enumerate(order.tolist()):
        split = "train"
        if drawn < 2 * quarter:
            split = "test" if drawn < quarter else "validation"
        split_of |= dict.fromkeys(groups[group], split)
    recordings: list[Recording] = []
    for index, recording in enumerate(store.recordings):
        recordings.append(replace(recording, split=split_of[index]))
    hashes = {**store.hashes, "recordings": digest([store.hashes["recordings"], number])}
    return replace(store, recordings=tuple(recordings), hashes=hashes)


def drawn_trials(store: Store, number: int, options: argparse.Namespace) -> Iterator[TrialSettings]:
    """Yield the small trials of a division, drawn from a space that resembles any.yaml's."""
    random = np.random.default_rng([number, 2026])
    names = sorted(store.feature_sets)
    longest = max(recording.frames for recording in store.recordings)
    for trial in range(options.trials):
        sets = random.permutation(names)[: random.integers(1, len(names) + 1)]
        views = (["subject", "recording"], "subject", "train")[trial % 3]
        settings: dict[str, Any] = {
            "features": sets.tolist(),
            "normalise": views,
            "normalise_by": "median_mad",
            "clip": 5,
            "segment_length": longest,
            "width": 32,
            "layers": 1,
            "hidden_size": 32,
            "head_sizes": [32],
            "encoder": "lstm" if trial % 4 == 1 else "mlp",
            "context": "recording" if trial % 4 else "none",
            "encoder_dropout": float(random.choice([0.1, 0.3, 0.5])),
            "learning_rate": float(np.exp(random.uniform(np.log(1e-3), np.log(6e-3)))),
            "schedule": "cosine",
            "epochs": options.epochs,
            "seed": number,
        }
        if trial % 4 == 0:
            settings |= {"family": "ridge"}
        yield TrialSettings(**settings)


def train(settings: TrialSettings, store: Store, home: Home) -> None:
    """Train a trial once, and write it to the bank with its best epochs (study "best") and with the
    mean of its last five epochs' predictions (study "mean_last_5"), unless it is there."""
    by_keep = {keep: settings.model_copy(update={"keep": keep}) for keep in KEEPS}
    if not settings.is_network:
        by_keep = dict.fromkeys(KEEPS, settings)
    bank = Bank(home.bank)
    if all(bank.is_complete(keep, trial_id_on(by_keep[keep], store)) for keep in KEEPS):
        return
    fit = fit_of(by_keep["best"], store)
    splits = {"validation": fit.data.validation, "test": fit.data.test}
    recent: dict[str, deque[NDArray[np.float32]]] = {}
    for split in splits:
        recent[split] = deque(maxlen=EPOCHS_KEPT["mean_last_5"])
    while not fit.finished:
        fit.run_epoch()
        if len(fit.history) <= settings.epochs - EPOCHS_KEPT["mean_last_5"]:
            continue
        for split, steps in splits.items():
            model, gather = fit.measured_model, fit.data.gather
            recent[split].append(predicted(model, settings, gather, steps, store.targets))
    complete(fit, by_keep["best"], store, home, fit.predictions(), study="best")
    means: dict[str, Predictions] = {}
    for split, steps in splits.items():
        means[split] = Predictions(mean_of(recent[split]), frames_hash(steps.recordings))
    complete(fit, by_keep["mean_last_5"], store, home, means, study="mean_last_5")


def complete(
    fit: Fit,
    settings: TrialSettings,
    store: Store,
    home: Home,
    predictions: dict[str, Predictions],
    *,
    study: str,
) -> None:
    """Write a trained trial to the bank."""
    trial = Trial(
        study=study,
        id=trial_id_on(settings, store),
        settings=settings,
        data_hash=settings.data_hash(store),
        store=store.name,
        store_path=store.place,
        targets=None if store.target_names == AFFECT else store.target_names,
        best=best_of(fit),
        history_json=[epoch.to_json() for epoch in fit.history],
        epochs=len(fit.history),
    )
    Bank(home.bank).write(trial, predictions)


def judged(store: Store, home: Home, *, study: str) -> Statement:
    """Build the default ensemble of a study, and score it and its best single trial on the test
    people."""
    ensemble = build(home, [study], load_recipe("bagged_greedy"), study, store, force=True)
    bank = Bank(home.bank)
    recordings = store.split("test")
    truth = store.annotations[positions(recordings)]
    ensemble_cccs = cccs(predict(ensemble, bank, "test", recordings), truth, store)
    columns: list[NDArray[np.float32]] = []
    for target, weighted in ensemble.dimensions.items():
        single = weighted.best_single
        assert single is not None
        lines_up = str(ensemble.test_frames_hash)
        columns.append(bank.column(study, single.trial, "test", target, frames_hash=lines_up))
    return Statement(
        **expectation(ensemble),
        true=ensemble_cccs,
        single=cccs(np.stack(columns, axis=1), truth, store),
    )


def in_world(number: int) -> Statement:
    """Expected scores of the default ensemble in a world of do_no_harm.py, and true ones of 6
    people."""
    names = [name for name in do_no_harm.FAMILIES if name not in HOPELESS]
    family = names[number % len(names)]
    random = np.random.default_rng([2027, number])
    world = do_no_harm.make_world(family, random)
    seen = do_no_harm.material(world, random, PEOPLE)
    fits = Fits(seen, load_recipe("bagged_greedy").plan("valence"))
    single = Fits(seen, BEST)
    predicted = fits.out_of_fold()
    assert predicted is not None
    score = pooled_ccc(predicted)
    groups = seen.folds.groups
    interval = interval_on_others([predicted], groups, PEOPLE, score=score)
    low, high = interval or (np.nan, np.nan)
    tested = do_no_harm.people_of(world, random, PEOPLE)
    true = do_no_harm.on_others(fits.fit().weights, fits, tested)
    single_true = do_no_harm.on_others(single.fit().weights, single, tested)
    return Statement(
        expected={SCORE: score},
        low={SCORE: low},
        high={SCORE: high},
        true={SCORE: true},
        single={SCORE: single_true},
    )


def expectation(ensemble: Ensemble) -> dict[str, dict[str, float]]:
    """Scores that an ensemble prints as expected, and the ends of their intervals."""
    estimate = ensemble.estimate
    assert estimate is not None
    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for measure, interval in estimate.intervals.items():
        low[measure], high[measure] = interval or (np.nan, np.nan)
    return {"expected": estimate.scores, "low": low, "high": high}


def cccs(
    predictions: NDArray[np.floating], truth: NDArray[np.float32], store: Store
) -> dict[str, float]:
    """{each target, score} of predictions clipped to the targets' ranges, as in a submission."""
    values: dict[str, float] = {}
    for column, target in enumerate(store.targets):
        clipped = np.clip(predictions[:, column], target.low, target.high)
        values[target.name] = ccc(clipped, truth[:, column])
    return {**values, SCORE: statistics.fmean(values.values())}


def print_table(table: dict[str, list[Statement]]) -> None:
    """Print a Markdown table: a row for each set and pool, and for each of their scores."""
    print(
        "\n| set, pool | score | divisions | expected | true | error | in the interval | width | "
        "oracle's | less best single |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for name, rows in table.items():
        targets = [measure for measure in rows[0].expected if measure != SCORE]
        for measure in (SCORE, *(targets if len(targets) > 1 else ())):  # of one it is its score
            print(f"| {name} | {measure} | {line(rows, measure)} |")


def line(rows: list[Statement], measure: str) -> str:
    """The cells of a row of the table."""
    expected = np.array([row.expected[measure] for row in rows])
    true = np.array([row.true[measure] for row in rows])
    low = np.array([row.low[measure] for row in rows])
    high = np.array([row.high[measure] for row in rows])
    gained = true - np.array([row.single[measure] for row in rows])
    oracle = np.subtract(*np.quantile(true - expected, [0.975, 0.025]))
    cells = [
        str(len(rows)),
        f"{expected.mean():.3f}",
        f"{true.mean():.3f}",
        mean_text(expected - true),
        f"{np.mean((low <= true) & (true <= high)):.0%}",
        f"{np.mean(high - low):.2f}",
        f"{oracle:.2f}",
        f"{mean_text(gained)}, below in {np.mean(gained < 0.0):.0%}",
    ]
    return " | ".join(cells)


def mean_text(values: NDArray[np.float64]) -> str:
    """The mean of some values ± its standard error."""
    error = values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} ± {error:.3f}".replace("-", "−")


if __name__ == "__main__":
    main()
