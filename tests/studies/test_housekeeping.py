"""Studies renamed, removed and cleaned: what depends on them stays right, also after a kill at any
moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ensemble_world import World
from folds_world import make_folds_world
from killing import killed_before_change
from study_world import TRIALS, check_whole, copied, make_studies
from trial_world import forget_seal

from va_search.api.contents import list_studies
from va_search.api.dependents import Dependents
from va_search.api.ensembles import open_ensemble
from va_search.api.studies import (
    clean_study,
    plan_cleaning,
    remove_study,
    rename_study,
)
from va_search.ensemble.build import build
from va_search.ensemble.fresh import content_id, explanation_folder, note_registered, stale_models
from va_search.ensemble.recipe import load_recipe
from va_search.ensemble.refit import is_stale
from va_search.ensemble.saved import check_members, predict, read_ensemble, write_ensemble
from va_search.errors import InputError
from va_search.files import read_json, write_json
from va_search.home import Home
from va_search.search.housekeeping import pending
from va_search.search.study import Study


@pytest.fixture(scope="module", autouse=True)
def _quick_disk() -> Iterator[None]:
    """Don't wait for the disk: a killed process loses nothing that it wrote."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_studies(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    """A copy of the world, which a test may change."""
    return copied(made, tmp_path / "home")


def check_renamed(world: World) -> None:
    home, bank = world.home, world.bank
    check_whole(home)
    assert [entry.study for entry in list_studies(home=home.root)] == ["pilot", "second"]
    assert bank.trials("pilot") == TRIALS
    assert bank.trial("second", "a0").trained_in == "pilot"
    assert Study(home, "second").warm_start == ["pilot"]
    assert Study(home, "pilot").document()["study"] == "pilot"
    assert [trial.study for trial in Study(home, "pilot").failures()] == ["pilot"]
    assert (home.running("pilot", "begun") / "checkpoint.safetensors").read_bytes() == b"half"
    ensemble = read_ensemble(home, "best")
    assert ensemble.studies == ["pilot"]
    assert "first" not in home.ensemble("best").read_text()
    recordings = world.validation
    assert predict(ensemble, bank, "validation", recordings).shape[1] == 2
    assert not home.study("first").exists()
    assert not (home.bank / "first").exists()
    assert not list(pending(home))


def test_a_renamed_study_is_called_so_in_everything_that_names_it(world: World) -> None:
    before = predict(read_ensemble(world.home, "best"), world.bank, "validation", world.validation)
    rename_study("first", "pilot", home=world.home.root)
    check_renamed(world)
    after = predict(read_ensemble(world.home, "best"), world.bank, "validation", world.validation)
    assert (before == after).all()


def test_a_rename_says_why_the_explanation_goes(world: World) -> None:
    ensemble = read_ensemble(world.home, "best")
    file = explanation_folder(world.home, "best") / "explain.json"
    write_json(file, {"content": content_id(ensemble)})
    remarks = rename_study("first", "pilot", home=world.home.root)
    assert any("removed the explanation that calls the study first" in text for text in remarks)
    assert not file.exists()


def test_a_rename_needs_a_free_name_and_a_study(world: World) -> None:
    with pytest.raises(InputError, match="study 'second' exists in this home"):
        rename_study("first", "second", home=world.home.root)
    with pytest.raises(InputError, match=r"did you mean 'first'\?"):
        rename_study("frst", "pilot", home=world.home.root)
    with pytest.raises(InputError, match="can't be used as a file name"):
        rename_study("first", "../pilot", home=world.home.root)


def test_a_study_that_is_searched_is_left_alone(world: World) -> None:
    actions: list[Callable[[], object]] = [
        lambda: rename_study("first", "pilot", home=world.home.root),
        lambda: remove_study("first", with_dependents=True, home=world.home.root),
        lambda: clean_study("first", home=world.home.root),
    ]
    with Study(world.home, "first").searching():
        for action in actions:
            with pytest.raises(InputError, match=r"study 'first' is in use by process \d+ on "):
                action()
    check_whole(world.home)


def test_a_study_whose_leading_process_has_just_ended_is_left_alone(world: World) -> None:
    study = Study(world.home, "first")
    with ExitStack() as leading, study.searching(join=False) as leader:
        leader.announce()
        with study.searching(join=True) as joined:
            joined.announce()
            leading.callback(leader.leave)
            leading.close()  # nobody holds the study's lock now, and one process searches it
            for action in (partial(rename_study, to="pilot"), remove_study, clean_study):
                options = {"with_dependents": True} if action is remove_study else {}
                with pytest.raises(InputError, match=r"study 'first' is in use by process \d+ on "):
                    action("first", home=world.home.root, **options)
    check_whole(world.home)


def test_a_damaged_document_hides_no_other_study(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    (world.home.study("first") / "study.json").write_text("{")
    assert [entry.study for entry in list_studies(home=world.home.root)] == ["second"]
    assert "study first is left out: " in caplog.text


def test_a_removed_study_leaves_the_trials_of_others_whole(world: World) -> None:
    with pytest.raises(InputError, match=r"1 ensemble made of its trials \(best\)"):
        remove_study("first", home=world.home.root)
    remarks = remove_study("first", with_dependents=True, home=world.home.root)
    assert remarks == ["removed ensemble best"]
    assert [entry.study for entry in list_studies(home=world.home.root)] == ["second"]
    world.bank.check("second", "a0")


def test_dependents_are_named(world: World) -> None:
    dependents = Dependents.of(world.home, "first")
    assert dependents.ensembles == ("best",)
    assert dependents.warm_started == ("second",)
    assert dependents.adopted_by == {"second": 1}
    assert dependents.sentences() == [
        "ensembles of its trials: best",
        "studies whose sampler learns from it: second",
        "study second has 1 trial that it trained",
    ]


def test_cleaning_takes_weights_that_no_ensemble_needs(world: World) -> None:
    members = {
        member.trial
        for part in read_ensemble(world.home, "best").dimensions.values()
        for member in part.members
    }
    plan = plan_cleaning("first", home=world.home.root)
    assert set(plan.kept) == members
    assert set(plan.trials) == set(TRIALS) - members
    assert plan.checkpoints == ("begun",)
    cleaning = clean_study("first", home=world.home.root)
    assert cleaning == plan
    check_whole(world.home)
    for trial in TRIALS:
        kept = (world.bank.folder("first", trial) / "valence.safetensors").is_file()
        assert kept == (trial in members)
    # What one study cleans, another that took the trial over still has.
    assert (world.bank.folder("second", "a0") / "valence.safetensors").is_file()
    assert not plan_cleaning("first", home=world.home.root).trials


def test_an_ensemble_that_cannot_be_read_keeps_everything(world: World) -> None:
    path = world.home.ensemble("best")
    write_json(path, {**read_json(path), "recipe": "other"})
    for action in (remove_study, clean_study):
        with pytest.raises(InputError, match="'best' can't be read, so what it uses is not known"):
            action("first", home=world.home.root)


EVERY = pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 17])
"""Each moment, or each seventeenth one."""


def kills(made: World, root: Path, every: int, action: Callable[[Home], object]) -> Iterator[World]:
    """Yield the world after each kill of `action`, `every` so many changes of a file, and at last
    after no kill."""
    number, killed = 1, True
    while killed:
        world = copied(made, root)
        killed = killed_before_change(number, partial(action, world.home))
        yield world
        number += every
    assert number > 10


@EVERY
def test_a_rename_killed_at_any_moment_is_ended_by_the_same_call(
    made: World, tmp_path: Path, every: int
) -> None:
    def rename(home: Home) -> None:
        rename_study("first", "pilot", home=home.root)

    for world in kills(made, tmp_path / "home", every, rename):
        check_whole(world.home)
        if list(pending(world.home)):
            interrupted = pytest.raises(InputError, match="rename of study 'first' was interrupted")
            with interrupted, Study(world.home, "pilot").searching():
                pass
        if world.home.study("first").exists() or list(pending(world.home)):
            rename(world.home)
        check_renamed(world)


@EVERY
def test_a_removal_killed_at_any_moment_is_ended_by_the_same_call(
    made: World, tmp_path: Path, every: int
) -> None:
    def remove(home: Home) -> None:
        remove_study("first", with_dependents=True, home=home.root)

    for world in kills(made, tmp_path / "home", every, remove):
        check_whole(world.home)
        studies = [entry.study for entry in list_studies(home=world.home.root)]
        if "first" in studies or list(pending(world.home)):
            remove(world.home)
        assert [entry.study for entry in list_studies(home=world.home.root)] == ["second"]
        assert not world.home.study("first").exists()


@EVERY
def test_a_cleaning_killed_at_any_moment_is_ended_by_the_same_call(
    made: World, tmp_path: Path, every: int
) -> None:
    def clean(home: Home) -> None:
        clean_study("first", home=home.root)

    for world in kills(made, tmp_path / "home", every, clean):
        for trial in TRIALS:
            world.bank.trial("first", trial)
        check_members(read_ensemble(world.home, "best"), world.bank, predictions=True)
        clean(world.home)
        check_whole(world.home)
        plan = plan_cleaning("first", home=world.home.root)
        assert not plan.trials
        assert not plan.checkpoints


def test_the_open_ensemble_finds_its_renamed_members(world: World) -> None:
    rename_study("first", "pilot", home=world.home.root)
    assert set(open_ensemble("best", home=world.home.root).members["study"]) == {"pilot"}


def test_what_notes_the_build_of_an_ensemble_is_renamed_along(world: World) -> None:
    best = read_ensemble(world.home, "best")
    recipe = {"method": "refit", "of": "best", "content": content_id(best)}
    again = best.model_copy(update={"name": "again", "recipe_document": recipe})
    write_ensemble(world.home, again)
    note_registered(world.home, best, model="best", version=3, tracking_uri="")
    assert Dependents.of(world.home, "first").registered == ("models:/best/3",)
    rename_study("first", "pilot", home=world.home.root)
    best, again = (read_ensemble(world.home, name) for name in ("best", "again"))
    assert stale_models(world.home, best) == []
    assert not is_stale(world.home, again)


def test_a_home_at_a_url_is_shown_and_not_changed(world: World) -> None:
    url = f"file://{world.home.root}"
    assert [entry.study for entry in list_studies(home=url)] == ["first", "second"]
    for action in (remove_study, clean_study, partial(rename_study, to="pilot")):
        with pytest.raises(InputError, match="changes homes in folders only"):
            action("first", home=url)


def test_members_over_folds_and_trials_without_seals_are_renamed_along(tmp_path: Path) -> None:
    world = make_folds_world(tmp_path, mixed=0)
    recipe = load_recipe("over_folds")
    ensemble = build(world.home, ["first"], recipe, "folds", world.store)
    values = predict(ensemble, world.bank, "validation", world.store.labelled)
    unsealed = world.bank.trials("first")[0]
    forget_seal(world.bank.folder("first", unsealed) / "trial.json")
    rename_study("first", "pilot", home=world.home.root)
    check_whole(world.home)
    renamed = predict(
        read_ensemble(world.home, "folds"), world.bank, "validation", world.store.labelled
    )
    np.testing.assert_array_equal(values, renamed)
    again = build(world.home, ["pilot"], recipe, "again", world.store)
    assert again.scores == ensemble.scores


def test_a_damaged_trial_is_carried_along_and_stays_named(world: World) -> None:
    record = world.bank.folder("first", "a2") / "trial.json"
    record.write_text("{}")
    rename_study("first", "pilot", home=world.home.root)
    assert (world.bank.folder("pilot", "a2") / "trial.json").read_text() == "{}"
    with pytest.raises(InputError, match="damaged record"):
        world.bank.trial("pilot", "a2")
