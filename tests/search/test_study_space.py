"""Spaces made from a study's own trials: checked on its store, and searched by the printed
command."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_world import World, make_world
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app
from va_search.search.variations import neighbours

LAYERS_OF_THE_BEST = 2


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A study of three configurations on the official split, the last one the best and with two
    seeds; the folder is the test's own."""
    monkeypatch.chdir(tmp_path)
    world = make_world(tmp_path)
    world.begin("one")
    world.add("one", world.settings("fau", layers=1, learning_rate=1e-4), 0.6, seconds=4.0)
    world.add("one", world.settings("mae", encoder="gru", hidden_size=32), 0.5, seconds=4.0)
    for seed in (0, 3):
        best = world.settings("fau", "mae", layers=LAYERS_OF_THE_BEST, patience=2, seed=seed)
        world.add("one", best, 0.05, seconds=4.0)
    return world


def call(world: World, *words: str) -> Result:
    return CliRunner().invoke(app, [*words, "--home", str(world.home.root)])


def made(world: World, **wish: Any) -> dict[str, Any]:
    """The space's document, with its counts."""
    space = va.make_space("one", home=world.home.root, **wish)
    return {**space.document, "counts": (space.trials, space.complete)}


def test_the_best_configuration_keeps_its_seeds_and_goes_on_all_folds(world: World) -> None:
    space = made(world, folds="all")
    assert space["settings"]["features"] == ["fau", "mae"]
    assert space["settings"]["layers"] == LAYERS_OF_THE_BEST
    assert space["seeds"] == [0, 3]
    assert space["counts"] == (6, 2), "two seeds on three folds; the official ones are there"


def test_several_configurations_are_listed_best_first_with_more_seeds(world: World) -> None:
    space = made(world, best=2, seeds=3)
    entries = space["trials"]
    assert [entry.get("seed", 0) for entry in entries[:3]] == [0, 1, 3]
    assert entries[0]["features"] == ["fau", "mae"]
    assert entries[3]["features"] != ["fau", "mae"]
    assert space["counts"] == (6, 3)


def test_the_best_by_a_target_is_another_one_where_the_target_says_so(world: World) -> None:
    assert made(world, by="arousal")["settings"]["features"] == ["fau", "mae"]
    with pytest.raises(va.InputError, match="unknown target 'joy'"):
        made(world, by="joy")


def test_an_ablation_of_feature_sets_has_all_all_but_one_and_each_alone(world: World) -> None:
    choice = made(world, ablate="features")["settings"]["features"]["choice"]
    assert len(choice) == 9, "four sets: together, all but each, each alone"
    assert choice[0][:2] == ["fau", "mae"]


def test_an_ablation_of_encoders_takes_what_goes_with_each_from_the_study(world: World) -> None:
    entries = made(world, ablate="encoders")["trials"]
    by_encoder = {entry["encoder"]: entry for entry in entries}
    assert by_encoder.keys() == {"transformer", "gru"}
    assert by_encoder["gru"]["hidden_size"] == 32, "as its best trial of the study has it"
    assert by_encoder["gru"]["features"] == ["fau", "mae"], "everything else as in the best"
    assert by_encoder["gru"]["patience"] == 2


def test_an_ablation_of_one_setting_needs_a_configuration_that_has_it(world: World) -> None:
    entries = made(world, ablate="hidden_size")["trials"]
    assert {entry["encoder"] for entry in entries} == {"gru"}
    assert [entry.get("hidden_size") for entry in entries] == [32, 16, 64]
    with pytest.raises(va.InputError, match=r"`family\.leaves` has no effect in any trial"):
        made(world, ablate="family.leaves")
    with pytest.raises(va.InputError, match="unknown setting 'dropout'"):
        made(world, ablate="dropout")


def test_the_space_around_a_configuration_begins_with_it(world: World) -> None:
    space = made(world, around="best")
    settings = space["settings"]
    assert settings["features"] == ["fau", "mae"]
    assert settings["layers"] == {"choice": [1, 2, 3]}
    low, high = settings["learning_rate"]["float"]
    assert low < space["first"][0]["learning_rate"] < high
    trial = next(iter(world.bank.trials("one")))
    assert va.make_space("one", home=world.home.root, around=trial[:8]).trials > 1
    with pytest.raises(va.InputError, match="unknown trial 'zzz'"):
        made(world, around="zzz")
    with pytest.raises(va.InputError, match="--best does not go with it"):
        made(world, around="best", best=2)


def test_training_on_everything_has_no_patience(world: World) -> None:
    space = made(world, folds="train_val_mix")
    assert space["folds"] == ["train_val_mix"] and "patience" not in space["settings"]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("layers", 1, [1, 2]),
        ("width", 64, [32, 64, 128]),
        ("learning_rate", 0.003, [0.001, 0.003, 0.009]),
        ("encoder_dropout", 0.05, [0.0, 0.05, 0.15]),
        ("encoder_dropout", 0.0, [0.0, 0.1]),
    ],
)
def test_neighbours_of_a_number(name: str, value: float, expected: list[float]) -> None:
    assert neighbours(name, value) == expected


def test_unknown_folds_and_folds_that_are_not_there_are_refused(world: World) -> None:
    with pytest.raises(va.InputError, match="unknown fold 'oficial'; did you mean 'official'"):
        made(world, folds="oficial")
    with pytest.raises(va.InputError, match="unknown fold 7"):
        made(world, folds=[7])


def test_the_command_writes_a_file_and_says_what_searches_it(world: World, tmp_path: Path) -> None:
    done = call(world, "space", "one", "--folds", "all", "--out", "next.yaml")
    assert done.exit_code == 0, done.output
    assert "6 trials: 2 are in the home already, 4 new; about" in done.output
    head = (tmp_path / "next.yaml").read_text()
    assert head.startswith("# Made by va-search space from study one (4 trials).\n")
    following = next(line for line in done.output.splitlines() if line.startswith("next: "))
    command = following.removeprefix("next: ")
    assert f"# To search it: {command}" in head
    planned = CliRunner().invoke(app, [*shlex.split(command)[1:], "--dry-run", "--json"])
    assert json.loads(planned.stdout)["plan"]["trials"] == 6, planned.output


def test_a_space_with_nothing_to_train_names_no_search(world: World, tmp_path: Path) -> None:
    result = call(world, "space", "one", "--out", "next.yaml", "--json")
    document = json.loads(result.stdout)
    assert (document["trials"], document["complete"], document["command"]) == (2, 2, None)
    assert "nothing to train: --folds" in result.stderr and "va-search search" not in result.output
    assert "va-search search" not in Path("next.yaml").read_text(encoding="utf-8")


def test_another_file_is_replaced_only_by_force(world: World, tmp_path: Path) -> None:
    words = ("space", "one", "--out", "next.yaml")
    assert call(world, *words, "--folds", "all").exit_code == 0
    assert call(world, *words, "--folds", "all").exit_code == 0, "the same space again"
    before = (tmp_path / "next.yaml").read_text()
    refused = call(world, *words, "--seeds", "2")
    assert refused.exit_code == 2 and "is another space" in refused.output
    assert (tmp_path / "next.yaml").read_text() == before
    assert call(world, *words, "--seeds", "2", "--force").exit_code == 0
    assert yaml.safe_load((tmp_path / "next.yaml").read_text())["seeds"] == [0, 3]


def test_members_of_an_ensemble_are_listed(world: World) -> None:
    built = call(world, "ensemble", "one", "--name", "mine", "--no-tracking")
    assert built.exit_code == 0, built.output
    space = va.make_space("mine", home=world.home.root, folds=["train_val_mix"])
    assert space.name == "mine-mix" and "members of ensemble mine" in space.head[0]
    assert space.trials >= 1 and space.complete == 0


def test_the_python_door_searches_what_it_made(world: World) -> None:
    study = va.open_study("one", home=world.home.root)
    space = va.make_space(study, ablate="features")
    assert space.name == "one-ablation"
    assert va.load_space(space.document, space.store).size() == 9


def test_a_name_that_no_study_can_have_is_refused_before_anything_is_written(
    world: World, tmp_path: Path
) -> None:
    result = call(world, "space", "one", "--seeds", "3", "--study", "a/b", "--out", "next.yaml")
    assert result.exit_code == 2 and "study name 'a/b' can't be used" in result.stderr
    assert not Path("next.yaml").exists()


def test_wrong_names_are_answered_with_the_right_ones(world: World) -> None:
    done = call(world, "space", "oen", "--out", "next.yaml")
    assert done.exit_code == 2 and "did you mean 'one'" in done.output


def test_a_store_that_changed_leaves_nothing_to_start_from(world: World, tmp_path: Path) -> None:
    other = make_world(tmp_path / "other").store
    done = call(world, "space", "one", "--data", str(other.path), "--out", "next.yaml")
    assert done.exit_code == 0, "the same data elsewhere"
    (tmp_path / "gone").mkdir()
    done = call(world, "space", "one", "--data", str(tmp_path / "gone"), "--out", "b.yaml")
    assert done.exit_code == 2
