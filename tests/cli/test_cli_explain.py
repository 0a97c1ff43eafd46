"""`va-search ensemble … --explain` as a user calls it."""

from __future__ import annotations

import builtins
import csv
import json
from pathlib import Path
from typing import Any

import ensemble_world
import pytest
from ensemble_world import ROWS, World, make_world, write_outside
from typer.testing import CliRunner, Result

from va_search.cli.main import app


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def explain(world: World, *arguments: str) -> Result:
    given = [
        "ensemble",
        "first",
        "--name",
        "e",
        "--explain",
        "--no-tracking",
        "--home",
        str(world.home.root),
    ]
    return CliRunner().invoke(app, [*given, *arguments], env={"COLUMNS": "140"})


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


def test_tables_on_the_screen_in_files_and_pictures(world: World, tmp_path: Path) -> None:
    write_outside(tmp_path / "teams" / "red", world, seed=4)
    added = (
        "bank",
        "add",
        "first",
        "--from",
        str(tmp_path / "teams"),
        "--data",
        str(world.store.path),
    )
    assert CliRunner().invoke(app, [*added, "--home", str(world.home.root)]).exit_code == 0
    result = explain(world, "--recipe", "mean")
    assert result.exit_code == 0, result.output
    for said in (
        "where the weight lies",
        "what each part adds",
        "correlation of members",
        "out-of-fold CCC",
    ):
        assert said in result.stdout
    folder = world.home.root / "ensembles" / "e"
    assert str(folder) in result.stdout.replace("\n", "")
    names = {"explain.json", "weight.csv", "adds.csv", "adds.png", "weight.png", "correlation.png"}
    assert {path.name for path in folder.iterdir()} == names | {
        "correlation-valence.csv",
        "correlation-arousal.csv",
    }

    document = json.loads((folder / "explain.json").read_text())
    adds = {(row["dimension"], row["kind"], row["name"]): row for row in table(folder / "adds.csv")}
    for dimension in ("valence", "arousal"):
        one = document["dimensions"][dimension]
        saved = json.loads(world.home.ensemble("e").read_text())
        assert one["ccc"] == pytest.approx(saved["scores"]["out_of_fold"][dimension])
        assert sum(
            share["weight"] for share in one["weight"] if share["what"] == "encoder"
        ) == pytest.approx(1.0)
        # of seven equal weights, the three of encoder gru are left out: what is left is the mean of
        # the other four
        gru = adds[dimension, "encoder", "gru"]
        assert (int(gru["candidates"]), float(gru["weight"])) == (3, pytest.approx(3 / 7, abs=1e-5))
        assert float(gru["gain"]) == pytest.approx(
            float(gru["ccc"]) - float(gru["without"]), abs=2e-6
        )
        rows = table(folder / f"correlation-{dimension}.csv")
        assert len(rows) == 7
        assert all(float(row[row["member"]]) == pytest.approx(1.0) for row in rows)
    # again, of fewer members: what was there is replaced
    assert explain(world, "--recipe", "best", "--force").exit_code == 0
    assert len(table(folder / "correlation-valence.csv")) == 1


def test_of_one_subject_it_is_in_sample_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        (name, "s1" if split == "validation" else subject, *more)
        for name, subject, *more in ROWS
        for split in more[1:2]
    ]
    monkeypatch.setattr(ensemble_world, "ROWS", tuple(rows))
    world = make_world(tmp_path)
    result = explain(world, "--recipe", "greedy")
    assert result.exit_code == 0, result.output
    assert "in-sample CCC" in result.stdout and "out-of-fold CCC" not in result.stdout
    folder = world.home.root / "ensembles" / "e"
    assert {row["measured"] for row in table(folder / "adds.csv")} == {"in_sample"}


def test_compare_and_explain_do_not_go_together(world: World) -> None:
    given = ["ensemble", "first", "--compare", "--explain", "--home", str(world.home.root)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2
    assert "--explain" in result.output


def test_without_matplotlib_the_tables_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *given: Any, **named: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("No module named 'matplotlib'")
        return real(name, *given, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    result = explain(world, "--recipe", "greedy")
    assert result.exit_code == 0, result.output
    assert "no pictures" in result.output
    folder = world.home.root / "ensembles" / "e"
    assert (folder / "adds.csv").is_file() and not list(folder.glob("*.png"))
