"""Variations of a configuration: the other values of one setting (an ablation), or the numbers near
its own.

Conventions: values that a study tried go before all that there are, and what comes into play with a
value is as in the best trial of the study that has it. Only settings that have an effect vary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from va_search.data.store import Store
from va_search.document.words import flow
from va_search.errors import InputError, unknown_name
from va_search.models.menu import MENUS
from va_search.search.sameness import Sameness
from va_search.trial import Trial, known_settings
from va_search.trial_settings import TrialSettings, effective_settings, setting_field

FEATURES = "features"
NOT_STATED = ("seed", "fold", "averaged_epochs")
"""Settings that a space does not state as such."""
MOST_SETS = 8
"""Feature sets of an ablation: all together, all but each one, each one alone."""
FACTOR = 3.0
"""A learning rate or a weight decay may be so many times lower or higher."""
RATES = ("rate", "decay")
"""Ends of the names of settings that vary by a factor."""
SHARE_STEP = 0.1
"""A dropout or another share may be so much lower or higher."""
SMALL = 8
"""A whole number below has its neighbours beside it, a larger one its half and its double."""
ALWAYS_AROUND = (
    "learning_rate", "width", "layers", "hidden_size", "recurrent_layers", "encoder_dropout",
    "batch_size", "frame_step", "family.iterations", "family.leaves",
)  # fmt: skip
"""Numbers that vary around a configuration, besides those that vary in its study."""


@dataclass(frozen=True)
class Variant:
    """The settings of a configuration with one of them changed, and the change in words."""

    settings: TrialSettings
    change: str = ""


def effective_of(trial: Trial) -> dict[str, Any]:
    """Return the settings of a trial that have an effect; none of a model from elsewhere."""
    return {} if trial.settings is None else effective_settings(trial.settings)


def rank(ccc: float | None) -> float:
    """Return a CCC for comparing: one that is not known is the lowest."""
    return -math.inf if ccc is None or math.isnan(ccc) else ccc


def ablated_setting(name: str) -> str:
    """Return the setting that an ablation varies: `encoders` means `encoder`. InputError for a name
    that is none."""
    for spelling in (name, name.removesuffix("s"), f"{name}s"):
        if spelling not in NOT_STATED and setting_field(spelling) is not None:
            return spelling
    settings = set(TrialSettings.model_fields) - set(NOT_STATED)
    raise InputError(f"--ablate: {unknown_name('setting', name, settings)}")


def variants_of(
    settings: TrialSettings, name: str, trials: Sequence[Trial], store: Store
) -> list[Variant]:
    """Return the configuration with each other value of a setting, those that are invalid left out.
    InputError where there is none."""
    if name == FEATURES:
        values: Sequence[Any] = combinations(settings, store)
    else:
        values = _other_values(settings, name, trials)
    variants = []
    for value in values:
        changed = _changed(settings, name, value, trials)
        if changed is not None and changed != settings:
            variants.append(Variant(changed, f", with {name} {flow(value)}"))
    if not variants:
        raise InputError(
            f"--ablate {name}: the study tried no other valid value of it, and no menu lists any"
        )
    return variants


def combinations(settings: TrialSettings, store: Store) -> list[list[str]]:
    """Return all of the feature sets, all but each one, and each one alone; each combination once.

    The configuration's own sets come first, where the store has more than `MOST_SETS`. InputError
    for a store with one set."""
    sets = list(dict.fromkeys([*settings.features, *store.feature_sets]))[:MOST_SETS]
    if len(sets) < 2:
        raise InputError("the store has one feature set only, so there is nothing to leave out")
    combined = [sets]
    for left_out in sets:
        combined.append([name for name in sets if name != left_out])
    for name in sets:
        # Of two sets "all but one" is each of them alone already.
        if [name] not in combined:
            combined.append([name])
    return combined


def _other_values(settings: TrialSettings, name: str, trials: Sequence[Trial]) -> list[Any]:
    """The values of a setting that the study tried; where that is one alone, those of its menu, or
    its neighbours."""
    own = effective_settings(settings).get(name)
    tried: list[Any] = []
    for trial in trials:
        effective = effective_of(trial)
        if name in effective and effective[name] not in (own, *tried):
            tried.append(effective[name])
    if tried:
        return tried
    return [value for value in _possible_values(name, own) if value != own]


def _possible_values(name: str, own: Any) -> list[Any]:
    """The values of a setting that its menu or its type lists, or those near its own; none for
    others, such as lists."""
    if isinstance(own, bool):
        return [False, True]
    if isinstance(own, int | float):
        return neighbours(name, own)
    for menu in MENUS:
        if menu.setting == name:
            return [*menu]
    field = setting_field(name)
    literals = () if field is None else get_args(field.annotation)
    return [value for value in literals if isinstance(value, str)]


def _changed(
    settings: TrialSettings, name: str, value: Any, trials: Sequence[Trial]
) -> TrialSettings | None:
    """The settings with another value of one of them; None where they are invalid together."""
    best: dict[str, Any] = {}
    highest = -math.inf
    for trial in trials:
        effective = effective_of(trial)
        if effective.get(name) == value and rank(trial.score) >= highest:
            best, highest = effective, rank(trial.score)
    return known_settings({**best, **effective_settings(settings), name: value})


def neighbours(name: str, value: float) -> list[Any]:
    """Return a number of a setting with the numbers beside it, in rising order: shares a tenth
    apart, rates by a factor, small whole numbers by one, larger ones by half and double."""
    if isinstance(value, int):
        beside = [value - 1, value, value + 1]
        if value >= SMALL:
            beside = [value // 2, value, value * 2]
        return [number for number in beside if number >= 1]
    if value > 0 and name.endswith(RATES):
        return [float(f"{value / FACTOR:.3g}"), value, float(f"{value * FACTOR:.3g}")]
    lowest = max(0.0, round(value - SHARE_STEP, 3))
    return [*dict.fromkeys([lowest, value, round(value + SHARE_STEP, 3)])]


def numbers_around(
    settings: TrialSettings, trials: Sequence[Trial], sameness: Sameness
) -> dict[str, Any]:
    """Return, for each number of a configuration that is worth a change, how a space declares the
    numbers near it: a range of a rate, a choice of others."""
    effective = effective_settings(settings)
    declared: dict[str, Any] = {}
    for name, value in effective.items():
        if not _varies_around(name, value, trials):
            continue
        valid = []
        meanings = []
        for number in neighbours(name, value):
            changed = known_settings({**effective, name: number})
            if changed is not None:
                valid.append(number)
                meanings.append(sameness.meaning(changed))
        # Numbers that would train the same on this store are no variation.
        if all(meaning == meanings[0] for meaning in meanings):
            continue
        declared[name] = {"choice": valid}
        if isinstance(value, float) and name.endswith(RATES):
            declared[name] = {"float": [valid[0], valid[-1]], "log": True}
    return declared


def _varies_around(name: str, value: Any, trials: Sequence[Trial]) -> bool:
    """Return True for a number that is one of `ALWAYS_AROUND`, or varies in the study."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or name in NOT_STATED:
        return False
    if name in ALWAYS_AROUND:
        return True
    return any(effective_of(trial).get(name, value) != value for trial in trials)
