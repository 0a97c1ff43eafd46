"""What the studies hold: complete, failed, stopped, missing, damaged, unscored."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from report_world import HOSTILE, UNDERSCORED, World, make_store, make_world

from va_search.data.store import Store
from va_search.errors import InputError
from va_search.home import Home
from va_search.report.chosen import ChosenEnsemble, answer, choose_ensemble
from va_search.report.gather import gather
from va_search.report.tables.ablation import ablation_tables
from va_search.report.tables.folds import folds_table
from va_search.report.tables.studies import studies_table
from va_search.report.words import configurations
from va_search.search.extent import planned_by_space


def test_states_of_a_study_are_told_apart(world: World) -> None:
    (main,) = gather(world.home, ["main"]).studies
    assert len(main.trials) == 11
    assert [trial.stopped for trial in main.trials].count(True) == 1
    assert [trial.failure.reason for trial in main.failed] == [f"ValueError: {HOSTILE} | no memory"]
    assert [one.settings.features for one in main.missing if one.settings] == [("hubert",)]


def test_a_damaged_record_is_named_and_left_out(world: World) -> None:
    found = gather(world.home, ["main"])
    assert len(found.left_out) == 1
    assert "0123456789abcdef" in found.left_out[0]


def test_trials_without_validation_have_no_score(world: World) -> None:
    found = gather(world.home, ["mix", "ablation"])
    assert len(found.unscored) == 2
    assert all(trial.ccc("valence") is None for trial in found.unscored)
    assert len(found.scored) == 12


def test_the_main_fold_has_most_trials_and_official_wins_a_tie(world: World) -> None:
    assert gather(world.home, ["folds"]).main_fold == "official"
    assert all(trial.fold == "official" for trial in gather(world.home, ["folds"]).on_main_fold)


def test_a_trial_in_two_studies_is_listed_once(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    for study in ("one", "two"):
        world.add(study, world.settings("fau"))
    found = gather(world.home, ["one", "two"])
    assert [len(study.trials) for study in found.studies] == [1, 1]
    assert len(found.trials) == 1


def test_every_unknown_study_is_named(world: World) -> None:
    with pytest.raises(InputError) as caught:
        gather(world.home, ["mian", "ablation", "nope"])
    assert len(caught.value.problems) == 2
    assert "did you mean 'main'?" in caught.value.problems[0]


def test_an_empty_home_knows_no_study(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="known: none"):
        gather(Home(tmp_path), ["main"])


def test_a_study_that_only_began_has_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("new")
    found = gather(world.home, ["new"])
    assert (found.trials, found.store is None) == ((), False)


def test_without_its_store_a_study_still_tells(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("one")
    world.add("one", world.settings("fau"))
    shutil.rmtree(world.store.path)
    found = gather(world.home, ["one"])
    assert found.store is None
    assert "no such folder" in str(found.store_problem)
    assert len(found.scored) == 1


def test_trials_of_another_store_are_left_out(tmp_path: Path, tiny_store: Store) -> None:
    world = make_world(tmp_path)
    world.add("one", world.settings("fau"))
    found = gather(world.home, ["one"], tiny_store)
    assert found.trials == ()
    assert "no fold of this store" in found.left_out[0]


def test_trials_on_data_that_changed_are_left_out_and_counted(tmp_path: Path) -> None:
    world = World(Home(tmp_path / "home"), make_store(tmp_path / "store", feature=2.0))
    each = [
        world.settings(*features, fold=fold)
        for features in (("fau",), ("fau", "mae"))
        for fold in (1, "official")
    ]
    world.begin(
        "old",
        {
            "sampler": "grid",
            "settings": {"features": {"choice": [["fau"], ["mae"], ["hubert"], [UNDERSCORED]]}},
        },
    )
    old = [world.add("old", settings, 0.9) for settings in each]
    trial = world.bank.trial("old", old[0])
    outside = replace(trial, id="outside-x", source="outside", settings=None, settings_json=None)
    world.bank.write(outside, {})
    shutil.rmtree(world.store.path)
    world = make_world(tmp_path)  # imported again to its path, with corrected features
    for settings in each:
        world.add("new", settings)
    alone, both = gather(world.home, ["new"]), gather(world.home, ["old", "new"])
    names = ", ".join(sorted(old)[:3])
    assert both.left_out == (
        f"study old: 4 trials trained on data that changed since ({names} and 1 more)",
    )
    assert [len(one.trials) for one in configurations(both.trials)] == [1] * 5
    assert folds_table(both) == folds_table(alone) and ablation_tables(both) == ablation_tables(
        alone
    )
    notes = studies_table(both).notes
    assert f"Left out of all tables: {both.left_out[0]}." in notes
    assert not any("not begun" in note for note in notes)


def test_planned_trials_come_from_the_space(world: World) -> None:
    space = {
        "sampler": "grid",
        "seeds": [0, 1],
        "settings": {"features": {"choice": [["fau"], ["mae"]]}},
    }
    assert planned_by_space(space, world.store) == 4
    assert planned_by_space({"sampler": "no such"}, world.store) is None


def test_the_newest_ensemble_of_these_studies_is_taken(world: World) -> None:
    assert (
        found := choose_ensemble(world.home, ["ablation", "folds", "main"]).ensemble
    ) is not None
    assert found.name == "best"
    assert choose_ensemble(world.home, ["ablation"]).ensemble is None
    with pytest.raises(InputError, match="did you mean 'best'"):
        choose_ensemble(world.home, ["ablation"], "bestt")


def test_the_answer_begins_with_what_is_not_finished(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    space = {
        "sampler": "grid",
        "settings": {"features": {"choice": [["fau"], ["mae"], ["hubert"]]}},
    }
    study = world.begin("one", space)
    world.add("one", world.settings("fau"))
    world.fail("one", world.settings("mae"), "ValueError: no")
    (label, text), (_, failed), *_ = answer(gather(world.home, ["one"]), ChosenEnsemble(None)).rows
    assert label == "unfinished"
    assert text.startswith("study one: 1 of 3 planned trials is finished, and nothing searches it")
    assert failed.startswith("study one: 1 trial failed")
    with study.searching():
        (_, text), *_ = answer(gather(world.home, ["one"]), ChosenEnsemble(None)).rows
    assert text.startswith("study one is being searched now: 1 of 3 planned trials is finished")
