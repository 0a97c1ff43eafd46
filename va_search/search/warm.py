"""Warm start: what finished trials of earlier studies of the same home tell the sampler of this
one.

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
    """One earlier study: the trials that tell something, and how many do not, by why. `other_data`:
    of those `used`."""

    study: str
    used: list[tuple[TrialSettings, Trial]] = field(default_factory=list)
    outside: int = 0
    unscored: int = 0
    other_data: int = 0

    def counts(self) -> dict[str, Any]:
        """What the user is told."""
        others = {"outside": self.outside, "unscored": self.unscored, "other_data": self.other_data}
        return {"study": self.study, "used": len(self.used), **others}


def warm_start_from(
    bank: Bank, studies: Sequence[str], space: Space, store: Store, *, study: str
) -> list[Warm]:
    """What `studies` tell a search for `study`; a trial that stands in several counts for the
    first, own ones never.

    InputError for studies without trials in the bank, for `study` itself, and for a sampler that
    doesn't learn."""
    known = bank.studies()
    problems = [
        unknown_name("study to start from", name, known) for name in studies if name not in known
    ]
    if study in studies:
        problems.append(
            f"--warm-start {study}: a study learns from its own trials anyway; name another one"
        )
    if studies and space.sampler != "tpe":
        problems.append(
            f"--warm-start informs sampler tpe; this space has sampler {space.sampler}, which learns nothing"
        )
    if problems:
        raise InputError(*problems)
    seen = set(bank.trials(study))
    found = []
    for name in dict.fromkeys(studies):
        trials = [trial for trial in bank.each_trial(name) if trial.id not in seen]
        seen |= {trial.id for trial in trials}
        found.append(_from(name, trials, space, store))
    return found


def warm_start_of(study: Study, given: Sequence[str], space: Space, store: Store) -> list[Warm]:
    """What the studies `given` now, and those given before, tell `study`; of the latter, what is
    still there, and TPE can use. Errors as of `warm_start_from`."""
    before = [name for name in study.warm_start if name not in given]
    still = [name for name in before if space.sampler == "tpe" and study.bank.trials(name)]
    return warm_start_from(study.bank, [*still, *given], space, store, study=study.name)


def _from(study: str, trials: Iterable[Trial], space: Space, store: Store) -> Warm:
    warm = Warm(study)
    for trial in trials:
        settings = trial.settings
        if settings is None or space.configuration(settings) is None:
            warm.outside += 1
        elif not trial.best:
            warm.unscored += 1
        else:
            warm.used.append((settings, trial.compact()))
            data_hash = store.data_hash(settings.features, settings.fold)
            warm.other_data += trial.data_hash != data_hash
    return warm
