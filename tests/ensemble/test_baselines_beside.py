"""An ensemble beside what nobody had to train: kept with it, shown with it, said where not beaten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World, make_world
from folds_world import make_folds_world

from va_search.data.baselines import baselines
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.saved import Ensemble, read_ensemble
from va_search.ensemble.verdict import verdict_of
from va_search.report.tables.ensemble import measured_sentences, scores_tables
from va_search.trial import SCORE


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def built(world: World) -> Ensemble:
    return build(world.home, ["first"], load_recipe("greedy"), "kept")


def test_the_scores_of_baselines_are_those_of_the_fold_that_was_judged(
    world: World, built: Ensemble
) -> None:
    assert built.baselines is not None and list(built.baselines) == ["constant", "ridge"]
    for entry in baselines(world.store, [built.measured_on.fold]):
        assert built.baselines[entry.name] == {**entry.cccs, SCORE: entry.score}
    assert read_ensemble(world.home, "kept").baselines == built.baselines
    assert len(list(world.home.baselines.iterdir())) == 1


def test_it_says_whom_it_generalises_to(built: Ensemble) -> None:
    assert built.measured_on.generalises_to == "unseen people"
    (lead, *_) = measured_sentences(built.measured_on)
    assert lead.endswith("; unseen people.")
    assert verdict_of(built).text.startswith("On unseen people this ensemble")
    seen = built.measured_on.model_copy(update={"generalises_to": "seen people, unseen clips"})
    text = verdict_of(built.model_copy(update={"measured_on": seen})).text
    assert text.startswith("On seen people and unseen clips this ensemble")


def test_baselines_stand_beside_the_scores(built: Ensemble) -> None:
    (table,) = scores_tables(built)
    rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert ["Baseline: a constant", "out-of-fold", "0.000", "0.000", "0.000"] in rows


def test_an_ensemble_that_does_not_beat_one_says_so_for_each_target(built: Ensemble) -> None:
    scores = built.scores["out_of_fold"]
    assert scores is not None
    valence = scores["valence"]
    untrained = {
        "constant": {"valence": 0.0, "arousal": 0.0, SCORE: 0.0},
        "same_clip": {"valence": valence + 0.1, "arousal": None, SCORE: None},
        "ridge": {"valence": valence, "arousal": -0.5, SCORE: 0.0},
    }
    verdict = verdict_of(built.model_copy(update={"baselines": untrained}))
    assert verdict.not_beaten["valence"][:2] == ["same_clip", "ridge"]
    assert ("arousal" in verdict.not_beaten) == (scores["arousal"] <= 0.0)
    assert (
        "For valence it does not beat other people's mean for the same clip and time, which nobody "
        f"had to train: {valence:.3f} against {valence + 0.1:.3f}."
    ) in verdict.text
    assert verdict.document()["not_beaten"] == verdict.not_beaten


def test_ensembles_of_an_earlier_version_are_read_and_say_less(built: Ensemble) -> None:
    document = built.model_dump(mode="json")
    del document["baselines"], document["measured_on"]["generalises_to"]
    earlier = Ensemble.model_validate(document)
    assert earlier.baselines is None and earlier.measured_on.generalises_to is None
    assert "generalises_to" not in earlier.model_dump(mode="json")["measured_on"]
    assert verdict_of(earlier).not_beaten == {}
    (table,) = scores_tables(earlier)
    assert not any("Baseline" in row.cells[0].text for row in table.rows)


def test_over_folds_each_fold_has_its_own_baseline(tmp_path: Path) -> None:
    world = make_folds_world(tmp_path, complete=3, mixed=0)
    built = build(world.home, ["first"], load_recipe("over_folds"), "all")
    assert built.measured_on.generalises_to == "unseen people" and built.baselines is not None
    pooled = {entry.name: entry.cccs for entry in baselines(world.store, world.store.fold_numbers)}
    for name, cccs in pooled.items():
        for target, value in cccs.items():
            assert np.isclose(value or 0.0, built.baselines[name][target] or 0.0)
