"""Fold tables: what each configuration reached on each of a store's folds, as the paper's Table 4
shows it for one.

Conventions: a configuration is a trial's settings without seed and fold; its seeds are put together
as mean and standard deviation (n - 1; None for a single seed). The average over folds is the mean
of the folds' means, its standard deviation that of the folds' means: how much the choice of the
validation recordings matters. CCCs are each trial's best epoch on its fold's validation, so
in-sample. Trials without validation (train_val_mix) are in no fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any, Literal

from va_search.data.store import OFFICIAL, Store
from va_search.trial import SCORE, Trial, TrialState
from va_search.trial_settings import TrialSettings, configuration_id

DIFFERENT = ("seed", "fold", "averaged_epochs")


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of `n` values; `sd` is None where n is 1."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(mean(values), stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True)
class Cell:
    """One configuration on one fold, over its seeds: `values` by measure (a target, or "score"),
    empty where no seed is complete.

    `complete` when every seed that the configuration has anywhere is complete here; otherwise
    `failed` when a training failed here, `missing` when none was tried."""

    state: Literal["complete", "failed", "missing"]
    values: dict[str, Spread]


@dataclass(frozen=True)
class FoldRow:
    """One configuration: `settings` without seed and fold, `cells` by fold as labelled in the
    store, `average` over the folds that have values (its `n` says over how many)."""

    configuration: str
    settings: dict[str, Any]
    seeds: list[int]
    cells: dict[str | int, Cell]
    average: dict[str, Spread]

    @property
    def complete(self) -> bool:
        return all(cell.state == "complete" for cell in self.cells.values())


def store_folds(store: Store) -> dict[str | int, str | int]:
    """The store's folds by number, each with the key its trials have: "official" where it is the
    official split."""
    return {number: store.canonical_fold(number) for number in store.fold_numbers}


def fold_table(
    complete: Iterable[Trial],
    failures: Iterable[Trial],
    folds: Mapping[str | int, str | int],
    store: Store | None = None,
) -> list[FoldRow]:
    """One row per configuration that has a trial on any of these folds (`store_folds`), complete or
    failed.

    Those with values on more folds come first, then by average score. Models from elsewhere, and
    trials of another version, are in no row. Of several trials of one configuration, fold and seed
    the one on the data that is in the `store` now counts."""
    rows: dict[str, _Trials] = {}
    keys = set(folds.values())
    for trial in (*complete, *failures):
        settings, failed = trial.settings, trial.state is TrialState.FAILED
        if settings is None or settings.fold not in keys or not (failed or trial.best):
            continue
        name = configuration_id(settings, but=("seed", "fold"))
        trials = rows.setdefault(name, _Trials(settings))
        fold_and_seed = (settings.fold, settings.seed)
        if failed:
            trials.failed.add(fold_and_seed)
        elif fold_and_seed not in trials.complete or store is None or trial.is_of(store):
            cccs = {measure: best.ccc for measure, best in trial.best.items()}
            trials.complete[fold_and_seed] = cccs
    table = [_row(name, trials, folds) for name, trials in rows.items()]
    return sorted(table, key=_rank)


@dataclass
class _Trials:
    """Trials of one configuration by (fold, seed): CCCs by measure of complete ones."""

    settings: TrialSettings
    complete: dict[tuple[str | int, int], dict[str, float]] = field(default_factory=dict)
    failed: set[tuple[str | int, int]] = field(default_factory=set)


def _row(name: str, trials: _Trials, folds: Mapping[str | int, str | int]) -> FoldRow:
    seeds = _seeds(trials)
    cells = {label: _cell(trials, key, seeds) for label, key in folds.items()}
    means: dict[str, list[float]] = {}
    for cell in cells.values():
        for measure, spread in cell.values.items():
            means.setdefault(measure, []).append(spread.mean)
    average = {measure: Spread.of(values) for measure, values in means.items()}
    settings = trials.settings.model_dump(mode="json", exclude=set(DIFFERENT))
    return FoldRow(name, settings, seeds, cells, average)


def _seeds(trials: _Trials) -> list[int]:
    """The seeds that were tried, without those of one fold alone where others went over several:
    another search, such as an ablation on the official split, has trained these."""
    folds = Counter(seed for _, seed in trials.complete.keys() | trials.failed)
    several = sorted(seed for seed, count in folds.items() if count > 1)
    return several or sorted(folds)


def _cell(trials: _Trials, key: str | int, seeds: list[int]) -> Cell:
    values: dict[str, list[float]] = {}
    lacking = [seed for seed in seeds if (key, seed) not in trials.complete]
    for seed in seeds:
        for measure, ccc in trials.complete.get((key, seed), {}).items():
            values.setdefault(measure, []).append(ccc)
    spreads = {measure: Spread.of(cccs) for measure, cccs in values.items()}
    if not lacking:
        return Cell("complete", spreads)
    failed = any((key, seed) in trials.failed for seed in lacking)
    return Cell("failed" if failed else "missing", spreads)


def _rank(row: FoldRow) -> tuple[int, float, str]:
    """A sorting key: the configurations with values on the most folds first, the best of them."""
    average = row.average.get(SCORE)
    if average is None:
        return 0, 0.0, row.configuration
    return -average.n, -average.mean, row.configuration


def label_of(key: str | int, folds: Mapping[str | int, str | int]) -> str:
    """A fold as a person reads it: its number, and which one is the official split."""
    return f"{key} ({OFFICIAL})" if folds[key] == OFFICIAL and key != OFFICIAL else str(key)
