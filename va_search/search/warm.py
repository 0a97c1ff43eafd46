"""Warm start: the finished trials of earlier studies of the same home, as this study's sampler
learns from them.

Conventions: a trial counts when its settings, seed and fold aside, are those of some configuration
of the space (unused settings and equal spellings as everywhere), and when it has validation scores.
Its scores are taken as they are, also where its data differs from this store's (another store,
annotations since corrected): only how trials rank tells something then, and it is said. No trial id
changes, nothing counts toward the budget, and no configuration is left out of the search because an
earlier study had it: the very same trial is linked in, as always."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from va_search.data.store import Store
from va_search.errors import InputError, unknown_name
from va_search.predictions.bank import Bank
from va_search.search.configurations import Space
from va_search.search.study import Study
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings


@dataclass
class Warm:
    """One earlier study: the trials that the sampler learns from (compact), and how many it does
    not, by reason. `other_data`: of those `used`."""

    study: str
    used: list[tuple[TrialSettings, Trial]] = field(default_factory=list)
    outside: int = 0
    unscored: int = 0
    other_data: int = 0

    def counts(self) -> dict[str, Any]:
        """Return the numbers as they are printed."""
        return {
            "study": self.study,
            "used": len(self.used),
            "outside": self.outside,
            "unscored": self.unscored,
            "other_data": self.other_data,
        }


def warm_start_from(
    bank: Bank, studies: Sequence[str], space: Space, store: Store, *, study: str
) -> list[Warm]:
    """Return the trials of `studies` from which a search for `study` learns; a trial that stands in
    several counts for the first, own ones never.

    InputError for studies without trials in the bank, for `study` itself, and for a sampler that
    doesn't learn."""
    in_bank = bank.studies()
    problems = []
    for name in studies:
        if name not in in_bank:
            problems.append(unknown_name("study to start from", name, in_bank))
    if study in studies:
        problems.append(
            f"--warm-start {study}: a study learns from its own trials anyway; name another one"
        )
    if studies and not space.sampler_learns:
        problems.append(
            f"--warm-start informs samplers tpe and gp; this space has sampler {space.sampler}, which learns nothing"
        )
    if problems:
        raise InputError(*problems)
    seen = set(bank.trials(study))
    warm_studies = []
    for name in dict.fromkeys(studies):
        trials = [trial for trial in bank.each_trial(name) if trial.id not in seen]
        seen |= {trial.id for trial in trials}
        warm_studies.append(_warm_of(name, trials, space, store))
    return warm_studies


def warm_start_of(study: Study, given: Sequence[str], space: Space, store: Store) -> list[Warm]:
    """Return the trials that `study` learns from: of the studies `given` now, and of those given
    before that still have trials and whose trials the sampler can use. Errors as of `warm_start_from`."""
    earlier = []
    if space.sampler_learns:
        earlier = [name for name in study.warm_start if name not in given]
    with_trials = [name for name in earlier if study.bank.trials(name)]
    return warm_start_from(study.bank, [*with_trials, *given], space, store, study=study.name)


def _warm_of(study: str, trials: Iterable[Trial], space: Space, store: Store) -> Warm:
    warm = Warm(study)
    for trial in trials:
        settings = trial.settings
        if settings is None or space.configuration(settings) is None:
            warm.outside += 1
        elif not trial.best:
            warm.unscored += 1
        else:
            warm.used.append((settings, trial.compact()))
            data_hash = settings.data_hash(store)
            warm.other_data += trial.data_hash != data_hash
    return warm
