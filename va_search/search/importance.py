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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from va_search.trial_settings import TrialSettings, unused

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

    points = _points([settings for settings, _ in trials])
    distributions: dict[str, BaseDistribution] = {}
    for name in points[0]:
        distribution = _distribution([point[name] for point in points])
        if distribution is not None:
            distributions[name] = distribution
    if not distributions:
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    for point, (_, value) in zip(points, trials, strict=True):
        parameters = {
            name: _parameter(point[name], distribution)
            for name, distribution in distributions.items()
        }
        study.add_trial(
            optuna.trial.create_trial(params=parameters, distributions=distributions, value=value)
        )
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


def _points(several: Sequence[TrialSettings]) -> list[dict[str, Any]]:
    """The settings as flat points, `features: <set>` true or false for each set that some trial
    reads."""
    features: set[str] = set()
    for settings in several:
        features.update(settings.features)
    documents = [settings.model_dump(mode="json") for settings in several]
    varied = _varied(documents)
    points = []
    for settings, document in zip(several, documents, strict=True):
        point = {name: document.get(name) for name in varied}
        for name in sorted(features):
            point[f"features: {name}"] = name in settings.features
        points.append(point)
    return points


def _varied(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Settings with different values among the trials in which they have an effect."""
    values: dict[str, set[str]] = {}
    for document in documents:
        for name in document.keys() - {*unused(dict(document)), *ASIDE}:
            values.setdefault(name, set()).add(json.dumps(document[name]))
    return sorted(name for name, different in values.items() if len(different) > 1)


def _distribution(values: Sequence[Any]) -> BaseDistribution | None:
    """A distribution that the values may come from: a range of numbers where there are many, else a
    choice; None for a single value."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    different = sorted({json.dumps(value) for value in values})
    if len(different) < 2:
        return None
    if len(different) > 4 and all(isinstance(value, int | float) for value in values):
        low, high = float(min(values)), float(max(values))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 8)
    return CategoricalDistribution(different)


def _parameter(value: Any, distribution: BaseDistribution) -> Any:
    from optuna.distributions import FloatDistribution

    return float(value) if isinstance(distribution, FloatDistribution) else json.dumps(value)
