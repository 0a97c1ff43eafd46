"""Configurations over their seeds, and how they, their settings and their scores are written.

Conventions: a score has three digits; over several seeds it is their mean ± standard deviation
(n − 1). A setting that has no effect in a trial (such as attention heads of an LSTM) is no setting
of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from va_search.data.store import Store
from va_search.models.menu import ENCODERS, FAMILIES
from va_search.search.fold_table import Spread
from va_search.table import DASH, TableCell, TableColumn, columns, number
from va_search.targets import AFFECT
from va_search.trial import SCORE, Trial
from va_search.trial_settings import TrialSettings, configuration_id
from va_search.trial_settings import shown_settings as shown_settings  # noqa: PLC0414
from va_search.trial_settings import value_text as value_text  # noqa: PLC0414 (the report's words)

ELSEWHERE = "from elsewhere"
OWN_COLUMNS = ("features", "encoder", "fusion", "seed", "fold", "averaged_epochs")
"""Settings that have columns of their own, or none."""
MOST_MODALITIES = 4
"""With more of them, all feature sets stand in one column."""
BEST_EPOCH = (
    "CCC on validation, of each trial's best epoch per target: in-sample, so a little too high."
)
RULES = {
    "best": "the best epoch per target (in-sample, so a little too high)",
    "last": "the last epoch",
    "mean_last_5": "the mean of the last five epochs' predictions",
    "ema": "the moving average of the weights",
}
"""Words for the epochs that a trial keeps, by its setting `keep`."""


@dataclass(frozen=True)
class ConfigurationTrials:
    """Trials that differ in nothing but the seed; a model from elsewhere is alone."""

    trials: tuple[Trial, ...]

    @property
    def settings(self) -> TrialSettings | None:
        """Settings of the first trial; None for a model from elsewhere."""
        return self.trials[0].settings

    def spread(self, measure: str) -> Spread | None:
        """A target or the score over the seeds; None where no trial has it."""
        values = []
        for trial in self.trials:
            value = trial.ccc(measure)
            if value is not None and math.isfinite(value):
                values.append(value)
        return Spread.of(values) if values else None

    def mean(self, measure: str) -> float:
        """The mean over the seeds, for ranking; −∞ where there is none."""
        spread = self.spread(measure)
        if spread is None:
            return -math.inf
        return spread.mean


def configurations(trials: Iterable[Trial]) -> list[ConfigurationTrials]:
    """Trials put together over their seeds, in the order they come."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        # A model from elsewhere has no settings, so it is like no other trial.
        key = trial.label
        if trial.settings is not None:
            key = configuration_id(trial.settings, but=("seed",))
        groups.setdefault(key, []).append(trial)
    return [ConfigurationTrials(tuple(group)) for group in groups.values()]


def kept_epochs(rules: Iterable[str]) -> str:
    """Return a sentence on the epochs whose CCCs are shown, by the rules (`keep`) of the trials."""
    words = [RULES.get(rule, rule) for rule in sorted(set(rules))]
    if words in ([], [RULES["best"]]):
        return BEST_EPOCH
    return f"CCC on validation, of what each trial keeps: {' or '.join(words)}."


def measures(targets: Sequence[str]) -> tuple[str, ...]:
    """Return what trials are compared by: each target, then the score."""
    return (*targets, SCORE)


def heading(name: str) -> str:
    """Return a target's name, or "score", as the head of a column."""
    return f"{name[:1].upper()}{name[1:]}"


def score_columns(targets: Sequence[str], *before: str) -> tuple[TableColumn, ...]:
    """Return the columns `before`, and one for each target and the score, all of numbers."""
    return columns(*before, *map(heading, measures(targets)), kind="number")


def all_targets(targets: Sequence[str]) -> str:
    """Return the words for all targets at once: `both` where there are two."""
    return "both" if len(targets) == 2 else "all targets"


def mean_ccc(targets: Sequence[str], whose: str = "the") -> str:
    """Return a score in words: `mean of the two CCCs`, of one target `the CCC`."""
    if len(targets) == 1:
        return f"{whose} CCC"
    count = "two" if len(targets) == 2 else str(len(targets))
    return f"mean of {whose} {count} CCCs"


def score_cells(
    group: Sequence[ConfigurationTrials], targets: Sequence[str]
) -> list[list[TableCell]]:
    """Targets and score of every configuration, the best of each measure in bold."""
    rows: list[list[TableCell]] = []
    best: dict[str, float] = {}
    for name in measures(targets):
        best[name] = max(configuration.mean(name) for configuration in group)
    for configuration in group:
        cells = []
        for name, highest in best.items():
            text = spread_text(configuration.spread(name))
            cells.append(TableCell(text, best=configuration.mean(name) == highest))
        rows.append(cells)
    return rows


def spread_text(spread: Spread | None) -> str:
    """`0.612 ± 0.010`, or a dash."""
    if spread is None:
        return DASH
    if spread.sd is None:
        return number(spread.mean)
    return f"{number(spread.mean)} ± {number(spread.sd)}"


def encoder_title(encoder: str) -> str:
    """The encoder as the paper writes it, or the family of a model that has none."""
    if encoder in FAMILIES:
        return FAMILIES.title(encoder)
    return ENCODERS.title(encoder)


def model_name(settings: TrialSettings | None, trial: str = "") -> str:
    """The encoder's title, that of a family without encoders, or the name of a model from
    elsewhere."""
    if settings is None:
        return f"{trial} ({ELSEWHERE})"
    return encoder_title(settings.encoder if settings.is_network else settings.family)


# Feature sets -------------------------------------------------------------------------------------


def feature_columns(store: Store | None) -> tuple[TableColumn, ...]:
    """The columns that feature sets stand in: one per modality of the store, or one."""
    names = []
    for modality in _modalities(store):
        names.append(f"{modality[:1].upper()}{modality[1:]} features")
    return columns(*(names or ["Feature sets"]), kind="list")


def feature_texts(names: Sequence[str], store: Store | None) -> list[str]:
    """One text per column of `feature_columns`; a set that the store lacks stands in the last."""
    modalities = _modalities(store)
    if store is None or not modalities:
        return [", ".join(names) or DASH]
    by_modality: dict[str, list[str]] = {}
    for name in names:
        # A set that the store does not have any more has no modality: it goes into the last column.
        modality = modalities[-1]
        if name in store.feature_sets:
            modality = store.feature_sets[name].modality
        by_modality.setdefault(modality, []).append(name)
    texts = []
    for modality in modalities:
        texts.append(", ".join(by_modality.get(modality, [DASH])))
    return texts


def _modalities(store: Store | None) -> list[str]:
    """The store's modalities where there are several, but not too many; otherwise none."""
    if store is None:
        return []
    names: list[str] = []
    for feature_set in store.feature_sets.values():
        if feature_set.modality not in names:
            names.append(feature_set.modality)
    if not 1 < len(names) <= MOST_MODALITIES:
        return []
    return names


# Settings -----------------------------------------------------------------------------------------


def settings_of(trials: Iterable[Trial | ConfigurationTrials]) -> list[TrialSettings]:
    """Settings of those that were trained: models from elsewhere have none."""
    return [trial.settings for trial in trials if trial.settings is not None]


def absent_weights(targets: Sequence[str]) -> set[str]:
    """Return the weights of valence and arousal that every trial has as settings, although its store
    has no such target."""
    return {f"loss_{target}" for target in AFFECT if target not in targets}


def varying(several: Iterable[TrialSettings]) -> list[str]:
    """Names of the settings that differ, without those with columns of their own."""
    values: dict[str, set[str]] = {}
    for settings in several:
        for name, value in shown_settings(settings).items():
            values.setdefault(name, set()).add(json.dumps(value))
    names = []
    for name in in_order(values):
        if name not in OWN_COLUMNS and len(values[name]) > 1:
            names.append(name)
    return names


def in_order(names: Iterable[str]) -> list[str]:
    """Names of settings in the order of `TrialSettings`; those it does not have are last."""
    order = {name: index for index, name in enumerate(TrialSettings.model_fields)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def other_settings(settings: TrialSettings | None, names: Sequence[str]) -> str:
    """`learning_rate 0.001, width 64`: those of these settings that have an effect."""
    if settings is None:
        return DASH
    values = shown_settings(settings)
    texts = []
    for name in names:
        if name in values:
            texts.append(f"{name} {value_text(values[name])}")
    return ", ".join(texts) or DASH


def first_names(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`: at most so many of the names."""
    text = ", ".join(names[:most])
    if len(names) > most:
        text += f" and {len(names) - most} more"
    return text
