"""The stages of `fit` on a store with folds; trials are put into the bank in place of training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folds_world import FoldsWorld, make_folds_world
from numpy.typing import NDArray

import va_search as va
from va_search.api import fitting, race
from va_search.api.fitting import OVER_FOLDS, Fitting, plan_fit
from va_search.api.race import FEWEST, RACED, differing
from va_search.errors import InputError
from va_search.trial_settings import TrialSettings

SPACE: dict[str, Any] = {
    "sampler": "grid",
    "settings": {"features": "all", "learning_rate": {"choice": [1e-4 * n for n in range(1, 11)]}},
}


class Trained:
    """Takes the place of `run_search`: puts the trials that are asked for into the bank."""

    def __init__(self, world: FoldsWorld) -> None:
        self.world = world
        self.asked: list[tuple[str, tuple[Any, ...], list[int]]] = []
        self.budgets: list[Any] = []

    def __call__(self, space: Any, store: Any, *, study: str, **more: Any) -> None:
        document = space if isinstance(space, Mapping) else space.document
        self.budgets.append(document.get("budget"))
        folds = tuple(document.get("folds", ["official"]))
        numbers = list(range(10))
        if "trials" in document:
            rates = [entry["learning_rate"] for entry in document["trials"]]
            numbers = [round(rate * 1e4) - 1 for rate in rates]
        self.asked.append((study, folds, numbers))
        for number in numbers:
            self.world.train(study, number, folds)
        va.open_study(study, home=self.world.home.root).files.begin(store, dict(document))


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path, complete=0, mixed=0)


@pytest.fixture
def trained(world: FoldsWorld, monkeypatch: pytest.MonkeyPatch) -> Trained:
    trained = Trained(world)
    monkeypatch.setattr(fitting, "run_search", trained)
    monkeypatch.setattr(race, "run_search", trained)
    return trained


def planned(world: FoldsWorld, **more: Any) -> Fitting:
    return plan_fit(SPACE, world.store, name="mine", home=world.home.root, **more)


def raced(fit: Fitting) -> list[str]:
    """Train all rounds of the race; returns their sentences."""
    texts: list[str] = []
    for fold_round in fit.rounds():
        fold_round.train()
        texts.append(fold_round.text)
    return texts


def test_the_best_go_on_over_all_folds_and_losers_end_after_one(
    world: FoldsWorld, trained: Trained
) -> None:
    fit = planned(world)
    fit.search()
    texts = raced(fit)
    search, first, second = trained.asked
    assert search[:2] == ("mine-search", ("official",))
    assert first[:2] == ("mine-folds", ("official", 0))
    assert second[:2] == ("mine-folds", ("official", 0, 1, 2))
    assert len(first[2]) == RACED
    # four people say nothing; the second round has all eight
    assert second[2] == first[2]
    assert "8 configurations on 1 more fold" in texts[0]
    chosen = fit.choose(print)
    assert chosen.document.studies == ["mine-folds"]
    assert chosen.document.recipe == OVER_FOLDS
    assert chosen.document.measured_on.fold == "all"


def test_losers_are_left_behind_but_for_a_few_that_differ(
    world: FoldsWorld, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    means: list[float] = []

    def losers(of_each: NDArray[np.float64]) -> list[int]:
        means.extend(of_each.mean(axis=1).tolist())
        return [row for row in range(len(of_each)) if row != np.argmax(means)]

    monkeypatch.setattr("va_search.ensemble.paired.losers", losers)
    fit = planned(world)
    fit.search()
    raced(fit)
    (_, _, first), (_, _, second) = trained.asked[1:]
    best = sorted(range(RACED), key=lambda row: -means[row])[:FEWEST]
    assert second == [first[row] for row in sorted(best)]


def test_the_same_again_asks_for_the_same(world: FoldsWorld, trained: Trained) -> None:
    for _ in range(2):
        fit = planned(world)
        fit.search()
        raced(fit)
    assert trained.asked[:3] == trained.asked[3:]


def test_the_search_says_its_share_of_each_bound(world: FoldsWorld) -> None:
    text = planned(world, budget={"money": 50, "cost_per_core_hour": 1, "gpu_hours": 8}).search_text
    assert "GPU-hours 4.8 of the budget's 8" in text and "money 30 of the budget's 50" in text


def test_search_and_race_share_the_hours(world: FoldsWorld, trained: Trained) -> None:
    fit = planned(world, hours=1.0)
    assert "at most 36 min of the budget's 60 min" in fit.search_text
    fit.search()
    texts = raced(fit)
    assert "at most 60 min, which the search left" in texts[0]
    search, first, _ = trained.budgets
    assert search["hours"] == pytest.approx(0.6)
    # the search took no time at all: what is left is the race's
    assert first["hours"] == pytest.approx(1.0)


def test_without_two_configurations_over_all_folds_the_one_fold_decides(
    world: FoldsWorld, trained: Trained
) -> None:
    fit = planned(world)
    fit.search()
    assert fit.choice == ("mine-search", "bagged_greedy")
    world.train("mine-folds", 0)
    assert fit.choice == ("mine-search", "bagged_greedy")


def test_a_space_over_all_folds_needs_no_race(world: FoldsWorld, trained: Trained) -> None:
    fit = plan_fit({**SPACE, "folds": "all"}, world.store, name="mine", home=world.home.root)
    assert fit.more_folds == ()
    assert list(fit.rounds()) == []
    assert fit.no_race_text == "2 of 4, race: none, no folds are left to train on"


def test_out_of_time_before_one_configuration_had_all_folds_what_is_finished_is_used(
    world: FoldsWorld, trained: Trained
) -> None:
    fit = plan_fit({**SPACE, "folds": "all"}, world.store, name="mine", home=world.home.root)
    world.train("mine-search", 0, ("official",))
    assert fit.choice == ("mine-search", "bagged_greedy")
    world.train("mine-search", 0)
    assert fit.choice == ("mine-search", OVER_FOLDS)


def test_one_configuration_does_not_race_and_that_is_said(
    world: FoldsWorld, trained: Trained
) -> None:
    fit = planned(world)
    world.train("mine-search", 0, ("official",))
    assert list(fit.rounds()) == []
    assert fit.no_race_text is not None and "not two configurations" in fit.no_race_text


def test_a_space_that_validates_nothing_is_refused_before_anything_is_trained(
    world: FoldsWorld,
) -> None:
    space = {**SPACE, "folds": ["train_val_mix"]}
    with pytest.raises(InputError, match="train_val_mix, validate nothing"):
        plan_fit(space, world.store, name="mine", home=world.home.root)


def test_the_name_of_another_ensemble_is_refused(world: FoldsWorld, trained: Trained) -> None:
    world.train("other", 0)
    va.build_ensemble("other", name="mine-chosen", home=world.home.root, tracking=False)
    with pytest.raises(InputError, match="mine-chosen"):
        planned(world).search()


def test_the_race_begins_with_the_best_of_each_kind_in_turn() -> None:
    def settings(**values: Any) -> TrialSettings:
        return TrialSettings(features=("face",), **values)

    lstm = settings(encoder="lstm", learning_rate=1e-3)
    alike = settings(encoder="lstm", learning_rate=2e-3)
    wide = settings(encoder="lstm", hidden_size=128)
    gru = settings(encoder="gru")
    ridge = settings(family="ridge")
    ranked = [lstm, alike, wide, gru, ridge]
    assert differing(ranked, 4) == [lstm, gru, ridge, wide]
    # what differs in a number alone comes last
    assert differing(ranked, 9) == [lstm, gru, ridge, wide, alike]
