"""The cost of a search, before a minute is spent: trials, the space's size, time.

The time of a trial comes from finished trials of the same space and data where this home has them,
otherwise from a few configurations of which some batches are trained, here and now, in this
process. Either is scaled to what the search would train: the mean over its trials, so that the
order in which a grid lists its values changes nothing.

Conventions: times are in seconds on this machine with nothing else running; trials that share its
cores or are stopped early take longer or shorter. The whole includes Ray's start."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.files import Home
from va_search.predictions.bank import Bank
from va_search.search.budget import planned_trials
from va_search.search.configurations import Configuration, Space
from va_search.search.machine import Options, cores, gpus_seen, side_by_side
from va_search.search.proposals import Proposals
from va_search.search.readiness import check_ready
from va_search.search.sizes import number_of_weights
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, trial_id

SAMPLED = 4
"""So many different configurations are timed."""

SAMPLE_SECONDS = 3.0
"""Training time given to each."""

START_SECONDS = 12.0
"""From the command to the first epoch: Ray's start, and that of its processes."""

TRIAL_SECONDS = 0.5
"""What a trial takes beside its epochs: opening the store, predicting test, writing."""

LOOKED_AT = 20_000
"""A space of up to so many combinations is walked whole; of a larger one `DRAWN` are drawn."""

DRAWN = 2_000


@dataclass(frozen=True)
class Plan:
    """`configurations` and `trials` are None where the space has no end; `complete` are trials the
    home has already.

    `exact` is False when `configurations` is an upper bound. `trials_each` is how many trials a
    configuration has: one for each of `seeds` and of `folds`, in which the official split stands as
    "official".

    `seconds_per_trial` is for one trial alone, None where it is not known; `seconds` is for all
    that is left, Ray's start included, with `concurrent` trials side by side. `hours` is the
    budget: after so many no trial begins, and what runs then is trained to its end. `remarks` are
    what else whoever searches should know."""

    configurations: int | None
    exact: bool
    seeds: list[int]
    folds: list[int | str]
    trials_each: int
    trials: int | None
    complete: int
    seconds_per_trial: float | None
    seconds: float | None
    hours: float | None
    concurrent: int
    basis: str
    remarks: list[str]


def make_plan(
    home: Home, space: Space, store: Store, options: Options | None = None, *, timed: bool = True
) -> Plan:
    """Count and time the trials that `search` would run; nothing is written, and unless `timed`
    nothing trained.

    InputError with all that would keep the search from running.
    """
    options = options or Options()
    earlier = _earlier(home, space, store)
    ready = check_ready(home, space, store, options, complete=len(earlier), writes=False)
    gpus, resources = _gpus_each(options), {"CPU": float(cores()), "GPU": gpus_seen()}
    concurrent = (
        options.concurrent or ready.concurrent or side_by_side(resources, gpus, options.threads)
    )
    per_trial: float | None
    if len(earlier) >= SAMPLED:
        per_trial, basis = (
            _of_finished(earlier, space, store),
            f"{len(earlier)} finished trials of this space",
        )
    elif timed:
        per_trial, basis = _timed(space, store, "cuda" if gpus else "cpu")
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
        complete=len(earlier),
        seconds_per_trial=per_trial,
        seconds=_whole(space, trials, len(earlier), per_trial, concurrent),
        hours=space.budget.hours,
        concurrent=concurrent,
        basis=basis,
        remarks=ready.remarks,
    )


def _whole(
    space: Space, trials: int | None, complete: int, per_trial: float | None, concurrent: int
) -> float | None:
    """Seconds of the whole search; None where no number of trials ends it, or a trial's time is not
    known."""
    if trials is None or per_trial is None:
        return None
    left = max(0, trials - complete)
    if left == 0:
        return 0.0
    side_by_side = math.ceil(left / concurrent) * per_trial
    if space.budget.hours is not None:
        side_by_side = min(
            side_by_side, space.budget.hours * 3600 + per_trial
        )  # the last ones are trained to their end
    return START_SECONDS + side_by_side


def _earlier(home: Home, space: Space, store: Store) -> list[tuple[TrialSettings, Trial]]:
    """Return this home's trained trials that lie in the space and were trained on this very data,
    one of each meaning."""
    bank = Bank(home.bank)
    earlier: dict[str, tuple[TrialSettings, Trial]] = {}
    for study in bank.studies():
        for trial in bank.each_trial(study):
            settings = trial.settings
            if trial.source != "trained" or settings is None or not trial.is_of(store):
                continue
            if space.contains(settings):
                earlier.setdefault(space.meaning(settings), (settings, trial))
    return list(earlier.values())


def _of_finished(
    earlier: Sequence[tuple[TrialSettings, Trial]], space: Space, store: Store
) -> float:
    """Return seconds of a trial of the space, judged by the finished ones: they may be its short or
    its long ones."""
    per_epoch = [
        (settings, (trial.seconds or 0.0) / max(1, trial.epochs or 0))
        for settings, trial in earlier
    ]
    trained = sum(trial.epochs or 0 for _, trial in earlier)
    planned = sum(settings.trained_epochs for settings, _ in earlier)
    likely = _mean_trial(per_epoch, _likely(space, store), store)
    return likely * trained / planned  # some are stopped early


def _gpus_each(options: Options) -> float:
    """GPUs that a trial takes: one where there is one, unless told otherwise."""
    return min(1.0, gpus_seen()) if options.gpus_per_trial is None else options.gpus_per_trial


def _timed(space: Space, store: Store, device: str) -> tuple[float, str]:
    import torch

    from va_search.training.fit import Fit

    if device == "cpu":
        torch.set_num_threads(1)  # as a trial has it during a search
    likely = _likely(space, store)
    timed, beside = [], []
    for settings in _spread(likely, store):
        began = perf_counter()
        fit = Fit(settings, store, device=device)
        beside.append(perf_counter() - began)
        timed.append((settings, fit.seconds_per_epoch(SAMPLE_SECONDS)))
    number = "1 configuration" if len(timed) == 1 else f"{len(timed)} configurations, each"
    basis = f"{number} trained for up to {SAMPLE_SECONDS:g} s on this machine"
    # the first of a process reads what the others find in memory
    return _mean_trial(timed, likely, store) + min(beside) + TRIAL_SECONDS, basis


Weighted = list[tuple[TrialSettings, float]]
"""Settings of a trial, and a number that goes with them."""


def _mean_trial(per_epoch: Weighted, likely: Weighted, store: Store) -> float:
    """Mean seconds of the likely trials, from the seconds per epoch of a few: between these by the
    epoch's work."""
    known = sorted((_work(settings, store), seconds) for settings, seconds in per_epoch)
    work, seconds = np.array(known).T
    epoch = np.interp([_work(settings, store) for settings, _ in likely], work, seconds)
    epochs = np.array([settings.trained_epochs for settings, _ in likely])
    weights = np.array([weight for _, weight in likely])
    return float(np.average(epoch * epochs, weights=weights))


def _work(settings: TrialSettings, store: Store) -> float:
    """About how much an epoch computes: the weights, for each model step, and the columns of each
    frame."""
    columns = sum(store.feature_sets[name].dim for name in settings.features)
    return float(
        store.frames * (columns + number_of_weights(settings, store) / settings.frame_step)
    )


def _spread(likely: Weighted, store: Store) -> list[TrialSettings]:
    """A few of them, from those whose epochs compute least to those whose epochs compute most."""
    by_work = sorted(
        (settings for settings, _ in likely), key=lambda settings: _order(settings, store)
    )
    places = np.linspace(0, len(by_work) - 1, min(SAMPLED, len(by_work))).round().astype(int)
    return [by_work[place] for place in places]


def _order(settings: TrialSettings, store: Store) -> tuple[float, str]:
    """A sorting key that does not depend on the order in which a space lists its values."""
    return _work(settings, store), settings.model_dump_json()


def _likely(space: Space, store: Store) -> Weighted:
    """Trials that stand for all those to come, each with its weight."""
    budget = None if space.budget_trials is None else space.budget_trials // space.trials_each
    if space.sampler != "grid":
        return [(settings, 1.0) for settings in _proposed(space, store, min(budget or DRAWN, 24))]
    size = space.size()
    if budget is not None and size is not None and budget < size and budget <= LOOKED_AT:
        first = islice(space.configurations(), budget)  # a grid is trained in its order
        return [(space.trials(configuration)[0], 1.0) for configuration in first]
    if size is not None and size <= LOOKED_AT:
        return [(space.trials(configuration)[0], 1.0) for configuration in space.configurations()]
    return list(_drawn(space))


def _drawn(space: Space) -> Iterator[tuple[TrialSettings, float]]:
    """Configurations of a large grid drawn at random. A draw falls into each branch of a condition
    alike, however many configurations that has: the weight is how many there are."""
    generator = random.Random(0)  # noqa: S311 (no secret)
    number = 0
    for _ in range(20 * DRAWN):
        configuration = space.drawn(generator)
        try:
            settings = space.trials(configuration)[0]
        except InputError:  # these values do not go together
            continue
        yield settings, _branch(space, configuration)
        number += 1
        if number == DRAWN:
            return
    if number == 0:
        yield space.trials(next(space.configurations()))[0], 1.0


def _branch(space: Space, configuration: Configuration) -> float:
    """Configurations with the same settings in play."""
    return float(math.prod(space.settings[name].domain.count() or 1 for name in configuration))


def _proposed(space: Space, store: Store, number: int) -> list[TrialSettings]:
    """Trials that the sampler proposes before it has learnt anything."""
    proposals = Proposals(
        space,
        lambda settings: trial_id(settings, store.data_hash(settings.features, settings.fold)),
    )
    each = space.trials_each
    drawn = [proposals.next() for _ in range(number * each)]
    return [entry[1] for entry in drawn[::each] if entry is not None]
