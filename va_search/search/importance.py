"""Importances of settings: how much each matters for a CCC, by Optuna's evaluators, over trials
that are complete.

Conventions: every trial is a point of its whole settings (those without effect count as their
defaults), each feature set a setting that is on or off, so that conditional settings need no
case of their own. Importances are not negative and sum to 1 per evaluator. fANOVA (forests) needs
scikit-learn and is left out without it."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from va_search.trial_settings import WEIGHTS, TrialSettings, unused

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.importance import BaseImportanceEvaluator

LEAST = 10
"""Trials with which importances begin to mean something."""
BEST = 0.25
"""The share of trials that PED-ANOVA takes for good ones."""
ASIDE = ("seed", "fold", "averaged_epochs", "features")


@dataclass(frozen=True)
class Importances:
    """By evaluator, each setting's importance, the most important first."""

    evaluators: dict[str, dict[str, float]]


def importances(
    trials: Sequence[tuple[TrialSettings, float]], *, forests: bool = True
) -> Importances | None:
    """Importances of the settings that vary over `trials` (settings, CCC); None where none does.

    `forests`: fANOVA too, which takes seconds where PED-ANOVA takes a part of one. ValueError for
    fewer than `LEAST` trials."""
    if len(trials) < LEAST:
        raise ValueError(f"at least {LEAST} trials are needed, but got {len(trials)}")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    points: list[dict[str, Any]] = [{} for _ in trials]
    distributions: dict[str, BaseDistribution] = {}
    for name, values in _columns([settings for settings, _ in trials]).items():
        distribution, parameters = _parameters(values)
        distributions[name] = distribution
        for point, parameter in zip(points, parameters, strict=True):
            point[name] = parameter
    if not distributions:
        return None
    study = optuna.create_study(direction="maximize")
    for point, (_, value) in zip(points, trials, strict=True):
        finished = optuna.trial.create_trial(params=point, distributions=distributions, value=value)
        study.add_trial(finished)
    by_evaluator = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls its evaluators experimental
        for name, evaluator in _evaluators(forests).items():
            values = optuna.importance.get_param_importances(study, evaluator=evaluator)
            by_evaluator[name] = dict(values)
    return Importances(by_evaluator)


def _evaluators(forests: bool) -> dict[str, BaseImportanceEvaluator]:
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    evaluators: dict[str, BaseImportanceEvaluator] = {}
    if forests and importlib.util.find_spec("sklearn") is not None:
        evaluators["fANOVA"] = FanovaImportanceEvaluator(seed=0)
    evaluators["PED-ANOVA"] = PedAnovaImportanceEvaluator(target_quantile=BEST)
    return evaluators


def _columns(several: Sequence[TrialSettings]) -> dict[str, list[Any]]:
    """By setting its value in each trial, of those with different values among the trials in which
    they have an effect; `features: <set>` true or false for each set that only some read."""
    documents = [settings.model_dump(mode="json") for settings in several]
    weighed = set().union(*(settings.loss_weights for settings in several))
    with_effect: dict[str, set[str]] = {}
    for document in documents:
        for target in weighed:
            document.setdefault(f"{WEIGHTS}.{target}", 1.0)
        for name in document.keys() - {*unused(document), *ASIDE}:
            with_effect.setdefault(name, set()).add(json.dumps(document[name]))
    columns: dict[str, list[Any]] = {}
    for name, different in sorted(with_effect.items()):
        if len(different) > 1:
            columns[name] = [document.get(name) for document in documents]

    for feature_set in sorted(set().union(*(settings.features for settings in several))):
        is_read = [feature_set in settings.features for settings in several]
        if not all(is_read):
            columns[f"features: {feature_set}"] = is_read
    return columns


def _parameters(values: Sequence[Any]) -> tuple[BaseDistribution, list[Any]]:
    """A distribution that the values may come from (a range of numbers where there are many, else a
    choice), and the values as its parameters."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    texts = [json.dumps(value) for value in values]
    different = sorted(set(texts))
    if len(different) > 4 and all(isinstance(value, int | float) for value in values):
        numbers = [float(value) for value in values]
        low, high = min(numbers), max(numbers)
        return FloatDistribution(low, high, log=low > 0 and high / low >= 8), numbers
    return CategoricalDistribution(different), texts
