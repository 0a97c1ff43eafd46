"""A study of one target, and one of three, from Python and on the command line: to its scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from target_trials import TargetWorld, make_target_world
from target_world import ONE, THREE
from typer.testing import CliRunner, Result

import va_search as va
from va_search.cli.main import app


@pytest.fixture(params=[ONE, THREE], ids=["one", "three"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> TargetWorld:
    return make_target_world(tmp_path, request.param)


def quiet_build(world: TargetWorld, **more: str) -> va.OpenEnsemble:
    study = va.open_study("first", home=world.home.root)
    return va.build_ensemble(study, name="e", tracking=False, note=lambda text: None, **more)  # type: ignore[arg-type]


def test_an_ensemble_has_scores_members_and_weights_of_each_target(world: TargetWorld) -> None:
    ensemble, targets = quiet_build(world), list(world.store.target_names)
    scores = ensemble.scores
    ends = [f"{name}_{end}" for name in (*targets, "score") for end in ("low", "high")]
    assert set(scores.columns) == {*targets, "score", *ends}
    row = scores.loc[("out_of_fold", "ensemble")]
    assert row["score"] == pytest.approx(row[targets].mean())
    assert scores.loc["out_of_fold"][[*targets, "score", *ends]].notna().all().all()
    assert list(dict.fromkeys(ensemble.members["dimension"])) == targets
    assert list(ensemble.weights) == targets
    for weights in ensemble.weights.values():
        assert sum(weights.values()) == pytest.approx(1.0)
    assert list(ensemble.verdict.dimensions) == targets
    assert va.open_ensemble("e", home=world.home.root).document == ensemble.document


def test_recipes_are_compared_on_each_target(world: TargetWorld) -> None:
    compared = va.compare_recipes("first", home=world.home.root, note=lambda text: None)
    table = compared.table()
    targets = list(world.store.target_names)
    assert list(table.columns) == [*targets, "score", "score_in_sample"]
    assert table["score"].to_numpy() == pytest.approx(table[targets].mean(axis=1).to_numpy())
    assert compared.advised in table.index


def test_a_blend_is_of_the_targets(world: TargetWorld, tmp_path: Path) -> None:
    (tmp_path / "blend.yaml").write_text("method: blend\nof: {best: 0.5, mean: 0.5}\n")
    ensemble = quiet_build(world, recipe=str(tmp_path / "blend.yaml"))
    in_sample = ensemble.document.scores["in_sample"]
    assert in_sample is not None and list(in_sample) == [*world.store.target_names, "score"]
    assert ensemble.scores.loc[("in_sample", "ensemble"), "score"] == in_sample["score"]


def call(world: TargetWorld, *arguments: str) -> Result:
    home = str(world.home.root)
    return CliRunner().invoke(app, [*arguments, "--home", home], env={"COLUMNS": "160"})


def test_the_command_shows_each_target(world: TargetWorld) -> None:
    result = call(world, "ensemble", "first", "--name", "e", "--no-tracking")
    assert result.exit_code == 0, result.output
    for target in world.store.target_names:
        assert f"embers and ensemble for {target}" in result.stdout
    document = call(world, "ensemble", "first", "--name", "e", "--no-tracking", "--json")
    scores = json.loads(document.stdout)["scores"]["out_of_fold"]
    assert list(scores) == [*world.store.target_names, "score"]


def test_the_command_compares_recipes_on_each_target(world: TargetWorld) -> None:
    result = call(world, "ensemble", "first", "--compare")
    assert result.exit_code == 0, result.output
    for target in world.store.target_names:
        assert target.capitalize() in result.stdout
    explained = call(world, "ensemble", "first", "--name", "e", "--explain", "--no-tracking")
    assert explained.exit_code == 0, explained.output
    folder = world.home.ensemble("e").with_suffix("")
    correlations = {path.name for path in folder.glob("correlation-*.csv")}
    assert correlations == {f"correlation-{name}.csv" for name in world.store.target_names}
