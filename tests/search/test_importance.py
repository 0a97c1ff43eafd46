"""Importances of settings by Optuna's evaluators."""

from __future__ import annotations

import pytest

from va_search.search.importance import LEAST, importances
from va_search.trial_settings import TrialSettings


def trials(number: int = 40) -> list[tuple[TrialSettings, float]]:
    """The learning rate decides, a feature set helps a little, dropout does nothing, layers can't
    for an LSTM."""
    found = []
    for index in range(number):
        rate = (1e-4, 3e-4, 1e-3, 2e-3, 3e-3)[index % 5]
        features = ("fau", "mae") if index % 3 else ("fau",)
        settings = TrialSettings(
            features=features,
            width=64,
            encoder=("lstm", "transformer")[index % 2],
            learning_rate=rate,
            seed=index % 2,
        )
        found.append((settings, 0.5 - abs(rate - 1e-3) * 100 + 0.02 * len(features)))
    return found


def test_what_decides_comes_first() -> None:
    found = importances(trials())
    assert found is not None
    assert set(found.evaluators) == {"fANOVA", "PED-ANOVA"}
    for values in found.evaluators.values():
        assert next(iter(values)) == "learning_rate"
        assert sum(values.values()) == pytest.approx(1.0)
        assert set(values) == {"learning_rate", "encoder", "features: mae"}


def test_the_same_trials_have_the_same_importances() -> None:
    assert importances(trials()) == importances(trials())


def test_nothing_varies_or_too_few() -> None:
    same = [(TrialSettings(features=("fau",), seed=seed), 0.5) for seed in range(LEAST)]
    assert importances(same) is None
    with pytest.raises(ValueError, match="at least"):
        importances(same[:-1])


def test_weights_of_targets_vary_beside_trials_without() -> None:
    weighed = []
    for index, (settings, value) in enumerate(trials()):
        document = settings.model_dump()
        weights = {"loss_weights": {"liking": 2.0}} if index % 2 else {}
        weighed.append((TrialSettings(**document, **weights), value + 0.01 * (index % 2)))
    importance = importances(weighed, forests=False)
    assert importance is not None
    assert "loss_weights.liking" in importance.evaluators["PED-ANOVA"]
