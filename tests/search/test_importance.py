"""Which settings decide, in which direction, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from trial_world import make_trial

from va_search.search.importance import (
    FEWEST,
    Decisive,
    decisive_settings,
)
from va_search.search.sameness import Sameness
from va_search.trial import Trial
from va_search.trial_settings import TrialSettings

NOISE = 0.02


def study(
    settings: Callable[[np.random.Generator], dict[str, Any]],
    score: Callable[[TrialSettings], float],
    number: int = 16,
    draw: int = 1,
) -> list[Trial]:
    """Trials of random settings, whose CCCs are these scores and some noise."""
    random = np.random.default_rng(draw)
    trials = []
    for index in range(number):
        chosen = TrialSettings(features=("fau",), **settings(random))
        ccc = score(chosen) + float(random.normal(0, NOISE))
        trials.append(make_trial(id=f"t{index}", settings=chosen, ccc=(ccc, 0.1)))
    return trials


def varied(random: np.random.Generator) -> dict[str, Any]:
    """Normalisation decides below; the others are there to confuse."""
    encoder = str(random.choice(["tcn", "mlp", "gru"]))
    settings: dict[str, Any] = {
        "normalise": str(random.choice(["train", "recording", "subject"])),
        "encoder": encoder,
        "width": int(random.choice([32, 64])),
        "learning_rate": float(10 ** random.uniform(-4, -2)),
    }
    if encoder == "gru":
        settings["hidden_size"] = int(random.choice([32, 64]))
    return settings


def by_normalisation(settings: TrialSettings) -> float:
    return 0.5 if settings.normalise == "train" else 0.2


def by_name(decisive: list[Decisive]) -> dict[str, Decisive]:
    return {setting.setting: setting for setting in decisive}


def test_the_setting_that_decided_comes_first_with_its_direction() -> None:
    first, *others = decisive_settings(study(varied, by_normalisation), "valence")
    assert (first.setting, first.best) == ("normalise", "train") and first.is_certain
    assert first.difference == pytest.approx(0.3, abs=0.03)
    assert first.share > 0.7 > sum(setting.share for setting in others)
    assert first.sentence.startswith("normalise: train +0.")
    assert " over the other values (95 % 0." in first.sentence
    assert first.sentence.endswith(" configurations)")
    assert not any(setting.is_certain for setting in others)
    assert by_name(others)["width"].sentence.endswith("; may be chance")
    # The other target has the same value everywhere.
    for setting in decisive_settings(study(varied, by_normalisation), "arousal"):
        assert setting.best is None and setting.sentence.endswith("no difference at all")


def test_a_setting_counts_only_where_it_has_an_effect() -> None:
    trials = study(varied, by_normalisation, number=40)
    hidden_size = by_name(decisive_settings(trials, "valence"))["hidden_size"]
    recurrent = [trial for trial in trials if trial.settings and trial.settings.encoder == "gru"]
    assert hidden_size.configurations == len(recurrent) < len(trials)


def test_few_trials_tell_nothing_and_say_so() -> None:
    trials = study(varied, by_normalisation, number=FEWEST - 1)
    decisive = decisive_settings(trials, "valence")
    assert decisive
    for setting in decisive:
        assert setting.best is None and setting.interval is None and math.isnan(setting.difference)
        assert "too few trials to tell (5 configurations, 6 are needed)" in setting.sentence
    assert decisive_settings([], "valence") == []
    alike = [make_trial(settings=TrialSettings(features=("fau",), seed=seed)) for seed in range(9)]
    assert decisive_settings(alike, "valence") == []


def test_seeds_and_folds_are_no_further_evidence() -> None:
    once = study(varied, by_normalisation)
    harder = {1: 0.0, 2: 0.2, 3: 0.4}
    repeated = []
    for index, trial in enumerate(once):
        assert trial.settings is not None
        folds = (1, 2, 3) if index % 2 else (1, 3)
        for fold in folds:
            settings = trial.settings.model_copy(update={"fold": fold, "seed": fold})
            ccc = (trial.best["valence"].ccc - harder[fold], 0.1)
            repeated.append(make_trial(id=f"{trial.id}-{fold}", settings=settings, ccc=ccc))
    expected, decisive = decisive_settings(once, "valence"), decisive_settings(repeated, "valence")
    for one_trial, several in zip(expected, decisive, strict=True):
        assert several.sentence == one_trial.sentence
        assert several.share == pytest.approx(one_trial.share)


def test_settings_that_always_go_together_are_not_told_apart() -> None:
    def together(random: np.random.Generator) -> dict[str, Any]:
        settings = varied(random)
        settings["encoder"] = "tcn" if settings["normalise"] == "train" else "mlp"
        return settings

    decisive = by_name(decisive_settings(study(together, by_normalisation, 20), "valence"))
    for setting, other in (("normalise", "encoder: tcn"), ("encoder", "normalise: train")):
        assert decisive[setting].share > 0.25 and decisive[setting].interval is None
        assert decisive[setting].sentence.endswith(f"; can't be told from {other}")


def test_numbers_are_judged_by_their_trend() -> None:
    def by_rate(settings: TrialSettings) -> float:
        return 0.1 * math.log10(settings.learning_rate)

    def bent(settings: TrialSettings) -> float:
        return 0.5 - 0.3 * (math.log10(settings.learning_rate) + 3) ** 2

    first = decisive_settings(study(varied, by_rate, 20), "valence")[0]
    assert first.setting == "learning_rate" and first.is_certain
    assert first.sentence.startswith("learning_rate: higher is better, 0.00")
    first = decisive_settings(study(varied, bent, 20), "valence")[0]
    assert first.is_certain and first.best is not None and 4e-4 < float(first.best) < 2.5e-3
    assert first.sentence.startswith(f"learning_rate: best around {first.best}, +0.")


def test_values_that_mean_the_same_on_a_store_are_one() -> None:
    own_subjects = Sameness({"fau": "visual"}, True, (300,), (300,))
    trials = study(varied, by_normalisation, 20)
    first = decisive_settings(trials, "valence", own_subjects)[0]
    assert first.sentence.startswith("normalise: train +0.")
    assert " over recording or subject (" in first.sentence
    twins = [trial for trial in trials if trial.settings and trial.settings.normalise != "train"]
    settings = decisive_settings(twins, "valence", own_subjects)
    assert "normalise" not in by_name(settings)


def test_intervals_hold_what_they_say() -> None:
    alarms, intervals, holding, certain = 0, 0, 0, 0
    for draw in range(30):
        for setting in decisive_settings(study(varied, by_normalisation, 14, draw), "valence"):
            if setting.interval is None:
                continue
            if setting.setting != "normalise":
                intervals += 1
                alarms += setting.is_certain
            elif setting.best == "train":
                holding += setting.interval[0] <= 0.3 <= setting.interval[1]
                certain += setting.is_certain
    assert alarms / intervals < 0.05
    assert certain >= 24 and holding >= 28


def test_weights_of_targets_vary_beside_trials_without() -> None:
    weighed = []
    for index, trial in enumerate(study(varied, by_normalisation)):
        assert trial.settings is not None
        document = trial.settings.model_dump()
        weights = {"loss_weights": {"liking": 2.0}} if index % 2 else {}
        settings = TrialSettings(**document, **weights)
        weighed.append(make_trial(id=trial.id, settings=settings, ccc=(0.3 + index / 100, 0.1)))
    names = {each.setting for each in decisive_settings(weighed, "valence")}
    assert "loss_weights.liking" in names


def test_a_better_value_is_never_better_by_less_than_nothing() -> None:
    for draw in range(30):
        trials = study(varied, by_normalisation, number=8, draw=draw)
        for setting in decisive_settings(trials, "valence"):
            assert not setting.difference < 0, (draw, setting.sentence)
