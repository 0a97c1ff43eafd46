"""Time to quality: minutes until our ensemble is better than all that a search by the tutorials
ends with.

    python benchmarks/time_to_quality.py                           30 trials of the recipe: 10 minutes on two idle cores
    python benchmarks/time_to_quality.py --trials 4 --epochs 3     whether it runs: a minute

One simulated store of the demo's size, one space (feature sets, fusion, width, layers, dropout,
learning rate), as many trials side by side, one way after the other:

    recipe  tutorial_recipe.py on --trials configurations drawn at random from the space, none
            stopped early. Its final score is the mean of the best five trials' validation scores
    ours    va-search's search by TPE with ASHA (grace 5 epochs, factor 3; no early stopping with 5
            epochs or fewer) for as long as the recipe took. Its score at a mark is that of the
            ensemble (--recipe) of all that was finished by then, judged out-of-fold

The encoder is a transformer, as its batches are the same for both (search.py says why). The recipe
has two advantages: its files are normalised and averaged over two frames already, and its score is
in-sample: the best epoch of each dimension and the best five trials are chosen on the recordings
that they are judged on. Our ensemble's members and weights are chosen without the recordings that
it is judged on; its members' best epochs are chosen on all of them, too. Ours has one: it is judged
on every frame, interpolated between steps, which is worth about .012 (docs/performance.md). When
the mean of our best five passes, in-sample too, tells what the search alone is worth.

Whose quality is higher is settled on the test recordings, whose labels neither saw: the recipe's
score there is that of its best five (each with the weights of its best epochs, predicted like
ours), and that of their mean prediction.

A minute is --concurrent times 60 core-seconds of all the processes of a side, from its command on
(imports, Ray, trainings), so that what else runs on the machine takes no time away; wall minutes
stand beside them. Making the ensemble is counted too, on one core. Ours has passed at the first
mark at which, and at the next one too, it scores higher."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
import yaml
from numpy.typing import NDArray
from process_tree import Taken
from rich.console import Console
from rich.table import Table
from search import Job, export
from search_comparison import NAME, Comparand, finished_materials
from search_comparison import search as search_for
from simulated_gain import hidden_labels

from va_search.api.ensembles import DEFAULT_RECIPE
from va_search.data.simulate import simulate
from va_search.data.store import Store
from va_search.ensemble import compare
from va_search.ensemble.compare import CarriedOut
from va_search.ensemble.material import Materials, gather
from va_search.ensemble.post_processing import combine
from va_search.ensemble.recipe import load_recipe
from va_search.home import Home
from va_search.metrics import ccc
from va_search.predictions.bank import Bank
from va_search.search.machine import cores
from va_search.search.space import load_space
from va_search.targets import AFFECT
from va_search.training.batches import Steps
from va_search.training.examples import Examples
from va_search.training.predict import build_model, predict
from va_search.trial_settings import TrialSettings

BEST = 5
"""Trials whose mean is the recipe's score."""
ASHA = {"grace_epochs": 5, "reduction_factor": 3}
"""Early stopping of our search."""
ROWS = 10
"""Of ours, printed over its whole time."""
SETTINGS: dict[str, Any] = {
    "features": {"subset": {"visual": {"of": "all", "min": 1, "max": 2}, "audio": {"of": "all", "min": 1, "max": 2}}},
    "normalise": "recording", "frame_step": 2, "segment_length": 100, "encoder": "transformer", "schedule": "cosine",
    "fusion": {"choice": ["early", "late"]}, "width": {"choice": [32, 48, 64]}, "layers": {"int": [1, 2]},
    "feed_forward": 96, "encoder_dropout": {"choice": [0.1, 0.3]}, "head_sizes": [32],
    "learning_rate": {"float": [3e-4, 1e-2], "log": True},
}  # fmt: skip
"""Those of search_spaces/demo.yaml with its transformer alone, several widths, and a wider range of
learning rates."""


@dataclass(frozen=True)
class Mark:
    """What ours had after so many minutes of its time: trials finished, the mean of the best five's
    validation scores (like the recipe's, in-sample), the best single and the ensemble out-of-fold,
    and the ensemble on the test split; None where there was too little."""

    minutes: float
    trials: int
    best_five: float | None
    single: float | None
    ensemble: float | None
    test: float | None


@dataclass(frozen=True)
class Final:
    """What the recipe ends with: its trials' validation scores; on the test split, the mean score
    of the best five, and the score of their mean prediction."""

    scores: list[float]
    test: float
    test_of_mean: float

    @property
    def score(self) -> float:
        """The mean of the best five."""
        return final(self.scores)


def drawn(path: Path, store: Store, number: int, seed: int) -> list[dict[str, Any]]:
    """Settings of random trials of the space in a file, no two the same."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, found = load_space(path, store), dict[str, TrialSettings]()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    while len(found) < number:
        for settings in space.trials(space.suggest(study.ask())):
            found[settings.model_dump_json()] = settings
    return [settings.model_dump(mode="json") for settings in found.values()][:number]


def final(scores: list[float]) -> float:
    return statistics.mean(sorted(scores)[-BEST:])


def tested(predictions: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """The mean of both CCCs of (frames, 2) predictions."""
    return statistics.mean(ccc(predictions[:, d], truth[:, d]) for d in range(2))


def recipe_tested(
    folder: Path, store: Store, truth: NDArray[np.floating], scores: list[float]
) -> Final:
    """The recipe's best five on the test split, from the checkpoints it left."""
    found: list[tuple[float, NDArray[np.floating]]] = []
    for result in sorted(folder.glob("ray_results/recipe/*/result.json")):
        epochs = [json.loads(line) for line in result.read_text().splitlines()]
        if epochs[-1]["score"] < sorted(scores)[-BEST:][0]:
            continue
        settings = TrialSettings(**epochs[0]["config"]["settings"])
        data = Examples(settings, store, torch.device("cpu"))
        steps = Steps.of(store, store.split("test"), settings.frame_step, data.statistics.group)
        values = np.empty_like(truth)
        for d, dimension in enumerate(AFFECT):
            best = int(np.argmax([epoch[f"ccc_{dimension}"] for epoch in epochs]))
            state = torch.load(
                result.parent / f"checkpoint_{best:06d}" / "checkpoint.pt", weights_only=True
            )
            model = build_model(settings, data.feature_sets)
            model.load_state_dict(state["model"])
            values[:, d] = predict(model, settings, data.gather, steps, store.targets)[:, d]
        found.append((epochs[-1]["score"], values))
    best_five = [values for _, values in sorted(found, key=lambda pair: pair[0])[-BEST:]]
    mean = statistics.mean(tested(values, truth) for values in best_five)
    return Final(scores, mean, tested(np.mean(best_five, axis=0), truth))


def ours_tested(
    bank: Bank,
    materials: Materials,
    outcomes: Mapping[str, CarriedOut],
    truth: NDArray[np.floating],
) -> float:
    """An ensemble of ours on the test split."""
    lines, values = materials.lines, np.empty_like(truth)
    for d, dimension in enumerate(AFFECT):
        fit, candidates = outcomes[dimension].fit, outcomes[dimension].fits.material.candidates
        members = [int(index) for index in np.flatnonzero(fit.weights)]
        columns = [
            bank.column(
                one.study, one.id, "test", dimension, frames_hash=str(lines.test_frames_hash)
            )
            for one in (candidates[index] for index in members)
        ]
        values[:, d] = combine(fit.weights[members], columns, lines.store.split("test"), fit.post)
    return tested(values, truth)


def marks_of(
    comparand: Comparand, store: Store, options: argparse.Namespace, truth: NDArray[np.floating]
) -> list[Mark]:
    """Return a mark after every --every minutes of our study's time; making the ensemble comes on
    top."""
    home = Home(comparand.folder)
    bank = Bank(home.bank)
    materials = gather(home, [NAME], store, outside=False)
    recipe = load_recipe(options.recipe)
    spent = {trial.id: comparand.spent_at(trial) for trial in materials.lines.candidates}
    scores = {trial.id: trial.best["score"].ccc for trial in bank.each_trial(NAME)}
    minutes_searched = comparand.spent / options.concurrent / 60
    marks: list[Mark] = []
    for number in range(1, int(minutes_searched / options.every + 1e-9) + 1):
        began = time.process_time()
        minutes = number * options.every
        core_seconds = 60 * minutes * options.concurrent
        finished = {trial for trial, seconds in spent.items() if seconds <= core_seconds}
        best_five = None
        if len(finished) >= BEST:
            best_five = final([scores[trial] for trial in finished])
        known = finished_materials(materials, finished)
        if known is None:
            marks.append(Mark(minutes, len(finished), best_five, None, None, None))
            continue
        outcomes = compare.carry_out(recipe, known)
        ensemble = out_of_fold(outcomes)
        # The ensemble's making is counted; what follows only measures.
        minutes += (time.process_time() - began) / 60
        single = out_of_fold(compare.best_single(known))
        test = ours_tested(bank, known, outcomes, truth)
        marks.append(Mark(minutes, len(finished), best_five, single, ensemble, test))
    return marks


def out_of_fold(outcomes: Mapping[str, CarriedOut]) -> float | None:
    """Return the score of a recipe's outcomes out-of-fold; None where there are no folds."""
    scores = compare.out_of_fold(compare.predicted_by(outcomes))
    return None if scores is None else scores["score"]


def passed(marks: list[Mark], value: Callable[[Mark], float | None], score: float) -> Mark | None:
    """The first mark whose value passes the score, and the next one's with it."""
    above = [(value(one) or -1.0) > score for one in marks]
    return next(
        (one for one, now, later in zip(marks, above, above[1:], strict=False) if now and later),
        None,
    )


def show(
    recipe: Taken, last: Final, marks: list[Mark], wall: Callable[[Mark], float], cores: int
) -> None:
    whole = recipe.core_seconds / cores / 60
    table = Table(title="ours, as time goes on", title_justify="left")
    headings = (
        "minutes",
        "trials",
        "best five, in-sample",
        "best single, out-of-fold",
        "ensemble, out-of-fold",
        "test",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    every = max(1, len(marks) // ROWS)
    for one in dict.fromkeys([*marks[::every], marks[-1]]):
        values = (
            "–" if v is None else f"{v:.4f}"
            for v in (one.best_five, one.single, one.ensemble, one.test)
        )
        table.add_row(f"{one.minutes:.2f}", str(one.trials), *values)
    Console(width=120).print(table)
    print(
        f"recipe: {len(last.scores)} trials, {whole:.2f} minutes ({recipe.seconds / 60:.2f} of the wall)"
    )
    print(f"  best five {last.score:.4f}, best {max(last.scores):.4f}, in-sample")
    print(
        f"  on the test split: best five {last.test:.4f}, their mean prediction {last.test_of_mean:.4f}"
    )
    ways = {
        "the ensemble, out-of-fold, the best five": passed(
            marks, lambda one: one.ensemble, last.score
        ),
        "the best five, in-sample, those of the recipe": passed(
            marks, lambda one: one.best_five, last.score
        ),
        "the ensemble on the test split, the best five there": passed(
            marks, lambda one: one.test, last.test
        ),
        "the ensemble on the test split, their mean prediction there": passed(
            marks, lambda one: one.test, last.test_of_mean
        ),
    }
    for name, mark in ways.items():
        if mark is None:
            print(f"ours: {name}: not passed in {marks[-1].minutes:.2f} minutes")
        else:
            after = (
                f"{mark.minutes:.2f} minutes ({wall(mark):.2f} of the wall), {mark.trials} trials"
            )
            print(
                f"ours: {name}: passed after {after}: {mark.minutes / whole:.2f} of the recipe's time"
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=30, help="the recipe's")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument(
        "--seed", type=int, default=0, help="of both ways of proposing configurations"
    )
    parser.add_argument("--every", type=float, default=0.1, help="minutes between marks")
    parser.add_argument("--recipe", default=DEFAULT_RECIPE, help="of the ensemble")
    parser.add_argument(
        "--concurrent", type=int, default=cores(), help="cores, and so trials side by side"
    )
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with tempfile.TemporaryDirectory(prefix="va", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        store = simulate(folder / "store", size="demo", hidden=folder / "hidden")
        truth = hidden_labels(store, folder / "hidden")
        space = folder / "space.yaml"
        settings = {**SETTINGS, "epochs": given.epochs}
        random = {"sampler": "random", "budget": {"trials": given.trials}, "settings": settings}
        space.write_text(yaml.safe_dump(random))
        our_space = folder / "our-space.yaml"
        ours = random | {"sampler": "tpe"}
        # With fewer epochs no trial would ever be stopped, which the space refuses.
        if given.epochs > ASHA["grace_epochs"]:
            ours["early_stopping"] = ASHA
        our_space.write_text(yaml.safe_dump(ours))
        trials = drawn(space, store, given.trials, given.seed)
        every_set = TrialSettings(**{**trials[0], "features": [*store.feature_sets]})
        export(store, every_set, folder / "exported")
        job = Job(folder, folder / "exported", store, given.epochs, [], given.concurrent)
        print("recipe …", file=sys.stderr, flush=True)
        taken, scores = job.script("recipe", "tutorial_recipe.py", trials)

        comparand = Comparand("ours", our_space, given.seed, folder / "ours", counts_start=True)
        os.environ |= job.environment("ours")
        began = time.time()
        limits = argparse.Namespace(seconds=taken.core_seconds, concurrent=given.concurrent)
        try:
            search_for(comparand, store.path, limits)
        finally:  # before the folder goes
            for process in multiprocessing.active_children():
                process.terminate()
                process.join()
        marks = marks_of(comparand, store, given, truth)
        last = recipe_tested(folder / "recipe", store, truth, scores)

        def wall(mark: Mark) -> float:
            """Return the minutes of the wall until our study had searched as long as the mark."""
            core_seconds = 60 * mark.minutes * given.concurrent
            for now, spent in comparand.clock():
                if spent >= core_seconds:
                    return (now - began) / 60
            return (time.time() - began) / 60

        show(taken, last, marks, wall, given.concurrent)


if __name__ == "__main__":
    main()
