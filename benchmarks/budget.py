"""Divisions of a budget of trainings between many configurations, folds and training again, judged
by people who took no part in anything.

    python benchmarks/budget.py stores/case --space search_spaces/any.yaml --out budget

Each fold of the store is once the test set (its labels are taken out, as in flows.py). On the
others a pool of configurations, drawn at random from the space, is trained on every fold and once
on everything labelled. The folder given by --out is a home per fold with these trials: the same
command again trains only what is missing.

From that cache each division takes so many of the pool, as often as there are draws, and the
package's own code chooses members and weights and matches the moments. Rows: divisions; columns:
the best trial on the one fold; the ensemble (of all folds' models where there are several); its
members trained again on everything, matched; the mean of these two, matched. Cells: the CCC on the
outer people (mean over targets, folds and draws), the difference to the first row's members trained
again ± its standard error over folds, and the number of trainings."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from flows import cccs, divided, labels_of
from numpy.typing import NDArray

from va_search.api.searching import load_space
from va_search.data.store import MIX, Store, frames_hash, positions
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.refit import matching, plan_refit, refit
from va_search.ensemble.saved import predict
from va_search.errors import InputError
from va_search.files import digest
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.configurations import Space
from va_search.search.task import Task, write_trial
from va_search.training.fit import fit_of
from va_search.trial import SCORE
from va_search.trial_settings import TrialSettings, configuration_id, trial_id_on

POOL = "pool"
"""The study that has all trainings of a home."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Outer:
    """One fold as test set: the store without its labels, the pool's trials, and the truth."""

    fold: int
    store: Store
    home: Home
    pool: tuple[str, ...]
    trials: dict[tuple[str, int | str], TrialSettings]
    truth: NDArray[np.float32]

    @property
    def folds(self) -> list[int | str]:
        """Keys of the folds that are left, the official split first."""
        keys = [self.store.canonical_fold(number) for number in self.store.fold_numbers]
        return sorted(keys, key=lambda key: (not isinstance(key, str), str(key)))

    def trial_id(self, configuration: str, fold: int | str) -> str:
        return trial_id_on(self.trials[configuration, fold], self.store)

    def score(self, configuration: str, fold: int | str) -> float:
        """The score of a training on the people that its fold validates."""
        trial = self.bank.trial(POOL, self.trial_id(configuration, fold))
        return trial.best[SCORE].ccc

    @property
    def bank(self) -> Bank:
        return Bank(self.home.bank)

    def study(self, name: str, trainings: Iterable[tuple[str, int | str]]) -> str:
        """Make a study of some of the pool's trainings."""
        for configuration, fold in trainings:
            trial = self.trial_id(configuration, fold)
            if not self.bank.is_complete(name, trial):
                self.bank.adopt(name, trial, source=POOL)
        return name

    def test(self, configuration: str, fold: int | str) -> Values:
        """(frames, targets) a training's predictions of the outer people."""
        hashed = frames_hash(self.store.split("test"))
        trial = self.trial_id(configuration, fold)
        return self.bank.read(POOL, trial, "test", frames_hash=hashed).astype(np.float64)

    def matched(self, predictions: Values) -> Values:
        """The predictions with the labelled frames' mean and spread."""
        labels = self.store.annotations[positions(self.store.labelled)]
        columns = []
        for column in range(predictions.shape[1]):
            scale, offset = matching(predictions[:, column], labels[:, column])
            columns.append(scale * predictions[:, column] + offset)
        return np.stack(columns, axis=1)

    def judged(self, predictions: Values) -> float:
        """The mean CCC on the outer people."""
        return statistics.fmean(cccs(predictions, self.truth, self.store))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("store", type=Path)
    parser.add_argument("--space", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pool", type=int, default=12, help="configurations that are drawn")
    parser.add_argument("--seed", type=int, default=12, help="of the draw")
    parser.add_argument("--draws", type=int, default=3, help="choices among the pool")
    options = parser.parse_args()
    torch.set_num_threads(1)
    store = Store.open(options.store)
    labelled = sorted(
        {recording.fold for recording in store.labelled if recording.fold is not None}
    )
    outers: list[Outer] = []
    for place, fold in enumerate(labelled):
        validation = labelled[(place + 1) % len(labelled)]
        copy = divided(store, options.out / f"without-{fold}", test=fold, validation=validation)
        outers.append(opened(store, copy, fold, options))
    train(outers)
    print_table([*judged(outers, options.draws)])


def opened(store: Store, copy: Store, fold: int, options: argparse.Namespace) -> Outer:
    """The pool of the space on one copy of the store; nothing is trained."""
    space = load_space(options.space, copy)
    keys: list[int | str] = [copy.canonical_fold(number) for number in copy.fold_numbers]
    trials: dict[tuple[str, int | str], TrialSettings] = {}
    names: list[str] = []
    for settings in drawn(space, options.pool, options.seed):
        name = configuration_id(settings, but=("fold",))
        names.append(name)
        for key in [*keys, MIX]:
            trials[name, key] = settings.model_copy(update={"fold": key})
    home = Home(options.out / f"home-{options.space.stem}-{fold}")
    return Outer(fold, copy, home, tuple(names), trials, labels_of(store, copy))


def drawn(space: Space, number: int, seed: int) -> list[TrialSettings]:
    """So many different configurations of the space, the same at each call."""
    generator = Random(seed)  # noqa: S311 (no secret)
    configurations: dict[str, TrialSettings] = {}
    for _ in range(100 * number):
        if len(configurations) == number:
            break
        try:
            settings = space.trials(space.drawn(generator))[0]
        except InputError:
            continue
        configurations.setdefault(space.meaning(settings), settings)
    return list(configurations.values())


def train(outers: Sequence[Outer]) -> None:
    """Train what is missing of all pools, configuration by configuration."""
    trainings = [
        (outer, configuration, fold)
        for index in range(len(outers[0].pool))
        for outer in outers
        for configuration in outer.pool[index : index + 1]
        for fold in [*outer.folds, MIX]
    ]
    for number, (outer, configuration, fold) in enumerate(trainings):
        name = outer.trial_id(configuration, fold)
        if outer.bank.is_complete(POOL, name):
            continue
        began = time.monotonic()
        settings = outer.trials[configuration, fold]
        fit = fit_of(settings, outer.store)
        while not fit.finished:
            fit.run_epoch()
        task = Task(
            trial=name,
            settings_json=settings.model_dump(mode="json"),
            study=POOL,
            home=outer.home.place,
            store=outer.store.place,
            store_name=outer.store.name,
            data_hash=settings.data_hash(outer.store),
            targets=outer.store.target_names,
        )
        seconds = time.monotonic() - began
        write_trial(fit, task, stopped=False, seconds=seconds)
        what = settings.family if settings.family != "network" else settings.encoder
        print(
            f"{number + 1}/{len(trainings)} {what} without {outer.fold}, {fold}: {seconds:.1f} s",
            flush=True,
        )


@dataclass(frozen=True)
class Division:
    """A way to spend trainings: `searched` configurations on one fold, the best `raced` of these on
    all folds (0: members are chosen on the one fold)."""

    searched: int
    raced: int

    @property
    def name(self) -> str:
        if self.raced == 0:
            return f"{self.searched} on one fold"
        if self.raced == self.searched:
            return f"{self.searched} on all folds"
        return f"{self.searched} on one fold, the best {self.raced} on all"


@dataclass(frozen=True)
class Outcome:
    """CCCs on one outer fold by what is handed in, and the number of trainings that it took."""

    fold: int
    division: str
    trainings: dict[str, int]
    cccs: dict[str, float]


SINGLE, CHOSEN, AGAIN, BOTH = "best single", "ensemble", "trained again", "both"


def divisions(pool: int) -> list[Division]:
    """The divisions that a pool allows; the first is what the others are compared with."""
    whole = [Division(pool, 0), *(Division(pool, raced) for raced in (3, 5, 8))]
    return [*whole, Division(pool // 2, 0), Division(pool // 2, 3), *_on_all(pool)]


def _on_all(pool: int) -> list[Division]:
    return [Division(number, number) for number in (pool // 3, pool // 2, pool)]


def judged(outers: Sequence[Outer], draws: int) -> Iterator[Outcome]:
    """Yield what each division gives on each outer fold, draw by draw."""
    for outer in outers:
        for division in divisions(len(outer.pool)):
            for draw in range(draws if division.searched < len(outer.pool) else 1):
                generator = Random(f"{division.searched} {draw}")  # noqa: S311 (no secret)
                drawn = generator.sample(outer.pool, division.searched)
                yield divided_so(outer, division, drawn)
        for number in (len(outer.pool) // 3, len(outer.pool) // 2, len(outer.pool)):
            for draw in range(draws if number < len(outer.pool) else 1):
                generator = Random(f"{number} {draw}")  # noqa: S311 (no secret)
                drawn = generator.sample(outer.pool, number)
                mean = np.mean([outer.test(name, MIX) for name in drawn], axis=0)
                cccs = {AGAIN: outer.judged(outer.matched(mean))}
                yield Outcome(outer.fold, f"mean of {number}, unjudged", {AGAIN: number}, cccs)


def divided_so(outer: Outer, division: Division, drawn: Sequence[str]) -> Outcome:
    """The outcome of one division of the configurations drawn, by the package's own code."""
    first = outer.folds[0]
    ranked = sorted(drawn, key=lambda name: -outer.score(name, first))
    raced = ranked[: division.raced]
    trainings = [(name, first) for name in drawn]
    recipe = "bagged_greedy"
    if raced:
        trainings = [(name, fold) for name in raced for fold in outer.folds]
        recipe = "over_folds"
    single = outer.judged(outer.test(ranked[0], first))
    study = f"d{division.searched}-{division.raced}-{digest(sorted(drawn))[:8]}"
    outer.study(study, trainings)
    ensemble = build(outer.home, [study], load_recipe(recipe), study, outer.store, force=True)
    plan = plan_refit(outer.home, ensemble)
    again = f"{study}-again"
    chosen = {configuration_id(settings, but=("fold",)) for settings in plan.trials.values()}
    outer.study(again, [(name, MIX) for name in chosen])
    refitted = refit(outer.home, ensemble, plan, outer.store, name=again, match=True)
    recordings = outer.store.split("test")
    predictions = predict(ensemble, outer.bank, "test", recordings)
    trained_again = predict(refitted, outer.bank, "test", recordings)
    both = (outer.matched(predictions) + trained_again) / 2
    cccs = {
        SINGLE: single,
        CHOSEN: outer.judged(predictions),
        AGAIN: outer.judged(trained_again),
        BOTH: outer.judged(outer.matched(both)),
    }
    cost = division.searched + division.raced * (len(outer.folds) - 1)
    retrained = cost + len(chosen)
    trained = {SINGLE: division.searched, CHOSEN: cost, AGAIN: retrained, BOTH: retrained}
    return Outcome(outer.fold, division.name, trained, cccs)


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Print a Markdown table: a row per division, a column per what is handed in."""
    base = by_fold(outcomes, outcomes[0].division, AGAIN)
    print("\n| division |" + "".join(f" {name} |" for name in (SINGLE, CHOSEN, AGAIN, BOTH)))
    print("|---|" + "---|" * 4)
    for division in dict.fromkeys(outcome.division for outcome in outcomes):
        cells: list[str] = []
        for handed_in in (SINGLE, CHOSEN, AGAIN, BOTH):
            scores = by_fold(outcomes, division, handed_in)
            if not scores:
                cells.append("")
                continue
            differences = [scores[fold] - base[fold] for fold in scores]
            error = statistics.stdev(differences) / len(differences) ** 0.5
            trainings = statistics.fmean(
                outcome.trainings[handed_in] for outcome in outcomes if outcome.division == division
            )
            mean, change = statistics.fmean(scores.values()), statistics.fmean(differences)
            cells.append(f"{mean:.3f} ({change:+.3f} ± {error:.3f}, {trainings:.0f} trainings)")
        print(f"| {division} | {' | '.join(cells)} |")


def by_fold(outcomes: Sequence[Outcome], division: str, handed_in: str) -> dict[int, float]:
    """Mean CCC over the draws by outer fold."""
    scores: dict[int, list[float]] = {}
    for outcome in outcomes:
        if outcome.division == division and handed_in in outcome.cccs:
            scores.setdefault(outcome.fold, []).append(outcome.cccs[handed_in])
    return {fold: statistics.fmean(values) for fold, values in scores.items()}


if __name__ == "__main__":
    main()
