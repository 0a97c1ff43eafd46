"""The cost of a search, before a minute is spent: trials, the space's size, time.

The time of a trial comes from finished trials of the same space and data where this home has them,
otherwise from a few configurations of which some batches are trained, here and now, in this
process. Either is scaled to what the search would train: the mean over its trials, so that the
order in which a grid lists its values changes nothing.

Conventions: times are in seconds on this machine with nothing else running; trials that share its
cores or are stopped early take longer or shorter. The whole includes Ray's start."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, islice
from time import perf_counter

import numpy as np

from va_search.data.audit_facts import kept_baselines
from va_search.data.baselines import QuickBaselines, quick_baselines
from va_search.data.excerpt import excerpt
from va_search.data.store import MIX, OFFICIAL, Store
from va_search.errors import counted
from va_search.home import Home
from va_search.predictions.bank import Bank
from va_search.search.budget import planned_trials
from va_search.search.configurations import Space
from va_search.search.machine import Options, cores, gpus_seen, side_by_side
from va_search.search.proposals import Proposals
from va_search.search.readiness import check_ready, steps_text
from va_search.search.sizes import number_of_weights
from va_search.search.space_header import Budget
from va_search.search.spending import (
    HOUR,
    TRIALS,
    Account,
    AccountJson,
    Spent,
    accounts,
    idle_bounds,
)
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, trial_id_on

SAMPLED = 4
"""So many different configurations are timed."""

SAMPLE_SECONDS = 3.0
"""Training time given to all of them."""

EXCERPT_VALUES = 40_000_000
"""Values of a fold's frames, at most, that a timed configuration reads: of a larger store it has an
excerpt."""

START_SECONDS = 12.0
"""From the command to the first epoch: Ray's start, and that of its processes."""

TRIAL_SECONDS = 0.5
"""What a trial takes beside its epochs: opening the store, predicting test, writing."""

BASELINE_SECONDS = 3.0
"""For the baselines together; those that take longer are left out."""

LOOKED_AT = 20_000
"""A space of up to so many combinations is walked whole; of a larger one `DRAWN` are drawn."""

DRAWN = 2_000

NOTHING = Spent()


@dataclass(frozen=True)
class Plan:
    """`configurations` and `trials` are None where the space has no end; `complete` are trials the
    home has already.

    `exact` is False when `configurations` is an upper bound. `trials_each` is how many trials a
    configuration has: one for each of `seeds` and of `folds`, in which the official split stands as
    "official".

    `seconds_per_trial` is for one trial alone, None where it is not known; `seconds` is for all
    that is left, Ray's start included, with `concurrent` trials side by side. `hours` is the
    budget: after so many no trial begins, and what runs then is trained to its end. `expected` are
    the four accounts of the budget (spending.py) at the search's end, and `ends_first` is the one
    that ends it; empty and None where no time is known. `remarks` are
    what else whoever searches should know. `baselines`: scores that the trials must beat, on what
    they validate on; None where nothing is timed, or validated. `steps`: lengths of model steps,
    recordings and segments on this store, in words."""

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
    baselines: QuickBaselines | None = None
    expected: dict[str, AccountJson] = field(default_factory=dict)
    ends_first: str | None = None
    steps: str = ""

    @property
    def has_equal_seeds(self) -> bool:
        """True where several seeds of a configuration compute the same, and are one trial."""
        if self.configurations is None or self.trials is None:
            return False
        return self.trials < self.configurations * self.trials_each


def make_plan(
    home: Home,
    space: Space,
    store: Store,
    options: Options | None = None,
    *,
    timed: bool = True,
    spent: Spent = NOTHING,
) -> Plan:
    """Count and time the trials that `search` would run; nothing is written, and unless `timed`
    nothing trained. `spent`: by earlier runs of the study, where it is known.

    InputError with all that would keep the search from running.
    """
    options = options or Options()
    earlier = earlier_trials(home, space, store)
    ready = check_ready(home, space, store, options, complete=len(earlier), writes=False)
    gpus = options.gpus_per_trial
    if gpus is None:
        gpus = min(1.0, gpus_seen())
    resources = {"CPU": float(cores()), "GPU": gpus_seen()}
    concurrent = (
        options.concurrent or ready.concurrent or side_by_side(resources, gpus, options.threads)
    )
    per_trial: float | None = None
    basis = "`va-search plan` trains a little to know"
    if len(earlier) >= SAMPLED:
        per_trial = _of_finished(earlier, space, store)
        basis = f"{len(earlier)} finished trials of this space"
    elif timed:
        per_trial, basis = _timed(space, store, "cuda" if gpus else "cpu")
    trials = planned_trials(space)
    expected: list[Account] = []
    seconds, ends_first = None, None
    if per_trial is not None:
        pace = Pace(per_trial, concurrent, gpus, options.threads)
        to_train = None if trials is None else max(0, trials - len(earlier))
        outlook = _outlook(space.budget, pace, spent, to_train)
        seconds, ends_first = outlook.seconds, outlook.ends_first
        after = outlook.trials + len(earlier)
        expected = accounts(space.budget, outlook.spent, round(after), trials)
    return Plan(
        configurations=space.size(),
        exact=space.size_is_exact,
        seeds=space.seeds,
        folds=space.folds,
        trials_each=space.trials_each,
        trials=trials,
        complete=len(earlier),
        seconds_per_trial=per_trial,
        seconds=seconds,
        hours=space.budget.hours,
        concurrent=concurrent,
        basis=basis,
        remarks=[*ready.remarks, *idle_bounds(space.budget, gpus)],
        baselines=_baselines(home, space, store) if timed else None,
        expected={account.name: account.to_json() for account in expected},
        ends_first=ends_first,
        steps=steps_text(space, store),
    )


def _baselines(home: Home, space: Space, store: Store) -> QuickBaselines | None:
    """What nobody has to train, on the folds of the space: all that have a number, or the official
    split; None where nothing is validated."""
    numbers = [key for key in space.folds if key not in (OFFICIAL, MIX)]
    keys = numbers or [key for key in space.folds if key == OFFICIAL]
    if not keys:
        return None
    audited = kept_baselines(store) if keys == [OFFICIAL] else None
    if audited is not None:
        return QuickBaselines(tuple(keys), audited, (), BASELINE_SECONDS)
    return quick_baselines(store, keys, home.baselines, BASELINE_SECONDS)


# -- all of it together


@dataclass(frozen=True)
class Pace:
    """The speed of a search: seconds of a trial, trials side by side, GPUs and cores of each."""

    per_trial: float
    concurrent: int
    gpus: float
    cores: float

    def spent(self, seconds: float, trials: float) -> Spent:
        """Return the spending of so many trials, which take so many seconds in all."""
        of_trials = trials * self.per_trial
        return Spent(seconds, of_trials * self.gpus, of_trials * self.cores)


@dataclass(frozen=True)
class Outlook:
    """The end of a search: seconds from now, Ray's start included (None: nothing ends it), trials
    that are trained, spending over all runs, and the account that ends it."""

    seconds: float | None
    trials: float
    spent: Spent
    ends_first: str | None


def _outlook(budget: Budget, pace: Pace, spent: Spent, to_train: int | None) -> Outlook:
    """Return the end of a search of `to_train` trials (None: as many as the budget allows)."""
    if to_train == 0:
        return Outlook(0.0, 0, spent, TRIALS)
    # An account other than trials ends it after so many seconds.
    within, ends_first = math.inf, TRIALS
    in_an_hour = pace.spent(HOUR, pace.concurrent * HOUR / pace.per_trial)
    of_an_hour = {account.name: account.spent for account in accounts(budget, in_an_hour, 0)}
    for account in accounts(budget, spent, 0):
        per_hour = of_an_hour[account.name]
        if account.left is not None and account.name != TRIALS and per_hour:
            seconds = HOUR * account.left / per_hour
            if seconds < within:
                within, ends_first = seconds, account.name
    if to_train is None:
        if math.isinf(within):
            return Outlook(None, 0, spent, None)
        seconds, trials = within, pace.concurrent * within / pace.per_trial
    else:
        seconds, trials = math.ceil(to_train / pace.concurrent) * pace.per_trial, float(to_train)
        # The last ones are trained to their end.
        if seconds <= within + pace.per_trial:
            ends_first = TRIALS
        else:
            trials *= (within + pace.per_trial) / seconds
            seconds = within + pace.per_trial
    return Outlook(
        START_SECONDS + seconds, trials, spent.plus(pace.spent(seconds, trials)), ends_first
    )


# -- seconds of a trial

Weighted = list[tuple[TrialSettings, float]]
"""Settings of a trial, and a number that goes with them."""


def earlier_trials(home: Home, space: Space, store: Store) -> list[Trial]:
    """Return this home's trained trials that lie in the space and were trained on this very data,
    one of each meaning."""
    bank = Bank(home.bank)
    earlier: dict[str, Trial] = {}
    for study in bank.studies():
        for trial in bank.each_trial(study):
            settings = trial.settings
            if trial.source != "trained" or settings is None or not trial.is_of(store):
                continue
            if space.contains(settings):
                earlier.setdefault(space.meaning(settings), trial)
    return list(earlier.values())


def _of_finished(earlier: Sequence[Trial], space: Space, store: Store) -> float:
    """Return seconds of a trial of the space, judged by the finished ones: they may be its short or
    its long ones."""
    per_epoch: Weighted = []
    trained = planned = 0
    for trial in earlier:
        assert trial.settings is not None
        epochs = trial.epochs or 0
        per_epoch.append((trial.settings, (trial.seconds or 0.0) / max(1, epochs)))
        trained += epochs
        planned += trial.settings.trained_epochs
    likely = _mean_trial(per_epoch, _likely(space, store), store)
    return likely * trained / planned  # some are stopped early


def _timed(space: Space, store: Store, device: str) -> tuple[float, str]:
    """Train some batches of a few configurations: seconds of a trial, and what they come from."""
    import torch

    from va_search.training.fit import fit_of

    if device == "cpu":
        torch.set_num_threads(1)  # as a trial has it during a search
    likely = _likely(space, store)
    per_epoch: Weighted = []
    beside: list[float] = []
    chosen = _spread(likely, store)
    budget = SAMPLE_SECONDS / len(chosen)
    for settings in chosen:
        part, times = _part(settings, store)
        began = perf_counter()
        fit = fit_of(settings, part, device=device)
        beside.append(perf_counter() - began)
        per_epoch.append((settings, fit.seconds_per_epoch(budget, times)))
    number = counted(len(per_epoch), "configuration")
    together = "" if len(per_epoch) == 1 else " together"
    basis = f"{number} trained for about {SAMPLE_SECONDS:g} s{together} on this machine"
    # The first of a process reads what the others find in memory.
    return _mean_trial(per_epoch, likely, store) + min(beside) + TRIAL_SECONDS, basis


def _part(settings: TrialSettings, store: Store) -> tuple[Store, float]:
    """Return the store, or an excerpt of a large one, for a trial to be timed on, and how many times
    as many frames the trial will read."""
    columns = sum(store.feature_sets[name].dim for name in settings.features)
    frames = EXCERPT_VALUES // max(1, columns * len(settings.views))
    return excerpt(store, settings.fold, frames=frames, frame_step=settings.frame_step)


def _mean_trial(per_epoch: Weighted, likely: Weighted, store: Store) -> float:
    """Mean seconds of the likely trials, from the seconds per epoch of a few: between those of its
    family (of all where none of it was measured) by the epoch's work."""
    measured = [(_work(settings, store), seconds) for settings, seconds in per_epoch]
    families = [settings.family for settings, _ in per_epoch]
    by_work = {}
    for family in {settings.family for settings, _ in likely}:
        chosen = np.array([other == family for other in families])
        alike = chosen if chosen.any() else ~chosen
        by_work[family] = np.array(sorted(compress(measured, alike))).T
    epoch = np.array(
        [np.interp(_work(settings, store), *by_work[settings.family]) for settings, _ in likely]
    )
    epochs = np.array([settings.trained_epochs for settings, _ in likely])
    weights = np.array([weight for _, weight in likely])
    return float(np.average(epoch * epochs, weights=weights))


def _work(settings: TrialSettings, store: Store) -> float:
    """About how much an epoch computes: the weights, for each model step, and the columns of each
    frame."""
    columns = sum(store.feature_sets[name].dim for name in settings.features)
    per_frame = columns + number_of_weights(settings, store) / settings.frame_step
    return float(store.frames * per_frame)


def _spread(likely: Weighted, store: Store) -> list[TrialSettings]:
    """A few of each family, from those whose epochs compute least to those whose epochs compute most;
    the same ones in whatever order a space lists its values."""
    by_family: dict[str, list[TrialSettings]] = {}
    for settings, _ in likely:
        by_family.setdefault(settings.family, []).append(settings)
    spread: list[TrialSettings] = []
    for _, by_work in sorted(by_family.items()):
        by_work.sort(key=lambda settings: (_work(settings, store), settings.model_dump_json()))
        few = min(-(-SAMPLED // len(by_family)), len(by_work))
        ranks = np.linspace(0, len(by_work) - 1, few).round().astype(int)
        spread += [by_work[rank] for rank in ranks]
    return spread


# -- the trials to come


def _likely(space: Space, store: Store) -> Weighted:
    """Trials that stand for all those to come, each with its weight."""
    budget = None if space.budget_trials is None else space.budget_trials // space.trials_each
    if space.sampler != "grid":
        return _proposed(space, store, min(budget or DRAWN, 24))
    size = space.size()
    assert size is not None  # a grid is finite
    trained = size if budget is None else min(size, budget)
    if trained > LOOKED_AT:
        return _drawn(space)
    in_order = islice(space.configurations(), trained)  # a grid is trained in its order
    return [(space.trials(configuration)[0], 1.0) for configuration in in_order]


def _drawn(space: Space) -> Weighted:
    """Configurations of a large grid drawn at random. A draw falls into each branch of a condition
    alike, however many configurations that has: the weight is how many there are."""
    drawn: Weighted = []
    for configuration, settings in space.examples(DRAWN, 20 * DRAWN):
        branch = [space.settings[name].domain.count() or 1 for name in configuration]
        drawn.append((settings, float(math.prod(branch))))
    return drawn


def _proposed(space: Space, store: Store, number: int) -> Weighted:
    """Trials of the configurations that the sampler proposes before it has learnt anything."""
    proposals = Proposals(space, lambda settings: trial_id_on(settings, store))
    drawn = [proposals.next() for _ in range(number * space.trials_each)]
    several = drawn[:: space.trials_each]
    return [(proposal[1], 1.0) for proposal in several if proposal is not None]
