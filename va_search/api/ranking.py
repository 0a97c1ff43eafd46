"""A study's trials by one measure: the best ones, the settings that vary, and what decided.

Conventions: a measure is a target (its CCC), "score" (the mean of the targets' CCCs) or "seconds"
(of a trial, the fewest first). CCCs are in-sample, on each trial's own validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from va_search.errors import InputError, unknown_name
from va_search.search.importance import (
    ABSENT,
    FEATURES,
    Decisive,
    decisive_settings,
    varying_settings,
)
from va_search.search.sameness import Sameness, sameness_of
from va_search.trial import SCORE, Trial
from va_search.trial_settings import TrialSettings, value_text

if TYPE_CHECKING:
    from va_search.data.store import Store

SECONDS = "seconds"


@dataclass(frozen=True)
class Ranking:
    """Trials that have the measure, the best first. `settings`: by trial id the values (as texts)
    of the settings that vary among all of the study's trials and have an effect in this one, the
    most decisive setting first. `decisive`: as `decisive_settings`; of seconds none."""

    measure: str
    targets: tuple[str, ...]
    trials: tuple[Trial, ...]
    settings: Mapping[str, Mapping[str, str]]
    decisive: tuple[Decisive, ...]

    @property
    def names(self) -> list[str]:
        """The settings that vary."""
        names: dict[str, None] = {}
        for values in self.settings.values():
            names |= dict.fromkeys(values)
        return list(names)


def rank_trials(trials: Sequence[Trial], measure: str, store: Store | None) -> Ranking:
    """Rank a study's complete trials; `store`: theirs, where it is still there, so that values that
    mean the same on it count as one. InputError for a measure that there is not."""
    targets = targets_of(trials)
    measures = [SCORE, *targets, SECONDS]
    if trials and measure not in measures:
        raise InputError(unknown_name("measure", measure, measures))
    sameness = None if store is None else _sameness(store, trials)
    # The settings are shown in the order of what they do to the score, if not to the measure.
    decisive = decisive_settings(trials, SCORE if measure == SECONDS else measure, sameness)
    ranked = [trial for trial in trials if math.isfinite(_rank(trial, measure))]
    ranked.sort(key=lambda trial: (_rank(trial, measure), trial.id))
    return Ranking(
        measure=measure,
        targets=targets,
        trials=tuple(ranked),
        settings=_values(trials, [setting.setting for setting in decisive], sameness),
        decisive=() if measure == SECONDS else tuple(decisive),
    )


def targets_of(trials: Sequence[Trial]) -> tuple[str, ...]:
    """Return the targets that any of the trials has a CCC of, in the order they come."""
    targets: dict[str, None] = {}
    for trial in trials:
        targets |= dict.fromkeys(trial.best)
    targets.pop(SCORE, None)
    return tuple(targets)


def _rank(trial: Trial, measure: str) -> float:
    """Low numbers are good; infinite where the trial has no such measure."""
    value = trial.seconds if measure == SECONDS else trial.ccc(measure)
    if value is None or math.isnan(value):
        return math.inf
    return value if measure == SECONDS else -value


def _sameness(store: Store, trials: Sequence[Trial]) -> Sameness:
    folds = {trial.fold for trial in trials if trial.fold in store.fold_keys}
    return sameness_of(store, sorted(folds, key=str))  # type: ignore[type-var]


def _values(
    trials: Sequence[Trial], order: Sequence[str], sameness: Sameness | None
) -> dict[str, dict[str, str]]:
    """By trial the texts of the settings that vary, in this order, then by name; feature sets as
    one setting."""
    ids: list[str] = []
    several: list[TrialSettings] = []
    for trial in trials:
        if trial.settings is not None:
            ids.append(trial.id)
            several.append(trial.settings)
    columns: dict[str, list[Any]] = varying_settings(several, sameness)
    names: dict[str, None] = {}
    for name in [*order, *columns]:
        if name in columns:
            names["features" if name.startswith(FEATURES) else name] = None
    values: dict[str, dict[str, str]] = {}
    for index, (trial_id, settings) in enumerate(zip(ids, several, strict=True)):
        texts = values.setdefault(trial_id, {})
        for name in names:
            if name == "features":
                texts[name] = value_text(settings.features)
            elif columns[name][index] is not ABSENT:
                texts[name] = value_text(columns[name][index])
    return values
