"""Ensembles of one and of three targets from their members' models: what is summed, clipped, served."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from submission_world import TargetWorld, make_target_world
from target_world import ONE, THREE

from va_search.data.store import Recording, Store
from va_search.ensemble.saved import Ensemble
from va_search.serving.members import MemberModels, members_of, predict_together
from va_search.serving.served import Served, counts_seconds
from va_search.targets import Target
from va_search.training.weights import TrainedModel
from va_search.trial_settings import TrialSettings


@dataclass
class ColumnModel:
    """A model that predicts its first feature, times the number of each of its targets from 1."""

    targets: tuple[Target, ...]
    factor: float
    dimension: str = "first"

    def predict(self, store: Store, part: tuple[Recording, ...], *, device: str) -> np.ndarray:
        rows = np.concatenate([np.arange(each.start, each.stop) for each in part])
        column = self.factor * store.features("face")[rows, 0]
        return column[:, None] * (1 + np.arange(len(self.targets)))


def models_of(world: TargetWorld, ensemble: Ensemble) -> list[MemberModels]:
    """Members in which one model, with the targets in another order, predicts them all."""
    members = []
    for number, weights in enumerate(members_of(ensemble)):
        model = ColumnModel(world.store.targets[::-1], 1.0 + number)
        trained = cast(TrainedModel, model)
        members.append(MemberModels(weights, [(trained, list(ensemble.target_names))]))
    return members


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_each_target_takes_its_own_column_of_a_member(
    tmp_path: Path, targets: tuple[Target, ...]
) -> None:
    world = make_target_world(tmp_path, targets)
    ensemble = world.build()
    test = world.store.split("test")
    values = predict_together(ensemble, models_of(world, ensemble), world.store, test)
    start = test[0].start
    feature = world.store.features("face")[start : start + 120, 0].astype(float)
    for column in range(len(targets)):
        place = len(targets) - column  # of the target in the models' order, from 1
        expected = (1.0 * place * feature + 2.0 * place * feature) / 2
        np.testing.assert_allclose(values[:, column], expected, rtol=1e-5)


@pytest.mark.parametrize("targets", [ONE, THREE])
def test_a_served_ensemble_answers_with_a_column_a_target_within_its_range(
    tmp_path: Path, targets: tuple[Target, ...]
) -> None:
    import pandas as pd

    world = make_target_world(tmp_path, targets)
    ensemble = world.build()
    sets = [world.store.feature_sets["face"]]
    served = Served(ensemble, sets, 10.0, models_of(world, ensemble))
    table: dict[str, Any] = {"recording": ["a", "b", "a"]}
    for number in range(len(targets)):
        table[f"face.f{number}"] = [5.0, -300.0, 300.0]
    answer = served.predict(pd.DataFrame(table))
    assert list(answer) == ["recording", *(target.name for target in targets)]
    for column, target in enumerate(targets):
        place = len(targets) - column
        raw = [1.5 * place * value for value in (5.0, -300.0, 300.0)]
        clipped = [min(max(value, target.low), target.high) for value in raw]
        np.testing.assert_allclose(answer[target.name], clipped)


def test_the_frame_rate_is_needed_where_a_member_has_a_label_delay(tmp_path: Path) -> None:
    world = make_target_world(tmp_path, ONE)
    ensemble = world.build()
    members = models_of(world, ensemble)
    served = Served(ensemble, [], None, members)
    assert not counts_seconds(ensemble)
    for delay in (0.0, 0.5):
        settings = TrialSettings(features=("face",), label_delay=delay)
        for member in members:
            for model, _ in member.models:
                cast(Any, model).settings = settings
        assert served.counts_seconds is (delay > 0)
