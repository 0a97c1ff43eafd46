"""How configurations, settings and scores are written in tables.

Conventions: a score has three digits; over several seeds it is their mean ± standard deviation
(divided by n − 1)."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from va_search.data.store import Store
from va_search.models.menu import ENCODERS
from va_search.report.model import DASH
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings, configuration_id, unused

ELSEWHERE = "from elsewhere"
OWN_COLUMNS = ("features", "encoder", "fusion", "seed", "fold", "averaged_epochs")
"""Settings that have columns of their own, or none."""
MOST_MODALITIES = 4
"""With more of them, feature sets stand in one column."""
BEST_EPOCH = (
    "CCC on validation, of each trial's best epoch per dimension: in-sample, so a little too high."
)


@dataclass(frozen=True)
class Over:
    """A mean over n seeds; `deviation` is None for one."""

    mean: float
    deviation: float | None
    n: int

    def __str__(self) -> str:
        return number(self.mean) + (
            "" if self.deviation is None else f" ± {number(self.deviation)}"
        )


def over(values: Iterable[float | None]) -> Over | None:
    """Mean and standard deviation (n − 1) of the finite values; None where there is none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return None
    return Over(
        statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known)
    )


def said(value: Over | None) -> str:
    """`mean ± deviation`, or a dash."""
    return DASH if value is None else str(value)


def number(value: float | None, digits: int = 3) -> str:
    """A score; a dash where there is none."""
    return DASH if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference, with its sign."""
    return (
        DASH
        if value is None or not math.isfinite(value)
        else f"{value:+.{digits}f}".replace("-", "−")
    )


@dataclass(frozen=True)
class Configuration:
    """Trials that differ in nothing but the seed; a model from elsewhere is one of its own."""

    trials: tuple[Trial, ...]

    @property
    def settings(self) -> TrialSettings | None:
        return self.trials[0].settings

    def over(self, dimension: str) -> Over | None:
        """`valence`, `arousal` or `score` over the seeds."""
        return over(trial.ccc(dimension) for trial in self.trials)

    def mean(self, dimension: str) -> float:
        """For ranking; the lowest possible where there is no score."""
        found = self.over(dimension)
        return -math.inf if found is None else found.mean


def configurations(trials: Iterable[Trial]) -> list[Configuration]:
    """Trials gathered over their seeds, in the order they come."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        key = trial.label
        if trial.settings is not None:
            key = configuration_id(trial.settings, but=("seed",))
        groups.setdefault(key, []).append(trial)
    return [Configuration(tuple(group)) for group in groups.values()]


def model_name(settings: TrialSettings | None, trial: str = "") -> str:
    """The encoder as the paper writes it."""
    return f"{trial} ({ELSEWHERE})" if settings is None else ENCODERS.title(settings.encoder)


def feature_columns(store: Store | None) -> list[str]:
    """Names of the columns that feature sets stand in: one per modality of the store, or one."""
    modalities = _modalities(store)
    return [f"{name[:1].upper()}{name[1:]} features" for name in modalities] or ["Feature sets"]


def feature_cells(names: Sequence[str] | None, store: Store | None) -> list[str]:
    """One text per column of `feature_columns`."""
    modalities = _modalities(store)
    if store is None or not modalities:
        return [", ".join(names or []) or DASH]
    sets = store.feature_sets
    known = {name: sets[name].modality for name in names or () if name in sets}
    cells = [
        ", ".join(name for name, modality in known.items() if modality == column)
        for column in modalities
    ]
    strangers = [name for name in names or () if name not in known]
    cells[-1] = ", ".join(filter(None, [cells[-1], *strangers]))
    return [cell or DASH for cell in cells]


def _modalities(store: Store | None) -> list[str]:
    if store is None:
        return []
    found = list(dict.fromkeys(feature_set.modality for feature_set in store.feature_sets.values()))
    return found if 1 < len(found) <= MOST_MODALITIES else []


def varying(several: Sequence[TrialSettings]) -> list[str]:
    """Names of the settings, but those with columns of their own, that differ where they have an
    effect."""
    found: dict[str, set[str]] = {}
    for document in (settings.model_dump(mode="json") for settings in several):
        idle = unused(document)
        for name, value in document.items():
            if name not in OWN_COLUMNS and name not in idle:
                found.setdefault(name, set()).add(json.dumps(value))
    options = sorted(set(found) - set(TrialSettings.model_fields))
    return [
        name for name in [*TrialSettings.model_fields, *options] if len(found.get(name, ())) > 1
    ]


def other_settings(settings: TrialSettings | None, names: Sequence[str]) -> str:
    """`learning_rate 0.001, width 64`: of these settings those that have an effect."""
    if settings is None:
        return DASH
    document = settings.model_dump(mode="json")
    idle = unused(document)
    return (
        ", ".join(
            f"{name} {value_text(document[name])}"
            for name in names
            if name in document and name not in idle
        )
        or DASH
    )


def value_text(value: Any) -> str:
    """A setting's value as a person writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "+".join(value_text(one) for one in value)
    return str(value)
