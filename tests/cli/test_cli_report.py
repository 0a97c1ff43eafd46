"""`va-search report` as a person calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from report_world import make_world
from typer.testing import CliRunner

from va_search.cli.main import app
from va_search.ensemble.build import build
from va_search.ensemble.recipe import load_recipe

RUN = CliRunner()


def test_report_writes_and_says_what_is_missing(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("one")
    world.add("one", world.settings("fau"))
    arguments = ["report", "one", "--out", str(tmp_path / "out"), "--home", str(world.home.root)]
    done = RUN.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert "not shown  Table 4: folds" in done.stderr
    assert (tmp_path / "out" / "report.html").is_file()
    assert "Command: va-search report one --out" in (tmp_path / "out" / "report.md").read_text()
    document = json.loads(done.stdout)
    assert document["html"] == str(tmp_path / "out" / "report.html")
    table = next(one for one in document["tables"] if one["title"].startswith("Table 1"))
    assert table["rows"][0][0] == "Transformer"


def test_wrong_input_is_told_before_anything_is_written(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    world.begin("one")
    common = ["--out", str(tmp_path / "out"), "--home", str(world.home.root)]
    for arguments, told in (
        (["report", "onne", *common], "did you mean 'one'?"),
        (["report", "one", "--ensemble", "x", *common], "unknown ensemble 'x'"),
        (["report", "one", "--data", str(tmp_path / "nowhere"), *common], "not a store"),
        (["report", "../one", *common], "unknown study"),
    ):
        done = RUN.invoke(app, arguments)
        assert done.exit_code == 2, done.output
        assert told in done.output
    assert not (tmp_path / "out").exists()


def test_an_ensemble_is_reported_with_its_studies(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    for study in ("one", "two"):
        world.begin(study)
        for seed in (0, 1):
            world.add(
                study, world.settings("fau", "mae" if study == "one" else "hubert", seed=seed)
            )
    build(world.home, ["one", "two"], load_recipe("mean"), "all", world.store)
    build(world.home, ["one"], load_recipe("best"), "single", world.store)
    common = ["--out", str(tmp_path / "out"), "--home", str(world.home.root), "--json"]
    done = RUN.invoke(app, ["report", "all", *common])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["title"] == "Report: one + two"
    assert document["summary"][0].startswith("all") or "not all" in document["summary"][0]
    assert document["verdict"]["rows"][0] == ["submit", document["summary"][0]]
    assert f"next: {document['verdict']['next_command']}" in done.stderr
    done = RUN.invoke(app, ["report", "single", "two", *common])
    assert json.loads(done.stdout)["summary"][0].startswith("single")
    for names in (["all", "single"], ["all", "--ensemble", "single"]):
        done = RUN.invoke(app, ["report", *names, *common])
        assert done.exit_code == 2 and "a report shows one ensemble, but got" in done.output


def test_help_imports_nothing_heavy() -> None:
    heavy = "import sys; from va_search.cli.main import app; import va_search.report; "
    check = "print([name for name in ('torch', 'ray', 'mlflow', 'matplotlib', 'optuna', 'scipy') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", heavy + check], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
