"""`va-search submissions`, and `ensemble` over folds, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from folds_world import FoldsWorld, make_folds_world
from typer.testing import CliRunner, Result

from va_search.cli.main import app


@pytest.fixture
def world(tmp_path: Path) -> FoldsWorld:
    return make_folds_world(tmp_path, complete=8)


def call(world: FoldsWorld, *arguments: str) -> Result:
    return CliRunner().invoke(
        app, [*arguments, "--home", str(world.home.root)], env={"COLUMNS": "140"}
    )


def test_table_6_is_printed(world: FoldsWorld, tmp_path: Path) -> None:
    given = ("submissions", "first", "mix", "--out", str(tmp_path / "out"), "--no-tracking")
    result = call(world, *given)
    assert result.exit_code == 0, result.output
    for said in (
        "Table 6: the five submissions", "Ensemble 1", "Train-Val-Mix", "6-Fold", "7 / 8", "withheld",
        "6-Fold: validation is all 10 labelled recordings", "Train-Val-Mix: no validation score: members trained on",
        "Ensemble 3: no validation score: part train_val_mix has no validation score",
        "Test: withheld; only the organisers",
        "Ensemble 1: validation is the official split's",
    ):  # fmt: skip
        assert said in result.stdout, result.stdout
    document = json.loads(call(world, *given, "--json").stdout)
    assert document.pop("home") == str(world.home.root)
    assert [row["submission"] for row in document["rows"]] == [1, 2, 3, 4, 5] and document[
        "labels"
    ] is None
    assert document == json.loads((world.home.study("first") / "submissions.json").read_text())


def test_a_missing_strategy_is_told(world: FoldsWorld, tmp_path: Path) -> None:
    result = call(world, "submissions", "first", "--out", str(tmp_path / "out"), "--no-tracking")
    assert (
        result.exit_code == 0
        and "Ensemble 3 could not be made: no trial of fold train_val_mix" in result.stdout
    )
    result = call(world, "submissions", "frist", "--out", str(tmp_path / "out"))
    assert result.exit_code == 2 and "did you mean 'first'" in result.output


def test_one_failure_of_mlflow_is_one_warning(world: FoldsWorld, tmp_path: Path) -> None:
    broken = tmp_path / "not-a-database"
    broken.write_text("x" * 4096)
    result = call(
        world,
        "submissions",
        "first",
        "mix",
        "--out",
        str(tmp_path / "out"),
        "--tracking-uri",
        f"sqlite:///{broken}",
    )
    assert result.exit_code == 0 and result.output.count("warning: not logged to MLflow") == 1


def test_an_ensemble_over_folds(world: FoldsWorld, tmp_path: Path) -> None:
    given = (
        "ensemble",
        "first",
        "mix",
        "--folds",
        "all",
        "--name",
        "e",
        "--no-tracking",
        "--explain",
    )
    result = call(world, *given)
    assert result.exit_code == 0, result.output
    for said in (
        "Measured on all folds, each recording predicted by the trial that did not train on it: 10 recordings",
        "every recording by its own fold's trial", "each trial chose its best epoch on the same recordings",
        "2 trials left out: trained on train_val_mix, which leaves nothing to validate on",
        "valence: where the weight lies",
    ):  # fmt: skip
        assert said in result.output, result.output
    assert (
        json.loads(world.home.ensemble("e").read_text())["recipe_document"]["members"]["folds"]
        == "all"
    )
    result = call(world, "submit", "e", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0 and "validation, out-of-fold" in result.stdout
    result = call(world, "ensemble", "first", "--name", "e", "--no-tracking")
    assert result.exit_code == 2 and "exists, of recipe bagged_greedy" in result.output


def test_compare_ranks_the_same_recipes_over_folds(world: FoldsWorld) -> None:
    result = call(world, "ensemble", "first", "--compare", "--folds", "all")
    assert result.exit_code == 0, result.output
    assert (
        "Measured on all folds" in result.stdout
        and "--folds all --name first-best" in result.stdout
    )
    document = json.loads(call(world, "ensemble", "first", "--compare", "--json").stdout)
    names = {row["recipe"] for row in document["recipes"]}
    assert names == {
        "best",
        "mean",
        "top_k",
        "greedy",
        "bagged_greedy",
        "exact",
        "nnls_matched",
        "auto",
    }


def test_what_has_no_validation_score_says_so(world: FoldsWorld, tmp_path: Path) -> None:
    for recipe, said in (
        ("train_val_mix", "no validation score: members trained on train and validation"),
        ("ensemble_3", "no validation score: part train_val_mix has no validation score"),
    ):
        result = call(
            world,
            "ensemble",
            "first",
            "mix",
            "--recipe",
            f"paper/{recipe}",
            "--name",
            recipe,
            "--no-tracking",
        )
        assert result.exit_code == 0, result.output
        assert (
            said in result.stdout
            and "trials picked their best epochs" not in result.stdout.split("share 0.5")[-1]
        )
        result = call(world, "submit", recipe, "--out", str(tmp_path / recipe))
        assert result.exit_code == 0 and said in result.stdout
        explained = call(
            world,
            "ensemble",
            "first",
            "mix",
            "--recipe",
            f"paper/{recipe}",
            "--name",
            recipe,
            "--explain",
        )
        assert explained.exit_code == 2 and "--explain" in explained.output
    assert (
        "0.5 × ensemble_1, 0.5 × train_val_mix"
        in call(
            world,
            "ensemble",
            "first",
            "mix",
            "--recipe",
            "paper/ensemble_3",
            "--name",
            "ensemble_3",
            "--no-tracking",
        ).stdout
    )
