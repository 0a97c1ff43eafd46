"""Every command says which home it reads, and what a wrong name or a wrong home is instead."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from ensemble_world import World, make_world
from typer.testing import CliRunner, Result

from va_search.cli.demo import _next as show_next
from va_search.cli.main import app
from va_search.cli.output import Output
from va_search.files import write_json
from va_search.home import Home
from va_search.search.saves import Claims
from va_search.search.study import Study


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A home `va-home` in the current folder with study `first` and its ensemble `first-best`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    made = make_world(tmp_path)
    made.home.root.rename(tmp_path / "va-home")
    home = type(made.home)(Path("va-home"))
    settings = {"features": ["face"], "learning_rate": {"float": [0.001, 0.01]}}
    space = {"sampler": "random", "budget": {"trials": 9}, "settings": settings}
    Study(home, "first").begin(made.store, space)
    found = World(home, made.store)
    assert call("ensemble", "first", "--name", "first-best", "--no-tracking").exit_code == 0
    return found


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "140"})


COMMANDS = (
    ("status", "first"),
    ("status",),
    ("bank", "list", "first"),
    ("ensemble", "first", "--compare"),
    ("submit", "first-best", "--out", "s"),
    ("report", "first", "--out", "r"),
    ("stop", "first"),
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_home_is_named(world: World, tmp_path: Path, words: tuple[str, ...]) -> None:
    done = call(*words)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith(f"home va-home (in {tmp_path})\n")
    document = json.loads(call(*words, "--json").stdout)
    if isinstance(document, dict):
        assert document["home"] == str(tmp_path / "va-home")


MISTYPED = [(words[0], "firts", *words[2:]) for words in COMMANDS if words[1:2] == ("first",)]


@pytest.mark.parametrize("words", MISTYPED, ids=" ".join)
def test_an_unknown_study_names_the_home_and_what_it_holds(
    world: World, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert "unknown study 'firts'; did you mean 'first'?" in done.stderr
    assert f"home va-home (in {tmp_path}) holds 1 study and 1 ensemble (first-best)" in done.stderr


@pytest.mark.parametrize("words", COMMANDS[3:], ids=" ".join)
def test_a_home_that_does_not_exist_is_said_to(
    world: World, tmp_path: Path, words: tuple[str, ...]
) -> None:
    done = call(*words, "--home", "va-hom")
    assert done.exit_code == 2
    assert (
        f"home va-hom (in {tmp_path}) does not exist: give the right one with --home" in done.stderr
    )
    assert not (tmp_path / "va-hom").exists()


@pytest.mark.parametrize(
    ("words", "is_really", "command"),
    [
        (
            ("ensemble", "first-best", "--name", "e"),
            "an ensemble",
            "va-search ensemble first --name first-best",
        ),
        (("status", "first-best"), "an ensemble", "va-search status first"),
        (("submit", "first", "--out", "s"), "a study", "va-search submit first-best --out s"),
        (
            ("predict", "first", "--data", "store", "--out", "p"),
            "a study",
            "va-search predict first-best --data store",
        ),
        (("register", "first"), "a study", "va-search register first-best"),
    ],
)
def test_a_name_of_the_other_kind_gets_the_right_command(
    world: World, words: tuple[str, ...], is_really: str, command: str
) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert f"{words[1]!r} is {is_really}" in done.stderr and command in done.stderr
    if command.split()[1] in ("ensemble", "status", "submit"):
        advised = done.stderr[done.stderr.index(command) :].splitlines()[0]
        assert call(*shlex.split(advised)[1:]).exit_code == 0


def test_a_study_without_ensemble_is_told_how_to_get_one(world: World) -> None:
    world.home.ensemble("first-best").unlink()
    done = call("submit", "first", "--out", "s")
    assert done.exit_code == 2
    assert "build its ensemble first: va-search ensemble first --name first-best" in done.stderr


def test_a_study_without_a_complete_trial_is_no_unknown_one(world: World) -> None:
    study = Study(world.home, "fresh")
    study.begin(world.store, {"sampler": "grid", "settings": {"features": ["face"]}})
    study.record_failure("f0", {"features": ["face"]}, "Traceback\nValueError: no")
    done = call("ensemble", "fresh", "--name", "e")
    assert done.exit_code == 2
    assert (
        "study 'fresh' has no complete trial yet (1 trial failed, nothing searches it now)"
        in done.stderr
    )


def test_status_without_a_name_lists_studies_and_ensembles(world: World) -> None:
    world.add("second", "b0", seed=9, noise=0.5)
    done = call("status")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "│ first │ 6 │ 9 │ 0 │" in text and "│ second │ 1 │ – │ 0 │" in text
    assert "first-best" in text and "2 studies, 1 ensemble" in text
    document = json.loads(call("status", "--json").stdout)
    assert [(one["study"], one["complete"], one["planned"]) for one in document["studies"]] == [
        ("first", 6, 9),
        ("second", 1, None),
    ]
    (ensemble,) = document["ensembles"]
    assert ensemble["name"] == "first-best" and ensemble["recipe"] == "bagged_greedy"


def test_the_list_says_sizes_ages_and_what_is_wrong(world: World) -> None:
    path = world.home.study("first") / "study.json"
    write_json(path, {**json.loads(path.read_text()), "store_path": "/gone/store"})
    record = next(world.home.bank.glob("first/*/trial.json"))
    record.write_text(record.read_text().replace("first", "fisrt"))
    world.add("first", "b0", seed=9, noise=0.5)
    world.home.ensemble("broken").write_text("{}")
    done = call("status")
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    assert "study first: 1 damaged trial is left out: " in text and str(record) in text
    assert "study first: its store is not at /gone/store any more" in text
    assert "ensemble first-best: 1 trial was completed after it was built" in text
    assert "ensemble broken: can't be read: " in text
    document = json.loads(call("status", "--json").stdout)
    (study,) = document["studies"]
    assert study["complete"] == 6 and len(study["problems"]) == 2 and study["bytes"] > 1000
    assert study["best_score"] > 0 and study["of_ensembles"] == ["first-best"]
    best, broken = sorted(document["ensembles"], key=lambda ensemble: ensemble["name"])[::-1]
    assert best["bytes"] > 1000 and broken["problem"]


def test_a_study_that_is_being_searched_says_so_everywhere(world: World) -> None:
    study = Study(world.home, "first")
    study.ask("c0", {"features": ["face"]})
    claims = Claims(world.home.root / "claims")
    assert claims.take("c0")
    study.ask("c1", {"features": ["face"]})
    (world.home.root / "claims" / "c1.lock").write_text("1 on a search that was killed")
    said = "study first is being searched now: 6 of 9 planned trials are finished"
    with study.searching():
        for words in (
            ("ensemble", "first", "--name", "first-best", "--no-tracking"),
            ("ensemble", "first", "--compare"),
            ("submit", "first-best", "--out", "s"),
            ("report", "first", "--out", "r"),
        ):
            done = call(*words)
            assert done.exit_code == 0, done.output
            assert said in done.output.replace("Study first", "study first"), words
        assert "study first is being searched now" in Path("r/report.md").read_text()
        text = call("status", "first").stdout
        assert text.startswith(
            "study first: 6 of 9 planned trials complete, 0 failed, searching now (1 running)"
        )
    assert "being searched" not in call("submit", "first-best", "--out", "s").output


def test_the_demo_names_the_home_in_its_next_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VA_SEARCH_HOME", raising=False)
    show_next(Output(as_json=False), Home(Path("my home")), Path("d"))
    show_next(Output(as_json=False), Home(Path("va-home")), Path("d"))
    lines = [
        line.split("    ")[0] for line in capsys.readouterr().out.splitlines() if " report " in line
    ]
    assert lines == [
        f"  .venv/bin/va-search report demo --out d/report{more}"
        for more in (" --home 'my home'", "")
    ]


def test_a_list_of_studies_brings_no_store_from_a_url(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = json.loads(call("status", "--json").stdout)["studies"]
    assert [one["planned"] for one in listed] == [9]
    path = world.home.study("first") / "study.json"
    write_json(path, {**json.loads(path.read_text()), "store_path": "s3://bucket/store"})
    brought: list[str] = []
    monkeypatch.setattr("va_search.storage.stores.brought", brought.append)
    done = call("status", "--json")
    assert done.exit_code == 0, done.output
    assert [one["planned"] for one in json.loads(done.stdout)["studies"]] == [None] and not brought
