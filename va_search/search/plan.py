"""What a search would cost, told before a minute is spent: trials, the space's size, time.

The time comes from finished trials of the same space and data where this home has them, otherwise from a few
sampled trials of which some batches are trained, here and now, in this process.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pydantic import ValidationError

from va_search.data.store import Store
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.search.machine import cores
from va_search.search.proposals import Proposals
from va_search.search.session import planned_trials
from va_search.search.space import Space
from va_search.training.settings import TrialSettings, trial_id

SAMPLED = 4
"""So many different configurations are timed."""

SAMPLE_SECONDS = 3.0
"""Training time given to each."""


@dataclass(frozen=True)
class Plan:
    """`configurations` and `trials` are None where the space has no end; `complete` are trials the home has already.

    `exact` is False when `configurations` is an upper bound. `trials_each` is how many trials a configuration has:
    one for each of `seeds` and of `folds`, in which the official split stands as "official".

    `seconds_per_trial` is for one trial alone, None where it is not known; `seconds` is for what is left with
    `concurrent` trials side by side, never more than the space's budget of hours.
    """

    configurations: int | None
    exact: bool
    seeds: list[int]
    folds: list[int | str]
    trials_each: int
    trials: int | None
    complete: int
    seconds_per_trial: float | None
    seconds: float | None
    concurrent: int
    basis: str


def make_plan(home: Home, space: Space, store: Store, concurrent: int | None = None, *, timed: bool = True) -> Plan:
    """Count and time the trials that `search` would run; nothing is written, and unless `timed` nothing trained."""
    records = _earlier(home, space, store)
    concurrent = concurrent or cores()
    per_trial: float | None
    if len(records) >= SAMPLED:
        per_trial, basis = (
            mean(record["seconds"] for record in records),
            f"{len(records)} finished trials of this space",
        )
    elif timed:
        per_trial, basis = _timed(space, store)
    else:
        per_trial, basis = None, "`va-search plan` trains a little to know"
    trials = planned_trials(space)
    return Plan(
        configurations=space.size(),
        exact=space.size_is_exact,
        seeds=space.seeds,
        folds=space.folds,
        trials_each=space.trials_each,
        trials=trials,
        complete=len(records),
        seconds_per_trial=per_trial,
        seconds=_whole(space, trials, len(records), per_trial, concurrent),
        concurrent=concurrent,
        basis=basis,
    )


def _whole(space: Space, trials: int | None, complete: int, per_trial: float | None, concurrent: int) -> float | None:
    bounds = []
    if trials is not None and per_trial is not None:
        bounds.append(max(0, trials - complete) * per_trial / concurrent)
    if space.budget.hours is not None:
        bounds.append(space.budget.hours * 3600)
    return min(bounds) if bounds else None


def _earlier(home: Home, space: Space, store: Store) -> list[dict[str, Any]]:
    """Records of this home's trained trials that lie in the space and were trained on this very data."""
    bank = Bank(home.bank)
    found: dict[str, dict[str, Any]] = {}
    for study in bank.studies():
        for record in bank.records(study):
            if record["source"] == "trained" and record["trial"] not in found and _same(record, space, store):
                found[record["trial"]] = record
    return list(found.values())


def _same(record: dict[str, Any], space: Space, store: Store) -> bool:
    known = record["settings"] and all(name in store.feature_sets for name in record["settings"]["features"])
    if not known or record["data_hash"] != store.data_hash(record["settings"]["features"], record["settings"]["fold"]):
        return False
    try:
        return space.contains(TrialSettings(**record["settings"]))
    except ValidationError:  # of another version of the package
        return False


def _timed(space: Space, store: Store) -> tuple[float, str]:
    import torch

    from va_search.training.fit import Fit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(1)  # as a trial has it during a search
    seconds = []
    for settings in _sample(space, store):
        fit = Fit(settings, store, device=device)
        seconds.append(fit.seconds_per_epoch(SAMPLE_SECONDS) * settings.trained_epochs)
    return mean(seconds), f"{len(seconds)} configurations, each trained for up to {SAMPLE_SECONDS:g} s on this machine"


def _sample(space: Space, store: Store) -> list[TrialSettings]:
    if space.sampler == "grid":
        some = list(itertools.islice(space.configurations(), 5000))
        spread = some[:: max(1, len(some) // SAMPLED)][:SAMPLED]
        return [space.trials(configuration)[0] for configuration in spread]
    proposals = Proposals(space, lambda settings: trial_id(settings, store.data_hash(settings.features, settings.fold)))
    each = space.trials_each
    drawn = [proposals.next() for _ in range(SAMPLED * each)]
    return [entry[1] for entry in drawn[::each] if entry is not None]
