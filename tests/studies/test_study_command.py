"""`va-search study …`: what it prints, its JSON, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from ensemble_world import World
from study_world import check_whole, copied, make_studies
from typer.testing import CliRunner

from va_search.cli.main import app

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_studies(tmp_path_factory.mktemp("made"))


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    return copied(made, tmp_path / "home")


@pytest.fixture
def run(world: World) -> Run:
    """Runs `va-search study` with these words on the world's home."""

    def study(*words: str) -> Result:
        return CliRunner().invoke(app, ["study", *words, "--home", str(world.home.root)])

    return study


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    loaded: dict[str, Any] = json.loads(result.stdout)
    return loaded


def test_list_and_show_say_how_large_studies_are_and_what_depends_on_them(run: Run) -> None:
    first, second = document(run("list", "--json"))["studies"]
    assert (first["study"], first["complete"], first["failed"]) == ("first", 3, 1)
    assert first["ensembles"] == ["best"]
    assert first["sizes"]["checkpoints"]["bytes"] == len("half")
    assert first["sizes"]["weights"]["bytes"] == 3 * len("weights of a0")
    assert set(first["budget"]) == {"trials", "hours", "gpu_hours", "money"}
    assert first["budget"]["trials"].keys() == {"spent", "of", "left"}
    # a0 lies once on the disk, in both studies.
    assert first["bytes_shared"] == second["bytes_shared"] > 0
    shown = document(run("show", "first", "--json"))
    assert shown["dependents"]["ensembles"] == ["best"]
    text = run("show", "first").stdout
    assert "ensembles of its trials: best" in text
    assert "study second has 1 trial that it trained" in text


def test_what_cannot_be_taken_back_is_asked_or_needs_yes(world: World, run: Run) -> None:
    refused = run("remove", "first")
    assert refused.exit_code == 2
    assert "--with-dependents" in refused.stderr
    for words in (("remove", "first", "--with-dependents"), ("clean", "first")):
        refused = run(*words)
        assert refused.exit_code == 2
        assert "add --yes" in refused.stderr
    check_whole(world.home)
    cleaned = document(run("clean", "first", "--yes", "--json"))
    assert cleaned["checkpoints"] == ["begun"]
    removed = document(run("remove", "first", "--with-dependents", "--yes", "--json"))
    assert removed["remarks"] == ["removed ensemble best"]
    assert [study["study"] for study in document(run("list", "--json"))["studies"]] == ["second"]


def test_a_study_is_renamed_carried_away_and_taken_in(
    world: World, run: Run, tmp_path: Path
) -> None:
    assert "study first is called pilot now" in run("rename", "first", "pilot").stdout
    file = str(tmp_path / "pilot.zip")
    exported = document(run("export", "pilot", "--to", file, "--no-weights", "--json"))
    assert (exported["trials"], exported["ensembles"]) == (3, [])
    imported = document(run("import", file, "--as", "theirs", "--json"))
    assert (imported["study"], imported["trials"]) == ("theirs", 3)
    again = run("import", file, "--as", "theirs")
    assert again.exit_code == 2
    assert "study 'theirs' exists in this home" in again.stderr
    check_whole(world.home)


@pytest.mark.parametrize(
    "words",
    [
        ("show", "none"),
        ("rename", "none", "other"),
        ("remove", "none", "--yes"),
        ("clean", "none", "--yes"),
        ("export", "none", "--to", "none.zip"),
        ("import", "none.zip"),
        ("compare", "first", "none"),
    ],
)
def test_what_is_not_there_is_wrong_input(run: Run, words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert "unknown study 'none'" in result.stderr or "no such file" in result.stderr


def test_a_home_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    home = tmp_path / "none"
    result = CliRunner().invoke(app, ["study", "list", "--home", str(home)])
    assert result.exit_code == 2
    assert not home.exists()
